-- The option `trace`: a job's timeline in a file.

local dkjson = require "dkjson"
local gma2workers = require "gma2workers"
local crossing = require "spec.fixtures.crossing"
local running = require "spec.fixtures.running"
local system = require "spec.fixtures.system"
local read = require "spec.fixtures.read"

local RunSync, RunAsync, with_gma = gma2workers.RunSync, gma2workers.RunAsync, crossing.with_gma

-- The rounding difference of two clocks, in microseconds.
local ROUNDING = 2

local function identity(...) return ... end

--- Calls `body` with a path, then reads the file written there.
-- @treturn table the file's events: `titles` by row, `tasks` by index, and `others` with all other slices
local function traced(body)
  local path = system.temporary()
  local ok, problem = pcall(body, path)
  local text = read(path)
  os.remove(path)
  assert(ok, problem)
  local events = { titles = {}, tasks = {}, others = {} }
  for _, event in ipairs(assert(dkjson.decode(text)).traceEvents) do
    if event.ph == "M" then
      events.titles[event.tid or "process"] = event.args.name
    elseif event.cat == "task" then
      assert.is_nil(events.tasks[event.args.task], "a task has two slices")
      events.tasks[event.args.task] = event
    else
      table.insert(events.others, event)
    end
  end
  return events
end

local function ends(event)
  return event.ts + event.dur
end

local function is_within(inner, outer)
  return inner.tid == outer.tid and inner.ts >= outer.ts - ROUNDING and ends(inner) <= ends(outer) + ROUNDING
end

describe("the trace", function()
  running.each_mode(function(mode)
    it("has a row for the host and each worker, and a slice for each task", function()
      local function work(i)
        if i == 3 then error("boom") end
        local sum = 0
        for n = 1, 10000 do sum = sum + n end
        return sum
      end
      local tasks = running.tasks(6, work)
      tasks[2].name = "the \"second\"\n\\ \1 ä"
      local response
      local events = traced(function(path)
        response = RunSync { tasks = tasks, workers = 2, mode = mode, trace = path }
      end)
      assert.equal("gma2workers " .. response.jobId, events.titles.process)
      assert.equal("host", events.titles[0])
      assert.equal(6, #events.tasks)
      for i, event in ipairs(events.tasks) do
        assert.equal(tasks[i].name or "task " .. i, event.name)
        assert.equal(i ~= 3, event.args.success)
        assert.equal("X", event.ph)
        assert.is_true(event.ts >= 0 and ends(event) <= response.duration * 1e6 + ROUNDING)
        assert.equal(event.tid == 0 and "host" or "worker " .. event.tid, events.titles[event.tid])
      end
      local host = {}
      for _, event in ipairs(events.others) do
        host[event.name] = event.tid
      end
      assert.same({ 0, 0 }, { host["read tasks"], host["merge results"] })
    end)
  end)

  it("never has two tasks at once on a worker's row #native", function()
    local events = traced(function(path)
      RunSync { tasks = running.tasks(200, function(i) return i end), workers = 3, trace = path }
    end)
    table.sort(events.tasks, function(a, b) return a.ts < b.ts end)
    local last = {}
    for _, event in ipairs(events.tasks) do
      assert.is_true(event.tid >= 1 and event.tid <= 3)
      assert.is_true(not last[event.tid] or event.ts >= ends(last[event.tid]) - ROUNDING)
      last[event.tid] = event
    end
  end)

  it("shows a task's waiting inside its slice, and the host's work for it #native", function()
    local events
    with_gma({ cmd = function() running.ask_until(function() return true end) return "done" end, sleep = identity }, function()
      events = traced(function(path)
        local function ask(i) gma.cmd("x") if i == 1 then gma.sleep(0.001) end return gma.cmd("y") end
        running.data(RunSync { tasks = running.tasks(3, ask), workers = 2, trace = path })
      end)
    end)
    local waits, calls, seconds = {}, 0, { 0, 0, 0 }
    for _, event in ipairs(events.others) do
      if event.cat == "waiting" then
        local found
        for i, task in ipairs(events.tasks) do
          if is_within(event, task) then
            found, seconds[i] = i, seconds[i] + event.dur
          end
        end
        assert.is_truthy(found, "a wait outside of all tasks")
        waits[event.name] = (waits[event.name] or 0) + 1
      elseif event.cat == "host call" then
        assert.same({ 0, "gma.cmd" }, { event.tid, event.name })
        calls = calls + 1
      end
    end
    assert.same({ ["gma.cmd"] = 6, ["gma.sleep"] = 1 }, waits)
    assert.equal(6, calls)
    for i, task in ipairs(events.tasks) do
      assert.is_true(math.abs(task.args.host_ms * 1000 - seconds[i]) < ROUNDING)
      assert.is_true(math.abs((task.args.host_ms + task.args.lua_ms) * 1000 - task.dur) < ROUNDING)
    end
  end)

  it("is written if a task is stopped or never starts #native", function()
    local events = traced(function(path)
      RunSync { tasks = { { func = function() while true do end end, timeout = 0.05 }, { func = identity } }, workers = 1,
        trace = path }
    end)
    assert.same({ false, true }, { events.tasks[1].args.success, events.tasks[2].args.success })
    events = traced(function(path)
      local job = RunAsync { tasks = running.tasks(3, function() while true do end end), workers = 1, trace = path,
        onComplete = identity }
      job:cancel()
      assert.is_true(job:wait(running.NEVER).cancelled)
    end)
    assert.is_true(#events.tasks <= 1)
  end)

  it("exists before onComplete is called", function()
    local text
    local events = traced(function(path)
      local job = RunAsync { tasks = running.tasks(2, identity), trace = path, onComplete = function() text = read(path) end }
      job:wait(running.NEVER)
    end)
    assert.equal(2, #events.tasks)
    assert.equal(2, select(2, text:gsub('"cat":"task"', "")))
  end)

  it("of a job without tasks has no slices", function()
    assert.same({}, traced(function(path) RunSync { tasks = {}, trace = path } end).tasks)
  end)

  it("is refused if its file can't be created, before anything starts (E7)", function()
    local calls = 0
    local function refusal(path)
      local ok, message = pcall(function()
        RunSync { tasks = { { func = identity } }, trace = path, onComplete = function() calls = calls + 1 end }
      end)
      assert.is_false(ok)
      return message
    end
    local path = "no such folder/job.json"
    local message = refusal(path)
    assert.is_truthy(message:find("trace_spec.lua:%d+: option 'trace' names a file that can't be written, \"" .. path .. '": .'), message)
    for value, shown in pairs { [5] = "5", [true] = "true", [""] = '""' } do
      message = refusal(value)
      assert.is_truthy(message:find("option 'trace' must be the path of a file, got " .. shown, 1, true), message)
    end
    assert.equal(0, calls)
  end)

  it("that can't be written at the end is reported when the job is over (E4) #posix", function()
    local response
    local ok, message = pcall(RunSync, { tasks = { { func = identity, args = { 5 } } }, trace = "/dev/full",
      onComplete = function(given) response = given end })
    assert.is_false(ok)
    assert.is_truthy(message:find("^option 'trace': the job is done, but its timeline can't be written: "), message)
    assert.equal(5, response.result[1].data)
    local told = {}
    with_gma({ echo = function(text) told[#told + 1] = text end }, function()
      local job = RunAsync { tasks = { { func = identity, args = { 5 } } }, trace = "/dev/full",
        onComplete = function(given) response = given end }
      local waited = job:wait(running.NEVER)
      assert.equal(response, waited)
    end)
    assert.equal(1, #told)
    assert.is_truthy(told[1]:find("option 'trace'", 1, true), told[1])
  end)

  it("of a dropped job has the slices so far #native", function()
    local events = traced(function(path)
      with_gma({ echo = function() error("interrupted!", 0) end }, function()
        local ok = pcall(RunSync, { tasks = { { func = function() gma.echo() while true do end end } }, trace = path })
        assert.is_false(ok)
      end)
    end)
    assert.equal(1, #events.tasks)
  end)
end)
