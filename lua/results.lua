--- Gives the results of a running job as its tasks end: to `onResult`, and to loops over `job:results()`.
-- A position counts the job's results in the order in which its tasks ended. A task of a `Map` has a position for each of its items.

local core, modules = ...
local hints, pump = modules.hints, modules.pump

local results = {}

--- Completes the order of a job that is over. It lacks tasks if nothing asked for the order while they ran.
local function complete_order(job)
  local order, is_there = {}, {}
  for place, index in ipairs(job.order) do
    order[place], is_there[index] = index, true
  end
  for index = 1, job.total do
    if not is_there[index] then
      order[#order + 1] = index
    end
  end
  job.order = order
end

--- Adds the hint to a failed task's record, unless it was done: from then on the record is the user's, who may change it.
local function add_hint(job, record, index)
  if not job.has_hints and not job.hinted[index] then
    if record.success == false and type(record.data) == "string" then
      hints.add({ result = job.result }, { index }, job)
    end
    job.hinted[index] = true
  end
end

--- Finds the result at a position.
-- @treturn ?boolean whether the position has a result; nil if it has none yet
-- @treturn int the index of its task or item
-- @return its record; for a `Map` that raises failures, its value
local function at(job, position)
  local size = job.item_at and job.chunk or 1
  local place = (position - 1) // size + 1
  if not job.order[place] and job.response then
    complete_order(job)
  end
  local index = job.order[place]
  local record = index and job.result[index]
  if place > job.shown and not job.response then
    return nil
  end
  -- The order may be ahead of the records.
  if not record and not (index and job.response) then
    return nil
  elseif job.item_at then
    return job.item_at(record, index, (position - 1) % size + 1)
  elseif record then
    add_hint(job, record, index)
  end
  return true, index, record
end

--- The number of positions.
local function count(job)
  return job.total * (job.item_at and job.chunk or 1)
end

--- Calls `onResult` for the tasks that have ended, in their order. Several pumps may do this at the same time. One native step
-- takes a position and begins its call, so each is called once, and they begin in order.
function results.report(job)
  while job.onResult and not job.dropped do
    local position = job.next_result[1]
    local has_result, index, value = at(job, position)
    if has_result == nil then
      return
    end
    local ok, failure = xpcall(core.call_next, pump.trace, job.next_result, position, has_result and job.onResult, index, value)
    if not ok then
      pump.note_failure(job, "onResult", failure)
    end
  end
end

--- Makes the iterator of `job:results()`. It waits for each result.
function results.iterate(job)
  pump.note_order(job)
  local position, total, since = 0, count(job), core.clock()
  local function has_next()
    return at(job, position + 1) ~= nil
  end
  return function()
    while position < total do
      if not has_next() then
        pump.run(job, nil, has_next, since)
      end
      local has_result, index, value = at(job, position + 1)
      if has_result == nil then
        -- The job was dropped.
        return nil
      end
      position = position + 1
      if has_result then
        return index, value
      end
    end
    if not job.over then
      -- This loop may be all that pumps the job, whose last callbacks are still to come.
      pump.run(job, nil, nil, since)
    end
    local problem = job.read and job.response and select(2, job.read(job.response))
    if problem then
      error(problem, 2)
    end
    return nil
  end
end

return results
