--- Says in the engine's System Monitor that tasks of a job have failed, for a caller who looks at no record.

local _, modules = ...

--- Echoes the number of failures and the first error. Cancelled tasks don't count: someone wanted them to end. Does nothing on a
-- host without an engine.
-- @tab records
-- @tab failed the indices of the records that may be failures
-- @int total the number of tasks or items
-- @string unit "tasks" or "items"
return function(records, failed, total, unit)
  local echo = modules.engine.find("echo")
  if not echo then
    return
  end
  local count, first = 0, nil
  for _, index in ipairs(failed) do
    local record = records[index]
    -- A callback may have changed the record.
    if type(record) == "table" and record.success == false and record.kind ~= "cancelled" then
      count, first = count + 1, math.min(first or index, index)
    end
  end
  if count == 0 then
    return
  end
  local message = string.gsub(tostring(records[first].data), "^Error: ", "")
  local text = string.format("gma2workers: %d of %d %s failed, the first one: %s", count, total, unit, message)
  local ok, problem = pcall(echo, text)
  if not ok and modules.pump.is_interrupt(problem) then
    error(problem, 0)
  end
end
