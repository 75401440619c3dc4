--- The load that freezes a console: the plain loop in this interpreter, the same work split over tasks with as many
-- workers, and over as many independent lua5.3 processes. All sides of a row run in turn, again and again, and the table
-- shows medians. Ratios are taken pair by pair, since a machine's speed drifts.
--
--   lua5.3 tests/bench/trigonometry.lua [MILLIONS] [ROUNDS]

local measure = require "measure"
local split = require "split"

local operations = (tonumber(arg[1]) or 20) * 1000000
local rounds = tonumber(arg[2]) or 5

local WAVES = [[
local first, last = ...
local sum = 0
for i = first, last do sum = sum + math.sin(i) * math.cos(i) end
return sum]]

local waves = load(WAVES)

local function plain()
  return waves(1, operations)
end

local function in_workers(count)
  return split.in_workers(WAVES, split.parts(count, operations), count)
end

local function in_processes(count)
  return split.in_processes(WAVES, split.parts(count, operations))
end

local function check(sum, expected)
  -- The parts are summed in another order than the whole.
  if not measure.is_close(sum, expected) then
    error(("wrong answer: %.17g instead of %.17g"):format(sum, expected))
  end
end

print(("%d million operations, %d rounds, medians; speed-up over the plain loop, and over as many processes")
  :format(operations // 1000000, rounds))
print("| tasks and workers | plain loop s | workers s | processes s | speed-up | against processes |")
print("|---:|---:|---:|---:|---:|---:|")
local expected = plain()
check(in_workers(2), expected)
for _, count in ipairs { 1, 2, 4, 10, 19 } do
  local loop, workers, processes, over_loop, over_processes = {}, {}, {}, {}, {}
  for round = 1, rounds do
    local sums = {}
    loop[round], sums[1] = measure.seconds(plain)
    workers[round], sums[2] = measure.seconds(in_workers, count)
    processes[round], sums[3] = measure.seconds(in_processes, count)
    for _, sum in ipairs(sums) do
      check(sum, expected)
    end
    over_loop[round] = loop[round] / workers[round]
    over_processes[round] = processes[round] / workers[round]
  end
  print(("| %d | %.3f | %.3f | %.3f | %.2f | %.3f |"):format(count, measure.median(loop), measure.median(workers),
    measure.median(processes), measure.median(over_loop), measure.median(over_processes)))
end
