--- Wall-clock seconds since a fixed moment, as precise as pure Lua allows.

local modules = ...

-- The processor clock stops while the process sleeps. So it is corrected whenever it is more than a second behind the calendar.
local begun, skipped = os and os.time() - os.clock(), 0

local function processor_time()
  if not os then
    return 0
  end
  local now = os.clock()
  skipped = math.max(skipped, os.time() - begun - 1 - now)
  return now + skipped
end

-- The engine's clock, once the host has an engine, and the number of seconds to add to its time.
local engine_clock, offset

--- Returns the time.
-- @treturn number seconds, which never decrease
return function()
  if engine_clock then
    return engine_clock() + offset
  end
  local now = processor_time()
  local clock = modules.engine.find("clock")
  local engine_now = clock and clock()
  if type(engine_now) == "number" then
    offset = now - engine_now
    engine_clock = clock
  end
  return now
end
