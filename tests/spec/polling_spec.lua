-- The list of running jobs, and Poll with a time to wait.

local gma2workers = require "gma2workers"
local native = require "consolenative"
local crossing = require "spec.fixtures.crossing"
local running = require "spec.fixtures.running"

local RunSync, RunAsync, Poll = gma2workers.RunSync, gma2workers.RunAsync, gma2workers.Poll
local tasks_of, with_gma, in_engine, ask_until = running.tasks, crossing.with_gma, running.in_engine, running.ask_until

local function identity(...) return ... end
local function ignore() end

describe("jobs()", function()
  before_each(function()
    running.poll_until(function() return Poll() == 0 end)
  end)

  it("lists the handles of running jobs, oldest first (R7)", function()
    assert.same({}, gma2workers.jobs())
    local host, open = running.gate()
    with_gma(host, function()
      local first = RunAsync { tasks = tasks_of(2, running.pass_gate), onComplete = ignore }
      local second = RunAsync { tasks = tasks_of(1, identity), onComplete = ignore }
      local jobs = gma2workers.jobs()
      assert.equal(2, #jobs)
      assert.is_true(rawequal(first, jobs[1]) and rawequal(second, jobs[2]))
      open()
      first:wait()
      second:wait()
      assert.same({}, gma2workers.jobs())
    end)
  end)

  it("has the job of a RunSync, which can be cancelled from another coroutine (R7)", function()
    in_engine({}, function()
      local count
      gma.timer(function()
        local jobs = gma2workers.jobs()
        count = #jobs
        jobs[1]:cancel()
      end, 0.05, 1)
      local response = RunSync { workers = 1, tasks = tasks_of(3, function() gma.sleep(running_never) end), -- luacheck: ignore 113
        globals = { "running_never" } }
      assert.equal(1, count)
      assert.is_true(response.cancelled)
    end)
  end)

  setup(function() rawset(_G, "running_never", running.NEVER) end)
  teardown(function() rawset(_G, "running_never", nil) end)

  it("is emptied by cancelAll, which returns how many it cancelled (R7)", function()
    local responses = {}
    for i = 1, 3 do
      RunAsync { tasks = tasks_of(2, function() gma.sleep(running_never) end), globals = { "running_never" }, -- luacheck: ignore 113
        onComplete = function(response) responses[i] = response end }
    end
    assert.equal(3, gma2workers.cancelAll())
    assert.equal(0, gma2workers.cancelAll())
    running.poll_until(function() return Poll() == 0 end)
    for i = 1, 3 do
      assert.is_true(responses[i].cancelled)
    end
    assert.same({}, gma2workers.jobs())
  end)
end)

describe("Poll", function()
  it("waits for the first thing to do, for as long as it is told (R8)", function()
    local job = RunAsync { tasks = { { func = identity, args = { 1 } } }, onComplete = ignore }
    local polls = 0
    repeat
      polls = polls + 1
    until Poll(running.NEVER) == 0
    assert.equal("done", (job:status()))
    assert.is_true(polls < 20, polls)
    local since = native.clock()
    assert.equal(0, Poll(running.NEVER))
    assert.is_true(native.clock() - since < running.NEVER / 2)
  end)

  it("waits for no job whose last callback calls it (R9)", function()
    local function assert_returns()
      local since = native.clock()
      assert.equal(0, Poll(running.NEVER))
      assert.is_true(native.clock() - since < running.NEVER / 2)
    end
    local calls = 0
    local job = RunAsync { tasks = { { func = identity, args = { 1 } } }, onComplete = function()
      assert_returns()
      calls = calls + 1
    end }
    job:wait()
    RunSync { tasks = { { func = identity, args = { 1 } } }, onComplete = function()
      assert_returns()
      calls = calls + 1
    end }
    assert.equal(2, calls)
  end)

  it("wakes for any of the jobs #native (R8)", function()
    local host, open = running.gate()
    host.sleep = ignore
    with_gma(host, function()
      local jobs = {}
      for i = 1, 3 do
        -- The host can't be waiting for the first two.
        jobs[i] = RunAsync { onComplete = ignore, tasks = { { func = i < 3 and function() gma.sleep(60) end or running.pass_gate } } }
      end
      open()
      local polls = 0
      repeat
        polls = polls + 1
        Poll(running.NEVER)
      until jobs[3]:status() == "done"
      assert.equal(2, gma2workers.cancelAll())
      running.poll_until(function() return Poll() == 0 end)
    end)
  end)

  it("returns after its time if nothing comes #native (R8)", function()
    with_gma({ sleep = ignore }, function()
      local job = RunAsync { tasks = { { func = function() gma.sleep(60) end } }, onComplete = ignore }
      assert.equal(1, Poll(0.02))
      assert.equal(1, Poll(-1))
      job:cancel()
      job:wait()
    end)
  end)

  it("is refused with what is no number", function()
    local ok, message = pcall(function() Poll("long") end)
    assert.is_false(ok)
    assert.truthy(message:find("bad argument #1 to 'Poll' (number or nil expected, got string)", 1, true), message)
  end)

  it("is not needed by other jobs while one waits: job:wait() turns all (R8)", function()
    local done, asked = 0, 0
    local function count() done = done + 1 end
    local host = {
      ask = function() asked = asked + 1 end,
      -- The last task ends when the others have.
      all_are_done = function() return done == 3 end,
    }
    with_gma(host, function()
      for _ = 1, 3 do
        RunAsync { tasks = { { func = function() gma.ask() end } }, onComplete = count }
      end
      local last = RunAsync { onComplete = ignore, tasks = { { func = function() return ask_until(gma.all_are_done) end } } }
      assert.is_true(last:wait().result[1].data)
      assert.same({ 3, 3 }, { done, asked })
    end)
  end)
end)
