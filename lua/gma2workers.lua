--- gma2workers: runs tasks of a plugin in parallel, in isolated Lua states on real threads.
-- The other modules are loaded on first use, because a small job needs none of them.
-- @module gma2workers

local core, modules = ...

setmetatable(modules, {
  __index = function(_, name)
    local module = core.load(name, _ENV)(core, modules)
    modules[name] = module
    return module
  end,
})

local gma2workers = {}

--- The library's description.
-- @table info
-- @field name
-- @field version
-- @field backend "native", or "cooperative" if the binary can't be loaded
-- @field threads how many threads the pool has: 0 before the first job
-- @field lost how many of them are stuck in a task that could not be stopped
gma2workers.info = setmetatable({ name = "gma2workers", version = core.version, backend = core.backend }, {
  __index = function(_, key)
    return (key == "threads" or key == "lost") and core[key]() or nil
  end,
})

-- Ctrl-C can raise an error at any instruction. So the native call that starts a job also sets its number, and the function that
-- catches the error ends the job.

--- Checks that an argument can be a job's options. Returns the refusal, or nil if it can.
local function check_options(name, options)
  if type(options) == "table" and options ~= gma2workers then
    return nil
  end
  local arguments = modules.arguments
  local got = options == gma2workers and string.format("itself: write .%s with a dot", name) or arguments.type(options)
  return arguments.refusal(1, name, string.format("gma2Workers.%s expects a config table, got %s", name, got))
end

--- Checks the options and starts the workers.
-- @tab job gets `id`, its number, and `total`, the number of its tasks
-- @string name the function that was called
-- @tab options
-- @treturn ?string the refusal
local function start(job, name, options)
  return check_options(name, options) or core.start(job, options, name == "RunAsync", job.chunk, job.cancels_later)
end

--- Running
-- @section running

--- Removes from a message a position in the library's own files, which tells the caller nothing. Returns nil if the message has
-- none.
local function without_place(message)
  return type(message) == "string" and string.match(message, "^gma2workers/[%a_/]+%.lua:%d+: (.*)$") or nil
end

--- Ends a job.
local function end_job(job)
  if job.pumped then
    modules.pump.drop(job)
  elseif job.id then
    core.release(job.id)
  end
  if job.bar then
    job.bar:close()
  end
end

--- Ends a job that an error interrupted. Returns nil and the message if it must be raised at the caller's line; otherwise raises
-- the error again.
local function fail(job, message)
  end_job(job)
  local text = without_place(message)
  if text then
    return nil, text
  end
  error(message, 0)
end

-- The options of a job that needs its pump, however small it is.
local NEED_PUMP = { "onProgress", "onResult", "progress", "trace" }

--- Starts a job and waits for its end.
-- @treturn ?table the response; nil if the job was refused
-- @return the refusal; or, as a table, the error of a callback
local function run(job, options)
  local refusal = start(job, "RunSync", options)
  if refusal then
    return nil, refusal
  end
  local needs_pump = false
  for _, name in ipairs(NEED_PUMP) do
    needs_pump = needs_pump or rawget(options, name) ~= nil
  end
  if not needs_pump then
    -- A small job ends in less time than it takes to set up its pump.
    local response, failed = core.collect_soon(job.id)
    if response then
      if failed[1] then
        modules.hints.add(response, failed, options)
        if not job.read then
          modules.failures(response.result, failed, job.total, "tasks")
        end
      end
      return response
    end
  end
  modules.job.open(job, options)
  modules.pump.add(job)
  modules.pump.run(job)
  return job.response, job.failure
end

--- Runs the tasks and blocks until all have ended.
-- @tab options see the README's table of options
-- @treturn table the response
function gma2workers.RunSync(options)
  local job = {}
  local ok, response, failure = pcall(run, job, options)
  if not ok then
    response, failure = fail(job, response)
  end
  if not response then
    error(failure, 2)
  end
  local onComplete = rawget(options, "onComplete")
  if onComplete then
    onComplete(response)
  end
  if failure then
    error(failure.value, 0)
  end
  return response
end

--- Starts a job that an engine coroutine pumps to its end.
-- @treturn ?job a handle; nil if the job was refused
-- @treturn ?string the refusal
local function run_async(job, options)
  local refusal = start(job, "RunAsync", options)
  if refusal then
    return nil, refusal
  end
  modules.job.open(job, options)
  local ok, message = pcall(modules.async.run, job, rawget(options, "mode") or "timer")
  if not ok then
    end_job(job)
    return nil, without_place(message) or message
  end
  return modules.job.handle(job)
end

--- Starts the tasks and returns at once. `onComplete` is called with the response when all have ended.
-- @function RunAsync
-- @tab options see the README's table of options
-- @treturn job a handle
gma2workers.RunAsync = core.entry(run_async, fail)

--- Calls `func(item, ...)` in workers for each item of the list, several items per task. The option `args` follows the item.
-- @function Map
-- @func func
-- @tab list
-- @tab[opt] options the options of RunSync except `tasks`; also `chunk`, the number of items per task, and `onError`, "raise" or
-- "collect"
-- @treturn table the results, or with `onError = "collect"` a record for each item. With `onComplete`, a handle; `onComplete` then
-- gets the results
gma2workers.Map = core.entry(function(job, func, list, options)
  local config, refusal = modules.map.prepare(job, func, list, options)
  if not config then
    return nil, refusal
  elseif config.onComplete then
    return run_async(job, config)
  end
  local response, failure = run(job, config)
  if not response then
    return nil, failure
  elseif failure then
    error(failure.value, 0)
  end
  return job.read(response)
end, fail)

--- Wall-clock seconds since a fixed moment. Tasks may use it too: `local clock = gma2workers.clock` crosses.
-- @function clock
-- @treturn number
gma2workers.clock = core.clock

--- Whether the running task is cancelled or out of time, and should end by itself within its `grace`. False on the host.
-- `local isStopping = gma2workers.isStopping` crosses.
-- @function isStopping
-- @treturn boolean
gma2workers.isStopping = core.is_stopping

--- Pumps all running jobs. For hosts without an engine.
-- @tparam[opt] number seconds the longest time to wait for something to do; by default, it does not wait
-- @treturn int how many jobs still run
function gma2workers.Poll(seconds)
  local refusal = seconds ~= nil and modules.arguments.check(seconds, "number or nil", 1, "Poll")
  if refusal then
    error(refusal, 2)
  end
  return modules.pump.poll(seconds)
end

--- The handles of all running jobs, also of those that a `RunSync` or a `Map` is waiting for.
-- @treturn table a list, in the order in which they were started
function gma2workers.jobs()
  return modules.job.running()
end

--- Cancels all running jobs.
-- @treturn int how many it cancelled
function gma2workers.cancelAll()
  return modules.job.cancel_all()
end

-- Fields that are looked up when the table lacks them. `Dispatch` is here because Lua names a function in a traceback after the
-- first field that has it, and that must be `RunSync`.
local hidden = { Dispatch = gma2workers.RunSync }

return setmetatable(gma2workers, {
  __index = function(_, name)
    local meant = hidden[name] == nil and core.meant(name)
    if meant then
      error(string.format("gma2workers has no '%s': did you mean '%s'?", name, meant), 2)
    end
    return hidden[name]
  end,
  __pairs = function(module)
    local fields = {}
    for _, from in ipairs { hidden, module } do
      for name, value in next, from do
        fields[name] = value
      end
    end
    return next, fields, nil
  end,
})
