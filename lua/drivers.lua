--- What starts a coroutine of the engine's: a timer or a command line. Each starts one, once, and nothing of it is left.
-- A driver gives a function that takes back what is left of it while it has not begun; nil on a host without an engine.

local drivers = {}

-- A timer that is called once; what it is called with then does the sleeping.
local ONCE = 1
local SOON = 0.01

--- The engine, where there is one that has this function.
local function engine_with(name)
  local engine = rawget(_G, "gma")
  return type(engine) == "table" and type(engine[name]) == "function" and engine or nil
end

--- Whether the engine can be given time from here.
function drivers.can_sleep()
  return engine_with("sleep") ~= nil and coroutine.isyieldable()
end

local function nothing_left() end

function drivers.timer(_, body)
  local engine = engine_with("timer")
  if not engine then
    return nil
  end
  engine.timer(body, SOON, ONCE)
  return nothing_left
end

--- A command line can only name a global, so there is one until the command has begun.
-- @string alias its name, which nobody else has
function drivers.cmd(alias, body)
  local engine = engine_with("cmd")
  if not engine then
    return nil
  end
  local function close()
    rawset(_G, alias, nil)
  end
  rawset(_G, alias, function()
    close()
    body()
  end)
  local ok, refusal = pcall(engine.cmd, string.format('LUA "if %s then %s() end"', alias, alias))
  if not ok or refusal then
    close()
    error(ok and "the command line refused to run the job: " .. tostring(refusal) or refusal, 0)
  end
  return close
end

return drivers
