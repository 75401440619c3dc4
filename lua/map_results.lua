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

--- A task with the function that was passed to `Map`, for the hints.
local function users_task(plan, n)
  return { func = plan.func, args = plan.tasks[n].args }
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
    hints.add({ result = { record } }, { 1 }, plan, function() return users_task(plan, failed) end)
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

--- Adds the records of a task's items to the plan's, unless they are there.
local function add_records(entry, n, plan)
  if plan.has_records[n] then
    return
  end
  local records, failed, for_hints = plan.records, {}, {}
  local first = (n - 1) * plan.chunk + 1
  local last = math.min(first + plan.chunk - 1, plan.count)
  local stopped = told(entry)
  local items = stopped and stopped.results or entry.data
  local function add_failure(i, record)
    records[i], failed[#failed + 1] = records[i] or record, i
  end
  for i = first, last do
    if plan.unsendable[i] then
      add_failure(i, record_of(plan.unsendable[i]))
    elseif stopped and i >= first + stopped.count then
      add_failure(i, record_of { message = "cancelled", kind = "cancelled" })
    elseif not entry.success and not stopped then
      add_failure(i, record_of_task(entry))
    end
  end
  local failures = stopped and stopped.item_failures or entry.returns and entry.returns[2]
  for _, failure in ipairs(failures or {}) do
    add_failure(first + failure.at - 1, record_of(failure))
    for_hints[#for_hints + 1] = first + failure.at - 1
  end
  for i = first, last do
    records[i] = records[i] or { success = true, data = items[i - first + 1] }
  end
  hints.add({ result = records }, for_hints, plan, function() return users_task(plan, n) end)
  table.move(failed, 1, #failed, #plan.failed + 1, plan.failed)
  plan.has_records[n] = true
end

--- Returns a record for each item.
function map_results.records(response, plan)
  for n, entry in ipairs(response.result) do
    add_records(entry, n, plan)
  end
  return plan.records
end

--- Finds the result of an item when its task has ended.
-- @tab entry the task's record
-- @int task
-- @int n which of the task's items it is
-- @tab plan
-- @treturn boolean whether there is a result: not if the item failed, and `Map` raises that
-- @treturn int the item's position in the list
-- @return its record or its value
function map_results.item(entry, task, n, plan)
  local i = (task - 1) * plan.chunk + n
  if i > plan.count then
    return false
  elseif plan.collects then
    add_records(entry, task, plan)
    return true, i, plan.records[i]
  elseif not entry.success or entry.returns then
    return false
  end
  return true, i, entry.data[n]
end

return map_results
