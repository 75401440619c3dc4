-- Jobs on an engine that has none of grandMA2's names: `setEngine`.
-- luacheck: globals host

local gma2workers = require "gma2workers"
local made_up_engine = require "spec.fixtures.made_up_engine"
local running = require "spec.fixtures.running"

local RunSync, RunAsync, setEngine = gma2workers.RunSync, gma2workers.RunAsync, gma2workers.setEngine
local tasks_of = running.tasks

local function square(n)
  return n * n
end

local function fail()
  error("boom", 0)
end

--- A task that ends when the host says so.
local function wait_for_host()
  repeat until host.is_free()
  return "freed"
end

describe("an engine of the program's own", function()
  local engine, gma_before

  before_each(function()
    gma_before = rawget(_G, "gma")
    -- Nothing may be looked up here.
    rawset(_G, "gma", setmetatable({}, { __index = function(_, name) error("gma." .. tostring(name) .. " was looked up") end }))
    engine = made_up_engine.new(gma2workers.clock)
    setEngine(engine.functions)
  end)

  after_each(function()
    rawset(_G, "gma", gma_before)
    setEngine(nil)
  end)

  it("runs on while a RunSync waits, and while a host function sleeps (H23)", function()
    local response
    local is_free, calls = false, 0
    engine.later(function()
      response = RunSync { workers = 2, tasks = { { func = wait_for_host }, { func = square, args = { 4 } } },
        host = { is_free = function() calls = calls + 1 engine.pause(0.001) return is_free end } }
    end)
    engine.later(function()
      repeat engine.pause(0.001) until calls > 0
      is_free = true
    end, 0.02)
    engine.run()
    assert.same({ "freed", 16 }, running.data(response))
  end)

  for _, mode in ipairs { "timer", "cmd" } do
    it("drives an asynchronous job to its end, in mode " .. mode .. " (H23)", function()
      local response, inside
      local job = RunAsync { mode = mode, workers = 2, tasks = tasks_of(20, square),
        onComplete = function(it) response, inside = it, coroutine.isyieldable() end }
      assert.is_nil(response)
      engine.run()
      assert.equal("done", job:status())
      assert.equal(20, #response.result)
      assert.equal(400, response.result[20].data)
      assert.is_true(inside)
      assert.equal(mode == "cmd", #engine.lines > 0)
      for _, line in ipairs(engine.lines) do
        assert.is_nil(rawget(_G, line:match("^if ([%w_]+) then")))
      end
    end)
  end

  it("without a command line drives mode cmd by its timer (H23)", function()
    local response
    engine.functions.command = nil
    setEngine(engine.functions)
    RunAsync { mode = "cmd", tasks = tasks_of(3, square), onComplete = function(it) response = it end }
    engine.run()
    assert.same({ 1, 4, 9 }, running.data(response))
  end)

  it("waits for a job in one of its coroutines (H23)", function()
    local response, seen = nil, {}
    engine.later(function()
      local job = RunAsync { tasks = tasks_of(5, square), onComplete = function() end }
      for index, record in job:results() do
        seen[index] = record.data
      end
      response = job:wait()
    end)
    engine.run()
    assert.same({ 1, 4, 9, 16, 25 }, seen)
    assert.same(seen, running.data(response))
  end)

  it("shows the bar of a job, and closes it (H23)", function()
    engine.later(function() RunSync { progress = "Squares", tasks = tasks_of(4, square) } end)
    engine.run()
    assert.same({ { title = "Squares", is_open = false, first = 0, last = 4, value = 4 } }, engine.bars)
  end)

  it("is told once that tasks have failed, and of an error in a callback (H23)", function()
    RunAsync { tasks = { { func = fail }, { func = square, args = { 2 } }, { func = fail } }, onComplete = function() error("oh", 0) end }
    engine.run()
    assert.equal(2, #engine.said)
    assert.equal("gma2workers: 2 of 3 tasks failed, the first one: boom", engine.said[1])
    assert.is_truthy(engine.said[2]:find("^gma2workers: error in a callback: oh"), engine.said[2])
  end)

  it("is done with its jobs after cancelAll (H23)", function()
    local response
    RunAsync { workers = 1, progress = "Long", tasks = tasks_of(50, wait_for_host), host = { is_free = function() return true end },
      onComplete = function(it) response = it end }
    assert.equal(1, gma2workers.cancelAll())
    engine.run()
    assert.is_true(response.cancelled)
    assert.is_false(engine.bars[1].is_open)
    assert.same({}, engine.said)
    assert.same({}, gma2workers.jobs())
  end)

  it("is none for a call outside of its coroutines (H23)", function()
    assert.equal(9, RunSync({ tasks = tasks_of(3, square) }).result[3].data)
  end)

  it("that starts a job outside of a coroutine fails at the call (H24)", function()
    setEngine { sleep = engine.pause, timer = function(func) func() end }
    local ok, message
    -- C code that calls a function of Lua can't be suspended.
    table.sort({ 1, 2 }, function()
      ok, message = pcall(RunAsync, { tasks = tasks_of(1, square), onComplete = function() end })
      return false
    end)
    assert.is_false(ok)
    assert.is_truthy(message:find("the engine started a job outside of a coroutine in which it can sleep", 1, true), message)
    assert.same({}, gma2workers.jobs())
  end)

  it("is not changed while a job is running (H24)", function()
    local is_done = false
    local job = RunAsync { tasks = tasks_of(2, square), onComplete = function() is_done = true end }
    local ok, message = pcall(setEngine, nil)
    assert.is_false(ok)
    assert.is_truthy(message:find("cannot set the engine while a job is running", 1, true), message)
    engine.run()
    assert.same({ true, "done" }, { is_done, (job:status()) })
    setEngine(nil)
    setEngine(engine.functions)
  end)

  it("is copied: a later change to the table changes nothing (H24)", function()
    local response
    engine.functions.timer = nil
    RunAsync { tasks = tasks_of(1, square), onComplete = function(it) response = it end }
    engine.run()
    assert.equal(1, response.result[1].data)
  end)

  it("that is wrong is refused, and the one before goes on (H24)", function()
    for _, wrong in ipairs { { sleep = 5 }, { wait = print }, { timer = print }, { command = print }, { progress = print },
      { progress = { start = print } }, { progress = { open = print } }, { print } } do
      assert.is_false(pcall(setEngine, wrong))
    end
    local response
    RunAsync { tasks = tasks_of(1, square), onComplete = function(it) response = it end }
    engine.run()
    assert.equal(1, response.result[1].data)
  end)

  it("gives way to gma again (H24)", function()
    setEngine(nil)
    local shown = {}
    rawset(_G, "gma", { echo = function(text) shown[#shown + 1] = text end })
    RunSync { tasks = { { func = fail } } }
    assert.same({ "gma2workers: 1 of 1 tasks failed, the first one: boom" }, shown)
    assert.same({}, engine.said)
  end)
end)
