--- Advice for tasks that failed because something stayed on the host: a global, or a metatable with a table's methods. Only the
-- host knows whether it has that.

local core, modules = ...

local hints = {}

-- The globals that are missing in a sandbox.
local NOT_IN_SANDBOX = { io = true, package = true, debug = true, require = true, loadfile = true, dofile = true }

-- The globals that every task has at first.
local STANDARD = {}
for name in string.gmatch([[_G _VERSION assert collectgarbage coroutine debug dofile error getmetatable gma io ipairs load loadfile
  math next os package pairs pcall print rawequal rawget rawlen rawset require select setmetatable string table tonumber tostring
  type utf8 xpcall]], "%S+") do
  STANDARD[name] = true
end
STANDARD.warn = _VERSION ~= "Lua 5.3" or nil

-- The libraries to which programs add functions.
local LIBRARIES = { "string", "table", "math", "os", "io", "utf8", "coroutine" }

-- The functions of `debug` that no task has.
local NOT_IN_DEBUG = { sethook = true, getregistry = true, debug = true }

-- Lua's errors about a table that lacks a metamethod, and the metamethods that it may have had on the host.
local OPERATIONS = {
  ["attempt to call a table value"] = { "__call" },
  ["attempt to concatenate a table value"] = { "__concat" },
  ["attempt to compare two table values"] = { "__lt", "__le" },
  ["attempt to compare table with "] = { "__lt", "__le" },
  ["attempt to compare %a+ with table"] = { "__lt", "__le" },
  ["attempt to perform arithmetic on a table value"] = { "__add", "__sub", "__mul", "__div", "__mod", "__pow", "__unm", "__idiv" },
  ["variable '[^']+' got a non%-closable value"] = { "__close" },
  ["attempt to perform bitwise operation on a table value"] = { "__band", "__bor", "__bxor", "__shl", "__shr", "__bnot" },
}

-- Lua's own errors are shorter, and searching a longer text takes time.
local LONGEST = 2000

-- The most values that are looked at to find the metatables of one job.
local MOST_VALUES = 100000

--- The name of the global that a Lua error reports as nil.
local function missing_global(message)
  return string.match(message, "a nil value %(global '([^']+)'%)$")
end

--- Whether the option `globals` has this name.
local function is_listed(name, about)
  local globals = rawget(about, "globals")
  for _, listed in ipairs(type(globals) == "table" and globals or {}) do
    if listed == name then
      return true
    end
  end
  return false
end

--- Whether every task has this global at first.
local function is_in_tasks(name, about)
  return is_listed(name, about) or STANDARD[name] or core.backend == "cooperative"
end

--- Advises to list globals, beside those that are listed already. What a task writes to its copy of data would be lost.
local function listing(names, about)
  local quoted, copied, globals = {}, "", rawget(about, "globals")
  for i, name in ipairs(names) do
    quoted[i] = string.format("%q", name)
    if type(rawget(_G, name)) ~= "function" then
      copied = ": each task gets a copy, so return what you change"
    end
  end
  local list = table.concat(quoted, ", ")
  if type(globals) == "table" and next(globals) ~= nil then
    return string.format("add %s to the option globals%s", list, copied)
  end
  return string.format("list %s in globals = { %s }%s", #quoted == 1 and "it" or "them", list, copied)
end

local function of_global(name, about)
  local is_on_host = rawget(_G, name) ~= nil
  if rawget(about, "sandbox") and NOT_IN_SANDBOX[name] then
    return "a sandbox does not have it"
  elseif is_on_host and is_in_tasks(name, about) then
    return "every task has it in _G: do not set it to nil, and do not give the function another _ENV"
  elseif is_on_host then
    return string.format("the host has it, a task does not (%s)", listing({ name }, about))
  elseif name == "gma" then
    return "the host has no gma, so there is none in a task"
  end
end

--- The hint for globals that the code reads where the task failed, and that its state lacks.
local function of_globals(missing, about)
  local names, shown = {}, {}
  for _, name in ipairs(missing) do
    if rawget(_G, name) ~= nil and not is_in_tasks(name, about) then
      names[#names + 1], shown[#shown + 1] = name, string.format("'%s'", name)
    end
  end
  if #names > 0 then
    return string.format("%s reads the global%s %s, which the host has and a task does not (%s)", missing.place,
      #names == 1 and "" or "s", table.concat(shown, ", "), listing(names, about))
  end
end

local function table_or_nil(value)
  return type(value) == "table" and value or nil
end

--- Whether a metatable, or the class that it inherits from, has a field of this name. Nothing of the user's is called.
local function has_field(meta, name)
  for _ = 1, 100 do
    local index = table_or_nil(meta) and rawget(meta, "__index")
    if type(index) == "function" then
      return true
    elseif type(index) ~= "table" then
      return false
    elseif rawget(index, name) ~= nil then
      return true
    end
    meta = core.metatable(index)
  end
  return false
end

--- The set of all modules, and of the tables and functions that are reached from them by fields. They cross by name, with their
-- metatables. The library's own files are among them.
local function read_modules(budget)
  local queue, found = {}, { [_G] = true, [modules] = true }
  local function add(value)
    if (type(value) == "table" or type(value) == "function") and not found[value] then
      found[value], queue[#queue + 1] = true, value
    end
  end
  local loaded = table_or_nil(package and package.loaded) or {}
  found[loaded] = true
  for _, module in next, loaded do
    add(module)
  end
  for _, value in ipairs(queue) do
    for _, field in next, table_or_nil(value) or {} do
      budget.values = budget.values - 1
      if budget.values <= 0 then
        return found
      end
      add(field)
    end
  end
  return found
end

--- Whether a value, or one in it, has a metatable that `is_meant`. `budget.values` is how many more values may be looked at.
local function holds_metatable(root, is_meant, budget)
  budget.modules = budget.modules or read_modules(budget)
  local queue, seen = { root }, { [root] = true }
  local function visit(value)
    budget.values = budget.values - 1
    local kind = type(value)
    if (kind == "table" or kind == "function") and not seen[value] and not budget.modules[value] then
      seen[value], queue[#queue + 1] = true, value
    end
  end
  for _, value in ipairs(queue) do
    if budget.values <= 0 then
      return false
    elseif type(value) == "table" then
      local meta = core.metatable(value)
      if not budget.modules[meta or false] and is_meant(meta) then
        return true
      end
      for key, inner in next, value do
        visit(key)
        visit(inner)
        if budget.values <= 0 then
          return false
        end
      end
    elseif core.backend == "native" and debug then
      local n = 1
      local name, upvalue = debug.getupvalue(value, n)
      while name do
        visit(upvalue)
        n = n + 1
        name, upvalue = debug.getupvalue(value, n)
      end
    end
  end
  return false
end

--- A function that tells whether a metatable would have prevented the error; nil for other errors.
local function lost_in(message)
  local name = string.match(message, "a nil value %(method '([^']+)'%)$") or string.match(message, "a nil value %(field '([^']+)'%)$")
  if name and name ~= "?" then
    return function(meta) return has_field(meta, name) end
  end
  for pattern, events in next, OPERATIONS do
    if string.find(message, pattern) then
      return function(meta)
        for _, event in ipairs(events) do
          if table_or_nil(meta) and rawget(meta, event) ~= nil then
            return true
          end
        end
        return false
      end
    end
  end
end

--- The hint for a method or an operation of a table that came without its metatable.
local function of_metatable(message, task, budget)
  local is_meant = lost_in(message)
  task = table_or_nil(task)
  if not is_meant or not task then
    return nil
  end
  -- The cooperative backend copies arguments, and leaves upvalues as they are.
  local args, func = table_or_nil(rawget(task, "args")), core.backend == "native" and rawget(task, "func") or nil
  local is_lost = args and holds_metatable(args, is_meant, budget)
    or (type(func) == "function" or type(func) == "table") and holds_metatable(func, is_meant, budget)
  return is_lost and "the table came without its metatable, which stays on the host: put the class into a module, or pass plain data "
    .. "and call a function with it" or nil
end

--- Whether a function, or one that it calls, captures data and so can't cross under `upvalues = "error"`.
local function captures_data(func)
  local loaded = {}
  for _, module in next, table_or_nil(package and package.loaded) or {} do
    loaded[module] = true
  end
  local queue, seen = { func }, { [func] = true }
  for _, inner in ipairs(queue) do
    local n = 1
    local name, value = debug.getupvalue(inner, n)
    while name do
      if type(value) == "function" and not seen[value] then
        seen[value], queue[#queue + 1] = true, value
      elseif value ~= nil and type(value) ~= "function" and value ~= _G and not loaded[value] then
        return true
      end
      n = n + 1
      name, value = debug.getupvalue(inner, n)
    end
  end
  return false
end

--- Whether a field that the host has added to a library stays there.
local function stays_in_library(value, about)
  if type(value) ~= "function" then
    return value ~= nil
  end
  local upvalues = rawget(about, "upvalues")
  return (upvalues == nil or upvalues == "error") and debug.getinfo(value, "S").what ~= "C" and captures_data(value)
end

--- The hint for a field of a library that stayed on the host. Whether the code meant that library is not known.
local function of_library(message, about)
  local method = string.match(message, "a nil value %(method '([^']+)'%)$")
  local name = method or string.match(message, "a nil value %(field '([^']+)'%)$")
  if not name or core.backend ~= "native" or not debug then
    return nil
  end
  for _, library in ipairs(method and { "string" } or LIBRARIES) do
    local fields, full_name = table_or_nil(rawget(_G, library)), library .. "." .. name
    if fields and stays_in_library(rawget(fields, name), about) and not is_listed(full_name, about) then
      return string.format("the host has %s, but a task does not: to use it there, list it in globals = { %q }", full_name, full_name)
    end
  end
end

--- The hint for what tasks never have.
local function of_absent(message)
  if string.find(message, "attempt to yield from outside a coroutine$") then
    return "a task has no engine to yield to: to wait, call gma.sleep(seconds), if the host has gma"
  end
  if core.backend == "cooperative" and string.find(message, "attempt to yield across a C%-call boundary$") then
    return "without the binary, gma.sleep can't wait in a function that table.sort, string.gsub or other C code calls: call it "
      .. "before or after"
  end
  local name = core.backend == "native" and string.match(message, "a nil value %(field '([^']+)'%)$")
  if name and NOT_IN_DEBUG[name] and debug and debug[name] then
    return string.format("a task has no debug.%s", name)
  end
end

local function hint(entry, missing, about, task, budget)
  local name = missing_global(entry.data)
  if name then
    return of_global(name, about)
  end
  return missing and of_globals(missing, about) or of_absent(entry.data) or of_metatable(entry.data, task, budget)
    or of_library(entry.data, about)
end

--- Adds a hint to each failed entry that one fits.
-- @tab response
-- @tab failed the indices of the failed tasks
-- @tab about the job's options: `sandbox`, `globals`, `upvalues`, `tasks`
-- @func[opt] task_of returns the task of an index
function hints.add(response, failed, about, task_of)
  local tasks = table_or_nil(rawget(about, "tasks"))
  local budget = { values = MOST_VALUES }
  for _, index in ipairs(failed) do
    local entry = response.result[index]
    -- What was missing is for the hint, not for the user.
    local missing = entry.missing
    entry.missing = nil
    if entry.kind == "runtime" and #entry.data <= LONGEST then
      local task = task_of and task_of(index) or tasks and rawget(tasks, index)
      local text = hint(entry, missing, about, task, budget)
      if text then
        entry.data = entry.data .. ": " .. text
      end
    end
  end
end

return hints
