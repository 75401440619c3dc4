--- The host's side of a running job: serves its host calls, tells its progress, merges its outcome.
-- Everything here that calls into the engine or a user's callback may yield there, since `gma.sleep` is
-- `coroutine.yield`: that is why the pump is Lua. Several pumps may turn for one job (a timer's and a
-- `job:wait()`), and the engine may switch between them at any instruction: each host call is served by whoever
-- takes it, and results are merged by whoever finds them. The native calls say nothing of a job that is over.

local core, modules = ...
local drivers, hints = modules.drivers, modules.hints

local pump = {}

-- Host seconds that one turn may take from the engine.
local BUDGET = 0.005

-- Waiting longer than this inside a turn gains nothing while tasks are busy.
local LULL = 0.001

-- What the pump sleeps between turns: about an engine's tick.
local TICK = 0.01

-- A short job is waited for outright; then the engine gets to breathe. Tasks of the cooperative backend need its breath.
local PATIENCE = core.backend == "cooperative" and 0 or 0.010

-- A stock interpreter sees Ctrl-C only in Lua, so a wait in C is never longer than this.
local SLICE = 0.02

-- At most about twenty calls of onProgress a second.
local PROGRESS_INTERVAL = 0.05

-- The jobs that run, by their numbers. Whoever waits for a job holds it: where that was a coroutine which the engine has
-- killed, nobody does any more.
local running = setmetatable({}, { __mode = "v" })

-- Jobs that nothing turns but Poll and job:wait: kept here from the collector.
local unattended = {} -- luacheck: ignore 241

--- What a stock interpreter raises at Ctrl-C, wherever Lua code happens to run.
local function is_interrupt(message)
  return type(message) == "string" and string.sub(message, -12) == "interrupted!"
end
pump.is_interrupt = is_interrupt

--- Keeps what a callback raised, and where.
function pump.trace(value)
  return { value = value, traceback = core.traceback(tostring(value), 2) }
end

local function tell_progress(job, now, done, total)
  if done and job.count then
    done, total = job.count(done, total)
  end
  if not done or done <= job.told then
    return
  end
  job.next_progress, job.told = now + PROGRESS_INTERVAL, done
  if job.bar then
    job.bar:show(done, total)
  end
  if not job.onProgress then
    return
  end
  local ok, failure = xpcall(job.onProgress, pump.trace, done, total)
  if not ok then
    if is_interrupt(failure.value) then
      error(failure.value, 0)
    end
    -- It is not called again; the job goes on, and who waits hears of it at the end.
    job.onProgress, job.failure = nil, failure
  end
end

local function forget(job)
  running[job.id], unattended[job.id] = nil, nil
end

--- The response of a job whose outcome could not be merged: memory ran out on the host, say.
local function failed_response(job, message)
  local result = {}
  for index = 1, job.total do
    result[index] = { success = false, data = "Error: " .. tostring(message), kind = "transfer" }
  end
  return { result = result, jobId = "Job_" .. job.id, workerCount = 0, duration = core.clock() - job.started }
end

--- Merges the results that there are while tasks still run.
local function merge(job)
  job.broken = job.broken or core.merge(job.id, job.result, job.failed)
end

--- Gives a finished job its response, unless another pump did.
local function collect(job)
  local problem = job.broken or core.collect(job.id, job, job.result, job.failed)
  if not problem then
    return
  elseif not job.complete then
    error(problem, 0)
  end
  -- Nobody waits who could be told by an error.
  core.release(job.id)
  job.failed, job.response = {}, failed_response(job, problem)
end

--- Tells of a job's end. Each of these steps can be done again, and does nothing then: so where an error comes in between,
-- whoever turns the job next goes on.
local function tell_end(job)
  if job.problem then
    job.failure = job.failure or { value = job.problem, traceback = job.problem }
    job.problem = nil
  end
  if not job.has_hints then
    hints.add(job.response, job.failed, job.sandbox, job.globals)
    -- From here on the response is the caller's, who may change it.
    job.has_hints = true
  end
  if job.onProgress or job.bar then
    tell_progress(job, core.clock(), job.total, job.total)
  end
  if job.bar then
    job.bar:close()
  end
  if job.closed then
    job.closed()
  end
  if job.complete then
    job.complete(job)
  end
  job.over = true
  forget(job)
end

local function finish(job)
  if not job.response then
    collect(job)
  end
  if job.response then
    -- A callback may yield: then another pump waits until its job is over.
    core.exclusively(job.ending, tell_end, job)
  end
end

--- Whether some pump tells of the job's end now.
function pump.is_ending(job)
  return not job.ending[1]
end

--- One turn: serves host calls for at most `budget` seconds, and waits for more at most `lull` at a time.
-- @treturn boolean whether the job is over
function pump.turn(job, budget, lull)
  local left = budget or BUDGET
  local stop = core.clock() + left
  repeat
    local rang, over, has_results = core.wait(job.id, math.min(left, lull or LULL))
    if rang and not over then
      while core.serve(job.id) do end -- luacheck: ignore 542
      if has_results then
        merge(job)
      end
      over = select(2, core.wait(job.id, 0))
    end
    -- With a response, an error came into its end.
    if over or job.response then
      finish(job)
    end
    -- Nobody need wait for callbacks that another pump calls; but RunSync has some of its own to call afterwards, if that
    -- other one can be given time.
    local is_told = job.over or job.response and pump.is_ending(job) and (job.complete or not drivers.can_sleep())
    if is_told or job.dropped then
      return true
    end
    local now = core.clock()
    if (job.onProgress or job.bar) and now >= job.next_progress then
      tell_progress(job, now, core.progress(job.id))
      now = core.clock()
    end
    left = stop - now
  until left <= 0 or not rang
  return false
end

--- Turns until the job is over or the deadline has passed.
-- @tparam[opt] number deadline as core.clock() counts
-- @treturn boolean whether the job is over
function pump.run(job, deadline)
  local patient = core.clock() + PATIENCE
  while true do
    local now = core.clock()
    local left = deadline and math.max(deadline - now, 0) or math.huge
    local breathes = drivers.can_sleep() and now >= patient
    local budget = breathes and math.min(BUDGET, left) or math.min(SLICE, left)
    if pump.turn(job, budget, breathes and LULL or budget) then
      return true
    elseif deadline and core.clock() >= deadline then
      return false
    elseif breathes then
      _G.gma.sleep(TICK)
    end
  end
end

--- Turns in the background, as a coroutine of the engine's.
function pump.run_in_background(job)
  while not pump.turn(job) do
    _G.gma.sleep(TICK)
  end
end

--- Turns once for every running job, without waiting.
-- @treturn int how many jobs still run
function pump.poll()
  local jobs = {}
  for _, job in pairs(running) do
    jobs[#jobs + 1] = job
  end
  table.sort(jobs, function(a, b) return a.id < b.id end)
  for _, job in ipairs(jobs) do
    pump.turn(job, 0)
  end
  local count = 0
  for _, job in pairs(running) do
    count = count + (job.response and pump.is_ending(job) and 0 or 1)
  end
  return count
end

--- Enters a started job.
function pump.add(job)
  job.pumped = true
  running[job.id] = job
end

--- Keeps a job that nothing turns by itself until it is over.
function pump.keep(job)
  unattended[job.id] = job
end

--- Drops a job: its waiting tasks never start, and nobody hears of it.
function pump.drop(job)
  forget(job)
  job.dropped = true
  core.release(job.id)
  if job.closed then
    job.closed()
  end
end

return pump
