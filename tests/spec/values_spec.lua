-- Values cross by value: each kind, its limits, its identity, and values that cannot cross.

local gma2workers = require "gma2workers"
local crossing = require "spec.fixtures.crossing"

local call, run, difference = crossing.call, crossing.run, crossing.difference

local function each_way(test)
  for name, send in pairs(crossing.ways) do
    describe(name, function()
      test(send)
    end)
  end
end

local function assert_alike(sent, got)
  assert.is_nil(difference(sent, got))
end

describe("numbers", function()
  local numbers = {
    integers = { 0, 1, -1, 255, 1 << 32, (1 << 53) + 1, math.maxinteger, math.mininteger },
    floats = { 0.0, -0.0, 1.0, -1.5, 2.0 ^ 53, 1 / 0, -1 / 0, 0 / 0, -(0 / 0), 5e-324, 2.2250738585072014e-308,
      1.7976931348623157e308, 0.1 },
  }

  -- Describes a number in the task, so that nothing has to cross for the comparison.
  local function spelled(number)
    local kind = math.type(number)
    local bytes = string.pack(kind == "integer" and ">j" or ">d", number)
    return kind .. bytes:gsub(".", function(byte) return (" %02x"):format(byte:byte()) end)
  end

  for kind, list in pairs(numbers) do
    it(("arrive in a task bit for bit: %s (V1)"):format(kind), function()
      for _, number in ipairs(list) do
        assert.equal(spelled(number), call(spelled, number))
      end
    end)
  end

  each_way(function(send)
    for kind, list in pairs(numbers) do
      it(("come back bit for bit: %s (V1)"):format(kind), function()
        for _, number in ipairs(list) do
          assert.equal(spelled(number), spelled(send(number)))
          assert.equal(spelled(number), spelled(send({ field = number }).field))
          assert.equal(spelled(number), spelled(send({ number })[1]))
        end
      end)
    end

    it("keep 1 and 1.0 apart (V1)", function()
      assert_alike({ 1, 1.0, 2, 2.0, -0.0, 0 }, send { 1, 1.0, 2, 2.0, -0.0, 0 })
    end)
  end)
end)

describe("strings", function()
  local all_bytes = {}
  for byte = 0, 255 do
    all_bytes[#all_bytes + 1] = string.char(byte)
  end
  all_bytes = table.concat(all_bytes)

  each_way(function(send)
    it("come back byte for byte (V2)", function()
      for _, text in ipairs { "", "\0", "\0\0\0", "a\0b", "\xff\xfe\xc0", "\u{10FFFF}", all_bytes, all_bytes:rep(999),
        ("x"):rep(40), ("x"):rep(41), ("y"):rep(127), ("y"):rep(128), ("z"):rep(16384) } do
        assert.equal(text, send(text))
        assert_alike({ [text] = text }, send { [text] = text })
      end
    end)

    it("come back with 64 MiB (V2)", function()
      local text = all_bytes:rep(64 << 12)
      assert.equal(64 << 20, #text)
      -- assert.equal would print both.
      assert.is_true(send(text) == text)
    end)
  end)

  it("of 64 MiB can be made in a task (V2)", function()
    local text = call(function() return ("\0x"):rep(32 << 20) end)
    assert.is_true(text == ("\0x"):rep(32 << 20))
  end)

  it("are equal to the task's own, long and short (V2)", function()
    assert.is_true(call(function(short, long)
      return short == "abc" and long == ("abc"):rep(100) and ({ abc = 1 })[short] == 1
    end, "abc", ("abc"):rep(100)))
  end)
end)

describe("nil, booleans and counts", function()
  each_way(function(send)
    it("keep their number and places (V3)", function()
      for _, values in ipairs { table.pack(), table.pack(1, nil, 3), table.pack(nil, nil), table.pack(nil, 2),
        table.pack(1, nil), table.pack(false, true, nil), table.pack(nil, nil, nil, nil, 5, nil) } do
        local got = table.pack(send(table.unpack(values, 1, values.n)))
        -- In a response, one nil and no value are the same.
        assert.equal(values.n > 0 and values.n or 1, got.n)
        assert_alike({ table.unpack(values, 1, values.n) }, { table.unpack(got, 1, got.n) })
      end
    end)

    it("come back, 250 at a time (V3)", function()
      local values = { n = 250 }
      for i = 1, 250, 3 do
        values[i] = i
      end
      local got = table.pack(send(table.unpack(values, 1, 250)))
      assert_alike(values, got)
    end)
  end)

  it("are counted in the task (V3)", function()
    local function count(...)
      return select("#", ...)
    end
    assert.equal(0, call(count))
    assert.equal(1, call(count, nil))
    assert.equal(3, call(count, 1, nil, 3))
    assert.equal(250, call(count, table.unpack({}, 1, 250)))
    assert.equal(3, crossing.results(run(count, { 1, nil, 3 })))
    assert.equal(5, crossing.results(run(count, { 1, n = 5 })))
    assert.equal(0, crossing.results(run(count, nil)))
  end)

  it("reach a host function with their number (V3)", function()
    local counts = {}
    crossing.with_gma({ probe = function(...) counts[#counts + 1] = select("#", ...) end }, function()
      call(function()
        gma.probe()
        gma.probe(nil)
        gma.probe(nil, nil)
        gma.probe(1, nil, 3, nil)
      end)
    end)
    assert.same({ 0, 1, 2, 4 }, counts)
  end)
end)

describe("keys", function()
  local tables = {
    ["a number and its text"] = { [1] = "number", ["1"] = "text", [1.5] = "half", ["1.5"] = "text of half" },
    ["negative and zero"] = { [-1] = "a", [0] = "b", [math.mininteger] = "c", [math.maxinteger] = "d" },
    ["fractions and infinities"] = { [0.5] = 1, [-0.5] = 2, [1 / 0] = 3, [-1 / 0] = 4, [2.0 ^ 63] = 5, [5e-324] = 6 },
    ["booleans"] = { [true] = false, [false] = true },
    ["holes"] = { 1, nil, 3, nil, nil, 6, [1000] = 1000 },
    ["texts with zeros and none"] = { [""] = "empty", ["\0"] = "zero", ["a\0b"] = 1, ["a\0c"] = 2 },
    ["empty"] = {},
    ["list and record"] = { 1, 2, 3, n = 3, [4.5] = true },
    ["a list with nils behind"] = { nil, nil, 3 },
  }
  each_way(function(send)
    for name, value in pairs(tables) do
      it("come back: " .. name .. " (V4)", function()
        assert_alike(value, send(value))
      end)
    end
  end)
end)

describe("identity", function()
  each_way(function(send)
    it("of a table in itself is kept (V5)", function()
      local value = { deep = {} }
      value.self, value.deep.up = value, value
      local got = send(value)
      assert.equal(got, got.self)
      assert.equal(got, got.deep.up)
      assert_alike(value, got)
    end)

    it("of a value that two fields share is kept (V5)", function()
      local shared = { 1 }
      local got = send { x = shared, y = shared, z = { 1 } }
      assert.is_true(got.x == got.y)
      assert.is_false(got.x == got.z)
    end)

    it("is kept between the values of one message (V5)", function()
      local shared = {}
      local a, b, c = send(shared, { shared }, {})
      assert.is_true(a == b[1])
      assert.is_false(a == c)
    end)

    it("of tables as keys is kept (V11)", function()
      local key = { id = 1 }
      local value = { [key] = key, list = { key }, [{ id = 2 }] = {} }
      value[value] = { id = 3 }
      value.id = 4
      local got = send(value)
      assert.equal(got.list[1], got[got.list[1]])
      assert_alike(value, got)
    end)

    it("is the receiver's own (V10)", function()
      local value = { deep = { 1 } }
      local got = send(value)
      assert.is_false(got == value or got.deep == value.deep)
      got.deep[1] = 2
      assert.equal(1, value.deep[1])
    end)
  end)

  it("of functions, even as keys, is kept (V5, V11)", function()
    local function one() return 1 end
    local got = call(function(...) return ... end, { one, { one }, [one] = "one" })
    assert.is_true(got[1] == got[2][1])
    assert.equal("one", got[got[1]])
    assert.equal(1, got[1]())
  end)

  it("of an argument stays as it was at the start of the job (V10)", function()
    local value = { 1, deep = { 2 } }
    local answer
    local job = gma2workers.RunAsync {
      tasks = { { func = function(v) return v[1] + v.deep[1] end, args = { value } } },
      onComplete = function(response) answer = response.result[1].data end,
    }
    value[1], value.deep = 100, nil
    job:wait(20)
    assert.equal(3, answer)
  end)

  it("is not shared with a host function (V10) #native", function()
    local kept
    crossing.with_gma({ keep = function(value) kept, value[1] = value, "changed" end }, function()
      assert.equal("mine", call(function()
        local value = { "mine" }
        gma.keep(value)
        return value[1]
      end))
    end)
    assert.same({ "changed" }, kept)
  end)

  it("of one argument is new for each task (V10)", function()
    local shared = { count = 0 }
    local function add(value)
      value.count = value.count + 1
      return value.count
    end
    local tasks = {}
    for i = 1, 20 do
      tasks[i] = { func = add, args = { shared } }
    end
    for _, entry in ipairs(gma2workers.RunSync { tasks = tasks, workers = 2 }.result) do
      assert.equal(1, entry.data)
    end
    assert.equal(0, shared.count)
  end)
end)

describe("a value that cannot cross", function()
  local kinds = {
    coroutine = function() return coroutine.create(print) end,
    userdata = function() return io.tmpfile() end,
    ["C function"] = function() return string.gmatch("a", "a") end,
  }
  -- The value's place in the second argument, and the path in the message.
  local places = {
    [""] = function(value) return value end,
    [".x.y"] = function(value) return { x = { y = value } } end,
    [".deep.h"] = function(value) return { 1, 2, deep = { ok = true, h = value } } end,
    ["[3]"] = function(value) return { 1, 2, value } end,
    ["[1][2]"] = function(value) return { { true, value } } end,
    ['["two words"]'] = function(value) return { ["two words"] = value } end,
    ["[2.5][true]"] = function(value) return { [2.5] = { [true] = value } } end,
    ["[-1]"] = function(value) return { [-1] = value } end,
  }

  local function assert_refused(entry, kind, place)
    assert.is_false(entry.success)
    assert.equal("transfer", entry.kind)
    local message = ("cannot send a %s (at %s)"):format(kind, place)
    assert.is_truthy(entry.data:find(message, 1, true), entry.data .. " does not say " .. message)
  end

  -- Within one state, functions pass as they are.
  local tags = { ["C function"] = " #native" }

  for kind, make in pairs(kinds) do
    local tag = tags[kind] or ""
    it(("is named with its place among the arguments: a %s (V7)%s"):format(kind, tag), function()
      for path, put in pairs(places) do
        assert_refused(run(print, { "first", put(make()) }), kind, "args[2]" .. path)
      end
    end)

    it(("is named with its place among the results: a %s (V7)%s"):format(kind, tag), function()
      for path, put in pairs(places) do
        local entry = run(function(place, value) return "first", place(value()) end, { put, make })
        assert_refused(entry, kind, "returns[2]" .. path)
      end
    end)

    it(("is refused as a key: a %s (V7)%s"):format(kind, tag), function()
      local entry = run(print, { { deep = { [make()] = 1 } } })
      assert.equal("transfer", entry.kind)
      assert.is_truthy(entry.data:find(("cannot send a %s (at args[1].deep"):format(kind), 1, true), entry.data)
    end)

    it(("raises an error at a host call that sends it or has it as answer: a %s (V7) #native"):format(kind), function()
      local function caught(value)
        local _, sent = pcall(function() gma.probe { x = value() } end)
        local _, answered = pcall(function() gma.make() end)
        return sent, answered, gma.probe(5)
      end
      crossing.with_gma({ probe = function(...) return ... end, make = make }, function()
        local sent, answered, still = call(caught, make)
        assert.is_truthy(sent:find(("values_spec.lua:%%d+: .*cannot send a %s"):format(kind)), sent)
        assert.is_truthy(answered:find(("values_spec.lua:%%d+: .*cannot send a %s"):format(kind)), answered)
        assert.equal(5, still)
      end)
    end)
  end

  it("fails only its own task (V7)", function()
    local tasks = {}
    for i = 1, 10 do
      tasks[i] = { func = function(n) return n end, args = { i, i == 4 and coroutine.create(print) or nil } }
    end
    for i, entry in ipairs(gma2workers.RunSync { tasks = tasks, workers = 2 }.result) do
      assert.equal(i ~= 4, entry.success)
    end
  end)

  it("makes a result fail, without a hang or a nil (V7)", function()
    local entry = run(function() return coroutine.create(print) end, {})
    assert_refused(entry, "coroutine", "result")
  end)
end)

describe("metatables", function()
  local touched

  -- A table with every metamethod, each of which would be noticed.
  local function guarded()
    local function touch() touched = true end
    local meta = { __metatable = "locked", __mode = "kv", __name = "Guarded" }
    for _, event in ipairs { "__index", "__newindex", "__pairs", "__ipairs", "__len", "__eq", "__tostring", "__call",
      "__concat", "__unm" } do
      meta[event] = touch
    end
    return setmetatable({ 1, 2, field = { "kept" } }, meta)
  end

  each_way(function(send)
    it("stay behind, and none of their metamethods runs (V8)", function()
      touched = false
      local got = send(guarded())
      assert.is_nil(getmetatable(got))
      assert.same({ 1, 2, field = { "kept" } }, got)
      assert.is_false(touched)
    end)
  end)

  it("stay behind on the way out of a task (V8)", function()
    local got = call(function(given)
      local value = setmetatable({ own = 1 }, { __index = error, __pairs = error, __len = error, __gc = type })
      return { value, given }
    end, guarded())
    assert.same({ { own = 1 }, { 1, 2, field = { "kept" } } }, got)
    assert.is_nil(getmetatable(got[1]))
  end)

  it("with a finalizer are finalized only on the host, once (V8)", function()
    local finalized = 0
    local value = setmetatable({ 1 }, { __gc = function() finalized = finalized + 1 end })
    assert.same({ 1 }, call(function(v) return v end, value))
    collectgarbage()
    assert.equal(0, finalized)
    value = nil -- luacheck: ignore 311
    collectgarbage()
    assert.equal(1, finalized)
  end)

  it("of a class with a finalizer are finalized once, however often they cross (V24)", function()
    local finalized = 0
    crossing.with_gma({ finalized = function() finalized = finalized + 1 end }, function()
      crossing.with_preload({ finalized = function()
        local Class = { __gc = function() gma.finalized() end }
        Class.__index = Class
        function Class.is_there() return true end
        return { Class = Class, new = function() return setmetatable({}, Class) end }
      end }, function()
        local module = require "finalized"
        local object = module.new()
        assert.is_true(call(function(o, p) collectgarbage() return rawequal(o, p) and o.is_there() end, object, object))
        local got = call(function(o) return o end, object)
        assert.is_true(got.is_there())
        assert.equal("function", type(module.Class.__gc))
        got = nil -- luacheck: ignore 311
        collectgarbage()
        assert.equal(0, finalized)
        object = nil -- luacheck: ignore 311
        collectgarbage()
        assert.equal(1, finalized)
        -- One that a task has made is that task's.
        assert.is_true(call(function() local made = module.new() return made end).is_there())
        collectgarbage()
        assert.is_true(finalized <= 2, finalized)
      end)
    end)
  end)
end)
