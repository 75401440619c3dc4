--- The host's side of a running job: serves its host calls, reports its progress and merges its outcomes.
-- The pump is written in Lua, because the engine's functions and the user's callbacks may yield: `gma.sleep` is
-- `coroutine.yield`. Several pumps may run for one job, such as a timer's and a `job:wait()`, and the engine may switch between
-- them at any instruction. The pump that takes a host call serves it, and the pump that finds results merges them. For a job
-- that is over, the native calls do nothing.

local core, modules = ...
local drivers, hints = modules.drivers, modules.hints

local pump = {}

-- Seconds for which one turn may block the engine.
local BUDGET = 0.005

-- Seconds to wait for a host call inside a turn. While tasks are busy, a longer wait gains nothing.
local CALL_WAIT = 0.001

-- Seconds that the pump sleeps between turns: about one of the engine's ticks.
local TICK = 0.01

-- Seconds to wait for a short job before the engine runs again. Tasks of the cooperative backend need the engine at once.
local FIRST_WAIT = core.backend == "cooperative" and 0 or 0.010

-- The longest wait in C, in seconds. A stock interpreter notices Ctrl-C only in Lua code.
local LONGEST_WAIT = 0.02

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
    if is_interrupt(failure.value) then
      error(failure.value, 0)
    end
    -- The callback is not called again. The job continues, and the error is raised at its end.
    job.onProgress, job.failure = nil, failure
  end
end

local function forget(job)
  running[job.id], unattended[job.id] = nil, nil
end

--- Makes the response of a job whose outcomes could not be merged, for example because memory ran out on the host.
local function failed_response(job, message)
  local result = {}
  for index = 1, job.total do
    result[index] = { success = false, data = "Error: " .. tostring(message), kind = "transfer" }
  end
  return { result = result, jobId = "Job_" .. job.id, workerCount = 0, failed = job.total, duration = core.clock() - job.started }
end

--- Merges the results so far, while tasks are still running.
local function merge(job)
  job.broken = job.broken or core.merge(job.id, job.result, job.failed)
end

--- Sets the response of a finished job, unless another pump has.
local function collect(job)
  local problem = job.broken or core.collect(job.id, job, job.result, job.failed)
  if not problem then
    return
  elseif not job.complete then
    error(problem, 0)
  end
  -- The job is asynchronous, so no caller could catch an error.
  core.release(job.id)
  job.failed, job.response = {}, failed_response(job, problem)
end

--- Reports a job's end. Each step does nothing if it is repeated, so after an error in between, the next pump can call this again.
local function report_end(job)
  if job.problem then
    job.failure = job.failure or { value = job.problem, traceback = job.problem }
    job.problem = nil
  end
  if not job.has_hints then
    hints.add(job.response, job.failed, job)
    job.tasks = nil
    -- From here on the caller may change the response.
    job.has_hints = true
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
    -- A callback may yield, and then another pump must not report the end again.
    core.exclusively(job.ending, report_end, job)
  end
end

--- Whether a pump is reporting the job's end.
function pump.is_ending(job)
  return not job.ending[1]
end

--- Runs one turn: serves host calls for at most `budget` seconds, and waits at most `call_wait` seconds for each.
-- @treturn boolean whether the job is over
function pump.turn(job, budget, call_wait)
  local left = budget or BUDGET
  local stop = core.clock() + left
  repeat
    local has_work, over, has_results = core.wait(job.id, math.min(left, call_wait or CALL_WAIT))
    if has_work and not over then
      while core.serve(job.id, job.host) do end -- luacheck: ignore 542
      if has_results then
        merge(job)
      end
      over = select(2, core.wait(job.id, 0))
    end
    -- A job that already has its response was interrupted while its end was being reported.
    if over or job.response then
      finish(job)
    end
    -- If another pump is calling the callbacks, there is nothing to wait for. But RunSync calls onComplete afterwards, so it waits
    -- for the other pump if that can run meanwhile.
    local is_reported = job.over or job.response and pump.is_ending(job) and (job.complete or not drivers.can_sleep())
    if is_reported or job.dropped then
      return true
    end
    local now = core.clock()
    if (job.onProgress or job.bar) and now >= job.next_progress then
      report_progress(job, now, core.progress(job.id))
      now = core.clock()
    end
    left = stop - now
  until left <= 0 or not has_work
  return false
end

--- Pumps the job until it is over or the deadline has passed.
-- @tparam[opt] number deadline a time of core.clock()
-- @treturn boolean whether the job is over
function pump.run(job, deadline)
  local first_until = core.clock() + FIRST_WAIT
  while true do
    local now = core.clock()
    local left = deadline and math.max(deadline - now, 0) or math.huge
    local lets_engine_run = drivers.can_sleep() and now >= first_until
    local budget = lets_engine_run and math.min(BUDGET, left) or math.min(LONGEST_WAIT, left)
    if pump.turn(job, budget, lets_engine_run and CALL_WAIT or budget) then
      return true
    elseif deadline and core.clock() >= deadline then
      return false
    elseif lets_engine_run then
      _G.gma.sleep(TICK)
    end
  end
end

--- Pumps the job to its end in an engine coroutine.
function pump.run_in_background(job)
  while not pump.turn(job) do
    _G.gma.sleep(TICK)
  end
end

--- Runs one turn for every running job, without waiting.
-- @treturn int the number of jobs that are still running
function pump.poll()
  local jobs = {}
  for _, job in pairs(running) do
    jobs[#jobs + 1] = job
  end
  table.sort(jobs, function(a, b) return a.id < b.id end)
  for _, job in ipairs(jobs) do
    pump.turn(job, 0)
  end
  local count = 0
  for _, job in pairs(running) do
    count = count + (job.response and pump.is_ending(job) and 0 or 1)
  end
  return count
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
  core.release(job.id)
  if job.closed then
    job.closed()
  end
end

return pump
