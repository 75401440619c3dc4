--- A job's fields for its pump, and its handle.

local core, modules = ...
local arguments, pump = modules.arguments, modules.pump

local job = {}

-- Releases a job when nothing refers to it any more, because the engine has killed its plugin's coroutine or the host's state is
-- closing.
local Finalizer = {}

-- Whether the caller was told about a job that it never ran.
local is_told = false

function Finalizer:__gc()
  core.release(self.id)
  if self.is_untouched and not is_told then
    is_told = true
    modules.report("gma2workers: a job was never run to its end, so its onComplete was not called: call job:wait(), or "
      .. "gma2workers.Poll() until it returns 0")
  end
  if self.bar then
    pcall(self.bar.close, self.bar)
  end
end

--- Converts numbers of tasks to numbers of items for a `Map`. Other jobs count tasks.
local function in_items(this, done, total)
  if this.count then
    return this.count(done, total)
  end
  return done, total
end

--- Copies a table, which the caller may change.
local function copy(original)
  local copied = {}
  for key, value in next, original or {} do
    copied[key] = value
  end
  return copied
end

--- Sets the fields of a started job that its pump needs.
function job.open(started, options)
  started.started = core.clock()
  started.onProgress = rawget(options, "onProgress")
  started.sandbox, started.globals = rawget(options, "sandbox"), rawget(options, "globals")
  started.upvalues, started.tasks = rawget(options, "upvalues"), rawget(options, "tasks")
  started.host = copy(rawget(options, "host"))
  started.onResult = rawget(options, "onResult")
  -- The indices of the tasks in the order in which they ended, the failed ones that have their hints, and the position from which
  -- on `onResult` has not been called.
  started.order, started.hinted, started.next_result = {}, {}, { 1, free = { true } }
  -- How many results the caller may see, and the number of calls that have to be served before it may see the rest.
  started.shown, started.calls_before = 0, nil
  started.next_progress = 0
  started.reported = -1
  -- Two lists of one item, which a native call removes: `onComplete`, so that it is called once, and the lock for reporting the
  -- job's end.
  started.completion, started.ending = { rawget(options, "onComplete") }, { true }
  started.result, started.failed = core.lists(started.total)
  started.finalizer = setmetatable({ id = started.id }, Finalizer)
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

-- What the response has, and a handle has not.
local IN_RESPONSE = { cancelled = true, data = true, duration = true, failed = true, response = true, result = true, returns = true }

-- Other names that people use for the methods, in small letters. Words that a caller may use for a field of its own, such as `done`
-- and `stop`, are not among them.
local METHODS = { abort = "cancel", await = "wait", cancel = "cancel", get = "wait", join = "wait", results = "results",
  status = "status", terminate = "cancel", wait = "wait" }

-- Code that takes a handle for the response would find nothing there for ever.
setmetatable(Job, { __index = function(_, name)
  if IN_RESPONSE[name] then
    error(string.format("a job has no '%s': job:wait() returns the response, which onComplete gets too", name), 2)
  end
  local method = type(name) == "string" and METHODS[string.lower(name)]
  if method then
    error(string.format("a job has no '%s': did you mean job:%s()?", name, method), 2)
  end
end })

-- The job of each handle. A handle has no field except its id.
local jobs = setmetatable({}, { __mode = "k" })

--- The job of a handle; nil and a refusal for anything else.
local function job_of(handle, method)
  local found = type(handle) == "table" and jobs[handle]
  if not found then
    local refusal = arguments.refusal(1, method, "job expected, got " .. type(handle))
    return nil, string.format("%s: write job:%s()", refusal, method)
  end
  return found
end

--- The job's status.
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
  -- While another pump merges the results, the numbers are unknown, and all tasks are done.
  return this.cancelled and "cancelled" or "running", in_items(this, done or this.total, total or this.total)
end

--- Cancels the job: running tasks are stopped, waiting ones never begin. `onComplete` still gets the response.
-- @treturn boolean false if the job was already over
function Job:cancel()
  local this, refusal = job_of(self, "cancel")
  if not this then
    error(refusal, 2)
  elseif this.response then
    return false
  end
  this.cancelled = true
  this.finalizer.is_untouched = false
  core.cancel(this.id)
  if this.bar then
    this.bar:close()
  end
  return true
end

--- Pumps the job until it is over.
-- @tparam[opt] number seconds the longest time to wait
-- @treturn ?table the response, or a `Map`'s results; nil if time ran out
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

--- Iterates over the results of the tasks in the order in which they end, and waits in between: `for index, record in
-- job:results() do`. For a `Map`'s job, over its items, with their values or records.
function Job:results()
  local this, refusal = job_of(self, "results")
  if not this then
    error(refusal, 2)
  end
  return modules.results.iterate(this)
end

function Job:__tostring()
  return "gma2workers.job " .. self.id
end

--- The handle of a job.
function job.handle(of)
  if not of.handle then
    local handle = setmetatable({ id = "Job_" .. of.id }, Job)
    jobs[handle] = of
    of.handle = handle
  end
  return of.handle
end

--- The handles of all running jobs, in the order in which they were started.
function job.running()
  local handles = {}
  for i, this in ipairs(pump.jobs()) do
    handles[i] = job.handle(this)
  end
  return handles
end

--- Cancels all running jobs.
-- @treturn int how many it cancelled
function job.cancel_all()
  local count = 0
  for _, this in ipairs(pump.jobs()) do
    if not this.cancelled and job.handle(this):cancel() then
      count = count + 1
    end
  end
  return count
end

return job
