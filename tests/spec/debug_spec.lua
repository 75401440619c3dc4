-- `debug` in a task: all of it but hooks and the registry. It can't reach what native code relies on, nor undo a stop.

local gma2workers = require "gma2workers"
local assert_says = require("spec.fixtures.assertions").says
local crossing = require "spec.fixtures.crossing"
local stops = require "spec.fixtures.stops"

local call, run = crossing.call, crossing.run

describe("debug in a task #native", function()
  it("has all but hooks, the registry and debug.debug, in whatever way it is reached (I3)", function()
    local names = "gethook getinfo getlocal getmetatable getupvalue getuservalue "
      .. (rawget(debug, "setcstacklimit") and "setcstacklimit " or "")
      .. "setlocal setmetatable setupvalue setuservalue traceback upvalueid upvaluejoin"
    assert.same({ true, true, names }, call(function()
      local found = {}
      for name, value in pairs(require("debug")) do
        found[#found + 1] = type(value) == "function" and name or nil
      end
      table.sort(found)
      return { require("debug") == debug, package.loaded.debug == debug, table.concat(found, " ") }
    end))
  end)

  it("says that a hook is there, so that libraries leave it alone (I3)", function()
    assert.same({ "external hook", "", 0 }, call(function() return { debug.gethook() } end))
  end)

  local uses = {
    ["reads and sets locals, arguments and varargs"] = function()
      local function inner(...)
        local found, n = {}, 1
        while debug.getlocal(2, n) do
          local name, value = debug.getlocal(2, n)
          found[name], n = value, n + 1
        end
        assert(found.first == 1 and found.second == "two")
        local name = _VERSION == "Lua 5.3" and "(*vararg)" or "(vararg)"
        assert(debug.setlocal(2, 1, 10) == "first" and debug.getlocal(1, -2) == name)
        assert(debug.setlocal(1, -2, "new") == name and debug.getlocal(1, 900) == nil)
        return select(2, ...)
      end
      local function outer(first, second)
        local vararg = inner("a", "b")
        return first, second, vararg
      end
      local first, second, vararg = outer(1, "two")
      assert(first == 10 and second == "two" and vararg == "new")
      assert(debug.getlocal(outer, 1) == "first" and debug.getlocal(outer, 2) == "second" and not debug.getlocal(outer, 3))
      assert(not debug.getlocal(print, 1))
    end,
    ["reads and sets the locals of a coroutine"] = function()
      local thread = coroutine.create(function(a) local b = a + 1 coroutine.yield(b) return a, b end)
      coroutine.resume(thread, 5)
      assert(select(2, debug.getlocal(thread, 1, 2)) == 6)
      assert(debug.setlocal(thread, 1, 2, 60) == "b" and debug.getinfo(thread, 1, "l").currentline > 0)
      assert(debug.traceback(thread):find("yield") and debug.getinfo(thread, 9) == nil)
      local _, a, b = coroutine.resume(thread)
      assert(a == 5 and b == 60)
    end,
    ["reads, sets, compares and joins upvalues"] = function()
      local x, y = 1, 2
      local function f() return x end
      local function g() return y, x end
      assert(debug.getupvalue(f, 1) == "x" and select(2, debug.getupvalue(g, 1)) == 2 and not debug.getupvalue(f, 2))
      assert(debug.upvalueid(f, 1) == debug.upvalueid(g, 2) and debug.upvalueid(f, 1) ~= debug.upvalueid(g, 1))
      assert(debug.setupvalue(f, 1, 7) == "x" and x == 7 and debug.setupvalue(f, 5, 1) == nil)
      debug.upvaluejoin(f, 1, g, 1)
      assert(f() == 2 and debug.upvalueid(f, 1) == debug.upvalueid(g, 1))
      for _ = 1, 100 do
        debug.upvaluejoin(f, 1, f, 1)
        collectgarbage()
      end
      assert(f() == 2 and not pcall(debug.upvaluejoin, f, 3, g, 1) and not pcall(debug.upvaluejoin, f, 1, print, 1))
      local env = {}
      local chunk = load("value = 5")
      debug.setupvalue(chunk, 1, env)
      chunk()
      assert(env.value == 5 and value == nil) -- luacheck: ignore 113
    end,
    ["gives metatables to values of all kinds"] = function()
      for _, value in ipairs { 1, true, print, coroutine.create(print) } do
        assert(debug.getmetatable(value) == nil)
        assert(debug.setmetatable(value, { __index = function(_, key) return key .. "!" end }) == value)
        assert(value.found == "found!")
        debug.setmetatable(value, nil)
      end
      debug.setmetatable(nil, { __index = function() return 5 end, __call = function() return 6 end, __add = math.max })
      local nothing = nil
      assert(nothing.field == 5 and nothing() == 6)
      debug.setmetatable(nil, nil)
      local locked = setmetatable({}, { __metatable = "locked" })
      assert(getmetatable(locked) == "locked" and debug.getmetatable(locked).__metatable == "locked")
      debug.setmetatable(locked, { __len = function() return 9 end })
      assert(#locked == 9 and debug.getmetatable("").__index == string)
      assert(not pcall(debug.setmetatable, {}, 5) and not pcall(debug.setmetatable, {}))
    end,
    ["keeps a file's user value"] = function()
      local file = io.tmpfile()
      local value = { 1 }
      assert(debug.getuservalue(file) == nil)
      -- In Lua 5.4, a file has none.
      if _VERSION == "Lua 5.3" then
        assert(debug.setuservalue(file, value) == file and debug.getuservalue(file) == value)
      end
      assert(debug.getuservalue(5) == nil and not pcall(debug.setuservalue, 5, {}))
    end,
    ["describes functions and levels"] = function()
      local info = debug.getinfo(1)
      assert(info.what == "Lua" and info.source:find("debug_spec") and info.currentline > info.linedefined)
      assert(debug.getinfo(print, "S").what == "C" and debug.getinfo(1, "f").func == info.func and debug.getinfo(900) == nil)
      assert(next(debug.getinfo(1, "L").activelines) and not pcall(debug.getinfo, 1, "X"))
    end,
  }
  for name, use in pairs(uses) do
    it(name .. " (I3)", function()
      local entry = run(use)
      assert.is_true(entry.success, entry.data)
    end)
  end

  it("crosses with what the host has captured (I3)", function()
    local get, set = debug.getlocal, debug.setmetatable
    assert.equal("n6", call(function(n)
      set(1, { __index = function() return 6 end })
      return get(1, 1) .. (n).x
    end, 5))
    assert.equal(debug.getupvalue, call(function() return debug.getupvalue end))
  end)

  it("changes nothing of a sandbox, which has none (I4)", function()
    assert.is_true(run(function() return debug == nil end, {}, { sandbox = true }).data)
  end)
end)

-- The code of tasks, which try to crash the process, to load bytecode, or to reach Lua's original functions. It must return
-- true or raise an error.
local HOSTILE = {
  -- Upvalues of native functions.
  [[local functions, seen = {}, {}
    local function collect(value)
      if type(value) == "function" then
        functions[#functions + 1] = value
      elseif type(value) == "table" and not seen[value] then
        seen[value] = true
        for _, inner in pairs(value) do collect(inner) end
      end
    end
    collect(_G) collect(package) collect(getmetatable(io.stdout))
    functions[#functions + 1] = coroutine.wrap(print)
    functions[#functions + 1] = string.gmatch("a b", "%a")
    functions[#functions + 1] = io.lines(arg_file)
    functions[#functions + 1] = (ipairs {})
    assert(#functions > 130)
    for _, f in ipairs(functions) do
      for n = -1, 5 do
        assert(debug.getinfo(f, "S").what ~= "C" or not debug.getupvalue(f, n) and not debug.setupvalue(f, n, nil))
        assert(debug.getinfo(f, "S").what ~= "C" or not pcall(debug.upvaluejoin, f, n, function() return functions end, 1))
        assert(debug.getinfo(f, "S").what ~= "C" or not pcall(debug.upvaluejoin, function() return functions end, 1, f, n))
      end
    end
    return true]],
  -- Locals of native functions that run.
  [[local code = string.dump(function() return 1 end)
    local function spoil()
      for level = 0, 12 do
        if debug.getinfo(level, "S") and debug.getinfo(level, "S").what == "C" then
          for n = -3, 30 do
            assert(not debug.getlocal(level, n))
            assert(not debug.setlocal(level, n, n % 2 == 0 and 5 or nil))
          end
        end
      end
    end
    table.sort({ 3, 2, 1, 5, 4 }, function(a, b) spoil() return a < b end)
    string.gsub("abc", ".", spoil)
    pcall(print, setmetatable({}, { __tostring = function() spoil() end }))
    io.write(tostring(setmetatable({}, { __tostring = function() spoil() return "" end })))
    load(function() spoil() return nil end)
    for _ in pairs(setmetatable({}, { __pairs = function() spoil() return next, {} end })) do end
    coroutine.wrap(function() spoil() coroutine.yield() end)()
    pcall(spoil) xpcall(error, spoil)
    table.concat(setmetatable({}, { __len = function() spoil() return 0 end }))
    setmetatable({}, { __gc = spoil })
    collectgarbage()
    return true]],
  -- What a Lua function keeps on its stack without a name: a table that is being filled, the bounds of a loop.
  [[local function spoil(value)
      for n = 1, 40 do
        local name = debug.getlocal(2, n)
        if not name or name:find("^%(") then
          assert(not debug.setlocal(2, n, value))
        end
      end
      return 1, 2, 3
    end
    for _, value in ipairs { 5, 5.5, "text", true, print } do
      local list = { spoil(value) }
      assert(#list == 3)
      list = { 1, 2, spoil(value) }
      assert(#list == 5)
      for _ = 1, 3 do spoil(value) end
      for _ = 1.0, 3 do spoil(value) end
      for _ in next, { 1 } do spoil(value) end
      list = ("x" .. #list) .. select("#", spoil(value)) .. "y"
      assert(list == "x53y")
    end
    return true]],
  [[local thread
    thread = coroutine.create(function() local list = { coroutine.yield() } return #list end)
    coroutine.resume(thread)
    for level = 0, 3 do
      for n = -5, 40 do
        assert(not debug.setlocal(thread, level, n, 5) or level > 0 and debug.getlocal(thread, level, n) == "list")
      end
      if not debug.getinfo(thread, level + 1) then break end
    end
    return select(2, coroutine.resume(thread, 1, 2)) == 2]],
  -- Numbers at their limits.
  [[local function f(...)
      for _, n in ipairs { math.mininteger, math.maxinteger, -1 << 31, 1 << 31, (1 << 31) - 1, 1 - (1 << 31), 0, -1, 1 << 32 } do
        pcall(debug.getlocal, 1, n) pcall(debug.setlocal, 1, n, 1)
        pcall(debug.getlocal, n, 1) pcall(debug.setlocal, n, 1, 1)
        pcall(debug.getlocal, n, n) pcall(debug.setlocal, n, n, n)
        pcall(debug.getlocal, f, n) pcall(debug.getlocal, coroutine.running(), n, n)
        debug.getlocal(1, n) debug.setlocal(1, n, 1)
        pcall(debug.getupvalue, f, n) pcall(debug.setupvalue, f, n, 1)
        pcall(debug.upvalueid, f, n) pcall(debug.upvaluejoin, f, n, f, n) pcall(debug.upvaluejoin, f, 1, f, n)
        pcall(debug.getinfo, n) debug.traceback("", n)
      end
      return true
    end
    return f(1, 2, 3)]],
  -- A type's metatable that makes C code take any memory for an open file.
  [[local file = getmetatable(io.stdout)
    local function take(value)
      assert(not pcall(debug.setmetatable, value, file))
      assert(not pcall(debug.setmetatable, value, {}) and not pcall(debug.setmetatable, value, nil))
    end
    take(io.stdout) take(io.tmpfile()) take(debug.upvalueid(take, 1))
    for _, value in ipairs { 1, "", true, print, {}, coroutine.create(print) } do
      debug.setmetatable(value, file)
      assert(io.type(value) == nil and not pcall(io.stdout.write, value, "x") and not pcall(io.stdout.close, value))
      debug.setmetatable(value, nil)
    end
    return true]],
  -- Options that take values off the stack of what is asked about.
  [[local thread = coroutine.create(function(...) coroutine.yield(...) end)
    coroutine.resume(thread, 1, 2, 3)
    for _ = 1, 100 do
      assert(not pcall(debug.getinfo, thread, 1, ">S") and not pcall(debug.getinfo, 1, ">f") and not pcall(debug.getinfo, 1, "S>"))
      assert(not pcall(debug.getinfo, print, ">S") and not pcall(debug.getinfo, thread, 0, ">nSlutfL"))
    end
    return coroutine.resume(thread)]],
  -- Bytecode.
  [[local code = string.dump(function() return 1 end)
    local function try(f) return f and pcall(f, code) and f(code) end
    for level = 0, 5 do
      for _, f in ipairs { load, loadfile, require, package.searchers[1], package.searchers[2] } do
        local _, original = debug.getupvalue(f, 1)
        assert(not original)
        debug.setupvalue(f, 1, load)
      end
    end
    assert(not load(code) and not load(code, "x", "b") and not load(function() return code end))
    local parts = { "return ", "1" }
    load(function()
      local info = debug.getinfo(2, "f")
      assert(not info or info.func ~= load and not try(info.func) or info.func == load)
      return table.remove(parts, 1)
    end)
    return true]],
  -- The library's own functions, when values of basic types have metatables.
  [[local meta = {}
    for _, event in ipairs { "index", "newindex", "call", "concat", "len", "eq", "lt", "le", "add", "unm", "tostring", "name", "gc",
      "pairs", "mode", "metatable" } do
      meta["__" .. event] = function() return "caught" end
    end
    for _, value in ipairs { 1, "", true, print, coroutine.create(print) } do debug.setmetatable(value, meta) end
    debug.setmetatable(nil, meta)
    pcall(print, 1, nil, print, setmetatable({}, { __tostring = error })) io.write("") tostring(nil) pcall(error, nil)
    pcall(coroutine.wrap(function() error(nil) end)) pcall(coroutine.wrap(function() error(5) end))
    pcall(coroutine.resume, 5) pcall(coroutine.wrap, nil) pcall(math.random, nil) pcall(os.exit)
    pcall(gma and gma.echo, nil, print) pcall(require, nil) pcall(require, "nope") pcall(load, nil) pcall(loadfile, nil)
    pcall(setmetatable, nil, nil) pcall(io.stdout.setvbuf, nil) pcall(io.stdout.seek, 5)
    error(nil)]],
  -- The frames of the task itself, and of what runs it.
  [[local function everything()
      for level = 0, 30 do
        local info = debug.getinfo(level)
        if not info then break end
        for n = -5, 250 do debug.setlocal(level, n, n) end
        for n = 1, 60 do debug.setupvalue(info.func, n, n) end
      end
    end
    everything()
    return true]],
}

describe("hostile use of debug #native", function()
  for number, code in ipairs(HOSTILE) do
    for _, mode in ipairs { "timer", "cmd" } do
      it(("harms only its own task: number %d, mode %s (I13)"):format(number, mode), function()
        local hostile = assert(load("local arg_file = ... " .. code, "=hostile.lua"))
        local tasks = {}
        for i = 1, 9 do
          tasks[i] = { func = i % 3 == 0 and hostile or function(n) return n .. "" end, args = { i % 3 == 0 and "README.md" or i } }
        end
        for i, entry in ipairs(gma2workers.RunSync({ tasks = tasks, mode = mode, workers = 1 }).result) do
          if i % 3 ~= 0 then
            assert.same({ success = true, data = tostring(i) }, entry)
          elseif number ~= #HOSTILE and number ~= #HOSTILE - 1 then
            assert.same({ success = true, data = true }, entry)
          end
        end
      end)
    end
  end

  it("in a Map's function harms only that Map (I13)", function()
    pcall(gma2workers.Map, assert(load(HOSTILE[#HOSTILE])), { 1, 2, 3 })
    pcall(gma2workers.Map, assert(load(HOSTILE[#HOSTILE])), { 1, 2, 3 }, { onError = "collect" })
    assert.same({ 2, 4 }, gma2workers.Map(function(n) return 2 * n end, { 1, 2 }))
  end)

  it("is undone before a function that changes nothing runs in the same state (I13)", function()
    local function spoil() debug.setmetatable(nil, { __index = function() return "caught" end }) end
    local function pure(value) return value.field end
    local tasks = {}
    for i = 1, 20 do
      tasks[i] = { func = i % 4 == 0 and spoil or pure, args = { i % 2 == 0 and {} or nil } }
    end
    for i, entry in ipairs(gma2workers.RunSync({ tasks = tasks, workers = 1 }).result) do
      assert.equal(i % 2 == 0, entry.success, entry.data)
    end
  end)

  it("is refused where C code relies on a userdata, and says why (I13)", function()
    local entry = run(function() debug.setmetatable(io.stdout, {}) end)
    assert_says("a task can't set the metatable of a userdata: C code relies on it", entry.data)
  end)

  it("a finalizer that debug.setmetatable gave is called (I13)", function()
    local path = os.tmpname()
    call(function(name)
      KEPT = debug.setmetatable({}, { __gc = function() io.open(name, "w"):write("called"):close() end }) -- luacheck: ignore 111
    end, path)
    call(type, 1)
    assert.equal("called", require("spec.fixtures.read")(path))
    os.remove(path)
  end)

  local endless = {
    "debug.sethook = print while true do end",
    "while true do pcall(debug.sethook) end",
    "while true do pcall(function() for level = 0, 9 do for n = 1, 9 do debug.setlocal(level, n, nil) end end end) end",
    "local stack = coroutine.running() while true do pcall(debug.setlocal, stack, 1, 1, stack) end",
    "for n = 1, 9 do debug.setupvalue(pcall, n, print) debug.setupvalue(coroutine.resume, n, print) end while true do pcall(error) end",
    "debug.setmetatable(nil, { __index = function() while true do end end }) while true do pcall(function() return (nil).x end) end",
    "debug.setmetatable(1, { __index = function(n) return n.x end }) while true do pcall(function() return (1).x end) end",
    "debug.setmetatable(print, { __index = function() while true do end end }) repeat pcall(function() return print.x end) until nil",
    "table.sort({ 3, 2, 1 }, function() while true do pcall(debug.setlocal, 2, 1, 1) end end)",
    "debug.setmetatable(coroutine.running(), { __call = print }) coroutine.wrap(function() while true do end end)()",
    "while true do coroutine.wrap(function() pcall(debug.getinfo, coroutine.running(), 0, 'nSltufL') end)() end",
  }
  for _, code in ipairs(endless) do
    it("does not keep a task from being stopped (T4): " .. code, function()
      local tasks = { { func = assert(load(code)), timeout = 0.1 }, { func = function() return "next" end } }
      local result = gma2workers.RunSync({ tasks = tasks, workers = 1 }).result
      assert.equal("timeout", result[1].kind)
      assert.equal("next", result[2].data)
      stops.assert_reused(gma2workers.info.threads)
    end)
  end
end)
