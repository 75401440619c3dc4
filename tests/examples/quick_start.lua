-- A quick start: a heavy loop, divided among tasks that run at the same time.
local gma2workers = require "gma2workers"

local function waves(first, last)
  local sum = 0
  for i = first, last do
    sum = sum + math.sin(i) * math.cos(i)
  end
  return sum
end

local tasks = {}
for part = 1, 4 do
  tasks[part] = { func = waves, args = { (part - 1) * 250000 + 1, part * 250000 } }
end

local response = gma2workers.RunSync { tasks = tasks }
for part, result in ipairs(response.result) do
  print(part, result.success, result.data)
end
print(("%.3f s on %d workers"):format(response.duration, response.workerCount))
