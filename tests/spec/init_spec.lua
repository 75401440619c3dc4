-- The option `init`: code that runs in each worker's state before its first task.
-- luacheck: globals base kept count, ignore 142 143

local gma2workers = require "gma2workers"
local assertions = require "spec.fixtures.assertions"
local crossing = require "spec.fixtures.crossing"
local running = require "spec.fixtures.running"
local stops = require "spec.fixtures.stops"
local system = require "spec.fixtures.system"

local RunSync, RunAsync = gma2workers.RunSync, gma2workers.RunAsync
local with_gma, each_mode, tasks_of, poll_until = crossing.with_gma, running.each_mode, running.tasks, running.poll_until

-- The globals that the tests' init functions set. On the cooperative backend they are the host's.
local SET = { "base", "calls", "kept" }

--- Runs the job and removes those globals.
local function run(options)
  local response = RunSync(options)
  for _, name in ipairs(SET) do
    rawset(_G, name, nil)
  end
  return response
end

describe("the function init", function()
  it("leaves globals that every task finds as new (C1) #native", function()
    local response = run { workers = 1, init = function() base = 40 end,
      tasks = tasks_of(3, function() base = base + 1 return base end) }
    assert.same({ 41, 41, 41 }, running.data(response))
  end)

  it("leaves globals that every task finds (C1)", function()
    local response = run { init = function() base = 40 end, tasks = tasks_of(3, function(n) return base + n end) }
    assert.same({ 41, 42, 43 }, running.data(response))
  end)

  it("gets its arguments, as copies (C1)", function()
    local list = { 1, 2 }
    local response = run { init = { func = function(a, b, c) kept = { a, b, c[1] } c[1] = 9 end, args = { 5, nil, list } },
      tasks = tasks_of(1, function() return kept end) }
    assert.same({ { 5, nil, 1 } }, running.data(response))
    assert.same({ 1, 2 }, list)
  end)

  it("may be a callable table (C1)", function()
    local object = setmetatable({ n = 7 }, { __call = function(self, a) kept = self.n + a end })
    local response = run { init = { func = object, args = { 1 } }, tasks = tasks_of(1, function() return kept end) }
    assert.same({ 8 }, running.data(response))
  end)

  it("may call the host, sleep, and load modules (C1)", function()
    local calls = {}
    with_gma({ note = function(text) calls[#calls + 1] = text return #calls end, sleep = stops.host.sleep }, function()
      local response = run { workers = 1, tasks = tasks_of(2, function() return kept end), init = function()
        gma.sleep(0.001)
        kept = require("spec.fixtures.signal").set and gma.note("from init")
      end }
      assert.same({ 1, 1 }, running.data(response))
    end)
    assert.same({ "from init" }, calls)
  end)

  it("runs once for a worker, and in each job (C2)", function()
    local begun = 0
    with_gma({ begun = function() begun = begun + 1 end }, function()
      local options = { workers = 1, init = function() gma.begun() end, tasks = tasks_of(3, function(n) return n end) }
      for n = 1, 3 do
        run(options)
        assert.equal(n, begun)
      end
    end)
  end)

  it("runs for each task in mode cmd (C2) #native", function()
    local begun = 0
    with_gma({ begun = function() begun = begun + 1 end }, function()
      run { workers = 1, mode = "cmd", init = function() gma.begun() end, tasks = tasks_of(3, function(n) return n end) }
    end)
    assert.equal(3, begun)
  end)

  it("leaves nothing to the next job (C2) #native", function()
    run { workers = 1, init = function() base = 1 string.split = print end, tasks = tasks_of(1, function() end) }
    local response = RunSync { workers = 1, tasks = tasks_of(2, function() return base == nil and string.split == nil end) }
    assert.same({ true, true }, running.data(response))
  end)

  it("may be run by many workers at the same time (C2) #native", function()
    local response = run { workers = 8, init = function() base = 1 end,
      tasks = tasks_of(100, function(n) base = base + n return base end) }
    for n = 1, 100 do
      assert.equal(n + 1, response.result[n].data)
    end
  end)

  it("does not count against the first task's time limit (C3) #native", function()
    -- Each takes most of the limit.
    local function sleep(_, seconds) gma.sleep(seconds) return "done" end
    local response = stops.response_in_time(function(timeout)
      return with_gma(stops.host, function()
        return run { workers = 1, timeout = timeout, init = { func = sleep, args = { 0, 0.7 * timeout } },
          tasks = tasks_of(1, sleep, 0.7 * timeout) }
      end)
    end, stops.has_timed_out)
    assert.equal("done", response.result[1].data)
  end)

  it("may have more time than the tasks (C3) #native", function()
    for _, limit in ipairs { stops.SOON, math.huge } do
      local response = stops.response_in_time(function(timeout)
        return with_gma(stops.host, function()
          return run { workers = 1, timeout = timeout, tasks = tasks_of(1, function() return "done" end),
            init = { func = function(s) gma.sleep(s) end, args = { 1.5 * timeout }, timeout = limit } }
        end)
      end, stops.has_timed_out)
      assert.equal("done", response.result[1].data)
    end
  end)

  it("leaves the first task its limit (C3) #native", function()
    local response = run { workers = 1, timeout = 0.05, init = function() base = 1 end,
      tasks = tasks_of(1, function() while true do end end) }
    assert.equal("timeout", response.result[1].kind)
  end)

  each_mode(function(mode)
    it("that never ends is stopped after the time of the longest task, and not run again (C3) #native", function()
      for tasks, options in pairs {
        [tasks_of(3, function() end)] = { timeout = 0.05 },
        [{ { func = print, timeout = 0.05 }, { func = print, timeout = 0.01 } }] = {},
        [{ { func = print, timeout = 0.05 }, { func = print } }] = { timeout = 0.01 },
      } do
        local begun = 0
        local response = with_gma({ begun = function() begun = begun + 1 end }, function()
          return run { mode = mode, workers = 1, timeout = options.timeout, init = function() gma.begun() while true do end end,
            tasks = tasks }
        end)
        for n, entry in ipairs(response.result) do
          local message = "Error: init timed out after 0.05 s (init = { func = f, timeout = seconds } gives it another limit)"
          assert.same({ n, "timeout", message }, { n, entry.kind, entry.data })
          assert.is_truthy(entry.traceback:find("^in init\n"), entry.traceback)
        end
        assert.is_truthy(response.result[1].traceback:find("init_spec.lua:", 1, true), response.result[1].traceback)
        assert.equal(1, begun)
      end
      stops.good_job()
    end)

    it("that never ends is stopped after its own time (C3) #native", function()
      local response = run { mode = mode, init = { func = function() while true do end end, timeout = 0.05 },
        tasks = tasks_of(3, function() end) }
      for n = 1, 3 do
        assert.equal("timeout", response.result[n].kind)
      end
      stops.good_job()
    end)

    it("may end by itself in its grace, and has timed out all the same (C3) #native", function()
      local isStopping = gma2workers.isStopping
      local ended = 0
      local response = with_gma({ ended = function() ended = ended + 1 end }, function()
        return run { mode = mode, workers = 1, timeout = 0.05, grace = stops.SOON, tasks = tasks_of(2, function() end),
          init = function() repeat until isStopping() gma.ended() end }
      end)
      assert.same({ "timeout", "timeout", 1 }, { response.result[1].kind, response.result[2].kind, ended })
    end)

    it("that never ends is stopped with its job (C3) #native", function()
      local begun, response = 0, nil
      with_gma({ begun = function() begun = begun + 1 end }, function()
        local job = RunAsync { mode = mode, workers = 2, init = function() gma.begun() while true do end end,
          tasks = tasks_of(4, function() end), onComplete = function() end }
        poll_until(function() return begun == 2 end)
        job:cancel()
        response = job:wait(stops.SOON)
      end)
      for n = 1, 4 do
        assert.equal("cancelled", response.result[n].kind)
      end
      assert.is_truthy(tostring(response.result[1].traceback):find("^in init\n"), response.result[1].traceback)
      stops.good_job()
    end)
  end)
end)

describe("a failing init", function()
  it("fails every task with its error (C4)", function()
    local calls = 0
    with_gma({ begun = function() calls = calls + 1 end }, function()
      local tasks = tasks_of(3, function() end)
      tasks[2].name = "second"
      local response = run { workers = 1, init = function() gma.begun() error("no base") end, tasks = tasks }
      for _, entry in ipairs(response.result) do
        assert.same({ false, "runtime" }, { entry.success, entry.kind })
        assert.is_truthy(entry.data:find("^Error: .*init_spec%.lua:%d+: no base$"), entry.data)
      end
      assert.is_truthy(response.result[1].traceback:find("^in init\nstack traceback:\n"), response.result[1].traceback)
      assert.is_truthy(response.result[2].traceback:find("^in task 2 'second'\nin init\n"), response.result[2].traceback)
    end)
    assert.equal(1, calls)
  end)

  it("passes on an error that is not a text (C4)", function()
    local response = run { init = function() error({ code = 5 }) end, tasks = tasks_of(2, function() end) }
    assert.same({ code = 5 }, response.result[1].error)
    assert.same({ code = 5 }, response.result[2].error)
  end)

  it("says that memory ran out (C4) #native", function()
    local response = run { memoryLimit = 8 << 20, init = function() kept = ("x"):rep(1 << 30) end,
      tasks = tasks_of(1, function() end) }
    assert.equal("memory", response.result[1].kind)
    stops.good_job()
  end)

  it("that can't cross is refused at the call (C4) #native", function()
    local rate = 5
    local _, message = pcall(RunSync, { tasks = tasks_of(1, function() end), init = function() base = rate end })
    assert.is_truthy(message:find("option 'init' cannot cross: .*'rate'"), message)
  end)

  it("that fills a captured local is refused, and the error's advice works (C4) #native", function()
    local lut, size
    local function refused(init, upvalues)
      return select(2, pcall(RunSync, { tasks = tasks_of(1, function() return lut, size end), init = init, upvalues = upvalues }))
    end
    for _, upvalues in ipairs { "error", "copy" } do
      assertions.says("upvalue 'lut' (nil, written to) of the function at ", refused(function() lut = { 7 } end, upvalues))
      assertions.says("cannot cross: set it as a global in init, without a local of that name: each task then finds it",
        refused(function() lut = { 7 } end, upvalues))
      assertions.says("cannot cross: set them as globals in init, without locals of these names: each task then finds them",
        refused(function() lut, size = { 7 }, 1 end, upvalues))
    end
    local response = RunSync { tasks = tasks_of(2, load "return lut[1]"), init = load "lut = { 7 }" }
    assert.same({ 7, 7 }, { response.result[1].data, response.result[2].data })
  end)

  it("with wrong fields is refused with its place (C4)", function()
    local function refused(init)
      return select(2, pcall(RunSync, { tasks = tasks_of(1, function() end), init = init }))
    end
    for part, init in pairs {
      ["init.func is missing: write { func = f, args = { ... } }"] = {},
      ["init.args must be a table, got a number"] = { func = print, args = 5 },
      ["init.args.n must be a whole number"] = { func = print, args = { n = "x" } },
      ["init has a field 'fn': did you mean 'func'?"] = { fn = print },
      ["init.timeout must be a number of seconds above 0, got -1"] = { func = print, timeout = -1 },
      ["init.timeout must be a number of seconds above 0, got \"5\""] = { func = print, timeout = "5" },
      ["init has a field 'timout': did you mean 'timeout', in seconds?"] = { func = print, timout = 5 },
      ["cannot send a userdata (at init.args[1].deep)"] = { func = print, args = { { deep = io.stdout } } },
    } do
      assert.is_truthy(refused(init):find(part, 1, true), refused(init))
    end
  end)
end)

describe("the time limit of an init", function()
  it("may be endless, and is refused otherwise, without the binary (C3) #cooperative", function()
    local response = run { init = { func = function() base = 1 end, timeout = math.huge }, tasks = tasks_of(1, function() return base end) }
    assert.same({ 1 }, running.data(response))
    local ok, message = pcall(RunSync, { init = { func = print, timeout = 5 }, tasks = tasks_of(1, print) })
    assert.is_false(ok)
    assert.is_truthy(message:find("init.timeout is not possible here, since the cooperative backend can't stop a task", 1, true), message)
  end)
end)

describe("a state that init has changed", function()
  it("is restored after a task that reads through a metatable of _G (C5) #native", function()
    local response = run { workers = 1, init = function()
      setmetatable(_G, { __index = function(_, name)
        if name == "count" then
          rawset(_G, "base", (rawget(_G, "base") or 0) + 1)
          return rawget(_G, "base")
        end
      end })
    end, tasks = tasks_of(3, function() return count end) }
    assert.same({ 1, 1, 1 }, running.data(response))
  end)

  it("gives each task its own random numbers (C5) #native", function()
    local response = run { workers = 1, init = function() base = math.random() end,
      tasks = tasks_of(2, function() return math.random(1 << 60) end) }
    assert.are_not.equal(response.result[1].data, response.result[2].data)
  end)

  it("is made anew for each task if init has opened a file (C6) #native", function()
    local path = system.temporary()
    local file = io.open(path, "w")
    file:write("line")
    file:close()
    local response = run { workers = 1, init = { func = function(name) kept = io.open(name) end, args = { path } },
      tasks = tasks_of(20, function() local text = kept:read("a") kept:close() return text end) }
    os.remove(path)
    for n = 1, 20 do
      assert.equal("line", response.result[n].data)
    end
  end)

  it("is made anew for each task if init has made a finalizer (C6) #native", function()
    local begun = 0
    with_gma({ begun = function() begun = begun + 1 end }, function()
      local response = run { workers = 1, init = function()
        gma.begun()
        kept = setmetatable({}, { __gc = function() base = "finalized" end })
      end, tasks = tasks_of(3, function() kept = nil collectgarbage() return base end) }
      assert.same({ "finalized", "finalized", "finalized" }, running.data(response))
    end)
    assert.equal(3, begun)
  end)
end)

describe("Map with an init", function()
  it("finds what it left (C1)", function()
    local results = gma2workers.Map(function(n) return base + n end, { 1, 2 }, { init = function() base = 10 end })
    rawset(_G, "base", nil)
    assert.same({ 11, 12 }, results)
  end)
end)
