--- The cost of a host call, and of waiting.

local gma2workers = require "gma2workers"
local measure = require "measure"

local CALLS = 20000
local served = 0

gma = {
  count = function()
    served = served + 1
    return served
  end,
}

local function call(times)
  local last
  for _ = 1, times do
    last = gma.count()
  end
  return last
end

local function run(workers)
  local tasks = {}
  for i = 1, workers do
    tasks[i] = { func = call, args = { CALLS // workers } }
  end
  served = 0
  local result = gma2workers.RunSync { tasks = tasks, workers = workers }.result
  for _, entry in ipairs(result) do
    assert(entry.success, entry.data)
  end
  return served
end

measure.row {
  name = "host call", unit = "us a call", scale = 1e6 / CALLS,
  check = function(answer) assert(answer == CALLS) end,
  sides = {
    { "one worker", function() return run(1) end },
    { "two workers", function() return run(2) end },
    { "twenty workers", function() return run(20) end },
  },
  figures = {
    { name = "us a call, one worker", of = "one worker", most = 5 },
    { name = "us a call, two workers", of = "two workers" },
    { name = "us a call, twenty workers", of = "twenty workers" },
  },
}

-- The host waits for a task that sleeps: neither should use the processor.
do
  local function rest(seconds)
    gma.sleep(seconds)
  end
  gma.sleep = function() end
  local shares = {}
  for round = 1, 3 do
    local before, start = os.clock(), gma2workers.clock()
    gma2workers.RunSync { tasks = { { func = rest, args = { 1 } } } }
    shares[round] = (os.clock() - before) / (gma2workers.clock() - start) * 100
  end
  measure.report {
    name = "waiting", unit = "% of a core", sides = { ["a task that sleeps"] = shares },
    figures = { { name = "% of a core", value = measure.median(shares), most = 2 } },
  }
end
