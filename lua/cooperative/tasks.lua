--- Reads, checks and copies the list of tasks, with the same messages as the native backend. Fields are read raw.

local core, parts = ...
local options, values = parts.options, parts.values

local tasks = {}

local FIELDS = { "func", "args", "name", "timeout" }
local IS_FIELD = { func = true, args = true, name = true, timeout = true }

-- The positions of three arguments of a `Map`'s task: its items, the callable table that was passed to `Map`, and the arguments
-- that follow an item. See map.lua.
local ITEMS = 1
local CALLABLE = 2
local EXTRA = 3

-- The most arguments that a task may have.
local ARGUMENT_LIMIT = 100000

-- The index of the option `init`, which is read like a task.
local INIT = 0

local function refuse_task(index, field, problem)
  options.refuse((index == INIT and "init" or string.format("tasks[%d]", index)) .. field, problem)
end

local function refuse_list(problem)
  options.refuse("option 'tasks'", "must be a list" .. problem)
end

--- Counts the tasks of a list, which must have no holes.
local function count_tasks(list)
  local count, last = 0, 0
  for key in next, list do
    if math.type(key) == "integer" then
      if key < 1 then
        refuse_list(string.format(" that starts at 1, but has [%d]", key))
      end
      count, last = count + 1, math.max(last, key)
    elseif type(key) == "string" then
      if key ~= "n" then
        refuse_list(string.format(", but has a field '%s': write tasks = { { func = f, args = { ... } }, ... }", key))
      end
    else
      refuse_list(string.format(", but has a %s as a key", values.kind(key)))
    end
  end
  if count ~= last then
    local hole = 1
    while rawget(list, hole) ~= nil do
      hole = hole + 1
    end
    refuse_task(hole, "", string.format("is missing: the list has a hole (tasks[%d] is there)", last))
  end
  return count
end

--- Refuses a field that looks like a misspelling. Other fields are the caller's own.
local function check_fields(task, index)
  for key in next, task do
    if type(key) == "string" and not IS_FIELD[key] then
      local problem = options.misnamed(key, FIELDS)
      if problem then
        refuse_task(index, "", string.format("has a field '%s'%s", key, problem))
      end
    end
  end
end

--- Checks a task's own time limit. Refuses any, except an endless one.
local function check_timeout(timeout, index)
  if timeout == nil then
    return
  elseif not options.is_timeout(timeout) then
    refuse_task(index, ".timeout", string.format("must be %s, got %s", options.TIMEOUT, options.describe(timeout)))
  elseif timeout < math.huge then
    refuse_task(index, ".timeout", options.NO_TIMEOUT)
  end
end

--- Counts the arguments in a table: its `n`, or its largest integer key. Refuses any other key, because its value would be lost.
local function count_arguments(args, index)
  local last = 0
  for key in next, args do
    if math.type(key) == "integer" and key >= 1 then
      last = math.max(last, key)
    elseif type(key) ~= "string" then
      refuse_task(index, ".args", string.format("has a value at [%s], which would be lost: arguments are numbered from 1",
        options.describe(key)))
    elseif key ~= "n" then
      refuse_task(index, ".args", string.format("has a field '%s', which would be lost: %s", key,
        "arguments have no names, so pass it in a table, args = { { name = value } }"))
    end
  end
  local n = rawget(args, "n")
  local count = n == nil and last or math.type(n) and math.tointeger(n)
  if not count then
    local shows = type(n) == "string" or type(n) == "number"
    local got = shows and options.describe(n) or "a " .. values.kind(n)
    refuse_task(index, ".args.n", "must be a whole number of arguments, got " .. got)
  elseif count < 0 or count > ARGUMENT_LIMIT then
    refuse_task(index, ".args", string.format("must hold 0 to %d arguments, got %d: pass them in one table instead",
      ARGUMENT_LIMIT, count))
  end
  return count
end

--- Returns the function to run. For a callable table, also returns the table, which becomes the first argument.
local function callable(func, index)
  if type(func) == "function" then
    return func, nil
  end
  local meta = type(func) == "table" and core.metatable(func)
  local call = meta and rawget(meta, "__call")
  if type(call) ~= "function" then
    refuse_task(index, ".func", func == nil and "is missing: write { func = f, args = { ... } }"
      or string.format('must be a function or a callable table, got a %s: write func = f, not "f" or f()', values.kind(func)))
  end
  return call, func
end

--- Names the place of a value among a task's arguments.
-- @int n the position of the argument, from 1
-- @tab keys the keys from the argument to the value
-- @tparam ?int first for a task of a `Map`, the position of its first item in the list
local function place(n, keys, first)
  if first and n == ITEMS and math.type(keys[1]) == "integer" then
    return string.format("list[%d]%s", first + keys[1] - 1, values.path(keys, 2))
  elseif first and n == CALLABLE then
    return "func" .. values.path(keys)
  elseif first and n == EXTRA then
    return "args" .. values.path(keys)
  end
  return string.format("args[%d]%s", n, values.path(keys))
end

local function read_task(task, index, first)
  if type(task) ~= "table" then
    refuse_task(index, "", "must be a task { func = f, args = { ... } }, got a " .. values.kind(task))
  end
  check_fields(task, index)
  local name, args = rawget(task, "name"), rawget(task, "args")
  if name ~= nil and type(name) ~= "string" then
    refuse_task(index, ".name", "must be a string, got a " .. values.kind(name))
  elseif args ~= nil and type(args) ~= "table" then
    refuse_task(index, ".args", string.format("must be a table, got a %s: write args = { value, ... }", values.kind(args)))
  end
  check_timeout(rawget(task, "timeout"), index)
  local count = args and count_arguments(args, index) or 0
  local func, object = callable(rawget(task, "func"), index)
  local list, extra = {}, object and 1 or 0
  list[1] = object
  for i = 1, count do
    list[extra + i] = rawget(args, i)
  end
  -- Positions in messages don't count the callable table.
  local copied, failure = values.clone(list, extra + count, function(n, keys)
    return place(math.max(n - extra, 1), keys, first)
  end)
  return { first = first, index = index, name = name, func = func, args = copied, count = extra + count, failure = failure }
end

--- Reads the option `init`: a function, or a table with it.
-- @treturn table its `func`, `args` and `count`
function tasks.read_init(init)
  local task = read_task(type(init) == "function" and { func = init } or init, INIT)
  if task.failure then
    local message = string.gsub(task.failure.message, "%(at args", "(at init.args", 1)
    options.refuse("option 'init'", "cannot cross: " .. message)
  end
  task.unset = { true }
  return task
end

--- Reads the list.
-- @tab list
-- @tparam ?int chunk the number of items in each task of a `Map`
-- @treturn table the tasks: each with `index`, `func`, `args`, `count` and `name`; `failure` if it could not be copied; and, for a
-- `Map`, `first`, the position of its first item
function tasks.read(list, chunk)
  local all = {}
  for index = 1, count_tasks(list) do
    all[index] = read_task(rawget(list, index), index, chunk and (index - 1) * chunk + 1)
  end
  return all
end

return tasks
