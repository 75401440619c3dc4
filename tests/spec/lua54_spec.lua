-- What tasks have in Lua 5.4 and not in 5.3.

if _VERSION == "Lua 5.3" then
  return
end

local gma2workers = require "gma2workers"
local crossing = require "spec.fixtures.crossing"
local stock = require "spec.fixtures.stock"

local run = crossing.run

-- The code of a task: Lua 5.3 could not read it.
local function code(text)
  return assert(load(text, "=task"))
end

local AT_END = "local function at_end(f) return setmetatable({}, { __close = f }) end "

describe("a variable to be closed #native", function()
  it("is closed when a task returns, and when it fails", function()
    local response = gma2workers.RunSync { workers = 1, tasks = {
      { func = code(AT_END .. "local log = {} do local a <close> = at_end(function(_, e) log[1] = tostring(e) end) end return log[1]") },
      { func = code(AT_END .. "local a <close> = at_end(function(_, e) error('closed after ' .. e, 0) end) error('first', 0)") },
      { func = code(AT_END .. "local a <close> = at_end(function(_, e) error(e, 0) end) error('first', 0)") },
      { func = code(AT_END .. "local a <close> = at_end(function(_, e) error({ text = e }) end) error('first', 0)") },
      { func = code(AT_END .. "local a <close> = at_end(function() gma2 = nil end) local b <close> = at_end(function() x.y = 1 end)") },
    } }
    local result = response.result
    assert.equal("nil", result[1].data)
    assert.equal("Error: closed after first", result[2].data)
    assert.equal("Error: first", result[3].data)
    assert.same({ text = "first" }, result[4].error)
    assert.is_truthy(result[5].data:find("attempt to index a nil value (global 'x')", 1, true), result[5].data)
    assert.is_truthy(result[2].traceback:find("in main chunk", 1, true) or result[2].traceback:find("task:1", 1, true))
  end)

  it("is closed when memory runs out", function()
    local entry = run(code(AT_END .. [[
      local a <close> = at_end(function() error("closed", 0) end)
      local list = {}
      while true do list[#list + 1] = ("x"):rep(1000) .. #list end
    ]]), nil, { memoryLimit = 16 << 20 })
    assert.equal("Error: closed", entry.data)
  end)

  it("does not keep a task from being stopped", function()
    local endless = "at_end(function() while true do end end)"
    local response = gma2workers.RunSync { workers = 1, timeout = 0.1, tasks = {
      { func = code(AT_END .. "local a <close> = " .. endless .. " error('first')") },
      { func = code(AT_END .. "local a <close> = " .. endless .. " while true do end") },
      { func = code(AT_END .. "local co = coroutine.create(function() local a <close> = " .. endless
        .. " coroutine.yield() end) coroutine.resume(co) coroutine.close(co)") },
      { func = code(AT_END .. "coroutine.wrap(function() local a <close> = " .. endless .. " error('first') end)()") },
      { func = code(AT_END .. "pcall(function() local a <close> = " .. endless .. " error('first') end)") },
      { func = code(AT_END .. "for _ in next, {}, nil, " .. endless .. " do end") },
    } }
    for _, entry in ipairs(response.result) do
      assert.equal("timeout", entry.kind, entry.data)
    end
    assert.equal(0, gma2workers.info.lost)
  end)

  it("is not closed by a later task", function()
    local response = gma2workers.RunSync { workers = 1, tasks = {
      { func = code(AT_END .. "kept = coroutine.create(function() local a <close> = at_end(function() print('late') end) "
        .. "coroutine.yield() end) coroutine.resume(kept)") },
      { func = code("collectgarbage() return kept") },
    } }
    assert.same({ true, true, nil }, { response.result[1].success, response.result[2].success, response.result[2].data })
  end)
end)

describe("coroutine.close and wrap in a task #native", function()
  for _, text in ipairs {
    "return coroutine.close(coroutine.create(print))",
    "return coroutine.close()",
    "return coroutine.close(5)",
    "return coroutine.close(coroutine.running())",
    "local main = coroutine.running() return coroutine.wrap(function() return pcall(coroutine.close, main) end)()",
    AT_END .. "local co = coroutine.create(function() local a <close> = at_end(function(_, e) error({ e }) end) coroutine.yield() end) "
      .. "coroutine.resume(co) local ok, e = coroutine.close(co) return ok, type(e), coroutine.status(co), coroutine.close(co)",
    "local co = coroutine.create(error) coroutine.resume(co, 'x') return coroutine.close(co)",
    AT_END .. "local f = coroutine.wrap(function() local a <close> = at_end(function() error('a') end) error('b') end) return f()",
    AT_END .. "local f = coroutine.wrap(function() local a <close> = at_end(function() error('a', 0) end) error('b') end) return pcall(f)",
    AT_END .. "local log = '' local f = coroutine.wrap(function() local a <close> = at_end(function(_, e) log = log .. e end) "
      .. "error('b', 0) end) return pcall(f), log",
    "return coroutine.isyieldable(coroutine.create(print)), coroutine.isyieldable(5)",
  } do
    it("do what they do in a main program: " .. text, function()
      assert.equal(stock.run("print(pcall(load(" .. ("%q"):format(text) .. ", '=task')))"),
        stock.run_in_task("print(pcall(load(" .. ("%q"):format(text) .. ", '=task')))"))
    end)
  end

  it("fail if closing nests too deep", function()
    local entry = run(code(AT_END .. [[
      local all = {}
      for i = 1, 5000 do
        all[i] = coroutine.create(function()
          local a <close> = at_end(function() if all[i + 1] then assert(coroutine.close(all[i + 1])) end end)
          coroutine.yield()
        end)
        coroutine.resume(all[i])
      end
      return coroutine.close(all[1])
    ]]))
    assert.is_false(entry.data)
    assert.is_truthy(entry.returns[2]:find("C stack overflow", 1, true), entry.returns[2])
  end)
end)

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
  it("crosses, and so does a variable to be closed", function()
    local func = load("local a <const> = { 1 } local b <const> = 5 return function() return a[1] + b end")()
    assert.equal(6, run(func, nil, { upvalues = "copy" }).data)
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
