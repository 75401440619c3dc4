--- Coroutines of the engine: plugins, timer callbacks and LUA commands, side by side in one state. Depends on consolenative
-- for the clock, the sleep and time slices.
--
-- `gma.sleep(s)` is `coroutine.yield(s)`: a coroutine that yields a number is resumed at the first tick after that many
-- seconds; one that yields nothing, or whose slice has ended, at the next tick.

local _ENV = require "console.globals" ()

local native = require "consolenative"

local Scheduler = {}
Scheduler.__index = Scheduler

--- Makes a scheduler.
-- @tab options tick: seconds between ticks; slice: VM instructions that a coroutine may run in a tick, if limited
-- @func failed called with a record whose coroutine has failed
function Scheduler.new(options, failed)
  return setmetatable({ tick_seconds = options.tick or 0.01, instructions = options.slice, failed = failed, list = {} },
    Scheduler)
end

--- Starts a coroutine at the next tick, or at once.
-- @treturn table its record: status ("running", "done" or "failed"), results, error, traceback, owner
function Scheduler:start(name, owner, func, ...)
  return self:add({ name = name, owner = owner }, func, ...)
end

--- Does the same for a record that has its name, its owner and, if need be, `ended`, which is called with it at its end.
function Scheduler:add(record, func, ...)
  record.status, record.due, record.arguments = "running", native.clock(), table.pack(...)
  record.coroutine = coroutine.create(func)
  if self.instructions then
    native.slice(record.coroutine, self.instructions)
  end
  -- In one step, since the coroutine that starts this one may lose its slice between any two instructions.
  table.insert(self.list, record)
  return record
end

local function settle(self, record, ok, ...)
  if coroutine.status(record.coroutine) == "suspended" then
    local seconds = ...
    record.due = native.clock() + (type(seconds) == "number" and math.max(seconds, 0) or 0)
    return
  end
  if ok then
    record.status, record.results = "done", table.pack(...)
  else
    record.status, record.error = "failed", (...)
    record.traceback = debug.traceback(record.coroutine, tostring(record.error))
    self.failed(record)
  end
  if record.ended then
    record.ended(record)
  end
end

--- Resumes one coroutine, even before it is due.
function Scheduler:resume(record)
  local arguments = record.arguments or { n = 0 }
  record.arguments = nil
  record.is_resumed = true
  settle(self, record, coroutine.resume(record.coroutine, table.unpack(arguments, 1, arguments.n)))
  record.is_resumed = false
end

--- Kills the coroutines of an owner.
function Scheduler:kill(owner)
  for _, record in ipairs(self.list) do
    if record.owner == owner and record.status == "running" then
      record.status = "killed"
    end
  end
end

--- Runs one tick: every due coroutine runs once.
function Scheduler:tick()
  local now = native.clock()
  for _, record in ipairs({ table.unpack(self.list) }) do
    if record.status == "running" and record.due <= now and not record.is_resumed then
      self:resume(record)
    end
  end
  for i = #self.list, 1, -1 do
    if self.list[i].status ~= "running" then
      table.remove(self.list, i)
    end
  end
end

function Scheduler:idle()
  return #self.list == 0
end

--- Really sleeps until a coroutine is due, but at most for a tick.
function Scheduler:rest()
  local due = math.huge
  for _, record in ipairs(self.list) do
    due = math.min(due, record.due)
  end
  local left = math.min(due - native.clock(), self.tick_seconds)
  if left > 0 then
    native.sleep(left)
  end
end

return Scheduler
