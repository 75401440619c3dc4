-- What Lua 5.4 closes, in a task: variables, coroutines, and what belongs to a loop.

if _VERSION == "Lua 5.3" then
  return
end

-- luacheck: globals coroutine.close

local gma2workers = require "gma2workers"
local crossing = require "spec.fixtures.crossing"
local stock = require "spec.fixtures.stock"

local run, with_gma = crossing.run, crossing.with_gma

local AT_END = "local function at_end(f) return setmetatable({}, { __close = f }) end "

-- The code of a task: Lua 5.3 could not read it.
local function code(text)
  return assert(load(AT_END .. text, "=task"))
end

-- Where a variable is closed; CLOSING is its value, and `e` the error.
local PLACES = {
  "local a <close> = CLOSING return 5",
  "do local a <close> = CLOSING end return 5",
  "local a <close> = CLOSING error('first', 0)",
  "local a <close> = CLOSING error({ text = 'first' })",
  "local a <close> = at_end(function(_, e) log = tostring(e) end) local b <close> = CLOSING error('first', 0)",
  "coroutine.wrap(function() coroutine.wrap(function() local a <close> = CLOSING error('first', 0) end)() end)()",
  "local co = coroutine.create(function() local a <close> = CLOSING coroutine.yield() end) coroutine.resume(co) "
    .. "return coroutine.close(co)",
  "for _ in next, { 1 }, nil, CLOSING do end return 5",
  "for _ in next, { 1 }, nil, CLOSING do break end return 5",
  "for _ in next, { 1 }, nil, CLOSING do goto out end ::out:: return 5",
  "for _ in next, { 1 }, nil, CLOSING do error('first', 0) end",
  "return pcall(function() local a <close> = CLOSING error('first', 0) end)",
}

local function closing_with(body)
  local list = {}
  for i, place in ipairs(PLACES) do
    list[i] = code((place:gsub("CLOSING", function() return ("at_end(function(_, e) %s end)"):format(body) end)))
  end
  return list
end

local function tasks_of(functions)
  local tasks = {}
  for i, func in ipairs(functions) do tasks[i] = { func = func } end
  return tasks
end

describe("what is to be closed #native", function()
  -- What the function returns or raises in plain Lua.
  local function plainly(func)
    local co = coroutine.create(func)
    local results = table.pack(coroutine.resume(co))
    if results[1] then
      return true, table.unpack(results, 2, results.n)
    end
    return false, select(2, coroutine.close(co))
  end

  for _, body in ipairs { "", "error('closing', 0)", "error()", "error({ code = 1 })", "error(e, 0)", "error()", "x.y = 1",
    "if type(e) == 'table' then e.changed = true end", "if type(e) == 'table' then e.again = true error(e) end",
    "gma.show.getvar('x')", "gma.show.fail()", "gma.sleep(0)", "coroutine.wrap(error)('inside', 0)" } do
    it("is closed as in plain Lua (T20): " .. body, function()
      local engine = { sleep = function() end, show = { getvar = function(n) return n end, fail = function() error("refused", 0) end } }
      with_gma(engine, function()
        local functions = closing_with(body)
        local result = gma2workers.RunSync({ tasks = tasks_of(functions), workers = 2 }).result
        for i, func in ipairs(functions) do
          local expected = table.pack(plainly(func))
          local entry, value = result[i], expected[2]
          assert.equal(expected[1], entry.success, PLACES[i])
          if expected[1] then
            assert.same({ table.unpack(expected, 2, expected.n) }, entry.returns and { table.unpack(entry.returns) } or { entry.data })
          elseif type(value) == "table" then
            assert.same(value, entry.error, PLACES[i])
          else
            assert.equal("Error: " .. tostring(value), entry.data, PLACES[i])
          end
        end
      end)
    end)
  end

  it("does not keep tasks from being stopped (T20)", function()
    local endless = { "while true do end", "gma.sleep(1000)", "while true do pcall(error) end", "while true do pcall(coroutine.yield) end",
      "while true do gma.show.getvar('x') end", "pcall(function() local b <close> = at_end(function() while true do end end) error() end)",
      "local function deep() return 1 + deep() end while true do pcall(deep) end",
      "while true do local co = coroutine.create(function() local b <close> = at_end(error) coroutine.yield() end) "
        .. "coroutine.resume(co) coroutine.close(co) end" }
    local tasks = {}
    for _, body in ipairs(endless) do
      table.move(tasks_of(closing_with(body)), 1, #PLACES, #tasks + 1, tasks)
    end
    with_gma({ sleep = function() end, show = { getvar = function(n) return n end } }, function()
      for _, grace in ipairs { 0, 0.01 } do
        local response = gma2workers.RunSync { workers = 8, timeout = 0.05, grace = grace, tasks = tasks }
        for i, entry in ipairs(response.result) do
          local place, body = PLACES[(i - 1) % #PLACES + 1], endless[(i - 1) // #PLACES + 1]
          assert.equal("timeout", entry.kind, ("%s: %s: %s"):format(place, body, entry.data))
        end
      end
      local begun, job = 0, nil
      gma.show.begun = function()
        begun = begun + 1
        if begun == #PLACES then job:cancel() end
      end
      job = gma2workers.RunAsync { workers = #PLACES, tasks = tasks_of(closing_with("gma.show.begun() while true do end")),
        onComplete = function() end }
      for _, entry in ipairs(job:wait().result) do
        assert.equal("cancelled", entry.kind, entry.data)
      end
    end)
    assert.equal(0, gma2workers.info.lost)
  end)

  it("may take no more memory than the task (T20)", function()
    local tasks = tasks_of(closing_with("local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end"))
    local function check(entry, place)
      if entry.success then
        assert.same({ false, "not enough memory", n = 2 }, entry.returns, place)
      else
        assert.equal("memory", entry.kind, place)
      end
    end
    for i, entry in ipairs(gma2workers.RunSync({ tasks = tasks, workers = 2, memoryLimit = 16 << 20 }).result) do
      check(entry, PLACES[i])
    end
    check(run(code("local a <close> = at_end(function(_, e) error(e, 0) end) local t = {} while true do t[#t + 1] = { t } end"), nil,
      { memoryLimit = 16 << 20 }), "memory before")
  end)

  it("gets its time while the task has a grace (T20)", function()
    local func = code([[
      local a <close> = at_end(function() gma.show.closed() end)
      while not require("gma2workers").isStopping() do end
      error("told", 0)]])
    local closed = 0
    with_gma({ show = { closed = function() closed = closed + 1 return closed end } }, function()
      assert.equal("timeout", run(func, nil, { timeout = 0.01, grace = 60 }).kind)
    end)
    assert.equal(1, closed)
  end)

  it("may yield where its coroutine can (T20)", function()
    local entry = run(code([[
      local log = {}
      local next_one = coroutine.wrap(function()
        for _ in next, { 1 }, nil, at_end(function() coroutine.yield("loop") end) do end
        local ok, e = pcall(function()
          local a <close> = at_end(function(_, e) coroutine.yield("close " .. e) end)
          error("first", 0)
        end)
        coroutine.yield(e)
      end)
      for i = 1, 3 do log[i] = next_one() end
      return table.concat(log, ", ")]]))
    assert.equal("loop, close first, first", entry.data)
  end)

  it("is never closed after its task, whatever left it behind (T20)", function()
    local closed = 0
    local host = { closed = function() closed = closed + 1 return closed end }
    local left = "local a <close> = at_end(function() host.closed() end) "
    local leaving = {
      left .. "while true do end",
      left .. "gma.sleep(1000)",
      "kept = coroutine.create(function() " .. left .. "coroutine.yield() end) coroutine.resume(kept)",
      "kept = coroutine.create(function() " .. left .. "coroutine.yield() end) coroutine.resume(kept) while true do end",
      "coroutine.wrap(function() " .. left .. "coroutine.yield() end)() collectgarbage()",
      "coroutine.wrap(function() " .. left .. "for _ in next, { 1 }, nil, a do while true do end end end)()",
      "setmetatable({}, { __gc = function() end }) coroutine.wrap(function() " .. left .. "coroutine.yield() end)()",
      "table.sort({ 2, 1 }, function() " .. left .. "while true do end end)",
    }
    for _, mode in ipairs { "timer", "cmd" } do
      local tasks = {}
      for i, text in ipairs(leaving) do
        tasks[2 * i - 1], tasks[2 * i] = { func = code(text), timeout = 0.05 }, { func = code("collectgarbage() return kept") }
      end
      with_gma({ sleep = function() end }, function()
        local result = gma2workers.RunSync({ tasks = tasks, workers = 1, mode = mode, host = host }).result
        for i = 2, #tasks, 2 do
          assert.is_true(result[i].success and result[i].data == nil, result[i].data)
        end
      end)
    end
    assert.equal(0, closed)
  end)

  it("is left open by init, and each task finds it so (T20)", function()
    local init = code([[
      closed = 0
      kept = coroutine.create(function() local a <close> = at_end(function() closed = closed + 1 end) coroutine.yield() end)
      coroutine.resume(kept)]])
    local task = code("local ok = coroutine.close(kept) return ok, closed, coroutine.status(kept)")
    for _, entry in ipairs(crossing.run_tasks(20, task, { init = init }).result) do
      assert.same({ true, 1, "dead", n = 3 }, entry.returns)
    end
    local failing = code("local a <close> = at_end(function(_, e) error('closed after ' .. e, 0) end) error('first', 0)")
    assert.is_truthy(run(code("return 1"), nil, { init = failing }).data:find("closed after first$"))
  end)

  it("needs its metatable, which stays on the host: the error says so (E21, T20)", function()
    local lock = setmetatable({}, { __close = function() end })
    local entry = run(code("local a <close> = ..."), { lock })
    assert.is_truthy(entry.data:find("got a non-closable value: the table came without its metatable", 1, true), entry.data)
    assert.is_nil(run(code("local a <close> = ..."), { {} }).data:find("metatable", 1, true))
  end)
end)

describe("a plugin's coroutine that is closed on the host #native", function()
  for name, body in pairs {
    ["while it waits"] = function(spin) gma2workers.RunSync { tasks = { { func = spin } } } end,
    ["in a host call"] = function(spin)
      gma2workers.RunSync { tasks = { { func = function(run_on) gma.show.ask() run_on() end, args = { spin } } } }
    end,
    ["in onResult"] = function(spin)
      gma2workers.RunSync { workers = 2, tasks = { { func = function() end }, { func = spin } }, onResult = function() gma.sleep(1) end }
    end,
  } do
    it("drops its job (D11): " .. name, function()
      local before = #gma2workers.jobs()
      with_gma({ sleep = coroutine.yield, show = { ask = function() coroutine.yield() return 1 end } }, function()
        local co = coroutine.create(body)
        for _ = 1, 5 do
          assert(coroutine.resume(co, function() while true do end end))
        end
        assert.equal(before + 1, #gma2workers.jobs())
        assert.is_true(coroutine.close(co))
        collectgarbage()
        collectgarbage()
        assert.equal(before, #gma2workers.jobs())
      end)
    end)
  end
end)

describe("a variable to be closed #native", function()
  it("is closed when a task returns, and when it fails", function()
    local response = gma2workers.RunSync { workers = 1, tasks = {
      { func = code("local log = {} do local a <close> = at_end(function(_, e) log[1] = tostring(e) end) end return log[1]") },
      { func = code("local a <close> = at_end(function(_, e) error('closed after ' .. e, 0) end) error('first', 0)") },
      { func = code("local a <close> = at_end(function(_, e) error(e, 0) end) error('first', 0)") },
      { func = code("local a <close> = at_end(function(_, e) error({ text = e }) end) error('first', 0)") },
      { func = code("local a <close> = at_end(function() gma2 = nil end) local b <close> = at_end(function() x.y = 1 end)") },
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
    local entry = run(code([[
      local a <close> = at_end(function() error("closed", 0) end)
      local list = {}
      while true do list[#list + 1] = ("x"):rep(1000) .. #list end
    ]]), nil, { memoryLimit = 16 << 20 })
    assert.equal("Error: closed", entry.data)
  end)

  it("does not keep a task from being stopped", function()
    local endless = "at_end(function() while true do end end)"
    local response = gma2workers.RunSync { workers = 1, timeout = 0.1, tasks = {
      { func = code("local a <close> = " .. endless .. " error('first')") },
      { func = code("local a <close> = " .. endless .. " while true do end") },
      { func = code("local co = coroutine.create(function() local a <close> = " .. endless
        .. " coroutine.yield() end) coroutine.resume(co) coroutine.close(co)") },
      { func = code("coroutine.wrap(function() local a <close> = " .. endless .. " error('first') end)()") },
      { func = code("pcall(function() local a <close> = " .. endless .. " error('first') end)") },
      { func = code("for _ in next, {}, nil, " .. endless .. " do end") },
    } }
    for _, entry in ipairs(response.result) do
      assert.equal("timeout", entry.kind, entry.data)
    end
    assert.equal(0, gma2workers.info.lost)
  end)

  it("is not closed by a later task", function()
    local response = gma2workers.RunSync { workers = 1, tasks = {
      { func = code("kept = coroutine.create(function() local a <close> = at_end(function() print('late') end) "
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
    local entry = run(code([[
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
