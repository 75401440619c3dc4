--- Loads for callgrind to count: the instructions of one more job are the difference between two counts.
--
--   lua5.3 tests/bench/instructions.lua tiny|one|modules|table JOBS

local gma2workers = require "gma2workers"

-- Collecting the garbage of the job before must not be counted.
collectgarbage("stop")

local function add(a, b)
  return a + b
end

local function count(list)
  return #list
end

local loads = {}

--- 20,000 tiny tasks.
function loads.tiny()
  local tasks = {}
  for i = 1, 20000 do
    tasks[i] = { func = add, args = { i, 1 } }
  end
  return function()
    assert(gma2workers.RunSync { tasks = tasks, workers = 1 }.result[20000].data == 20001)
  end
end

--- One task.
function loads.one()
  local tasks = { { func = add, args = { 1, 1 } } }
  return function()
    assert(gma2workers.RunSync { tasks = tasks }.result[1].data == 2)
  end
end

--- One task, in a program with modules of 600 functions.
function loads.modules()
  for n = 1, 30 do
    local module = {}
    for i = 1, 20 do
      module["f" .. i] = function() return i end
    end
    package.loaded["module " .. n] = module
  end
  return loads.one()
end

--- A table of 20,000 rows.
function loads.table()
  local list = {}
  for i = 1, 20000 do
    list[i] = { id = i, name = "row " .. i, values = { 1.5, 2.5, 3 } }
  end
  local tasks = { { func = count, args = { list } } }
  return function()
    assert(gma2workers.RunSync { tasks = tasks }.result[1].data == 20000)
  end
end

local run = loads[arg[1]]()
for _ = 1, tonumber(arg[2]) do
  run()
end
