-- Results so long that the host decodes their beginning while the task's worker still writes the rest.

local gma2workers = require "gma2workers"
local running = require "spec.fixtures.running"

local RunSync, RunAsync = gma2workers.RunSync, gma2workers.RunAsync

-- A list of so many rows, some 30 bytes each in a message.
local function rows(count, number)
  local list = {}
  for i = 1, count do
    list[i] = { id = i, name = ("row %d of %d"):format(i, number or 0) }
  end
  return list
end

local COUNT = 18000

local function assert_rows(list, count, number)
  assert.equal(count, #list)
  for i = 1, count do
    local row = list[i]
    if row.id ~= i or row.name ~= ("row %d of %d"):format(i, number or 0) or next(row, next(row, next(row))) then
      error(("row %d is wrong"):format(i))
    end
  end
end

local function only(func, ...)
  return RunSync { tasks = { { func = func, args = { ... } } } }.result[1]
end

describe("long results", function()
  running.each_mode(function(mode)
    it("of several tasks arrive, beside short ones (V19)", function()
      local tasks = {}
      for i = 1, 12 do
        tasks[i] = { func = rows, args = { i % 3 == 0 and 5 or COUNT, i } }
      end
      local order = {}
      local response = RunSync { mode = mode, workers = 3, tasks = tasks, onResult = function(index, record)
        order[#order + 1] = index
        assert_rows(record.data, index % 3 == 0 and 5 or COUNT, index)
      end }
      table.sort(order)
      assert.same(running.count_to(12), order)
      assert.equal(0, response.failed)
      for i, record in ipairs(response.result) do
        assert.is_true(record.success)
        assert_rows(record.data, i % 3 == 0 and 5 or COUNT, i)
      end
    end)
  end)

  it("keep their number, nils and places (V19)", function()
    local record = only(function(make, count) return nil, make(count), false, make(count, 1), nil end, rows, COUNT)
    assert.is_true(record.success, record.data)
    assert.equal(5, record.returns.n)
    assert.is_nil(record.data)
    assert_rows(record.returns[2], COUNT)
    assert.is_false(record.returns[3])
    assert_rows(record.returns[4], COUNT, 1)
  end)

  it("keep what is shared, whenever it comes again (V19)", function()
    local list = only(function(count)
      local list, shared, text = {}, { "shared" }, ("long "):rep(20)
      for i = 1, count do
        list[i] = { i, list, shared, text, i > 10000 and list[i - 9999] or nil }
      end
      list.last, list[list] = list[count], { [shared] = text }
      return list
    end, COUNT).data
    assert.equal(COUNT, #list)
    local shared = list[1][3]
    for i, row in ipairs(list) do
      assert(row[1] == i and row[2] == list and row[3] == shared and row[4] == ("long "):rep(20))
      assert(row[5] == (i > 10000 and list[i - 9999] or nil))
    end
    assert.equal(list[COUNT], list.last)
    assert.equal(("long "):rep(20), list[list][shared])
  end)

  it("that refer late to something old are sent again, whole (V19)", function()
    local list = only(function(count)
      local list = {}
      for i = 1, count do list[i] = { i } end
      list[count + 1] = list[5]
      return list
    end, 40000).data
    assert.equal(40001, #list)
    assert.equal(list[5], list[40001])
    for i = 1, 40000 do assert(list[i][1] == i) end
  end)

  it("have fields, nested tables and long texts of any size (V19)", function()
    local function make(count)
      local deep, map = {}, {}
      local at = deep
      for i = 1, 300 do
        at.next, at.text = {}, ("x"):rep(i * 10)
        at = at.next
      end
      for i = 1, count do map["key " .. i] = { i, { i / 2 } } end
      return { deep = deep, map = map, text = ("y"):rep(1 << 20), list = { map, ("z"):rep(300000) } }
    end
    assert.same(make(COUNT), only(make, COUNT).data)
  end)

  it("that can't cross are the task's failure alone, however much has left (V20) #native", function()
    local response = RunSync { workers = 2, tasks = {
      { func = function(make, count)
        local list = make(count)
        list[count + 1] = { deep = coroutine.create(make) }
        return list
      end, args = { rows, COUNT } },
      { func = rows, args = { COUNT } },
    } }
    local failed, other = table.unpack(response.result)
    assert.is_false(failed.success)
    assert.equal("transfer", failed.kind)
    assert.equal(1, (failed.data:find(("Error: cannot send a coroutine (at result[%d].deep)"):format(COUNT + 1), 1, true)))
    assert.equal(1, response.failed)
    assert_rows(other.data, COUNT)
  end)

  it("fail where they exceed the state's memory, and no other does (V20) #native", function()
    -- 12 MiB of texts, and as much again on their way.
    local function separate(count)
      local list = {}
      for i = 1, count do list[i] = ("x"):rep(1000) .. i end
      return list
    end
    local response = RunSync { workers = 1, memoryLimit = 20 << 20, tasks = {
      { func = separate, args = { 12000 } }, { func = separate, args = { 6000 } } } }
    local result = response.result
    assert.equal("memory", result[1].kind)
    assert.equal("Error: not enough memory", result[1].data)
    assert.equal(6000, #result[2].data)
    assert.equal(("x"):rep(1000) .. 6000, result[2].data[6000])
  end)

  it("arrive while other tasks call the host (V19)", function()
    local function calls(count)
      local sum = 0
      for i = 1, count do sum = sum + _G.host.number(i) end
      return sum
    end
    local tasks = {}
    for i = 1, 8 do
      tasks[i] = i % 2 == 0 and { func = calls, args = { 200 } } or { func = rows, args = { COUNT, i } }
    end
    local result = RunSync { workers = 2, host = { number = function(n) return n end }, tasks = tasks }.result
    for i, record in ipairs(result) do
      assert.is_true(record.success, record.data)
      if i % 2 == 0 then
        assert.equal(20100, record.data)
      else
        assert_rows(record.data, COUNT, i)
      end
    end
  end)

  it("leave nothing of a cancelled job, and the next job works (V20) #native", function()
    for _ = 1, 5 do
      local tasks = {}
      for i = 1, 4 do tasks[i] = { func = rows, args = { COUNT, i } } end
      local seen = 0
      local job
      job = RunAsync { workers = 2, tasks = tasks, onComplete = function() end, onResult = function(index, record)
        seen = seen + 1
        if record.success then
          assert_rows(record.data, COUNT, index)
        end
        job:cancel()
      end }
      local response = job:wait()
      assert.equal(4, seen)
      for i, record in ipairs(response.result) do
        if record.success then
          assert_rows(record.data, COUNT, i)
        else
          assert.equal("cancelled", record.kind)
        end
      end
    end
    assert_rows(only(rows, COUNT).data, COUNT)
  end)

  local function is_in_merge()
    for level = 3, 7 do
      local info = debug.getinfo(level, "n")
      if info and info.name == "merge" then
        return true
      end
    end
  end

  -- The error of a hook is Ctrl-C's in a stock interpreter. It may come at any call that decoding makes.
  it("are decoded again where an error of the host's hook came between (V20) #native", function()
    local interruptions = 0
    for calls = 1, 12 do
      local job = RunAsync { tasks = { { func = rows, args = { COUNT } }, { func = rows, args = { COUNT, 2 } } }, workers = 1,
        onComplete = function() end }
      local left = calls
      pcall(function()
        debug.sethook(function()
          left = left - (is_in_merge() and 1 or 0)
          if left == 0 then
            interruptions = interruptions + 1
            left = math.huge
            error("stop", 0)
          end
        end, "c")
        job:wait()
      end)
      debug.sethook()
      local response = job:wait()
      assert_rows(response.result[1].data, COUNT)
      assert_rows(response.result[2].data, COUNT, 2)
    end
    assert.is_true(interruptions > 5)
  end)
end)
