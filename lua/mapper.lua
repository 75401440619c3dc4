--- The function that the tasks of a `Map` run. It crosses as code, so it captures only functions, and its globals are those of
-- the task.

local core = ...
local check, trace, fields = core.check_in_task, core.trace, core.fields

--- Describes the failure of an item whose function raised an error. The description can cross.
local function describe(at, failure, upvalues)
  local value, traceback, missing = failure, nil, nil
  if type(failure) == "table" then
    value, traceback, missing = failure.value, failure.traceback, failure.missing
  end
  local ok, message = true, fields(value)
  if not message then
    ok, message = pcall(tostring, value)
  end
  if not ok then
    local why = type(message) == "string" and message or string.format("(error object is a %s value)", type(message))
    message = "error in the __tostring of the error: " .. why
  end
  local is_out_of_memory = message == "not enough memory" or string.find(message, "not enough memory for buffer allocation$")
  local described = { at = at, kind = is_out_of_memory and "memory" or "runtime", message = message, traceback = traceback,
    missing = missing }
  if type(value) ~= "string" and not check(value, "error", upvalues) then
    described.error = value
  end
  return described
end

--- Removes the results that can't cross and adds a failure for each.
local function remove_unsendable(results, count, upvalues, failures)
  if not check(results, "result", upvalues) then
    return failures
  end
  failures = failures or {}
  for i = 1, count do
    local kind, message = check(results[i], "result", upvalues)
    if kind then
      results[i] = nil
      failures[#failures + 1] = { at = i, kind = kind, message = message }
    end
  end
  return failures
end

--- Ends the task with an error that has what is known of its items. So the job knows that the task has failed.
local function fail(failures, results, count)
  local function text()
    return failures[1].message
  end
  error(setmetatable({ item_failures = failures, results = results, count = count }, { __tostring = text }), 0)
end

--- Makes the tasks' function from the one that was passed to `Map`. It returns the items, each replaced with its result, and the
-- failures. If it `stops`, the first one ends the task.
return function(func)
  return function(items, object, extra, first, count, collects, upvalues, is_on_host, skip, stops)
    local at, failures = 0, nil
    -- The function may change the task's globals.
    local unpack = table.unpack

    --- Calls the function with an item and the arguments that follow it.
    local function call(item, index)
      if extra.has_index and object then
        return func(object, item, index, unpack(extra, 1, extra.n))
      elseif extra.has_index then
        return func(item, index, unpack(extra, 1, extra.n))
      elseif object then
        return func(object, item, unpack(extra, 1, extra.n))
      end
      return func(item, unpack(extra, 1, extra.n))
    end

    local function go_on()
      for i = at + 1, count do
        at = i
        if skip and skip[i] then
          items[i] = nil
        elseif extra then
          items[i] = call(items[i], first + i - 1)
        elseif object then
          items[i] = func(object, items[i])
        else
          items[i] = func(items[i])
        end
      end
    end
    while true do
      local before = at
      local ok, failure = xpcall(go_on, trace)
      if ok then
        break
      end
      local described = describe(at, failure, upvalues)
      -- On the cooperative backend, the waiting coroutine runs tasks, so Ctrl-C must end its wait. An error outside the items, at
      -- an unchanged position, ends the task too, or this would loop.
      if is_on_host and string.sub(described.message, -12) == "interrupted!" or at == before then
        error(described.message, 0)
      end
      failures = failures or {}
      failures[#failures + 1] = described
      if not collects then
        fail(failures)
      end
      items[at] = nil
      if stops then
        for i = at + 1, count do
          items[i] = nil
        end
        break
      end
    end
    if collects then
      failures = remove_unsendable(items, count, upvalues, failures)
    end
    if failures and stops then
      fail(failures, items, at)
    end
    if failures then
      return items, failures
    end
    return items
  end
end
