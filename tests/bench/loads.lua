--- Work that shares nothing: arithmetic, and small tables and strings, over workers and over processes.

local gma2workers = require "gma2workers"
local measure = require "measure"
local peers = require("peers").installed()

local CPU = [[
local first, last = ...
local sum = 0
for i = first, last do sum = sum + math.sin(i) * math.cos(i) end
return sum]]

-- (Threads of lua-luv get every number as a float.)
local ALLOC = [[
local first, last = ...
local sum = 0
for i = math.tointeger(first), math.tointeger(last) do
  local row = { id = i, name = "fixture " .. i, values = { i, i + 1, i + 2 } }
  sum = sum + #row.name + row.values[3] - row.id
end
return sum]]

local function parts(count, total)
  local list = {}
  for part = 1, count do
    list[part] = { (part - 1) * total // count + 1, part * total // count }
  end
  return list
end

local function in_workers(code, list, workers)
  local func = load(code)
  local tasks = {}
  for part, range in ipairs(list) do
    tasks[part] = { func = func, args = range }
  end
  local sum = 0
  for _, entry in ipairs(gma2workers.RunSync { tasks = tasks, workers = workers }.result) do
    sum = sum + (entry.success and entry.data or error(entry.data))
  end
  return sum
end

local function in_processes(code, list)
  local outputs = {}
  for part, range in ipairs(list) do
    local whole = ('print(("%%.17g"):format((function(...) %s end)(%d, %d)))'):format(code, range[1], range[2])
    outputs[part] = io.popen("lua5.3 -e '" .. whole .. "'")
  end
  local sum = 0
  for _, output in ipairs(outputs) do
    sum = sum + tonumber(output:read("a"))
    output:close()
  end
  return sum
end

local function in_peer(run, code, list)
  local sum = 0
  for _, value in ipairs(run(code, list)) do
    sum = sum + value
  end
  return sum
end

local function row(name, code, total, tasks, workers, figures)
  local loop = load(code)
  local expected = loop(1, total)
  local sides = {
    { "plain loop", function() return loop(1, total) end },
    { "gma2workers", function() return in_workers(code, parts(tasks, total), workers) end },
    { "processes", function() return in_processes(code, parts(workers, total)) end },
  }
  for peer, run in pairs(peers) do
    sides[#sides + 1] = { peer, function() return in_peer(run, code, parts(tasks, total)) end }
  end
  measure.row {
    name = name, unit = "s", sides = sides, figures = figures,
    check = function(answer, side) assert(measure.is_close(answer, expected), side .. ": wrong answer") end,
  }
end

local function cpu_figures(least)
  return {
    { name = "of as many processes", of = "processes", over = "gma2workers", least = least },
    { name = "of the plain loop", of = "plain loop", over = "gma2workers" },
  }
end

row("cpu, 10 tasks, 2 workers", CPU, 4000000, 10, 2, cpu_figures(0.97))
row("cpu, 19 tasks, 19 workers", CPU, 4000000, 19, 19, cpu_figures(0.97))

local function alloc_figures(least)
  return {
    { name = "of the plain loop", of = "plain loop", over = "gma2workers", least = least },
    { name = "of as many processes", of = "processes", over = "gma2workers" },
  }
end

row("alloc, 10 tasks, 2 workers", ALLOC, 1000000, 10, 2, alloc_figures(2.3))
row("alloc, 19 tasks, 19 workers", ALLOC, 1000000, 19, 19, alloc_figures(1.75))

-- The same work over more and more workers.
do
  local total = 4000000
  local loop = load(CPU)
  local expected = loop(1, total)
  local speedups = { gma2workers = {}, processes = {} }
  for _, count in ipairs { 1, 2, 4, 10, 19 } do
    local list = parts(count, total)
    local ours, theirs = {}, {}
    for round = 1, 5 do
      local plain = measure.seconds(loop, 1, total)
      local seconds, sum = measure.seconds(in_workers, CPU, list, count)
      assert(measure.is_close(sum, expected), "wrong answer")
      ours[round] = plain / seconds
      seconds, sum = measure.seconds(in_processes, CPU, list)
      assert(measure.is_close(sum, expected), "wrong answer")
      theirs[round] = plain / seconds
    end
    table.insert(speedups.gma2workers, measure.median(ours))
    table.insert(speedups.processes, measure.median(theirs))
  end
  measure.report {
    name = "speed-up over workers", unit = "times the plain loop", sides = speedups,
    figures = { { name = "at 19 workers", value = speedups.gma2workers[5] } },
  }
end
