-- Jobs run: at once or in the background, in both modes, with any number of tasks and workers, on any host.

local gma2workers = require "gma2workers"
local native = require "consolenative"
local crossing = require "spec.fixtures.crossing"
local running = require "spec.fixtures.running"
local stock = require "spec.fixtures.stock"

local RunSync, RunAsync, Poll = gma2workers.RunSync, gma2workers.RunAsync, gma2workers.Poll
local with_gma = crossing.with_gma
local each_mode, tasks_of, data_of, count_to = running.each_mode, running.tasks, running.data, running.count_to
local poll_until, ask_until, gate, pass_gate = running.poll_until, running.ask_until, running.gate, running.pass_gate

local function identity(...)
  return ...
end

local function fail(n)
  error("no " .. n)
end

describe("RunSync", function()
  it("is also called Dispatch", function()
    assert.equal(gma2workers.RunSync, gma2workers.Dispatch)
  end)

  each_mode(function(mode)
    it("blocks until all tasks have ended, and returns the response", function()
      local response = RunSync { tasks = tasks_of(50, identity, "x"), mode = mode, workers = 3 }
      assert.equal(50, #response.result)
      for i, entry in ipairs(response.result) do
        assert.same({ success = true, data = i, returns = { i, "x", n = 2 } }, entry)
      end
      response.result = nil
      assert.same({ "number", 3, 0 }, { math.type(response.duration) and "number", response.workerCount, response.failed })
      assert.is_truthy(response.jobId:find("^Job_."))
      response.duration, response.workerCount, response.jobId, response.failed = nil, nil, nil, nil
      assert.same({}, response)
    end)

    it("puts each result at its task's index, in whatever order they end (M1) #native", function()
      local function work(n)
        return ask_until(gma.is_turn, n) and gma.ended(n)
      end
      local turns, ended
      local host = {
        is_turn = function(n) return turns[#ended + 1] == n end,
        ended = function(n) ended[#ended + 1] = n return n end,
      }
      with_gma(host, function()
        -- Four rounds have all of these orders.
        for round = 1, 24 do
          turns, ended = {}, {}
          -- Four tasks run at a time, so any order is right within each four.
          for i = 0, 15 do
            turns[i + 1] = i - i % 4 + (i * (round % 2 * 2 + 1) + round) % 4 + 1
          end
          assert.same(count_to(16), data_of(RunSync { tasks = tasks_of(16, work), workers = 4, mode = mode }))
          assert.same(turns, ended)
        end
      end)
    end)

    it("starts the tasks in the list's order", function()
      for workers = 1, 4 do
        local started = {}
        with_gma({ start = function(n) started[#started + 1] = n end }, function()
          RunSync { tasks = tasks_of(100, function(n) gma.start(n) end), workers = workers, mode = mode }
        end)
        -- Only tasks that run at the same time may be reported out of turn.
        local seen, missing, last = {}, 0, 0
        for _, n in ipairs(started) do
          missing = n > last and missing + n - last - 1 or missing - 1
          last, seen[n] = math.max(last, n), true
          assert.is_true(missing < workers, ("%d tasks before task %d had not started"):format(missing, last))
        end
        assert.equal(100, #seen)
      end
    end)
  end)

  it("measures the wall seconds from the call until the results are there #native", function()
    local first, last
    local before = native.clock()
    local response
    with_gma({ mark = function() last = native.clock() first = first or last end }, function()
      response = RunSync { tasks = tasks_of(20, function() for _ = 1, 50 do gma.mark() end end), workers = 2 }
    end)
    local outside = native.clock() - before
    assert.is_true(response.duration >= last - first and response.duration <= outside)
  end)

  it("gives each job an id of its own", function()
    local seen = {}
    for i = 1, 200 do
      local id = RunSync({ tasks = tasks_of(i % 2, identity) }).jobId
      assert.is_nil(seen[id])
      seen[id] = true
    end
  end)

  it("keeps a record for a task that returns nothing (M4)", function()
    local nothing, a_nil, two, nils, falsity = table.unpack(RunSync({ tasks = {
      { func = function() end }, { func = function() return nil end }, { func = function() return 1, nil end },
      { func = function() return nil, nil, nil end }, { func = function() return false end } } }).result)
    assert.same({ success = true }, nothing)
    assert.same({ success = true }, a_nil)
    assert.same({ success = true, data = 1, returns = { 1, n = 2 } }, two)
    assert.same({ success = true, returns = { n = 3 } }, nils)
    assert.same({ success = true, data = false }, falsity)
  end)

  it("passes arguments with inner nils and args.n", function()
    local function pack(...) return table.pack(...) end
    local results = data_of(RunSync { tasks = { { func = pack }, { func = pack, args = {} },
      { func = pack, args = { 1, nil, 3 } }, { func = pack, args = { nil, nil, 3, n = 5 } },
      { func = pack, args = { 1, 2, 3, n = 2 } }, { func = pack, args = table.pack(nil, nil) } } })
    assert.same({ { n = 0 }, { n = 0 }, { 1, nil, 3, n = 3 }, { nil, nil, 3, n = 5 }, { 1, 2, n = 2 }, { n = 2 } },
      results)
  end)

  it("accepts a callable table as a function, and passes it as the first argument", function()
    local adder = setmetatable({ base = 10 }, { __call = function(self, n) return self.base + n end })
    assert.same({ 11, 12, 13 }, data_of(RunSync { tasks = tasks_of(3, adder) }))
  end)

  it("without tasks returns an empty response at once, and calls its callback (M3)", function()
    for _, mode in ipairs(running.MODES) do
      local told = {}
      local response = RunSync { tasks = {}, mode = mode, onComplete = function(got) told[#told + 1] = got end,
        onProgress = function(done, total) told[#told + 1] = done + total end }
      assert.same({}, response.result)
      assert.equal(0, response.workerCount)
      assert.equal("Job_", response.jobId:sub(1, 4))
      assert.is_true(told[#told] == response)
    end
  end)

  it("calls onComplete once, with the response, just before it returns (M6)", function()
    for _, func in ipairs { identity, fail } do
      local calls = {}
      local response = RunSync { tasks = tasks_of(9, func), onComplete = function(...) calls[#calls + 1] = { ... } end }
      assert.equal(1, #calls)
      assert.is_true(#calls[1] == 1 and calls[1][1] == response)
    end
  end)

  it("raises an error of onComplete or onProgress once the job is over (E4)", function()
    local value = { "mine" }
    for _, raised in ipairs { "plain", value } do
      for _, name in ipairs { "onComplete", "onProgress" } do
        local progress, completed = 0, nil
        local options = { tasks = tasks_of(200, function(n) return n end), workers = 2,
          onProgress = function() progress = progress + 1 end, onComplete = function(got) completed = got end }
        local kept = options[name]
        options[name] = function(...)
          kept(...)
          error(raised, 0)
        end
        local ok, problem = pcall(RunSync, options)
        assert.is_false(ok)
        assert.equal(raised, problem)
        assert.same(count_to(200), data_of(completed))
        assert.is_true(name == "onComplete" or progress == 1)
        assert.equal(0, Poll())
      end
    end
    assert.equal(5, crossing.call(identity, 5))
  end)
end)

describe("RunAsync on a host without an engine", function()
  local function alone(name, body)
    it(name, function()
      with_gma(nil, body)
    end)
  end

  each_mode(function(mode)
    alone("returns first; Poll turns the job, and calls onComplete once (M6)", function()
      for _, func in ipairs { identity, fail } do
        local calls = {}
        local job = RunAsync { tasks = tasks_of(5, func), mode = mode,
          onComplete = function(response) calls[#calls + 1] = response end }
        assert.equal(0, #calls)
        assert.same({ "running", 5 }, { job:status(), select(3, job:status()) })
        poll_until(function() return calls[1] end)
        for _ = 1, 3 do
          assert.equal(0, Poll())
        end
        assert.equal(1, #calls)
        assert.same({ "done", 5, 5 }, { job:status() })
        assert.equal(func == identity, calls[1].result[5].success)
        assert.is_true(job:wait() == calls[1] and job:wait(0) == calls[1])
        assert.equal(job.id, calls[1].jobId)
        assert.equal(1, #calls)
      end
    end)

    alone("runs an empty list, too (M3)", function()
      local calls = 0
      local job = RunAsync { tasks = {}, mode = mode, onComplete = function() calls = calls + 1 end }
      assert.equal(0, calls)
      assert.same({}, job:wait().result)
      assert.equal(1, calls)
    end)

    alone("reads the list once: what becomes of it later is no matter (M7)", function()
      local tasks, calls = tasks_of(3, identity, { "kept" }), 0
      local job = RunAsync { tasks = tasks, mode = mode, workers = 1, onComplete = function() calls = calls + 1 end }
      tasks[1], tasks[2].func, tasks[3].args[2][1], tasks[4] = nil, error, "changed", { func = error }
      local response = job:wait(running.NEVER)
      assert.same({ 1, 2, 3 }, data_of(response))
      assert.equal("kept", response.result[3].returns[2][1])
      assert.equal(1, calls)
    end)
  end)

  it("job:wait returns nil when its time is over, and the response once there is one #native", function()
    local host, open = gate()
    with_gma(host, function()
      local calls = 0
      local job = RunAsync { tasks = tasks_of(3, pass_gate), workers = 2, onComplete = function() calls = calls + 1 end }
      local before = native.clock()
      assert.is_nil(job:wait(0.05))
      assert.is_true(native.clock() - before >= 0.05)
      assert.is_nil(job:wait(0))
      assert.is_nil(job:wait(-1))
      assert.same({ "running", 0, 3 }, { job:status() })
      assert.equal(1, Poll())
      open()
      assert.same({ 1, 2, 3 }, data_of(job:wait()))
      assert.same({ "done", 3, 3 }, { job:status() })
      assert.equal(1, calls)
    end)
  end)

  it("job:status counts the tasks that are done", function()
    local host, open = gate()
    with_gma(host, function()
      local job = RunAsync { tasks = tasks_of(5, function(n) return n <= 2 or ask_until(gma.open) end), workers = 1,
        onComplete = identity }
      poll_until(function() return select(2, job:status()) == 2 end)
      assert.same({ "running", 2, 5 }, { job:status() })
      open()
      job:wait()
      assert.same({ "done", 5, 5 }, { job:status() })
    end)
  end)

  alone("needs no handle: dropping it changes nothing", function()
    local calls = 0
    for _ = 1, 5 do
      RunAsync { tasks = tasks_of(20, identity), onComplete = function() calls = calls + 1 end }
    end
    collectgarbage()
    collectgarbage()
    poll_until(function() return calls == 5 end)
    assert.equal(0, Poll())
  end)

  alone("runs twenty jobs beside each other, and Poll counts those that run", function()
    local order, jobs = {}, {}
    for i = 1, 20 do
      jobs[i] = RunAsync { tasks = tasks_of(i, function(n, job) return job * n end, i), mode = running.MODES[i % 2 + 1],
        workers = 3, onComplete = function(response) order[#order + 1] = { job = i, response = response } end }
    end
    assert.is_true(Poll() <= 20)
    poll_until(function() return #order == 20 end)
    assert.equal(0, Poll())
    for _, done in ipairs(order) do
      assert.equal(done.job, #done.response.result)
      assert.equal(done.job * done.job, data_of(done.response)[done.job])
      assert.is_true(jobs[done.job]:wait() == done.response)
    end
  end)

  it("Poll counts the jobs that wait #native", function()
    local host, open = gate()
    with_gma(host, function()
      for i = 1, 7 do
        RunAsync { tasks = tasks_of(1, pass_gate), onComplete = identity }
        assert.equal(i, Poll())
      end
      open()
      poll_until(function() return Poll() == 0 end)
    end)
  end)

  it("shows an error of a callback on stderr, and goes on (E4)", function()
    local text = stock.run([[
      local gma2workers = require "gma2workers"
      local tasks, done = { { func = type, args = { 1 } } }, 0
      local function complete() done = done + 1 end
      gma2workers.RunAsync { tasks = tasks, onComplete = function() complete() error("boom in onComplete") end }
      gma2workers.RunAsync { tasks = tasks, onComplete = complete, onProgress = function() error({ code = 42 }) end }
      gma2workers.RunAsync { tasks = tasks, onComplete = complete }
      repeat until gma2workers.Poll() == 0
      print("done: " .. done)
    ]])
    assert.is_truthy(text:find("%.?[%w_/\\:~]+:%d+: boom in onComplete\nstack traceback:\n"), text)
    assert.is_truthy(text:find("error in a callback: { code = 42 }\n", 1, true), text)
    assert.is_truthy(text:find("done: 3\n", 1, true), text)
  end)

  alone("lets a callback use everything (D5)", function()
    local log, inner, job = {}, nil, nil
    job = RunAsync { tasks = tasks_of(2, identity), onComplete = function(response)
      log[#log + 1] = (job:status())
      log[#log + 1] = job:wait() == response and job:wait(0) == response
      log[#log + 1] = Poll()
      collectgarbage()
      inner = RunAsync { tasks = tasks_of(3, identity), onComplete = function() log[#log + 1] = "inner" end }
      local count = #inner:wait().result
      log[#log + 1] = count
    end }
    job:wait()
    assert.same({ "done", true, 0, "inner", 3 }, log)
  end)
end)

describe("many", function()
  it("jobs in one process: a thousand #long", function()
    for i = 1, 1000 do
      local response = RunSync { tasks = tasks_of(2, identity), workers = i % 3 + 1, mode = i % 10 == 0 and "cmd" or nil }
      assert.is_true(response.result[1].data == 1 and response.result[2].data == 2)
    end
    assert.equal(0, Poll())
  end)

  it("tasks in one job: twenty thousand", function()
    local response = RunSync { tasks = tasks_of(20000, function(n) return 2 * n end), workers = 4 }
    assert.equal(20000, #response.result)
    for i, entry in ipairs(response.result) do
      assert(entry.success and entry.data == 2 * i, i)
    end
  end)

  it("tasks with many host calls each, on one worker: all are served (D3)", function()
    local served = 0
    with_gma({ call = function(n) served = served + 1 return n end }, function()
      local tasks = tasks_of(1000, function(n)
        local sum = 0
        for i = 1, 10 do sum = sum + gma.call(i) end
        return sum + n
      end)
      assert.equal(55 + 1000, data_of(RunSync { tasks = tasks, workers = 1 })[1000])
    end)
    assert.equal(10000, served)
  end)

  it("short tasks do not wait for a long one (T9) #native", function()
    local short = 0
    with_gma({ short = function() short = short + 1 end, all_over = function() return short == 1000 end }, function()
      local tasks = tasks_of(1001, function(n)
        if n == 1 then
          return ask_until(gma.all_over)
        end
        gma.short()
      end)
      assert.is_true(RunSync({ tasks = tasks, workers = 2 }).result[1].data)
    end)
  end)
end)

describe("a million tasks in one job #long", function()
  it("gives each its own result (T10)", function()
    local function double(n)
      return n + n
    end
    local tasks = {}
    for i = 1, 1000000 do
      tasks[i] = { func = double, args = { i } }
    end
    local response = gma2workers.RunSync { tasks = tasks, workers = 2 }
    assert.equal(1000000, #response.result)
    for i, entry in ipairs(response.result) do
      if entry.data ~= i + i then
        error(("task %d gave %s"):format(i, tostring(entry.data)))
      end
    end
  end)
end)

describe("a finalizer of the host that uses the library while the pump runs #native", function()
  it("gets its results, and the job goes on (D6)", function()
    local inner, outer
    local function probe()
      setmetatable({}, { __gc = function()
        inner = gma2workers.RunSync { tasks = { { func = function() return "inner" end } } }
        gma2workers.Poll()
      end })
      collectgarbage()
      return "answered"
    end
    crossing.with_gma({ probe = probe }, function()
      outer = gma2workers.RunSync { tasks = { { func = function() return gma.probe() end } }, workers = 1 }
    end)
    assert.equal("inner", inner.result[1].data)
    assert.equal("answered", outer.result[1].data)
  end)
end)

describe("a job whose callback sleeps in a coroutine that is never resumed", function()
  it("makes no other job wait (D11)", function()
    local called = 0
    local job = RunAsync { tasks = { { func = function() return "done" end } }, onComplete = function()
      called = called + 1
      coroutine.yield(0.01)
    end }
    local waits = coroutine.create(function() job:wait() end)
    repeat coroutine.resume(waits) until called > 0
    assert.equal("done", job:wait().result[1].data)
    assert.equal(0, Poll())
    assert.equal("done", (job:status()))
    assert.equal(1, called)
  end)
end)

describe("a response that its callback has changed", function()
  it("harms neither its job nor another (D12)", function()
    local called = 0
    local function miss() return no_such_global.field end -- luacheck: ignore 113
    local job = RunAsync { tasks = { { func = identity }, { func = miss } }, onComplete = function(response)
      response.result = nil
      error("interrupted!", 0)
    end }
    local other = RunAsync { tasks = { { func = identity, args = { 1 } } }, onComplete = function() called = called + 1 end }
    pcall(job.wait, job)
    assert.same({ "done", 2, 2 }, { job:status() })
    assert.equal(1, other:wait().result[1].data)
    assert.equal(0, Poll())
    assert.equal(1, called)
  end)
end)

describe("a job that another coroutine ended, and whose callback sleeps there", function()
  it("still gives RunSync its response (D11)", function()
    local response
    local waits = coroutine.create(function()
      response = RunSync { tasks = { { func = function() return "done" end } }, onProgress = function() coroutine.yield(0.01) end }
    end)
    local polls = coroutine.create(function() while Poll() > 0 do coroutine.yield(0.01) end end)
    repeat
      coroutine.resume(waits)
      if coroutine.status(polls) ~= "dead" then
        coroutine.resume(polls)
      end
    until coroutine.status(waits) == "dead"
    assert.equal("done", response.result[1].data)
  end)
end)
