--- Runs a job's tasks: in the coroutines of its workers, or in the coroutine that waits for the job.

local core, parts, modules = ...

local workers = {}

-- Seconds for which a worker may block an engine that does not slice time. Then the worker sleeps for about a tick.
local MAX_STINT = 0.005
local TICK = 0.01

-- Seconds for which a waiting call runs tasks before it looks at anything else.
local STINT_HERE = 0.001

-- `last` is the last of our coroutines to run. If it changes during a task, the engine slices time. The table is weak, so that it
-- keeps no coroutine that the engine has killed.
local seen = setmetatable({}, { __mode = "v" })

--- Notes that the current coroutine is the last of ours to run.
function workers.note_running()
  seen.last = coroutine.running()
end

--- Whether tasks have ended whose results are not merged, if the job notes the order.
function workers.has_unmerged(job)
  return job.notes_order and #job.ended > (job.order and #job.order or 0)
end

--- Sets a task's outcome, unless it has one. Returns whether it had none.
local function put(job, task, entry)
  if table.remove(task.unset) then
    job.entries[task.index] = entry
    table.insert(job.ended, task.index)
    table.remove(job.open)
    return true
  end
  return false
end

--- Removes the tasks and workers that have not begun.
function workers.close(job)
  while table.remove(job.queue) do end -- luacheck: ignore 542
  for _, close_worker in ipairs(job.closers) do
    close_worker()
  end
end

--- Cancels the tasks from this index on: waiting ones never begin, and running ones count as cancelled.
function workers.cancel_from(job, first)
  for index = first, job.total do
    put(job, job.tasks[index], parts.run.failed("cancelled", "cancelled"))
  end
end

--- Cancels the tasks that must not go on after the failure of this one.
local function cancel_after(job, task)
  if job.stops then
    workers.close(job)
    workers.cancel_from(job, 1)
  elseif job.cancels_later then
    workers.cancel_from(job, task.index + 1)
  end
end

--- Whether another coroutine is running the job's `init`.
function workers.is_initializing(job)
  return #job.init == 0 and #job.initializing > 0
end

--- Runs the job's `init` before its first task, or waits for the coroutine that runs it.
-- @return the error value, if it raised one
local function initialize(job)
  local init, value = table.remove(job.init), nil
  if init then
    local outer = parts.host.enter(job.host)
    job.init_failure, value = parts.run.init(init)
    parts.host.leave(outer)
    table.remove(job.initializing)
  end
  while workers.is_initializing(job) do
    modules.drivers.sleep(TICK)
  end
  return value
end

--- The entry of a task of a job whose `init` failed.
local function init_failed(job, task)
  local entry = {}
  for key, value in next, job.init_failure do
    entry[key] = value
  end
  if task.name then
    entry.traceback = string.format("in task %d '%s'\n%s", task.index, task.name, entry.traceback)
  end
  return entry
end

--- Runs a task and sets its outcome.
-- @tab job
-- @tab task
-- @tparam ?int worker
-- @return the error value, if it raised one
local function run(job, task, worker)
  local entry
  local value = initialize(job)
  if #task.unset == 0 then
    -- The job was cancelled meanwhile.
    return value
  end
  local begun = job.trace and core.clock()
  if job.init_failure then
    entry = init_failed(job, task)
  else
    local outer = parts.host.enter(job.host)
    entry, value = parts.run.task(task)
    parts.host.leave(outer)
  end
  if job.trace then
    parts.trace.task_did(job.trace, worker, task, entry.success, begun)
  end
  if put(job, task, entry) and not entry.success then
    cancel_after(job, task)
  end
  return value
end

--- The body of a worker's coroutine: runs tasks until none are left.
local function work(job, worker)
  local here = coroutine.running()
  job.has_worker = true
  if not job.has_started and modules.drivers.can_sleep() then
    -- The engine is running this inside the call that started it.
    modules.drivers.sleep(TICK)
  end
  seen.last = here
  local since = core.clock()
  local task = table.remove(job.queue)
  while task do
    run(job, task, worker)
    if seen.last ~= here then
      seen.last, since = here, core.clock()
    elseif core.clock() - since >= MAX_STINT and modules.drivers.can_sleep() then
      modules.drivers.sleep(TICK)
      -- Pumps have run meanwhile, but not during a task.
      seen.last, since = here, core.clock()
    end
    task = table.remove(job.queue)
  end
end

--- Runs a task in the coroutine that waits for the job, and the next ones for a short time if no one sees results before the end: a
-- turn of the pump costs as much as a tiny task. Ctrl-C then ends the wait too.
-- @tab job
-- @tab task
-- @number most the greatest number of tasks to run
function workers.run_here(job, task, most)
  local stop = not job.notes_order and core.clock() + STINT_HERE
  repeat
    local value = run(job, task)
    if modules.pump.is_interrupt(value) then
      error(value, 0)
    end
    most = most - 1
    task = stop and most > 0 and core.clock() < stop and table.remove(job.queue)
  until not task
end

--- Starts the workers. Without an engine, the waiting call runs the tasks instead.
function workers.start(job)
  for worker = 1, job.workers do
    local alias = string.format("gma2workers_worker_%d_%d", job.id, worker)
    local close_worker = modules.drivers[job.mode](alias, function() work(job, worker) end)
    if not close_worker then
      job.runs_here = true
      return
    end
    table.insert(job.closers, close_worker)
  end
end

return workers
