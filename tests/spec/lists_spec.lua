--- Lists of arguments and of items, built in any order: nothing is silently lost or moved.
local gma2workers = require "gma2workers"

local function count(...) return select("#", ...), { ... } end

local function same(item) return item end

--- The arguments that a task gets, with their number; or the refusal.
local function arrived(args)
  local ok, response = pcall(gma2workers.RunSync, { tasks = { { func = count, args = args } } })
  if not ok then
    return nil, response
  end
  local entry = response.result[1]
  assert.is_true(entry.success, entry.data)
  return entry.returns[1], entry.returns[2]
end

--- Asserts that each task of a job gets its list of arguments.
-- @tab lists the lists of arguments
-- @tab counts how many arguments each has
local function assert_arrive(lists, counts)
  local tasks = {}
  for i, args in ipairs(lists) do
    tasks[i] = { func = count, args = args }
  end
  for i, entry in ipairs(gma2workers.RunSync({ tasks = tasks }).result) do
    assert.is_true(entry.success, entry.data)
    assert.equal(counts[i], entry.returns[1])
    for n = 1, counts[i] do
      assert.equal(rawget(lists[i], n), entry.returns[2][n])
    end
  end
end

--- A table with these keys, set in this order. Each key is its own value, except `n`, which is the number of values.
local function built(keys, n)
  local list = {}
  for _, key in ipairs(keys) do
    list[key] = key == "n" and n or key
  end
  return list
end

--- Calls `body` with each order of a list.
local function each_order(list, body, first)
  first = first or 1
  if first > #list then
    body(list)
  end
  for i = first, #list do
    list[first], list[i] = list[i], list[first]
    each_order(list, body, first + 1)
    list[first], list[i] = list[i], list[first]
  end
end

--- Each subset of 1 to `last` and `n`.
local function each_subset(last, body)
  for bits = 0, (1 << last + 1) - 1 do
    local keys = {}
    for i = 1, last do
      keys[#keys + 1] = bits >> i - 1 & 1 == 1 and i or nil
    end
    keys[#keys + 1] = bits >> last == 1 and "n" or nil
    body(keys)
  end
end

describe("a list", function()
  it("of arguments keeps them in their places, in whatever order it was built (V14)", function()
    local lists, counts = {}, {}
    each_subset(4, function(keys)
      each_order(keys, function(order)
        for n = 0, 5, 5 do
          local list, last = built(order, n), 0
          for key in pairs(list) do
            last = math.max(last, math.type(key) and key or 0)
          end
          lists[#lists + 1], counts[#counts + 1] = list, list.n or last
        end
      end)
    end)
    assert.equal(652, #lists)
    assert_arrive(lists, counts)
  end)

  it("of arguments keeps them if it grew and shrank at random (V14)", function()
    math.randomseed(14)
    local lists, counts = {}, {}
    for i = 1, 1000 do
      local list, last = {}, 0
      for _ = 1, math.random(0, 30) do
        local key = math.random(1, 12)
        list[key] = math.random() < 0.7 and key or nil
      end
      for key in pairs(list) do
        last = math.max(last, key)
      end
      lists[i], counts[i] = list, last
    end
    assert_arrive(lists, counts)
  end)

  it("of arguments is refused if it has other fields, since they would be lost (V14)", function()
    for _, case in ipairs {
      { { level = 3 }, "tasks%[1%]%.args has a field 'level'" }, { { 1, 2, level = 3 }, "'level'" },
      { { [0] = 1, 2 }, "%[0%]" }, { { 1, [-1] = 2 }, "%[%-1%]" }, { { 1, [1.5] = 2 }, "%[1%.5%]" },
      { { 1, [true] = 2 }, "%[true%]" }, { { 1, 2, 3, 4, 5, 6, 7, 8, 9, x = 1 }, "'x'" }, { { n = 2, x = 1 }, "'x'" },
    } do
      local got, refusal = arrived(case[1])
      assert.is_nil(got)
      assert.matches(case[2], refusal)
      assert.matches("would be lost", refusal)
    end
  end)

  it("of arguments crosses if it is changed as the refusal advises (V14)", function()
    local got, values = arrived { { level = 3 } }
    assert.same({ 1, { { level = 3 } } }, { got, values })
  end)

  it("of items is refused with a gap or other fields, in whatever order it was built (V14)", function()
    each_subset(4, function(keys)
      each_order(keys, function(order)
        local list, items, last = built(order, 4), 0, 0
        for key in pairs(list) do
          if key ~= "n" then
            items, last = items + 1, math.max(last, key)
          end
        end
        local ok, results = pcall(gma2workers.Map, same, list, { workers = 1 })
        assert.equal(list.n ~= nil or items == last, ok, results)
        for i = 1, ok and last or 0 do
          assert.equal(list[i], results[i])
        end
        if not ok then
          assert.matches("list%[%d%] is missing: the list has a hole", results)
        end
      end)
    end)
  end)

  it("of items with a field, an odd key or more items than n is refused by name (V14)", function()
    for _, case in ipairs {
      { { 1, name = 2 }, "'name'" }, { { 1, n = 1, name = 2 }, "'name'" }, { { [0] = 1, 2 }, "%[0%]" },
      { { 1, [1.5] = 2 }, "number as a key" }, { { 1, 2, 3, n = 2 }, "list%.n is 2, but there is an item at %[3%]" },
      { setmetatable({ 1, name = 2 }, {}), "'name'" },
    } do
      local ok, refusal = pcall(gma2workers.Map, same, case[1])
      assert.is_false(ok)
      assert.matches(case[2], refusal)
    end
  end)
end)
