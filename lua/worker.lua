-- Where a worker's standard library is not Lua's: the parts that can be written in Lua. The native ones
-- are in src/stdlib.rs. Runs once in each new state, before any task and before the state's snapshot.

local concat, pack, select, type, tostring = table.concat, table.pack, select, type, tostring
local format, math_type, error = string.format, math.type, error

-- Bytecode is not verified by Lua: in a task only text is loaded. ---------------------------------------

local load_any, load_file = load, loadfile

function load(chunk, name, _, ...)
  if type(chunk) ~= "string" and type(chunk) ~= "function" then
    error("bad argument #1 to 'load' (function expected, got " .. type(chunk) .. ")", 2)
  end
  return load_any(chunk, name, "t", ...)
end

function loadfile(name, _, ...)
  return load_file(name, "t", ...)
end

function dofile(name)
  local chunk, message = load_file(name, "t")
  if not chunk then
    error(message, 0)
  end
  return chunk()
end

-- Whole lines: one write to the C stream a call, which locks it, so no two tasks' lines mix. --------------

local stdout, output = io.stdout, io.output
local file = getmetatable(stdout).__index
local write = file.write

local function as_text(value, position)
  if type(value) == "string" then
    return value
  elseif math_type(value) == "integer" then
    return format("%d", value)
  elseif math_type(value) == "float" then
    return format("%.14g", value)
  end
  error("bad argument #" .. position .. " to 'write' (string expected, got " .. type(value) .. ")", 3)
end

function file.write(self, ...)
  local count = select("#", ...)
  if count < 2 then
    return write(self, ...)
  end
  local parts = pack(...)
  for i = 1, count do
    parts[i] = as_text(parts[i], i)
  end
  return write(self, concat(parts, "", 1, count))
end

function io.write(...)
  return file.write(output(), ...)
end

function print(...)
  local parts = pack(...)
  for i = 1, parts.n do
    parts[i] = tostring(parts[i])
  end
  write(stdout, concat(parts, "\t", 1, parts.n) .. "\n")
end

-- What would reach past the task. -------------------------------------------------------------------------

local setlocale = os.setlocale

function os.exit()
  error("os.exit is not available in a task: return from its function instead", 2)
end

-- Asking is harmless; changing it would change the host's. Nil is how Lua says that a locale was refused.
function os.setlocale(locale, category)
  if locale ~= nil then
    return nil
  end
  return setlocale(nil, category)
end

for name in pairs(debug) do
  if name ~= "traceback" and name ~= "getinfo" then
    debug[name] = nil
  end
end

local function refuse()
  error("gma2workers is not available in a worker: start jobs on the host", 0)
end

package.preload["gma2workers"] = refuse
package.preload["gma2-workers"] = refuse
