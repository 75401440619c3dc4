--- Starts engine coroutines, by a timer or a command line. A driver starts one coroutine and returns a function that cleans up
-- if the coroutine has not begun. On a host without an engine, it returns nil.

local drivers = {}

-- The timer fires once; its function sleeps by itself.
local ONCE = 1
local SOON = 0.01

--- The engine, if the host has one with this function.
local function engine_with(name)
  local engine = rawget(_G, "gma")
  return type(engine) == "table" and type(engine[name]) == "function" and engine or nil
end

--- Whether this coroutine can sleep, so that the engine runs.
function drivers.can_sleep()
  return engine_with("sleep") ~= nil and coroutine.isyieldable()
end

local function no_cleanup() end

function drivers.timer(_, body)
  local engine = engine_with("timer")
  if not engine then
    return nil
  end
  engine.timer(body, SOON, ONCE)
  return no_cleanup
end

--- A command line can only call a global function, so this sets one until the command begins.
-- @string alias its unique name
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
