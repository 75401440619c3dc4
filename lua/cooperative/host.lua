--- The global `host` of tasks, whose functions are those of the option `host`.
--
-- All tasks share the host's `_G`, and each job may have other functions. So the global is a proxy that looks up the functions of
-- the job whose task is running. It is there while such a job or task is running.

local _, parts = ...
local options = parts.options

local host = {}

-- The functions of the open jobs, in the order in which they began.
local open = {}

-- The functions of the task that each coroutine is running.
local running = setmetatable({}, { __mode = "k" })

--- The functions for the running code. In a coroutine that a task has made, these are of the job that began last.
local function current()
  return running[coroutine.running()] or open[#open] or select(2, next(running))
end

local proxy = setmetatable({}, {
  __index = function(_, name)
    local functions = current()
    return functions and functions[name]
  end,
  __pairs = function()
    return next, current() or {}, nil
  end,
})

--- Makes the functions that tasks call.
function host.wrap(functions)
  local wrapped = {}
  for name, func in next, functions do
    wrapped[name] = function(...)
      if rawequal((...), proxy) then
        error(string.format("host.%s was called with a colon: write host.%s(...)", name, name), 2)
      end
      return parts.run.on_host(func, ...)
    end
  end
  return wrapped
end

--- Refuses the option if the host has another global of that name.
function host.check(functions)
  local global = rawget(_G, "host")
  if functions and global ~= nil and global ~= proxy then
    options.refuse("option 'host'", string.format("sets the global 'host', but there is already %s of that name: "
      .. "without the binary, tasks share your globals, so rename yours", options.describe(global)))
  end
end

--- Sets the global for a job's functions, or does nothing without them.
function host.open(functions)
  if functions then
    open[#open + 1] = functions
    rawset(_G, "host", proxy)
  end
end

--- Removes the global when nothing needs it any more.
local function remove()
  if #open == 0 and next(running) == nil and rawget(_G, "host") == proxy then
    rawset(_G, "host", nil)
  end
end

--- Notes that a job is over.
function host.close(functions)
  for i = #open, 1, -1 do
    if open[i] == functions then
      table.remove(open, i)
    end
  end
  remove()
end

--- Notes that this coroutine begins a task of a job with these functions. Returns those of the task in which it begins, if any.
function host.enter(functions)
  local here = coroutine.running()
  local outer = running[here]
  running[here] = functions
  return outer
end

--- Notes that this coroutine has ended its task.
function host.leave(outer)
  running[coroutine.running()] = outer
  remove()
end

return host
