--- The cooperative backend: gma2workers in pure Lua, for a host that can't load the binary.
-- The functions of `core` replace the native ones; the other Lua files are the same for both backends.
--
-- **Where tasks run.** Tasks run in the host's own state, with its globals and with their functions' upvalues. Each worker is an
-- engine coroutine, started by a timer or a command line, depending on `mode`. It takes tasks in the order of the list until none
-- are left. The number of workers is the option's, or else one for each task, 256 at most. An engine that slices time gives each
-- worker a slice, so many workers get more time than one plugin. On any other engine, tasks run one after another, and overlap
-- only when they call `gma.sleep`. The waiting call (`RunSync`, `job:wait()`, or `Poll()`, which runs one or two tasks of each
-- job) runs the tasks itself if there is no engine, if it can't be suspended, or if no worker has begun within a second.
-- `workerCount` is always the number of workers that were asked for.
--
-- **Differences from the native backend.** `timeout`, `memoryLimit` and `sandbox` are refused. `upvalues` and `globals` are
-- checked but have no effect. `init` runs once for a job, and the functions of `host` are called directly.
-- Arguments and results are copied at the same moments and by the same rules, but functions pass unchanged. `gma.*` calls in a task
-- are plain calls. A running task can't be stopped: when its job is cancelled, it counts as cancelled at once, and its later outcome
-- is dropped. A task may not use gma2workers, except `clock` and `isStopping`. This is not detected inside a coroutine that the task
-- made. `os.exit` is replaced while tasks run.
--
-- **Races.** The engine may switch coroutines between any two instructions, but not inside a C function. So `table.remove`
-- decides every race: the coroutine that removes a task from the queue runs it, and the coroutine that removes the mark of a task
-- or a job sets the outcome or collects the job. The length of such a list is the amount of remaining work.

local read, version = ...

-- The files of this folder, and the files that both backends share.
local parts, modules = {}, {}

local core = { version = version, backend = "cooperative", clock = read("cooperative/clock", _ENV)(modules) }

-- A host may have been built without `debug`.
core.metatable = debug and debug.getmetatable or getmetatable
core.traceback = debug and debug.traceback or function(text)
  return text or ""
end

--- The jobs by number; false for a job that is over, so that its number is not used again.
local jobs = {}

local IN_TASK = "gma2workers is not available in a worker: start jobs on the host"

local CANNOT_WAIT = "cannot wait here: running tasks need the engine, which stands still while this code waits: use onComplete"

-- Seconds to wait for the first worker. After that, the waiting call runs the tasks.
local START_TIMEOUT = 1

-- The most tasks of a job that a call runs if it does not wait.
local AT_ONCE = 2

local function is_over(job)
  return #job.open == 0
end

--- Adds a job to the list and sets its number.
local function register(job)
  table.insert(jobs, job)
  local id = #jobs
  while jobs[id] ~= job do
    id = id - 1
  end
  job.id = id
end

local function read_job(config, is_async, chunk, cancels_later)
  local started = core.clock()
  local checked = parts.options.read(config, is_async)
  local tasks = parts.tasks.read(checked.tasks, chunk)
  local init = checked.init and parts.tasks.read_init(checked.init)
  parts.options.check_globals(checked.globals)
  local total = #tasks
  parts.host.check(checked.host)
  local job = { started = started, stops = checked.stops, cancels_later = cancels_later,
    host = checked.host and parts.host.wrap(checked.host),
    mode = checked.mode, workers = math.min(checked.workers, total), total = total,
    tasks = tasks, entries = {}, ended = {}, queue = {}, open = {}, uncollected = { true }, closers = {},
    init = { init }, initialization = init, initializing = { init and true }, notes_order = config.onResult ~= nil,
    trace = checked.trace and parts.trace.create(checked.trace, started) }
  for i, task in ipairs(tasks) do
    task.unset = { true }
    job.queue[total + 1 - i], job.open[i] = task, true
  end
  return job
end

--- Checks everything and starts the workers. `chunk` is the number of items in each task of a `Map`. If `cancels_later`, a
-- failed task cancels those behind it in the list. Sets two fields of the caller's table: `id`, the job's number, and `total`, the
-- number of its tasks. Returns the refusal if the job did not start.
function core.start(pumped, config, is_async, chunk, cancels_later)
  if parts.run.is_in_task() then
    return IN_TASK
  end
  local ok, job = pcall(read_job, config, is_async, chunk, cancels_later)
  if not ok then
    return parts.options.text(job)
  end
  register(job)
  parts.host.open(job.host)
  pumped.id, pumped.total = job.id, job.total
  if is_async or modules.drivers.can_sleep() then
    local is_started, problem = pcall(parts.workers.start, job)
    if not is_started then
      parts.host.close(job.host)
      return problem
    end
  else
    job.runs_here = true
  end
  job.has_started = true
  return nil
end

--- Runs a task or a few, unless the engine's coroutines run the tasks. Returns whether there was something to do, whether the job is
-- over, whether there are results to merge, and how many calls are queued: none. Never waits, because the pump lets the engine run
-- in between.
-- @int id
-- @number seconds 0 for a caller that does not wait, such as `Poll()`
-- @tparam[opt] boolean only_looks runs no task, because there are results to show first
function core.wait(id, seconds, only_looks)
  local job = jobs[id]
  if not job then
    return false, false, false, 0
  elseif parts.run.is_in_task() then
    error(IN_TASK, 0)
  end
  parts.workers.note_running()
  local can_sleep = modules.drivers.can_sleep()
  local runs_here = job.runs_here or not can_sleep or not job.has_worker and core.clock() - job.started > START_TIMEOUT
  local has_results = parts.workers.has_unmerged(job)
  local may_run = runs_here and not only_looks and not has_results and not parts.workers.is_initializing(job)
  local task = may_run and table.remove(job.queue)
  if task then
    parts.workers.run_here(job, task, seconds > 0 and math.huge or AT_ONCE)
    return true, is_over(job), parts.workers.has_unmerged(job), 0
  elseif seconds > 0 and not can_sleep and not has_results and not is_over(job) then
    error(CANNOT_WAIT, 0)
  end
  return has_results or is_over(job), is_over(job), has_results, 0
end

--- Refuses to wait. Without an engine, the pump runs the tasks itself, and never waits.
function core.wait_for_any()
  error(CANNOT_WAIT, 0)
end

--- Adds the outcomes so far to the list of results, and the indices of the tasks that have ended to the list `order`, if the job
-- notes the order. Each step may be repeated by another coroutine meanwhile.
function core.merge(id, result, _, order)
  local job = jobs[id]
  if job and job.notes_order then
    job.order = order
    for place = #order + 1, #job.ended do
      local index = job.ended[place]
      result[index], order[place] = job.entries[index], index
    end
  end
end

--- From now on, the job notes the order in which its tasks end: the list `order` is kept up to date.
function core.note_order(id, result, failed, order)
  local job = jobs[id]
  if job then
    job.notes_order = true
    core.merge(id, result, failed, order)
  end
end

--- Serves no host calls, because tasks call the host directly.
function core.serve()
  return false
end

--- Returns the number of finished tasks, and of all tasks.
function core.progress(id)
  local job = jobs[id]
  if job then
    return job.total - #job.open, job.total
  end
end

--- Returns an empty list of results and an empty list of failed tasks.
function core.lists()
  return {}, {}
end

--- Makes a job's response, and fills the lists of results and of failed tasks. If the trace can't be written, also returns why.
local function respond(job, id, result, failed)
  local begun = core.clock()
  for index, entry in ipairs(job.entries) do
    result[index] = entry
    if not entry.success then
      failed[#failed + 1] = index
    end
  end
  parts.host.close(job.host)
  local response = { result = result, failed = #failed,
    workerCount = job.workers, jobId = "Job_" .. id, duration = core.clock() - job.started,
    cancelled = job.is_cancelled }
  if job.trace then
    parts.trace.host_did(job.trace, "merge results", begun)
    return response, parts.trace.write(job.trace, id)
  end
  return response
end

--- Sets `response` and `problem` in the caller's table, unless another pump has collected the job.
function core.collect(id, pumped, result, failed, order)
  local job = jobs[id]
  if not job or not table.remove(job.uncollected) then
    return
  end
  parts.workers.close(job)
  core.merge(id, result, failed, order)
  local response, problem = respond(job, id, result, failed)
  pumped.problem = problem
  pumped.response = response
  jobs[id] = false
end

--- Returns the response and the list of failed tasks if the job is already over; else nothing. For jobs without a trace.
function core.collect_soon(id)
  local job, failed = jobs[id], {}
  if job and is_over(job) and table.remove(job.uncollected) then
    jobs[id] = false
    parts.workers.close(job)
    return respond(job, id, {}, failed), failed
  end
end

--- Calls a function while holding the token, a list of one item. Returns false if another coroutine holds it.
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

--- Removes the only item of a list, a function, and calls it, unless another coroutine has removed it.
function core.call_once(list, ...)
  local func = table.remove(list)
  if func then
    return func(...)
  end
end

--- Moves the cursor, a list of one number, on from this position, and calls the function, if there is one. Does nothing if the
-- cursor is elsewhere.
function core.call_next(cursor, position, func, ...)
  if not table.remove(cursor.free) then
    return
  end
  local is_there = cursor[1] == position
  if is_there then
    cursor[1] = position + 1
  end
  cursor.free[1] = true
  if is_there and func then
    return func(...)
  end
end

--- Returns the values, unless they are nil and a refusal, which it raises.
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

--- Makes a public function. It calls `call` with a new table for the job and its own arguments. If that raises an error, it calls
-- `fail` with the table and the error. Either may return nil and a refusal, which is raised at the caller's line: all calls here
-- are tail calls, so `accepted` finds the caller at level 2.
function core.entry(call, fail)
  return function(...)
    local job = {}
    return entered(fail, job, pcall(call, job, ...))
  end
end

--- Cancels a job: waiting tasks never begin, and running ones count as cancelled.
function core.cancel(id)
  local job = jobs[id]
  if not job then
    return
  end
  job.is_cancelled = true
  parts.workers.close(job)
  if job.initialization then
    table.remove(job.initialization.unset)
  end
  parts.workers.cancel_from(job, 1)
end

--- Drops a job whose outcome is no longer needed.
function core.release(id)
  local job = jobs[id]
  if job then
    jobs[id] = false
    parts.run.leave(job)
    parts.workers.close(job)
    parts.host.close(job.host)
    if job.trace then
      parts.trace.write(job.trace, id)
    end
  end
end

--- Reads the options that `Map` needs before it makes tasks. Returns the refusal, or nil, `chunk` or nil, whether failures are
-- collected, and the number of workers.
function core.read_map(config)
  local ok, split = pcall(parts.options.read_map, config)
  if not ok then
    return parts.options.text(split)
  end
  return nil, split.chunk, split.collects, split.workers
end

--- Whether the table's keys are exactly 1 to `count`.
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

--- Checks whether a value can be copied. `place` is its name in messages.
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

--- Whether the running task was cancelled.
core.is_stopping = function()
  return parts.run.is_stopping()
end

--- A message handler for xpcall: keeps the error with its traceback.
function core.trace(value)
  return { value = value, traceback = core.traceback(nil, 2) }
end

--- Whether standard error is a terminal. Pure Lua can't tell, so the answer is no: bars must not go into a file.
function core.is_on_terminal()
  return false
end

--- The field of the module of which a name is a misspelling.
function core.meant(name)
  return type(name) == "string" and parts.options.field_meant(name) or nil
end

--- The number of threads: this backend has none.
function core.threads()
  return 0
end

function core.lost()
  return 0
end

--- Loads the chunk of a Lua file. All files are loaded at once below, because with time slices two coroutines could load the same
-- file on first use.
core.load = read

for _, name in ipairs { "modules", "values", "options", "host", "tasks", "trace", "fields", "exit", "run", "workers" } do
  parts[name] = read("cooperative/" .. name, _ENV)(core, parts, modules)
end
for _, name in ipairs { "engine", "arguments", "drivers", "report", "hints", "failures", "pace", "pump", "results", "async", "progress",
  "job", "items", "mapper", "map_results", "map", "gma2workers", "calls" } do
  modules[name] = read(name, _ENV)(core, modules)
end
return modules.gma2workers
