--- gma.timer. Depends on the scheduler; a timer is one coroutine of its owner.
--
-- Known facts about the engine's timers: the first call comes at once, `dt` is the time between calls, and only the end of
-- its plugin stops a timer. Whether the first call comes inside `gma.timer` or at the next tick is not known, so both are
-- offered. A callback that sleeps delays its own timer's next call: calls never overlap.

local _ENV = require "console.globals" ()

local native = require "consolenative"

local timers = {}

--- Makes the engine's `gma.timer`.
function timers.new(engine)
  local function run(timer)
    local count = 0
    while timer.max_count == 0 or count < timer.max_count do
      count = count + 1
      timer.func(native.clock(), count)
      if count ~= timer.max_count then
        coroutine.yield(timer.dt)
      end
    end
  end

  local function ended(record)
    if record.cleanup then
      engine.scheduler:start("timer cleanup", record.owner, record.cleanup)
    end
  end

  local function start(func, dt, max_count, cleanup)
    if type(func) ~= "function" then
      error("bad argument #1 to 'timer' (function expected, got " .. type(func) .. ")", 2)
    elseif type(dt) ~= "number" then
      error("bad argument #2 to 'timer' (number expected, got " .. type(dt) .. ")", 2)
    elseif math.type(max_count) ~= "integer" and max_count ~= nil then
      error("bad argument #3 to 'timer' (integer expected, got " .. type(max_count) .. ")", 2)
    end
    local timer = { func = func, dt = dt, max_count = max_count or 0 }
    -- Complete from the start, since the caller may be stopped between any two instructions.
    local record = engine.scheduler:add({ name = "timer", owner = engine:owner(), cleanup = cleanup, ended = ended }, run, timer)
    if engine.options.firstTimerCall == "inside" then
      engine.scheduler:resume(record)
    end
  end

  --- The number of timers with calls to come.
  local function count()
    local n = 0
    for _, record in ipairs(engine.scheduler.list) do
      n = n + (record.ended == ended and record.status == "running" and 1 or 0)
    end
    return n
  end

  return start, count, ended
end

return timers
