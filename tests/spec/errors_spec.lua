-- A failed task has a record of its own: its error, the place, and the kind. No other task is affected.

local gma2workers = require "gma2workers"
local assert_says = require("spec.fixtures.assertions").says
local crossing = require "spec.fixtures.crossing"

local run, with_globals = crossing.run, crossing.with_globals

local HERE = debug.getinfo(1, "S").short_src

-- The first line of a function, as "spec.lua:12".
local function place_of(func)
  return ("%s:%d"):format(HERE, debug.getinfo(func, "S").linedefined)
end

local function assert_silent_on(text, message)
  assert.is_nil(message:find(text, 1, true), ("%q says %q"):format(message, text))
end

local function failed(func, args, options)
  local entry = run(func, args, options)
  assert.is_false(entry.success)
  assert.equal("string", type(entry.data))
  assert.equal("Error: ", entry.data:sub(1, 7))
  assert.is_nil(entry.returns)
  return entry
end

describe("an error in a task", function()
  for _, mode in ipairs { "timer", "cmd" } do
    for _, workers in ipairs { 1, 4 } do
      it(("does not affect other tasks: mode %s, %d workers (E1)"):format(mode, workers), function()
        local function third_fails(n)
          return n % 3 == 0 and error("no " .. n) or n
        end
        local tasks = {}
        for i = 1, 30 do
          tasks[i] = { func = third_fails, args = { i } }
        end
        local response = gma2workers.RunSync { tasks = tasks, mode = mode, workers = workers }
        assert.equal(30, #response.result)
        for i, entry in ipairs(response.result) do
          assert.equal(i % 3 ~= 0, entry.success)
          local place = ("Error: %s:%d: no "):format(HERE, debug.getinfo(third_fails, "S").linedefined + 1)
          assert.equal(i % 3 == 0 and place .. i or i, entry.data)
        end
      end)
    end
  end

  it("that is a string keeps its position, only once, and has no value beside it (E1)", function()
    local function fails() error("boom") end
    local entry = failed(fails)
    assert.equal(("Error: %s: boom"):format(place_of(fails)), entry.data)
    assert.equal("runtime", entry.kind)
    assert.is_nil(entry.error)
    assert.equal("Error: boom", failed(function() error("boom", 0) end).data)
    assert.equal("Error: ", failed(function() error("", 0) end).data)
    assert.equal("Error: a\0b\xff", failed(function() error("a\0b\xff", 0) end).data)
    assert.is_true(failed(function() error(("x"):rep(1 << 20), 0) end).data == "Error: " .. ("x"):rep(1 << 20))
  end)

  it("from Lua itself names the variable (E1)", function()
    local function index() local t = {} return t.field.deep end
    assert.equal(("Error: %s: attempt to index a nil value (field 'field')"):format(place_of(index)), failed(index).data)
    local function argument() string.rep() end
    assert_says(place_of(argument) .. ": bad argument #1 to 'rep'", failed(argument).data)
    local function compare() return 1 < "2" end
    assert_says("attempt to compare number with string", failed(compare).data)
    local function overflow() return 1 + overflow() end
    local entry = failed(overflow)
    assert_says("stack overflow", entry.data)
    assert.equal("runtime", entry.kind)
  end)

  it("has a traceback with the file and line of each function (E1)", function()
    local function deep() error("boom") end
    local function middle() deep() return 1 end
    local function task() table.sort({ 1, 2 }, function() middle() end) end
    local traceback = failed(task).traceback
    assert_says("stack traceback:\n", traceback)
    for _, func in ipairs { deep, middle, task } do
      assert_says("\n\t" .. place_of(func) .. ": in ", traceback)
    end
    assert.is_truthy(traceback:find("in upvalue 'deep'.*in upvalue 'middle'.*in function 'table.sort'"), traceback)
  end)

  it("has a traceback whatever the value", function()
    for _, value in ipairs { 5, false, { {} } } do
      local function task(v) error(v) end
      assert_says(place_of(task), failed(task, { value }).traceback)
    end
    local function task() error() end
    assert_says(place_of(task), failed(task).traceback)
  end)

  it("names the task if that has a name", function()
    local entry = gma2workers.RunSync({ tasks = { { func = error, args = { "boom" }, name = "waves" } } }).result[1]
    assert_says("waves", entry.data .. entry.traceback)
  end)

  it("in code loaded there has that chunk's name", function()
    local entry = failed(function() load("\n\nerror('boom')", "=made here")() end)
    assert.equal("Error: made here:3: boom", entry.data)
  end)

  it("that the task catches is not a failure", function()
    local entry = run(function() return pcall(error, { "kept" }) end)
    assert.is_true(entry.success)
    assert.same({ false, { "kept" }, n = 2 }, entry.returns)
  end)
end)

describe("an error value", function()
  local values = {
    number = { 42, "Error: 42" }, float = { 4.5, "Error: 4.5" }, ["true"] = { true, "Error: true" },
    ["false"] = { false, "Error: false" }, table = { { code = 5, deep = { 1, 2 } }, "^Error: { code = 5, deep = { 1, 2 } }$" },
    ["list with itself"] = { (function() local t = {} t.self = t return t end)(),
      "^Error: { self = { self = { self = { %.%.%. } } } }$" },
  }
  for name, case in pairs(values) do
    it(("crosses with its text: a %s (E2)"):format(name), function()
      local entry = failed(function(value) error(value) end, { case[1] })
      assert.is_truthy(entry.data:find(case[2]), entry.data)
      assert.is_nil(crossing.difference(case[1], entry.error))
      assert.equal("runtime", entry.kind)
    end)
  end

  it("that is a function crosses, too, if it can (E2)", function()
    local entry = failed(function() error(function(n) return n + 1 end) end)
    assert_says("Error: function: ", entry.data)
    assert.equal(6, entry.error(5))
  end)

  it("that is nil is only a text (E2)", function()
    for _, task in ipairs { function() error() end, function() error(nil) end } do
      local entry = failed(task)
      assert.equal("Error: nil", entry.data)
      assert.is_nil(entry.error)
      assert.equal("runtime", entry.kind)
    end
  end)

  it("that can't cross is only a text, and the failure is still the task's own (E2)", function()
    for shown, task in pairs {
      ["Error: thread: "] = function() error(coroutine.create(print)) end,
      ["Error: file ("] = function() error(io.stdout) end,
      ["Error: { deep = { ... } }"] = function() error({ deep = { io.stdout } }) end,
    } do
      local entry = failed(task)
      assert_says(shown, entry.data)
      assert.is_nil(entry.error)
      assert.equal("runtime", entry.kind)
    end
  end)

  it("has the text of its __tostring, and crosses without it (E2)", function()
    local entry = failed(function()
      error(setmetatable({ code = 7 }, { __tostring = function(e) return "code " .. e.code end }))
    end)
    assert.equal("Error: code 7", entry.data)
    assert.same({ code = 7 }, entry.error)
    assert.is_nil(getmetatable(entry.error))
    assert.equal("Error: Trouble: {}", failed(function() error(setmetatable({}, { __name = "Trouble" })) end).data)
  end)

  describe("that is a table is shown by its plain fields", function()
    local deep = { 1, { 2, { 3, { 4 } } } }
    local many, list, long = {}, {}, {}
    for i = 1, 40 do
      many[("key%02d"):format(i)], list[i], long[i] = i, i, ("x"):rep(90)
    end
    local shown = {
      ["{}"] = {}, ["{ 1, 2, 3 }"] = { 1, 2, 3 },
      ['{ code = 42, message = "no such fixture" }'] = { message = "no such fixture", code = 42 },
      ["{ 1, 2.5, true, \"a\", [-1] = 0, [0.5] = 1, [9] = 9, B = 1, a = 2, [\"two words\"] = 3, [false] = 5, [true] = 4 }"] =
        { 1, 2.5, true, "a", [-1] = 0, [0.5] = 1, [9] = 9, B = 1, a = 2, ["two words"] = 3, [true] = 4, [false] = 5 },
      ['{ "say \\"\\\\\\"\\n\\000\\127é" }'] = { "say \"\\\"\n\0\127é" },
      ["{ 1e+100, -0.1, 3.0, inf, -1e-07, 1e+15, 10000000000000.0 }"] = { 1e100, -0.1, 3.0, math.huge, -1e-7, 1e15, 1e13 },
      ["{ 1, { 2, { 3, { ... } } } }"] = deep,
      ["{ 1, ..., 3 }"] = { 1, print, 3 }, ["{ a = 1, ... }"] = { a = 1, b = print, [print] = 2 },
      ["{ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, ... }"] = list,
      ["{ key01 = 1, key02 = 2, key03 = 3, key04 = 4, key05 = 5, key06 = 6, key07 = 7, key08 = 8, key09 = 9, key10 = 10, "
        .. "key11 = 11, key12 = 12, key13 = 13, key14 = 14, key15 = 15, key16 = 16, ... }"] = many,
      ['{ "' .. ("é"):rep(50) .. '..." }'] = { ("é"):rep(60) }, ['{ "a' .. ("é"):rep(49) .. '..." }'] = { "a" .. ("é"):rep(60) },
      ["{ " .. ('"' .. ("x"):rep(90) .. '", '):rep(6) .. "... }"] = long,
    }
    for text, value in pairs(shown) do
      it(("%s (E19)"):format(text), function()
        assert.equal("Error: " .. text, failed(function(v) error(v) end, { value }).data)
        local function fails(v) error(v) end
        local _, message = pcall(gma2workers.Map, fails, { value })
        assert_says("list[1]: " .. text, message)
        assert.equal("Error: " .. text, gma2workers.Map(fails, { value }, { onError = "collect" })[1].data)
        assert.same(value, failed(fails, { value }).error)
      end)
    end

    it("and by its metatable's name, without a call (E19)", function()
      local entry = failed(function()
        local trap = setmetatable({ 1 }, { __index = error, __len = error, __pairs = error, __name = "Trouble" })
        error(setmetatable({ code = 5, trap = trap }, { __index = error, __len = error, __pairs = error, __name = 5 }))
      end)
      assert.equal("Error: { code = 5, trap = { 1 } }", entry.data)
    end)

    it("in a callback's report, too (E19)", function()
      local reported
      crossing.with_gma({ echo = function(text) reported = text end }, function()
        local job = gma2workers.RunAsync { tasks = { { func = type, args = { 1 } } }, onComplete = function() error({ code = 42 }) end }
        job:wait()
      end)
      assert_says("error in a callback: { code = 42 }", reported)
    end)

    it("if a host call raised it, and it can't cross #native (E19)", function()
      crossing.with_gma({ fail = function() error({ code = 42, file = io.stdout }) end }, function()
        assert.equal("Error: { code = 42, ... }", failed(function() gma.fail() end).data)
      end)
    end)
  end)

  describe("whose __tostring fails too", function()
    local ways = {
      ["a string"] = { function() error("inner") end, "inner" },
      ["a table"] = { function() error({}) end, "error" },
      ["nil"] = { function() error() end, "error" },
      ["no string"] = { function() return {} end, "__tostring" },
      ["itself, again and again"] = { function(e) return tostring(e) end, "overflow" },
      ["a yield"] = { function() coroutine.yield() end, "yield" },
    }
    for name, case in pairs(ways) do
      it(("is reported so, and affects only that task: %s (E3)"):format(name), function()
        local function fails(to_string) error(setmetatable({ code = 7 }, { __tostring = to_string })) end
        local tasks = {}
        for i = 1, 9 do
          tasks[i] = { func = i % 3 == 0 and fails or type, args = { case[1] } }
        end
        for i, entry in ipairs(gma2workers.RunSync({ tasks = tasks, workers = 1 }).result) do
          assert.equal(i % 3 ~= 0, entry.success)
          if i % 3 == 0 then
            assert.equal("runtime", entry.kind)
            assert.is_truthy(entry.data:find("^Error: error in "), entry.data)
            assert_says(case[2], entry.data)
            assert.same({ code = 7 }, entry.error)
            assert_says(place_of(fails), entry.traceback)
          else
            assert.equal("function", entry.data)
          end
        end
      end)
    end
  end)
end)

describe("an error in a coroutine of the task", function()
  it("is the task's, with the traceback of the coroutine (E15) #native", function()
    local function deep() error("boom") end
    local function body() deep() return 1 end
    local function task() coroutine.wrap(body)() end
    local entry = failed(task)
    assert.equal("runtime", entry.kind)
    assert_says(place_of(deep) .. ": boom", entry.data)
    for _, func in ipairs { deep, body, task } do
      assert_says("\n\t" .. place_of(func) .. ": in ", entry.traceback)
    end
  end)

  it("inside another coroutine has the traceback of both (E15) #native", function()
    local function inner() error("boom") end
    local function outer() coroutine.wrap(inner)() end
    local function task() for _ in coroutine.wrap(outer) do end end -- luacheck: ignore 512
    local entry = failed(task)
    for _, func in ipairs { inner, outer, task } do
      assert_says(place_of(func) .. ": in ", entry.traceback)
    end
  end)

  it("is the task's even after the coroutine has yielded (E15) #native", function()
    local function body() coroutine.yield() error("boom") end
    local entry = failed(function()
      local step = coroutine.wrap(body)
      step()
      step()
    end)
    assert_says(place_of(body) .. ": boom", entry.data)
    assert_says("\n\t" .. place_of(body) .. ": in ", entry.traceback)
  end)

  it("that was caught does not show in a later one (E15)", function()
    local function first() error("boom one") end
    local function second() error("boom two") end
    local entry = failed(function()
      pcall(coroutine.wrap(first))
      second()
    end)
    assert_says("boom two", entry.data)
    assert_silent_on("boom one", entry.data .. entry.traceback)
    assert_silent_on(place_of(first), entry.traceback)
  end)

  it("that resume returned stays with the task (E15)", function()
    local function body() error("boom") end
    local function task(raise)
      local ok, message = coroutine.resume(coroutine.create(body))
      return raise and error(message, 0) or ok
    end
    assert.is_false(crossing.results(run(task, { false })))
    assert.equal(("Error: %s: boom"):format(place_of(body)), failed(task, { true }).data)
  end)
end)

describe("a fault outside the task's code", function()
  -- It comes between good tasks on one worker, so that others follow it in the same thread.
  local function among_others(bad, options)
    local tasks = {}
    for i = 1, 10 do
      tasks[i] = { func = function(n) return n end, args = { i } }
    end
    tasks[4], tasks[9] = bad, bad
    options.tasks, options.workers = tasks, 1
    local result = gma2workers.RunSync(options).result
    for i, entry in ipairs(result) do
      assert.equal(i ~= 4 and i ~= 9, entry.success)
      assert.is_true(not entry.success or entry.data == i)
    end
    assert.equal(result[4].data, result[9].data)
    return result[4]
  end

  local captured = 5
  local faults = {
    ["an argument that can't cross (E10)"] = { "transfer", "cannot send a userdata (at args[2].deep.h)",
      { func = print, args = { 1, { deep = { h = io.stdout } } } } },
    ["a result that can't cross (E11)"] = { "transfer", "cannot send a coroutine (at result.deep)",
      { func = function() return { deep = coroutine.create(print) } end } },
    ["the second result can't cross (E11)"] = { "transfer", "cannot send a userdata (at returns[2])",
      { func = function() return 1, io.stdout end } },
    ["captured data (F2b) #native"] = { "upvalue", ("upvalue 'captured' (a number) of the function at %s"):format(HERE),
      { func = function() return captured end } },
    ["a library function that workers have not (F4) #native"] = { "upvalue", "debug.sethook is not available in a worker",
      { func = debug.sethook } },
    ["a C function that is nobody's (F4) #native"] = { "transfer", "cannot send a C function (at func)",
      { func = string.gmatch("", "") } },
    ["gma2workers in a task (D1)"] = { "runtime", "gma2workers is not available in a worker",
      { func = function() return require("gma2workers").RunSync { tasks = {} } end } },
  }
  for name, case in pairs(faults) do
    for _, mode in ipairs { "timer", "cmd" } do
      it(("affects only that task: %s, mode %s"):format(name, mode), function()
        local entry = among_others(case[3], { mode = mode })
        assert.equal(case[1], entry.kind)
        assert_says("Error: ", entry.data)
        assert_says(case[2], entry.data)
      end)
    end
  end
end)

describe("a global that only the host has", function()
  -- luacheck: push ignore 112 113 143
  local uses = {
    call = function() return errors_spec_help() end,
    index = function() return errors_spec_help.field end,
    assignment = function() errors_spec_help.field = 1 end,
    arithmetic = function() return errors_spec_help + 1 end,
    ["call in a coroutine"] = function() return coroutine.wrap(function() return errors_spec_help() end)() end,
  }
  for name, task in pairs(uses) do
    it("gets a hint #native: " .. name, function()
      with_globals({ errors_spec_help = function() end }, function()
        local entry = failed(task)
        assert_says("(global 'errors_spec_help')", entry.data)
        assert_says('globals = { "errors_spec_help" }', entry.data)
        assert.equal("runtime", entry.kind)
      end)
      -- If the host lacks the global, too, there is no hint.
      assert_silent_on("globals = ", failed(task).data)
    end)
  end

  it("is there if it is listed #native", function()
    with_globals({ errors_spec_help = function() return 5 end, errors_spec_data = { 6 } }, function()
      local entry = run(function() return errors_spec_help() + errors_spec_data[1] end, {},
        { globals = { "errors_spec_help", "errors_spec_data" } })
      assert.equal(11, entry.data)
    end)
  end)

  it("is not meant by a field or a local of the same name, nor by a text that looks like it #native", function()
    with_globals({ errors_spec_help = function() end }, function()
      assert_silent_on("globals = ", failed(function() return string.errors_spec_help() end).data)
      assert_silent_on("globals = ", failed(function(errors_spec_help) errors_spec_help() end).data)
      assert_silent_on("globals = ", failed(function() error("no (global 'errors_spec_help') here") end).data)
    end)
  end)
  -- luacheck: pop

  it("is gma, and the host has none: the error says so", function()
    crossing.with_gma(nil, function()
      assert_says("the host has no gma", failed(function() gma.echo("x") end).data)
    end)
  end)
end)
