--- In the engine stand-in: host calls between other work, host calls one after another, and an asynchronous job.

local console = require "console"
local gma2workers = require "gma2workers"
local measure = require "measure"
local native = require "consolenative"

local clock = native.clock

local function total(response)
  local sum = 0
  for _, entry in ipairs(response.result) do
    sum = sum + (entry.success and entry.data or error(entry.data))
  end
  return sum
end

--- Some work: 12,000 rounds take about 1 ms.
local function work(rounds)
  local sum = 0
  for i = 1, rounds do
    sum = sum + math.sin(i) * math.cos(i)
  end
  return sum
end

--- Steps of 1 ms of work with a host call after each, as a plain loop and in workers. `steps(first, last)` returns how many
-- calls were answered; `count(engine, answered)` returns how many there were.
local STEPS = 100
local function steps_row(name, steps, count)
  local function in_workers(workers)
    return measure.in_engine(function(engine)
      local tasks = {}
      for i = 1, workers do
        tasks[i] = { func = steps, args = { (i - 1) * STEPS // workers + 1, i * STEPS // workers } }
      end
      gma.gui.progress.start("bench")
      return count(engine, total(gma2workers.RunSync { tasks = tasks, workers = workers }))
    end)
  end
  measure.row {
    name = name, unit = "ms", scale = 1e3, rounds = 5,
    check = function(answer, side) assert(answer == STEPS, side .. ": wrong answer") end,
    sides = {
      { "plain loop", measure.in_engine(function(engine)
        gma.gui.progress.start("bench")
        return count(engine, steps(1, STEPS))
      end) },
      { "one worker", in_workers(1) },
      { "two workers", in_workers(2) },
    },
    figures = {
      { name = "times the plain loop's time, one worker", of = "one worker", over = "plain loop", most = 1.2 },
      { name = "times the plain loop's time, two workers", of = "two workers", over = "plain loop", most = 0.65 },
      { name = "ms a call, one worker", join = function(of) return (of["one worker"] - of["plain loop"]) / STEPS end },
    },
  }
end

steps_row("engine: progress.set after each ms of work", function(first, last)
  for i = first, last do
    work(12000)
    gma.gui.progress.set(1, i)
  end
  return 0
end, function(engine) return #engine.progress[1].values end)

steps_row("engine: a call with an answer after each ms of work", function(first, last)
  local answered = 0
  for _ = first, last do
    work(12000)
    answered = answered + (gma.show.getvar("HOSTNAME") == "standin" and 1 or 0)
  end
  return answered
end, function(_, answered) return answered end)

-- Calls one after another, each of 50 us on the host, so that the job lasts for many ticks. The host's time is that of its ticks;
-- a lull is the time between the answers of two ticks.
do
  local CALLS = 6000
  local function call(times)
    local answered = 0
    for _ = 1, times do
      answered = answered + (gma.show.getvar("HOSTNAME") == "standin" and 1 or 0)
    end
    return answered
  end
  local half = { func = call, args = { CALLS // 2 } }
  local cost, share, lull = {}, {}, {}
  for round = 1, 5 do
    local engine, busy, lulls, ticks, last, last_tick = console.new(), 0, {}, 0, nil, nil
    local tick, getvar = engine.tick, engine.gma.show.getvar
    function engine:tick()
      local began = clock()
      ticks = ticks + 1
      tick(self)
      busy = busy + clock() - began
    end
    function engine.gma.show.getvar(name)
      local now = clock()
      if last_tick and last_tick < ticks then
        lulls[#lulls + 1] = (now - last) * 1e3
      end
      last_tick = ticks
      repeat last = clock() until last - now >= 50e-6
      return getvar(name)
    end
    engine:install()
    local start = clock()
    local answered = engine:run(function()
      return total(gma2workers.RunSync { tasks = { half, half }, workers = 2 })
    end)
    local seconds = clock() - start
    engine:uninstall()
    assert(answered == CALLS, "wrong answer")
    cost[round], share[round] = seconds * 1e6 / CALLS, busy / seconds * 100
    lull[round] = #lulls > 0 and measure.median(lulls) or 0
  end
  measure.report {
    name = "engine: 6,000 calls of 50 us in two tasks", unit = "us a call", sides = { ["two workers"] = cost },
    figures = {
      { name = "% of the host's time", value = measure.median(share), least = 48 },
      { name = "ms a lull", value = measure.median(lull) },
      { name = "us a call", value = measure.median(cost) },
    },
  }
end

-- An asynchronous job in an engine whose ticks come every 10 ms, whatever was done in them. Nobody knows whether a console calls
-- a timer's function inside of `gma.timer` or at the next tick.
do
  local TICK = 0.01
  --- The ticks until `onComplete`, of several jobs.
  local function ticks_of(first_call)
    local engine, tick, ticks = console.new { tick = TICK, firstTimerCall = first_call }, 0, {}
    engine:install()
    engine:start(function()
      for round = 1, 20 do
        local began_in, over = tick, false
        gma2workers.RunAsync {
          tasks = { { func = work, args = { 6000 } } },
          onComplete = function(response)
            assert(response.result[1].data == work(6000), "wrong answer")
            ticks[round], over = tick - began_in, true
          end,
        }
        repeat gma.sleep(TICK) until over
      end
    end)
    local start = clock()
    while not engine:idle() do
      tick = tick + 1
      engine:tick()
      native.sleep(start + tick * TICK - clock())
    end
    engine:uninstall()
    assert(#ticks == 20, "no answer")
    return ticks
  end
  local sides = { ["timer called at the next tick"] = ticks_of("tick"), ["timer called at once"] = ticks_of("inside") }
  local figures = {}
  for side, ticks in pairs(sides) do
    figures[#figures + 1] = { name = "ticks until onComplete, " .. side, value = measure.median(ticks), most = 1 }
  end
  measure.report { name = "engine: RunAsync of a job of 0.5 ms", unit = "ticks", sides = sides, figures = figures }
end
