--- Loads whose instructions callgrind counts: "nothing" is what the others have to be compared with.

local gma2workers = require "gma2workers"

local function add(a, b)
  return a + b
end

local function count(list)
  return #list
end

local loads = {}

function loads.nothing() end

--- 20,000 tiny tasks.
function loads.tiny()
  local tasks = {}
  for i = 1, 20000 do
    tasks[i] = { func = add, args = { i, 1 } }
  end
  assert(gma2workers.RunSync { tasks = tasks, workers = 1 }.result[20000].data == 20001)
end

--- 100 jobs of one task.
function loads.one()
  for i = 1, 100 do
    assert(gma2workers.RunSync { tasks = { { func = add, args = { i, 1 } } } }.result[1].data == i + 1)
  end
end

--- A table of 20,000 rows.
function loads.table()
  local list = {}
  for i = 1, 20000 do
    list[i] = { id = i, name = "row " .. i, values = { 1.5, 2.5, 3 } }
  end
  assert(gma2workers.RunSync { tasks = { { func = count, args = { list } } } }.result[1].data == 20000)
end

loads[arg[1]]()
