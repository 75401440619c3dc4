--- The cooperative backend: gma2workers in pure Lua, for a host that can't load the binary.
-- It is the same Lua side as the native backend's, over the calls below in place of the native ones.
--
-- **Where tasks run.** In the host's own state, with its globals and whatever their functions have captured. Each worker is
-- one coroutine of the engine's, started by a timer or a command line as `mode` says; it takes tasks in the list's order
-- until none are left. There are as many as `workers` says, or one for each task (256 at most). An engine that slices its
-- time gives each of them a slice, so that many workers get more of it than one plugin does; on one that does not, tasks
-- run one after another, and beside each other where they call `gma.sleep`. Without an engine, and where a waiting
-- `RunSync` can't be suspended, whoever waits runs them one after another: `RunSync`, `job:wait()`, `Poll()` (one or two of
-- each job). So it is, too, where none of the engine's coroutines has come within a second. `workerCount` says how many
-- were to run beside each other, also where they can't.
--
-- **What differs.** `timeout`, `memoryLimit` and `sandbox` are refused. `upvalues` and `globals` are checked and change
-- nothing. Arguments and results are copied at the same moments and by the same rules, but functions pass as they are.
-- `gma.*` calls in a task are plain calls. A task that runs can't be stopped: when its job is cancelled it counts as
-- cancelled at once, and what comes of it later is dropped. A task may not use gma2workers, but for its `clock`; inside a
-- coroutine of its own that is not noticed.
--
-- **Slices.** The engine may switch coroutines between any two instructions, though not inside a function of C's. So what
-- only one may do is decided by a `table.remove`: who gets the task out of the queue runs it, who gets the mark out of a
-- task or a job sets its outcome or collects it; and what is left to do is counted by the length of a list.

local read, version = ...

local core = { version = version, backend = "cooperative", clock = read("cooperative/clock", _ENV)() }

-- A host may have been built without `debug`.
core.metatable = debug and debug.getmetatable or getmetatable
core.traceback = debug and debug.traceback or function(text)
  return text or ""
end

-- The files of this folder, and those that both backends share.
local parts, modules = {}, {}

--- The jobs by their numbers; false for one that is over, since no number is given twice.
local jobs = {}

local IN_TASK = "gma2workers is not available in a worker: start jobs on the host"

-- Seconds for which a worker may keep an engine that does not slice; then it sleeps for about a tick.
local STINT = 0.005
local TICK = 0.01

-- Seconds after which no worker of the engine's is expected any more.
local LATE = 1

-- The coroutine of ours that was seen last, as `last`. Where another was seen while a task ran, the engine slices. One that the
-- engine has killed is not kept.
local seen = setmetatable({}, { __mode = "v" })

local function is_over(job)
  return #job.open == 0
end

--- Enters a job, and gives it its number.
local function enter(job)
  table.insert(jobs, job)
  local id = #jobs
  while jobs[id] ~= job do
    id = id - 1
  end
  job.id = id
end

--- Gives a task its outcome, unless it has one.
local function put(job, task, entry)
  if table.remove(task.unset) then
    job.entries[task.index] = entry
    table.remove(job.open)
  end
end

--- Runs a task and gives it its outcome.
-- @tab job
-- @tab task
-- @tparam ?int worker
-- @return what it raised, if it did
local function run(job, task, worker)
  local begun = core.clock()
  local entry, value = parts.run.task(task)
  if job.trace then
    parts.trace.task_did(job.trace, worker, task, entry.success, begun)
  end
  put(job, task, entry)
  return value
end

--- What a worker of the engine's does.
local function work(job, worker)
  local here = coroutine.running()
  job.has_come = true
  if not job.has_started and modules.drivers.can_sleep() then
    -- The engine has begun inside the very call that asked for it.
    _G.gma.sleep(TICK)
  end
  seen.last = here
  local since = core.clock()
  local task = table.remove(job.queue)
  while task do
    run(job, task, worker)
    if seen.last ~= here then
      seen.last, since = here, core.clock()
    elseif core.clock() - since >= STINT and modules.drivers.can_sleep() then
      _G.gma.sleep(TICK)
      since = core.clock()
    end
    task = table.remove(job.queue)
  end
end

--- Has whoever waits run a task. Ctrl-C is for them, too.
local function run_here(job, task)
  local value = run(job, task)
  if type(value) == "string" and string.sub(value, -12) == "interrupted!" then
    error(value, 0)
  end
end

--- Takes back the tasks that have not begun, and the workers that have not come.
local function close(job)
  while table.remove(job.queue) do end -- luacheck: ignore 542
  for _, take_back in ipairs(job.closers) do
    take_back()
  end
end

--- Asks the engine for the workers. Without one, whoever waits is to run the tasks.
local function start_workers(job)
  for worker = 1, job.workers do
    local alias = string.format("gma2workers_worker_%d_%d", job.id, worker)
    local take_back = modules.drivers[job.mode](alias, function() work(job, worker) end)
    if not take_back then
      job.is_mine = true
      return
    end
    table.insert(job.closers, take_back)
  end
end

local function read_job(config, is_async, chunk)
  local started = core.clock()
  local checked = parts.options.read(config, is_async)
  local tasks = parts.tasks.read(checked.tasks, chunk)
  parts.options.check_globals(checked.globals)
  local total = #tasks
  local job = { started = started, mode = checked.mode, workers = math.min(checked.workers, total), total = total,
    tasks = tasks, entries = {}, queue = {}, open = {}, uncollected = { true }, closers = {},
    trace = checked.trace and parts.trace.create(checked.trace, started) }
  for i, task in ipairs(tasks) do
    task.unset = { true }
    job.queue[total + 1 - i], job.open[i] = task, true
  end
  return job
end

--- Checks everything and starts the workers, for a `Map` with so many items a task. Gives the caller's table the job's number,
-- as `id`, and that of its tasks, as `total`; returns what is wrong where it did not start.
function core.start(pumped, config, is_async, chunk)
  if parts.run.is_in_task() then
    return IN_TASK
  end
  local ok, job = pcall(read_job, config, is_async, chunk)
  if not ok then
    return type(job) == "table" and job.message or job
  end
  enter(job)
  pumped.id, pumped.total = job.id, job.total
  if is_async or modules.drivers.can_sleep() then
    local is_started, problem = pcall(start_workers, job)
    if not is_started then
      return problem
    end
  else
    job.is_mine = true
  end
  job.has_started = true
  return nil
end

--- Runs a task where the engine does not: whether there was something to do, and whether the job is over. It does not wait,
-- since the pump lets the engine breathe in between.
function core.wait(id, seconds)
  local job = jobs[id]
  if not job then
    return false, false, false
  elseif parts.run.is_in_task() then
    error(IN_TASK, 0)
  end
  seen.last = coroutine.running()
  local can_sleep = modules.drivers.can_sleep()
  local is_mine = job.is_mine or not can_sleep or not job.has_come and core.clock() - job.started > LATE
  local task = is_mine and table.remove(job.queue)
  if task then
    run_here(job, task)
    return true, is_over(job), false
  elseif seconds > 0 and not can_sleep and not is_over(job) then
    error("cannot wait here: the tasks that have begun need the engine, and it can't be given time from here", 0)
  end
  return is_over(job), is_over(job), false
end

--- No task asks for a host call: it makes it.
function core.serve()
  return false
end

--- How many tasks are done, and how many there are.
function core.progress(id)
  local job = jobs[id]
  if job then
    return job.total - #job.open, job.total
  end
end

--- The list of results and that of the failed tasks, both empty.
function core.lists()
  return {}, {}
end

--- The response of a job with that list of results, filled, and why its trace can't be written, where that is so.
local function respond(job, id, result, failed)
  local begun = core.clock()
  for index, entry in ipairs(job.entries) do
    result[index] = entry
    if not entry.success then
      failed[#failed + 1] = index
    end
  end
  local response = { result = result, workerCount = job.workers, jobId = "Job_" .. id, duration = core.clock() - job.started,
    cancelled = job.is_cancelled }
  if job.trace then
    parts.trace.host_did(job.trace, "merge results", begun)
    return response, parts.trace.write(job.trace, id)
  end
  return response
end

--- Gives a table the response, as `response`, and `problem`, unless somebody did.
function core.collect(id, pumped, result, failed)
  local job = jobs[id]
  if not job or not table.remove(job.uncollected) then
    return
  end
  close(job)
  local response, problem = respond(job, id, result, failed)
  pumped.problem = problem
  pumped.response = response
  jobs[id] = false
end

--- The response and the list of failed tasks of a job without a trace that is over already.
function core.collect_soon(id)
  local job, failed = jobs[id], {}
  if job and is_over(job) and table.remove(job.uncollected) then
    jobs[id] = false
    close(job)
    return respond(job, id, {}, failed), failed
  end
end

--- Calls a function while the token's one item is taken out; false where somebody else has it.
function core.exclusively(token, func, ...)
  if not table.remove(token) then
    return false
  end
  local ok, failure = pcall(func, ...)
  token[1] = true
  if not ok then
    error(failure, 0)
  end
  return true
end

--- Takes the function out that is the list's one item, and calls it, unless somebody did.
function core.call_once(list, ...)
  local func = table.remove(list)
  if func then
    return func(...)
  end
end

--- Returns the values, unless they are nil and a refusal.
local function accepted(...)
  local value, refusal = ...
  if value == nil and refusal ~= nil then
    error(refusal, 2)
  end
  return ...
end

local function entered(fail, job, ok, ...)
  if not ok then
    return accepted(fail(job, (...)))
  end
  return accepted(...)
end

--- A public function: it calls `call` with a new table, the job's to be, and its own arguments; where that raises, `fail` with
-- the table and the error. Either may return nil and a refusal, which is raised at the caller's line: each call here is a tail
-- call, so there the caller is the next level.
function core.entry(call, fail)
  return function(...)
    local job = {}
    return entered(fail, job, pcall(call, job, ...))
  end
end

--- Waiting tasks never begin; those that run count as cancelled.
function core.cancel(id)
  local job = jobs[id]
  if not job then
    return
  end
  job.is_cancelled = true
  close(job)
  for _, task in ipairs(job.tasks) do
    put(job, task, parts.run.failed("cancelled", "cancelled"))
  end
end

--- Nobody wants the job's outcome any more.
function core.release(id)
  local job = jobs[id]
  if job then
    jobs[id] = false
    close(job)
    if job.trace then
      parts.trace.write(job.trace, id)
    end
  end
end

--- What `Map` has to know before it has a list of tasks: what is wrong; or nil, and `chunk` where it is given, whether all
-- failures are collected, and how many workers there are to be.
function core.read_map(config)
  local ok, split = pcall(parts.options.read_map, config)
  if not ok then
    return type(split) == "table" and split.message or split
  end
  return nil, split.chunk, split.collects, split.workers
end

--- Whether all that the table has are values from 1 to that number, without a hole.
function core.is_list(list, count)
  local found = 0
  for key in next, list do
    if math.type(key) ~= "integer" or key < 1 or key > count then
      return false
    end
    found = found + 1
  end
  return found == count
end

--- Checks whether the value, which stands at that place, can be copied.
-- @treturn ?string the kind of the failure, if it can't
-- @treturn ?string its text
function core.check(value, place)
  local _, failure = parts.values.clone({ value }, 1, function(_, keys) return place .. parts.values.path(keys) end)
  if not failure then
    return nil
  elseif modules.pump.is_interrupt(failure.message) then
    error(failure.message, 0)
  end
  return failure.kind, failure.message
end
core.check_in_task = core.check

--- Called with an error.
function core.trace(value)
  return { value = value, traceback = core.traceback(nil, 2) }
end

--- Pure Lua can't tell, and what is no terminal is a file that nobody wants bars in.
function core.is_on_terminal()
  return false
end

--- There are no threads.
function core.threads()
  return 0
end

function core.lost()
  return 0
end

--- The chunk of a module of the Lua side. Here all are loaded below, since slices could let two load one.
core.load = read

for _, name in ipairs { "values", "options", "tasks", "trace", "run" } do
  parts[name] = read("cooperative/" .. name, _ENV)(core, parts)
end
for _, name in ipairs { "arguments", "drivers", "report", "hints", "pump", "async", "progress", "job", "items", "mapper", "map_results",
  "map", "gma2workers" } do
  modules[name] = read(name, _ENV)(core, modules)
end
return modules.gma2workers
