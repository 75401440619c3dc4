--- The host's side of a running job: serves its host calls, reports its progress and merges its outcomes.
-- The pump is written in Lua, because the engine's functions and the user's callbacks may yield: `gma.sleep` is
-- `coroutine.yield`. Several pumps may run for one job, such as a timer's and a `job:wait()`, and the engine may switch between
-- them at any instruction. The pump that takes a host call serves it, and the pump that finds results merges them. For a job
-- that is over, the native calls do nothing.

local core, modules = ...
local drivers, hints, pace = modules.drivers, modules.hints, modules.pace

local pump = {}

-- Seconds to wait for a short job before the engine runs again. Tasks of the cooperative backend need the engine at once.
local FIRST_WAIT = core.backend == "cooperative" and 0 or 0.010

-- The longest wait in C, in seconds. A stock interpreter notices Ctrl-C only in Lua code.
local LONGEST_WAIT = 0.02

-- The longest stay in C to decode results that a task is still writing, in seconds. In an engine, they are decoded when they are
-- complete.
local LONGEST_MERGE = 0.2

local NONE = {}

-- The most jobs of which the first thing to do ends a wait at once. Lua's stack has room for their numbers.
local MOST_AWAITED = 1000

-- Seconds between calls of onProgress.
local PROGRESS_INTERVAL = 0.05

-- The running jobs by number. A waiting coroutine refers to its job; when the engine kills the coroutine, the job is collected.
local running = setmetatable({}, { __mode = "v" })

-- Jobs that only Poll and job:wait pump. Kept here so that they are not collected.
local unattended = {} -- luacheck: ignore 241

--- Whether an error is the one that a stock interpreter raises at Ctrl-C, whatever code is running.
local function is_interrupt(message)
  return type(message) == "string" and string.sub(message, -12) == "interrupted!"
end
pump.is_interrupt = is_interrupt

--- A message handler: keeps a callback's error with its traceback.
function pump.trace(value)
  return { value = value, traceback = core.traceback(core.fields(value) or tostring(value), 2) }
end

--- Notes that a callback has raised an error, and does not call it again. The job continues, and the error is raised at its end.
function pump.note_failure(job, callback, failure)
  if is_interrupt(failure.value) then
    error(failure.value, 0)
  end
  job[callback], job.failure = nil, job.failure or failure
end

local function report_progress(job, now, done, total)
  if done and job.count then
    done, total = job.count(done, total)
  end
  if not done or done <= job.reported then
    return
  end
  job.next_progress, job.reported = now + PROGRESS_INTERVAL, done
  if job.bar then
    job.bar:show(done, total)
  end
  if not job.onProgress then
    return
  end
  local ok, failure = xpcall(job.onProgress, pump.trace, done, total)
  if not ok then
    pump.note_failure(job, "onProgress", failure)
  end
end

local function forget(job)
  running[job.id], unattended[job.id] = nil, nil
end

--- Makes the response of a job whose outcomes could not be merged, for example because memory ran out on the host.
local function failed_response(job, message)
  local result, failed = {}, {}
  for index = 1, job.total do
    failed[index] = index
    result[index] = { success = false, data = "Error: " .. tostring(message), kind = "transfer" }
  end
  job.result, job.failed = result, failed
  return { result = result, jobId = "Job_" .. job.id, workerCount = 0, failed = job.total, duration = core.clock() - job.started }
end

--- Merges the results so far, while tasks are still running.
local function merge(job)
  job.broken = job.broken or core.merge(job.id, job.result, job.failed, job.order, drivers.can_sleep() and 0 or LONGEST_MERGE)
end

--- Shows the merged results to the caller, once the calls without an answer that their tasks made before them have been served.
-- @int queued the number of calls in the queue
local function show_results(job, queued)
  if not job.calls_before and #job.order > job.shown then
    job.calls_before, job.shown_next = queued, #job.order
  end
  -- Read once: with time slices, another pump of the job may set it to nil at any instruction.
  local calls_before = job.calls_before
  if calls_before and calls_before <= 0 then
    job.calls_before, job.shown = nil, job.shown_next
  end
  -- Always, since the order may have been ahead of the records before.
  if job.onResult then
    modules.results.report(job)
  end
end

--- From now on, the job notes the order in which its tasks end.
function pump.note_order(job)
  if not job.response then
    job.broken = job.broken or core.note_order(job.id, job.result, job.failed, job.order)
  end
end

--- Sets the response of a finished job, unless another pump has.
local function collect(job)
  local problem = job.broken or core.collect(job.id, job, job.result, job.failed, job.order)
  if not problem then
    return
  elseif not job.complete then
    error(problem, 0)
  end
  -- The job is asynchronous, so no caller could catch an error.
  core.release(job.id)
  job.response = failed_response(job, problem)
end

--- Adds the hints to all failed tasks that don't have them yet.
local function add_hints(job)
  local failed = {}
  for _, index in ipairs(job.failed) do
    if not job.hinted[index] then
      failed[#failed + 1] = index
    end
  end
  hints.add(job.response, failed, job)
end

--- Reports a job's end. Each step does nothing if it is repeated, so after an error in between, the next pump can call this again.
local function report_end(job)
  if job.problem then
    job.failure = job.failure or { value = job.problem, traceback = job.problem }
    job.problem = nil
  end
  if not job.has_hints then
    add_hints(job)
    job.tasks = nil
    -- From here on the caller may change the response.
    job.has_hints = true
    if job.failed[1] and not job.read then
      modules.failures(job.result, job.failed, job.total, "tasks")
    end
  end
  if job.onProgress or job.bar then
    report_progress(job, core.clock(), job.total, job.total)
  end
  if job.bar then
    job.bar:close()
  end
  if job.closed then
    job.closed()
  end
  if job.complete then
    job.complete(job)
  end
  job.over = true
  forget(job)
end

local function finish(job)
  if not job.response then
    collect(job)
  end
  if job.response then
    -- Each pump calls `onResult` for what is left, so that none returns before all of those calls have begun.
    if job.onResult then
      modules.results.report(job)
    end
    -- A callback may yield, and then another pump must not report the end again.
    core.exclusively(job.ending, report_end, job)
  end
end

--- Whether a pump is reporting the job's end.
function pump.is_ending(job)
  return not job.ending[1]
end

--- Serves host calls until none is queued or the time is over.
-- @number stop a time of core.clock()
-- @number waited seconds for which the turn has waited for the calls
local function serve(job, stop, waited)
  local answered, unanswered = 0, 0
  repeat
    local has_served, has_answer = core.serve(job.id, job.host)
    if not has_served then
      job.calls_before = job.calls_before and 0
    else
      answered, unanswered = answered + (has_answer and 1 or 0), unanswered + (has_answer and 0 or 1)
      -- Read once, as in `show_results`.
      local calls_before = job.calls_before
      job.calls_before = calls_before and calls_before - 1
    end
  until not has_served or core.clock() >= stop
  pace.note_calls(job, answered, unanswered, waited)
end

--- Runs one turn: serves host calls, and waits for more until the budget is used up.
-- @number budget in seconds
-- @tparam[opt] function is_enough ends the turn early when it returns true
-- @tparam[opt] boolean is_paced the engine waits meanwhile, so the turn also ends when no task is likely to call soon
-- @treturn boolean whether the job is over
-- @treturn boolean whether there was something to do
local function turn(job, budget, is_enough, is_paced)
  local left, has_done = budget, false
  local began = core.clock()
  local stop = began + left
  local serves_until = is_paced and stop or stop + LONGEST_WAIT
  job.finalizer.is_untouched = false
  repeat
    -- Results may have been merged elsewhere, and then nothing more may come that would end a wait.
    local has_unshown = #job.order > job.shown
    local longest = has_unshown and 0 or is_paced and math.min(left, pace.patience(job)) or left
    local has_work, over, has_results = core.wait(job.id, longest, has_unshown)
    has_work = has_work or has_unshown
    if has_work and not over then
      serve(job, serves_until, core.clock() - began)
      if has_results then
        merge(job)
      end
      local _, is_over, _, queued = core.wait(job.id, 0, true)
      over = is_over
      show_results(job, queued)
    elseif is_paced and not has_work then
      pace.note_silence(job)
    end
    -- A job that already has its response was interrupted while its end was being reported.
    if over or job.response then
      finish(job)
    end
    -- If another pump is calling the callbacks, there is nothing to wait for. But RunSync calls onComplete afterwards, so it waits
    -- for the other pump if that can run meanwhile.
    local is_reported = job.over or job.response and pump.is_ending(job) and (job.complete or not drivers.can_sleep())
    if is_reported or job.dropped then
      return true, true
    end
    has_done = has_done or has_work
    local now = core.clock()
    if (job.onProgress or job.bar) and now >= job.next_progress then
      report_progress(job, now, core.progress(job.id))
      now = core.clock()
    end
    left, began = stop - now, now
  until left <= 0 or not has_work or is_paced and not pace.expects_call(job, left) or is_enough and is_enough()
  return false, has_done
end

--- Runs one turn while the engine waits.
-- @number left seconds that it may take at most
-- @tparam[opt] boolean is_first the caller has just begun to wait, so the turn takes all of this time
local function turn_in_engine(job, left, is_enough, is_first)
  local budget = pace.open()
  local is_over, has_done = turn(job, is_first and left or math.min(budget, left), is_enough, not is_first)
  pace.close()
  return is_over, has_done
end

--- The jobs in a table, in the order in which they were started.
local function in_order(jobs)
  local list = {}
  for _, job in pairs(jobs) do
    list[#list + 1] = job
  end
  table.sort(list, function(a, b) return a.id < b.id end)
  return list
end

--- The jobs that no coroutine pumps, except one.
local function others_than(job)
  local others = in_order(unattended)
  for i, other in ipairs(others) do
    if other == job then
      table.remove(others, i)
      break
    end
  end
  return others
end

--- Whether a pump is calling the job's last callbacks.
local function is_reported(job)
  return job.response and pump.is_ending(job)
end

--- Runs one turn of each job, without waiting.
-- @treturn boolean whether there was something to do
local function turn_all(jobs)
  local has_done = false
  for _, job in ipairs(jobs) do
    if not is_reported(job) then
      local _, has_work = turn(job, 0)
      has_done = has_done or has_work
    end
  end
  return has_done
end

--- Waits until there is something to do for one of the jobs.
local function wait_for_any(jobs, seconds)
  local ids = {}
  for i, job in ipairs(jobs) do
    ids[i] = job.id
  end
  core.wait_for_any(seconds, table.unpack(ids, 1, math.min(#ids, MOST_AWAITED)))
end

--- Pumps the job until it is over, the deadline has passed, or there is enough. Meanwhile, turns the jobs that no coroutine pumps.
-- @tparam[opt] number deadline a time of core.clock()
-- @tparam[opt] function is_enough
-- @tparam[opt] number since when the caller has been waiting, for several calls in a row
-- @treturn boolean whether the job is over
function pump.run(job, deadline, is_enough, since)
  local first_until = (since or core.clock()) + FIRST_WAIT
  while true do
    local now = core.clock()
    local left = deadline and math.max(deadline - now, 0) or math.huge
    local lets_engine_run = drivers.can_sleep() and now >= first_until
    local others = job.complete and next(unattended) and others_than(job) or NONE
    local is_alone = #others == 0
    local has_done = turn_all(others)
    local is_over, has_work
    if drivers.can_sleep() then
      local longest = lets_engine_run and left or math.min(first_until - now, left)
      is_over, has_work = turn_in_engine(job, is_alone and longest or 0, is_enough, not lets_engine_run)
    else
      is_over, has_work = turn(job, is_alone and math.min(LONGEST_WAIT, left) or 0, is_enough)
    end
    if is_over then
      return true
    elseif is_enough and is_enough() or deadline and core.clock() >= deadline then
      return false
    elseif lets_engine_run then
      drivers.sleep(math.min(pace.pause(job), left))
    elseif not is_alone and not has_done and not has_work then
      table.insert(others, job)
      wait_for_any(others, math.min(LONGEST_WAIT, left))
    end
  end
end

--- Pumps the job to its end in an engine coroutine.
function pump.run_in_background(job)
  while not turn_in_engine(job, math.huge) do
    drivers.sleep(pace.pause(job))
  end
end

--- The running jobs whose last callbacks no pump is calling.
local function unreported()
  local list = {}
  for _, job in ipairs(in_order(running)) do
    if not is_reported(job) then
      list[#list + 1] = job
    end
  end
  return list
end

--- Runs turns of all running jobs until there was something to do or the time is over.
-- @tparam[opt] number seconds the longest time to wait
-- @treturn int the number of jobs that are still running
function pump.poll(seconds)
  local deadline = core.clock() + (seconds or 0)
  while true do
    local has_done = turn_all(in_order(running))
    -- A callback that calls this must not wait for its own end.
    local jobs = unreported()
    local left = deadline - core.clock()
    if has_done or not jobs[1] or left <= 0 then
      break
    elseif drivers.can_sleep() then
      drivers.sleep(math.min(pace.pause(jobs[1]), left))
    else
      wait_for_any(jobs, math.min(LONGEST_WAIT, left))
    end
  end
  return #unreported()
end

--- The running jobs that have no response yet, in the order in which they were started.
function pump.jobs()
  local list = {}
  for _, job in ipairs(in_order(running)) do
    if not job.response then
      list[#list + 1] = job
    end
  end
  return list
end

--- Adds a started job to the running ones.
function pump.add(job)
  job.pumped = true
  running[job.id] = job
end

--- Keeps a job that no coroutine pumps from being collected.
function pump.keep(job)
  unattended[job.id] = job
end

--- Drops a job: it is cancelled, and no callback is called.
function pump.drop(job)
  forget(job)
  job.dropped = true
  if job.finalizer then
    job.finalizer.is_untouched = false
  end
  core.release(job.id)
  if job.closed then
    job.closed()
  end
end

return pump
