-- Traced: tasks that compute and ask the host in turn, and their timeline in a file.
--
-- Shows `trace` and its use. Each task reads labels from the console, with one call for each label: while one task gets its
-- answer, the others wait. In the picture (scripts/trace-plot), most of the time is waiting.
-- The argument is the file's path: Plugin "Traced" "job.json"

local gma2workers = require "gma2workers"

local TASKS, WORKERS, LABELS = 12, 3, 4

local function busy(steps)
  local sum = 0
  for i = 1, steps do
    sum = sum + math.sin(i)
  end
  return sum
end

local function work(first, labels, compute)
  local found = {}
  for number = first, first + labels - 1 do
    local handle = gma.show.getobj.handle("Group " .. number)
    found[#found + 1] = handle and gma.show.getobj.label(handle)
    compute(first * 1500)
  end
  return #found
end

local function Start(path)
  local tasks = {}
  for i = 1, TASKS do
    local first = (i - 1) * LABELS + 1
    tasks[i] = { name = ("Group %d and on"):format(first), func = work, args = { first, LABELS, busy } }
  end
  local response = gma2workers.RunSync { tasks = tasks, workers = WORKERS, trace = path }
  local labels = 0
  for _, result in ipairs(response.result) do
    labels = labels + (result.success and result.data or 0)
  end
  gma.feedback(("Traced: %d labels in %.3f s, see %s"):format(labels, response.duration, path))
end

return Start
