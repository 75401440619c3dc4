--- Runs the specs in a Windows Lua. The functions of C modules that busted needs are written in Lua here. Each file is
-- named on the command line, so no folder is read.

local clock = require("consolenative").clock

package.preload["system"] = function()
  return { gettime = os.time, monotime = clock, sleep = require("consolenative").sleep }
end

package.preload["term"] = function()
  return { isatty = function() return false end }
end

package.preload["lfs"] = function()
  local function attributes(path, name)
    local file = io.open(path, "rb")
    local found = { mode = file and "file" or "directory", modification = 0 }
    if file then
      file:close()
    end
    return name and found[name] or found
  end
  local function stay() return true end
  return { attributes = attributes, symlinkattributes = attributes, chdir = stay, currentdir = function() return "." end }
end

dofile("tests/spec/run.lua")
