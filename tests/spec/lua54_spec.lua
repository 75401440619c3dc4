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
