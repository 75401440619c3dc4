--- gma2workers: runs tasks of a plugin in parallel, in isolated Lua states on real threads.
-- @module gma2workers

local core, modules = ...
local arguments, hints, pump, drivers = modules.arguments, modules.hints, modules.pump, modules.drivers

local gma2workers = {}

--- What this is.
-- @table info
-- @field name
-- @field version
-- @field backend "native"
-- @field threads how many threads the pool has by now: 0 before the first job
-- @field lost how many of them are held by a task that could not be stopped
gma2workers.info = setmetatable({ name = "gma2workers", version = core.version, backend = "native" }, {
  __index = function(_, key)
    return (key == "threads" or key == "lost") and core[key]() or nil
  end,
})

-- A job that nobody can wait for any more is dropped with its last reference: so it is when its plugin's
-- coroutine was killed, and when the host's state closes.
local Ticket = {}

function Ticket:__gc()
  core.release(self.id)
end

--- Checks the options and starts the workers. Raises at the caller's caller.
-- @treturn int the job's number
-- @treturn int how many tasks it has
local function start(name, options)
  if type(options) ~= "table" then
    local shown = options == nil and "no value" or type(options)
    error(("bad argument #1 to '%s' (gma2Workers.%s expects a config table, got %s)"):format(name, name, shown), 3)
  end
  local id, total = core.start(options, name == "RunAsync")
  if not id then
    error(total, 3)
  end
  return id, total
end

--- What the pump has to know of a job.
local function new_job(id, total, options)
  local result, failed = core.lists(total)
  return {
    id = id,
    total = total,
    result = result,
    failed = failed,
    started = core.clock(),
    onComplete = rawget(options, "onComplete"),
    onProgress = rawget(options, "onProgress"),
    sandbox = rawget(options, "sandbox"),
    next_progress = 0,
    told = -1,
    ticket = setmetatable({ id = id }, Ticket),
  }
end

-- The job handle ------------------------------------------------------------------------------------------

--- A handle to a running job. Dropping it changes nothing.
-- @type job
local Job = {}
Job.__index = Job
Job.__name = "gma2workers.job"

-- The handle shows its id alone.
local jobs = setmetatable({}, { __mode = "k" })

local function job_of(handle, method)
  local job = type(handle) == "table" and jobs[handle]
  if not job then
    error(("bad argument #1 to '%s' (job expected, got %s): write job:%s()"):format(method, type(handle), method), 3)
  end
  return job
end

--- Where the job stands.
-- @treturn string "running", "done" or "cancelled"
-- @treturn int how many tasks are done
-- @treturn int how many tasks there are
function Job:status()
  local job = job_of(self, "status")
  if job.response then
    local total = #job.response.result
    return job.cancelled and "cancelled" or "done", total, total
  end
  local done, total = core.progress(job.id)
  -- None where another pump is about to merge it.
  return job.cancelled and "cancelled" or "running", done or job.total, total or job.total
end

--- Stops the job: tasks that run are stopped, those that wait never begin. `onComplete` still gets the response.
-- @treturn boolean false where the job was over already
function Job:cancel()
  local job = job_of(self, "cancel")
  if job.response then
    return false
  end
  job.cancelled = true
  core.cancel(job.id)
  return true
end

--- Waits for the job, and pumps it meanwhile.
-- @tparam[opt] number seconds how long at most
-- @treturn ?table the response; nil when the time is over
function Job:wait(seconds)
  local job = job_of(self, "wait")
  arguments.check(seconds, "number or nil", 1, "wait", 2)
  if not job.response then
    pump.run(job, seconds and core.clock() + seconds)
  end
  return job.response
end

function Job:__tostring()
  return "gma2workers.job " .. self.id
end

--- Running
-- @section running

--- Raises what came out of the pump. A place inside of it (an interrupt's, say) tells the caller nothing: theirs does.
-- @int level where theirs is, as `error` counts
local function raise(message, level)
  local is_ours = type(message) == "string" and message:match("^gma2workers/%a+%.lua:%d+: (.*)$")
  error(is_ours or message, is_ours and level + 1 or 0)
end

--- Pumps a job to its end.
-- @treturn table the response
-- @treturn ?table what `onProgress` raised, where it did
local function run(job)
  pump.add(job)
  local ok, message = pcall(pump.run, job)
  if not ok then
    pump.drop(job)
    raise(message, 3)
  end
  return job.response, job.failure
end

--- Runs the tasks and blocks until all have ended.
-- @tab options see the README's table of options
-- @treturn table the response
function gma2workers.RunSync(options)
  local id, total = start("RunSync", options)
  local onComplete = rawget(options, "onComplete")
  local ok, response, failed, failure = true, nil, nil, nil
  if rawget(options, "onProgress") == nil then
    -- A small job is over before a pump for it would be made.
    ok, response, failed = pcall(core.collect_soon, id)
  end
  if not ok then
    core.release(id)
    raise(response, 2)
  elseif response then
    hints.add(response, failed, rawget(options, "sandbox"))
  else
    response, failure = run(new_job(id, total, options))
  end
  if onComplete then
    onComplete(response)
  end
  if failure then
    error(failure.value, 0)
  end
  return response
end

--- The name that RunSync once had.
gma2workers.Dispatch = gma2workers.RunSync

--- Shows an error that nobody can catch: a callback's of an asynchronous job.
local function report(failure)
  local text = "gma2workers: error in a callback: " .. failure.traceback
  local engine = rawget(_G, "gma")
  if type(engine) == "table" and type(engine.echo) == "function" then
    engine.echo(text)
  else
    io.stderr:write(text, "\n")
  end
end

local function complete(job)
  local ok, failure = xpcall(job.onComplete, pump.trace, job.response)
  if job.failure then
    report(job.failure)
  end
  if not ok then
    report(failure)
  end
end

--- Starts the tasks and returns at once. `onComplete` is called with the response when all have ended.
-- @tab options see the README's table of options
-- @treturn job a handle
function gma2workers.RunAsync(options)
  local id, total = start("RunAsync", options)
  local job = new_job(id, total, options)
  job.complete = complete
  pump.add(job)
  local mode = rawget(options, "mode") or "timer"
  local ok, message = pcall(drivers[mode], job)
  if not ok then
    pump.drop(job)
    error(message, 2)
  end
  job.returned = true
  local handle = setmetatable({ id = "Job_" .. job.id }, Job)
  jobs[handle] = job
  return handle
end

--- Wall seconds since some moment. A task may use it too: it crosses as what it is, `local clock = gma2workers.clock`.
-- @function clock
-- @treturn number
gma2workers.clock = core.clock

--- Pumps all running jobs once, without waiting: for hosts without an engine.
-- @treturn int how many jobs still run
function gma2workers.Poll()
  return pump.poll()
end

return gma2workers
