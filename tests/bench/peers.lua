--- Other libraries with threads for Lua 5.3, all with the same interface, if they are installed.
-- @module peers

local peers = {}

--- `run(code, arguments)` runs a chunk once for each list of arguments, each in a thread of its own, and returns the first
-- result of each. Threads of lua-luv exchange only strings, numbers and booleans.
local function luv()
  local uv = require "luv"
  local function run(code, list)
    local results, left = {}, #list
    for index, arguments in ipairs(list) do
      local work = uv.new_work(load(code), function(result)
        results[index] = result
        left = left - 1
      end)
      work:queue(table.unpack(arguments))
    end
    uv.run()
    assert(left == 0)
    return results
  end
  return run
end

local function lanes()
  local library = require("lanes").configure()
  local function run(code, list)
    local handles, results = {}, {}
    for index, arguments in ipairs(list) do
      handles[index] = library.gen("*", load(code))(table.unpack(arguments))
    end
    for index, handle in ipairs(handles) do
      results[index] = handle[1]
    end
    return results
  end
  return run
end

--- The installed peers, by name.
function peers.installed()
  local list = {}
  for name, open in pairs { ["lua-luv"] = luv, lanes = lanes } do
    local ok, run = pcall(open)
    if ok then
      list[name] = run
    else
      io.stderr:write("skipped: ", name, " is not installed\n")
    end
  end
  return list
end

return peers
