--- Stops tasks ten thousand times, at random moments and under load: by time limits, by cancels from the host's code and
-- from inside a host call, after the failure of another task, and by several of them at once; with and without a grace, in tasks
-- and in `init`. Each task must have exactly one outcome of a right kind,
-- whatever it did at that moment. No task may be lost, and no thread may stay behind.
--
--   lua5.3 tests/stress/stops.lua [STOPS] [SEED]

-- luacheck: globals gma

local gma2workers = require "gma2workers"
local clock = require("consolenative").clock
local process = require "stress.process"
local own_threads = process.threads()

local wanted = tonumber(arg[1]) or 10000
local seed = math.tointeger(arg[2]) or os.time()
math.randomseed(seed)
print(("stops: %d, seed %d"):format(wanted, seed))

-- The most that a job of this test, and the load beside it, use.
local WORKERS, LOAD_WORKERS, TASKS = 6, 2, 12

-- Now and then cancels the current job from inside a host call.
local interfere

gma = {
  show = {
    getvar = function(name)
      interfere()
      return name .. "!"
    end,
    fail = function(name)
      error("no " .. name, 0)
    end,
  },
  echo = function() end,
  sleep = function() end,
}

-- Tasks that never end --------------------------------------------------------------------------------------

local endless = {}

function endless.loop()
  while true do end
end

function endless.arithmetic()
  local x = 0
  while true do
    for i = 1, 100 do x = x + i % 7 end
  end
end

function endless.recursion()
  local function deep(n) return n > 0 and deep(n - 1) + 1 or 0 end
  while true do deep(150) end
end

function endless.overflow()
  local function deep() return 1 + deep() end
  while true do pcall(deep) end
end

function endless.wrapped()
  coroutine.wrap(function()
    coroutine.wrap(function()
      while true do end
    end)()
  end)()
end

function endless.nested(depth)
  local function go(level)
    if level == 0 then
      while true do end
    end
    local inner = coroutine.create(go)
    while true do
      coroutine.resume(inner, level - 1)
    end
  end
  go(depth)
end

function endless.generators()
  while true do
    for i in coroutine.wrap(function() for i = 1, 5 do coroutine.yield(i) end end) do
      assert(i <= 5)
    end
  end
end

function endless.failing_coroutines()
  while true do
    coroutine.resume(coroutine.create(error), "once more")
    pcall(coroutine.wrap(function() error({}) end))
  end
end

function endless.protected()
  while true do
    pcall(function()
      while true do end
    end)
  end
end

function endless.raising()
  while true do
    pcall(error, "again")
    pcall(pcall, error)
  end
end

function endless.handled()
  local function handler()
    while true do end
  end
  while true do
    xpcall(function() error("caught") end, handler)
    xpcall(handler, handler)
  end
end

function endless.stubborn()
  -- Whatever stops it, it starts again: in a coroutine, in a handler, in a comparator.
  local function again()
    while true do
      pcall(coroutine.wrap(function()
        while true do
          xpcall(table.sort, again, { 3, 1, 2 }, function() while true do end end)
        end
      end))
    end
  end
  while true do
    xpcall(again, again)
  end
end

function endless.allocating()
  while true do
    local list = {}
    for i = 1, 200 do list[i] = { #list, tostring(i) } end
  end
end

function endless.closing()
  while true do
    local made = {}
    for i = 1, 20 do made[i] = function() return i end end
    for i = 1, 20 do assert(made[i]() == i) end
  end
end

function endless.finalizing()
  while true do
    setmetatable({}, { __gc = function() for _ = 1, 10 do end end })
  end
end

function endless.sorting()
  while true do
    local list = {}
    for i = 1, 50 do list[i] = i * 7919 % 101 end
    table.sort(list, function(a, b) return a < b end)
    assert(list[1] <= list[50])
  end
end

function endless.comparing()
  table.sort({ 3, 1, 2 }, function()
    while true do pcall(error) end
  end)
end

function endless.substituting()
  while true do
    ("abcdefgh"):gsub(".", function(c) return c:upper() end)
  end
end

function endless.in_callback()
  ("x"):gsub("x", function()
    while true do
      pcall(string.rep, "x", 10)
    end
  end)
end

function endless.metamethods()
  local meta = {}
  function meta.__index(_, key) return key end
  function meta.__add(a) return a end
  function meta.__lt() while true do end end
  local thing = setmetatable({}, meta)
  for i = 1, math.random(1000) do
    assert(thing[i] == i and thing + 1 == thing)
  end
  return thing < thing
end

function endless.described()
  return tostring(setmetatable({}, { __tostring = function() while true do end end }))
end

function endless.raising_described()
  error(setmetatable({}, { __tostring = function() while true do end end }))
end

function endless.loading()
  while true do
    assert(load("local a = ... return a + 1"))(1)
  end
end

function endless.texts()
  local text = ""
  while true do
    text = (text .. "x"):rep(3):sub(-100)
    assert(text:find("x*$") and ("%d"):format(#text))
  end
end

function endless.calling(name)
  while true do
    assert(gma.show.getvar(name) == name .. "!")
  end
end

function endless.calling_in_coroutines(name)
  while true do
    assert(coroutine.wrap(gma.show.getvar)(name) == name .. "!")
    pcall(gma.show.fail, name)
  end
end

function endless.echoing()
  while true do
    for _ = 1, 10 do gma.echo("still here") end
    gma.show.getvar("flow")
  end
end

function endless.sleeping()
  while true do
    gma.sleep(1000)
  end
end

function endless.napping()
  while true do
    pcall(gma.sleep, 0.0001)
  end
end

if _VERSION ~= "Lua 5.3" then
  for name, text in pairs(require "stress.only_in_54") do
    endless[name] = assert(load(text, "=only_in_54"))
  end
end

-- Tasks that end by themselves ------------------------------------------------------------------------------

local ending = {}

function ending.sum(n)
  local sum = 0
  for i = 1, n do sum = sum + i end
  return sum, n
end

function ending.sum_inside(n)
  local sum = 0
  for i in coroutine.wrap(function() for i = 1, n do coroutine.yield(i) end end) do
    sum = sum + i
  end
  return sum, n
end

function ending.sorted(n)
  local list = {}
  for i = 1, n % 997 + 1 do list[i] = -i end
  table.sort(list, function(a, b) return a < b end)
  local sum = 0
  for i = 1, n do sum = sum + i end
  return list[1] == -#list and sum, n
end

function ending.called(n)
  local answers = 0
  for i = 1, n % 50 do
    answers = answers + (gma.show.getvar("v" .. i) == "v" .. i .. "!" and 1 or 0)
  end
  return answers == n % 50 and n * (n + 1) // 2, n
end

function ending.slept(n)
  gma.sleep(n * 1e-8)
  return n * (n + 1) // 2, n
end

function ending.failed(n)
  local sum = 0
  for i = 1, n do sum = sum + i end
  error("failed at " .. n, 0)
end

local function names_of(list)
  local names = {}
  for name in pairs(list) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

local ENDLESS, ENDING = names_of(endless), names_of(ending)

local function one_of(list)
  return list[math.random(#list)]
end

--- A random number between two powers of ten, evenly distributed over the magnitudes.
local function between(low, high)
  return 10 ^ (low + (high - low) * math.random())
end

-- The load beside it, whose tasks are never disturbed -----------------------------------------------------------

local load_job, load_rounds = nil, 0

local function keep_the_load_up(is_last)
  gma2workers.Poll()
  if load_job and load_job:status() == "done" or is_last then
    for i, entry in ipairs(load_job:wait().result) do
      local n = i * 10
      assert(entry.success and entry.data == n * (n + 1) // 2 and entry.returns[2] == n,
        "an undisturbed task went wrong")
    end
    load_rounds, load_job = load_rounds + 1, nil
  end
  if not load_job and not is_last then
    local tasks = {}
    for i = 1, 500 do
      tasks[i] = { func = one_of { ending.sum, ending.sum_inside, ending.sorted }, args = { i * 10 } }
    end
    load_job = gma2workers.RunAsync { tasks = tasks, workers = LOAD_WORKERS, onComplete = function() end }
  end
end

-- One job ---------------------------------------------------------------------------------------------------

local counts = { timeout = 0, cancelled = 0, ["in time"] = 0, ["not begun"] = 0 }

local function make_tasks()
  local tasks, kinds, are_endless = {}, {}, false
  for i = 1, math.random(TASKS) do
    if math.random() < 0.6 then
      local name = one_of(ENDLESS)
      local args = name == "nested" and { math.random(0, 6) } or { "name" .. i }
      tasks[i], kinds[i] = { func = endless[name], args = args, name = name }, "endless"
      are_endless = true
    else
      local name = one_of(ENDING)
      local n = math.floor(between(1, 5.5))
      tasks[i], kinds[i] = { func = ending[name], args = { n }, name = name }, name
    end
  end
  return tasks, kinds, are_endless
end

--- Checks how a task ended.
local function check(task, kind, entry, timeout, is_cancelled)
  local n = task.args[1]
  if entry.success then
    assert(kind ~= "endless" and kind ~= "failed", "it should not have succeeded")
    assert(entry.data == n * (n + 1) // 2 and entry.returns[2] == n, "wrong result")
    counts["in time"] = counts["in time"] + 1
  elseif entry.kind == "timeout" then
    -- `init` has the same limit.
    local limit = entry.data:match("^Error: timed out after (%S+) s$") or entry.data:match("^Error: init timed out after (%S+) s %(")
    assert(timeout and tonumber(limit) == timeout, "wrong time-out")
    counts.timeout = counts.timeout + 1
  elseif entry.kind == "cancelled" then
    assert(is_cancelled and entry.data == "Error: cancelled", "wrong cancel")
    local count = entry.traceback and "cancelled" or "not begun"
    counts[count] = counts[count] + 1
  else
    local expected = kind == "failed" and "Error: failed at " .. n
    assert(entry.kind == "runtime" and entry.data == expected, "wrong failure")
    counts["in time"] = counts["in time"] + 1
  end
end

local function run_job()
  local tasks, kinds, are_endless = make_tasks()
  local has_limit = math.random() < 0.6
  -- A limit that can be written exactly, so that the message is known.
  local timeout = has_limit and math.ceil(between(-6, -2) * 1e6) / 1e6 or nil
  local cancels = are_endless and not has_limit or math.random() < 0.4
  local is_cancelled, calls, completed = false, 0, 0
  local grace = math.random() < 0.3 and between(-6, -2.3) or nil
  local stops_on_error = math.random() < 0.15
  local init = math.random() < 0.2 and function() gma.show.getvar("init") end or nil
  local job

  local function cancel()
    is_cancelled = job:cancel() or is_cancelled
  end
  local calls_until_cancel = cancels and math.random() < 0.5 and math.random(30)
  function interfere()
    calls = calls + 1
    if calls == calls_until_cancel then
      cancel()
    end
  end

  -- In some jobs, onResult counts the outcomes, and may cancel the job; in some, a loop over job:results() does.
  local counts_results, loops = math.random() < 0.5, math.random() < 0.3
  local reported, looped = {}, {}
  local function report(index, record)
    assert(completed == 0 and not reported[index], "onResult was called twice, or too late")
    reported[index] = record
    if cancels and math.random() < 0.05 then
      cancel()
    end
  end

  job = gma2workers.RunAsync {
    onResult = counts_results and report or nil,
    tasks = tasks, workers = math.random(WORKERS), mode = math.random() < 0.2 and "cmd" or "timer",
    timeout = timeout, grace = grace, stopOnError = stops_on_error, init = init,
    sandbox = math.random() < 0.1, onComplete = function() completed = completed + 1 end,
  }
  if cancels then
    local moment = math.random() < 0.1 and 0 or
      -- Around the moment when the time limit is over, or at any time.
      has_limit and math.random() < 0.5 and timeout * (0.8 + 0.4 * math.random()) or between(-6, -2)
    job:wait(moment)
    cancel()
  end
  if loops then
    for index, record in job:results() do
      assert(not looped[index], "job:results() gave a record twice")
      looped[index] = record
    end
  end
  local response = job:wait(60)
  if not response then
    local _, done, total = job:status()
    error(("a job hangs: %d of %d tasks are done"):format(done, total))
  end
  assert(completed == 1 and #response.result == #tasks)
  assert((response.cancelled or false) == is_cancelled)
  local failed = 0
  for _, entry in ipairs(response.result) do
    failed = failed + (entry.success and 0 or 1)
  end
  assert(response.failed == failed, "wrong number of failed tasks")
  local may_be_cancelled = is_cancelled or stops_on_error and failed > 0
  for i, task in ipairs(tasks) do
    local entry = response.result[i]
    assert(not counts_results or reported[i] == entry, "onResult was not called with the record")
    assert(not loops or looped[i] == entry, "job:results() did not give the record")
    local ok, problem = pcall(check, task, kinds[i], entry, timeout, may_be_cancelled)
    if not ok then
      error(("%s\ntask '%s' (%s), limit %s, cancelled %s: %s, kind %s\n%s"):format(problem, task.name,
        task.args[1], timeout, is_cancelled, entry.data, entry.kind, entry.traceback))
    end
  end
  assert(gma2workers.info.lost == 0, "a thread was lost")
end

-- The whole run ----------------------------------------------------------------------------------------------

local began, jobs = clock(), 0
local next_report = wanted // 10
repeat
  keep_the_load_up()
  run_job()
  jobs = jobs + 1
  local stops = counts.timeout + counts.cancelled
  if stops >= next_report then
    next_report = next_report + wanted // 10
    print(("%6d stops, %d jobs, %.1f s, %d threads, %.1f MiB"):format(stops, jobs, clock() - began,
      gma2workers.info.threads, process.memory()))
  end
until stops >= wanted
keep_the_load_up(true)

local threads = gma2workers.info.threads
assert(threads <= math.max(WORKERS + LOAD_WORKERS, process.cores()), "too many threads: " .. threads)
-- The program's own thread, and the watchdog.
assert(not own_threads or process.has_at_most(own_threads + threads + 1), "threads stay behind")
for _, what in ipairs(names_of(counts)) do
  print(("%-10s %d"):format(what, counts[what]))
end
print(("%d jobs beside %d of load, %d threads, 0 lost, %.1f s"):format(jobs, load_rounds, threads, clock() - began))
