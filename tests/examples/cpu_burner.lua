-- CPU burner: a heavy sum of sines, split over the cores.
--
-- Shows: asking the user for options, one function for many tasks, and what a task may capture. The user's input goes to
-- gma2workers as it is: workers may be a number as text, and any other text is refused by name.

local gma2workers = require "gma2workers"

-- A standard function may be captured; numbers, texts and tables must come as arguments.
local sin, cos = math.sin, math.cos

local TASKS = 16

local function burn(first, last)
  local sum = 0.0
  for i = first, last do
    sum = sum + sin(i) * sin(i) * cos(i / 3)
  end
  return sum
end

-- Equal shares of 1 … steps, one for each task.
local function shares(steps)
  local tasks = {}
  for i = 1, TASKS do
    local first, last = (i - 1) * steps // TASKS + 1, i * steps // TASKS
    tasks[i] = { name = ("%d to %d"):format(first, last), func = burn, args = { first, last } }
  end
  return tasks
end

-- nil as soon as a question is cancelled.
local function ask()
  local mode = gma.textinput("CPU burner: mode, timer or cmd", "timer")
  local workers = mode and gma.textinput("CPU burner: number of workers", "4")
  local load = workers and gma.textinput("CPU burner: number of steps", "10000000")
  return mode, workers, load
end

local function Start()
  local mode, workers, load = ask()
  if not load then
    gma.feedback("CPU burner: cancelled")
    return
  end
  local steps = math.tointeger(tonumber(load))
  if not steps or steps < 1 then
    gma.feedback("CPU burner: not a number of steps: " .. load)
    return
  end

  ---@cast mode gma2workers.mode?
  local response = gma2workers.RunSync { tasks = shares(steps), mode = mode, workers = workers }

  -- Results are in the order of the tasks, so the sum is the same whichever task ended first.
  local sum = 0.0
  for i, result in ipairs(response.result) do
    if not result.success then
      gma.feedback(("CPU burner: task %d: %s"):format(i, result.data))
      return
    end
    sum = sum + result.data
  end
  gma.feedback(("CPU burner: %d steps on %d workers: %.3f s"):format(steps, response.workerCount, response.duration))
  gma.feedback(("CPU burner: sum %.6f"):format(sum))
end

return Start
