--- A long show: a million tasks in ten thousand jobs, in both modes, at once and in the background, with time limits,
-- cancels, failures, host calls, copied upvalues and sandboxes mixed in. Every result must be right. After the first tenth,
-- neither memory nor threads may grow.
--
--   lua5.3 tests/stress/soak.lua [JOBS] [SEED]

-- luacheck: globals gma greeting litter math.pi string.litter

local gma2workers = require "gma2workers"
local clock = require("consolenative").clock
local process = require "stress.process"
local own_threads = process.threads()

local jobs_wanted = tonumber(arg[1]) or 10000
local seed = math.tointeger(arg[2]) or os.time()
math.randomseed(seed)
print(("soak: %d jobs, seed %d"):format(jobs_wanted, seed))

local TASKS, WORKERS, AT_ONCE = 100, 6, 3

-- A time limit that only an endless task reaches, however busy the machine is, and one for endless tasks.
local AMPLE, SHORT = 60, 0.005

local echoed = 0

gma = {
  show = {
    getvar = function(name, ...) return name:upper(), select("#", ...) end,
    fail = function(name) error({ "no " .. name }) end,
  },
  echo = function() echoed = echoed + 1 end,
  sleep = function() end,
}

function greeting(name)
  return "hello " .. name
end

-- Kinds of tasks: the function, its arguments, and a check of its record. -------------------------------------

local kinds = {}

local function succeeds(with)
  return function(entry, n)
    return entry.success and entry.data == with(n)
  end
end

local function fails(kind, text)
  return function(entry, n)
    return not entry.success and entry.kind == kind and entry.data:find(text:format(n), 1, true)
  end
end

kinds.sum = {
  run = function(n)
    local sum = 0
    for i = 1, n % 500 do sum = sum + i end
    return sum
  end,
  is_right = succeeds(function(n) return (n % 500) * (n % 500 + 1) // 2 end),
}

kinds.several = {
  run = function(n) return n, nil, n * 0.5, tostring(n) end,
  is_right = function(entry, n)
    local all = entry.returns
    return entry.success and entry.data == n and all.n == 4 and all[2] == nil and all[3] == n * 0.5
      and all[4] == tostring(n)
  end,
}

kinds.nothing = {
  run = function() end,
  is_right = function(entry) return entry.success and entry.data == nil and entry.returns == nil end,
}

kinds.tables = {
  run = function(n, tree)
    local shared = { n }
    return { tree.leaf[1] + n, shared, shared, [tree] = tree, text = tree.text .. "\0" }
  end,
  args = function(n)
    local tree = { leaf = { n }, text = ("t"):rep(n % 300) }
    tree.tree = tree
    return { n, tree }
  end,
  is_right = function(entry, n)
    local data, trees = entry.data, 0
    for key, value in pairs(data) do
      if type(key) == "table" then
        trees = trees + (key == value and key.tree == key and key.leaf[1] == n and 1 or 0)
      end
    end
    return entry.success and trees == 1 and data[1] == 2 * n and data[2] == data[3] and data[2][1] == n
      and data.text == ("t"):rep(n % 300) .. "\0"
  end,
}

kinds.large = {
  run = function(n, text) return text:rep(2) .. n end,
  args = function(n) return { n, ("%05d"):format(n % 100000):rep(2000) } end,
  is_right = succeeds(function(n) return ("%05d"):format(n % 100000):rep(4000) .. n end),
  share = 0.1,
}

kinds.many = {
  run = function(n)
    local list = {}
    for i = 1, 1000 do list[i] = { i, n } end
    return list
  end,
  is_right = function(entry, n)
    return entry.success and #entry.data == 1000 and entry.data[1000][1] == 1000 and entry.data[1000][2] == n
  end,
  share = 0.1,
}

kinds.coroutines = {
  run = function(n)
    local sum = 0
    for i in coroutine.wrap(function() for i = 1, n % 50 do coroutine.yield(i) end end) do sum = sum + i end
    return sum
  end,
  is_right = succeeds(function(n) return (n % 50) * (n % 50 + 1) // 2 end),
}

kinds.littering = {
  run = function(n)
    litter = { n }
    string.litter, math.pi = n, 3
    setmetatable(_G, { __index = function() return "litter" end })
    return n
  end,
  is_right = succeeds(function(n) return n end),
}

kinds.clean = {
  run = function(n)
    -- Nothing of what `littering` left behind may be here.
    return rawget(_G, "litter") == nil and string.litter == nil and math.pi > 3.1 and getmetatable(_G) == nil and n
  end,
  is_right = succeeds(function(n) return n end),
}

kinds.finalized = {
  run = function(n)
    for _ = 1, 10 do setmetatable({}, { __gc = function() end }) end
    return n
  end,
  is_right = succeeds(function(n) return n end),
  share = 0.2,
}

kinds.called = {
  run = function(n)
    gma.echo("task", n)
    local upper, count = gma.show.getvar("v" .. n, n, nil, n)
    return upper .. count
  end,
  is_right = succeeds(function(n) return "V" .. n .. "3" end),
  share = 0.3,
}

kinds.called_and_failed = {
  run = function(n) gma.show.fail("v" .. n) end,
  is_right = function(entry, n)
    return not entry.success and entry.kind == "runtime" and entry.error and entry.error[1] == "no v" .. n
  end,
  share = 0.2,
}

kinds.slept = {
  run = function(n) gma.sleep(0.0002) return n end,
  is_right = succeeds(function(n) return n end),
  share = 0.05,
}

kinds.failed = {
  run = function(n) error("failed at " .. n) end,
  is_right = fails("runtime", "failed at %d"),
}

kinds.failed_with_a_table = {
  run = function(n) error({ code = n }) end,
  is_right = function(entry, n)
    return not entry.success and entry.kind == "runtime" and entry.error and entry.error.code == n
  end,
}

kinds.out_of_memory = {
  run = function()
    local text = "x"
    while true do text = text .. text end
  end,
  is_right = fails("memory", "not enough memory"),
  share = 0.2,
  is_for = "memoryLimit",
}

local captured, cache = { "captured" }, {}

kinds.reads_captured = {
  run = function() return captured[1] end,
  is_right = function(entry, n, options)
    local is_right = options.upvalues and succeeds(function() return "captured" end) or fails("upvalue", "'captured' (a table)")
    return is_right(entry, n)
  end,
}

kinds.writes_captured = {
  run = function(n)
    cache[#cache + 1] = n
    return #cache
  end,
  is_right = function(entry, n, options)
    local is_right = options.upvalues == "private" and succeeds(function() return 1 end)
      or fails("upvalue", "'cache' (a table, written to)")
    return is_right(entry, n) and #cache == 0
  end,
}

kinds.unsendable = {
  run = function() return coroutine.create(print) end,
  is_right = fails("transfer", "cannot send a coroutine"),
}

kinds.with_globals = {
  run = function(n) return greeting(n) end,
  is_right = succeeds(function(n) return "hello " .. n end),
}

local endless = {
  function() while true do end end,
  function() while true do pcall(coroutine.wrap(function() while true do end end)) end end,
  function() table.sort({ 2, 1 }, function() while true do pcall(error) end end) end,
  function() while true do gma.sleep(1) end end,
  function() while true do assert(#table.pack({}, {}, tostring({})) == 3) end end,
}

local names = {}
for name in pairs(kinds) do
  names[#names + 1] = name
end
table.sort(names)

local function one_of_the_kinds(options)
  while true do
    local kind = kinds[names[math.random(#names)]]
    if math.random() < (kind.share or 1) and (not kind.is_for or options[kind.is_for]) then
      return kind
    end
  end
end

-- Jobs ------------------------------------------------------------------------------------------------------

local counts = { tasks = 0, succeeded = 0, failed = 0, stopped = 0, unbegun = 0, in_background = 0, cmd = 0 }
local number = 0

local function make_job()
  local job = { kinds = {}, numbers = {} }
  local options = {
    tasks = {}, workers = math.random(WORKERS), mode = math.random() < 0.1 and "cmd" or "timer",
    globals = { "greeting" }, timeout = math.random() < 0.3 and AMPLE or nil,
    memoryLimit = math.random() < 0.1 and 8 << 20 or nil, sandbox = math.random() < 0.05,
    upvalues = ({ "copy", "private" })[math.random(6)],
  }
  local nature = math.random()
  job.is_limited, job.is_cancelled = nature < 0.05, nature > 0.95
  if job.is_limited then
    options.timeout = SHORT
  end
  for i = 1, TASKS do
    number = number + 1
    local kind = one_of_the_kinds(options)
    local func, args = kind.run, kind.args and kind.args(number) or { number }
    if (job.is_limited or job.is_cancelled) and math.random() < 0.03 then
      kind, func = "endless", endless[math.random(#endless)]
    end
    options.tasks[i] = { func = func, args = args }
    job.kinds[i], job.numbers[i] = kind, number
  end
  job.options = options
  return job
end

local function check(job, i, entry)
  local kind, n = job.kinds[i], job.numbers[i]
  local stops = (job.is_limited and entry.kind == "timeout") or (job.is_cancelled and entry.kind == "cancelled")
  if not entry.success and stops then
    local count = entry.kind == "cancelled" and not entry.traceback and "unbegun" or "stopped"
    counts[count] = counts[count] + 1
  elseif kind ~= "endless" and kind.is_right(entry, n, job.options) then
    local count = entry.success and "succeeded" or "failed"
    counts[count] = counts[count] + 1
  else
    error(("task %d went wrong: %s, %s, %s\n%s"):format(n, entry.success, entry.kind, entry.data, entry.traceback))
  end
end

local function check_all(job, response)
  assert(#response.result == TASKS and (response.cancelled or false) == job.is_cancelled)
  for i = 1, TASKS do
    check(job, i, response.result[i])
    assert(not job.reported or job.reported[i] == response.result[i], "onResult was not called with the record")
  end
  counts.tasks = counts.tasks + TASKS
  counts.cmd = counts.cmd + (job.options.mode == "cmd" and TASKS or 0)
end

local in_background, completed = {}, {}

local function start_in_background(job)
  -- An error in a callback is only shown, so the checks are made outside of it.
  job.options.onComplete = function(response)
    completed[#completed + 1] = { job = job, response = response }
  end
  job.handle = gma2workers.RunAsync(job.options)
  in_background[job] = true
  counts.in_background = counts.in_background + TASKS
end

local function background_jobs()
  local count = 0
  for _ in pairs(in_background) do
    count = count + 1
  end
  return count
end

local function check_completed()
  for _, ended in ipairs(completed) do
    assert(in_background[ended.job], "a job ended twice")
    in_background[ended.job] = nil
    check_all(ended.job, ended.response)
  end
  completed = {}
end

--- Lets onResult note each record, in some jobs.
local function note_results(job)
  if math.random() < 0.4 then
    job.reported = {}
    function job.options.onResult(index, record)
      -- A second call leaves a wrong record behind, which the check at the end sees.
      job.reported[index] = job.reported[index] and "twice" or record
    end
  end
end

local function run_one()
  local job = make_job()
  note_results(job)
  if job.is_cancelled then
    start_in_background(job)
    job.handle:wait(math.random() * 0.005)
    job.is_cancelled = job.handle:cancel()
    assert(job.handle:wait(60), "a job hangs")
    check_completed()
  elseif math.random() < 0.5 then
    start_in_background(job)
    while background_jobs() >= AT_ONCE do
      -- Any of the running jobs.
      local other = next(in_background)
      assert(other.handle:wait(60), "a job hangs")
      check_completed()
    end
  else
    check_all(job, gma2workers.RunSync(job.options))
  end
end

-- The whole run ----------------------------------------------------------------------------------------------

local began = clock()
local warm

local function measure(jobs)
  collectgarbage()
  local memory, threads = process.memory(), gma2workers.info.threads
  print(("%6d jobs, %8d tasks, %7.1f s, %.1f MiB, %d threads"):format(jobs, counts.tasks, clock() - began, memory,
    threads))
  return { memory = memory, threads = threads }
end

local last
for n = 1, jobs_wanted do
  run_one()
  if n % math.max(1, jobs_wanted // 10) == 0 then
    last = measure(n)
    warm = warm or last
  end
end
while next(in_background) do
  assert(next(in_background).handle:wait(60), "a job hangs")
  check_completed()
end
last = measure(jobs_wanted)

assert(counts.tasks == jobs_wanted * TASKS)
assert(gma2workers.info.lost == 0, "a thread was lost")
assert(last.threads <= math.max(AT_ONCE * WORKERS, process.cores()), "too many threads")
-- The program's own thread, and the watchdog.
assert(not own_threads or process.has_at_most(own_threads + last.threads + 1), "threads stay behind")
-- A short run has not warmed up after its first tenth.
assert(last.memory <= warm.memory * 1.5 + (jobs_wanted < 1000 and 64 or 16), "memory grows")

print(("%d tasks: %d succeeded, %d failed, %d stopped, %d not begun; %d in the background, %d in mode cmd")
  :format(counts.tasks, counts.succeeded, counts.failed, counts.stopped, counts.unbegun, counts.in_background,
    counts.cmd))
print(("%d echoes, %d tasks/s"):format(echoed, counts.tasks / (clock() - began) // 1))
