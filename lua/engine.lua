--- The functions of the host's engine, which drive jobs: those that the program has set or, by default, those of `gma`.

local core, modules = ...

local engine = {}

-- The fields that a program may set, and those of `progress`.
local FIELDS = { "clock", "command", "echo", "progress", "sleep", "timer" }
local BARS = { "set", "setrange", "settext", "start", "stop" }

-- The names under `gma` that differ.
local IN_GMA = { clock = "gettime", command = "cmd" }

-- What the program has set; nil if it has set nothing.
local own

--- The engine's function of this name, if it has one. Those of `gma` are looked up each time, since plugins may replace them.
function engine.find(name)
  if own then
    return own[name]
  end
  local gma = rawget(_G, "gma")
  local func = type(gma) == "table" and gma[IN_GMA[name] or name]
  if type(func) ~= "function" then
    return nil
  elseif name == "command" then
    return function(code) return func(string.format('LUA "%s"', code)) end
  end
  return func
end

--- The engine's functions for progress bars, if it has them.
function engine.bars()
  if own then
    return own.progress
  end
  local gma = rawget(_G, "gma")
  local gui = type(gma) == "table" and gma.gui
  local bars = type(gui) == "table" and gui.progress
  local is_there = type(bars) == "table" and type(bars.start) == "function" and type(bars.stop) == "function"
  return is_there and bars or nil
end

--- Reads a table of functions. Returns a copy, or nil and the refusal.
-- @tab fields
-- @tab names the names that fields may have
-- @string place the table's name in messages
local function read(fields, names, place)
  if type(fields) ~= "table" then
    return nil, string.format("%s must be a table of functions, got a %s", place, type(fields))
  end
  local copied, known = {}, {}
  for _, name in ipairs(names) do
    known[name] = true
  end
  for name, value in next, fields do
    local problem
    if not known[name] then
      problem = string.format("%s has a field '%s', which is unknown: there are %s", place, tostring(name),
        table.concat(names, ", "))
    elseif name == "progress" then
      value, problem = read(value, BARS, "engine.progress")
    elseif type(value) ~= "function" then
      problem = string.format("%s.%s must be a function, got a %s", place, name, type(value))
    end
    if problem then
      return nil, problem
    end
    copied[name] = value
  end
  return copied
end

--- Why these functions can't drive jobs, or nil if they can.
local function find_lack(functions)
  local starter = functions.timer and "timer" or functions.command and "command"
  local bars = functions.progress
  if starter and not functions.sleep then
    return string.format("engine.%s needs engine.sleep too: a job that it starts sleeps between its turns", starter)
  elseif bars and not (bars.start and bars.stop) then
    return string.format("engine.progress.%s is missing: a bar needs start and stop", bars.start and "stop" or "start")
  end
end

--- Sets the functions of the engine; nil for those of `gma`.
-- @treturn ?string the refusal
function engine.set(functions)
  local refusal = modules.arguments.check(functions, "table or nil", 1, "setEngine")
  if refusal then
    return refusal
  elseif modules.pump.jobs()[1] then
    return "cannot set the engine while a job is running: set it before the first job"
  end
  local copied, problem
  if functions then
    copied, problem = read(functions, FIELDS, "engine")
    problem = problem or find_lack(copied)
  end
  if problem then
    return problem
  elseif copied and copied.clock == core.clock then
    -- Ours would ask itself.
    copied.clock = nil
  end
  own = copied
end

return engine
