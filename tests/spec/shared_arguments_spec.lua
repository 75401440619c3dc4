-- A table or a long text that is an argument of several tasks crosses once, and each task still has it to itself.

local gma2workers = require "gma2workers"

local RunSync = gma2workers.RunSync
local MODES = { "timer", "cmd" }

--- Describes a value with all that it holds. Tables that are identical have the same number.
local function digest(value)
  local numbers, out, count = {}, {}, 0
  local function name(what)
    local kind = math.type(what) or type(what)
    if kind == "table" or kind == "function" then
      return kind
    end
    local text = tostring(what)
    return string.format("%s %s of %d", kind, string.sub(text, 1, 20), #text)
  end
  local function add(what)
    if type(what) ~= "table" then
      out[#out + 1] = name(what)
    elseif numbers[what] then
      out[#out + 1] = "table " .. numbers[what]
    else
      count = count + 1
      numbers[what] = count
      local keys = {}
      for key in next, what do
        keys[#keys + 1] = key
      end
      table.sort(keys, function(a, b) return name(a) < name(b) end)
      out[#out + 1] = string.format("table %d of %d, metatable %s {", count, rawlen(what), tostring(getmetatable(what)))
      for _, key in ipairs(keys) do
        out[#out + 1] = name(key) .. " ="
        add(rawget(what, key))
      end
      if type(rawget(what, "get")) == "function" then
        out[#out + 1] = "captured"
        add(what.get())
      end
      out[#out + 1] = "}"
    end
  end
  add(value)
  return table.concat(out, " ")
end

--- A table with lists, rows, a long text, references to itself and a function that has captured a table.
local function new_table(rows)
  local t = { list = {}, rows = {}, text = ("long"):rep(500), name = "x", deep = { deep = { deep = {} } } }
  for i = 1, 50 do t.list[i] = i * 3 % 7 end
  for i = 1, rows or 300 do t.rows[i] = { id = i, name = "Fixture " .. i, level = i / 2 } end
  t.deep.deep.top, t.first = t, t.rows[1]
  local captured = { 1, 2, { t.rows[2] } }
  function t.get() return captured end
  return t
end

local function look(t)
  return digest(t)
end

local function look_again(t)
  collectgarbage()
  return digest(t)
end

-- `t` is the argument.
local spoilers = {
  ["plain assignments"] = "t.name, t.list[1], t.rows[3].id, t.deep, t.more = 5, 'one', {}, nil, { t }",
  ["rawset"] = "rawset(t, 'name', 5) rawset(t.rows, 1, nil) rawset(t.list, 51, 1)",
  ["every field set to nil"] = "for key in next, t do t[key] = nil end",
  ["every field of every row"] = "for _, row in ipairs(t.rows) do for key in next, row do row[key] = 'mine' end end",
  ["table.insert"] = "table.insert(t.list, 1, 0) table.insert(t.rows, { id = 0 })",
  ["table.remove"] = "table.remove(t.list) table.remove(t.rows, 1)",
  ["table.sort"] = "table.sort(t.list) table.sort(t.rows, function(a, b) return a.id > b.id end)",
  ["table.move"] = "table.move(t.list, 1, 40, 11) table.move({ 9, 9, 9 }, 1, 3, 1, t.rows)",
  ["a metatable"] = "setmetatable(t, { __index = t.rows[1], __newindex = rawset }) t.id = 3 setmetatable(t.deep, { __metatable = 1 })",
  ["a metatable with a weak mode, and a collection"] = "setmetatable(t.rows, { __mode = 'kv' }) t.first = nil collectgarbage()",
  ["a finalizer"] = "setmetatable(t, { __gc = function(o) o.name = 'gone' end }) t = nil collectgarbage()",
  ["the table that a function of its has captured"] = "t.get()[1] = 'mine' t.get()[3][1].id = 0",
  ["debug.setupvalue"] = "debug.setupvalue(t.get, 1, t.rows) select(2, debug.getupvalue(t.get, 1))[1] = 'mine'",
  ["debug.upvaluejoin"] = "local mine = {} debug.upvaluejoin(t.get, 1, function() return mine end, 1)",
  ["debug.setlocal, of a coroutine"] = "local c = coroutine.create(function(o) coroutine.yield() o[1], o.name = 'mine', 5 end) "
    .. "coroutine.resume(c, t) debug.setlocal(c, 1, 1, t.rows) assert(coroutine.resume(c)) kept = c",
  ["debug.setmetatable"] = "debug.setmetatable(t, { __index = t.rows[1] }) debug.setmetatable(t.get, { __index = t }) "
    .. "debug.setmetatable(1, { __index = t, __add = rawset }) debug.setmetatable('', { __index = t }) debug.setmetatable(nil, t)",
  ["debug.setuservalue"] = "kept = io.tmpfile() local has = debug.setuservalue(kept, t) " ..
    "if has then debug.getuservalue(kept).name = 5 end t.rows = kept",
  ["metamethods"] = "local meta = { __newindex = t, __index = t, __concat = function(a, b) t[1] = b return '' end, "
    .. "__eq = function() t.list = nil return true end } local a, b = setmetatable({}, meta), setmetatable({}, meta) "
    .. "a.name, a.rows[1].id = 'mine', 0 assert(a .. 'x' == '' and a == b and t.list == nil)",
  ["a coroutine left suspended in a metamethod"] = "local function index(_, key) t[key] = 1 coroutine.yield(t) end "
    .. "local o = setmetatable({}, { __index = index }) kept = coroutine.wrap(function() pcall(function() return o.name end) end) kept()",
  ["a C library"] = "kept = require('consolenative').clock assert(kept()) t.name, t.rows[1] = kept, kept",
  ["a coroutine left suspended"] = "kept = coroutine.wrap(function(o) while true do o.name = 'y' coroutine.yield() end end) kept(t) kept()",
  ["a global that keeps it"] = "kept = t kept.name = 5 t = nil",
  ["a table that grows"] = "for i = 1, 20000 do t[i] = i t.rows['r' .. i % 5000] = i end",
  ["a table that grows past a megabyte"] = "for i = 1, 200000 do t.list[i] = i end",
  ["a table that shrinks"] = "for i = #t.rows, 1, -1 do t.rows[i] = nil end for i = 1, 9 do t.rows['r' .. i] = i end collectgarbage()",
  ["garbage in place of it"] = "for key in next, t do t[key] = nil end collectgarbage() for i = 1, 5000 do t[i] = { i, 'text' .. i } end",
  ["the collector"] = "collectgarbage('setpause', 1) for i = 1, 20000 do local x = { i } end collectgarbage('stop') t.x = 1",
  ["an error"] = "t.name, t.list = 5, nil error('on purpose')",
  ["an error in a coroutine"] = "coroutine.wrap(function() t.name = nil error('on purpose') end)()",
  ["an endless recursion"] = "local function f() t[#t + 1] = 1 return 1 + f() end f()",
  ["all memory"] = "for i = 1, math.huge do t[i] = { i, t.name } end",
  ["no end"] = "while true do t[#t % 100 + 1], t.name = {}, #t end",
  ["no end, within pcall"] = "while true do pcall(function() while true do t[#t % 100 + 1], t.name = {}, #t end end) end",
}

-- A small argument is not worth it to be shared, so the tables here are not small.

describe("a task has an argument of several tasks to itself (V16, I1) #native", function()
  for _, mode in ipairs(MODES) do
    for name, code in pairs(spoilers) do
      it(name .. ", in mode " .. mode, function()
        local t = new_table()
        local spoil = assert(load("local t = ... " .. code, "=spoiler"))
        local before, tasks = digest(t), {}
        local never_ends = name:find("^no end") ~= nil
        local funcs = never_ends and { look, spoil, look } or { look, spoil, look, spoil, look_again, spoil, look }
        for i, func in ipairs(funcs) do
          tasks[i] = { func = func, args = { t }, timeout = never_ends and func == spoil and 0.1 or nil }
        end
        local options = { workers = 1, mode = mode, tasks = tasks, upvalues = "copy", memoryLimit = 24 << 20 }
        local result = RunSync(options).result
        for i = 1, #funcs, 2 do
          assert.is_true(result[i].success, result[i].data)
          assert.equal(before, result[i].data)
        end
        if never_ends then assert.equal("timeout", result[2].kind) end
        if name == "all memory" then assert.equal("memory", result[2].kind) end
        -- The next job finds the arguments in the state that this one has left.
        options.tasks = { tasks[1], tasks[3] }
        assert.equal(before, RunSync(options).result[1].data)
        assert.equal(before, digest(t))
      end)
    end
  end

  -- Of a state this large, only the pages that a task has written to are restored.
  for name, code in pairs(spoilers) do
    if not name:find("^no end") then
      it(name .. ", with a table of some megabytes #long", function()
        local t = new_table(6500)
        local spoil = assert(load("local t = ... " .. code, "=spoiler"))
        local before, tasks = digest(t), {}
        for i, func in ipairs { spoil, look, spoil, look_again } do
          tasks[i] = { func = func, args = { t } }
        end
        local result = RunSync({ workers = 1, tasks = tasks, upvalues = "copy", memoryLimit = 24 << 20 }).result
        for _, i in ipairs { 2, 4 } do
          assert.is_true(result[i].success, result[i].data)
          assert.is_true(before == result[i].data, "the task found another table")
        end
      end)
    end
  end

  it("each page of a table of some megabytes, once or again and again: those that only read never see it #long", function()
    local t = new_table(6500)
    local function spoil(o) for _, row in ipairs(o.rows) do row.id, row.name = 0, nil end collectgarbage() end
    local function check(o, from)
      local _ = ("text"):rep(from)
      for i = from, #o.rows, 97 do
        local row = o.rows[i]
        if row.id ~= i or row.name ~= "Fixture " .. i or row.level ~= i / 2 then return i end
      end
      return #o.rows
    end
    local before, tasks = digest(t), {}
    for i = 1, 200 do
      local spoils = i == 1 or i == 40 or i > 70 and i % 2 == 0
      tasks[i] = { func = spoils and spoil or i % 20 == 5 and look or check, args = { t, i } }
    end
    for i, entry in ipairs(RunSync({ workers = 1, tasks = tasks, upvalues = "copy" }).result) do
      assert.is_true(entry.success, entry.data)
      local func = tasks[i].func
      assert.is_true(func == spoil or entry.data == (func == look and before or 6500), "task " .. i .. " found another table")
    end
  end)

  it("a function without side effects leaves it as it is", function()
    local t = new_table()
    local function read(list) return list.list end
    local tasks = {}
    for i = 1, 40 do tasks[i] = { func = i % 2 == 0 and look or read, args = { t } } end
    local before = digest(t)
    for i, entry in ipairs(RunSync({ workers = 1, tasks = tasks, upvalues = "copy" }).result) do
      assert.is_true(entry.success, entry.data)
      assert.same(i % 2 == 0 and before or t.list, entry.data)
    end
  end)

  it("a cancelled task", function()
    local t = new_table()
    local function spoil(o) while true do o.name, o[#o % 100 + 1] = #o, {} gma.started() end end
    local job
    local host = { started = function() job:cancel() end }
    local tasks = {}
    for i = 1, 4 do tasks[i] = { func = spoil, args = { t } } end
    require("spec.fixtures.crossing").with_gma(host, function()
      job = gma2workers.RunAsync({ workers = 1, tasks = tasks, upvalues = "copy", onComplete = function() end })
      local response = job:wait()
      assert.is_true(response.cancelled)
    end)
    for i = 1, 4 do tasks[i].func = look end
    for _, entry in ipairs(RunSync({ workers = 1, tasks = tasks, upvalues = "copy" }).result) do
      assert.equal(digest(t), entry.data)
    end
  end)
end)

describe("arguments of several tasks (V16)", function()
  --- Runs one task for each list of arguments, on one worker, and returns what each saw.
  local function seen(lists, options)
    local job = { workers = 1, tasks = {}, upvalues = "copy" }
    for name, value in pairs(options or {}) do job[name] = value end
    for i, args in ipairs(lists) do job.tasks[i] = { func = function(...) return digest { ... } end, args = args } end
    local found = {}
    for i, entry in ipairs(RunSync(job).result) do found[i] = entry.data end
    return found
  end

  it("are what each task would get alone: parts of one another, and parts of its own arguments", function()
    local a, b, c = { name = "a" }, { name = "b" }, { name = "c", rows = new_table().rows }
    a.b, b.a, c.list = b, a, { a, b, { a } }
    local text = ("text"):rep(1000)
    a.text, c[text] = text, true
    local part = c.list[3]
    local lists = {
      { 1, 2 }, { "short", text }, { a }, { b, a }, { { a, { b } }, a, part }, { c, part, a, a }, { part, { c.list } }, { text, { text } },
      { c, { [a] = b, [text] = part } }, { b, c, text, { text, c.list } }, {}, { { 1 }, { part } },
    }
    local together = seen(lists)
    for i, args in ipairs(lists) do
      assert.equal(digest(args), together[i])
      assert.equal(seen({ args })[1], together[i])
    end
  end)

  it("may be functions' captures: tables and variables stay one #native", function()
    local captured = { 1 }
    local t = { get = function() return captured end, other = captured, rows = new_table().rows }
    local function own() return captured end
    local function compare(shared, func, list)
      return shared.get() == shared.other, func() == shared.other, list[1] == shared.other
    end
    local tasks = {}
    for i = 1, 4 do tasks[i] = { func = compare, args = { t, own, { captured } } } end
    for _, entry in ipairs(RunSync({ workers = 2, tasks = tasks, upvalues = "copy" }).result) do
      assert.same({ true, true, true, n = 3 }, entry.returns)
    end
  end)

  it("are the same for many workers, and in each mode", function()
    local t = new_table()
    t.get = nil
    for _, mode in ipairs(MODES) do
      local lists = {}
      for i = 1, 16 do lists[i] = { t, i } end
      for i, found in ipairs(seen(lists, { workers = 4, mode = mode })) do
        assert.equal(digest { t, i }, found)
      end
    end
  end)

  it("may be as many as the tasks, and differ from job to job", function()
    for round = 1, 3 do
      local tables, lists = {}, {}
      for i = 1, 30 do tables[i] = { round, i, tables[i - 1] } end
      for i = 1, 90 do lists[i] = { tables[i % 30 + 1], tables[i * 7 % 30 + 1] } end
      for i, found in ipairs(seen(lists)) do
        assert.equal(digest(lists[i]), found)
      end
      assert.same({ digest {}, digest { round } }, seen { {}, { round } })
    end
  end)

  it("may be a callable table, which is the first argument", function()
    local function multiply(self, n) return self.factor * n + #self.rows end
    local object = setmetatable({ factor = 3, rows = new_table().rows }, { __call = multiply })
    local tasks = {}
    for i = 1, 20 do tasks[i] = { func = object, args = { i } } end
    for i, entry in ipairs(RunSync({ tasks = tasks, workers = 2 }).result) do
      assert.equal(3 * i + 300, entry.data)
    end
  end)

  it("may be in lists of arguments with gaps, or with many", function()
    local t, lists = { "t", rows = new_table().rows }, {}
    for i = 1, 10 do lists[i] = table.pack(nil, t, nil, i, t, nil) end
    for i = 11, 20 do
      lists[i] = {}
      for n = 1, 30 do lists[i][n] = n % 3 == 0 and t or n end
    end
    local function count(...)
      local first, found = nil, 0
      for n = 1, select("#", ...) do
        local value = select(n, ...)
        if type(value) == "table" then
          first = first or value
          found = found + (value == first and value[1] == "t" and 1 or 0)
        end
      end
      return found, select("#", ...)
    end
    local tasks = {}
    for i, args in ipairs(lists) do tasks[i] = { func = count, args = args } end
    for i, entry in ipairs(RunSync({ tasks = tasks, workers = 2 }).result) do
      assert.same(i <= 10 and { 2, 6, n = 2 } or { 10, 30, n = 2 }, entry.returns)
    end
  end)
end)

describe("an argument of several tasks that can't cross (V7, V16) #native", function()
  it("fails each task that has it, with the task's own place; other tasks and arguments are left alone", function()
    local bad, good = { deep = { h = io.stdout } }, new_table()
    local tasks = {}
    for i = 1, 30 do
      local args = i % 3 == 0 and { good, bad } or i % 3 == 1 and { { wrapped = bad }, i } or { i, good }
      tasks[i] = { func = look, args = args }
    end
    for i, entry in ipairs(RunSync({ tasks = tasks, workers = 2, upvalues = "copy" }).result) do
      local place = i % 3 == 0 and "args[2].deep.h" or "args[1].wrapped.deep.h"
      if i % 3 == 2 then
        assert.is_true(entry.success, entry.data)
      else
        assert.equal("transfer", entry.kind)
        assert.is_truthy(entry.data:find("cannot send a userdata (at " .. place .. ")", 1, true), entry.data)
      end
    end
  end)

  it("a part of it that can cross, crosses", function()
    local part = { "part", new_table().rows }
    local bad, tasks = { part, io.stdout }, {}
    for i = 1, 20 do tasks[i] = { func = look, args = { i % 2 == 0 and bad or part } } end
    for i, entry in ipairs(RunSync({ tasks = tasks, workers = 1 }).result) do
      assert.equal(i % 2 == 0 and "transfer" or nil, entry.kind)
      assert.is_true(i % 2 == 0 or entry.data == digest(part))
    end
  end)

  it("its state lacks a part of it: the reason is told, and other arguments are there", function()
    local bad, good = { write = io.write }, new_table()
    local holds_bad, tasks = { bad = bad }, {}
    for i = 1, 30 do
      tasks[i] = { func = type, args = { i % 3 == 0 and bad or i % 3 == 1 and holds_bad or good } }
    end
    local alone = RunSync({ tasks = { { func = type, args = { bad } } }, sandbox = true }).result[1]
    assert.is_false(alone.success)
    for i, entry in ipairs(RunSync({ tasks = tasks, workers = 1, sandbox = true, upvalues = "copy" }).result) do
      if i % 3 == 2 then
        assert.equal("table", entry.data)
      else
        assert.same({ alone.kind, alone.data }, { entry.kind, entry.data })
      end
    end
  end)

  it("is larger than the memory limit: its tasks tell that, and the others run (T1)", function()
    local large = {}
    for i = 1, 100000 do large[i] = { i } end
    local tasks = {}
    for i = 1, 60 do tasks[i] = { func = type, args = { i % 2 == 0 and large or i } } end
    for _ = 1, 2 do
      for i, entry in ipairs(RunSync({ tasks = tasks, workers = 2, memoryLimit = 2 << 20 }).result) do
        assert.equal(i % 2 == 0 and "memory" or nil, entry.kind)
        assert.is_true(i % 2 == 0 or entry.data == "number")
      end
    end
    assert.equal("table", RunSync({ tasks = tasks, workers = 2 }).result[2].data)
  end)
end)
