--- `Map`: a function over a list, some items a task.

local core, modules = ...
local arguments, hints = modules.arguments, modules.hints
local check, trace = core.check_in_task, core.trace

local map = {}

-- Tasks that each worker gets, where the list is long enough: the more, the more even is the load and the finer the progress.
-- A worker of the cooperative backend costs more, and there are as many of them as there can be.
local TASKS_A_WORKER = core.backend == "cooperative" and 4 or 32

-- With so many items, a task's own cost is next to nothing.
local MOST_ITEMS = 128

-- More than these don't go over Lua's stack.
local FEW = 200

--- In a task
-- What stands here crosses as code, so it captures functions alone; its globals are the task's.
-- @section task

--- What is told of the item at that position, whose function raised. It must be able to cross.
local function describe(at, failure, copies)
  local value, traceback = failure, nil
  if type(failure) == "table" then
    value, traceback = failure.value, failure.traceback
  end
  local ok, message = pcall(tostring, value)
  if not ok then
    local why = type(message) == "string" and message or string.format("(error object is a %s value)", type(message))
    message = "error in the error's own __tostring: " .. why
  end
  local has_run_out = message == "not enough memory" or string.find(message, "not enough memory for buffer allocation$")
  local told = { at = at, kind = has_run_out and "memory" or "runtime", message = message, traceback = traceback }
  if type(value) ~= "string" and not check(value, "error", copies) then
    told.error = value
  end
  return told
end

--- Takes out of the results what can't cross, and tells of each.
local function take_out(results, count, copies, failures)
  if not check(results, "result", copies) then
    return failures
  end
  failures = failures or {}
  for i = 1, count do
    local kind, message = check(results[i], "result", copies)
    if kind then
      results[i] = nil
      failures[#failures + 1] = { at = i, kind = kind, message = message }
    end
  end
  return failures
end

--- The function of all tasks: it puts the results in the items' places, and gives them, and what is told of the failed ones.
-- Without `collects` the first of these ends it.
local function mapper(func)
  return function(items, object, first, count, collects, copies, is_on_host, skip)
    local at, failures = 0, nil
    local function go_on()
      for i = at + 1, count do
        at = i
        if skip and skip[i] then
          items[i] = nil
        elseif object then
          items[i] = func(object, items[i], first + i - 1)
        else
          items[i] = func(items[i], first + i - 1)
        end
      end
    end
    while true do
      local before = at
      local ok, failure = xpcall(go_on, trace)
      if ok then
        break
      end
      local told = describe(at, failure, copies)
      -- Whoever waits runs tasks of the cooperative backend, and Ctrl-C is for them. And no item may fail twice.
      if is_on_host and string.sub(told.message, -12) == "interrupted!" or at == before then
        error(told.message, 0)
      end
      failures = failures or {}
      failures[#failures + 1] = told
      if not collects then
        return nil, failures
      end
      items[at] = nil
    end
    if collects then
      failures = take_out(items, count, copies, failures)
    end
    if failures then
      return items, failures
    end
    return items
  end
end

--- The list
-- @section list

--- What is wrong with a table as a list, of so many items where that is said; nil for nothing.
local function find_problem(list, count)
  local found, last = 0, 0
  for key in next, list do
    if math.type(key) ~= "integer" then
      if key ~= "n" then
        local shown = type(key) == "string" and string.format("field '%s'", key) or type(key) .. " as a key"
        return "a list expected, but it has a " .. shown
      end
    elseif key < 1 then
      return string.format("a list that starts at 1 expected, but it has [%d]", key)
    else
      found, last = found + 1, math.max(last, key)
    end
  end
  if count then
    local problem = "list.n is %d, but it has [%d]: with more items, set list.n to how many"
    return last > count and string.format(problem, count, last) or nil
  end
  local hole = 1
  while found ~= last and rawget(list, hole) ~= nil do
    hole = hole + 1
  end
  if found ~= last then
    return string.format("list[%d] is missing: the list has a hole (list[%d] is there); with nils, set list.n", hole, last)
  end
end

--- A table with the items alone, read raw, and how many there are; or nil, and what is wrong. No item may be left out
-- without a word, and the length of a table says nothing of its other keys.
local function read_list(list)
  local n = rawget(list, "n")
  local count = n == nil and rawlen(list) or math.type(n) and math.tointeger(n)
  if not count or count < 0 then
    return nil, string.format("list.n must be a whole number of items, got %s", tostring(n))
  end
  local problem = (n ~= nil or not core.is_list(list, count)) and find_problem(list, n ~= nil and count)
  if problem then
    return nil, problem
  end
  if not core.metatable(list) then
    return list, count
  end
  local items = {}
  for i = 1, count do
    items[i] = rawget(list, i)
  end
  return items, count
end

local function slice(items, first, last)
  if last - first < FEW then
    return { table.unpack(items, first, last) }
  end
  return table.move(items, first, last, 1, {})
end

--- What can't cross of the items, each by its index: the failure.
local function find_unsendable(items, count, copies)
  local found = {}
  if not core.check(items, "list", copies) then
    return found
  end
  for i = 1, count do
    local kind, message = core.check(items[i], string.format("list[%d]", i), copies)
    if kind then
      found[i] = { kind = kind, message = message }
    end
  end
  return found
end

--- The tasks, of `chunk` items each.
local function make_tasks(call, plan)
  local func, object = call, false
  if type(call) == "table" then
    func, object = core.metatable(call).__call, call
  end
  local run = mapper(func)
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
    -- Both backends know the first two by their positions, and name them in messages as the caller does.
    local args = { items, object, first, last - first + 1, plan.collects, plan.copies, is_on_host, skip }
    local name = plan.is_traced and string.format("list[%d] to list[%d]", first, last) or nil
    tasks[#tasks + 1] = { func = run, args = args, name = name }
  end
  return tasks
end

--- The outcome
-- @section outcome

--- A text without what only this file's part in it says.
local function own_part(told)
  local message = string.gsub(told.message, "^gma2workers/map%.lua:%d+: ", "")
  local traceback = told.traceback and string.gsub(told.traceback, "\n\t[^\n]*gma2workers/map%.lua:.*$", "")
  return message, traceback
end

local function failed(told)
  local message, traceback = own_part(told)
  return { success = false, data = "Error: " .. message, kind = told.kind, error = told.error, traceback = traceback }
end

--- The failure of a task that failed as a whole.
local function whole(entry)
  return { message = string.sub(entry.data, #"Error: " + 1), kind = entry.kind, traceback = entry.traceback }
end

-- Failures that concern no item, or name it.
local NAMES_ITEM = { cancelled = true, upvalue = true, transfer = true }

--- What is raised for the first failure of a task that failed as a whole.
local function whole_problem(entry, first, last)
  local message = own_part(whole(entry))
  if NAMES_ITEM[entry.kind] then
    return message
  elseif first == last then
    return string.format("list[%d]: %s", first, message)
  end
  return string.format("list[%d] to list[%d]: %s", first, last, message)
end

--- The results of all items; or nil, and what is wrong with the first one that failed.
local function values(response, plan)
  local results = core.lists(plan.count)
  for n, entry in ipairs(response.result) do
    local first = (n - 1) * plan.chunk + 1
    local last = math.min(first + plan.chunk - 1, plan.count)
    local failures = entry.returns and entry.returns[2]
    if not entry.success then
      return nil, whole_problem(entry, first, last)
    elseif failures then
      local record = failed(failures[1])
      hints.add({ result = { record } }, { 1 }, plan.sandbox, plan.globals)
      return nil, string.format("list[%d]: %s", first + failures[1].at - 1, string.sub(record.data, #"Error: " + 1))
    end
    table.move(entry.data, 1, last - first + 1, first, results)
  end
  for i = 1, plan.count do
    if results[i] == nil then
      results.n = plan.count
      break
    end
  end
  return results
end

--- A record for each item.
local function records(response, plan)
  local results, indices = core.lists(plan.count)
  for n, entry in ipairs(response.result) do
    local first = (n - 1) * plan.chunk + 1
    local last = math.min(first + plan.chunk - 1, plan.count)
    if entry.success then
      for i = first, last do
        results[i] = { success = true, data = entry.data[i - first + 1] }
      end
      for _, told in ipairs(entry.returns and entry.returns[2] or {}) do
        results[first + told.at - 1] = failed(told)
        indices[#indices + 1] = first + told.at - 1
      end
    else
      local told = whole(entry)
      for i = first, last do
        results[i] = failed(told)
      end
    end
  end
  for i, told in pairs(plan.unsendable) do
    results[i] = failed(told)
  end
  hints.add({ result = results }, indices, plan.sandbox, plan.globals)
  return results
end

--- The call
-- @section call

--- How many items a task gets.
local function choose_chunk(given, count, workers, has_timeout)
  if given then
    return math.max(1, math.min(given, count))
  elseif has_timeout then
    -- It is for a task, and whoever gives one means an item's.
    return 1
  end
  return math.max(1, math.min(MOST_ITEMS, count // (workers * TASKS_A_WORKER)))
end

--- The refusal of an argument of a wrong type; nil where all are right.
local function check_types(func, list, options)
  local meta = type(func) == "table" and core.metatable(func)
  if type(func) ~= "function" and not (meta and type(rawget(meta, "__call")) == "function") then
    return arguments.refusal(1, "Map", "function expected, got " .. arguments.type(func))
  end
  return arguments.check(list, "table", 2, "Map") or arguments.check(options, "table or nil", 3, "Map")
end

--- Checks the call, and makes a job's options of it. Gives the job `chunk`, how many items a task gets, `count`, which makes items
-- of tasks done, and `read`, which makes what the caller gets of a response.
-- @treturn ?table the options; nil where the call is refused
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
  local items, count = read_list(list)
  if not items then
    return nil, arguments.refusal(2, "Map", count)
  end

  local config = {}
  for name, value in next, options do
    config[name] = value
  end
  config.chunk, config.onError = nil, nil
  local plan = { items = items, count = count, collects = collects, copies = config.upvalues == "copy", unsendable = {},
    sandbox = config.sandbox, globals = config.globals, is_traced = config.trace ~= nil }
  plan.chunk = choose_chunk(chunk, count, workers, config.timeout ~= nil)
  job.chunk = plan.chunk
  if collects then
    plan.unsendable = find_unsendable(items, count, plan.copies)
    plan.has_unsendable = next(plan.unsendable) ~= nil
  end
  config.tasks = make_tasks(func, plan)
  plan.items = nil

  function job.count(done, total)
    return done == total and count or done * plan.chunk, count
  end
  function job.read(response)
    if not job.outcome then
      job.outcome = table.pack((collects and records or values)(response, plan))
    end
    return job.outcome[1], job.outcome[2]
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
