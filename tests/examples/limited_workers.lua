-- Limited workers: twelve tasks of 50 ms each, never more than three at the same time.
--
-- Shows: `workers` as a limit, gma.sleep in a task (only that task sleeps), tasks with names, progress. Twelve tasks, three
-- at a time, are four rounds: about 0.2 s instead of the 0.6 s of one task after the other.
-- The argument may give the mode: Plugin "Limited workers" "cmd"

local gma2workers = require "gma2workers"

local TASKS, WORKERS, SECONDS = 12, 3, 0.05

local function rest(name, seconds)
  gma.sleep(seconds)
  gma.echo(name .. " is rested")
  return name
end

local function Start(argument)
  local tasks = {}
  for i = 1, TASKS do
    local name = ("Sleeper %d"):format(i)
    tasks[i] = { name = name, func = rest, args = { name, SECONDS } }
  end

  local response = gma2workers.RunSync {
    tasks = tasks,
    workers = WORKERS,
    mode = argument ~= "" and argument or nil,
    onProgress = function(done, total)
      gma.echo(("Limited workers: %d of %d done"):format(done, total))
    end,
  }

  local rested = 0
  for i, result in ipairs(response.result) do
    if result.success then
      rested = rested + 1
    else
      gma.feedback(("%s: %s"):format(tasks[i].name, result.data))
    end
  end
  gma.feedback(("Limited workers: %d rested, %d at a time: %.2f s, %d rounds"):format(
    rested, response.workerCount, response.duration, math.floor(response.duration / SECONDS + 0.5)))
end

return Start
