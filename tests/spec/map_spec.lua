-- Map: a function over a list.

local gma2workers = require "gma2workers"
local crossing = require "spec.fixtures.crossing"
local running = require "spec.fixtures.running"
local stops = require "spec.fixtures.stops"

local Map, with_gma = gma2workers.Map, crossing.with_gma
local HERE = debug.getinfo(1, "S").short_src

local function line_here()
  return debug.getinfo(2, "l").currentline
end

-- The error of a call, without its position, which must be that line of this file.
local function raised(line, call)
  local ok, message = pcall(call)
  assert.is_false(ok)
  local where = ("%s:%d: "):format(HERE, line)
  assert.equal(where, message:sub(1, #where))
  return (message:sub(#where + 1):gsub(HERE:gsub("%p", "%%%0"), "spec.lua"))
end

local function square(n)
  return n * n
end

local function squares(n)
  local list = {}
  for i = 1, n do
    list[i] = i * i
  end
  return list
end

describe("Map", function()
  running.each_mode(function(mode)
    it("returns the results in the list's order, whatever the chunks and workers", function()
      for _, count in ipairs { 0, 1, 2, 63, 64, 65, 1000 } do
        for _, chunk in ipairs { 0, 1, 2, 7, 64, 5000 } do
          local options = { mode = mode, chunk = chunk > 0 and chunk or nil, workers = 3 }
          assert.same(squares(count), Map(square, running.count_to(count), options))
        end
      end
    end)
  end)

  it("needs no options", function()
    assert.same({ "1", "2" }, Map(function(n) return tostring(n) end, { 1, 2 }))
  end)

  it("passes each item alone, and keeps the first of several results", function()
    local function count(...) return select("#", ...), "more" end
    for _, chunk in ipairs { 1, 2, 300 } do
      assert.same({ 1, 1, 1 }, Map(count, { "a", "b", "c" }, { chunk = chunk }))
    end
    assert.same({ 11, 255 }, Map(tonumber, { "11", "255" }))
    assert.same({ "A", "B" }, Map(string.upper, { "a", "b" }))
  end)

  it("passes the item's index after it with index = true", function()
    for _, chunk in ipairs { 1, 2, 300 } do
      assert.same({ "a1", "b2", "c3" },
        Map(function(item, index) return item .. index end, { "a", "b", "c" }, { chunk = chunk, index = true }))
    end
    -- More values than go over the stack at once.
    assert.same(squares(300), Map(function(n, index) return n * index end, running.count_to(300), { chunk = 300, index = true }))
    assert.same({ 1, 1 }, Map(select, { "#", "#" }, { index = true }))
    assert.same({ 0 }, Map(select, { "#" }, { index = false }))
  end)

  it("passes the arguments in args after the item, and after its index", function()
    local function join(...)
      local parts = table.pack(...)
      for i = 1, parts.n do parts[i] = tostring(parts[i]) end
      return table.concat(parts, " ")
    end
    assert.same({ "a 1 2", "b 1 2" }, Map(join, { "a", "b" }, { args = { 1, 2 } }))
    assert.same({ "a 1 x", "b 2 x" }, Map(join, { "a", "b" }, { args = { "x" }, index = true, chunk = 2 }))
    assert.same({ "a nil 2 nil" }, Map(join, { "a" }, { args = { nil, 2, nil, n = 3 } }))
    assert.same({ "a", "b" }, Map(join, { "a", "b" }, { args = {} }))
    assert.same({ 255, 16 }, Map(tonumber, { "ff", "10" }, { args = { 16 } }))
    local object = setmetatable({ by = 10 }, { __call = function(self, item, index, more) return self.by * item + index + more end })
    assert.same({ 111, 122 }, Map(object, { 1, 2 }, { index = true, args = { 100 } }))
    assert.same({ 31 }, Map(setmetatable({}, { __call = function(_, item, add) return item + add end }), { 1 }, { args = { 30 } }))
  end)

  it("calls on after the function has changed its globals", function()
    local function add(item, more)
      rawset(_G, "table", nil)
      return item + more
    end
    local before = table
    local results = Map(add, { 1, 2, 3 }, { chunk = 3, args = { 10 } })
    rawset(_G, "table", before)
    assert.same({ 11, 12, 13 }, results)
  end)

  it("accepts nil as a result, and then says how many results there are", function()
    local function odd(n) return n % 2 == 1 and n or nil end
    for _, chunk in ipairs { 1, 2, 4 } do
      assert.same({ 1, nil, 3, nil, n = 4 }, Map(odd, { 1, 2, 3, 4 }, { chunk = chunk }))
    end
    -- The results are a list for the next call.
    local function is_nil(n) return n == nil end
    assert.same({ false, true, false, true }, Map(is_nil, Map(odd, { 1, 2, 3, 4 })))
    assert.same({ true, true, n = nil }, Map(is_nil, table.pack(nil, nil)))
    assert.same({ n = 3 }, Map(function() end, { 1, 2, 3 }))
  end)

  it("does not change the list, and reads it raw", function()
    local list = setmetatable({ 1, 2, 3 }, { __index = function() error("was read") end, __len = function() error("was asked") end })
    assert.same({ 1, 4, 9 }, Map(square, list))
    assert.same({ 1, 2, 3 }, { rawget(list, 1), rawget(list, 2), rawget(list, 3) })
    local tables = { { 1 }, { 2 } }
    local given = Map(function(item) item[1] = item[1] * 10 return item end, tables)
    assert.same({ { 1 }, { 2 } }, tables)
    assert.same({ { 10 }, { 20 } }, given)
  end)

  it("accepts callable values", function()
    local times = setmetatable({ by = 10 }, { __call = function(self, item) return self.by * item end })
    assert.same({ 10, 20, 30 }, Map(times, { 1, 2, 3 }))
    assert.same({ 1, 2 }, Map(math.abs, { -1, 2 }))
    local floor = math.floor
    assert.same({ 1, 2 }, Map(function(n) return floor(n) end, { 1.5, 2.5 }))
    with_gma({ label = function(item, index) return item .. " is " .. index end }, function()
      assert.same({ "a is 1", "b is 2" }, Map(gma.label, { "a", "b" }, { index = true }))
    end)
  end)

  it("runs on the given number of workers", function()
    local count = 0
    with_gma({ come = function() count = count + 1 end, all = function() return count == 3 end, sleep = function() end }, function()
      if gma2workers.info.backend == "native" then
        local ask_until = running.ask_until
        local met = Map(function() gma.come() return ask_until(gma.all) end, { 1, 2, 3 }, { workers = 3, chunk = 1 })
        assert.same({ true, true, true }, met)
      end
    end)
  end)

  it("passes on the options of a job #native", function()
    local rate = 5
    assert.same({ 5, 10 }, Map(function(n) return n * rate end, { 1, 2 }, { upvalues = "copy" }))
    _G.map_spec_global = 7
    local function scale(n) return n * map_spec_global end -- luacheck: ignore 113
    local ok, results = pcall(Map, scale, { 1, 2 }, { globals = { "map_spec_global" } })
    _G.map_spec_global = nil
    assert.same({ true, { 7, 14 } }, { ok, results })
    assert.same({ "nil" }, Map(function() return type(io) end, { 1 }, { sandbox = true }))
    local record = Map(function(n) return #("x"):rep(n) end, { 1 << 28 }, { memoryLimit = 1 << 26, onError = "collect" })[1]
    assert.same({ false, "memory" }, { record.success, record.kind })
  end)

  it("reports progress in items, and all of them at the end", function()
    local told = {}
    Map(square, running.count_to(100), { chunk = 7, onProgress = function(done, total) told[#told + 1] = { done, total } end })
    for i, pair in ipairs(told) do
      assert.equal(100, pair[2])
      assert.is_true(i == 1 or pair[1] > told[i - 1][1])
      assert.is_true(pair[1] % 7 == 0 or pair[1] == 100)
    end
    assert.same({ 100, 100 }, told[#told])
  end)

  it("raises an error of onProgress", function()
    local ok, message = pcall(Map, square, { 1, 2, 3 }, { onProgress = function() error("in progress", 0) end })
    assert.same({ false, "in progress" }, { ok, message })
  end)

  it("times each item separately if there is a time limit: each has a state #native", function()
    local function count() counter = (counter or 0) + 1 return counter end -- luacheck: ignore 111 113
    assert.same({ 1, 2, 3, 4 }, Map(count, { 1, 2, 3, 4 }, { workers = 1, chunk = 4 }))
    assert.same({ 1, 1, 1, 1 }, Map(count, { 1, 2, 3, 4 }, { workers = 1, timeout = 60 }))
    assert.same({ 1, 2, 1, 2 }, Map(count, { 1, 2, 3, 4 }, { workers = 1, timeout = 60, chunk = 2 }))
  end)

  it("chooses chunks so that small items share a task #native", function()
    local function count() counter = (counter or 0) + 1 return counter end -- luacheck: ignore 111 113
    local most = 0
    for _, n in ipairs(Map(count, running.count_to(100000), { workers = 2 })) do
      most = math.max(most, n)
    end
    assert.equal(128, most)
    -- A few items are divided among all workers.
    assert.same({ 1, 1, 1, 1 }, Map(count, { 1, 2, 3, 4 }, { workers = 2 }))
  end)

  it("is not available in a task", function()
    if gma2workers.info.backend == "cooperative" then
      local record = Map(function() gma2workers.Map(tostring, { 1 }) end, { 1 }, { onError = "collect" })[1]
      assert.truthy(record.data:find("gma2workers is not available in a worker: start jobs on the host", 1, true))
    else
      local record = Map(function() require("gma2workers").Poll() end, { 1 }, { onError = "collect" })[1]
      assert.truthy(record.data:find("gma2workers is not available in a worker: start jobs on the host", 1, true))
    end
  end)
end)

describe("a failure in Map", function()
  it("is raised at the caller's line: the first in the list, with its own place", function()
    local function fail(n)
      if n >= 3 then
        error("no " .. n)
      end
      return n
    end
    local place = debug.getinfo(fail, "S").linedefined + 2
    for _, chunk in ipairs { 1, 2, 3, 10 } do
      local line = line_here() + 1
      local message = raised(line, function() Map(fail, running.count_to(10), { chunk = chunk, workers = 4 }) end)
      assert.equal(("list[3]: spec.lua:%d: no 3"):format(place), message)
    end
  end)

  it("is a text, whatever was raised", function()
    local function fail(n)
      if n == 1 then
        error(setmetatable({}, { __tostring = function() return "as text" end }))
      end
      error()
    end
    assert.equal("list[1]: as text", raised(line_here(), function() Map(fail, { 1 }) end))
    assert.equal("list[1]: nil", raised(line_here(), function() Map(fail, { 2 }) end))
    assert.equal("list[1]: bad argument #1 to 'func' (number expected, got string)",
      raised(line_here() + 1, function()
        Map(math.sqrt, { "x" }) end))
  end)

  it("names a captured variable, with its own place #native", function()
    local rate = 5
    local function rated(n) return n * rate end
    local place = debug.getinfo(rated, "S").linedefined
    local expected = ("upvalue 'rate' (a number) of the function at spec.lua:%d cannot cross: pass it in args, or set "
      .. 'upvalues = "copy"'):format(place)
    assert.equal(expected, raised(line_here(), function() Map(rated, { 1, 2 }) end))
    for _, record in ipairs(Map(rated, { 1, 2 }, { onError = "collect" })) do
      assert.same({ false, "upvalue" }, { record.success, record.kind })
      assert.equal(expected, (record.data:gsub("^Error: ", ""):gsub(HERE:gsub("%p", "%%%0"), "spec.lua")))
    end
    assert.equal("cannot send a C function (at func)", raised(line_here(), function() Map(io.stdout.write, { 1 }) end))
  end)

  it("hints at a global of the host #native", function()
    _G.map_spec_clean = tostring
    local function clean(n) return map_spec_clean(n) end -- luacheck: ignore 113
    local line = line_here() + 1
    local ok, message = pcall(raised, line, function() Map(clean, { 1 }) end)
    local record = Map(clean, { 1 }, { onError = "collect" })[1]
    _G.map_spec_clean = nil
    assert.is_true(ok, message)
    for _, text in ipairs { message, record.data } do
      assert.truthy(text:find('the host has it, a task does not (list it in globals = { "map_spec_clean" })', 1, true))
    end
  end)

  it("names the item that can't cross, or the part of a result that can't", function()
    local list = { 1, 2, { deep = { h = coroutine.create(print) } }, 4 }
    local function bad(n) return n == 2 and { h = coroutine.create(print) } or n end
    for _, chunk in ipairs { 1, 3, 4 } do
      assert.equal("cannot send a coroutine (at list[3].deep.h): send the function it runs, and make it there",
        raised(line_here() + 1, function()
          Map(type, list, { chunk = chunk }) end))
      assert.equal("list[2]: cannot send a coroutine (at result.h): send the function it runs, and make it there",
        raised(line_here() + 1, function()
          Map(bad, { 1, 2, 3 }, { chunk = chunk }) end))
    end
  end)

  it("names what can't cross of a callable table", function()
    local callable = setmetatable({ h = coroutine.create(print) }, { __call = function(_, item) return item end })
    assert.equal("cannot send a coroutine (at func.h): send the function it runs, and make it there",
      raised(line_here(), function() Map(callable, { 1, 2 }) end))
  end)

  it("to end in time is raised for the items of that task #native", function()
    local function hang(n) while n == 3 do end return n end
    for chunk, items in ipairs { "list[3]", "list[3] to list[4]" } do
      local message, limit = stops.response_in_time(function(timeout)
        return raised(line_here(), function() Map(hang, { 1, 2, 3, 4 }, { timeout = timeout, chunk = chunk }) end)
      end, function(message) return message:sub(1, #items) ~= items end)
      assert.equal(("%s: timed out after %g s"):format(items, limit), message)
    end
  end)

  for _, chunk in ipairs { 1, 2, 8 } do
    it(("is only its item's record if failures are collected, in chunks of %d"):format(chunk), function()
      local function inner(n)
        if n == 2 then
          error("two")
        elseif n == 3 then
          error({ code = 3 })
        elseif n == 4 then
          return { h = coroutine.create(print) }
        elseif n == 5 then
          error(coroutine.create(print))
        elseif n == 6 then
          return nil
        end
        return { n }
      end
      local list = { 1, 2, 3, 4, 5, 6, coroutine.create(print), 8 }
      local records = Map(inner, list, { onError = "collect", chunk = chunk, workers = 2 })
      assert.equal(8, #records)
      assert.same({ success = true, data = { 1 } }, records[1])
      assert.same({ success = true }, records[6])
      assert.same({ success = true, data = { 8 } }, records[8])
      local first = debug.getinfo(inner, "S").linedefined
      assert.same({ false, "runtime", ("Error: %s:%d: two"):format(HERE, first + 2) },
        { records[2].success, records[2].kind, records[2].data })
      assert.same({ false, "runtime", { code = 3 } }, { records[3].success, records[3].kind, records[3].error })
      assert.same({ success = false, kind = "transfer",
        data = "Error: cannot send a coroutine (at result.h): send the function it runs, and make it there" }, records[4])
      assert.same({ false, "runtime", nil }, { records[5].success, records[5].kind, records[5].error })
      assert.same({ success = false, kind = "transfer",
        data = "Error: cannot send a coroutine (at list[7]): send the function it runs, and make it there" }, records[7])
      for _, i in ipairs { 2, 3, 5 } do
        local traceback = records[i].traceback
        assert.truthy(traceback:find("^stack traceback:\n\t%[C%]: in function 'error'\n\t[^\n]*:%d+: in [^\n]*$"), traceback)
        assert.is_nil(traceback:find("gma2workers/map", 1, true))
      end
      -- The list is unchanged.
      assert.equal("thread", type(list[7]))
    end)
  end

  it("to end in time costs only the items of that task #native", function()
    local function hang(n) while n == 3 do end return n end
    for chunk, expected in ipairs { { 1, 2, "timeout", 4 }, { 1, 2, "timeout", "timeout" } } do
      local records = stops.response_in_time(function(limit)
        return Map(hang, { 1, 2, 3, 4 }, { timeout = limit, onError = "collect", chunk = chunk })
      end, function(list) return list[1].kind or list[2].kind or (list[4].kind or 4) ~= expected[4] end)
      for i, record in ipairs(records) do
        assert.equal(expected[i], record.kind or record.data)
        local traceback = record.traceback
        assert.is_true(record.success or traceback:find("map_spec", 1, true) ~= nil and not traceback:find("gma2workers/map", 1, true))
      end
    end
  end)

  it("has its traceback in a sandbox, too #native", function()
    local record = Map(function() error("x") end, { 1 }, { onError = "collect", sandbox = true })[1]
    assert.truthy(record.traceback:find("map_spec", 1, true), record.traceback)
  end)
end)

describe("Ctrl-C in Map #cooperative", function()
  it("ends it, even if failures are collected", function()
    with_gma(nil, function()
      local begun = {}
      local ok, message = pcall(Map, function(n)
        begun[#begun + 1] = n
        error("spec.lua:1: interrupted!", 0)
      end, { 1, 2, 3 }, { onError = "collect", chunk = 3 })
      assert.same({ false, "spec.lua:1: interrupted!", { 1 } }, { ok, message, begun })
      assert.equal(0, gma2workers.Poll())
    end)
  end)
end)

describe("Map with onComplete", function()
  running.each_mode(function(mode)
    it("returns a job, and passes on the results when all are there", function()
      local calls = {}
      local job = Map(square, running.count_to(100), { mode = mode, chunk = 7,
        onComplete = function(...) calls[#calls + 1] = table.pack(...) end })
      assert.same({}, calls)
      assert.truthy(job.id:find("^Job_%d+$"))
      assert.equal(100, select(3, job:status()))
      assert.same(squares(100), job:wait())
      assert.same({ "done", 100, 100 }, { job:status() })
      -- Another pump may call it.
      running.poll_until(function() return calls[1] end)
      assert.same(squares(100), calls[1][1])
      assert.is_nil(calls[1][2])
      assert.equal(1, #calls)
      assert.same(squares(100), job:wait())
    end)
  end)

  it("passes on the first failure instead of results, and so does waiting", function()
    local got
    local job = Map(function(n) if n > 1 then error("no " .. n, 0) end end, { 1, 2, 3 },
      { onComplete = function(...) got = table.pack(...) end })
    local message = raised(line_here(), function() local results = job:wait() return results end)
    assert.equal("list[2]: no 2", message)
    running.poll_until(function() return got end)
    assert.same({ nil, "list[2]: no 2", n = 2 }, got)
  end)

  it("passes on records if failures are collected", function()
    local got
    local job = Map(function(n) if n > 1 then error("no " .. n, 0) end return n end, { 1, 2 },
      { onError = "collect", onComplete = function(...) got = table.pack(...) end })
    assert.equal("Error: no 2", job:wait()[2].data)
    running.poll_until(function() return got end)
    assert.same({ { success = true, data = 1 }, "Error: no 2", false }, { got[1][1], got[1][2].data, got[1][2].success })
    assert.is_nil(got[2])
  end)

  for _, onError in ipairs { "raise", "collect" } do
    it("ends when it is cancelled, with onError = " .. onError, function()
      local got
      local engine, open = running.gate()
      with_gma(engine, function()
        local job = Map(running.pass_gate, { 1, 2, 3 }, { onError = onError, onComplete = function(...) got = table.pack(...) end })
        assert.is_true(job:cancel())
        open()
        if onError == "raise" then
          assert.equal("cancelled", raised(line_here(), function() local results = job:wait() return results end))
        end
        pcall(job.wait, job)
        assert.same({ "cancelled", 3, 3 }, { job:status() })
      end)
      running.poll_until(function() return got end)
      if onError == "raise" then
        assert.same({ nil, "cancelled", n = 2 }, got)
      else
        for _, record in ipairs(got[1]) do
          assert.same({ false, "cancelled", "Error: cancelled" }, { record.success, record.kind, record.data })
        end
        assert.equal(3, #got[1])
      end
    end)
  end

  it("calls it for an empty list, too, after Map has returned", function()
    local got
    local job = Map(square, {}, { onComplete = function(results) got = results end })
    assert.is_nil(got)
    assert.same({}, job:wait())
    running.poll_until(function() return got end)
    assert.same({}, got)
  end)
end)

describe("a wrong call of Map is refused at the caller's line", function()
  local count = 0
  local function note() count = count + 1 end

  local function refuses(expected, ...)
    local arguments = table.pack(...)
    -- A job left by an earlier test must not count here.
    repeat until gma2workers.Poll() == 0
    local line = line_here() + 1
    local message = raised(line, function() Map(table.unpack(arguments, 1, arguments.n)) end)
    assert.truthy(message:find(expected, 1, true), message)
    assert.equal(0, count)
    assert.equal(0, gma2workers.Poll())
  end

  it("because of its arguments", function()
    refuses "bad argument #1 to 'Map' (function expected, got no value)"
    refuses("bad argument #1 to 'Map' (function expected, got table)", {}, { 1 })
    refuses("bad argument #2 to 'Map' (table expected, got no value)", print)
    refuses("bad argument #2 to 'Map' (table expected, got string)", print, "list")
    refuses("bad argument #3 to 'Map' (table or nil expected, got number)", print, {}, 5)
  end)

  it("because of its list", function()
    refuses("bad argument #2 to 'Map' (list[2] is missing: the list has a hole (list[3] is there)", note, { 1, nil, 3 })
    refuses("(list[1] is missing: the list has a hole (list[5] is there)", note, { [5] = 1 })
    refuses("(list[3] is missing: the list has a hole (list[4] is there)", note, setmetatable({ 1, 2, [4] = 1 }, {}))
    refuses("(a list expected, but it has a field 'name')", note, { 1, 2, name = "x" })
    refuses("(a list expected, but it has a boolean as a key)", note, { [true] = 1 })
    refuses("(a list that starts at 1 expected, but it has [0])", note, { [0] = 1 })
    refuses("(list.n must be a whole number of items, got -1)", note, { n = -1 })
    refuses("(list.n must be a whole number of items, got many)", note, { n = "many" })
  end)

  it("because of its options", function()
    local items = "option 'chunk' must be a whole number of items above 0, got "
    for _, wrong in ipairs { 0, -1, 1.5, "4", true, {} } do
      refuses(items .. (type(wrong) == "table" and "a table" or type(wrong) == "string" and '"4"' or tostring(wrong)), note, { 1 },
        { chunk = wrong })
    end
    refuses('option \'onError\' must be "raise" or "collect", got "ignore"', note, { 1 }, { onError = "ignore" })
    refuses("option 'onTrouble' is unknown: the options are chunk, onError, args, index, ", note, { 1 }, { onTrouble = "raise" })
    refuses("option 'chunks' is unknown: did you mean 'chunk'?", note, { 1 }, { chunks = 5 })
    refuses("option 'onerror' is unknown: did you mean 'onError'?", note, { 1 }, { onerror = "raise" })
    refuses("option 'tasks' is unknown: the options are chunk, onError, ", note, { 1 }, { tasks = {} })
    refuses("option 'workers' must be a whole number from 1 to 256, got 0", note, { 1 }, { workers = 0 })
    refuses("option 'onComplete' must be a function, got 5", note, { 1 }, { onComplete = 5 })
    refuses("option 'onProgress' must be a function, got 5", note, { 1 }, { onProgress = 5 })
    refuses("option 'progress' must be a title as text, got 5", note, { 1 }, { progress = 5 })
    refuses("option 'timeout' must be a number of seconds above 0, got 0", note, { 1 }, { timeout = 0 })
    refuses("option 'globals'[1] must be the name of a global, got 'no_such_global'", note, { 1 }, { globals = { "no_such_global" } })
    refuses("option 'args' has a field 'x', which would be lost: ", note, { 1 }, { args = { x = 1 } })
    refuses("option 'args' has a value at [0], which would be lost: arguments are numbered from 1", note, { 1 }, { args = { [0] = 1 } })
    refuses("option 'args'.n must be a whole number of arguments, got 1.5", note, { 1 }, { args = { n = 1.5 } })
    refuses("option 'args' must hold 0 to 250 arguments, got 251: pass them in one table", note, { 1 }, { args = { n = 251 } })
    refuses("cannot send a coroutine (at args[2].deep)", type, { 1 }, { args = { 1, { deep = coroutine.create(print) } } })
    refuses("options have names, but there is a value at [1]: write { chunk = 10 }", note, { 1 }, { 5 })
    -- Options of the other calls are not Map's, nor the other way round.
    local ok, message = pcall(gma2workers.RunSync, { tasks = {}, chunk = 5 })
    assert.is_false(ok)
    assert.truthy(message:find("option 'chunk' is unknown", 1, true))
  end)
end)
