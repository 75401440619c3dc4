--- Data and code that many tasks share: the same table or text, and a large module. They should cross once, and cost a task
-- nothing.

local gma2workers = require "gma2workers"
local measure = require "measure"

local function data_of(response)
  local sum = 0
  for _, entry in ipairs(response.result) do
    sum = sum + (entry.success and entry.data or error(entry.data))
  end
  return sum
end

local function fixtures(count)
  local rows = {}
  for i = 1, count do
    rows[i] = { id = i, name = "Fixture " .. i, universe = i // 512 + 1, address = i % 512 + 1 }
  end
  return rows
end

--- The ranges of `count` tasks over `size` items.
local function ranges(count, size)
  local list = {}
  for i = 1, count do
    list[i] = { (i - 1) * size // count + 1, i * size // count }
  end
  return list
end

--- The same work in a hundred tasks as in two: it should take about as long. `run(ranges)` gives the answer.
local function row(name, size, expected, run)
  local few, many = ranges(2, size), ranges(100, size)
  measure.row {
    name = name, unit = "ms a job", scale = 1e3,
    check = function(answer, side) assert(answer == expected, side .. ": wrong answer") end,
    sides = {
      { "two tasks", function() return run(few) end },
      { "a hundred tasks", function() return run(many) end },
    },
    figures = { { name = "times two tasks' time", of = "a hundred tasks", over = "two tasks", most = 2 } },
  }
end

local function tasks_of(list, make)
  local tasks = {}
  for i, range in ipairs(list) do
    tasks[i] = make(table.unpack(range))
  end
  return tasks
end

local COUNT = 20000
local table_of_rows = fixtures(COUNT)

row("the same table, 20,000 rows", COUNT, 512, function(list)
  local function count(rows, first, last)
    local found = 0
    for i = first, last do
      if rows[i].universe == 3 then found = found + 1 end
    end
    rows[first].universe = 3
    return found
  end
  return data_of(gma2workers.RunSync { workers = 2, tasks = tasks_of(list, function(first, last)
    return { func = count, args = { table_of_rows, first, last } }
  end) })
end)

row("the same table in Map's args", COUNT, 512, function(list)
  local function count(range, rows)
    local found = 0
    for i = range[1], range[2] do
      if rows[i].universe == 3 then found = found + 1 end
    end
    return found
  end
  local sum = 0
  for _, found in ipairs(gma2workers.Map(count, list, { args = { table_of_rows }, workers = 2, chunk = 1 })) do
    sum = sum + found
  end
  return sum
end)

row("the same table as a captured copy", COUNT, 512, function(list)
  local rows = table_of_rows
  local function count(first, last)
    local found = 0
    for i = first, last do
      if rows[i].universe == 3 then found = found + 1 end
    end
    return found
  end
  return data_of(gma2workers.RunSync { workers = 2, upvalues = "copy", tasks = tasks_of(list, function(first, last)
    return { func = count, args = { first, last } }
  end) })
end)

row("the same table as a global", COUNT, 512, function(list)
  local function count(first, last)
    local found = 0
    for i = first, last do
      if FIXTURES[i].universe == 3 then found = found + 1 end -- luacheck: ignore 113
    end
    return found
  end
  FIXTURES = table_of_rows -- luacheck: ignore 111
  local sum = data_of(gma2workers.RunSync { workers = 2, globals = { "FIXTURES" }, tasks = tasks_of(list, function(first, last)
    return { func = count, args = { first, last } }
  end) })
  FIXTURES = nil -- luacheck: ignore 111
  return sum
end)

do
  local LINE = "Fixture 1 at 50 percent, in a line of 64 bytes, which is the end\n"
  local text = LINE:rep((4 << 20) // #LINE)
  row("the same text, 4 MiB", #text, #text // #LINE, function(list)
    local function lines(whole, first, last)
      local found, at = 0, whole:find("\n", first, true)
      while at and at <= last do
        found, at = found + 1, whole:find("\n", at + 1, true)
      end
      return found
    end
    return data_of(gma2workers.RunSync { workers = 2, tasks = tasks_of(list, function(first, last)
      return { func = lines, args = { text, first, last } }
    end) })
  end)
end

-- What is left of a task's cost when the work, and all that a job does once, is taken off: `with` and `without` make the
-- tasks of one job, with the shared thing and without it.
local MANY, FEW = 500, 100
local function extra_row(name, with, without, most)
  local function side(make, count)
    local tasks = {}
    for i = 1, count do
      tasks[i] = make(i)
    end
    return { ("%s, %d tasks"):format(make == with and "with" or "without", count), function()
      return data_of(gma2workers.RunSync { tasks = tasks, workers = 1 }) // count
    end }
  end
  measure.row {
    name = name, unit = "ms a job", scale = 1e3,
    check = function(answer, at) assert(answer == 10, at .. ": wrong answer") end,
    sides = { side(with, MANY), side(with, FEW), side(without, MANY), side(without, FEW) },
    figures = { { name = "ms a task, more than without", most = most, join = function(of)
      local function each(what)
        return (of[("%s, %d tasks"):format(what, MANY)] - of[("%s, %d tasks"):format(what, FEW)]) / (MANY - FEW)
      end
      return each("with") - each("without")
    end } },
  }
end

do
  local large, small = fixtures(15000), fixtures(100)
  local function look(rows, i)
    return #rows[i]["name"]:upper():sub(1, 10)
  end
  local function task(rows)
    return function(i) return { func = look, args = { rows, 10 + i % 80 } } end
  end
  extra_row("a task that reads a table of 4 MiB", task(large), task(small), 0.02)
end

do
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write("local module = {}\n")
  for i = 1, 1500 do
    file:write(("function module.scale_%d(level, most)\n  return (level or %d) * (most or 255) // 100\nend\n"):format(i, i % 100))
  end
  file:write("return module\n")
  file:close()
  local folder, name = path:match("^(.*[/\\])(.-)$")
  package.path = package.path .. ";" .. folder .. "?"
  local module = require(name)
  local function scale(level, most)
    return (level or 0) * (most or 255) // 100
  end
  extra_row("a captured module of 1,500 functions",
    function() return { func = function(level) return module.scale_7(level, 100) end, args = { 10 } } end,
    function() return { func = function(level) return scale(level, 100) end, args = { 10 } } end, 0.01)
  os.remove(path)
end

-- The peak of a job in a process of its own, less the table on the host. A message needs at most as many bytes as its texts and
-- eight for each number or key.
do
  local values = {}
  for round = 1, 3 do
    values[round] = measure.number_from([[lua5.3 -e '
      local function kib(field)
        for line in io.lines("/proc/self/status") do
          local found = line:match("^" .. field .. ":%s*(%d+) kB")
          if found then return tonumber(found) end
        end
      end
      local gma2workers = require "gma2workers"
      local before = kib("VmRSS")
      local rows, message = {}, 0
      for i = 1, 100000 do
        rows[i] = { id = i, name = "Fixture " .. i, universe = i // 512 + 1, address = i % 512 + 1 }
        message = message + #rows[i].name + 4 * 8
      end
      collectgarbage()
      local size = kib("VmRSS") - before
      local function count(list, first, last)
        local found = 0
        for i = first, last do
          if list[i].universe == 3 then found = found + 1 end
        end
        list[first].universe = 3
        return found
      end
      local tasks = {}
      for i = 1, 100 do tasks[i] = { func = count, args = { rows, i * 1000 - 999, i * 1000 } } end
      local sum = 0
      for _, entry in ipairs(gma2workers.RunSync { tasks = tasks, workers = 2 }.result) do sum = sum + entry.data end
      assert(sum == 512)
      print((kib("VmHWM") - before - size) / (2 * size + message / 1024))']])
  end
  measure.report {
    name = "the same table, 100,000 rows, peak memory", unit = "times a message and a table a worker",
    sides = { ["a hundred tasks"] = values },
    figures = { { name = "times one message and a table a worker", value = measure.median(values), most = 1 } },
  }
end
