-- Functions cross as code: what they may capture, how it crosses, and what is refused.

local gma2workers = require "gma2workers"
local assert_failed = require("spec.fixtures.assertions").failed
local crossing = require "spec.fixtures.crossing"
local stock = require "spec.fixtures.stock"
local system = require "spec.fixtures.system"

local call, run, copied, plugin = crossing.call, crossing.run, crossing.copied, crossing.plugin

-- A function at plugin.lua:2 that returns the value it has captured under this name.
local function capture(value, name)
  return plugin(("local upvalue = ...\nreturn function() return upvalue end"):gsub("upvalue", name or "captured"), value)
end

describe("globals and captured variables", function()
  local reads = {
    x = "seen.x = x ",
    y = "seen.y = y ",
    -- The state's own `load` sees only what was set in the state's own globals.
    _ENV = "mark = 'own' seen._ENV = load('return mark')() ",
  }
  local orders = { "x _ENV y", "x y _ENV", "_ENV x y", "_ENV y x", "y x _ENV", "y _ENV x", "x _ENV", "_ENV x", "x y",
    "_ENV", "x", "" }
  for _, order in ipairs(orders) do
    for captured, values in pairs { data = { 5, { 7 } }, functions = { function() return 5 end, function() return { 7 } end } } do
      it(("keep their places: %s captured in the order '%s' (F1) #native"):format(captured, order), function()
        local body = {}
        for name in order:gmatch("%S+") do
          body[#body + 1] = captured == "functions" and reads[name]:gsub("= ([xy]) ", "= %1() ") or reads[name]
        end
        local func = plugin("local x, y = ... return function() local seen = {} " .. table.concat(body) .. " return seen end",
          table.unpack(values))
        local names, i = {}, 1
        while debug.getupvalue(func, i) do
          names[i], i = debug.getupvalue(func, i), i + 1
        end
        assert.equal(order, table.concat(names, " "))
        local expected = {}
        for _, name in ipairs(names) do
          expected[name] = ({ x = 5, y = { 7 }, _ENV = "own" })[name]
        end
        assert.same(expected, captured == "data" and copied(func) or call(func))
        assert.is_nil(rawget(_G, "mark"))
      end)
    end
  end

  it("are the state's own in nested functions and for _G too (F1)", function()
    local G = _G
    assert.is_true(call(function()
      local function nested() return function() return G end end
      return G == _G and nested()() == load("return _G")() and G._G == G
    end))
  end)

  it("that hold nil still hold nil", function()
    assert.is_true(call(plugin("local nothing return function() return nothing == nil end")))
  end)
end)

describe("captured functions", function()
  it("are carried: helpers and their helpers (F2)", function()
    local function double(n) return 2 * n end
    local function quadruple(n) return double(double(n)) end
    assert.equal(20, call(function(n) return quadruple(n) end, 5))
  end)

  it("are carried: a function that calls itself (F2)", function()
    local function fib(n) return n < 2 and n or fib(n - 1) + fib(n - 2) end
    assert.equal(610, call(fib, 15))
    assert.equal(610, call(function(n) return fib(n) end, 15))
  end)

  it("are carried: functions that call each other (F2)", function()
    local is_even
    local function is_odd(n) return n ~= 0 and is_even(n - 1) end
    function is_even(n) return n == 0 or is_odd(n - 1) end
    assert.same({ true, false, true }, call(function() return { is_even(10), is_odd(10), is_odd(7) } end))
    assert.is_true(call(is_even, 100))
  end)

  it("are one function if two functions share it (F2)", function()
    local function shared() end
    local function a() return shared end
    local function b() return shared end
    assert.is_true(call(function() return a() == b() and a() ~= a end))
  end)

  it("are variables that a task may set, for itself alone (F2) #native", function()
    local function one() return 1 end
    local function two() return 2 end
    local step = one
    local function use_two() step = two end
    local function task() local before = step() use_two() return before * 10 + step() end
    local response = gma2workers.RunSync { tasks = { { func = task }, { func = task } }, workers = 1 }
    assert.same({ 12, 12 }, { response.result[1].data, response.result[2].data })
    assert.equal(1, step())
  end)
end)

describe("captured data #native", function()
  -- The data that a function may have captured, and its description in the error.
  local data = { { 5, "a number" }, { 0.5, "a number" }, { math.pi, "a number" }, { "text", "a string" }, { "", "a string" },
    { true, "a boolean" }, { false, "a boolean" }, { {}, "a table" }, { { 1, { x = "y" } }, "a table" },
    { debug.upvalueid(function() return stock end, 1), "a light userdata" } }

  it("fails its task: the error names it, the place of its function, and what to do (F2b)", function()
    for _, case in ipairs(data) do
      local entry = run(capture(case[1], "rate"))
      assert_failed(entry, "upvalue")
      assert.equal(("Error: upvalue 'rate' (%s) of the function at plugin.lua:2 cannot cross: "
        .. 'pass it in args, or set upvalues = "copy"'):format(case[2]), entry.data)
    end
  end)

  it("of a helper is named with the helper's place (F2b)", function()
    local task = plugin("local rate = 5\n\nlocal function helper()\nreturn rate\nend\nreturn function() return helper() end")
    assert_failed(run(task), "upvalue", "upvalue 'rate' (a number) of the function at plugin.lua:3")
  end)

  it("of a function among the arguments or the results is named in the same way (F2b)", function()
    assert_failed(run(print, { { capture(5, "rate") } }), "upvalue", "upvalue 'rate' (a number) of the function at plugin.lua:2")
    local make = plugin("return function()\nlocal rate = 5\nreturn function() return rate end\nend")
    assert_failed(run(make), "upvalue", "upvalue 'rate' (a number) of the function at plugin.lua:3")
  end)

  it("fails no other task (F2b)", function()
    local bad = capture(5)
    local good = function(n) return n end
    local response = gma2workers.RunSync { workers = 2,
      tasks = { { func = good, args = { 1 } }, { func = bad }, { func = good, args = { 3 } }, { func = bad } } }
    assert.same({ 1, 3 }, { response.result[1].data, response.result[3].data })
    assert_failed(response.result[2], "upvalue", "'captured'")
    assert_failed(response.result[4], "upvalue", "'captured'")
  end)

  it('is copied with upvalues = "copy" or "private" (F2b)', function()
    for _, case in ipairs(data) do
      assert.same(case[1], copied(capture(case[1])))
      assert.same(case[1], crossing.results(run(capture(case[1]), {}, { upvalues = "copy" })))
    end
    assert.equal("float", math.type(copied(capture(1.0))))
  end)

  for _, mode in ipairs { "timer", "cmd" } do
    it(("is each task's own copy, and writes to it stay in the task, in mode %s (F2b, F6)"):format(mode), function()
      local count, list = 0, { 0 }
      local function add()
        count, list[1] = count + 1, list[1] + 1
        return { count, list[1] }
      end
      local function add_too() return add() end
      local tasks = {}
      for i = 1, 20 do
        tasks[i] = { func = i % 2 == 0 and add or add_too }
      end
      for _, entry in ipairs(gma2workers.RunSync({ tasks = tasks, workers = 2, mode = mode, upvalues = "private" }).result) do
        assert.same({ 1, 1 }, entry.data)
      end
      assert.same({ 0, 0 }, { count, list[1] })
    end)
  end

  it("stays shared between the functions of one task, and separate where it was separate (F2b)", function()
    local count, other = 0, 0
    local function add() count = count + 1 end
    local function get() return count, other end
    assert.same({ 2, 0 }, { copied(function() add() add() return get() end) })
    assert.same({ 3, 0 }, { copied(function(a, b) a() a() a() return b() end, add, get) })
    local each = {}
    for i = 1, 3 do
      each[i] = function() i = i + 10 return i end
    end
    assert.same({ 11, 21, 12, 13 }, copied(function(list) return { list[1](), list[1](), list[2](), list[3]() } end, each))
  end)

  it("keeps its identity, and functions in it cross by the same rules", function()
    local object = { count = 1 }
    object.self = object
    function object.add(n) object.count = object.count + n return object end
    local format = { text = string.format }
    assert.same({ true, 6, "<5>", true }, copied(function()
      return { object.add(5) == object.self, object.count, format.text("<%d>", 5), format.text == string.format }
    end))
    assert.equal(1, object.count)
  end)
end)

describe("a captured standard function or library", function()
  it("is the state's own, whichever it is (F3)", function()
    assert.equal("all right", stock.run([[
      local names, tasks = {}, {}
      local is_native = require("gma2workers").info.backend == "native"
      local function try(name, value)
        if type(value) == "function" or type(value) == "table" then
          names[#names + 1] = name
          local code = ("local it = %s return function() return it == %s end"):format(name, name)
          tasks[#tasks + 1] = { func = load(code)() }
        end
      end
      arg = nil
      for name, value in pairs(_G) do
        try(name, value)
        for field, inner in pairs(type(value) == "table" and value ~= _G and value or {}) do
          local is_absent = value == debug and (field == "debug" or field == "getregistry" or field:find("hook$"))
          -- Without the binary, tasks find another one, which raises.
          local is_replaced = not is_native and value == os and field == "exit"
          if not is_absent and not is_replaced then
            try(name .. "." .. field, inner)
          end
        end
      end
      for i, entry in ipairs(require("gma2workers").RunSync({ tasks = tasks }).result) do
        if entry.data ~= true then
          print(names[i], entry.data)
        end
      end
      io.write(#names > 130 and "all right" or #names)
    ]]))
  end)

  it("is the state's own if a function returned it: the iterator of ipairs, pairs or utf8.codes (F16)", function()
    local next_item, next_pair, next_code = ipairs {}, pairs {}, utf8.codes("")
    assert.same({ 12, 1, true, true }, call(function(given)
      local sum, count = 0, 0
      for _, n in next_item, { 3, 4, 5 }, 0 do sum = sum + n end
      for _ in next_pair, { x = 1 } do count = count + 1 end
      return { sum, count, next_item == ipairs {} and next_pair == next and next_code == utf8.codes("x"), given[1] == next_item }
    end, { next_item }))
    assert.equal(next_item, call(function() return (ipairs {}) end))
    assert.equal(next_code, call(function() return { (utf8.codes "") } end)[1])
    assert.same({ 1, "a", n = 2 }, table.pack(call(next_item, { "a" }, 0)))
  end)

  it("works under its own name, in a helper too", function()
    local format, concat, str = string.format, table.concat, string
    local function helper(...) return concat({ ... }, str.rep("-", 2)) end
    assert.equal("a--b 7", call(function() return format("%s %d", helper("a", "b"), 7) end))
  end)

  it("may be the task itself, or one of its arguments or results (F3)", function()
    assert.equal("ABC", call(string.upper, "abc"))
    assert.is_true(call(function(f, t) return f == string.format and t.f == table.concat end,
      string.format, { f = table.concat }))
    assert.equal(string.format, call(function() return string.format end))
    assert.equal(math.sin, call(function() return { math.sin } end)[1])
  end)

  it("fails its task under its upvalue's name if the state does not have it (F4) #native", function()
    assert_failed(run(capture(debug.sethook, "spy")), "upvalue",
      "upvalue 'spy' (debug.sethook) of the function at plugin.lua:2 cannot cross: call it on the host")
  end)
end)

describe("a value that cannot be captured #native", function()
  local values = {
    ["a C function"] = string.gmatch("a", "a"),
    ["a userdata"] = io.stdout,
    ["a coroutine"] = coroutine.create(print),
  }
  for what, value in pairs(values) do
    it(("fails only its task, by name, and with copies too: %s (F4)"):format(what), function()
      for _, upvalues in ipairs { "error", "copy" } do
        local response = gma2workers.RunSync { upvalues = upvalues,
          tasks = { { func = capture(value, "handle") }, { func = function() return 5 end } } }
        assert_failed(response.result[1], "upvalue",
          ("upvalue 'handle' (%s) of the function at plugin.lua:2 cannot cross: "):format(what))
        assert.equal(5, response.result[2].data)
      end
    end)
  end

  it("is named with its path in captured data (F4)", function()
    local entry = run(capture({ deep = { h = coroutine.create(print) } }, "settings"), {}, { upvalues = "copy" })
    assert_failed(entry, "transfer", "cannot send a coroutine", "upvalue 'settings' of the function at plugin.lua:2", ".deep.h")
  end)

  it("cannot be a task either: a C function of no library (F4)", function()
    assert_failed(run(string.gmatch("a", "a")), "transfer", "cannot send a C function (at func)")
  end)
end)

describe("a function's size and form", function()
  it("may be more than a megabyte of bytecode (F7)", function()
    local lines = {}
    for i = 1, 60000 do
      lines[i] = ("t[%d] = 'item %d'"):format(i, i)
    end
    local func = plugin("return function() local t = {}\n" .. table.concat(lines, "\n") .. "\nreturn #t, t[60000] end")
    assert.is_true(#string.dump(func) > 1 << 20)
    assert.same({ 60000, "item 60000" }, { call(func) })
  end)

  it("may have 255 captured variables, Lua's limit (F7)", function()
    local names = {}
    for i = 1, 255 do
      names[i] = "v" .. i
    end
    local func = plugin(("local function inner(...) local %s = ... return function(...) local %s = ...\n"
      .. "return function() return (%s) * 1000 + v255 end end end\nlocal t = {} for i = 1, 255 do t[i] = i end\n"
      .. "return inner(table.unpack(t, 1, 130))(table.unpack(t, 131))"):format(table.concat(names, ", ", 1, 130),
      table.concat(names, ", ", 131), table.concat(names, " + ")))
    assert.equal("v255", debug.getupvalue(func, 255))
    assert.equal(255 * 128 * 1000 + 255, copied(func))
  end)

  it("may be variadic (F7)", function()
    local function count(...) return select("#", ...), ... end
    assert.same({ 3, "a", nil, "c" }, { call(count, "a", nil, "c") })
    assert.equal(0, call(count))
    assert.equal(2, call(assert(load("local a, b = ... return select('#', ...)")), 1, 2))
  end)

  it("may be stripped of its names and lines (F7) #native", function()
    local stripped = load(string.dump(function(n) return string.rep("x", n) end, true))
    assert.equal("xxx", call(stripped, 3))
    -- Its globals are its second upvalue, and no upvalue has a name.
    local x = 5
    local second = load(string.dump(function() return x + math.abs(-1) end, true))
    debug.setupvalue(second, 1, x)
    debug.setupvalue(second, 2, _G)
    assert.equal(6, copied(second))
    assert_failed(run(second), "upvalue", "(a number) of the function at ?", "cannot cross")
    assert_failed(run(load(string.dump(function() error("boom") end, true))), "runtime", "boom")
  end)

  it("gives right results in 10000 tasks (F8)", function()
    local big = plugin(("return function(n) local text = %q return n + #text end"):format(("x"):rep(1 << 16)))
    local tasks = {}
    for i = 1, 10000 do
      tasks[i] = { func = big, args = { i } }
    end
    for i, entry in ipairs(gma2workers.RunSync({ tasks = tasks }).result) do
      if entry.data ~= i + (1 << 16) then
        error(("task %d gave %s"):format(i, tostring(entry.data)))
      end
    end
  end)
end)

describe("require in a task", function()
  it("finds a Lua module by the host's package.path of the call (F10)", function()
    assert.equal("hello you, for the 1. time", call(function() return require("spec.fixtures.greeter").greet("you") end))
    local path = package.path
    local name = system.temporary()
    local file = io.open(name, "w")
    file:write("return { name = ... }")
    file:close()
    package.path = name:gsub("[^/\\]+$", "?")
    local module = name:match("[^/\\]+$")
    local entry = run(function(m) return require(m).name, package.path end, { module })
    package.path = path
    os.remove(name)
    assert.same({ module, (name:gsub("[^/\\]+$", "?")), n = 2 }, entry.returns)
  end)

  it("finds a C module by the host's package.cpath (F10) #native", function()
    if not package.searchpath("consolenative", package.cpath) then
      pending("there is no C module here")
      return
    end
    local tasks = {}
    for i = 1, 8 do
      tasks[i] = { func = function() return type(require("consolenative").clock()) end }
    end
    for _, entry in ipairs(gma2workers.RunSync({ tasks = tasks, workers = 4 }).result) do
      assert.equal("number", entry.data)
    end
    local cpath = package.cpath
    package.cpath = "/nonexistent/?.so"
    local entry = run(function() return require("consolenative") end)
    package.cpath = cpath
    assert_failed(entry, "runtime", "module 'consolenative' not found", "/nonexistent/consolenative.so")
  end)
end)

describe("captured functions and tables of gma", function()
  local function with_engine(body)
    local commands = {}
    local engine = { cmd = function(text) commands[#commands + 1] = text return "did " .. text end,
      show = { getobj = { handle = function(name) return #name end } } }
    crossing.with_gma(engine, function() body(engine, commands) end)
  end

  it("are host calls", function()
    with_engine(function(engine, commands)
      local cmd, getobj, all = engine.cmd, engine.show.getobj, engine
      local function helper(text) return cmd(text) end
      assert.same({ "did Clear", 7, 8, true, "did Go" }, call(function()
        return { cmd("Clear"), getobj.handle("Group 1"), all.show.getobj.handle("Group 10"),
          cmd == gma.cmd and getobj == gma.show.getobj and all == gma, helper("Go") }
      end))
      assert.same({ "Clear", "Go" }, commands)
    end)
  end)

  it("are host calls as the task itself, among its arguments and back on the host", function()
    with_engine(function(engine)
      assert.equal("did Clear", call(engine.cmd, "Clear"))
      assert.same({ "did Go", 3, true }, call(function(cmd, show)
        return { cmd("Go"), show.getobj.handle("abc"), cmd == gma.cmd }
      end, engine.cmd, engine.show))
      assert.equal(engine.cmd, call(function() return gma.cmd end))
      assert.equal(engine.cmd, call(function() return function() return gma.cmd end end)())
    end)
  end)
end)

describe("functions among arguments and results", function()
  it("work with their helpers in both directions (section 5)", function()
    local function double(n) return 2 * n end
    local function twice(f) return function(n) return f(f(n)) end end
    assert.equal(20, call(function(f, n) return f(n) end, twice(double), 5))
    local back = call(function(f) return { quadruple = function(n) return f(f(n)) end } end, double)
    assert.equal(20, back.quadruple(5))
  end)

  it("use the host's globals when they come back #native", function()
    local get = call(function() _G.mark = "task" return function() return mark, _G end end) -- luacheck: ignore 113
    local mark, globals = get()
    assert.is_nil(mark)
    assert.equal(_G, globals)
  end)

  it('bring copies of their data back with upvalues = "copy"', function()
    local entry = run(function(n) local count = n return function() count = count + 1 return count end end, { 5 },
      { upvalues = "copy" })
    assert.is_nil(not entry.success and entry.data or nil)
    assert.equal(6, entry.data())
  end)

  it("keep the position of their errors", function()
    local func = call(plugin("return function()\nreturn function()\n\nerror('boom') end\nend"))
    assert.same({ false, "plugin.lua:4: boom" }, { pcall(func) })
  end)
end)

describe("a callable table", function()
  it("works as a task, and gets a copy of itself", function()
    local scale = setmetatable({ rate = 3 }, { __call = function(self, n) self.rate = self.rate + 1 return self.rate * n end })
    assert.same({ 20, 20 }, { call(scale, 5), call(scale, 5) })
    assert.equal(3, scale.rate)
    assert_failed(run(scale, { coroutine.create(print) }), "transfer", "(at args[1])")
  end)
end)

describe("an error in a task", function()
  local code = "local function helper(t)\nreturn t.x.y\nend\nreturn function(t)\nif t then\n"
    .. "t = helper(t)\nend\nerror('boom')\nend"

  it("keeps its file and line, and the names of variables", function()
    local boom, index = run(plugin(code)), run(plugin(code), { {} })
    assert_failed(boom, "runtime", "Error: plugin.lua:8: boom")
    assert.is_truthy(boom.traceback:find("plugin.lua:8", 1, true))
    assert_failed(index, "runtime", "Error: plugin.lua:2: attempt to index a nil value (field 'x')")
    assert.is_truthy(index.traceback:find("plugin.lua:6", 1, true), index.traceback)
  end)

  it("hints at `globals` for globals that only the host has, and for no others #native", function()
    rawset(_G, "clean", { all = print })
    for _, use in ipairs { "clean()", "return clean.all", "clean.x = 1", "clean:go()", "return 1 + clean", "return 'a' .. clean",
      "return #clean", "return -clean", "coroutine.wrap(function() clean() end)()" } do
      local task = load(use, "@plugin.lua")
      local _, own = pcall(load(use, "@plugin.lua", "t", { coroutine = coroutine }))
      assert_failed(run(task), "runtime", own, 'globals = { "clean" }')
    end
    rawset(_G, "clean", nil)
    for _, use in ipairs { "clean()", "local clean clean()", "string.clean()", "error('global clean')" } do
      assert.is_nil(run(load(use)).data:find("globals = ", 1, true))
    end
  end)
end)
