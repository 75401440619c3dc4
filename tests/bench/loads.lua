--- Independent work: arithmetic, and small tables and strings, on workers and in processes.

local measure = require "measure"
local split = require "split"
local peers = require("peers").installed()

local parts, in_workers, in_processes = split.parts, split.in_workers, split.in_processes

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

-- The same work on more and more workers.
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
