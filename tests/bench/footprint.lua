--- Costs before any work is done: the time until the first result, and memory. Each sample is a process of its own.

local measure = require "measure"

local function sampled(name, unit, code, rounds, figure)
  local values = {}
  for round = 1, rounds do
    values[round] = measure.number_from("lua5.3 -e '" .. code .. "'")
  end
  figure.value = measure.median(values)
  measure.report { name = name, unit = unit, sides = { gma2workers = values }, figures = { figure } }
end

sampled("require to first result", "us", [[
  local clock = require("consolenative").clock
  local start = clock()
  local result = require("gma2workers").RunSync { tasks = { { func = function(a) return a end, args = { 7 } } } }.result
  local seconds = clock() - start
  assert(result[1].data == 7)
  print(seconds * 1e6)]], 31, { name = "us", most = 400 })

local KIB = [[
  local function kib(field)
    for line in io.lines("/proc/self/status") do
      local found = line:match("^" .. field .. ":%s*(%d+) kB")
      if found then return tonumber(found) end
    end
  end]]

--- The memory of idle workers, each `pause` seconds after its job.
local function sampled_idle(name, pause, rounds, figure)
  sampled(name, "KiB", KIB .. [[
  local gma2workers = require "gma2workers"
  local here = 0
  gma = { come = function() here = here + 1 end, here = function() return here end }
  local function meet(count) gma.come() while gma.here() < count do gma.sleep(0.001) end end
  gma.sleep = function() end
  local function run(count)
    here = 0
    local tasks = {}
    for i = 1, count do tasks[i] = { func = meet, args = { count } } end
    for _, entry in ipairs(gma2workers.RunSync { tasks = tasks, workers = count }.result) do
      assert(entry.success, entry.data)
    end
  end
  -- A thread looks for more work before it sleeps.
  local function rest() collectgarbage() collectgarbage() os.execute("sleep ]] .. pause .. [[") end
  run(4)
  rest()
  local before = kib("VmRSS")
  run(104)
  rest()
  print((kib("VmRSS") - before) / 100)]], rounds, figure)
end

sampled_idle("idle worker", 0.2, 7, { name = "KiB a worker", most = 40 })
sampled_idle("a thread that idles over a second", 1.2, 3, { name = "KiB a worker", most = 16 })

sampled("1,000 waiting tasks", "KiB", KIB .. [[
  local gma2workers = require "gma2workers"
  gma = { sleep = function() end }
  local function block() gma.sleep(0.5) end
  local function add(a, b) return a + b end
  local function start(count)
    local tasks = { { func = block } }
    for i = 1, count do tasks[i + 1] = { func = add, args = { i, 1 } } end
    collectgarbage() collectgarbage("stop")
    local before = kib("VmRSS") - collectgarbage("count")
    local job = gma2workers.RunAsync { tasks = tasks, workers = 1, onComplete = print }
    return job, kib("VmRSS") - collectgarbage("count") - before
  end
  start(1):cancel()
  local job, grown = start(100000)
  job:cancel()
  print(grown / 100)]], 5, { name = "KiB", most = 200 })

sampled("table in, peak memory", "times the table", KIB .. [[
  local gma2workers = require "gma2workers"
  local before = kib("VmRSS")
  local list = {}
  for i = 1, 200000 do list[i] = { id = i, name = "row " .. i, values = { 1.5, 2.5, 3 } } end
  collectgarbage()
  local size = kib("VmRSS") - before
  local function count(list) return #list end
  assert(gma2workers.RunSync { tasks = { { func = count, args = { list } } } }.result[1].data == 200000)
  print((kib("VmHWM") - before - size) / size)]], 3, { name = "times the table, beside it", most = 2 })
