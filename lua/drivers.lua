--- What turns the pump of an asynchronous job: a timer or a command line of the engine's.
-- Either way one coroutine of the engine's turns until the job is over, so nothing is left running then.
-- On a host without an engine nothing does, and Poll() or job:wait() turns it.

local _, modules = ...
local pump = modules.pump

local drivers = {}

-- A timer that is called once; what it is called with then does the sleeping.
local ONCE = 1
local SOON = 0.01

--- Turns the job in the coroutine that the engine has started. It may have started it inside the very
-- call that asked for it; then the job must not end before that call has.
local function turn_from_engine(job)
  if not job.returned then
    _G.gma.sleep(SOON)
  end
  pump.run_in_background(job)
end

function drivers.timer(job)
  local engine = rawget(_G, "gma")
  if type(engine) == "table" and type(engine.timer) == "function" then
    engine.timer(function() turn_from_engine(job) end, SOON, ONCE)
  else
    pump.keep(job)
  end
end

--- A command line can only name a global, so the job has one of its own until the command has begun.
function drivers.cmd(job)
  local engine = rawget(_G, "gma")
  if type(engine) ~= "table" or type(engine.cmd) ~= "function" then
    pump.keep(job)
    return
  end
  local alias = "gma2workers_job_" .. job.id
  job.closed = function()
    rawset(_G, alias, nil)
  end
  rawset(_G, alias, function()
    rawset(_G, alias, nil)
    turn_from_engine(job)
  end)
  local refusal = engine.cmd(('LUA "if %s then %s() end"'):format(alias, alias))
  if refusal then
    error("the command line refused to run the job: " .. tostring(refusal), 0)
  end
end

return drivers
