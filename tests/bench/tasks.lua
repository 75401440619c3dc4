--- The cost of a task: many tiny ones, many with a small table each way, and one alone.

local gma2workers = require "gma2workers"
local measure = require "measure"
local peers = require("peers").installed()

local COUNT = 20000

local function add(a, b)
  return a + b
end

local function adjust(fixture)
  return { id = fixture.id, level = fixture.level * 2, name = fixture.name }
end

local function mark()
  marked = true -- luacheck: ignore 111
end

local function plain(tasks)
  local result = {}
  for i = 1, #tasks do
    local task = tasks[i]
    local ok, value = pcall(task.func, table.unpack(task.args))
    result[i] = { success = ok, data = value }
  end
  return result
end

local function in_workers(tasks, workers)
  return gma2workers.RunSync { tasks = tasks, workers = workers }.result
end

local function list(count, func, arguments)
  local tasks = {}
  for i = 1, count do
    tasks[i] = { func = func, args = arguments(i) }
  end
  return tasks
end

local function row(name, tasks, is_right, figures, others)
  local function check(result, side)
    assert(#result == #tasks)
    for i = 1, #result, 97 do
      assert(result[i].success and is_right(result[i].data, i), side .. ": wrong answer")
    end
  end
  local sides = {
    { "plain loop", function() return plain(tasks) end },
    { "gma2workers", function() return in_workers(tasks, 2) end },
    { "one worker", function() return in_workers(tasks, 1) end },
  }
  measure.row {
    name = name, unit = "us a task", scale = 1e6 / #tasks, rounds = 15, check = check, figures = figures,
    sides = table.move(others or {}, 1, #(others or {}), #sides + 1, sides),
  }
end

row("tiny", list(COUNT, add, function(i) return { i, 1 } end), function(data, i) return data == i + 1 end, {
  { name = "us a task", of = "gma2workers", most = 0.28 },
  { name = "times the plain loop's time", of = "gma2workers", over = "plain loop", most = 1 },
  { name = "us a task, one worker", of = "one worker" },
})

local function fixture(i)
  return { { id = i, level = i % 100, name = "Fixture " .. i } }
end
row("fixture", list(COUNT, adjust, fixture), function(data, i)
  return data.id == i and data.level == i % 100 * 2 and data.name == "Fixture " .. i
end, {
  { name = "us a task", of = "gma2workers" },
  { name = "times the plain loop's time", of = "gma2workers", over = "plain loop", most = 1 },
})

-- A task that writes to a global, which must be restored before the next task.
row("a global set", list(COUNT, mark, function() return {} end), function(data) return data == nil end, {
  { name = "us a task, one worker", of = "one worker", most = 10 },
})

local function one_task(name, most)
  local tasks = list(1, add, function(i) return { i, 1 } end)
  local times = 1000
  measure.row {
    name = name, unit = "us a job", scale = 1e6 / times, rounds = 15,
    check = function(last) assert(last == 2) end,
    sides = {
      { "gma2workers", function()
        local last
        for _ = 1, times do
          last = in_workers(tasks)[1].data
        end
        return last
      end },
    },
    figures = { { name = "us a job", of = "gma2workers", most = most } },
  }
end

one_task("one task", 6)

-- A program's modules, which the task does not use: 600 functions.
do
  for n = 1, 30 do
    local module = {}
    for i = 1, 20 do
      module["f" .. i] = function() return i end
    end
    package.loaded["bench module " .. n] = module
  end
  one_task("one task, and modules")
  for n = 1, 30 do
    package.loaded["bench module " .. n] = nil
  end
end

do
  local tasks = list(1000, add, function(i) return { i, 1 } end)
  measure.row {
    name = "fresh state", unit = "us a task", scale = 1e6 / #tasks, rounds = 7,
    check = function(result) assert(result[1000].data == 1001) end,
    sides = {
      { "one worker", function()
        return gma2workers.RunSync { tasks = tasks, workers = 1, mode = "cmd" }.result
      end },
    },
    figures = { { name = "us a task, one worker", of = "one worker", most = 32 } },
  }
end

-- From a thousand tasks to a million, the cost of each must stay the same.
do
  local costs = {}
  for _, count in ipairs { 1000, 10000, 100000, 1000000 } do
    local tasks = list(count, add, function(i) return { i, 1 } end)
    local seconds = {}
    for round = 1, 5 do
      seconds[round] = measure.seconds(in_workers, tasks, 2)
    end
    costs[#costs + 1] = measure.median(seconds) * 1e6 / count
  end
  measure.report {
    name = "growth in tasks", unit = "us a task", sides = { ["1,000 to 1,000,000"] = costs },
    figures = { { name = "a million's cost of a thousand's", value = costs[4] / costs[1], most = 1.5 } },
  }
end

-- The tiny task in other libraries, with the same result records. It comes last, since the memory that those libraries
-- leave in the process slows down everything after them.
do
  local arguments = {}
  for i = 1, COUNT do
    arguments[i] = { i, 1 }
  end
  for name, run in pairs(peers) do
    row("tiny, beside " .. name, list(COUNT, add, function(i) return { i, 1 } end), function(data, i) return data == i + 1 end, {
      { name = "times as fast", of = name, over = "gma2workers" },
    }, {
      { name, function()
        local result = run("local a, b = ... return a + b", arguments)
        for i = 1, #result do
          result[i] = { success = true, data = result[i] }
        end
        return result
      end },
    })
  end
end
