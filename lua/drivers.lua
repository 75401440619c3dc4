--- Starts coroutines of the engine, by a timer or a command line. A driver starts one coroutine and returns a function that cleans
-- up if the coroutine has not begun. On a host without an engine, it returns nil.

local _, modules = ...
local engine = modules.engine

local drivers = {}

-- The timer fires once; its function sleeps by itself.
local ONCE = 1
local SOON = 0.01

--- Whether this coroutine can sleep, so that the engine runs.
function drivers.can_sleep()
  return engine.find("sleep") ~= nil and coroutine.isyieldable()
end

--- Lets the engine run meanwhile.
function drivers.sleep(seconds)
  engine.find("sleep")(seconds)
end

local function no_cleanup() end

function drivers.timer(_, body)
  local timer = engine.find("timer")
  if not timer then
    return nil
  end
  timer(body, SOON, ONCE)
  return no_cleanup
end

--- A command line can only call a global function, so this sets one until the command begins. An engine without a command line has
-- its timer for both modes.
-- @string alias its unique name
function drivers.cmd(alias, body)
  local command = engine.find("command")
  if not command then
    return drivers.timer(alias, body)
  end
  local function close()
    rawset(_G, alias, nil)
  end
  rawset(_G, alias, function()
    close()
    body()
  end)
  local ok, refusal = pcall(command, string.format("if %s then %s() end", alias, alias))
  if not ok or refusal then
    close()
    error(ok and "the command line refused to run the job: " .. tostring(refusal) or refusal, 0)
  end
  return close
end

return drivers
