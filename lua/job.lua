--- A job as the Lua side has it, and the handle to one.

local core, modules = ...
local arguments, pump = modules.arguments, modules.pump

local job = {}

-- A job that nobody can wait for any more is dropped with its last reference: so it is when its plugin's
-- coroutine was killed, and when the host's state closes.
local Ticket = {}

function Ticket:__gc()
  core.release(self.id)
  if self.bar then
    pcall(self.bar.close, self.bar)
  end
end

--- A number of tasks done and one of all, in what the caller counts: the items of a `Map`.
local function in_items(this, done, total)
  if this.count then
    return this.count(done, total)
  end
  return done, total
end

--- Gives a started job what its pump needs.
function job.open(started, options)
  started.started = core.clock()
  started.onProgress = rawget(options, "onProgress")
  started.sandbox, started.globals = rawget(options, "sandbox"), rawget(options, "globals")
  started.next_progress = 0
  started.told = -1
  -- Both are taken by one native call each: onComplete to be called, the other to tell of the end.
  started.completion, started.ending = { rawget(options, "onComplete") }, { true }
  started.result, started.failed = core.lists(started.total)
  started.ticket = setmetatable({ id = started.id }, Ticket)
  local title = rawget(options, "progress")
  if title and started.total > 0 then
    local _, total = in_items(started, 0, started.total)
    modules.progress.open(started, title, total)
  end
end

--- A handle to a running job. Dropping it changes nothing.
-- @type job
local Job = {}
Job.__index = Job
Job.__name = "gma2workers.job"

-- The handle shows its id alone.
local jobs = setmetatable({}, { __mode = "k" })

--- The job that a handle is one to; nil and a refusal where it is none.
local function job_of(handle, method)
  local found = type(handle) == "table" and jobs[handle]
  if not found then
    local refusal = arguments.refusal(1, method, "job expected, got " .. type(handle))
    return nil, string.format("%s: write job:%s()", refusal, method)
  end
  return found
end

--- Where the job stands.
-- @treturn string "running", "done" or "cancelled"
-- @treturn int how many tasks are done
-- @treturn int how many tasks there are
function Job:status()
  local this, refusal = job_of(self, "status")
  if not this then
    error(refusal, 2)
  elseif this.response then
    return this.cancelled and "cancelled" or "done", in_items(this, this.total, this.total)
  end
  local done, total = core.progress(this.id)
  -- None where another pump is about to merge it.
  return this.cancelled and "cancelled" or "running", in_items(this, done or this.total, total or this.total)
end

--- Stops the job: tasks that run are stopped, those that wait never begin. `onComplete` still gets the response.
-- @treturn boolean false where the job was over already
function Job:cancel()
  local this, refusal = job_of(self, "cancel")
  if not this then
    error(refusal, 2)
  elseif this.response then
    return false
  end
  this.cancelled = true
  core.cancel(this.id)
  if this.bar then
    this.bar:close()
  end
  return true
end

--- Waits for the job, and pumps it meanwhile.
-- @tparam[opt] number seconds how long at most
-- @treturn ?table the response, or a `Map`'s results; nil when the time is over
function Job:wait(seconds)
  local this, refusal = job_of(self, "wait")
  refusal = refusal or arguments.check(seconds, "number or nil", 1, "wait")
  if refusal then
    error(refusal, 2)
  elseif not this.over then
    pump.run(this, seconds and core.clock() + seconds)
  end
  if not this.response then
    return nil
  elseif this.read then
    local results, problem = this.read(this.response)
    if problem then
      error(problem, 2)
    end
    return results
  end
  return this.response
end

function Job:__tostring()
  return "gma2workers.job " .. self.id
end

--- A handle to a job.
function job.handle(of)
  local handle = setmetatable({ id = "Job_" .. of.id }, Job)
  jobs[handle] = of
  return handle
end

return job
