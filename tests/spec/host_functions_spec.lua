-- The option `host`: functions of the host that tasks may call.
-- luacheck: globals host

local gma2workers = require "gma2workers"
local crossing = require "spec.fixtures.crossing"
local running = require "spec.fixtures.running"

local RunSync, RunAsync = gma2workers.RunSync, gma2workers.RunAsync
local tasks_of = running.tasks

--- The record of one task with these host functions.
local function run(functions, func, ...)
  return RunSync({ host = functions, tasks = { { func = func, args = table.pack(...) } } }).result[1]
end

describe("a function of the option host", function()
  it("is called by tasks, on the host (H14)", function()
    local seen = {}
    local functions = { add = function(n, m) seen[#seen + 1] = n return n * 2, m end }
    local a, b = crossing.results(run(functions, function() return host.add(21, "x") end))
    assert.same({ 42, "x", { 21 } }, { a, b, seen })
    assert.is_nil(rawget(_G, "host"))
  end)

  it("gets and returns copies (H14) #native", function()
    local kept = { 1 }
    local entry = run({ get = function(list) list[1] = 9 return kept end }, function()
      local mine = { 5 }
      local got = host.get(mine)
      got[1] = 7
      return mine[1], got[1]
    end)
    assert.same({ 5, 7, n = 2 }, entry.returns)
    assert.same({ 1 }, kept)
  end)

  it("is called by many workers, each call once (H14)", function()
    local calls = 0
    local response = RunSync { workers = 8, host = { count = function(n) calls = calls + 1 return n end },
      tasks = tasks_of(200, function(n) return host.count(n) end) }
    assert.same(running.count_to(200), running.data(response))
    assert.equal(200, calls)
  end)

  it("knows its task in a coroutine that the task made (H14)", function()
    local functions = { add = function(n) return n + 1 end }
    assert.equal(3, run(functions, function() return coroutine.wrap(function() return host.add(2) end)() end).data)
  end)

  it("raises its errors at the call, also those that are not text (H15)", function()
    local functions = { fail = function(value) error(value, 0) end }
    assert.same({ false, "no such cue", n = 2 }, run(functions, function() return pcall(host.fail, "no such cue") end).returns)
    assert.same({ false, { code = 5 }, n = 2 }, run(functions, function() return pcall(host.fail, { code = 5 }) end).returns)
    local entry = run(functions, function() host.fail("boom") end)
    assert.same({ "runtime", "Error: boom" }, { entry.kind, entry.data })
  end)

  it("raises tables that keep their text and their name, but no other metamethod (H25)", function()
    local spoken = { __tostring = function(failure) return "no fixture " .. failure.id end, __index = { class = "Failure" } }
    local functions = {
      spoken = function() error(setmetatable({ id = 3 }, spoken)) end,
      named = function() error(setmetatable({ id = 4 }, { __name = "Failure" })) end,
      plain = function() error(setmetatable({ id = 5 }, { __index = {} })) end,
      broken = function() error(setmetatable({ id = 6 }, { __tostring = function() error("no text", 0) end })) end,
    }
    local function fail(name) host[name]() end
    local function record(name)
      local failed = run(functions, fail, name)
      return { failed.data, failed.error, getmetatable(failed.error) }
    end
    assert.same({ "Error: no fixture 3", { id = 3 } }, record("spoken"))
    assert.same({ "Error: Failure: { id = 4 }", { id = 4 } }, record("named"))
    assert.same({ "Error: { id = 5 }", { id = 5 } }, record("plain"))
    assert.same({ "Error: error in the __tostring of the error: no text", { id = 6 } }, record("broken"))

    local caught = run(functions, function()
      local _, failure = pcall(host.spoken)
      local text, id = tostring(failure), failure.id
      local _, again = pcall(error, failure)
      return text, id, again == failure and type(again)
    end)
    assert.same({ "no fixture 3", 3, "table", n = 3 }, caught.returns)
    assert.equal("Error: no fixture 3", run(functions, function()
      local _, failure = pcall(host.spoken)
      error(failure)
    end).data)
  end)

  it("that is not there is a nil field (H15)", function()
    local entry = run({ add = print }, function() host.sub(1) end)
    assert.is_truthy(entry.data:find("attempt to call a nil value (field 'sub')", 1, true), entry.data)
  end)

  it("can't take what can't cross (H15) #native", function()
    local entry = run({ add = print }, function() host.add({ deep = coroutine.create(print) }) end)
    assert.same("transfer", entry.kind == "runtime" and "transfer" or entry.kind)
    assert.is_truthy(entry.data:find("cannot send a coroutine (at args[1].deep of host.add)", 1, true), entry.data)
    entry = run({ get = function() return io.stdout end }, function() return host.get() end)
    assert.is_truthy(entry.data:find("the answer of host.get cannot cross: cannot send a userdata (at returns[1] of host.get)",
      1, true), entry.data)
  end)

  it("may call RunSync (H16)", function()
    local functions = { nested = function(n)
      return RunSync({ host = { double = function(m) return 2 * m end },
        tasks = { { func = function(m) return host.double(m) end, args = { n } } } }).result[1].data
    end }
    local response = RunSync { host = functions, workers = 1, tasks = tasks_of(2, function(n)
      return { host.nested(n), host.nested(4), (pcall(require("gma2workers").RunSync, { tasks = {} })) }
    end) }
    assert.same({ { 2, 8, false }, { 4, 8, false } }, running.data(response))
  end)

  it("may cancel its job (H16)", function()
    local job
    local calls = 0
    job = RunAsync { workers = 1, onComplete = function() end, host = { stop = function() calls = calls + 1 job:cancel() end },
      tasks = tasks_of(3, function() host.stop() return "went on" end) }
    local response = job:wait(60)
    assert.is_true(response.cancelled)
    assert.same({ "cancelled", "cancelled", "cancelled", 1 },
      { response.result[1].kind, response.result[2].kind, response.result[3].kind, calls })
  end)

  it("may yield, and the job goes on (H16)", function()
    local response
    running.in_engine({}, function()
      response = RunSync { workers = 1, tasks = tasks_of(3, function(n) return host.slow(n) end),
        host = { slow = function(n) gma.sleep(0.01) return -n end } }
    end)
    assert.same({ -1, -2, -3 }, running.data(response))
  end)

  it("is the one that the table had at the call (H17)", function()
    local functions = { name = function() return "first" end }
    local job = RunAsync { workers = 1, host = functions, onComplete = function() end,
      tasks = tasks_of(1, function() return host.name() end) }
    functions.name = function() return "second" end
    assert.equal("first", job:wait(60).result[1].data)
  end)

  it("is the job's own, with two jobs at once (H17)", function()
    local jobs = {}
    for n = 1, 2 do
      jobs[n] = RunAsync { workers = 2, host = { which = function() return n end }, onComplete = function() end,
        tasks = tasks_of(20, function() return host.which() end) }
    end
    for n, job in ipairs(jobs) do
      for _, entry in ipairs(job:wait(60).result) do
        assert.equal(n, entry.data)
      end
    end
    assert.is_nil(rawget(_G, "host"))
  end)

  it("is not there for a job without the option, and the global is gone after one with it (H17) #native", function()
    run({ add = print }, function() end)
    assert.is_nil(RunSync({ workers = 1, tasks = tasks_of(1, function() return host end) }).result[1].data)
    assert.is_nil(rawget(_G, "host"))
  end)

  it("leaves a global host of the host's own alone (H17) #native", function()
    rawset(_G, "host", "mine")
    local entry = run({ add = function(n) return n + 1 end }, function() return host.add(1) end)
    assert.same({ 2, "mine" }, { entry.data, rawget(_G, "host") })
    rawset(_G, "host", nil)
  end)

  it("is there in init, in Map, in a sandbox, and for both modes (H14)", function()
    local functions = { add = function(n) return n + 1 end }
    assert.same({ 2, 3 }, gma2workers.Map(function(n) return host.add(n) end, { 1, 2 }, { host = functions }))
    for _, mode in ipairs(running.MODES) do
      local response = RunSync { mode = mode, host = functions, tasks = tasks_of(1, function() return kept_by_init end), -- luacheck: ignore
        init = function() kept_by_init = host.add(4) end } -- luacheck: ignore
      rawset(_G, "kept_by_init", nil)
      assert.equal(5, response.result[1].data)
    end
    if gma2workers.info.backend == "native" then
      assert.equal(2, RunSync({ sandbox = true, host = functions, tasks = tasks_of(1, function(n) return host.add(n) end) })
        .result[1].data)
    end
  end)

  it("must be a function with a name (H18)", function()
    for part, functions in pairs {
      ["option 'host'['add'] must be a function, got 5"] = { add = 5 },
      ["option 'host' must have names, but has a value at [1]: write host = { name = f, ... }"] = { print },
      ["option 'host' must be a table of functions by name: { name = f, ... }, got \"x\""] = "x",
    } do
      local _, message = pcall(RunSync, { host = functions, tasks = tasks_of(1, function() end) })
      assert.is_truthy(message:find(part, 1, true), message)
    end
  end)
end)
