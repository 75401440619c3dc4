--- Adds to a failed task's error what only the host can know: the global it missed is here.

local hints = {}

--- The name of the global that an error of Lua's says is nil.
local function missing_global(message)
  return string.match(message, "a nil value %(global '([^']+)'%)$")
end

-- What a sandbox is without.
local NOT_IN_SANDBOX = { io = true, package = true, debug = true, require = true, loadfile = true, dofile = true }

--- Adds the hint to each failed entry that misses a global.
-- @tab response
-- @tab failed the indices of the failed tasks
-- @bool sandbox whether the tasks were in a sandbox
function hints.add(response, failed, sandbox)
  for _, index in ipairs(failed) do
    local entry = response.result[index]
    local name = entry.kind == "runtime" and missing_global(entry.data)
    if name and sandbox and NOT_IN_SANDBOX[name] then
      entry.data = entry.data .. ": a sandbox does not have it"
    elseif name and rawget(_G, name) ~= nil then
      entry.data = string.format("%s: the host has it, a task does not (list it in globals = { %q })", entry.data, name)
    elseif name == "gma" then
      entry.data = entry.data .. ": the host has no gma, so there is none in a task"
    end
  end
end

return hints
