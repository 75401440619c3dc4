--- A loop over numbers, split over tasks or over independent processes. The loop is the text of a chunk that gets the first
-- and the last number, and returns a sum.
-- @module split

local gma2workers = require "gma2workers"

local split = {}

--- The first and the last number of each of `count` parts.
function split.parts(count, total)
  local list = {}
  for part = 1, count do
    list[part] = { (part - 1) * total // count + 1, part * total // count }
  end
  return list
end

--- The sum, with a task for each part.
function split.in_workers(code, parts, workers)
  local func = load(code)
  local tasks = {}
  for part, range in ipairs(parts) do
    tasks[part] = { func = func, args = range }
  end
  local sum = 0
  for _, entry in ipairs(gma2workers.RunSync { tasks = tasks, workers = workers }.result) do
    sum = sum + (entry.success and entry.data or error(entry.data))
  end
  return sum
end

--- The sum, with a process for each part.
function split.in_processes(code, parts)
  local outputs = {}
  for part, range in ipairs(parts) do
    local whole = ('print(("%%.17g"):format((function(...) %s end)(%d, %d)))'):format(code, range[1], range[2])
    outputs[part] = io.popen("lua5.3 -e '" .. whole .. "'")
  end
  local sum = 0
  for _, output in ipairs(outputs) do
    sum = sum + tonumber(output:read("a"))
    output:close()
  end
  return sum
end

return split
