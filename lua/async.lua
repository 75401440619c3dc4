--- Asynchronous jobs: starts their pump, calls their callbacks and reports the callbacks' errors.

local core, modules = ...
local drivers, pump = modules.drivers, modules.pump

local async = {}

-- Seconds. So short a sleep ends at the engine's next tick.
local SOON = 0.001

--- Reports the error of an asynchronous job's callback, since no caller can catch it.
local function report(failure)
  modules.report("gma2workers: error in a callback: " .. failure.traceback)
end

local function complete(job)
  local ok, failure = xpcall(core.call_once, pump.trace, job.completion, job.response)
  if not ok and pump.is_interrupt(failure.value) then
    error(failure.value, 0)
  end
  if job.failure then
    report(job.failure)
    job.failure = nil
  end
  if not ok then
    report(failure)
  end
end

--- Starts an engine coroutine that pumps a job to its end and then calls `onComplete`. Without an engine, only Poll() and
-- job:wait() pump the job.
-- @tab job
-- @string mode
function async.run(job, mode)
  job.complete = complete
  pump.add(job)
  job.closed = drivers[mode]("gma2workers_job_" .. job.id, function()
    if not drivers.can_sleep() then
      error("the engine started a job outside of a coroutine in which it can sleep", 0)
    end
    -- The engine may run this function before `RunAsync` returns. The job must not end before that.
    if not job.returned then
      drivers.sleep(SOON)
    end
    pump.run_in_background(job)
  end)
  if not job.closed then
    pump.keep(job)
    job.finalizer.is_untouched = true
  elseif job.response then
    -- The Poll() of another coroutine has ended the job already.
    job.closed()
  end
  job.returned = true
end

return async
