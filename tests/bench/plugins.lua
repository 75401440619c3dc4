--- Real work: the hot loops of plugins, as a plain loop and with workers, in plain Lua and in the engine stand-in, natively and
-- on the cooperative backend.

local gma2workers = require "gma2workers"
local measure = require "measure"

local cooperative = measure.cooperative()
local work = dofile(package.searchpath("work", package.path))

--- Measures a row. `run(module, workers)` gives the same answer as the plain loop.
local function row(name, plain, run, figures, rounds)
  local expected = plain()
  local sides = { { "plain loop", plain }, { "plain loop in the engine", measure.in_engine(plain) } }
  for label, module in pairs { [""] = gma2workers, ["cooperative, "] = cooperative } do
    for count, workers in ipairs { "one worker", "two workers" } do
      local function side() return run(module, count) end
      table.insert(sides, { label .. workers, side })
      table.insert(sides, { label .. workers .. " in the engine", measure.in_engine(side) })
    end
  end
  measure.row {
    name = name, unit = "ms", scale = 1e3, rounds = rounds or 7, sides = sides, figures = figures, processor = true,
    check = function(answer, side) assert(measure.is_same(answer, expected), side .. ": wrong answer") end,
  }
end

local function times_as_fast(workers)
  return { name = "times as fast: " .. workers, over = workers,
    of = workers:find("in the engine", 1, true) and "plain loop in the engine" or "plain loop" }
end

local PROCESSOR = { name = "processor time of all threads, of the plain loop's", of = "two workers, processor time",
  over = "plain loop, processor time" }
local HOSTS_PROCESSOR = { name = "processor time of the host's thread, of the plain loop's",
  of = "two workers, the host's processor time", over = "plain loop, processor time" }

local function data_of(response)
  local list = {}
  for i, entry in ipairs(response.result) do
    list[i] = entry.success and entry.data or error(entry.data)
  end
  return list
end

for _, one in ipairs(work) do
  local tasks = {}
  for i, part in ipairs(one.parts) do
    tasks[i] = { func = one.func, args = part }
  end
  row(one.name, function()
    local list = {}
    for i, part in ipairs(one.parts) do
      list[i] = one.func(table.unpack(part))
    end
    return list
  end, function(module, workers)
    return data_of(module.RunSync { tasks = tasks, workers = workers })
  end, {
    times_as_fast("one worker"), times_as_fast("two workers"),
    times_as_fast("one worker in the engine"), times_as_fast("two workers in the engine"),
    times_as_fast("cooperative, one worker in the engine"), times_as_fast("cooperative, two workers in the engine"),
    PROCESSOR, HOSTS_PROCESSOR,
  })
end

do
  local layout = work.layout
  local fixtures, markers = layout.fixtures, layout.markers
  local function plain()
    return layout.aim_all(fixtures, markers, 1, #fixtures)
  end
  local function in_tasks(count)
    local tasks, step = {}, #fixtures // count
    for i = 1, count do
      tasks[i] = { func = layout.aim_all, args = { fixtures, markers, (i - 1) * step + 1, i * step } }
    end
    return function(module, workers)
      local aimed = {}
      for _, part in ipairs(data_of(module.RunSync { tasks = tasks, workers = workers })) do
        table.move(part, 1, #part, #aimed + 1, aimed)
      end
      return aimed
    end
  end
  local figures = {
    { name = "of the plain loop's time", of = "two workers", over = "plain loop", most = 0.65 },
    { name = "of the plain loop's time, in the engine", of = "two workers in the engine", over = "plain loop in the engine",
      most = 0.65 },
    times_as_fast("one worker"), times_as_fast("two workers"),
    times_as_fast("one worker in the engine"), times_as_fast("two workers in the engine"),
    times_as_fast("cooperative, two workers in the engine"), PROCESSOR, HOSTS_PROCESSOR,
  }
  row("layout geometry, whole lists to 2 tasks", plain, in_tasks(2), figures, 11)
  row("layout geometry, whole lists to 20 tasks", plain, in_tasks(20), figures, 11)
  row("layout geometry, by Map", plain, function(module, workers)
    return module.Map(layout.aim, fixtures, { args = { markers }, workers = workers })
  end, figures, 11)
end
