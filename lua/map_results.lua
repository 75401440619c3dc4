--- Converts the response of a `Map`'s job to a list of results or records.

local core, modules = ...
local hints = modules.hints

local map_results = {}

--- Makes the record of a failure, and removes the position and the frames of mapper.lua, which Lua adds.
local function record_of(failure)
  local message = string.gsub(failure.message, "^gma2workers/mapper%.lua:%d+: ", "")
  local traceback = failure.traceback and string.gsub(failure.traceback, "\n\t[^\n]*gma2workers/mapper%.lua:.*$", "")
  return { success = false, data = "Error: " .. message, kind = failure.kind, error = failure.error, traceback = traceback,
    missing = failure.missing }
end

--- The message of a failed record.
local function message_of(record)
  return string.sub(record.data, #"Error: " + 1)
end

--- Makes the record for each item of a failed task.
local function record_of_task(entry)
  return record_of { message = message_of(entry), kind = entry.kind, traceback = entry.traceback }
end

-- The kinds of failures whose messages need no item, because they name it or concern all items.
local NEEDS_NO_ITEM = { cancelled = true, upvalue = true, transfer = true }

--- The error message for a failed task.
local function message_of_task(entry, first, last)
  local message = message_of(record_of_task(entry))
  if NEEDS_NO_ITEM[entry.kind] then
    return message
  elseif first == last then
    return string.format("list[%d]: %s", first, message)
  end
  return string.format("list[%d] to list[%d]: %s", first, last, message)
end

--- What the mapper has told of the items of a task that it ended.
local function told(entry)
  local value = entry.error
  return not entry.success and type(value) == "table" and type(value.item_failures) == "table" and value or nil
end

--- The number of the first failed task; of one that was cancelled only if there is no other.
local function first_failed(response)
  local first
  for n, entry in ipairs(response.result) do
    if not entry.success and entry.kind ~= "cancelled" then
      return n
    elseif not entry.success then
      first = first or n
    end
  end
  return first
end

--- Returns the results of all items, or nil and the message of the first failure.
function map_results.values(response, plan)
  local failed = first_failed(response)
  if failed then
    local entry, first = response.result[failed], (failed - 1) * plan.chunk + 1
    local failures = told(entry) and told(entry).item_failures
    if not failures then
      return nil, message_of_task(entry, first, math.min(first + plan.chunk - 1, plan.count))
    end
    local record = record_of(failures[1])
    hints.add({ result = { record } }, { 1 }, plan, function() return plan.tasks[failed] end)
    return nil, string.format("list[%d]: %s", first + failures[1].at - 1, message_of(record))
  end
  local results = core.lists(plan.count)
  for n, entry in ipairs(response.result) do
    local first = (n - 1) * plan.chunk + 1
    local last = math.min(first + plan.chunk - 1, plan.count)
    table.move(entry.data, 1, last - first + 1, first, results)
  end
  for i = 1, plan.count do
    if results[i] == nil then
      results.n = plan.count
      break
    end
  end
  return results
end

--- Returns a record for each item.
function map_results.records(response, plan)
  local results, indices = core.lists(plan.count)
  for n, entry in ipairs(response.result) do
    local first = (n - 1) * plan.chunk + 1
    local last = math.min(first + plan.chunk - 1, plan.count)
    local stopped = told(entry)
    if entry.success or stopped then
      local items = stopped and stopped.results or entry.data
      for i = first, stopped and first + stopped.count - 1 or last do
        results[i] = { success = true, data = items[i - first + 1] }
      end
      for i = first + (stopped and stopped.count or plan.chunk), last do
        results[i] = record_of { message = "cancelled", kind = "cancelled" }
      end
      local failures = stopped and stopped.item_failures or entry.returns and entry.returns[2]
      for _, failure in ipairs(failures or {}) do
        results[first + failure.at - 1] = record_of(failure)
        indices[#indices + 1] = first + failure.at - 1
      end
    else
      for i = first, last do
        results[i] = record_of_task(entry)
      end
    end
  end
  for i, failure in pairs(plan.unsendable) do
    results[i] = record_of(failure)
  end
  hints.add({ result = results }, indices, plan, function(i) return plan.tasks[(i - 1) // plan.chunk + 1] end)
  return results
end

return map_results
