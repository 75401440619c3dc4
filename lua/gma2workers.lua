--- gma2workers: runs tasks of a plugin in parallel, in isolated Lua states on real threads.
-- The other modules are loaded where they are first needed: a small job needs none of them.
-- @module gma2workers

local core, modules = ...

setmetatable(modules, {
  __index = function(_, name)
    local module = core.load(name)(core, modules)
    modules[name] = module
    return module
  end,
})

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

--- Running
-- @section running

--- What was raised, without a place inside of the Lua side (an interrupt's, say), which tells the caller nothing; nil
-- where there was none.
local function without_place(message)
  return type(message) == "string" and message:match("^gma2workers/%a+%.lua:%d+: (.*)$")
end

--- Waits for a started job.
-- @treturn table the response
-- @treturn ?table what `onProgress` raised, where it did
local function finish(id, total, options)
  if rawget(options, "onProgress") == nil then
    -- A small job is over before a pump for it would be made.
    local response, failed = core.collect_soon(id)
    if response then
      if failed[1] then
        modules.hints.add(response, failed, rawget(options, "sandbox"))
      end
      return response
    end
  end
  local job, pump = modules.job.new(id, total, options), modules.pump
  pump.add(job)
  local ok, message = pcall(pump.run, job)
  if not ok then
    pump.drop(job)
    error(message, 0)
  end
  return job.response, job.failure
end

--- Runs the tasks and blocks until all have ended.
-- @tab options see the README's table of options
-- @treturn table the response
function gma2workers.RunSync(options)
  local id, total = start("RunSync", options)
  local onComplete = rawget(options, "onComplete")
  local ok, response, failure = pcall(finish, id, total, options)
  if not ok then
    core.release(id)
    local message = without_place(response)
    error(message or response, message and 2 or 0)
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

--- Has a started job pumped to its end from elsewhere.
-- @treturn job a handle
local function leave(id, total, options)
  local job = modules.job.new(id, total, options)
  local ok, message = pcall(modules.async.run, job, rawget(options, "mode") or "timer")
  if not ok then
    modules.pump.drop(job)
    error(message, 0)
  end
  return modules.job.handle(job)
end

--- Starts the tasks and returns at once. `onComplete` is called with the response when all have ended.
-- @tab options see the README's table of options
-- @treturn job a handle
function gma2workers.RunAsync(options)
  local id, total = start("RunAsync", options)
  local ok, job = pcall(leave, id, total, options)
  if not ok then
    core.release(id)
    error(without_place(job) or job, 2)
  end
  return job
end

--- Wall seconds since some moment. A task may use it too: it crosses as what it is, `local clock = gma2workers.clock`.
-- @function clock
-- @treturn number
gma2workers.clock = core.clock

--- Pumps all running jobs once, without waiting: for hosts without an engine.
-- @treturn int how many jobs still run
function gma2workers.Poll()
  return modules.pump.poll()
end

return gma2workers
