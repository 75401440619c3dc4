-- Tasks over their time limit are stopped, whatever they do. A task that can't be stopped is given up, so that its job and
-- the next ones go on.

local gma2workers = require "gma2workers"
local crossing = require "spec.fixtures.crossing"
local endless = require "spec.fixtures.endless"
local refusal = require "spec.fixtures.refusal"
local running = require "spec.fixtures.running"
local signal = require "spec.fixtures.signal"
local stops = require "spec.fixtures.stops"

local AMPLE, SOON, host, spin = stops.AMPLE, stops.SOON, stops.host, stops.spin
local good_job, assert_reused = stops.good_job, stops.assert_reused
local RunSync, RunAsync, info = gma2workers.RunSync, gma2workers.RunAsync, gma2workers.info
local with_gma, each_mode, tasks_of, poll_until = crossing.with_gma, running.each_mode, running.tasks, running.poll_until
local await, finalizer = signal.await, endless.stuck["a finalizer"]

local LIMIT = stops.LIMITS[1]
local response_in_time, has_timed_out = stops.response_in_time, stops.has_timed_out
local function identity(...) return ... end
local function loop() while true do end end
local function raise() error("caught", 0) end

local function good_after_all()
  poll_until(function() return info.lost == 0 end)
  good_job()
end

local function is_too_short_for_the_second(response)
  return response.result[2].kind == "timeout"
end

describe("a task over its time limit #native", function()
  each_mode(function(mode)
    for name, func in pairs(endless.tasks) do
      it(("is stopped in %s, and its worker goes on (T4)"):format(name), function()
        good_job()
        local threads = info.threads
        local response, limit = response_in_time(function(timeout)
          return with_gma(host, function()
            return RunSync { tasks = { { func = func }, { func = identity, args = { "next" } } }, workers = 1, timeout = timeout,
              mode = mode, memoryLimit = 16 << 20 }
          end)
        end, is_too_short_for_the_second)
        local stopped, good = table.unpack(response.result)
        assert.same({ false, "timeout", ("Error: timed out after %g s"):format(limit) }, { stopped.success, stopped.kind, stopped.data })
        assert.is_truthy(tostring(stopped.traceback):find("endless.lua:%d*:? in "), stopped.traceback)
        assert.same({ success = true, data = "next" }, good)
        assert.is_true(response.duration >= LIMIT and response.duration < SOON, response.duration)
        assert.is_nil(response.cancelled)
        assert_reused(threads)
      end)
    end
  end)

  it("has its own limit, whatever the job's is", function()
    local response, limit = response_in_time(function(timeout)
      return with_gma(host, function()
        return RunSync { tasks = tasks_of(8, function(n, seconds) gma.sleep(seconds) return n end, 0.15 * timeout), workers = 1,
          timeout = timeout }
      end)
    end, has_timed_out)
    assert.same(running.count_to(8), running.data(response))
    assert.is_true(response.duration > limit)
  end)

  it("has its own limit in place of the job's (T16)", function()
    local response, limit = response_in_time(function(timeout)
      return RunSync { workers = 1, timeout = timeout, tasks = { { func = loop }, { func = identity, args = { 2 } },
        { func = loop, timeout = 2 * timeout, name = "own" }, { func = identity, timeout = 1e300 },
        { func = identity, timeout = math.huge } } }
    end, is_too_short_for_the_second)
    local entries = response.result
    assert.equal(("Error: timed out after %g s"):format(limit), entries[1].data)
    assert.equal(("Error: timed out after %g s"):format(2 * limit), entries[3].data)
    assert.same({ true, true, true }, { entries[2].success, entries[4].success, entries[5].success })
  end)

  it("has the only limit of its job (T16)", function()
    local response = RunSync { tasks = { { func = loop, timeout = LIMIT }, { func = identity } } }
    assert.same({ "timeout", true }, { response.result[1].kind, response.result[2].success })
    response = RunSync { timeout = math.huge, tasks = { { func = loop, timeout = LIMIT }, { func = identity } } }
    assert.same({ "timeout", true }, { response.result[1].kind, response.result[2].success })
  end)

  it("has no limit if that is endless, in a job with one (T16)", function()
    local response = with_gma(host, function()
      return RunSync { timeout = LIMIT, tasks = { { func = function(s) gma.sleep(s) return 1 end, args = { 4 * LIMIT },
        timeout = math.huge } } }
    end)
    assert.same({ 1 }, running.data(response))
  end)

  local function counts_on()
    local n = 0
    while true do
      n = n + 1
    end
  end
  for name, func in pairs { ["a loop at its beginning"] = loop, ["a loop further on"] = counts_on } do
    it(("is reported with its place, line and name: %s (T4)"):format(name), function()
      local traceback = RunSync({ tasks = { { func = func, name = "the slow one" } }, timeout = LIMIT }).result[1].traceback
      assert.is_truthy(traceback:find("in task 1 'the slow one'", 1, true), traceback)
      local line, lines = tonumber(traceback:match("stopping_spec.lua:(%d+): in ")), debug.getinfo(func, "S")
      assert.is_truthy(line and line >= lines.linedefined and line <= lines.lastlinedefined, traceback)
    end)
  end

  it("is either finished or stopped, at whatever moment it ends", function()
    good_job(4)
    local threads = info.threads
    local result = with_gma(host, function()
      return RunSync({ tasks = tasks_of(80, function(n) gma.sleep(0.045 + n % 20 * 0.0005) return n, { n } end),
        workers = 4, timeout = LIMIT }).result
    end)
    for n, entry in ipairs(result) do
      assert.same(entry.success and { n, { n }, n = 2 } or "timeout", entry.success and entry.returns or entry.kind)
    end
    assert_reused(threads)
  end)

  it("is stopped as reliably the hundredth time", function()
    good_job(8)
    local threads = info.threads
    local tasks = tasks_of(100, function(n) return n % 5 == 0 and n or loop() end)
    local response = response_in_time(function(timeout)
      return RunSync { tasks = tasks, workers = 8, timeout = timeout }
    end, function(response)
      for n = 5, 100, 5 do
        if response.result[n].kind == "timeout" then
          return true
        end
      end
    end)
    for n, entry in ipairs(response.result) do
      assert.equal(n % 5 == 0 and n or "timeout", entry.data == n and n or entry.kind)
    end
    assert_reused(threads)
  end)
end)

describe("a time limit that is not reached #native", function()
  it("changes nothing (T6)", function()
    local list = { identity, raise, function() error({ { 5 }, 5 }) end, function() return coroutine.wrap(identity)(1) end,
      function() return select("#", pcall(error, nil)), string.format("%q", "x"), { { 1 } } end,
      function() return coroutine.create(loop) end, function() coroutine.wrap(function(n) n.x() end)({}) end,
      function() collectgarbage() return #("x"):rep(1 << 20) end }
    local tasks = {}
    for i, func in ipairs(list) do
      tasks[i] = { func = func, args = { i } }
    end
    -- The error's address differs each time.
    local function result(workers, timeout)
      local entries = RunSync({ tasks = tasks, workers = workers, timeout = timeout }).result
      entries[3].data = entries[3].data:gsub("table: .*", "a table")
      return entries
    end
    for _, workers in ipairs { 1, 3 } do
      local without = result(workers)
      for _, timeout in ipairs { AMPLE, AMPLE + 0.5 } do
        assert.same(without, result(workers, timeout))
      end
    end
  end)

  describe("must be a number of seconds above 0", function()
    refusal.each("timeout", { 0, -1, 0 / 0, -1 / 0, "soon", "1", "", {}, { 1 }, true, false, print },
      { "0", "-1", "", "-inf", '"soon"', '"1"', '""', "a table", "a table", "true", "false", "a function" })
  end)
end)

describe("time in host calls #native", function()
  it("does not count (H11)", function()
    local response = response_in_time(function(timeout)
      return with_gma({ slow = function(n) spin(0.6 * timeout) return n end }, function()
        return RunSync { tasks = tasks_of(4, function(n) return gma.slow(n) + gma.slow(n) end), workers = 3, timeout = timeout }
      end)
    end, has_timed_out)
    assert.same({ 2, 4, 6, 8 }, running.data(response))
  end)

  it("does not count if the host's function yields (H11)", function()
    local response = response_in_time(function(timeout)
      local got
      running.in_engine({}, function()
        _G.gma.slow = function(n) _G.gma.sleep(1.2 * timeout) return n end
        got = RunSync { tasks = tasks_of(2, function(n) return gma.slow(n) end), timeout = timeout }
      end)
      return got
    end, has_timed_out)
    assert.same({ 1, 2 }, running.data(response))
  end)

  it("does not count while a full queue delays gma.echo (H11, T12)", function()
    local shown
    local response = response_in_time(function(timeout)
      shown = 0
      local function echo(text)
        -- The library itself echoes a text about a failed task.
        shown = shown + (text and 0 or 1)
        if shown == 1 then spin(1.2 * timeout) end
      end
      return with_gma({ echo = echo }, function()
        return RunSync { tasks = tasks_of(1, function(n) for _ = 1, 1100 do gma.echo() end return n end), timeout = timeout }
      end)
    end, has_timed_out, { 0.5, 5 })
    assert.same({ 1 }, running.data(response))
    assert.equal(1100, shown)
  end)

  it("leaves the task the rest of its limit, and no more", function()
    with_gma({ slow = function() spin(0.2) end }, function()
      local response = RunSync { tasks = { { func = function() gma.slow() loop() end } }, timeout = LIMIT }
      assert.equal("timeout", response.result[1].kind)
      assert.is_true(response.duration >= 0.2 + LIMIT and response.duration < SOON)
    end)
  end)
end)

local function let_go(path)
  signal.set(path, "go")
  poll_until(function() return gma2workers.Poll() + info.lost == 0 end)
end

-- Runs `body` with the path of a signal file; afterwards no task is stuck and no job runs.
local function with_stuck(body)
  good_after_all()
  signal.with(function(path)
    signal.set(path, "wait")
    local ok, problem = pcall(body, path)
    let_go(path)
    good_job()
    assert(ok, problem)
  end)
end

-- The response of `run(limit)`, with a limit in which the tasks with odd numbers got stuck and the others ended.
local function response_of_stuck(path, run)
  return response_in_time(run, function(response)
    for _, entry in ipairs(response.result) do
      if entry.kind == "timeout" then
        let_go(path)
        signal.set(path, "wait")
        return true
      end
    end
  end)
end

local function assert_lost(entry, why)
  assert.same({ false, "lost" }, { entry.success, entry.kind }, entry.data)
  assert.is_truthy(entry.data:find("^Error: " .. why .. ".*could not be stopped"), entry.data)
end

describe("a task that can't be stopped #native", function()
  each_mode(function(mode)
    for name, func in pairs(endless.stuck) do
      it(("is given up in %s, and a late result is dropped (T5)"):format(name), function()
        with_stuck(function(path)
          local response = response_of_stuck(path, function(limit)
            return RunSync { tasks = { { func = func, args = { path } }, { func = identity, args = { "next" } } },
              workers = 1, timeout = limit, mode = mode }
          end)
          assert_lost(response.result[1], "timed out")
          local kept = crossing.call(identity, response.result)
          assert.same({ success = true, data = "next" }, response.result[2])
          assert.is_true(response.duration >= LIMIT and response.duration < SOON, response.duration)
          assert.equal(1, info.lost)
          for _ = 1, 10 do
            good_job(2)
          end
          signal.set(path, "go")
          poll_until(function()
            good_job(2)
            return info.lost == 0
          end)
          assert.same(kept, response.result)
        end)
      end)
    end
  end)

  it("is given up in a string.find that takes some seconds, and a late result is dropped (T5)", function()
    local response = response_in_time(function(limit)
      good_after_all()
      -- It is given up about a second after its limit; each longer limit leaves it more time until its end, too.
      local text, pattern = endless.long_find(3 + 5 * limit)
      return RunSync { tasks = { { func = string.find, args = { text, pattern } }, { func = identity, args = { "next" } } },
        workers = 1, timeout = limit }
    end, function(response)
      return response.result[1].success or is_too_short_for_the_second(response)
    end)
    assert_lost(response.result[1], "timed out")
    assert.same({ success = true, data = "next" }, response.result[2])
    assert.is_true(response.duration < SOON, response.duration)
    poll_until(function()
      good_job(2)
      return info.lost == 0
    end)
    assert_lost(response.result[1], "timed out")
    good_job(2)
  end)

  it("is one of several: each is given up and counted (T5)", function()
    with_stuck(function(path)
      local tasks = {}
      for i = 1, 6 do
        tasks[i] = { func = i % 2 == 0 and identity or finalizer, args = { i % 2 == 0 and i or path } }
      end
      local response = response_of_stuck(path, function(limit) return RunSync { tasks = tasks, workers = 1, timeout = limit } end)
      for i, entry in ipairs(response.result) do
        assert.equal(i % 2 == 0 and i or "lost", entry.kind or entry.data)
      end
      assert.is_true(response.duration < 2 * SOON, response.duration)
      assert.equal(3, info.lost)
    end)
  end)

  it("is given up in a cancelled job, too (T5)", function()
    with_stuck(function(path)
      with_gma({ echo = function() end }, function()
        local count, set = 0, signal.set
        local job = RunAsync { tasks = { { func = function(name)
          setmetatable({}, { __gc = function() set(name, "stuck") await(name, "go") end })
          collectgarbage()
        end, args = { path } }, { func = identity } }, workers = 1, onComplete = function() count = count + 1 end }
        assert.is_true(await(path, "stuck"))
        job:cancel()
        local response = job:wait(SOON)
        assert.is_truthy(response, "it is still running")
        assert_lost(response.result[1], "cancelled")
        assert.same({ "cancelled", true, 1, 1 }, { response.result[2].kind, response.cancelled, count, info.lost })
      end)
    end)
  end)

  it("is given up if it has changed a library's finalizer (T5)", function()
    with_stuck(function(path)
      local job = RunAsync { timeout = LIMIT, workers = 1, onComplete = identity, tasks = { { func = function(name)
        getmetatable(io.stdout).__gc = function() await(name, "go") end
        loop()
      end, args = { path } } } }
      local response = job:wait(SOON)
      assert.is_truthy(response, "the job does not end")
      assert.is_truthy(("timeout lost"):find(response.result[1].kind))
    end)
  end)

  it("gets no answer to its late host calls, and its worker comes back (T5, H6)", function()
    local calls = 0
    -- The library itself echoes a text about the failed task.
    local function count(text) calls = calls + (text and 0 or 1) end
    with_gma({ probe = count, echo = count }, function()
      signal.with(function(path)
        local response = response_of_stuck(path, function(limit)
          return RunSync { timeout = limit, workers = 1, tasks = { { func = function(name)
            setmetatable({}, { __gc = function() await(name, "go") gma.echo() gma.probe() end })
            collectgarbage()
          end, args = { path } } } }
        end)
        assert_lost(response.result[1], "timed out")
        signal.set(path, "go")
        poll_until(function()
          good_job(2)
          return info.lost == 0
        end)
        assert.equal(0, calls)
      end)
    end)
  end)
end)
