-- Workers run at the same time, as many as asked for; the host gets progress reports, and may start other jobs meanwhile.

local gma2workers = require "gma2workers"
local crossing = require "spec.fixtures.crossing"
local running = require "spec.fixtures.running"

local RunSync, RunAsync, Poll = gma2workers.RunSync, gma2workers.RunAsync, gma2workers.Poll
local with_gma = crossing.with_gma
local each_mode, tasks_of, data_of, count_to = running.each_mode, running.tasks, running.data, running.count_to
local poll_until, ask_until, gate, pass_gate = running.poll_until, running.ask_until, running.gate, running.pass_gate

local function double(n)
  return 2 * n
end

-- A host that counts arrivals; and a task that arrives, and stays until the given number has arrived.
local function meeting()
  local arrived = 0
  return {
    arrive = function() arrived = arrived + 1 end,
    all_here = function(count) return arrived >= count end,
  }
end

local function meet(_, count)
  gma.arrive()
  return ask_until(gma.all_here, count)
end

local function always(n)
  local list = {}
  for i = 1, n do
    list[i] = true
  end
  return list
end

describe("workers", function()
  each_mode(function(mode)
    for _, count in ipairs { 2, 6, 32 } do
      it(("of one job run at the same time, even beyond the number of cores: %d #native"):format(count), function()
        with_gma(meeting(), function()
          local response = RunSync { tasks = tasks_of(count, meet, count), workers = count, mode = mode }
          assert.same(always(count), data_of(response))
          assert.equal(count, response.workerCount)
        end)
      end)
    end

    it("of twenty jobs run at the same time #native", function()
      local responses = {}
      with_gma(meeting(), function()
        for i = 1, 20 do
          RunAsync { tasks = tasks_of(1, meet, 20), workers = 1, mode = mode,
            onComplete = function(response) responses[#responses + 1] = data_of(response)[1] and i end }
        end
        poll_until(function() return #responses == 20 end)
      end)
      table.sort(responses)
      assert.same(count_to(20), responses)
    end)

    for _, limit in ipairs { 1, 2, 3, 5 } do
      it(("are never more than asked for: %d #native"):format(limit), function()
        local inside, most = 0, 0
        local host = {
          enter = function() inside = inside + 1 most = math.max(most, inside) end,
          leave = function() inside = inside - 1 end,
          full = function(count) return most >= count end,
        }
        local function stay(_, count)
          gma.enter()
          local was_full = ask_until(gma.full, count)
          -- Time for one too many to arrive.
          for _ = 1, 20 do
            gma.full(count)
          end
          gma.leave()
          return was_full
        end
        with_gma(host, function()
          local response = RunSync { tasks = tasks_of(40, stay, limit), workers = limit, mode = mode }
          assert.same(always(40), data_of(response))
          assert.equal(limit, response.workerCount)
        end)
        assert.same({ 0, limit }, { inside, most })
      end)
    end

    it("are as many as a text says #native", function()
      with_gma(meeting(), function()
        assert.same(always(4), data_of(RunSync { tasks = tasks_of(4, meet, 4), workers = " 4 ", mode = mode }))
      end)
    end)

    it("take the next task while others are busy #native", function()
      -- One task is held up until all the others have ended.
      local host, open = gate()
      local ended = 0
      host.ended = function()
        ended = ended + 1
        if ended == 30 then
          open()
        end
      end
      local function task(n)
        if n == 1 then
          return pass_gate(n)
        end
        gma.ended()
        return n
      end
      with_gma(host, function()
        assert.same(count_to(31), data_of(RunSync { tasks = tasks_of(31, task), workers = 3, mode = mode }))
      end)
    end)
  end)

  it("start no other task on a thread that waits for the host (D4)", function()
    local log = {}
    with_gma({ say = function(text) log[#log + 1] = text end }, function()
      RunSync { workers = 1, tasks = tasks_of(3, function(n)
        for i = 1, 3 do
          gma.say(n .. "." .. i)
        end
      end) }
    end)
    assert.same({ "1.1", "1.2", "1.3", "2.1", "2.2", "2.3", "3.1", "3.2", "3.3" }, log)
  end)
end)

describe("onProgress", function()
  -- Jobs whose host calls run the pump far more often than progress may be reported.
  local function busy(n)
    for i = 1, 20 do
      gma.call(i)
    end
    return n % 7 == 0 and error("no " .. n) or n
  end

  local function assert_rising(told, total, seconds)
    local before = -1
    for _, call in ipairs(told) do
      assert.equal(2, call.n)
      assert.same({ "integer", total }, { math.type(call[1]), call[2] })
      assert.is_true(call[1] > before and call[1] <= total)
      before = call[1]
    end
    assert.equal(total, before)
    -- The first and the last report come on top.
    assert.is_true(#told <= 20 * seconds + 2, ("%d calls in %g seconds"):format(#told, seconds))
  end

  each_mode(function(mode)
    for workers = 1, 3, 2 do
      it(("rises to the total, at most about 20 times a second: %d workers"):format(workers), function()
        local told = {}
        with_gma({ call = double }, function()
          local response = RunSync { tasks = tasks_of(300, busy), workers = workers, mode = mode,
            onProgress = function(...) told[#told + 1] = table.pack(...) end }
          assert_rising(told, 300, response.duration)
        end)
      end)
    end

    it("is called while tasks run, and for the last time before onComplete #native", function()
      local seen, log = -1, {}
      local function wait_until_told(n)
        return n == 1 or ask_until(gma.is_told, n - 1)
      end
      local response
      with_gma({ is_told = function(n) return seen >= n end }, function()
        local job = RunAsync { tasks = tasks_of(3, wait_until_told), workers = 1, mode = mode,
          onProgress = function(done) seen = done log[#log + 1] = done end,
          onComplete = function() log[#log + 1] = "complete" end }
        response = job:wait()
      end)
      assert.same(always(3), data_of(response))
      assert.same({ 1, 2, 3, "complete" }, { table.unpack(log, log[1] == 0 and 2 or 1) })
    end)
  end)

  it("is not called again after it has raised an error, and the job goes on (E4)", function()
    local calls, completed, echoed, response = 0, 0, {}, nil
    with_gma({ echo = function(text) echoed[#echoed + 1] = text end }, function()
      response = RunAsync({ tasks = tasks_of(500, double), workers = 2, onComplete = function() completed = completed + 1 end,
        onProgress = function() calls = calls + 1 error("boom", 0) end }):wait()
    end)
    assert.equal(1, #echoed)
    assert.is_truthy(echoed[1]:find("boom\nstack traceback:", 1, true), echoed[1])
    assert.same({ 1, 1, 1000 }, { calls, completed, response.result[500].data })
  end)
end)

describe("a job started", function()
  local function nested(n, workers)
    return data_of(RunSync { tasks = tasks_of(4, function(i, factor) return i * factor end, n), workers = workers })[4]
  end

  for _, workers in ipairs { 1, 4 } do
    each_mode(function(mode)
      it(("inside a host call gives its results, and the outer job goes on: %d workers (D2) #native"):format(workers), function()
        with_gma({ nested = function(n) return nested(n, workers) end }, function()
          local response = RunSync { tasks = tasks_of(20, function(n) return gma.nested(n) end), workers = workers,
            mode = mode }
          for i, value in ipairs(data_of(response)) do
            assert.equal(4 * i, value)
          end
        end)
      end)

      for _, name in ipairs { "onComplete", "onProgress" } do
        it(("inside %s runs, and so does the outer job: %d workers (D2)"):format(name, workers), function()
          for run_name, run in pairs { RunSync = RunSync, RunAsync = RunAsync } do
            local inner = {}
            with_gma({ call = double }, function()
              local options = { tasks = tasks_of(20, function(n) return gma.call(n) end), workers = workers, mode = mode,
                onComplete = function() end }
              options[name] = function() inner[#inner + 1] = nested(5, workers) end
              local response = run(options)
              response = run_name == "RunAsync" and response:wait() or response
              assert.equal(40, data_of(response)[20])
            end)
            assert.is_true(#inner > 0)
            for _, value in ipairs(inner) do
              assert.equal(20, value)
            end
          end
        end)
      end

      it(("inside a coroutine of the host runs: %d workers (D8)"):format(workers), function()
        with_gma({ call = double }, function()
          local run = coroutine.wrap(function()
            local values = data_of(RunSync { tasks = tasks_of(9, function(n) return gma.call(n) end), workers = workers,
              mode = mode })
            coroutine.yield(values[9])
            return nested(3, workers)
          end)
          assert.same({ 18, 12 }, { run(), run() })
        end)
      end)
    end)
  end

  it("inside a host call of a job that was itself started inside a host call runs, too (D2) #native", function()
    local depth = 0
    local function deeper()
      depth = depth + 1
      return depth < 5 and data_of(RunSync { tasks = tasks_of(2, function() return gma.deeper() end), workers = 1 })[1]
        or depth
    end
    with_gma({ deeper = deeper }, function()
      assert.is_true(data_of(RunSync { tasks = tasks_of(1, function() return gma.deeper() end) })[1] >= 5)
    end)
  end)

  it("while another waits for the host is served, too #native", function()
    local host, open = gate()
    with_gma(host, function()
      local waiting = RunAsync { tasks = tasks_of(2, pass_gate), onComplete = open }
      assert.equal(12, nested(3, 2))
      assert.equal("running", (waiting:status()))
      assert.equal(1, Poll())
      open()
      assert.same({ 1, 2 }, data_of(waiting:wait()))
    end)
  end)
end)
