-- Traced: tasks that compute and ask the host in turn, and their timeline in a file.
--
-- Shows `trace` and its use. Each task reads labels from the console, with two calls for each label, and computes in between.
-- The picture (scripts/trace-plot) shows how long each task computed, and how long it waited for the console.
-- The argument is the file's path: Plugin "Traced" "job.json"

local gma2workers = require "gma2workers"

local TASKS, WORKERS, LABELS, STEPS = 12, 3, 4, 10000

local function busy(steps)
  local sum = 0
  for i = 1, steps do
    sum = sum + math.sin(i)
  end
  return sum
end

local function work(first, labels, compute, steps)
  local found = {}
  for number = first, first + labels - 1 do
    local handle = gma.show.getobj.handle("Group " .. number)
    found[#found + 1] = handle and gma.show.getobj.label(handle)
    compute(steps)
  end
  return #found
end

local function Start(path)
  local tasks = {}
  for i = 1, TASKS do
    local first = (i - 1) * LABELS + 1
    tasks[i] = { name = ("Group %d and on"):format(first), func = work, args = { first, LABELS, busy, STEPS * (2 + i % 3) } }
  end
  local response = gma2workers.RunSync { tasks = tasks, workers = WORKERS, trace = path }
  local labels = 0
  for _, result in ipairs(response.result) do
    labels = labels + (result.success and result.data or 0)
  end
  gma.feedback(("Traced: %d labels in %.3f s, see %s"):format(labels, response.duration, path))
end

return Start
