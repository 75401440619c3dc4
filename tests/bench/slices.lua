--- The gain from an engine's slicing on the cooperative backend: the trigonometric load as a plain loop in one plugin, and
-- split over workers, in the stand-in with time slices. `scripts/bench --slices` runs this.
--
-- A tick has a fixed length here, and each coroutine a fixed slice of it, as on a console, where the engine has other
-- things to do. So the time falls with the number of coroutines, as long as their slices fit into a tick. The last column
-- is the used share of the ticks.
--
--   lua5.3 tests/bench/slices.lua [OPERATIONS] [INSTRUCTIONS A SLICE]

local console = require "console"
local measure = require "measure"
local native = require "consolenative"
local gma2workers = assert(loadfile("lua/init.lua"))("gma2workers", "lua/init.lua")

assert(gma2workers.info.backend == "cooperative", "call it by scripts/bench --slices")

local operations = tonumber(arg[1]) or 750000
local slice = tonumber(arg[2]) or 5000
local TICK = 0.010

local function waves(first, last)
  local sum = 0
  for i = first, last do
    sum = sum + math.sin(i) * math.cos(i)
  end
  return sum
end

local function in_workers(count, mode)
  local tasks = {}
  for part = 1, count do
    tasks[part] = { func = waves, args = { (part - 1) * operations // count + 1, part * operations // count } }
  end
  local sum = 0
  for _, entry in ipairs(gma2workers.RunSync({ tasks = tasks, workers = count, mode = mode }).result) do
    sum = sum + (entry.success and entry.data or error(entry.data))
  end
  return sum
end

--- Runs a function as a plugin: its result, the seconds, the ticks, and the used share of the ticks.
local function in_engine(func, ...)
  local engine = console.new { slice = slice }
  engine:install()
  local record = engine:start(func, ...)
  local began, ticks, busy = native.clock(), 0, 0
  while not engine:idle() do
    local tick_began = native.clock()
    engine:tick()
    ticks, busy = ticks + 1, busy + native.clock() - tick_began
    native.sleep(began + ticks * TICK - native.clock())
  end
  engine:uninstall()
  assert(record.status == "done", record.traceback)
  local seconds = native.clock() - began
  return record.results[1], seconds, ticks, busy / (ticks * TICK)
end

local expected, alone, alone_ticks = in_engine(waves, 1, operations)
print(("%d operations; ticks of %g ms, %d instructions a slice; over a plain loop in one plugin: %.2f s, %d ticks")
  :format(operations, TICK * 1000, slice, alone, alone_ticks))
print("| workers | mode | seconds | ticks | times as fast | of the ticks |")
print("|---:|---|---:|---:|---:|---:|")
for _, count in ipairs { 1, 2, 4, 10, 19 } do
  for _, mode in ipairs { "timer", "cmd" } do
    local sum, seconds, ticks, share = in_engine(in_workers, count, mode)
    assert(measure.is_close(sum, expected), "wrong answer")
    print(("| %d | %s | %.2f | %d | %.2f | %.0f %% |"):format(count, mode, seconds, ticks, alone_ticks / ticks, 100 * share))
  end
end
