--- The cost of crossing: a large table in and out, a large string, and the growth with size.

local gma2workers = require "gma2workers"
local measure = require "measure"

local function rows(count)
  local list = {}
  for i = 1, count do
    list[i] = { id = i, name = "row " .. i, values = { 1.5, 2.5, 3 } }
  end
  return list
end

--- The usual deep copy.
local function copy(value)
  if type(value) ~= "table" then
    return value
  end
  local twin = {}
  for key, item in pairs(value) do
    twin[copy(key)] = copy(item)
  end
  return twin
end

local function count_of(list)
  return #list
end

local function run(func, ...)
  local entry = gma2workers.RunSync { tasks = { { func = func, args = table.pack(...) } }, workers = 1 }.result[1]
  return entry.success and entry.data or error(entry.data)
end

local COUNT = 200000
local table_in = rows(COUNT)
measure.row {
  name = "table in, 200,000 rows", unit = "s", rounds = 5,
  check = function(answer) assert(answer == COUNT) end,
  sides = {
    { "deep copy in Lua", function() return #copy(table_in) end },
    { "gma2workers", function() return run(count_of, table_in) end },
  },
  figures = {
    { name = "times the speed of the copy", of = "deep copy in Lua", over = "gma2workers", least = 2.2 },
    { name = "the same, where the worker reads what the host still writes", of = "deep copy in Lua", over = "gma2workers", least = 3 },
  },
}
measure.row {
  name = "table out, 200,000 rows", unit = "s", rounds = 5,
  check = function(answer) assert(#answer == COUNT and answer[COUNT].name == "row " .. COUNT) end,
  sides = {
    { "built on the host", function() return rows(COUNT) end },
    { "gma2workers", function() return run(rows, COUNT) end },
  },
  figures = { { name = "times building it", of = "gma2workers", over = "built on the host", most = 1.8 } },
}
table_in = nil

local TEXT = ("x"):rep(64 << 20)
local function length(text)
  return #text
end
-- Built from large parts, since building it is not measured.
local function repeated(size)
  return ("x"):rep(1 << 20):rep(size >> 20)
end
local function length_of_repeated(size)
  return #("x"):rep(1 << 20):rep(size >> 20)
end
measure.row {
  name = "64 MiB string", unit = "ms", scale = 1e3,
  check = function(answer) assert(answer == #TEXT) end,
  sides = {
    { "in", function() return run(length, TEXT) end },
    { "made in a task", function() return run(length_of_repeated, #TEXT) end },
    { "made in a task, and out", function() return #run(repeated, #TEXT) end },
    { "made on the host", function() return #repeated(#TEXT) end },
  },
  figures = {
    { name = "ms in", of = "in", most = 15 },
    { name = "ms out", of = "made in a task, and out", less = "made in a task", most = 35 },
    { name = "times making it on the host", of = "made in a task, and out", over = "made on the host" },
  },
}

-- Eight tasks give back 25,000 rows each. The processor time of all threads, and the host's part of it.
do
  local PARTS, EACH = 8, 25000
  local function patch(count)
    local list = {}
    for i = 1, count do
      local address = ("%d.%03d"):format(i // 512 + 1, i % 512 + 1)
      list[i] = { id = i, name = ("Fixture %d"):format(i), address = address, level = i % 100 / 2 }
    end
    return list
  end
  local tasks = {}
  for i = 1, PARTS do
    tasks[i] = { func = patch, args = { EACH } }
  end
  local function used(build)
    collectgarbage()
    local all, host = os.clock(), measure.thread_seconds()
    local lists = build()
    all, host = os.clock() - all, measure.thread_seconds() - host
    for _, list in ipairs(lists) do
      assert(#list == EACH and list[EACH].name == "Fixture " .. EACH, "wrong answer")
    end
    return all * 1e3, host * 1e3
  end
  local sides = { ["built on the host"] = {}, ["in tasks, all threads"] = {}, ["in tasks, the host's thread"] = {} }
  local total, share, part = {}, {}, {}
  for round = 1, 5 do
    local built = used(function()
      local lists = {}
      for i = 1, PARTS do
        lists[i] = patch(EACH)
      end
      return lists
    end)
    local all, host = used(function()
      local lists = {}
      for i, entry in ipairs(gma2workers.RunSync { tasks = tasks, workers = 2 }.result) do
        lists[i] = entry.data
      end
      return lists
    end)
    sides["built on the host"][round], total[round] = built, all / built
    share[round], part[round] = host / all, host / built
    sides["in tasks, all threads"][round], sides["in tasks, the host's thread"][round] = all, host
  end
  measure.report {
    name = "8 times 25,000 rows out", unit = "ms of processor time", sides = sides,
    figures = {
      { name = "processor time, of building them on the host", value = measure.median(total), most = 1.3 },
      { name = "the host's share of it", value = measure.median(share), most = 0.25 },
      { name = "the host's processor time, of building them", value = measure.median(part) },
    },
  }
end

do
  local costs = {}
  for _, count in ipairs { 1000, 10000, 100000, 400000 } do
    local value = rows(count)
    local seconds = {}
    for round = 1, 5 do
      seconds[round] = measure.seconds(run, count_of, value)
    end
    costs[#costs + 1] = measure.median(seconds) * 1e6 / count
  end
  measure.report {
    name = "growth of a table", unit = "us a row", sides = { ["1,000 to 400,000 rows"] = costs },
    figures = { { name = "the largest's cost of the smallest's", value = costs[4] / costs[1], most = 2 } },
  }
end
