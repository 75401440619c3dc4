--- `Map`: splits a list into tasks of several items each.

local core, modules = ...
local arguments, map_results = modules.arguments, modules.map_results

local map = {}

-- The number of tasks per worker for a long list. More tasks balance the load better and show finer progress. The cooperative
-- backend starts as many workers as possible, so each gets fewer tasks.
local TASKS_PER_WORKER = core.backend == "cooperative" and 4 or 32

-- The most items per task. With this many, the cost of a task is negligible.
local MOST_ITEMS = 128

-- The most arguments that may follow an item.
local ARGUMENT_LIMIT = 250

-- The most items that are copied through Lua's stack.
local UNPACK_LIMIT = 200

local function slice(items, first, last)
  if last - first < UNPACK_LIMIT then
    return { table.unpack(items, first, last) }
  end
  return table.move(items, first, last, 1, {})
end

--- Finds the items that can't cross. Returns their failures by position.
local function find_unsendable(items, count, upvalues)
  local found = {}
  if not core.check(items, "list", upvalues) then
    return found
  end
  for i = 1, count do
    local kind, message = core.check(items[i], string.format("list[%d]", i), upvalues)
    if kind then
      found[i] = { kind = kind, message = message }
    end
  end
  return found
end

--- Makes the tasks, of `chunk` items each.
local function make_tasks(call, plan)
  local func, object = call, false
  if type(call) == "table" then
    func, object = core.metatable(call).__call, call
  end
  local run = modules.mapper(func)
  local tasks, is_on_host = {}, core.backend == "cooperative"
  for first = 1, plan.count, plan.chunk do
    local last = math.min(first + plan.chunk - 1, plan.count)
    local items, skip = slice(plan.items, first, last), nil
    for i = first, plan.has_unsendable and last or 0 do
      if plan.unsendable[i] then
        skip = skip or {}
        skip[i - first + 1], items[i - first + 1] = true, nil
      end
    end
    -- Both backends rely on the first three positions, to name these arguments in messages as the caller does.
    local args = { items, object, plan.extra, first, last - first + 1, plan.collects, plan.upvalues, is_on_host, skip, plan.stops }
    local name = plan.is_traced and string.format("list[%d] to list[%d]", first, last) or nil
    tasks[#tasks + 1] = { func = run, args = args, name = name }
  end
  return tasks
end

--- Chooses the number of items per task.
local function choose_chunk(given, count, workers, has_timeout)
  if given then
    return math.max(1, math.min(given, count))
  elseif has_timeout then
    -- A timeout applies to a task, but the caller means it for an item.
    return 1
  end
  return math.max(1, math.min(MOST_ITEMS, count // (workers * TASKS_PER_WORKER)))
end

--- Reads the arguments that follow an item. All tasks get the same table. Returns false if there are none.
-- @treturn table|boolean|nil the arguments, with their number `n` and whether the item's index comes before them; nil if there is a
-- value that would be lost
-- @treturn ?string the refusal
local function read_extra(args, has_index)
  local extra, last = { has_index = has_index, n = 0 }, 0
  for key, value in next, args or {} do
    if math.type(key) == "integer" and key >= 1 then
      extra[key], last = value, math.max(last, key)
    elseif type(key) ~= "string" then
      return nil, string.format("option 'args' has a value at [%s], which would be lost: arguments are numbered from 1", tostring(key))
    elseif key ~= "n" then
      return nil, string.format("option 'args' has a field '%s', which would be lost: %s", key,
        "arguments have no names, so pass it in a table, args = { { name = value } }")
    end
  end
  local n = args and rawget(args, "n")
  extra.n = n == nil and last or math.type(n) and math.tointeger(n)
  if not extra.n then
    return nil, "option 'args'.n must be a whole number of arguments, got " .. tostring(n)
  elseif extra.n < 0 or extra.n > ARGUMENT_LIMIT then
    return nil, string.format("option 'args' must hold 0 to %d arguments, got %d: pass them in one table instead", ARGUMENT_LIMIT,
      extra.n)
  end
  return (has_index or extra.n > 0) and extra
end

--- Checks the types of the arguments. Returns the refusal, or nil if all are right.
local function check_types(func, list, options)
  local meta = type(func) == "table" and core.metatable(func)
  if type(func) ~= "function" and not (meta and type(rawget(meta, "__call")) == "function") then
    return arguments.refusal(1, "Map", "function expected, got " .. arguments.got(func, "Map")
      .. (type(func) == "table" and type(list) == "function" and not arguments.is_itself(func) and ": write Map(func, list)" or ""))
  end
  return arguments.check(list, "table", 2, "Map") or arguments.check(options, "table or nil", 3, "Map")
end

--- Checks the call and makes the options of its job. Sets fields of the job: `chunk`, the number of items per task;
-- `cancels_later`, whether a failure cancels the tasks behind it; `count`, which converts numbers of tasks to numbers of items; and
-- `read`, which converts the response to results or records.
-- @treturn ?table the options; nil if the call is refused
-- @treturn ?string the refusal
function map.prepare(job, func, list, options)
  local refusal = check_types(func, list, options)
  if refusal then
    return nil, refusal
  end
  options = options or {}
  local problem, chunk, collects, workers = core.read_map(options)
  if problem then
    return nil, problem
  end
  local items, count = modules.items.read(list)
  if not items then
    return nil, arguments.refusal(2, "Map", count)
  end

  local extra, fault = read_extra(rawget(options, "args"), rawget(options, "index"))
  if extra == nil then
    return nil, fault
  end

  local config = {}
  for name, value in next, options do
    config[name] = value
  end
  config.chunk, config.onError, config.args, config.index = nil, nil, nil, nil
  local plan = { func = func, items = items, extra = extra, count = count, collects = collects, upvalues = config.upvalues, unsendable = {},
    stops = not collects or config.stopOnError, sandbox = config.sandbox, globals = config.globals, is_traced = config.trace ~= nil }
  plan.chunk = choose_chunk(chunk, count, workers, config.timeout ~= nil)
  job.chunk, job.cancels_later = plan.chunk, not collects
  if collects then
    plan.records, plan.failed, plan.has_records = core.lists(count), {}, {}
    plan.unsendable = find_unsendable(items, count, plan.upvalues)
    plan.has_unsendable = next(plan.unsendable) ~= nil
  end
  config.tasks = make_tasks(func, plan)
  plan.items, plan.tasks = nil, config.tasks

  function job.count(done, total)
    return done == total and count or done * plan.chunk, count
  end
  function job.item_at(entry, task, n)
    return map_results.item(entry, task, n, plan)
  end
  function job.read(response)
    if not job.outcome then
      job.outcome = table.pack((collects and map_results.records or map_results.values)(response, plan))
      if collects and plan.failed[1] then
        modules.failures(plan.records, plan.failed, count, "items")
      end
    end
    local results, failure = job.outcome[1], job.outcome[2]
    if failure then
      return nil, failure
    end
    return results -- alone: a nil behind it would be an argument where a call of Map is the last one
  end
  local onComplete = config.onComplete
  if onComplete then
    function config.onComplete(response)
      onComplete(job.read(response))
    end
  end
  return config
end

return map
