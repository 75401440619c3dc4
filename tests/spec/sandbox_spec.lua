-- `sandbox = true`: a task has only functions that can't reach the system, and no way to others.

local gma2workers = require "gma2workers"
local crossing = require "spec.fixtures.crossing"
local refusal = require "spec.fixtures.refusal"
local running = require "spec.fixtures.running"
local stock = require "spec.fixtures.stock"

local RunSync = gma2workers.RunSync
local each_mode, with_gma = running.each_mode, crossing.with_gma

local function run(func, args, mode)
  return RunSync({ tasks = { { func = func, args = args } }, workers = 1, mode = mode, sandbox = true }).result[1]
end

local function call(func, ...)
  return crossing.results(run(func, table.pack(...)))
end

local BASE = { "_G", "_VERSION", "assert", "collectgarbage", "error", "getmetatable", "ipairs", "load", "next", "pairs", "pcall",
  "print", "rawequal", "rawget", "rawlen", "rawset", "select", "setmetatable", "tonumber", "tostring", "type", "xpcall" }
local LIBRARIES = { "bit32", "coroutine", "math", "string", "table", "utf8" }
local SYSTEM = { "os.clock", "os.date", "os.difftime", "os.time" }

-- The expected names: those above, and in the libraries those of a stock interpreter.
local function expected_names()
  local names = { "os" }
  table.move(BASE, 1, #BASE, #names + 1, names)
  names[#names + 1] = _VERSION ~= "Lua 5.3" and "warn" or nil
  table.move(SYSTEM, 1, #SYSTEM, #names + 1, names)
  local text = stock.run(([[
    for library in ("%s"):gmatch("%%w+") do
      for name in pairs(_G[library] or {}) do print(library .. "." .. name) end
      if _G[library] then print(library) end
    end
  ]]):format(table.concat(LIBRARIES, " ")))
  for name in text:gmatch("[^\n]+") do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

-- In a task: all globals, and the fields of those that are tables.
local function names_here()
  local names = {}
  for name, value in pairs(_G) do
    names[#names + 1] = name
    if type(value) == "table" and value ~= _G then
      for field in pairs(value) do
        names[#names + 1] = name .. "." .. field
      end
    end
  end
  table.sort(names)
  return names
end

-- In a task: how many values of each type can be reached from everywhere, and the paths of userdata.
local function reachable()
  local seen, queue, counts, foreign = {}, {}, {}, {}
  local function note(value, path)
    local kind = type(value)
    if value == nil or seen[value] then
      return
    end
    seen[value], counts[kind] = true, (counts[kind] or 0) + 1
    if kind == "userdata" or kind == "thread" then
      foreign[#foreign + 1] = path
    elseif kind == "table" then
      queue[#queue + 1] = { value, path }
    end
    local meta = getmetatable(value)
    if kind ~= "string" then
      note(meta, path .. "'s metatable")
    end
  end
  note(_G, "_G")
  note(getmetatable(""), "strings")
  note(getmetatable(print), "functions")
  note(getmetatable(coroutine.create(print)), "coroutines")
  for _, other in ipairs { 1, true } do
    note(getmetatable(other), type(other))
  end
  note(select(2, pcall(error)), "nothing raised")
  note(select(2, pcall(function() return nil + 1 end)), "a raised error") -- luacheck: ignore
  note(load("return _ENV")(), "load's globals")
  note(table.pack(xpcall(error, function(...) return ... end, "x")), "a handler's values")
  while #queue > 0 do
    local value, path = table.unpack(table.remove(queue))
    for key, item in next, value do
      note(key, path)
      note(item, path .. "." .. tostring(key))
    end
  end
  return counts["function"], table.concat(foreign, ", ")
end

describe("a task in a sandbox #native", function()
  each_mode(function(mode)
    it("has exactly base, string, table, math, utf8, coroutine and the clocks of os (I4)", function()
      with_gma(nil, function()
        assert.same(expected_names(), run(names_here, nil, mode).data)
      end)
    end)

    it("also has the host's gma, and its calls work (I4)", function()
      local told = {}
      with_gma({ double = function(n) return 2 * n end, echo = function(text) told[#told + 1] = text end, version = "3.9",
        show = { getobj = { handle = function(name) return #name end } } }, function()
        assert.same({ 8, 5, "3.9", "refused", n = 4 }, run(function()
          gma.echo("told")
          return gma.double(4), gma.show.getobj.handle("Group"), gma.version, select(2, pcall(gma.double, {})) and "refused"
        end, nil, mode).returns)
      end)
      assert.same({ "told" }, told)
    end)
  end)

  it("reaches no other functions, and no userdata, from anywhere (I4)", function()
    with_gma(nil, function()
      -- The host's own `assert` is a table of the test framework. In some builds of Lua, a function has two names.
      local functions = { assert = true }
      for _, name in ipairs(expected_names()) do
        local library, field = name:match("^(%w+)%.(%w+)$")
        local value = library and _G[library] and _G[library][field] or not library and _G[name]
        functions[type(value) == "function" and value or "assert"] = true
      end
      for _, value in pairs(getmetatable("")) do
        functions[type(value) == "function" and value or "assert"] = true
      end
      local total = 0
      for _ in pairs(functions) do
        total = total + 1
      end
      local count, foreign = call(reachable)
      assert.same({ total, "" }, { count, foreign })
    end)
  end)

  -- Each returns a forbidden value if it finds one.
  local ways = {
    "return io or package or debug or require or loadfile or dofile or module or newproxy",
    "return os.execute or os.exit or os.getenv or os.remove or os.rename or os.setlocale or os.tmpname",
    "return _ENV.io or _G._G._G.io or rawget(_G, 'package') or rawget(os, 'execute')",
    "return load('return io or debug or require')()",
    "return load('return ...', 'x', 't', _ENV)(io)",
    "return getmetatable('').__index ~= string or getmetatable(os) or getmetatable(_G) or getmetatable(print)",
    -- Since Lua 5.4, texts have operators.
    "for name in pairs(getmetatable('')) do if name ~= '__index' and not ('__add __sub __mul __mod __pow __div __idiv __unm')"
      .. ":find(name) then return name end end",
    "return ('').dump == nil or string.io or string.execute",
    "return coroutine.wrap(function() return io or debug or require end)()",
    "local _, message = pcall(error) return message",
    "local _, message = pcall(string.rep) return type(message) ~= 'string'",
    "local found xpcall(error, function(...) found = select('#', ...) > 1 or debug end) return found",
    "for _, of in pairs(_G) do if type(of) == 'userdata' or type(of) == 'thread' then return of end end",
    "local file setmetatable({}, { __gc = function() file = io or debug end }) collectgarbage() return file",
    "return type(print) ~= 'function' or pcall(function() return print.write end)",
  }
  for _, code in ipairs(ways) do
    it(("finds no way to the rest: %s (I4)"):format(code), function()
      local entry = run(assert(load(code)))
      assert.is_true(entry.success, entry.data)
      assert.is_falsy(entry.data)
    end)
  end

  it("loads only text, whatever the mode (I5)", function()
    local chunk = string.dump(function() return 1 end)
    assert.same({ 2, false, false, false, false, true }, call(function(code)
      local results = { load("return 2")() }
      for i, mode in ipairs { "b", "bt", "t" } do
        results[i + 1] = load(code, "x", mode) ~= nil
      end
      results[5] = load(code) ~= nil
      local _, message = load(code)
      results[6] = message:find("attempt to load a binary chunk", 1, true) ~= nil
      return results
    end, chunk))
  end)

  it("has functions that work", function()
    local results = call(function()
      local list = { 3, 1, 2 }
      table.sort(list, function(a, b) return a > b end)
      local co = coroutine.wrap(function(a) return coroutine.yield(a + 1) * 2 end)
      return { list, ("%5.2f"):format(math.pi), utf8.char(228), co(1), co(4), type(os.time()), type(os.clock()), os.date("%Y") > "2000",
        os.difftime(5, 3), load("return 1 + 1")(), select(2, pcall(error, "x", 0)), math.random(1, 1), tostring(nil) }
    end)
    assert.same({ { 3, 2, 1 }, " 3.14", utf8.char(228), 2, 8, "number", "number", true, 2.0, 2, "x", 1, "nil" }, results)
  end)

  it("has no modules: there is no require (F10)", function()
    local entry = run(function() return require("spec.fixtures.greeter") end)
    assert.equal("runtime", entry.kind)
    assert.is_truthy(entry.data:find("sandbox_spec.lua:%d+: attempt to call a nil value %(global 'require'%)"), entry.data)
    assert.is_nil(entry.data:find("globals = {", 1, true), "advises what can't help: " .. entry.data)
  end)

  it("is stopped and limited like any other", function()
    local function loop() while true do end end
    local response = RunSync { sandbox = true, workers = 1, memoryLimit = 8 << 20, tasks = {
      { func = function() while true do pcall(coroutine.wrap(loop)) end end, timeout = 0.05 },
      { func = function() local text = "x" while true do text = text .. text end end }, { func = names_here } } }
    assert.same({ "timeout", "memory", true }, { response.result[1].kind, response.result[2].kind, response.result[3].success })
  end)
end)

describe("functions that cross into a sandbox #native", function()
  it("may have captured anything that it has (F3)", function()
    local format, sin, strings, wrap, date, pack, char = string.format, math.sin, string, coroutine.wrap, os.date, table.pack, utf8.char
    local check, G = assert, _G
    local entry = run(function(upper)
      check(format == string.format and sin == math.sin and strings == string and wrap == coroutine.wrap and date == os.date)
      check(pack == table.pack and char == utf8.char and G == _G and check == assert and upper == string.upper)
      return format("%d", 5), sin(0), strings.rep("x", 3), upper("a")
    end, { string.upper })
    assert.same({ "5", 0.0, "xxx", "A", n = 4 }, entry.returns, entry.data)
    assert.is_true(run(function() return format end).data == string.format)
  end)

  local open, execute, find, load_file, traceback, lib = io.open, os.execute, package.searchpath, loadfile, debug.traceback, io
  local captured = {
    ["open.*io.open"] = function() return open end,
    ["execute.*os.execute"] = function() return execute end,
    ["find.*package.searchpath"] = function() return find end,
    ["load_file.*loadfile"] = function() return load_file end,
    ["traceback.*debug.traceback"] = function() return traceback end,
    ["lib.*io"] = function() return lib ~= nil end,
  }
  for name, func in pairs(captured) do
    it(("fail only their task if they have captured something that it lacks: %s (F4)"):format(name), function()
      local response = RunSync { sandbox = true, workers = 1, tasks = { { func = type, args = { 1 } }, { func = func },
        { func = function(f) return f() end, args = { func } }, { func = type, args = { 1 } } } }
      for i, entry in ipairs(response.result) do
        if i % 3 == 1 then
          assert.same({ success = true, data = "number" }, entry)
        else
          assert.same({ false, "upvalue" }, { entry.success, entry.kind }, entry.data)
          assert.is_truthy(entry.data:find("upvalue '" .. name), entry.data)
          assert.is_truthy(entry.data:find("sandbox_spec.lua:%d+"), entry.data)
        end
      end
      assert.is_true(crossing.run(func).success)
    end)
  end

  it("are refused as arguments, answers or globals if it lacks them (F4)", function()
    local began = 0
    with_gma({ get = function() return { open } end, began = function() began = began + 1 end }, function()
      for name, value in pairs { ["io.open"] = open, ["debug.traceback"] = { { traceback } }, ["os.execute"] = { f = execute } } do
        local entry = run(function() gma.began() end, { 1, value })
        assert.is_false(entry.success)
        assert.is_truthy(entry.data:find(name, 1, true), entry.data)
      end
      assert.equal(0, began)
      local ok, message = call(function() return pcall(gma.get) end)
      assert.is_false(ok)
      assert.is_truthy(message:find("io.open", 1, true), message)
      local result = RunSync({ sandbox = true, globals = { "loadfile" }, tasks = { { func = type, args = { 1 } } } }).result
      assert.is_false(result[1].success)
      assert.is_truthy(result[1].data:find("loadfile", 1, true), result[1].data)
    end)
  end)

  it("are refused as tasks if it lacks them (F4)", function()
    for name, func in pairs { ["os.getenv"] = os.getenv, ["io.open"] = io.open, ["require"] = require } do
      local entry = run(func, { "HOME" })
      assert.is_false(entry.success)
      assert.is_truthy(entry.data:find(name, 1, true), entry.data)
    end
  end)
end)

describe("jobs with a sandbox and without one #native", function()
  it("take turns on the same worker, each with its own state (I4)", function()
    local function look() return io ~= nil and require ~= nil and os.execute ~= nil and debug ~= nil and package ~= nil end
    local function count() return #load("local n = {} for k in pairs(_G) do n[#n + 1] = k end return n")() end
    for _, mode in ipairs { "timer", "cmd", "timer" } do
      local counts = {}
      for i = 1, 6 do
        local sandbox = i % 2 == 0
        local result = RunSync({ tasks = { { func = look }, { func = count } }, workers = 1, mode = mode, sandbox = sandbox }).result
        assert.same({ i, not sandbox }, { i, result[1].data })
        counts[sandbox] = counts[sandbox] or result[2].data
        assert.equal(counts[sandbox], result[2].data)
      end
      assert.equal(counts[false] - 6, counts[true])
    end
  end)

  it("run side by side (I4)", function()
    local gate, open = running.gate()
    -- A module's function can't cross into a sandbox.
    local function pass_gate()
      repeat until gma.open()
      return io and "io" or "none"
    end
    with_gma(gate, function()
      local jobs = {}
      for i = 1, 4 do
        jobs[i] = gma2workers.RunAsync { sandbox = i % 2 == 0, workers = 2, onComplete = type, tasks = running.tasks(3, pass_gate) }
      end
      open()
      for i, job in ipairs(jobs) do
        local has = i % 2 == 1 and "io" or "none"
        assert.same({ has, has, has }, running.data(job:wait(running.NEVER)))
      end
    end)
  end)

  it("keep nothing of a task: each finds a new state (I1)", function()
    local result = RunSync({ sandbox = true, workers = 1, tasks = { { func = names_here },
      { func = function() string.format, os.clock, extra = nil, nil, 1 end }, { func = names_here } } }).result -- luacheck: ignore
    assert.same(result[1].data, result[3].data)
  end)

  it("must set it to true or false", function()
    for sandbox, has in pairs { [false] = true, [true] = false } do
      local entry = crossing.run(function() return io ~= nil end, nil, { sandbox = sandbox })
      assert.equal(has, entry.data)
    end
  end)
end)

describe("sandbox must be true or false #native:", function()
  refusal.each("sandbox", { 1, 0, 0.5, "yes", "true", "", {}, print },
    { "1", "0", "0.5", '"yes"', '"true"', '""', "a table", "a function" })
end)
