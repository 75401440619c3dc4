--- All public calls except `RunSync`, and the refusals of all calls. A small job does without this file.

local core, modules = ...
local sync = modules.sync

local calls = {}

--- Refuses an argument that can't be a job's options.
-- @string name the function that was called
-- @param options
-- @treturn string the refusal
function calls.refusal(name, options)
  local arguments = modules.arguments
  local got = arguments.got(options, name)
  return arguments.refusal(1, name, string.format("gma2Workers.%s expects a config table, got %s", name, got))
end

--- Starts a job that an engine coroutine pumps to its end.
-- @treturn ?job a handle; nil if the job was refused
-- @treturn ?string the refusal
function calls.run_async(job, options)
  local refusal = sync.start(job, "RunAsync", options)
  if refusal then
    return nil, refusal
  end
  modules.job.open(job, options)
  local ok, message = pcall(modules.async.run, job, rawget(options, "mode") or "timer")
  if not ok then
    sync.end_job(job)
    return nil, sync.without_place(message) or message
  end
  return modules.job.handle(job)
end

--- Runs a `Map`.
-- @return the results; or a handle, if there is a callback; or nil and the refusal
function calls.map(job, func, list, options)
  local config, refusal = modules.map.prepare(job, func, list, options)
  if not config then
    return nil, refusal
  elseif config.onComplete then
    return calls.run_async(job, config)
  end
  local response, failure = sync.run(job, config)
  if not response then
    return nil, failure
  elseif failure then
    error(failure.value, 0)
  end
  return job.read(response)
end

--- Pumps all running jobs.
function calls.poll(seconds)
  local refusal = seconds ~= nil and modules.arguments.check(seconds, "number or nil", 1, "Poll")
  if refusal then
    error(refusal, 2)
  end
  return modules.pump.poll(seconds)
end

--- Sets the engine. Level 2 is the caller: `setEngine` ends with this call.
function calls.set_engine(engine)
  local refusal = modules.engine.set(engine)
  if refusal then
    error(refusal, 2)
  end
end

--- Refuses a field that the module lacks, if its name is a misspelt one. Level 2 is the caller: the metamethod ends with this call.
function calls.missing(name)
  local meant = core.meant(name)
  if meant then
    error(string.format("gma2workers has no '%s': did you mean '%s'?", name, meant), 2)
  end
end

--- What `pairs(gma2workers)` goes through.
function calls.fields(module)
  local fields = { Dispatch = sync.Dispatch }
  for name, value in next, module do
    fields[name] = value
  end
  return next, fields, nil
end

return calls
