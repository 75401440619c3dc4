--- Must work in every build of Lua that the module serves: smoke.lua BINARY. Any library may be missing, on the host and in
-- tasks alike, so each step checks for the functions it needs.

local gma2workers = open_binary(arg[1])

local steps = 0

--- A task's record.
local function record_of(func, options, ...)
  options = options or {}
  options.tasks = { { func = func, args = { ... } } }
  return gma2workers.RunSync(options).result[1]
end

local function check(ok, name, found)
  if not ok then
    error(name .. ": got " .. tostring(found), 2)
  end
  steps = steps + 1
end

if package then
  check(require("gma2-workers") == gma2workers, "the drop-in folder", nil)
end

-- Values, tasks, and both modes.
local values = { 1, 1.5, -0x7fffffffffffffff, true, "text\0with zero", { deep = { 1, 2 } } }
for _, mode in ipairs { "timer", "cmd" } do
  local tasks = {}
  for i = 1, 8 do
    tasks[i] = { func = function(...) return select("#", ...), ... end, args = values, name = "task " .. i }
  end
  local response = gma2workers.RunSync { tasks = tasks, workers = 3, mode = mode }
  for i = 1, 8 do
    local found = response.result[i]
    check(found.success and found.data == #values, "arguments", found.data)
    check(found.returns[4] == values[3] and found.returns[6] == values[5], "values", found.returns[4])
    check(found.returns[7].deep[2] == 2, "tables", found.returns[7])
  end
end

-- Errors: a text, a table, a failing __tostring, memory, a call stack with a long chunk name.
local raised = record_of(function() error("boom") end)
check(raised.kind == "runtime" and raised.data ~= "Error: boom", "error", raised.data)
check(record_of(function() error({ code = 5 }) end).error.code == 5, "error table", nil)
local failing = record_of(function()
  error(setmetatable({}, { __tostring = function() error("again") end }))
end)
check(failing.kind == "runtime", "failing __tostring", failing.data)
local hog = record_of(function()
  local all = nil
  while true do
    all = { all }
  end
end, { memoryLimit = 4000000 })
check(hog.kind == "memory", "memory limit", hog.data)
local long_name = "@"
for _ = 1, 60 do
  long_name = long_name .. "folder_with_a_name/"
end
local deep = assert(load("local function f(n) if n == 0 then return nil + 1 end return (f(n - 1)) end return f", long_name .. "x.lua"))()
local traced = record_of(deep, { upvalues = "copy" }, 30)
check(traced.kind == "runtime" and traced.traceback ~= "", "traceback", traced.traceback)
local captured = record_of(assert(load("local data = 5 return function() return data end", long_name .. "y.lua"))())
check(captured.kind == "upvalue", "captured data", captured.data)
local read = record_of(assert(load("local data = { n = 5 } return function(i) return i * data.n end"))(), { upvalues = "copy" }, 3)
check(read.data == 15, "captured data that is only read", read.data)
-- Where the instructions have other numbers, it is not known that this is a write.
local written = record_of(assert(load("local data = {} return function(i) data.n = i end"))(), { upvalues = "copy" }, 3)
check(written.success or written.data:find("'data' (a table, written to)", 1, true), "captured data that is written to", written.data)

-- Recursion through C.
local function recurse(n)
  return (select(2, pcall(recurse, n + 1)))
end
check(record_of(recurse, nil, 0) ~= nil, "recursion through pcall", nil)
if string then
  local function substitute()
    return (string.gsub("x", "x", substitute))
  end
  check(record_of(substitute).kind == "runtime", "recursion through gsub", nil)
end
if table then
  local function sort()
    table.sort({ 1, 2, 3 }, sort)
  end
  check(record_of(sort).kind == "runtime", "recursion through sort", nil)
end
local nested = ""
for _ = 1, 300 do
  nested = nested .. "("
end
check(record_of(function(code) return load(code) == nil end, nil, nested).data == true, "the parser's recursion", nil)

-- Stopping: a time-out (in plain code, and under a comparator), and cancel.
local function spin()
  while true do end
end
local stopped = record_of(spin, { timeout = 0.05 })
check(stopped.kind == "timeout" and stopped.traceback ~= "", "time-out", stopped.data)
local named = record_of(assert(load("while true do end", long_name .. "z.lua")), { timeout = 0.05 })
check(named.kind == "timeout", "time-out in a long name", named.data)
if table then
  local sorting = record_of(function()
    table.sort({ 3, 2, 1 }, function()
      while true do end
    end)
  end, { timeout = 0.05 })
  check(sorting.kind == "timeout", "time-out in a comparator", sorting.data)
end
if coroutine then
  local wrapped = record_of(function()
    coroutine.wrap(function()
      while true do end
    end)()
  end, { timeout = 0.05 })
  check(wrapped.kind == "timeout", "time-out in a coroutine", wrapped.data)
  local yielded = record_of(function()
    local next_one = coroutine.wrap(function() coroutine.yield(1) coroutine.yield(2) end)
    return next_one() + next_one()
  end)
  check(yielded.data == 3, "a task's coroutine", yielded.data)
end

-- The next task sees nothing of the one before.
local leaving = {
  { func = function() leak = 1 end },
  { func = function() return leak end },
}
local left = gma2workers.RunSync { tasks = leaving, workers = 1 }.result
check(left[1].success and left[2].success and left[2].data == nil, "a global of another task", left[2].data)

-- Host calls, one that raises an error, and an asynchronous job that is cancelled.
gma = {
  twice = function(n) return n * 2 end,
  fail = function() error("refused", 0) end,
  begun = function() end,
}
check(record_of(function() return gma.twice(21) end).data == 42, "a host call", nil)
check(record_of(function() return select(2, pcall(gma.fail)) end).data == "refused", "a host call that raises", nil)
local job
gma.begun = function() job:cancel() end
local completed
job = gma2workers.RunAsync {
  tasks = { { func = function() gma.begun() while true do end end } },
  onComplete = function(response) completed = response end,
}
local response = job:wait()
check(response == completed and response.result[1].kind == "cancelled", "cancel", response.result[1].data)

-- Map, if the host has the functions for it.
local doubled = gma2workers.Map(function(n) return n * 2 end, { 1, 2, 3, 4, 5 })
check(doubled[5] == 10 and #doubled == 5, "Map", doubled[5])
local ok, message = pcall(gma2workers.Map, function() error("item") end, { 1 })
check(not ok and type(message) == "string", "Map that fails", message)

-- Functions of the standard library, by name; tasks have those of the host.
for name, library in pairs { string = string, table = table, math = math, os = os, io = io, utf8 = utf8, debug = debug } do
  check(record_of(function(key) return type(_G[key]) end, nil, name).data == "table", name, nil)
  check(record_of(function() return type(library) end).data == "table", name .. ", captured", nil)
end
for _, name in ipairs { "io", "os", "debug", "utf8", "string", "table", "math", "coroutine", "package" } do
  local found = record_of(function(key) return type(_G[key]) end, nil, name).data
  check(found == type(_G[name]), name .. " in a task", found)
  if name ~= "io" and name ~= "debug" and name ~= "package" then
    local shut = record_of(function(key) return type(_G[key]) end, { sandbox = true }, name).data
    check(shut == type(_G[name]), name .. " in a sandbox", shut)
  end
end
if print and io then
  check(record_of(function() print() io.write("") io.stdout:write("") end).success, "writing", nil)
end

-- There is no way to load bytecode, whatever this Lua was built with.
if string then
  for _, name in ipairs { "load", "loadstring" } do
    local found = record_of(function(key)
      return _G[key] == nil or (_G[key](string.dump(function() end))) == nil
    end, nil, name)
    check(found.data == true, "bytecode for " .. name, found.data)
  end
end

-- Refused values, and the messages.
check(record_of(function() return print end).success, "a standard function comes back", nil)
local refused, why = pcall(gma2workers.RunSync, { tasks = { {} } })
check(not refused and type(why) == "string", "a refusal", why)

-- Near the limit of C calls, an error is a text.
local other
local function nest(depth)
  local inner_ok, inner = pcall(gma2workers.RunSync, { tasks = { { func = function() return 1 end } } })
  if not inner_ok and type(inner) ~= "string" then
    other = type(inner)
  end
  if depth < 250 then
    pcall(nest, depth + 1)
  end
end
nest(1)
check(other == nil, "near the limit of C calls", other)
check(record_of(function() return 7 end).data == 7, "a job after that", nil)

collectgarbage()
print(steps .. " steps")
