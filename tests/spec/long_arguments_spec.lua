-- Arguments so long that a worker decodes their beginning while the host still encodes the rest.

local gma2workers = require "gma2workers"
local running = require "spec.fixtures.running"

local RunSync, RunAsync = gma2workers.RunSync, gma2workers.RunAsync

-- A list of so many rows, some 40 bytes each in a message.
local function rows(count, number)
  local list = {}
  for i = 1, count do
    list[i] = { id = i, name = ("row %d of %d"):format(i, number or 0) }
  end
  return list
end

local COUNT = 13000

-- What a task says of a list of rows: how many there are, from where, or which one is wrong.
local function judge(list, number)
  for i, row in ipairs(list) do
    if row.id ~= i or row.name ~= ("row %d of %d"):format(i, number or 0) or next(row, next(row, next(row))) then
      return ("row %d is wrong"):format(i)
    end
  end
  return #list
end

local function only(func, ...)
  local record = RunSync { tasks = { { func = func, args = table.pack(...) } } }.result[1]
  return record.success and record.data or error(record.data, 0)
end

describe("long arguments", function()
  running.each_mode(function(mode)
    it("of several tasks arrive, beside short ones (V21)", function()
      local tasks = {}
      for i = 1, 9 do
        tasks[i] = { func = judge, args = { rows(i % 3 == 0 and 5 or COUNT, i), i } }
      end
      local response = RunSync { mode = mode, workers = 3, tasks = tasks }
      assert.equal(0, response.failed)
      for i, record in ipairs(response.result) do
        assert.equal(i % 3 == 0 and 5 or COUNT, record.data)
      end
    end)

    it("arrive behind short arguments of other tasks (V21)", function()
      local tasks = { { func = judge, args = { rows(10, 1), 1 } }, { func = judge, args = { rows(20, 2), 2 } },
        { func = judge, args = { rows(COUNT, 3), 3 } }, { func = judge, args = { rows(30, 4), 4 } } }
      local result = RunSync { mode = mode, workers = 3, tasks = tasks }.result
      assert.same({ 10, 20, COUNT, 30 }, { result[1].data, result[2].data, result[3].data, result[4].data })
    end)

    it("leave nothing to the tasks that follow (V21) #native", function()
      local function first(list)
        local before = _G.mark
        _G.mark = #list
        rawset(string, "mark", "mark")
        return before
      end
      local function second(list) return _G.mark == nil and rawget(string, "mark") == nil and #list end
      local response = RunSync { mode = mode, workers = 1, tasks = { { func = first, args = { rows(COUNT) } },
        { func = second, args = { rows(10) } }, { func = second, args = { rows(COUNT) } } } }
      assert.equal(0, response.failed)
      assert.is_nil(response.result[1].data)
      assert.same({ 10, COUNT }, { response.result[2].data, response.result[3].data })
    end)
  end)

  it("of a hundred tasks arrive (V21)", function()
    local tasks, lists = {}, { rows(7000), rows(7000), rows(7000) }
    for i = 1, 100 do
      -- The last row is each task's own, so no list is the same.
      tasks[i] = { func = judge, args = { table.move(lists[i % 3 + 1], 1, 6999, 1, { [7000] = { id = 7000, name = "row 7000 of 0" } }) } }
    end
    local response = RunSync { workers = 2, tasks = tasks }
    assert.equal(0, response.failed)
    for _, record in ipairs(response.result) do assert.equal(7000, record.data) end
  end)

  it("keep their number, nils and places (V21)", function()
    local says = only(function(check, ...)
      local count, none, first, no, second = select("#", ...), ...
      return { count, none == nil, check(first), no, check(second, 1), (select(5, ...)) }
    end, judge, nil, rows(COUNT), false, rows(COUNT, 1), nil)
    assert.same({ 5, true, COUNT, false, COUNT }, says)
    local many = { n = 2000 }
    for i = 1, 2000 do many[i] = i % 7 ~= 0 and rows(8, i) or nil end
    says = RunSync { tasks = { { func = function(...)
      local sum = 0
      for i = 1, select("#", ...) do sum = sum + #(select(i, ...) or "") end
      return { select("#", ...), sum }
    end, args = many } } }.result[1]
    assert.same({ 2000, 8 * (2000 - 285) }, says.data)
  end)

  it("keep what is shared, and cycles, across all blocks (V21)", function()
    local list, shared, text = {}, { "shared" }, ("long "):rep(20)
    for i = 1, COUNT do
      list[i] = { i, list, shared, text, i > 8000 and list[i - 7999] or nil }
    end
    list.last, list[list] = list[COUNT], { [shared] = text }
    assert.equal("same", only(function(got, also, other)
      local part = got[1][3]
      assert(got == also and other == part)
      for i, row in ipairs(got) do
        assert(row[1] == i and row[2] == got and row[3] == part and row[4] == ("long "):rep(20))
        assert(row[5] == (i > 8000 and got[i - 7999] or nil))
      end
      assert(got.last == got[#got] and got[got][part] == ("long "):rep(20))
      return "same"
    end, list, list, shared))
  end)

  it("that refer late to something old arrive all the same (V21)", function()
    local list = {}
    for i = 1, 40000 do list[i] = { i } end
    list[40001] = list[5]
    for _, before in ipairs { 0, 1 } do
      local tasks = {}
      for i = 1, before do tasks[i] = { func = rows, args = { i } } end
      tasks[before + 1] = { func = function(got, again)
        for i = 1, 40000 do assert(got[i][1] == i) end
        return got[40001] == got[5] and again == got[7] and #got
      end, args = { list, list[7] } }
      tasks[before + 2] = { func = judge, args = { rows(COUNT) } }
      local result = RunSync { tasks = tasks, workers = 3 }.result
      assert.equal(40001, result[before + 1].data)
      assert.equal(COUNT, result[before + 2].data)
    end
  end)

  it("have fields, nested tables and long texts of any size (V21)", function()
    local deep, map = {}, {}
    local at = deep
    for i = 1, 300 do
      at.next, at.text = {}, ("x"):rep(i * 10)
      at = at.next
    end
    for i = 1, COUNT do map["key " .. i] = { i, { i / 2 } } end
    local value = { deep = deep, map = map, text = ("y"):rep(1 << 20), list = { map, ("z"):rep(300000) } }
    assert.same(value, only(function(got) return got end, value))
    -- Half a million levels, behind a block.
    local bottom = {}
    at = bottom
    for _ = 1, 500000 do at[1] = {} at = at[1] end
    assert.same({ COUNT, 500000 }, only(function(check, list, chain)
      local levels = 0
      while chain[1] do levels, chain = levels + 1, chain[1] end
      return { check(list), levels }
    end, judge, rows(COUNT), bottom))
  end)

  it("have functions, and what crosses by name, wherever it stands (V21)", function()
    for _, place in ipairs { 1, COUNT // 2, COUNT } do
      local list = rows(COUNT)
      list[place].func, list[place].upper, list[place].lib = function(n) return n + 1 end, string.upper, math
      assert.same({ COUNT, 8, "AB", true }, only(function(got, at)
        local row = got[at]
        return { #got, row.func(7), row.upper("ab"), row.lib.sin == math.sin }
      end, list, place))
    end
  end)

  it("follow a callable table (V21)", function()
    local callable = setmetatable({ count = 3 }, { __call = function(self, list) return self.count + #list end })
    assert.equal(COUNT + 3, only(callable, rows(COUNT)))
  end)

  it("come to a job with globals, host functions and an init (V21) #native", function()
    rawset(_G, "pipe_factor", 3)
    local response = RunSync { workers = 2, globals = { "pipe_factor" }, host = { add = function(a, b) return a + b end },
      init = { func = function(list) _G.base = #list end, args = { rows(COUNT) } },
      tasks = { { func = function(list) return _G.host.add(#list * _G.pipe_factor, _G.base) end, args = { rows(COUNT) } } } }
    local plain = RunSync { globals = { "pipe_factor" }, host = { add = function(a, b) return a + b end }, sandbox = true,
      tasks = { { func = function(list) return _G.host.add(#list * _G.pipe_factor, 1) end, args = { rows(COUNT) } } } }
    rawset(_G, "pipe_factor", nil)
    assert.equal(4 * COUNT, response.result[1].data)
    assert.equal(3 * COUNT + 1, plain.result[1].data)
  end)

  it("that several tasks share arrive once, beside long ones of their own (V21)", function()
    local shared, tasks = rows(COUNT), {}
    for i = 1, 4 do
      tasks[i] = { args = { shared, rows(COUNT, i), i, judge }, func = function(all, own, number, check)
        return check(all) + check(own, number)
      end }
    end
    local response = RunSync { workers = 2, tasks = tasks }
    for i = 1, 4 do assert.equal(2 * COUNT, response.result[i].data) end
  end)

  it("that can't cross are the task's failure alone, however much has left (V22) #native", function()
    local list, other = rows(COUNT), rows(COUNT)
    list[COUNT + 1] = { deep = { h = io.stdout } }
    for _, before in ipairs { 0, 1 } do
      local tasks = {}
      for i = 1, before do tasks[i] = { func = judge, args = { rows(7) } } end
      tasks[before + 1] = { func = judge, args = { 1, list } }
      tasks[before + 2] = { func = judge, args = { other } }
      local result = RunSync { workers = 3, tasks = tasks }.result
      local failed = result[before + 1]
      assert.equal("transfer", failed.kind)
      local says = ("Error: cannot send a userdata (at args[2][%d].deep.h)"):format(COUNT + 1)
      assert.equal(says, failed.data:sub(1, #says))
      assert.equal(COUNT, result[before + 2].data)
      if before == 1 then assert.equal(7, result[1].data) end
    end
  end)

  it("of a list that is refused at its end start nothing (V22) #native", function()
    local calls = 0
    local function touch(list)
      _G.host.touch()
      return #list
    end
    local list = rows(COUNT)
    for _ = 1, 5 do
      local ok, message = pcall(RunSync, { host = { touch = function() calls = calls + 1 end }, workers = 2,
        tasks = { { func = touch, args = { list } }, { func = touch, args = { list }, timeout = "soon" } } })
      assert.is_false(ok)
      assert.truthy(message:find("tasks[2].timeout", 1, true), message)
    end
    assert.equal(0, calls)
    assert.equal(0, #gma2workers.jobs())
    local result = RunSync { host = { touch = function() calls = calls + 1 end }, workers = 2,
      tasks = { { func = touch, args = { list } }, { func = touch, args = { rows(3) } } } }.result
    assert.same({ COUNT, 3, 2 }, { result[1].data, result[2].data, calls })
  end)

  it("fail where they exceed the state's memory, and no other does (V22) #native", function()
    local response = RunSync { workers = 1, memoryLimit = 3 << 20, tasks = {
      { func = judge, args = { rows(30000) } }, { func = judge, args = { rows(10000) } } } }
    local result = response.result
    assert.equal("memory", result[1].kind)
    assert.equal("Error: not enough memory", result[1].data)
    assert.equal(10000, result[2].data)
  end)

  it("of a job that is cancelled at once leave nothing, and the next job works (V22) #native", function()
    for _ = 1, 5 do
      local job = RunAsync { workers = 2, onComplete = function() end, tasks = { { func = judge, args = { rows(COUNT) } },
        { func = function() while true do end end }, { func = judge, args = { rows(COUNT, 1) } } } }
      job:cancel()
      for i, record in ipairs(job:wait().result) do
        assert.equal(i == 1 and record.success or "cancelled", record.success or record.kind)
      end
    end
    assert.equal(COUNT, only(judge, rows(COUNT)))
  end)

  it("come to tasks that fail, stop late, leave finalizers or open files (V22) #native", function()
    local closed = os.tmpname()
    local function fails(list) error("with " .. #list, 0) end
    local function endless(list) while list do end end
    local function opens(list, name)
      local file = assert(io.open(name, "w"))
      file:write(#list)
      setmetatable({}, { __gc = function() file:write(" closed") end })
      return #list
    end
    local response = RunSync { workers = 1, tasks = { { func = fails, args = { rows(COUNT) } } } }
    assert.equal("Error: with " .. COUNT, response.result[1].data)
    response = RunSync { workers = 1, tasks = { { func = endless, args = { rows(COUNT) }, timeout = 0.05 } } }
    assert.equal("timeout", response.result[1].kind)
    response = RunSync { workers = 1, tasks = { { func = opens, args = { rows(COUNT), closed } } } }
    assert.equal(COUNT, response.result[1].data)
    local file = assert(io.open(closed))
    local text = file:read("a")
    file:close()
    os.remove(closed)
    assert.truthy(text:find("^" .. COUNT .. " ?c?l?o?s?e?d?$"), text)
  end)

  -- The error of a hook is Ctrl-C's in a stock interpreter. It may come at any call that the reading of the list makes.
  it("of a call that a hook's error ends start nothing (V22) #native", function()
    local interruptions, began, list = 0, 0, rows(COUNT)
    for calls = 1, 37, 4 do
      local left = calls
      local ok, response = pcall(function()
        debug.sethook(function()
          left = left - 1
          if left == 0 then error("stop", 0) end
        end, "c")
        local response = RunSync { workers = 1, host = { begin = function() began = began + 1 end },
          tasks = { { func = judge, args = { list } }, { func = judge, args = { list, { list } } } } }
        debug.sethook()
        return response
      end)
      debug.sethook()
      if ok then
        assert.equal(COUNT, response.result[1].data)
      else
        interruptions = interruptions + 1
      end
      assert.equal(COUNT, only(judge, list))
    end
    assert.is_true(interruptions > 3)
    assert.equal(0, began)
  end)
end)
