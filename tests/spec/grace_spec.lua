-- The option `grace`, and `isStopping`: a task that is cancelled or out of time may end by itself.

local gma2workers = require "gma2workers"
local crossing = require "spec.fixtures.crossing"
local running = require "spec.fixtures.running"
local stops = require "spec.fixtures.stops"

local RunSync, RunAsync = gma2workers.RunSync, gma2workers.RunAsync
local with_gma, each_mode, tasks_of, poll_until = crossing.with_gma, running.each_mode, running.tasks, running.poll_until
local isStopping, clock = gma2workers.isStopping, gma2workers.clock

local function identity(...) return ... end

-- A grace that no good task uses up.
local AMPLE = running.NEVER

describe("isStopping", function()
  it("is false on the host, and in a task that may go on (C11)", function()
    assert.is_false(isStopping())
    local response = RunSync { grace = 1, tasks = {
      { func = function() return isStopping() == false end },
      { func = function() return require("gma2workers").isStopping() == false end },
    } }
    assert.same({ true, true }, running.data(response))
  end)
end)

describe("a task with a grace", function()
  each_mode(function(mode)
    it("ends by itself when its time is over, and has timed out (C11) #native", function()
      local response = RunSync { mode = mode, workers = 1, timeout = 0.05, grace = AMPLE, tasks = {
        { func = function() while not isStopping() do end return "tidied up" end },
        { func = function() while not require("gma2workers").isStopping() do end error("gave up") end },
      } }
      for _, entry in ipairs(response.result) do
        assert.same({ false, "timeout", "Error: timed out after 0.05 s" }, { entry.success, entry.kind, entry.data })
      end
      assert.is_truthy(response.result[2].traceback:find("grace_spec.lua", 1, true))
      assert.is_true(response.duration < AMPLE / 2)
      stops.good_job()
    end)

    it("is stopped when its grace is over (C12) #native", function()
      local response = RunSync { mode = mode, workers = 1, timeout = 0.02, grace = 0.05,
        tasks = tasks_of(2, function() while true do pcall(isStopping) end end) }
      for _, entry in ipairs(response.result) do
        assert.same({ false, "timeout", "Error: timed out after 0.02 s" }, { entry.success, entry.kind, entry.data })
      end
      assert.is_true(response.duration >= 0.14)
      stops.good_job()
    end)

    it("ends by itself when its job is cancelled, and may call the host (C11) #native", function()
      local begun, notes, response = 0, {}, nil
      local engine = { begun = function() begun = begun + 1 end, note = function(n) notes[#notes + 1] = n return #notes end }
      with_gma(engine, function()
        local job = RunAsync { mode = mode, workers = 2, grace = AMPLE, onComplete = identity, tasks = tasks_of(4, function(n)
          gma.begun()
          while not isStopping() do end
          gma.note(n)
          return gma.note(n)
        end) }
        poll_until(function() return begun == 2 end)
        job:cancel()
        response = job:wait(stops.SOON)
      end)
      for n = 1, 4 do
        assert.same({ success = false, data = "Error: cancelled", kind = "cancelled" }, response.result[n])
      end
      table.sort(notes)
      assert.same({ 1, 1, 2, 2 }, notes)
      assert.is_true(response.cancelled)
      assert.equal(4, response.failed)
    end)
  end)

  it("is stopped after it when its job was cancelled (C12) #native", function()
    local begun, response = 0, nil
    with_gma({ begun = function() begun = begun + 1 end }, function()
      local job = RunAsync { workers = 1, grace = 0.05, onComplete = identity,
        tasks = tasks_of(2, function() gma.begun() while true do end end) }
      poll_until(function() return begun == 1 end)
      job:cancel()
      response = job:wait(stops.SOON)
    end)
    assert.same({ "cancelled", "cancelled" }, { response.result[1].kind, response.result[2].kind })
    stops.good_job()
  end)

  it("wakes from gma.sleep when it is told, and may sleep again (C13) #native", function()
    local response = with_gma(stops.host, function()
      return RunSync { workers = 1, timeout = 0.05, grace = AMPLE, tasks = tasks_of(1, function()
        gma.sleep(10000)
        local told, before = isStopping(), clock()
        gma.sleep(0.05)
        error({ told = told, slept = clock() - before >= 0.05 })
      end) }
    end)
    assert.equal("timeout", response.result[1].kind)
    assert.is_true(response.duration < AMPLE)
    assert.is_true(response.duration >= 0.1)
  end)

  it("gets the answer of the host call that cancels its job (C13)", function()
    local after
    local job
    local functions = { stop = function() job:cancel() return "answer" end, note = function(...) after = table.pack(...) end }
    job = RunAsync { workers = 1, grace = AMPLE, onComplete = identity, host = functions,
      tasks = tasks_of(1, function() host.note(host.stop(), isStopping()) end) } -- luacheck: ignore
    local response = job:wait(stops.SOON)
    assert.equal("cancelled", response.result[1].kind)
    assert.same({ "answer", true, n = 2 }, after)
  end)

  it("may be an init (C11) #native", function()
    local begun, notes, response = 0, 0, nil
    with_gma({ begun = function() begun = begun + 1 end, note = function() notes = notes + 1 end }, function()
      local job = RunAsync { workers = 1, grace = AMPLE, onComplete = identity, tasks = tasks_of(2, identity),
        init = function() gma.begun() while not isStopping() do end gma.note() end }
      poll_until(function() return begun == 1 end)
      job:cancel()
      response = job:wait(stops.SOON)
    end)
    assert.same({ "cancelled", "cancelled", 1 }, { response.result[1].kind, response.result[2].kind, notes })
  end)

  it("has its whole time before (C12) #native", function()
    local response = RunSync { timeout = AMPLE, grace = 0.001, tasks = tasks_of(3, function()
      local begun = clock()
      repeat until clock() - begun > 0.05
      return isStopping() == false
    end) }
    assert.same({ true, true, true }, running.data(response))
  end)

  it("can end when its job is cancelled, where nothing can stop it (C11) #cooperative", function()
    local begun, ended
    running.in_engine({}, function()
      local job = RunAsync { onComplete = identity, tasks = tasks_of(1, function()
        begun = true
        while not isStopping() do
          gma.sleep(0.01)
        end
        ended = true
      end) }
      running.sleep_until(function() return begun end)
      job:cancel()
      assert.equal("cancelled", job:wait().result[1].kind)
    end)
    assert.is_true(ended)
  end)
end)
