--- The main rows in Lua 5.4 beside Lua 5.3: `lua5.3 luas.lua`, which runs itself in both in turn and writes a table for the page.
-- With the argument "round", it measures once in its own Lua and writes a line for each row.

local ROUNDS = 9

-- The columns of a row's line: its name, unit and figure.
local LINE = "([^\t]+)\t([^\t]+)\t([^\n]+)\n"

local function measure_round()
  local gma2workers = require "gma2workers"
  local measure = require "measure"
  local RunSync = gma2workers.RunSync

  --- Writes a row: the fewest seconds of three runs, in its unit.
  local function row(name, unit, scale, run)
    local least = math.huge
    for _ = 1, 3 do
      least = math.min(least, (measure.seconds(run)))
    end
    io.write(("%s\t%s\t%.6g\n"):format(name, unit, least * scale))
  end

  local function tasks_of(count, func, arguments)
    local tasks = {}
    for i = 1, count do
      tasks[i] = { func = func, args = arguments(i) }
    end
    return tasks
  end

  local function run(tasks, workers)
    for _, record in ipairs(RunSync({ tasks = tasks, workers = workers }).result) do
      assert(record.success, record.data)
    end
  end

  local function waves(first, last)
    local sum = 0
    for i = first, last do
      sum = sum + math.sin(i) * math.cos(i)
    end
    return sum
  end

  local function rows(first, last)
    local sum = 0
    for i = first, last do
      local fixture = { id = i, name = "fixture " .. i, values = { i, i + 1, i + 2 } }
      sum = sum + #fixture.name + fixture.values[3] - fixture.id
    end
    return sum
  end

  local function add(a, b) return a + b end

  local function fixtures(count)
    local list = {}
    for i = 1, count do
      list[i] = { id = i, level = i % 100, name = "Fixture " .. i }
    end
    return list
  end

  local function parts(func, total)
    return tasks_of(10, func, function(i) return { (i - 1) * total // 10 + 1, i * total // 10 } end)
  end

  row("arithmetic, plain loop", "ms", 1e3, function() waves(1, 1000000) end)
  row("arithmetic, 2 workers", "ms", 1e3, function() run(parts(waves, 1000000), 2) end)
  row("small tables, plain loop", "ms", 1e3, function() rows(1, 200000) end)
  row("small tables, 2 workers", "ms", 1e3, function() run(parts(rows, 200000), 2) end)
  local tiny = tasks_of(20000, add, function(i) return { i, 1 } end)
  row("a tiny task", "us", 1e6 / #tiny, function() run(tiny, 1) end)
  local one = tasks_of(1, add, function() return { 1, 2 } end)
  row("a job of one task", "us", 1e6 / 1000, function()
    for _ = 1, 1000 do run(one) end
  end)
  row("a state of its own", "us", 1e6 / 500, function()
    assert(RunSync({ tasks = table.move(tiny, 1, 500, 1, {}), workers = 1, mode = "cmd" }).failed == 0)
  end)
  local list = fixtures(50000)
  row("50,000 small tables, in", "ms", 1e3, function() run(tasks_of(1, function(all) return #all end, function() return { list } end)) end)
  row("50,000 small tables, out", "ms", 1e3, function() run(tasks_of(1, fixtures, function() return { 50000 } end)) end)
  row("Map, an item", "us", 1e6 / #list, function()
    gma2workers.Map(function(fixture) return fixture.level * 2 end, list, { workers = 2 })
  end)
  local count = 0
  row("a host call", "us", 1e6 / 20000, function()
    assert(RunSync({ workers = 1, host = { count = function() count = count + 1 return count end },
      tasks = { { func = function() for _ = 1, 20000 do host.count() end end } } }).failed == 0) -- luacheck: globals host
  end)
end

--- Runs a round in a Lua. Returns the figures by name, and the rows' names and units in their order.
local function round_in(lua)
  local folder = lua == "lua5.3" and "target" or "target/" .. lua
  local pipe = assert(io.popen(("LUA_CPATH='%s/release/lua/?.so;;' %s tests/bench/luas.lua round"):format(folder, lua)))
  local text = pipe:read("a")
  assert(pipe:close(), lua .. " failed")
  local figures, order = {}, {}
  for name, unit, figure in text:gmatch(LINE) do
    figures[name] = tonumber(figure)
    order[#order + 1] = { name = name, unit = unit }
  end
  return figures, order
end

local function shown(figure)
  return (figure < 100 and "%.3g" or "%.0f"):format(figure)
end

local function write_table()
  local median = require("measure").median
  local in_53, in_54, order = {}, {}, nil
  for round = 1, ROUNDS do
    in_53[round], order = round_in("lua5.3")
    in_54[round] = round_in("lua5.4")
  end
  print("| row | unit | 5.3 | 5.4 | 5.4 over 5.3 |\n|---|---|---:|---:|---:|")
  for _, row in ipairs(order) do
    local one, other, ratios = {}, {}, {}
    for round = 1, ROUNDS do
      one[round], other[round] = in_53[round][row.name], in_54[round][row.name]
      ratios[round] = other[round] / one[round]
    end
    print(("| %s | %s | %s | %s | %.2f |"):format(row.name, row.unit, shown(median(one)), shown(median(other)), median(ratios)))
  end
end

if ... == "round" then
  measure_round()
else
  write_table()
end
