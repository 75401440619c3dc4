--- Wall seconds since some moment, as well as pure Lua can tell them.

-- The processor's clock stands still while the process sleeps: so it is never more than a second behind the calendar's.
local begun, skipped = os and os.time() - os.clock(), 0

local function processor_time()
  if not os then
    return 0
  end
  local now = os.clock()
  skipped = math.max(skipped, os.time() - begun - 1 - now)
  return now + skipped
end

-- The engine's own clock, from where there was an engine first, and how much less than the processor's it said then.
local engine_clock, less

--- @treturn number seconds, never fewer than before
return function()
  if engine_clock then
    return engine_clock() + less
  end
  local now = processor_time()
  local engine = rawget(_G, "gma")
  local clock = type(engine) == "table" and rawget(engine, "gettime")
  local engine_now = type(clock) == "function" and clock()
  if type(engine_now) == "number" then
    less = now - engine_now
    engine_clock = clock
  end
  return now
end
