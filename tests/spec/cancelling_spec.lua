-- Cancelled jobs: running tasks are stopped, whatever they do; waiting tasks never start; the response still comes.

local gma2workers = require "gma2workers"
local native = require "consolenative"
local crossing = require "spec.fixtures.crossing"
local endless = require "spec.fixtures.endless"
local running = require "spec.fixtures.running"
local signal = require "spec.fixtures.signal"
local stops = require "spec.fixtures.stops"

local AMPLE, SOON, host, spin = stops.AMPLE, stops.SOON, stops.host, stops.spin
local good_job, assert_reused = stops.good_job, stops.assert_reused
local RunSync, RunAsync, info = gma2workers.RunSync, gma2workers.RunAsync, gma2workers.info
local with_gma, each_mode, tasks_of, poll_until = crossing.with_gma, running.each_mode, running.tasks, running.poll_until
local await = signal.await

local function identity(...) return ... end
local function loop() while true do end end

-- The threads of finished jobs come back; otherwise the pool would create more and more.
local function assert_idle()
  for _ = 1, 50 do
    local threads = info.threads
    good_job(math.min(threads, 256))
    if info.threads <= threads then
      return
    end
  end
  error("threads don't come back")
end

-- In a task: tells the host that it has begun.
local function begin(func, ...)
  gma.echo()
  return func(...)
end

local CANCELLED = { success = false, data = "Error: cancelled", kind = "cancelled" }

describe("a cancelled job", function()
  each_mode(function(mode)
    for name, func in pairs(endless.tasks) do
      it(("stops a task in %s, and its worker goes on #native"):format(name), function()
        good_job()
        local threads, begun, response = info.threads, 0, nil
        with_gma({ sleep = host.sleep, probe = host.probe, echo = function() begun = begun + 1 end }, function()
          local job = RunAsync { tasks = { { func = begin, args = { func } }, { func = identity } }, workers = 1, mode = mode,
            memoryLimit = 16 << 20, onComplete = identity }
          poll_until(function() return begun > 0 end)
          spin(0.002)
          assert.is_true(job:cancel())
          response = job:wait(SOON)
        end)
        assert.is_truthy(response, "it is still running")
        assert.is_true(response.cancelled)
        local stopped = response.result[1]
        -- The stop may also hit `begin`, which has called the host but not yet the function.
        assert.is_truthy(tostring(stopped.traceback):find("%w+%.lua:%d*:? in "), stopped.traceback)
        stopped.traceback = nil
        assert.same({ CANCELLED, CANCELLED }, response.result)
        assert_reused(threads)
      end)
    end

    it("keeps finished results, stops running tasks and starts no more; onComplete gets the response once (M6) #native", function()
      local begun, calls = {}, {}
      with_gma({ echo = function(n) begun[#begun + 1] = n end }, function()
        local job = RunAsync { tasks = tasks_of(10, function(n) gma.echo(n) return n < 3 and n or loop() end), workers = 1, mode = mode,
          onComplete = function(response) calls[#calls + 1] = response end }
        poll_until(function() return begun[3] end)
        assert.is_true(job:cancel())
        job:cancel()
        assert.same({ "cancelled", 10, 0 }, { job:status(), select(3, job:status()), #calls })
        local response = job:wait(SOON)
        assert.same({ 1, 2, "cancelled", true }, { response.result[1].data, response.result[2].data, response.result[3].kind,
          response.cancelled })
        for i = 4, 10 do
          assert.same(CANCELLED, response.result[i])
        end
        assert.same({ 1, 2, 3 }, begun)
        assert.same({ "cancelled", 10, 10 }, { job:status() })
        assert.is_true(job:wait() == response and calls[1] == response)
        assert.same({ false, 0, 1 }, { job:cancel(), gma2workers.Poll(), #calls })
      end)
    end)

    it("is reported to onComplete once by an engine (M6) #native", function()
      local calls, begun = {}, nil
      local engine = running.in_engine({}, function()
        _G.gma.note = function(n) begun = n end
        local job = RunAsync { tasks = tasks_of(4, function(n) gma.note(n) loop() end), workers = 1, mode = mode,
          onComplete = function(response) calls[#calls + 1] = response end }
        repeat _G.gma.sleep(0.01) until begun
        job:cancel()
      end)
      assert.same({ 1, true, "cancelled", "cancelled" }, { #calls, calls[1].cancelled, calls[1].result[1].kind,
        calls[1].result[4].kind })
      assert.same({ 1, {} }, { begun, engine:texts("error") })
    end)
  end)

  it("has a record for each task, wherever it was cancelled", function()
    for _ = 1, 50 do
      local job = RunAsync { tasks = tasks_of(20, identity), workers = 3, onComplete = identity }
      job:cancel()
      local response = job:wait(SOON)
      assert.same({ 20, true }, { #response.result, response.cancelled })
      for i, entry in ipairs(response.result) do
        entry.traceback = nil
        assert.same(entry.success and { success = true, data = i } or CANCELLED, entry)
      end
    end
    local empty = RunAsync { tasks = {}, onComplete = identity }
    empty:cancel()
    assert.same({}, empty:wait(SOON).result)
  end)

  it("shows what its tasks echoed before #native", function()
    local shown = {}
    with_gma({ echo = function(n) shown[#shown + 1] = n end }, function()
      signal.with(function(path)
        local set = signal.set
        local job = RunAsync { tasks = { { func = function(name)
          for i = 1, 100 do gma.echo(i) end
          set(name, "told")
          loop()
        end, args = { path } } }, onComplete = function() shown[#shown + 1] = "over" end }
        assert.is_true(await(path, "told"))
        job:cancel()
        job:wait(SOON)
      end)
    end)
    assert.equal("over", table.remove(shown))
    assert.same(running.count_to(100), shown)
  end)

  it("leaves other jobs alone #native", function()
    local gate, open = running.gate()
    with_gma(gate, function()
      local jobs = {}
      for i = 1, 4 do
        jobs[i] = RunAsync { tasks = tasks_of(3, running.pass_gate), workers = 2, onComplete = identity }
      end
      jobs[1]:cancel()
      jobs[3]:cancel()
      assert.is_true(jobs[1]:wait(SOON).cancelled and jobs[3]:wait(SOON).cancelled)
      open()
      for _, i in ipairs { 2, 4 } do
        local response = jobs[i]:wait(AMPLE)
        assert.same({ 1, 2, 3 }, running.data(response))
        assert.is_nil(response.cancelled)
        assert.same({ "done", 3, 3 }, { jobs[i]:status() })
      end
    end)
  end)

  it("can be cancelled in its own host call, which releases the waiting task (H9) #native", function()
    local job, calls = nil, 0
    with_gma({ ask = function() spin(0.02) job:cancel() return 1 end }, function()
      job = RunAsync { tasks = tasks_of(6, function() return gma.ask() end), workers = 4, onComplete = function() calls = calls + 1 end }
      local response = job:wait(SOON)
      assert.is_truthy(response, "it is still running")
      for _, entry in ipairs(response.result) do
        assert.equal("cancelled", entry.kind)
      end
    end)
    assert.equal(1, calls)
    assert_idle()
  end)

  it("releases a task while the host's function is suspended (H9)", function()
    local response, in_call, go
    running.in_engine({}, function()
      _G.gma.slow = function()
        in_call = true
        repeat _G.gma.sleep(0.01) until go
      end
      local job = RunAsync { tasks = tasks_of(1, function() gma.slow() end), onComplete = function(got) response = got end }
      repeat _G.gma.sleep(0.01) until in_call
      job:cancel()
      local deadline = native.clock() + SOON
      repeat _G.gma.sleep(0.01) until select(2, job:status()) == 1 or native.clock() > deadline
      in_call, go = select(2, job:status()), true
    end)
    assert.same({ 1, "cancelled" }, { in_call, response.result[1].kind })
  end)

  it("can be cancelled in onProgress, which still reports the end #native", function()
    local job, told, cancelled_at = nil, nil, nil
    with_gma({ open = function() return false end }, function()
      local pass_gate = running.pass_gate
      job = RunAsync { tasks = tasks_of(20, function(n) return n <= 2 and n or pass_gate(n) end), workers = 1, onComplete = identity,
        onProgress = function(done, total)
          told = { done, total }
          if done == 2 and job:cancel() then
            cancelled_at = done
          end
        end }
      local response = job:wait(AMPLE)
      assert.same({ 1, 2, "cancelled", true }, { response.result[1].data, response.result[2].data, response.result[20].kind,
        response.cancelled })
    end)
    assert.same({ 2, { 20, 20 } }, { cancelled_at, told })
  end)

  it("can be cancelled in another job's onComplete, but not in its own #native", function()
    local first, second, calls = nil, nil, {}
    with_gma({ open = function() return false end }, function()
      first = RunAsync { tasks = tasks_of(2, running.pass_gate), onComplete = function(response) calls.first = response end }
      second = RunAsync { tasks = tasks_of(2, identity), onComplete = function(response)
        calls.second = { response.cancelled, second:cancel(), second:status() }
        first:cancel()
      end }
      poll_until(function() return calls.first end)
    end)
    assert.same({ nil, false, "done", 2, 2 }, calls.second)
    assert.same({ true, "cancelled" }, { calls.first.cancelled, calls.first.result[2].kind })
  end)

  it("was still running: after its end, cancel returns false and changes nothing", function()
    local job = RunAsync { tasks = tasks_of(2, identity), onComplete = identity }
    local response = job:wait(AMPLE)
    assert.same({ false, false, "done" }, { job:cancel(), job:cancel(), (job:status()) })
    assert.is_nil(response.cancelled)
    for shown, wrong in pairs { ["got nil"] = false, ["got table"] = {}, ["got string"] = "Job_1" } do
      local line = debug.getinfo(1, "l").currentline + 1
      local ok, message = pcall(function() job.cancel(wrong or nil) end)
      assert.is_false(ok)
      local expected = ("cancelling_spec.lua:%d: bad argument #1 to 'cancel' %%(job expected, %s"):format(line, shown)
      assert.is_truthy(message:find(expected), message)
    end
  end)
end)

describe("a job that ends by an error of the pump #native", function()
  it("releases its waiting tasks (H9)", function()
    for _ = 1, 10 do
      with_gma({ ask = function() error("interrupted!", 0) end }, function()
        local ok, message = pcall(RunSync, { tasks = tasks_of(6, function() return gma.ask() end), workers = 3 })
        assert.same({ false, "interrupted!" }, { ok, message })
      end)
    end
    assert_idle()
  end)
end)
