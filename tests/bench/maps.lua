--- Cost and gain of Map: tiny items, small tables, and items that are worth a worker, compared with a plain loop and with a
-- task for each item.

local gma2workers = require "gma2workers"
local measure = require "measure"

local function plain(func, list)
  local results = {}
  for i = 1, #list do
    results[i] = func(list[i])
  end
  return results
end

local function as_tasks(func, list)
  local tasks = {}
  for i = 1, #list do
    tasks[i] = { func = func, args = { list[i] } }
  end
  local results = gma2workers.RunSync({ tasks = tasks, workers = 2 }).result
  for i = 1, #results do
    results[i] = results[i].data
  end
  return results
end

local function list_of(count, make)
  local list = {}
  for i = 1, count do
    list[i] = make(i)
  end
  return list
end

local function row(name, func, list, is_right, figures)
  local function map(options)
    return function() return gma2workers.Map(func, list, options) end
  end
  measure.row {
    name = name, unit = "us an item", scale = 1e6 / #list, rounds = 15, figures = figures,
    check = function(results, side)
      assert(#results == #list)
      for i = 1, #results, 97 do
        local result = results[i]
        if side == "Map, collecting" then
          result = result.data
        end
        assert(is_right(result, i), side .. ": wrong answer")
      end
    end,
    sides = {
      { "plain loop", function() return plain(func, list) end },
      { "Map", map { workers = 2 } },
      { "Map, one worker", map { workers = 1 } },
      { "Map, collecting", map { workers = 2, onError = "collect" } },
      { "a task each", function() return as_tasks(func, list) end },
    },
  }
end

local function figures(most)
  return {
    { name = "us an item", of = "Map" },
    { name = "times the plain loop's time", of = "Map", over = "plain loop", most = most },
    { name = "times as fast as a task each", of = "a task each", over = "Map" },
    { name = "us an item, collecting", of = "Map, collecting" },
  }
end

row("map, tiny items", function(n) return n * 2 end, list_of(100000, function(i) return i end),
  function(result, i) return result == 2 * i end, figures())

row("map, small tables", function(fixture) return { id = fixture.id, level = fixture.level * 2, name = fixture.name } end,
  list_of(20000, function(i) return { id = i, level = i % 100, name = "Fixture " .. i } end),
  function(result, i) return result.id == i and result.level == i % 100 * 2 end, figures())

row("map, items of some 10 us", function(n)
  local sum = 0
  for i = n, n + 100 do
    sum = sum + math.sin(i) * math.cos(i)
  end
  return sum
end, list_of(20000, function(i) return i end), function(result) return result end, figures(0.53))

-- A few long items: the last chunk must not keep a single worker busy.
row("map, 100 items of some 2 ms", function(n)
  local sum = 0
  for i = n, n + 20000 do
    sum = sum + math.sin(i) * math.cos(i)
  end
  return sum
end, list_of(100, function(i) return i end), function(result) return result end, figures(0.53))
