--- A long show: a million tasks in ten thousand jobs and some Maps, in both modes, at once and in the background, with all
-- options, all kinds of tasks (see kinds.lua), time limits, cancels, failures and host calls mixed in. Every result must be
-- right, and be reported exactly once. After the first tenth, neither memory nor threads may grow.
--
--   lua5.3 tests/stress/soak.lua [JOBS] [SEED] [console]
--
-- With `console` it runs in the engine stand-in, where timers and command lines turn the jobs, and callbacks can yield.

-- luacheck: globals gma

local gma2workers = require "gma2workers"
local console = require "console"
local clock = require("consolenative").clock
local process = require "stress.process"
local stress = require "stress.kinds"
local settings = require "spec.fixtures.settings"
local own_threads = process.threads()
-- Functions of a module cross by name. These must cross as code.
package.loaded["stress.kinds"] = nil

local jobs_wanted = tonumber(arg[1]) or 10000
local seed = math.tointeger(arg[2]) or os.time()
local in_console = arg[3] == "console"
math.randomseed(seed)
print(("soak: %d jobs, seed %d%s"):format(jobs_wanted, seed, in_console and ", in the engine stand-in" or ""))

local TASKS, WORKERS, AT_ONCE = 100, 6, 3

-- A time limit that only an endless task reaches, however busy the machine is, and one for endless tasks.
local AMPLE, SHORT = 60, 0.005

local echoed = 0

local function echo()
  echoed = echoed + 1
end

local kinds, names = stress.kinds, {}
for name, kind in pairs(kinds) do
  names[#names + 1], kind.name = name, name
end
table.sort(names)

local function chance(share)
  return math.random() < share
end

local function one_of(list)
  return list[math.random(#list)]
end

local function one_of_the_kinds(options)
  while true do
    local kind = kinds[one_of(names)]
    if math.random() * 2 < (kind.share or 1) and (not kind.suits or kind.suits(options)) then
      return kind
    end
  end
end

-- Jobs ------------------------------------------------------------------------------------------------------

local counts = { tasks = 0, succeeded = 0, failed = 0, stopped = 0, unbegun = 0, in_background = 0, cmd = 0, items = 0 }
local number = 0

local function next_number()
  number = number + 1
  return number
end

local INITS = { "plain", "plain", "calling", "calling", "failing" }

local function make_options(job)
  local init = chance(0.2) and one_of(INITS)
  job.init_fails = init == "failing"
  local options = {
    tasks = {}, workers = chance(0.2) and 1 or math.random(WORKERS), mode = chance(0.1) and "cmd" or "timer",
    globals = { "greeting", chance(0.2) and "string.shout" or nil }, timeout = chance(0.3) and AMPLE or nil,
    memoryLimit = chance(0.1) and 8 << 20 or nil, sandbox = chance(0.05), upvalues = ({ "copy", "private" })[math.random(6)],
    init = stress.inits[init], host = chance(0.3) and stress.host or nil,
  }
  if chance(0.2) then
    local last = 0
    function options.onProgress(done, total)
      job.problem = job.problem or (done < last or total ~= TASKS or job.response) and "onProgress"
      last, job.progress = done, done
    end
  end
  return options
end

local function make_job()
  local nature = math.random()
  local job = { kinds = {}, numbers = {}, factor = math.random(9), shared = stress.shared_argument(next_number()),
    is_limited = nature < 0.05, will_be_cancelled = nature > 0.95, is_cancelled = false }
  -- Later jobs set it anew while this one is running.
  settings.factor = job.factor
  local options = make_options(job)
  job.options = options
  options.stopOnError = nature > 0.05 and nature < 0.1
  options.timeout = job.is_limited and SHORT or options.timeout
  -- An endless task would use up an ample grace.
  job.is_polite = not options.sandbox and chance(0.2)
  options.grace = job.is_polite and AMPLE or chance(0.2) and SHORT or nil
  local has_limits, has_failed = chance(0.1), false
  for i = 1, TASKS do
    local kind = one_of_the_kinds(options)
    local n = next_number()
    local task = { func = kind.run, args = kind.args and kind.args(n, job) or { n } }
    local is_limited = has_limits and chance(0.02)
    local ends = job.is_limited or job.will_be_cancelled or options.stopOnError and has_failed
    if is_limited or ends and chance(0.03) then
      kind = job.is_polite and "polite" or "endless"
      task.func = job.is_polite and stress.polite or one_of(stress.endless)
      task.args, task.timeout = { n, job.shared }, is_limited and SHORT or nil
    elseif chance(0.1) then
      task.timeout = AMPLE
    end
    has_failed = has_failed or kind.is_failure
    options.tasks[i], job.kinds[i], job.numbers[i] = task, kind, n
  end
  return job
end

local function is_right(job, i, entry)
  local kind, n = job.kinds[i], job.numbers[i]
  if job.init_fails and not (kind.is_refused and not entry.success and entry.kind ~= "runtime") then
    return not entry.success and entry.kind == "runtime" and entry.data:find(": no base$")
  end
  return kind.is_right and kind.is_right(entry, n, job)
end

local function check(job, i, entry, may_be_cancelled)
  local n, limit = job.numbers[i], job.options.tasks[i].timeout or job.options.timeout
  if entry.kind == "cancelled" and may_be_cancelled or entry.kind == "timeout" and limit == SHORT then
    local count = entry.kind == "cancelled" and not entry.traceback and "unbegun" or "stopped"
    counts[count] = counts[count] + 1
  elseif is_right(job, i, entry) then
    local count = entry.success and "succeeded" or "failed"
    counts[count] = counts[count] + 1
  else
    error(("task %d (%s) went wrong: %s, %s, %s\n%s"):format(n, job.kinds[i].name or job.kinds[i], entry.success, entry.kind,
      entry.data, entry.traceback))
  end
  assert(job.kinds[i] ~= "polite" or stress.was_polite(n), "a task had no time to tidy up")
end

--- With one worker, tasks end in their order. Those that were refused, or have not begun, may end at any time.
local function check_order(job, result)
  local last = 0
  for _, index in ipairs(job.options.workers == 1 and job.order or {}) do
    local kind = result[index].kind
    if kind ~= "cancelled" and kind ~= "upvalue" and kind ~= "transfer" then
      assert(index > last, "onResult was not called in the order in which tasks end")
      last = index
    end
  end
end

local function check_all(job)
  local response = job.response
  local result = response.result
  local is_cancelled = job.may_be_cancelled and response.cancelled or job.is_cancelled
  assert(#result == TASKS and (response.cancelled or false) == is_cancelled)
  assert(not job.problem, job.problem)
  assert(not job.progress or job.progress == TASKS, "onProgress was not called at the end")
  assert(not job.order or #job.order == (job.calls_wanted or TASKS), "onResult was not called for each task")
  local failed, first = 0, false
  for _, entry in ipairs(result) do
    failed = failed + (entry.success and 0 or 1)
    first = first or not entry.success and entry.kind ~= "cancelled"
  end
  assert(response.failed == failed)
  for i, entry in ipairs(result) do
    check(job, i, entry, is_cancelled or job.options.stopOnError and first)
    assert(not job.reported or job.reported[i] == entry or job.calls_wanted and not job.reported[i],
      "onResult was not called with the record")
    assert(not job.looped or job.looped[i] == entry, "job:results() did not give the record")
  end
  check_order(job, result)
  counts.tasks = counts.tasks + TASKS
  counts.cmd = counts.cmd + (job.options.mode == "cmd" and TASKS or 0)
end

local in_background, completed = {}, {}

local function cancel(job)
  job.is_cancelled = job.handle and job.handle:cancel() or job.is_cancelled
end

local function background_jobs()
  local count = 0
  for _ in pairs(in_background) do
    count = count + 1
  end
  return count
end

-- What onResult does at one of its calls.
local actions = {
  cancel = cancel,
  fail = function(job)
    job.calls_wanted = #job.order
    error("onResult failed", 0)
  end,
  sleep = function() gma.sleep(0) end,
  poll = function() gma2workers.Poll() end,
  run = function()
    local n = next_number()
    assert(gma2workers.RunSync({ tasks = { { func = kinds.sum.run, args = { n } } } }).result[1].success)
  end,
  nothing = function() end,
}
local ACTIONS = { "cancel", "fail", "sleep", "poll", "run", "nothing", "nothing" }

--- Lets onResult note each record, in some jobs. An error in a callback is only shown, so the checks are made later.
local function note_results(job)
  if chance(0.5) then
    local action, at = actions[one_of(ACTIONS)], math.random(TASKS)
    job.reported, job.order = {}, {}
    function job.options.onResult(index, record)
      job.problem = job.problem or job.reported[index] and "onResult was called twice"
        or job.response and "onResult was called too late"
      job.reported[index] = record
      table.insert(job.order, index)
      if #job.order == at then
        action(job)
      end
    end
  end
end

local function complete(job)
  return function(response)
    job.problem = job.problem or job.response and "a job ended twice"
    job.response = response
    completed[#completed + 1] = job
  end
end

local function start_in_background(job)
  job.options.onComplete = complete(job)
  job.handle = gma2workers.RunAsync(job.options)
  in_background[job] = true
  counts.in_background = counts.in_background + TASKS
end

local function check_completed()
  local jobs = completed
  completed = {}
  for _, job in ipairs(jobs) do
    in_background[job] = nil
    check_all(job)
  end
end

--- Waits for a job, in one of the ways.
local function finish(job)
  local way = math.random(4)
  if way == 1 then
    local deadline = clock() + AMPLE
    while not job.response and clock() < deadline do
      gma2workers.Poll(0.01)
    end
  elseif way == 2 and not job.looped then
    job.looped = {}
    for index, record in job.handle:results() do
      job.problem = job.problem or job.looped[index] and "job:results() gave a record twice"
      job.looped[index] = record
      if chance(0.001) then
        cancel(job)
      end
    end
  end
  assert(job.handle:wait(AMPLE), "a job hangs")
  assert(job.response, "onComplete was not called")
  check_completed()
end

local function run_in_foreground(job)
  job.options.onComplete = complete(job)
  local ok, problem = pcall(gma2workers.RunSync, job.options)
  assert(ok and problem == job.response or not ok and job.calls_wanted and problem == "onResult failed", problem)
  check_completed()
end

--- Cancels all running jobs. In the stand-in, these may include one that a host function of another job runs.
local function cancel_all()
  local jobs = gma2workers.jobs()
  assert(#jobs <= background_jobs())
  for job in pairs(in_background) do
    job.may_be_cancelled = true
  end
  assert(gma2workers.cancelAll() <= #jobs)
end

local function run_one()
  local job = make_job()
  note_results(job)
  if job.will_be_cancelled then
    start_in_background(job)
    job.handle:wait(math.random() * 0.005)
    cancel(job)
    finish(job)
  elseif chance(0.5) then
    start_in_background(job)
    if not in_console and chance(0.03) then
      cancel_all()
    end
    while background_jobs() >= AT_ONCE do
      finish((next(in_background)))
    end
  else
    run_in_foreground(job)
  end
end

-- Maps ------------------------------------------------------------------------------------------------------

local function add(item, k, bad)
  if item % bad == 0 then
    error("bad " .. item, 0)
  end
  return item + k
end

local function add_index(item, index, k, bad)
  return (item % bad == 0 and error("bad " .. item, 0) or item + k) + index
end

--- The value or the failure of each item.
local function expected_of(list, args, has_index)
  local values, failures = {}, {}
  for i, item in ipairs(list) do
    if item % args[2] == 0 then
      failures[i] = "bad " .. item
      failures.first = failures.first or i
    else
      values[i] = item + args[1] + (has_index and i or 0)
    end
  end
  return values, failures
end

local function is_item(options, got, value, failure)
  if options.onError ~= "collect" then
    return got == value
  end
  return got.success == not failure and got.data == (value or "Error: " .. failure)
end

local function check_map(options, list, given, problem)
  local values, failures = expected_of(list, options.args, options.index)
  if failures.first and options.onError ~= "collect" then
    local message = ("list[%d]: %s"):format(failures.first, failures[failures.first])
    assert(not given and tostring(problem):sub(-#message) == message, problem)
  else
    assert(given and #given == #list, problem)
    for i in ipairs(list) do
      assert(is_item(options, given[i], values[i], failures[i]), "Map gave a wrong item")
    end
  end
end

local function run_map()
  local list, reported, is_wrong = {}, {}, false
  for i = 1, math.random(0, 200) do
    list[i] = next_number()
  end
  local options = {
    args = { math.random(100), chance(0.4) and math.random(10, 200) or 1 << 40 }, index = chance(0.5),
    onError = one_of { "raise", "collect" }, chunk = chance(0.5) and math.random(50) or nil, workers = math.random(WORKERS),
    mode = chance(0.1) and "cmd" or nil, timeout = chance(0.3) and AMPLE or nil,
  }
  local values, failures = expected_of(list, options.args, options.index)
  function options.onResult(index, got)
    is_wrong = is_wrong or reported[index] or not is_item(options, got, values[index], failures[index])
    reported[index] = true
  end
  local func, given, problem = options.index and add_index or add, nil, nil
  if chance(0.5) then
    local is_complete = false
    function options.onComplete(results, message)
      is_wrong = is_wrong or is_complete
      is_complete, given, problem = true, results, message
    end
    local job = gma2workers.Map(func, list, options)
    pcall(job.wait, job, AMPLE)
    assert(is_complete, "a Map hangs")
  else
    local ok, results = pcall(gma2workers.Map, func, list, options)
    given, problem = ok and results, results
  end
  check_map(options, list, given, problem)
  assert(not is_wrong and (not given or #reported == #list), "onResult of Map was not called once with each item")
  counts.items = counts.items + #list
end

-- The whole run ----------------------------------------------------------------------------------------------

local began = clock()
local warm

local function measure(jobs)
  collectgarbage()
  local memory, threads = process.memory(), gma2workers.info.threads
  print(("%6d jobs, %8d tasks, %7.1f s, %.1f MiB, %d threads"):format(jobs, counts.tasks, clock() - began, memory,
    threads))
  return { memory = memory, threads = threads }
end

local last

local function run_all()
  for n = 1, jobs_wanted do
    run_one()
    if chance(0.2) then
      run_map()
    end
    check_completed()
    if n % math.max(1, jobs_wanted // 10) == 0 then
      last = measure(n)
      warm = warm or last
    end
  end
  while next(in_background) do
    finish((next(in_background)))
  end
  assert(#gma2workers.jobs() == 0 and gma2workers.Poll() == 0, "a job is left")
  last = measure(jobs_wanted)
end

if in_console then
  local engine, ok, problem = console.new {}, nil, nil
  engine:install()
  for name, value in pairs(stress.gma.show) do
    gma.show[name] = value
  end
  gma.echo = echo
  engine:run(function()
    ok, problem = xpcall(run_all, debug.traceback)
  end)
  engine:uninstall()
  assert(ok, problem)
else
  gma = stress.gma
  gma.echo = echo
  run_all()
end

assert(counts.tasks == jobs_wanted * TASKS)
assert(gma2workers.info.lost == 0, "a thread was lost")
assert(last.threads <= math.max(AT_ONCE * WORKERS, process.cores()), "too many threads")
-- The program's own thread, and the watchdog.
assert(not own_threads or process.has_at_most(own_threads + last.threads + 1), "threads stay behind")
-- A short run has not warmed up after its first tenth.
assert(last.memory <= warm.memory * 1.5 + (jobs_wanted < 1000 and 64 or 16), "memory grows")

print(("%d tasks: %d succeeded, %d failed, %d stopped, %d not begun; %d in the background, %d in mode cmd; %d items")
  :format(counts.tasks, counts.succeeded, counts.failed, counts.stopped, counts.unbegun, counts.in_background,
    counts.cmd, counts.items))
print(("%d echoes, %d tasks/s"):format(echoed, counts.tasks / (clock() - began) // 1))
