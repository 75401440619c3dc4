--- Wall seconds since a fixed moment, as well as pure Lua can tell them.

-- The processor's clock stops while the process sleeps, so it is corrected whenever it is more than a second behind the
-- calendar's.
local begun, skipped = os and os.time() - os.clock(), 0

local function processor_time()
  if not os then
    return 0
  end
  local now = os.clock()
  skipped = math.max(skipped, os.time() - begun - 1 - now)
  return now + skipped
end

-- The engine's own clock, once there is an engine, and what to add to its time.
local engine_clock, offset

--- @treturn number seconds, which never decrease
return function()
  if engine_clock then
    return engine_clock() + offset
  end
  local now = processor_time()
  local engine = rawget(_G, "gma")
  local clock = type(engine) == "table" and rawget(engine, "gettime")
  local engine_now = type(clock) == "function" and clock()
  if type(engine_now) == "number" then
    offset = now - engine_now
    engine_clock = clock
  end
  return now
end
