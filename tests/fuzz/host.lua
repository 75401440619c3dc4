-- The host of the fuzzed options: the things that an input can name, and the oracle: what the README says about options.

-- luacheck: globals gma things f arm judge trapped

local FUNCTIONS = ...

gma = { echo = function() end, show = { getobj = { handle = function() end } } }

local traps = {}
for _, event in ipairs { "index", "newindex", "len", "pairs", "eq", "lt", "le", "concat", "tostring", "add", "unm" } do
  traps["__" .. event] = function()
    trapped = event
    error("a metamethod ran: " .. event)
  end
end

local function call() end

things = {
  callable = setmetatable({}, { __call = call }),
  uncallable = setmetatable({}, { __call = 1 }),
  trap = setmetatable({}, traps),
  native = coroutine.wrap(call),
  thread = coroutine.create(call),
  userdata = io.stdout,
  echo = gma.echo,
  show = gma.show,
}

-- A module that is a class, for objects in an input. Its metamethods must not run either.
local class = { new = call }
for event, trap in next, traps do class[event] = trap end
package.loaded.m, things["require\0m"] = class, class

f = { FUNCTIONS() }

-- The host's own tables, which get no traps.
local known = {}

local function each_table(start, visit)
  local left = { start }
  while #left > 0 do
    local t = table.remove(left)
    if not known[t] then
      known[t] = true
      visit(t)
      for key, value in next, t do
        if type(key) == "table" then left[#left + 1] = key end
        if type(value) == "table" then left[#left + 1] = value end
      end
    end
  end
end

each_table(_G, function() end)

--- Sets traps on all tables of an input.
function arm(options)
  trapped = nil
  local before = known
  known = setmetatable({}, { __index = before })
  each_table(options, function(t) setmetatable(t, traps) end)
  known = before
end

local function is_whole(value)
  return math.type(value) == "integer" or math.type(value) == "float" and value % 1 == 0
end

local function is_callable(value)
  local meta = type(value) == "table" and getmetatable(value)
  return type(value) == "function" or meta and type(rawget(meta, "__call")) == "function"
end

local function is_list_of_names(value)
  if type(value) ~= "table" then return false end
  local count, sure = 0, true
  for key, name in next, value do
    if math.type(key) ~= "integer" or type(name) ~= "string" then return false end
    count = count + 1
    sure = sure and utf8.len(name) ~= nil
  end
  for i = 1, count do
    if rawget(value, i) == nil then return false end
  end
  return sure or nil
end

-- Each check gives true for a valid value, false for a wrong one, and nil if the README leaves it open.
local OPTIONS = {
  tasks = function(value) return type(value) == "table" end,
  onComplete = function(value) return value == nil or type(value) == "function" end,
  mode = function(value) return value == nil or value == "timer" or value == "cmd" end,
  upvalues = function(value) return value == nil or value == "error" or value == "copy" or value == "private" end,
  sandbox = function(value) return value == nil or type(value) == "boolean" end,
  globals = function(value) return value == nil or is_list_of_names(value) end,
  workers = function(value)
    if type(value) == "string" then
      -- It may be a number in another notation.
      if not value:find "^ *%d+ *$" then if value:find "%d" then return nil else return false end end
      value = tonumber(value)
    end
    return value == nil or is_whole(value) and value >= 1 and value <= 256
  end,
  timeout = function(value)
    if type(value) ~= "number" then return value == nil end
    if value > 0 and value < 1e-9 or value > 1e19 and value < 1 / 0 then return nil end
    return value > 0
  end,
  grace = function(value) return value == nil or type(value) == "number" and value >= 0 end,
  stopOnError = function(value) return value == nil or type(value) == "boolean" end,
  init = function(value)
    -- A table may hold a function that can't cross, or other fields.
    if type(value) == "table" then return nil end
    return value == nil or type(value) == "function" and nil
  end,
  host = function(value)
    if type(value) ~= "table" then return value == nil end
    for name, func in next, value do
      if type(name) ~= "string" or name == "" or name:find("\0", 1, true) or not utf8.len(name) or type(func) ~= "function" then
        return false
      end
    end
    return true
  end,
  memoryLimit = function(value)
    if value == nil then return true end
    if math.type(value) == "float" and value >= 2 ^ 63 and value < 1 / 0 then return nil end
    return is_whole(value) and value >= 16384 and value < 1 / 0
  end,
}
OPTIONS.onProgress, OPTIONS.onResult = OPTIONS.onComplete, OPTIONS.onComplete
OPTIONS.progress = function(value) return value == nil or type(value) == "string" end
OPTIONS.trace = function(value)
  -- A number may count as its text.
  if type(value) == "number" then return nil end
  return value == nil or type(value) == "string" and value ~= ""
end

--- Judges options. Returns the places that must be refused, the places that may be refused, the number of arguments and the
-- name of each task, and the number of all arguments.
function judge(options, is_async)
  local wrong, open, counts, names = {}, {}, {}, {}
  local function say(verdict, place)
    local list = verdict == false and wrong or verdict == nil and open
    if list then list[#list + 1] = place .. " " end
  end
  for key in next, options do
    if type(key) ~= "string" then
      say(false, "options have names,")
    elseif not OPTIONS[key] then
      say(false, ("option '%s'"):format(key))
    end
  end
  for name, check in next, OPTIONS do
    say(check(rawget(options, name)), ("option '%s'"):format(name))
  end
  if is_async then say(rawget(options, "onComplete") ~= nil, "option 'onComplete'") end
  if type(rawget(options, "init")) == "table" then
    -- It is read like a task.
    for _, field in ipairs { "", ".func", ".args", ".args.n", ".name", ".timeout" } do say(nil, "init" .. field) end
  end
  local tasks = rawget(options, "tasks")
  if type(tasks) ~= "table" then return wrong, open, counts, names, 0 end
  local last, total = 0, 0
  for key in next, tasks do
    if math.type(key) == "integer" and key >= 1 then
      last = math.max(last, key)
      total = total + 1
    elseif key ~= "n" then
      say(false, "option 'tasks'")
    end
  end
  if last ~= total then
    local hole = 1
    while rawget(tasks, hole) ~= nil do hole = hole + 1 end
    say(false, ("tasks[%d]"):format(hole))
  end
  local values = 0
  for i = 1, total do
    local task, place = rawget(tasks, i), ("tasks[%d]"):format(i)
    if type(task) ~= "table" then
      if task ~= nil then say(false, place) end
    else
      for key in next, task do
        -- It may look like a misspelt field of ours.
        if type(key) == "string" and key ~= "func" and key ~= "args" and key ~= "name" and key ~= "timeout" then
          say(nil, place)
        end
      end
      local func, args, name = rawget(task, "func"), rawget(task, "args"), rawget(task, "name")
      say(is_callable(func) or false, place .. ".func")
      say(name == nil or type(name) == "string", place .. ".name")
      say(OPTIONS.timeout(rawget(task, "timeout")), place .. ".timeout")
      local count = 0
      if type(args) == "table" then
        for key in next, args do
          if math.type(key) == "integer" and key >= 1 then
            count = math.max(count, key)
          elseif key ~= "n" then
            -- Its value would be lost.
            say(false, place .. ".args")
          end
        end
        local n = rawget(args, "n")
        if n ~= nil then count = type(n) == "number" and math.tointeger(n) or false end
        say(count ~= false, place .. ".args.n")
        count = count or -1
        say(count >= 0 and count <= 100000, place .. ".args")
      else
        say(args == nil, place .. ".args")
      end
      counts[i] = count + (type(func) == "table" and 1 or 0)
      names[i] = name or false
      values = count >= 0 and count <= 100000 and values + count or values
    end
  end
  return wrong, open, counts, names, values
end
