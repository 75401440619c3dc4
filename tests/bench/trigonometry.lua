--- The load that freezes a console, measured side by side: the plain loop in this interpreter, the same
-- work split over tasks with as many workers, and over as many independent lua5.3 processes.
-- All sides of a row run in turn, again and again, and the table gives medians; the ratios are taken
-- pair by pair, since machines drift.
--
--   lua5.3 tests/bench/trigonometry.lua [MILLIONS] [ROUNDS]

local gma2workers = require "gma2workers"
local clock = require("consolenative").clock

local operations = (tonumber(arg[1]) or 20) * 1000000
local rounds = tonumber(arg[2]) or 5

local function waves(first, last)
  local sum = 0
  for i = first, last do
    sum = sum + math.sin(i) * math.cos(i)
  end
  return sum
end

local WAVES = [[
local sum = 0
for i = %d, %d do sum = sum + math.sin(i) * math.cos(i) end
print(string.format("%%.17g", sum))]]

--- First and last number of each part.
local function parts(count)
  local list = {}
  for part = 1, count do
    list[part] = { (part - 1) * operations // count + 1, part * operations // count }
  end
  return list
end

local function seconds_of(run, ...)
  local start = clock()
  local sum = run(...)
  return clock() - start, sum
end

local function plain()
  return waves(1, operations)
end

local function in_workers(count)
  local tasks = {}
  for part, range in ipairs(parts(count)) do
    tasks[part] = { func = waves, args = range }
  end
  local response = gma2workers.RunSync { tasks = tasks, workers = count }
  local sum = 0
  for _, result in ipairs(response.result) do
    sum = sum + (result.success and result.data or error(result.data))
  end
  return sum
end

local function in_processes(count)
  local outputs = {}
  for part, range in ipairs(parts(count)) do
    outputs[part] = io.popen(("lua5.3 -e '%s'"):format(WAVES:format(range[1], range[2])))
  end
  local sum = 0
  for _, output in ipairs(outputs) do
    sum = sum + tonumber(output:read("a"))
    output:close()
  end
  return sum
end

local function median(list)
  table.sort(list)
  return (list[(#list + 1) // 2] + list[#list // 2 + 1]) / 2
end

local function check(sum, expected)
  -- Parts are summed in another order than the whole.
  if math.abs(sum - expected) > 1e-6 * math.max(1, math.abs(expected)) then
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
    loop[round], sums[1] = seconds_of(plain)
    workers[round], sums[2] = seconds_of(in_workers, count)
    processes[round], sums[3] = seconds_of(in_processes, count)
    for _, sum in ipairs(sums) do
      check(sum, expected)
    end
    over_loop[round] = loop[round] / workers[round]
    over_processes[round] = processes[round] / workers[round]
  end
  print(("| %d | %.3f | %.3f | %.3f | %.2f | %.3f |"):format(count, median(loop), median(workers),
    median(processes), median(over_loop), median(over_processes)))
end
