-- What tasks have in Lua 5.4 and not in 5.3.

if _VERSION == "Lua 5.3" then
  return
end

local gma2workers = require "gma2workers"
local crossing = require "spec.fixtures.crossing"
local stock = require "spec.fixtures.stock"
local results_of = require "spec.fixtures.results_of"

local run = crossing.run

-- The code of a task: Lua 5.3 could not read it.
local function code(text)
  return assert(load(text, "=task"))
end

describe("a warning in a task #native", function()
  it("is a whole line, and hidden until it is switched on in that task", function()
    local text = stock.run [[
      local tasks = {}
      for i = 1, 100 do
        tasks[i] = { func = function()
          warn("hidden")
          warn("@on")
          for _ = 1, 20 do warn(("x"):rep(40), ("y"):rep(40)) end
        end }
      end
      tasks[101] = { func = function() warn("hidden, too") warn("@on") warn("@other") warn("@", "shown") warn("@off") warn("again") end }
      require("gma2workers").RunSync { tasks = tasks, workers = 8 }
    ]]
    local counts = {}
    for line in text:gmatch("[^\n]+") do
      counts[line] = (counts[line] or 0) + 1
    end
    assert.same({ ["Lua warning: " .. ("x"):rep(40) .. ("y"):rep(40)] = 2000, ["Lua warning: @shown"] = 1 }, counts)
  end)

  it("tells of a finalizer that fails, also as the state is closed", function()
    local text = stock.run_in_task [[
      warn("@on")
      local function fail() error("late", 0) end
      setmetatable({}, { __gc = fail })
      collectgarbage()
      setmetatable({}, { __gc = fail })
    ]]
    assert.equal(("Lua warning: error in __gc\n"):rep(2), (text:gsub("__gc [^\n]*", "__gc")))
  end)
end)

describe("random numbers in a task #native", function()
  it("are those of the seed, as in a main program", function()
    local text = "math.randomseed(42) return math.random(1 << 40), math.random(0), math.random()"
    assert.same(table.pack(code(text)()), run(code(text)).returns)
  end)

  it("differ from task to task", function()
    local tasks = {}
    for i = 1, 50 do
      tasks[i] = { func = code("return math.random(0)") }
    end
    local seen = {}
    for _, entry in ipairs(gma2workers.RunSync({ tasks = tasks, workers = 2 }).result) do
      assert.is_nil(seen[entry.data])
      seen[entry.data] = true
    end
  end)
end)

describe("a captured constant #native", function()
  it("crosses as any other variable", function()
    local func = load("local a <const> = { 1 } local b <const> = 5 return function() return a[1] + b end")()
    assert.equal(6, run(func, nil, { upvalues = "copy" }).data)
    assert.is_truthy(run(func).data:find("upvalue 'a' (a table)", 1, true))
    local writing = load("local a <const> = { 1 } return function() a[1] = 2 return a[1] end")()
    assert.is_truthy(run(writing, nil, { upvalues = "copy" }).data:find("'a' (a table, written to)", 1, true))
    assert.equal(2, run(writing, nil, { upvalues = "private" }).data)
  end)

  it("crosses if it is to be closed, and is closed on its own side alone", function()
    local closed = 0
    local func = load([[
      local closing, body = ...
      local a <close> = setmetatable({ 7 }, { __close = closing })
      return body(function() return a[1], getmetatable(a) end)
    ]])
    local entry = func(function() closed = closed + 1 end, function(inner)
      local record = run(inner, nil, { upvalues = "copy" })
      assert.equal(0, closed)
      return record
    end)
    assert.same({ 7, nil, n = 2 }, entry.returns)
    assert.equal(1, closed)
  end)
end)

describe("what Lua 5.4 does in another way than 5.3 #native", function()
  for _, text in ipairs {
    -- Loops over numbers.
    "local t = {} for i = math.maxinteger - 1, math.maxinteger do t[#t + 1] = i end return #t, t[2]",
    "local t = {} for i = math.mininteger + 1, math.mininteger, -1 do t[#t + 1] = i end return #t, t[2]",
    "local n = 0 for i = 1, math.huge do n = i if i == 3 then break end end return n",
    "local n = 0 for i = 3, 1.5, -1 do n = n + i end return n", "local n = 0 for i = 1, 2 ^ 70 do n = i break end return n",
    "for i = 1, 2, 0 do end", "for i = 1, {} do end", "for i = 'a', 2 do end", "for i = 1.0, 2 do return i end",
    "local f = {} for i = 1, 3 do f[i] = function() i = i + 1 return i end end return f[1](), f[1](), f[2]()",
    -- Texts and numbers.
    "return '10' + 1, '0x10' * 2, '7' // 2, '1e1' + 0, 10 .. ''", "return '10' | 1", "return 'a' + 1", "return '1.5' | 1", "return -'2'",
    "return getmetatable('').__add ~= nil, ('x').rep == string.rep",
    "return math.tointeger('8'), math.tointeger('x'), math.tointeger(2^53)",
    "return ('%q'):format(1 / 3), ('%q'):format(math.mininteger), ('%5s|%-5s|'):format(true, nil)", "return ('%i'):format(3.5)",
    "return ('%p'):format(1), ('%d'):format('10')", "return ('x'):rep(3, ', '), ('abc'):find('b', -10), ('abc'):sub(math.mininteger)",
    "return ('a,b'):gsub(',', '%1'), pcall(string.gsub, 'a', 'a', '%2')", "return tostring(-0.0), 1e15, 2 ^ 63, -(0 / 0) ~= 0",
    -- utf8 and pack.
    "return utf8.char(0x7fffffff), utf8.charpattern, utf8.len('\\u{7fffffff}'), utf8.len('\\u{7fffffff}', 1, -1, true)",
    "return utf8.codepoint('\\u{d800}', 1, 1, true), pcall(utf8.codepoint, '\\u{d800}')", "return utf8.offset('\\u{20ac}x', 2)",
    "local t = {} for p, c in utf8.codes('a\\u{7fffffff}', true) do t[#t + 1] = p .. ':' .. c end return table.concat(t, ' ')",
    "for p, c in utf8.codes('a\\xff') do end", "return string.pack('>I3 s1 z !4 i4', 5, 'ab', 'c', -1)", "return string.pack('i17', 1)",
    "return string.unpack('<i16', string.pack('<i16', -2))", "return string.packsize('!8 b Xd d'), pcall(string.packsize, 's')",
    "return pcall(string.unpack, 'z', 'abc')", "return string.pack('j', math.mininteger) == string.pack('T', math.mininteger)",
    -- The rest of the library.
    "return print == nil, warn ~= nil, pcall(collectgarbage, 'setpause', 'x')",
    "return select(-1, 1, 2), pcall(select, 0)", "return load('local a <const> = 1 a = 2')", "return load('goto x')",
    "return load('local a <what> = 1')",
    "return table.concat({ 1, 2.0, 'x' }, '-'), pcall(table.insert, { 1 }, 5, 2), #table.move({ 1, 2 }, 1, 2, 2)",
    "return math.abs(math.mininteger), math.ult(1, -1), math.fmod(-5, 3), pcall(math.fmod, 1, 0)",
    "return next({}, nil), rawlen('abc'), type(nil)",
    "return tostring(setmetatable({}, { __name = 'thing' })):match('^thing: ') ~= nil",
    "return tostring(setmetatable({}, { __tostring = function() return 1 end }))",
    "return coroutine.wrap(function() return #table.pack(coroutine.running()), coroutine.isyieldable() end)()",
    "return setmetatable({}, { __lt = function() return true end }) <= {}",
    "return os.time({ year = 2020, month = 1, day = 1, hour = 12.0 }), pcall(os.date, '%Ez')", "return os.date('!%H', 3600)",
    -- User values: a file has none in 5.4.
    "return debug.setuservalue(io.stderr, 1), debug.setuservalue(io.stderr, 1, 2), debug.getuservalue(io.stderr)",
    "return debug.getuservalue(io.stderr, 2)", "return debug.getuservalue(io.stderr, 'x')",
    "return debug.getuservalue({}), debug.getuservalue(1, 1)",
    "return debug.setuservalue({}, 1)", "return debug.setcstacklimit(1000)",
  } do
    it("is the same in a task (T21): " .. text, function()
      assert.equal(results_of(text), run(results_of, { text }).data)
    end)
  end

  it("includes how deep calls of C functions nest, and how the error reads", function()
    local function depth_of(recurse)
      local depth = 0
      local function deeper()
        depth = depth + 1
        return recurse(deeper)
      end
      return select(2, pcall(deeper)):match("%f[%w]%a* ?stack overflow"), depth > 100 and depth < 250
    end
    for _, recurse in ipairs {
      function(deeper) return (("x"):gsub("x", deeper)) end,
      function(deeper) return table.sort({ 1, 2, 3 }, deeper) end,
      function(deeper) return coroutine.wrap(deeper)() end,
      function(deeper) return tostring(setmetatable({}, { __tostring = deeper })) end,
      function(deeper) return error(select(2, load(deeper)), 0) end,
    } do
      local host = table.pack(depth_of(recurse))
      assert.same(host, run(depth_of, { recurse }).returns)
    end
  end)
end)

-- Lua tells the mode only when it is set.
local function mode()
  local before = collectgarbage("incremental")
  collectgarbage(before)
  return before
end

describe("the generational mode of the collector (T19) #native", function()
  local at_start = mode()
  after_each(function() collectgarbage(at_start) end)

  local function churn(rounds)
    local kept = {}
    for i = 1, rounds do
      kept[i % 1000 + 1] = { text = ("x"):rep(i % 50) .. i, list = { i } }
    end
    for i, entry in ipairs(kept) do
      assert(#entry.list == 1 and entry.list[1] % 1000 == i - 1 and entry.text:match("%d+$"))
    end
    return #kept
  end

  it("works in a task, and the next task starts as a new one", function()
    local function generational(rounds)
      local before = collectgarbage("generational")
      return churn(rounds), before, mode()
    end
    local tasks = {}
    for i = 1, 40 do
      tasks[i] = { func = i % 2 == 0 and mode or generational, args = { 20000 } }
    end
    local response = gma2workers.RunSync { tasks = tasks, workers = 2, upvalues = "copy" }
    for i, entry in ipairs(response.result) do
      assert.is_true(entry.success, entry.data)
      assert.same(i % 2 == 0 and "incremental" or { 1000, "incremental", "generational", n = 3 }, entry.returns or entry.data)
    end
  end)

  it("stays if init has set it, in each task", function()
    local function init()
      collectgarbage("generational")
      kept = {} -- luacheck: ignore
      for i = 1, 5000 do kept[i] = { i } end -- luacheck: ignore
    end
    local function task(rounds)
      -- Old objects that point to new ones: both are part of the snapshot, or gone with it.
      for i = 1, 5000 do
        assert(kept[i][1] == i and kept[i].new == nil) -- luacheck: ignore
        kept[i].new = { i } -- luacheck: ignore
      end
      local result = churn(rounds)
      for i = 1, 5000 do assert(kept[i].new[1] == i) end -- luacheck: ignore
      return result, mode()
    end
    local tasks = {}
    for i = 1, 20 do tasks[i] = { func = task, args = { 20000 } } end
    local response = gma2workers.RunSync { tasks = tasks, init = init, workers = 2, upvalues = "copy" }
    for _, entry in ipairs(response.result) do
      assert.is_true(entry.success, entry.data)
      assert.same({ 1000, "generational", n = 2 }, entry.returns)
    end
  end)

  it("keeps to the limits of memory and time", function()
    local function fill()
      collectgarbage("generational")
      local list = {}
      while true do list[#list + 1] = ("x"):rep(1000) .. #list end
    end
    local function fill_again()
      collectgarbage("generational")
      for _ = 1, 3 do
        local ok, message = pcall(function()
          local last
          while true do last = { last } end
        end)
        assert(not ok and message == "not enough memory", message)
      end
      return churn(5000)
    end
    local function endless()
      collectgarbage("generational")
      while true do churn(5000) end
    end
    local tasks = {}
    for i = 1, 12 do
      tasks[i] = { func = ({ fill, fill_again, endless })[i % 3 + 1], timeout = i % 3 == 2 and 0.2 or nil }
    end
    local response = gma2workers.RunSync { tasks = tasks, workers = 2, upvalues = "copy", memoryLimit = 16 << 20 }
    for i, entry in ipairs(response.result) do
      local expected = ({ "memory", 1000, "timeout" })[i % 3 + 1]
      assert.equal(expected, entry.kind or entry.data, entry.data)
    end
    assert.equal(0, gma2workers.info.lost)
  end)

  it("stays on the host, and what was collected is right", function()
    local function rows(count)
      local list = {}
      for i = 1, count do list[i] = { id = i, name = "row " .. i, values = { i, i + 0.5 } } end
      return list
    end
    collectgarbage("generational")
    collectgarbage()
    local size, most = collectgarbage("count"), 0
    local old = {}
    for round = 1, 30 do
      local sent = rows(2000)
      local result = gma2workers.RunSync { workers = 2, upvalues = "copy", tasks = {
        { func = rows, args = { 5000 } }, { func = function(list) return list end, args = { sent } },
      } }.result
      assert.equal(5000, #result[1].data)
      assert.same(sent, result[2].data)
      -- An old table that gets new values.
      old[round % 3] = result[1].data
      for _, list in pairs(old) do
        assert.equal("row 5000", list[5000].name)
        assert.equal(4999.5, list[4999].values[2])
      end
      most = math.max(most, collectgarbage("count"))
    end
    assert.equal("generational", mode())
    for i = 0, 2 do old[i] = nil end
    collectgarbage()
    assert.is_true(collectgarbage("count") < size + 4096, collectgarbage("count"))
    assert.is_true(most < size + 200 * 1024, most)
  end)
end)
