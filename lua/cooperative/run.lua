--- Runs one task in the current coroutine and makes its entry in the response.

local core, parts = ...
local values = parts.values

local run = {}

-- The task that each coroutine is running; false while it is in a function of the option `host`, which a task has called.
local in_task = setmetatable({}, { __mode = "k" })

--- Whether the current coroutine runs a task. A coroutine that the task made is not recognized.
function run.is_in_task()
  return in_task[coroutine.running()] and true or false
end

--- Whether a coroutine that runs a task has, by way of others, resumed the current one. If a host function has, too, it is taken to be
-- that one's.
local function find_task_above()
  local is_below = false
  for above, task in next, in_task do
    if coroutine.status(above) == "normal" then
      if not task then
        return false
      end
      is_below = true
    end
  end
  return is_below
end

--- Whether the current coroutine runs a task, or a coroutine that a task made.
function run.is_below_task()
  local task = in_task[coroutine.running()]
  if task ~= nil then
    return task ~= false
  end
  -- With time slices, other coroutines may change the table meanwhile, and then Lua may raise an error.
  for _ = 1, 100 do
    local ok, is_below = pcall(find_task_above)
    if ok then
      return is_below
    end
  end
  return false
end

--- Whether a task is running in any coroutine.
function run.has_tasks()
  return next(in_task) ~= nil
end

--- Notes that the current coroutine has left a task of this job, which Ctrl-C may have interrupted before that was noted.
function run.leave(job)
  local here = coroutine.running()
  local task = in_task[here]
  if task and (task == job.initialization or task == job.tasks[task.index]) then
    in_task[here] = nil
  end
  parts.exit.restore()
end

--- Whether the running task has its outcome already, because it was cancelled.
function run.is_stopping()
  local task = in_task[coroutine.running()]
  return task and #task.unset == 0 or false
end

--- Calls a function of the option `host` from a task. It is the host's, so it may use gma2workers.
function run.on_host(func, ...)
  local here = coroutine.running()
  local task = in_task[here]
  in_task[here] = false
  local results = table.pack(pcall(func, ...))
  in_task[here] = task
  if not results[1] then
    error(results[2], 0)
  end
  return table.unpack(results, 2, results.n)
end

--- Makes the entry of a failed task.
function run.failed(kind, message, traceback)
  return { success = false, data = "Error: " .. message, kind = kind, traceback = traceback }
end

--- Makes the entry of a task that returned.
-- @tab results the packed results, with `true` before them
-- @tparam ?int first for a task of a `Map`, the position of its first item in the list
local function returned(results, first)
  local count = results.n - 1
  local function place(n, keys)
    if first and n == 1 and math.type(keys[1]) == "integer" then
      return "result" .. values.path(keys, 2), first + keys[1] - 1
    end
    return (count == 1 and "result" or string.format("returns[%d]", n)) .. values.path(keys)
  end
  local copied, failure = values.clone(table.move(results, 2, results.n, 1, {}), count, place)
  if not copied then
    return run.failed(failure.kind, failure.message)
  end
  local entry = { success = true, data = copied[1] }
  if count > 1 then
    copied.n = count
    entry.returns = copied
  end
  return entry
end

--- Cuts a traceback at this file's call of the task.
local function own_part(traceback)
  return string.match(traceback, "^(.*)\n\t%[C%]: in function 'xpcall'\n\tgma2workers/cooperative/run%.lua:") or traceback
end

-- A message handler. It takes the traceback first, because `__tostring` may fail later.
local function with_traceback(value)
  return { value = value, traceback = core.traceback(nil, 2) }
end

--- Makes the entry of a task that raised an error.
local function raised(task, failure)
  if type(failure) ~= "table" then
    -- For some errors, such as a lack of memory, Lua calls no message handler.
    return run.failed(failure == "not enough memory" and "memory" or "runtime", tostring(failure))
  end
  local value = failure.value
  local ok, message = true, core.fields(value)
  if not message then
    ok, message = pcall(tostring, value)
  end
  if not ok then
    local why = type(message) == "string" and message or string.format("(error object is a %s value)", type(message))
    message = "error in the __tostring of the error: " .. why
  end
  local head = task.name and string.format("in task %d '%s'\n", task.index, task.name) or ""
  local entry = run.failed("runtime", message, head .. own_part(failure.traceback))
  if type(value) ~= "string" then
    local copied = values.clone({ value }, 1, function() return "" end)
    entry.error = copied and copied[1]
  end
  return entry
end

--- Calls a task's function. Returns what xpcall returns, packed.
local function call(task)
  local here = coroutine.running()
  local func, args, outer = task.func, task.args, in_task[here]
  task.func, task.args = nil, nil
  in_task[here] = task
  parts.exit.refuse()
  local results = table.pack(xpcall(func, with_traceback, table.unpack(args, 1, task.count)))
  in_task[here] = outer
  parts.exit.restore()
  return results
end

--- Runs the function of the option `init`.
-- @treturn ?table the entry of each task, if it failed
-- @return the error value, if it raised one
function run.init(init)
  local results = call(init)
  if results[1] then
    return nil
  end
  local entry = raised(init, results[2])
  entry.traceback = "in init\n" .. (entry.traceback or "")
  return entry, type(results[2]) == "table" and results[2].value or nil
end

--- Runs a task.
-- @treturn table its entry
-- @return the error value, if it raised one
function run.task(task)
  if task.failure then
    return run.failed(task.failure.kind, task.failure.message)
  end
  local results = call(task)
  if results[1] then
    return returned(results, task.first)
  end
  return raised(task, results[2]), type(results[2]) == "table" and results[2].value or nil
end

return run
