-- A task can't use more memory than its state may; it fails, and no other task does.

local gma2workers = require "gma2workers"
local crossing = require "spec.fixtures.crossing"
local refusal = require "spec.fixtures.refusal"
local running = require "spec.fixtures.running"

local RunSync, info = gma2workers.RunSync, gma2workers.info
local each_mode, tasks_of, with_gma = running.each_mode, running.tasks, crossing.with_gma

local MIB = 1 << 20
local LIMIT = 8 * MIB
local function identity(...) return ... end
local function mebibytes(n) return ("x"):rep(n << 20) end

local function fill()
  local list = {}
  for i = 1, math.huge do list[i] = { i } end
  return list
end

-- The records of these tasks, which run on one worker under a limit.
local function entries(tasks, mode, limit)
  return RunSync({ tasks = tasks, workers = 1, mode = mode, memoryLimit = limit or LIMIT }).result
end

local function assert_no_memory(entry)
  -- Lua's message may be longer, and have a position in front.
  assert.is_truthy(tostring(entry.data):find("^Error: .*not enough memory"), entry.data)
  entry.traceback, entry.data = nil, nil
  assert.same({ success = false, kind = "memory" }, entry)
end

-- A debug build runs the many cases of each kind in the mode in which a worker keeps its state.
local function tag_of(mode) return mode == "cmd" and " #long" or "" end

local eaters = {
  ["many tables"] = fill,
  ["one long table"] = function() local list = {} for i = 1, math.huge do list[i] = i end return list end,
  ["one table with many names"] = function() local map = {} for i = 1, math.huge do map["key " .. i] = i end return map end,
  ["many strings"] = function() local list = {} for i = 1, math.huge do list[i] = ("x"):rep(1000) .. i end return list end,
  ["a doubled string"] = function() local text = "x" while true do text = text .. text end end,
  ["string.rep"] = function() return #("x"):rep(100 << 20) end,
  ["string.gsub"] = function() return #("x"):rep(1 << 20):gsub("x", ("y"):rep(100)) end,
  ["string.format"] = function() local text = ("x"):rep(3 << 20) return #("%s%s%s"):format(text, text, text) end,
  ["table.concat"] = function()
    local list, text = {}, ("x"):rep(100000)
    for i = 1, 200 do list[i] = text end
    return #table.concat(list)
  end,
  ["closures"] = function() local list = {} for i = 1, math.huge do list[i] = function() return i end end return list end,
  ["coroutines"] = function()
    local list = {}
    for i = 1, math.huge do
      list[i] = coroutine.wrap(coroutine.yield)
      list[i]()
    end
  end,
  ["a recursion"] = function()
    local function deeper(list) return #deeper({ list, {}, {} }) end
    deeper()
  end,
  ["a coroutine's tables"] = function() coroutine.wrap(fill)() end,
  ["tables of a coroutine in a coroutine"] = function() coroutine.wrap(function() coroutine.wrap(fill)() end)() end,
  ["a sort comparator"] = function() table.sort({ 3, 2, 1 }, fill) end,
  ["a gsub callback"] = function() return (("x"):gsub("x", fill)) end,
  ["a metamethod"] = function() return setmetatable({}, { __index = fill }).x end,
  ["an xpcall handler's error"] = function() local _, problem = xpcall(error, fill) return #problem, fill() end,
  ["a table with its collector stopped (I10)"] = function() collectgarbage("stop") fill() end,
  ["a table with a lazy collector (I10)"] = function() collectgarbage("setpause", 100000) fill() end,
}

describe("a task that takes more memory than it may #native", function()
  each_mode(function(mode)
    for name, func in pairs(eaters) do
      it(("fails by %s, and the next task on its worker does not (T1)%s"):format(name, tag_of(mode)), function()
        local result = entries({ { func = identity, args = { 1 } }, { func = func }, { func = identity, args = { 3 } },
          { func = func }, { func = identity, args = { 5 } } }, mode)
        for i, entry in ipairs(result) do
          if i % 2 == 1 then
            assert.same({ success = true, data = i }, entry)
          else
            assert_no_memory(entry)
          end
        end
        assert.equal(0, info.lost)
      end)
    end

    it("can catch the error and go on, again and again", function()
      local function careful(fail)
        local caught = {}
        for i = 1, 5 do
          caught[i] = select(2, pcall(fail))
        end
        local ok, inside = coroutine.resume(coroutine.create(fail))
        return caught[1], caught[5], ok, inside, #("x"):rep(1 << 20)
      end
      local text = "not enough memory"
      assert.same({ text, text, false, text, MIB, n = 5 }, entries({ { func = careful, args = { fill } } }, mode)[1].returns)
    end)
  end)

  it("fails without a limit of the job's own, too: there is always a limit (T1)", function()
    -- Requested at once, so it is refused before any of it is used.
    local result = RunSync({ tasks = { { func = function() return #("x"):rep(0x7ffffff0) end }, { func = identity, args = { 2 } } },
      workers = 1 }).result
    assert_no_memory(result[1])
    assert.equal(2, result[2].data)
  end)
end)

describe("freed memory #native", function()
  it("does not count: garbage under a small limit", function()
    for _, limit in ipairs { MIB, 2 * MIB, LIMIT } do
      assert.equal(100000, entries({ { func = function()
        local last
        for i = 1, 100000 do last = { ("x"):rep(100) .. i, i } end
        return last[2]
      end } }, nil, limit)[1].data)
    end
  end)

  it("does not count if the collector was stopped, either (I10)", function()
    local entry = entries({ { func = function()
      collectgarbage("stop")
      local text, last = ("x"):rep(1 << 20), nil
      for i = 1, 100 do last = text .. i end
      return #last
    end } })[1]
    assert.equal(MIB + 3, entry.data)
  end)

  it("does not count: memory of earlier tasks", function()
    for _, mode in ipairs(running.MODES) do
      for i, entry in ipairs(entries(tasks_of(10, function(n) _G.kept = ("x"):rep(3 << 20) return #_G.kept + n end), mode)) do
        assert.equal(3 * MIB + i, entry.data)
      end
    end
  end)
end)

describe("memoryLimit #native", function()
  it("is each state's own, not the job's", function()
    local here = 0
    local engine = { arrive = function() here = here + 1 end, all = function() return here == 3 end }
    with_gma(engine, function()
      local response = RunSync { workers = 3, memoryLimit = LIMIT, tasks = tasks_of(3, function(n, ask_until)
        local text = ("x"):rep(3 << 20)
        gma.arrive()
        return ask_until(gma.all) and #text + n
      end, running.ask_until) }
      assert.same({ 3 * MIB + 1, 3 * MIB + 2, 3 * MIB + 3 }, running.data(response))
    end)
  end)

  it("is each job's own on the same worker", function()
    local function take() return #("x"):rep(20 << 20) end
    for _ = 1, 3 do
      assert.equal(20 * MIB, RunSync({ tasks = { { func = take } }, workers = 1 }).result[1].data)
      assert_no_memory(entries({ { func = take } })[1])
      assert.equal(20 * MIB, entries({ { func = take } }, nil, 64 * MIB)[1].data)
      assert_no_memory(entries({ { func = take } }, nil, 16384)[1])
    end
  end)

  it("that is too small for the libraries fails the task (E13)", function()
    for _, mode in ipairs(running.MODES) do
      for _, limit in ipairs { 16384, 20000 } do
        -- Where addresses are short, the libraries alone may fit.
        local function work() return ("x"):rep(20000) end
        for _, entry in ipairs(RunSync({ tasks = tasks_of(5, work), workers = 2, mode = mode, memoryLimit = limit }).result) do
          assert_no_memory(entry)
        end
      end
      assert.equal(1, crossing.call(identity, 1))
    end
  end)

  it("leads to a result or to that error at whatever allocation it is reached (E13, V12)", function()
    local function work(list, helper)
      local sum = coroutine.wrap(function() return helper(list[1]) + #gma.get() end)()
      return sum, { list[2], text = ("%d"):format(sum) }
    end
    local function fail(list) error({ list[2] }) end
    local function double(n) return 2 * n end
    with_gma({ get = function() return { 1, 2, 3 } end, show = { getobj = { handle = function() end } } }, function()
      for _, mode in ipairs(running.MODES) do
        local seen = {}
        for limit = 17000, 200000, 3000 do
          local args = { { 5, "x", { ("x"):rep(5000) } }, double }
          local good, bad = table.unpack(entries({ { func = work, args = args }, { func = fail, args = args } }, mode, limit))
          seen[good.kind or "good"] = true
          if good.success then
            assert.same({ 13, { "x", text = "13" }, n = 2 }, good.returns)
          else
            assert.same({ "memory", limit }, { good.kind, limit }, good.data)
          end
          assert.is_true(bad.kind == "memory" or bad.kind == "runtime" and bad.error[1] == "x", bad.data)
        end
        assert.same({ good = true, memory = true }, seen)
      end
    end)
  end)

  it("counts the memory of an error on its way (T15)", function()
    local function fail()
      collectgarbage("stop")
      local text = ("x"):rep(30000)
      error { text, text .. 1, text .. 2 }
    end
    for _, mode in ipairs(running.MODES) do
      local seen = {}
      for limit = 30000, 250000, 2000 do
        local entry = entries({ { func = fail } }, mode, limit)[1]
        seen[entry.kind] = true
        assert.equal(entry.kind == "runtime" and 30000 or nil, entry.error and #entry.error[1], limit)
      end
      assert.same({ memory = true, runtime = true }, seen)
    end
  end)

  it("counts the memory of a result on its way (T15)", function()
    local results = {
      ["a text"] = { function(n) return ("x"):rep(n << 20) end, 3, 5 },
      ["several"] = { function(n) return ("x"):rep(n << 19), ("y"):rep(n << 19) end, 3, 5 },
      ["texts in a table"] = { function(n) local t = {} for i = 1, n do t[i] = ("x"):rep(1 << 20) .. i end return t end, 3, 5 },
      -- 16 bytes here, and 9 in the message.
      ["numbers"] = { function(n) local t = {} for i = 1, n << 16 do t[i] = i end return t end, 2, 6 },
    }
    for name, case in pairs(results) do
      local make, little, much = table.unpack(case)
      local tasks = { { func = make, args = { little } }, { func = make, args = { much } }, { func = make, args = { little } } }
      for _, mode in ipairs(running.MODES) do
        local first, second, third = table.unpack(entries(tasks, mode))
        assert.same({ name, true, true }, { name, first.success, third.success })
        assert_no_memory(second)
      end
    end
    -- Garbage does not count.
    assert.equal(3 * MIB, #entries { { func = function()
      collectgarbage("stop")
      local text
      for i = 1, 3 do text = ("x"):rep((2 << 20) + i) end
      return ("x"):rep(1 << 20) .. text
    end } }[1].data - 3)
    local function raise(n) error { text = ("x"):rep(n << 20) } end
    local raised = entries { { func = raise, args = { 3 } }, { func = raise, args = { 5 } } }
    assert.equal(3 * MIB, #raised[1].error.text)
    assert.is_nil(raised[2].error)
  end)

  it("counts the arguments of a host call on their way (T15)", function()
    with_gma({ size = function(text) return #text end }, function()
      local function ask(n) return gma.size(("x"):rep(n << 20)) end
      local few, many = table.unpack(entries { { func = ask, args = { 3 } }, { func = ask, args = { 5 } } })
      assert.equal(3 * MIB, few.data)
      assert_no_memory(many)
    end)
  end)

  describe("must be a whole number of bytes above 0", function()
    refusal.each("memoryLimit", { 0, -1, 1.5, 0 / 0, 1 / 0, "big", "1024", {}, true, print },
      { "0", "-1", "1.5", "", "inf", '"big"', '"1024"', "a table", "true", "a function" })
  end)

  it("may be a whole float, such as 2^23", function()
    assert.equal(1, entries({ { func = identity, args = { 1 } } }, nil, 2.0 ^ 23)[1].data)
    assert_no_memory(entries({ { func = fill } }, nil, 8e6)[1])
  end)
end)

describe("a long text that a message contains again and again", function()
  local COUNT = 300

  local function named_often()
    local text, list = ("x"):rep(1 << 20), {}
    for i = 1, 300 do
      list[i] = i % 3 == 0 and { text = text } or i % 3 == 1 and text or { [text] = i }
    end
    return list
  end

  -- How many more KiB the state uses for the result of `make`.
  local function taken(make)
    collectgarbage()
    local before = collectgarbage("count")
    local value = make()
    collectgarbage()
    return collectgarbage("count") - before, value
  end

  it("is one text as a result (V15)", function()
    local kib, list = taken(function() return crossing.call(named_often) end)
    assert.is_true(kib < 2048, kib)
    assert.equal(COUNT, #list)
    assert.equal(MIB, #list[COUNT].text)
    assert.equal(COUNT - 1, list[COUNT - 1][list[1]])
  end)

  it("is one text as an argument, and through a host call (V15) #native", function()
    local engine = { probe = function(...) return ... end }
    with_gma(engine, function()
      for _, entry in ipairs(entries({
        { func = function(list, text) return #list, list[1] == text end, args = { named_often(), ("x"):rep(1 << 20) } },
        { func = function(...)
          local one, other, list = gma.probe(...)
          return #list, one == other
        end, args = (function() local list = named_often() return { list[1], list[1], list } end)() },
      })) do
        assert.same({ COUNT, true, n = 2 }, entry.returns, entry.data)
      end
    end)
  end)

  it("is one text even if it lies deeper than Lua's stack is long (V15) #native #long", function()
    local kib = taken(function()
      return crossing.call(function()
        local text, list = ("x"):rep(1 << 20), {}
        for i = 1, 600000 do list = { list, i % 10000 == 0 and text or nil } end
        return list
      end)
    end)
    assert.is_true(kib < 70 * 1024, kib)
  end)
end)

describe("a value #native", function()
  local function deep(levels)
    local value = {}
    for _ = 1, levels do value = { value } end
    return value
  end
  local function wide(count)
    local list = {}
    for i = 1, count do list[i] = { i } end
    return list
  end
  local big = {
    ["a string"] = mebibytes(16), ["a table of strings"] = { 1, { mebibytes(3) .. 1, mebibytes(3) .. 2, mebibytes(3) .. 3 } },
    ["many tables"] = wide(200000), ["a deep table"] = deep(200000), ["many keys"] = (function()
      local map = {}
      for i = 1, 200000 do map["key " .. i] = i end
      return map
    end)(),
    ["a function"] = load("return '" .. mebibytes(9) .. "'"),
  }

  each_mode(function(mode)
    for name, value in pairs(big) do
      it(("that is too large as an argument is that task's error: %s (V12)%s"):format(name, tag_of(mode)), function()
        local began = 0
        with_gma({ began = function() began = began + 1 end }, function()
          local result = entries({ { func = function() gma.began() end, args = { 1, value, 2 } },
            { func = identity, args = { 2 } } }, mode)
          assert_no_memory(result[1])
          assert.same({ success = true, data = 2 }, result[2])
        end)
        assert.equal(0, began)
      end)

      it(("that is too large as a host's answer can be caught at the call: %s (V12)%s"):format(name, tag_of(mode)), function()
        with_gma({ get = function(what) return 1, what == "big" and value or "small", 3 end }, function()
          local entry = entries({ { func = function()
            local caught = table.pack(pcall(gma.get, "big"))
            return caught.n, caught[1], caught[2], gma.get("small")
          end } }, mode)[1]
          assert.same({ 2, false, 1, "small", 3 }, { entry.returns[1], entry.returns[2], table.unpack(entry.returns, 4) })
          assert.is_truthy(entry.returns[3]:find("not enough memory$"), entry.returns[3])
        end)
      end)
    end

    it("that is too large as a host's answer is the task's error if it is not caught (V12)", function()
      with_gma({ get = function() return big["many tables"] end }, function()
        local result = entries({ { func = function() return #gma.get() end }, { func = identity, args = { 2 } } }, mode)
        assert.same({ false, "memory", 2 }, { result[1].success, result[1].kind, result[2].data }, result[1].data)
        assert.is_truthy(result[1].data:find("not enough memory$"), result[1].data)
      end)
    end)
  end)

  it("that is too large among the globals fails each task (V12)", function()
    rawset(_G, "large_text", big["a string"])
    local result = RunSync({ tasks = tasks_of(3, identity), workers = 2, globals = { "large_text" }, memoryLimit = LIMIT }).result
    rawset(_G, "large_text", nil)
    for _, entry in ipairs(result) do
      assert_no_memory(entry)
    end
  end)

  it("that fits comes back complete, however near the limit (V12)", function()
    local function make(count)
      local list = {}
      for i = 1, count do list[i] = { i, tostring(i) } end
      return list
    end
    local counts, kinds = {}, {}
    for count = 10000, 90000, 10000 do
      local entry = entries({ { func = make, args = { count } } })[1]
      counts[#counts + 1] = entry.success and #entry.data == count and entry.data[count][2] == tostring(count) or nil
      kinds[#kinds + 1] = entry.kind
    end
    assert.is_true(#counts >= 3 and #kinds >= 1 and #counts + #kinds == 9, #counts .. " fit")
    for _, kind in ipairs(kinds) do
      assert.equal("memory", kind)
    end
  end)
end)
