-- How the pump divides the host's time between the tasks' calls and the engine. The clock is simulated, so no verdict depends on the
-- machine; the last tests count in the engine's stand-in.

local gma2workers = require "gma2workers"
local running = require "spec.fixtures.running"
local simulation = require "spec.fixtures.simulation"

-- Engines that wake a coroutine when its sleep is over, or only at ticks.
local ENGINES = { ["exact sleeps"] = {}, ["ticks of 10 ms"] = { tick = 0.01 }, ["ticks of 33 ms"] = { tick = 0.033 } }

local function each_engine(body)
  for name, engine in pairs(ENGINES) do
    body(name, engine)
  end
end

local function assert_between(least, most, value, what)
  assert.is_true(value >= least and value <= most, ("%s: %g is not between %g and %g"):format(what, value, least, most))
end

describe("The pump's share of the host's time", function()
  each_engine(function(name, engine)
    it(("is half while tasks call all the time: %s (H19)"):format(name), function()
      for _, cost in ipairs { 0.00001, 0.0005, 0.005 } do
        local run = simulation.run(engine, { workers = 2, calls = math.floor(0.25 / cost), work = 0.000002, cost = cost })
        assert_between(0.4, 0.55, run.share, "the share")
        assert_between(0, 0.5 / 0.4, run.seconds, "the seconds")
      end
    end)

    it(("is half together if several jobs call all the time: %s (H19)"):format(name), function()
      local job = { workers = 2, calls = 10000, work = 0.000002 }
      local run = simulation.run(engine, job, job, job)
      assert_between(0.4, 0.55, run.share, "the share")
      assert_between(0, 0.6 / 0.4, run.seconds, "the seconds")
    end)

    it(("is half at most if tasks call every millisecond, and they get so much: %s (H19)"):format(name), function()
      for workers = 1, 2 do
        local run = simulation.run(engine, { workers = workers, calls = 1000, work = 0.001 })
        assert_between(0, 0.55, run.share, "the share")
        assert_between(1, 2.1, run.seconds, "the seconds")
      end
    end)

    it(("is small if tasks call seldom or wait for no answer: %s (H20)"):format(name), function()
      for _, job in ipairs { { workers = 1, calls = 10, work = 0.1 }, { workers = 1, calls = 1, work = 1 },
        { workers = 1, calls = 1000, work = 0.001, unanswered = true } } do
        assert_between(0, 0.2, simulation.run(engine, job).share, "the share")
      end
    end)

    it(("is never more than 20 ms in a row: %s (H20)"):format(name), function()
      for _, work in ipairs { 0.000002, 0.001, 0.005, 0.1 } do
        for _, is_unanswered in ipairs { true, false } do
          local calls = math.min(math.floor(0.5 / work), 5000)
          local run = simulation.run(engine, { workers = 3, calls = calls, work = work, unanswered = is_unanswered })
          assert_between(0, 0.0202, run.longest, "the longest turn")
        end
      end
    end)

    it(("costs no task time that waits for no answer: %s (H21)"):format(name), function()
      local run = simulation.run(engine, { workers = 1, calls = 1000, work = 0.001, unanswered = true })
      assert_between(1, 1.05, run.seconds, "the seconds")
    end)
  end)

  it("shows a record that comes after its place in the order before the job is over (R10)", function()
    assert.same({ "place", "record", "onResult", "over" }, simulation.run_with_late_record())
  end)

  it("lets a task that calls every millisecond run on, where sleeps are exact (H19)", function()
    assert_between(1, 1.05, simulation.run({}, { workers = 1, calls = 1000, work = 0.001 }).seconds, "the seconds")
    assert_between(0.5, 0.55, simulation.run({}, { workers = 2, calls = 500, work = 0.001 }).seconds, "the seconds")
  end)

  it("soon comes back to a job that ends soon", function()
    for _, seconds in ipairs { 0.0005, 0.002, 0.004, 0.01 } do
      local run = simulation.run({}, { workers = 1, calls = 1, work = seconds, unanswered = true })
      assert_between(seconds, 2 * seconds + 0.001, run.seconds, "the seconds")
    end
  end)
end)

describe("RunAsync", function()
  for _, first in ipairs { "tick", "inside" } do
    running.each_mode(function(mode)
      it(("of a short job sleeps for no tick before onComplete: first call of timers: %s (M12)"):format(first), function()
        local slept, is_over = 0, false
        running.in_engine({ firstTimerCall = first }, function()
          local sleep = gma.sleep
          function gma.sleep(seconds)
            slept = slept + seconds
            return sleep(seconds)
          end
          gma2workers.RunAsync { tasks = {}, mode = mode, onComplete = function() is_over = true end }
        end)
        assert.is_true(is_over)
        assert_between(0, 0.001, slept, "the seconds slept")
      end)
    end)
  end
end)
