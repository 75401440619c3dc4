--- gma2workers: runs tasks of a plugin in parallel, in isolated Lua states on real threads.
-- The other modules are loaded on first use, because a small job needs none of them. So this file has only what such a job needs.
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

--- Checks the options and starts the workers.
-- @tab job gets `id`, its number, and `total`, the number of its tasks
-- @string name the function that was called
-- @tab options
-- @treturn ?string the refusal
local function start(job, name, options)
  if type(options) ~= "table" or options == gma2workers then
    return modules.calls.refusal(name, options)
  end
  return core.start(job, options, name == "RunAsync", job.chunk, job.cancels_later)
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

-- For `modules.calls`. `Dispatch` is no field of the module, because Lua names a function in a traceback after the first field that
-- has it, and that must be `RunSync`.
modules.sync = { start = start, run = run, end_job = end_job, without_place = without_place, Dispatch = gma2workers.RunSync,
  itself = gma2workers }

--- Starts the tasks and returns at once. `onComplete` is called with the response when all have ended.
-- @function RunAsync
-- @tab options see the README's table of options
-- @treturn job a handle
gma2workers.RunAsync = core.entry(function(...)
  return modules.calls.run_async(...)
end, fail)

--- Calls `func(item, ...)` in workers for each item of the list, several items per task. The option `args` follows the item.
-- @function Map
-- @func func
-- @tab list
-- @tab[opt] options the options of RunSync except `tasks`; also `chunk`, the number of items per task, and `onError`, "raise" or
-- "collect"
-- @treturn table the results, or with `onError = "collect"` a record for each item. With `onComplete`, a handle; `onComplete` then
-- gets the results
gma2workers.Map = core.entry(function(...)
  return modules.calls.map(...)
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
function gma2workers.Poll(...)
  return modules.calls.poll(...)
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

--- Sets the functions of the program's engine, which drive jobs instead of those of `gma`.
-- @tparam ?table engine `sleep`, `timer`, `command`, `echo`, `clock` and `progress`, each of which may be left out; nil for `gma`
function gma2workers.setEngine(...)
  return modules.calls.set_engine(...)
end

return setmetatable(gma2workers, {
  __index = function(_, name)
    if name == "Dispatch" then
      return modules.sync.Dispatch
    end
    return modules.calls.missing(name)
  end,
  __pairs = function(module)
    return modules.calls.fields(module)
  end,
})
