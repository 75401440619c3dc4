--- The pace of the pumps in an engine: how long a turn may block it, and how long it runs in between.
-- All pumps share one account. Time that passes between their turns adds to it, and turns use it up. So tasks that keep calling the
-- host get half of its time, whatever the engine's tick takes, and the other half is the engine's.

local core = ...

local pace = {}

-- The longest time, in seconds, for which a turn may block the engine; also the most that the account holds.
local LONGEST_TURN = 0.02

-- The shortest budget of a turn and the shortest sleep between turns. Waking a sleeping thread takes about a fifth of it.
local SHORTEST = 0.00025

-- Seconds that the pump sleeps at first while no task waits for the host. Each further sleep is twice as long, up to the longest,
-- which lets an engine with a tick of 10 ms return at its next tick.
local FIRST_PAUSE = 0.001
local LONGEST_PAUSE = 0.008

-- Seconds that a turn waits for a call if no task has called for a while.
local CALL_WAIT = 0.001

-- The gap between calls, in seconds, that is assumed after one that has waited for its turn, and the longest that keeps a turn
-- waiting.
local FIRST_GAP = 0.00125
local LONGEST_GAP = 0.016

-- A call for which a turn has waited less than this was there before, in seconds.
local AT_ONCE = 0.00005

-- A turn waits up to this many times the usual time between calls.
local PATIENCE = 4

-- The number of calls without an answer that count as one with an answer, since a task only waits when 1,024 are queued.
local UNANSWERED = 256

-- What is left of the pumps' time, in seconds, and when it was counted last. It is below zero after a turn that took too long.
local balance, counted_until = LONGEST_TURN, core.clock()

--- Begins a turn.
-- @treturn number the seconds for which it may block the engine
function pace.open()
  local now = core.clock()
  balance = math.min(balance + now - counted_until, LONGEST_TURN)
  counted_until = now
  return math.max(balance, SHORTEST)
end

--- Ends a turn. If a callback has yielded in it, the engine's time counts as the turn's.
function pace.close()
  local now = core.clock()
  balance = math.max(balance - (now - counted_until), -LONGEST_TURN)
  counted_until = now
end

local function set_gap(job, gap)
  job.gap = gap <= LONGEST_GAP and gap or nil
end

--- Notes the calls that a turn has served, for the job's `gap`: the usual number of seconds between calls that tasks wait for. It is
-- nil if they come so seldom that the engine need not wait for them.
-- @int answered the number of calls with an answer
-- @int unanswered the number of calls without one
-- @number waited seconds for which the turn has waited for them
function pace.note_calls(job, answered, unanswered, waited)
  if answered == 0 and unanswered < UNANSWERED then
    return
  end
  local now, gap = core.clock(), job.gap
  local latest = (now - (job.called_at or job.started)) / (answered + unanswered / UNANSWERED)
  if waited < AT_ONCE then
    -- The calls have waited for this turn, so they would have come sooner.
    latest = math.min(latest, gap and gap / 2 or FIRST_GAP)
  end
  set_gap(job, gap and (gap + latest) / 2 or latest)
  job.called_at, job.pause, job.is_guess = now, nil, waited < AT_ONCE and (job.is_guess or not gap)
end

--- Notes that a turn has waited in vain.
function pace.note_silence(job)
  if job.is_guess then
    job.gap = nil
  elseif job.gap then
    set_gap(job, math.max(job.gap, math.min(core.clock() - job.called_at, 2 * job.gap)))
  end
end

--- Whether the next call will probably come within these seconds.
function pace.expects_call(job, seconds)
  return job.gap ~= nil and job.gap < seconds
end

--- Seconds that a turn waits for the next call.
function pace.patience(job)
  return job.gap and math.max(PATIENCE * job.gap, CALL_WAIT) or CALL_WAIT
end

--- Seconds for which the engine runs until the job's next turn. While tasks call, it is half the time in which the next call is
-- expected: the turn then waits for it.
function pace.pause(job)
  local seconds = job.gap and job.gap / 2
  if not seconds then
    seconds = job.pause and 2 * job.pause or FIRST_PAUSE
    job.pause = math.min(seconds, LONGEST_PAUSE)
  end
  return math.min(math.max(seconds, SHORTEST, -balance), LONGEST_PAUSE)
end

return pace
