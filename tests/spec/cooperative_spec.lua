-- The peculiarities of the cooperative backend: when it is chosen, what it refuses, how its tasks take turns. The other
-- specs, unless tagged #native, cover the rest.

local console = require "console"
local gma2workers = require "gma2workers"
local assert_says = require("spec.fixtures.assertions").says
local crossing = require "spec.fixtures.crossing"
local running = require "spec.fixtures.running"
local stock = require "spec.fixtures.stock"
local system = require "spec.fixtures.system"
local write = require "spec.fixtures.write"

local RunSync, RunAsync, Poll = gma2workers.RunSync, gma2workers.RunAsync, gma2workers.Poll
local each_mode, tasks_of, data_of, count_to = running.each_mode, running.tasks, running.data, running.count_to
local in_engine, run = running.in_engine, crossing.run

local HERE = debug.getinfo(1, "S").short_src

local function identity(...)
  return ...
end

local function nap(n)
  gma.sleep(0.02)
  return n
end

local function names_of_globals()
  local names = {}
  for name in pairs(_G) do
    names[name] = true
  end
  return names
end

local function assert_clean(engine, before)
  assert.same({}, engine:texts("error"))
  assert.equal(0, engine.count_timers())
  assert.equal(0, Poll())
  assert.same(before, names_of_globals())
end

describe("the choice of a backend #cooperative", function()
  local plugins

  setup(function()
    plugins = os.tmpname()
    os.remove(plugins)
    assert(os.execute(("mkdir -p %s && cp -r lua %s/anything"):format(plugins, plugins)))
  end)

  teardown(function()
    os.execute("rm -r " .. plugins)
  end)

  -- The output of a script that finds the folder, but no binary elsewhere unless the script says where.
  local function script(code, backend)
    return stock.run(("package.path, package.cpath = '%s/?/init.lua', ''\n"):format(plugins) .. code,
      "GMA2WORKERS_BACKEND=" .. (backend or ""))
  end

  local SHOW = [[
    local gma2workers = require "anything"
    print(gma2workers.info.backend, gma2workers.info.threads, gma2workers.info.lost, gma2workers.info.version)
    print(gma2workers.RunSync({ tasks = { { func = math.abs, args = { -5 } } } }).result[1].data)]]
  local SHOWN = ("cooperative\t0\t0\t%s\n5\n"):format(gma2workers.info.version)
  local REASON = "gma2workers: its binary can't be loaded, so tasks take turns on the host (the cooperative backend): "

  it("gave the cooperative one here", function()
    local info = gma2workers.info
    assert.same({ "cooperative", 0, 0, "gma2workers" }, { info.backend, info.threads, info.lost, info.name })
  end)

  it("falls on the cooperative one without a binary, says so once with the reason, and both names give it (B7)", function()
    local text = script(SHOW .. [[
      assert(require "gma2workers" == gma2workers)
      package.loaded.anything = nil
      assert(require "anything" == gma2workers)]])
    local first, rest = text:match("^(.-)\n(.*)$")
    assert.equal(REASON, first:sub(1, #REASON))
    assert_says("there is no gma2workers-", first)
    assert.equal(SHOWN, rest)
  end)

  for name, content in pairs { ["not a binary"] = "rubbish", ["empty"] = "", ["a part of one"] = "\x7fELF" } do
    it("falls on the cooperative one if the binary is " .. name, function()
      local path = plugins .. "/anything/gma2workers.so"
      write(path, content)
      local text = script(SHOW)
      os.remove(path)
      assert_says(REASON, text)
      assert_says(path, text)
      assert.equal(SHOWN, text:match("^.-\n(.*)$"))
    end)
  end

  it("is reported with gma.echo if there is one", function()
    local text = script([[gma = { echo = function(...) print("echo", select("#", ...), ...) end }]] .. SHOW)
    assert.equal("echo\t1\t" .. REASON, text:sub(1, 7 + #REASON))
    assert.equal(SHOWN, text:match("^.-\n(.*)$"))
  end)

  it("falls on the native one if its binary is there, silently", function()
    local code = ("package.cpath = %q %s"):format(package.cpath, "print(require('anything').info.backend)")
    for _, backend in ipairs { "", "native" } do
      assert.equal("native\n", script(code, backend))
    end
  end)

  it("can be made by the environment", function()
    assert.equal(SHOWN, script(("package.cpath = %q "):format(package.cpath) .. SHOW, "cooperative"))
    assert_says("cannot load its binary, which belongs beside", script(SHOW, "native"))
    assert_says('GMA2WORKERS_BACKEND must be "native" or "cooperative", got "rust"', script(SHOW, "rust"))
  end)

  it("takes no other name in package.loaded, and no global", function()
    assert.equal("anything gma2workers\n", script [[
      io.stderr = { write = function() end }
      local before, new = {}, {}
      for name in pairs(package.loaded) do before[name] = true end
      for name in pairs(_G) do before[name] = true end
      require("anything").RunSync { tasks = { { func = print } }, onComplete = function() end }
      for name in pairs(package.loaded) do new[#new + 1] = not before[name] and name or nil end
      for name in pairs(_G) do new[#new + 1] = not before[name] and name or nil end
      table.sort(new)
      print(table.concat(new, " "))]]:gsub("^\n", ""))
  end)

  it("names a missing part of the folder", function()
    local path = plugins .. "/anything/"
    os.rename(path .. "pump.lua", path .. "kept")
    local without_pump = script(SHOW)
    os.rename(path .. "kept", path .. "pump.lua")
    os.rename(path .. "cooperative", path .. "kept")
    local without_all = script(SHOW)
    os.rename(path .. "kept", path .. "cooperative")
    assert_says(path .. "pump.lua", without_pump)
    assert_says("copy the whole folder", without_pump)
    assert_says("cannot load its binary, which belongs beside " .. path .. "init.lua", without_all)
  end)
end)

describe("an option of the cooperative backend #cooperative", function()
  for option, case in pairs { timeout = { 5, "can't stop a task" }, memoryLimit = { 1 << 20, "memory" },
    sandbox = { true, "the host's own state" } } do
    it(("that it can't support is refused at the caller's line, with advice: %s"):format(option), function()
      for _, name in ipairs { "RunSync", "RunAsync" } do
        local calls = 0
        local options = { tasks = tasks_of(2, identity), [option] = case[1], onComplete = function() calls = calls + 1 end }
        local line = debug.getinfo(1, "l").currentline + 1
        local ok, message = pcall(function() gma2workers[name](options) end)
        assert.same({ false, 0, 0 }, { ok, calls, Poll() })
        assert.equal(("%s:%d: option '%s' is not possible here"):format(HERE, line, option), message:match("^.- here"))
        assert_says(case[2], message)
        assert_says("leave it out, or have the binary loaded", message)
      end
    end)
  end

  it("that it can't support is refused in a task, too: timeout", function()
    local _, message = pcall(gma2workers.RunSync, { tasks = { { func = identity }, { func = identity, timeout = 5 } } })
    assert_says("tasks[2].timeout is not possible here, since the cooperative backend can't stop a task", message)
  end)

  it("is not refused if it has no effect: an endless timeout, a grace", function()
    local task = { func = identity, args = { 1 }, timeout = math.huge }
    local response = gma2workers.RunSync { timeout = math.huge, grace = 1, tasks = { task } }
    assert.equal(1, response.result[1].data)
  end)

  it("is not refused if it has no effect: sandbox = false", function()
    assert.same({ 1 }, data_of(RunSync { tasks = tasks_of(1, identity), sandbox = false }))
  end)

  it("is workers: one for each task by default, at most 256", function()
    for tasks, workers in pairs { [0] = 0, [1] = 1, [30] = 30, [300] = 256 } do
      assert.equal(workers, RunSync({ tasks = tasks_of(tasks, identity) }).workerCount)
    end
  end)

  it("is upvalues or globals: no effect, since tasks run in the host's state", function()
    local count, list = 0, {}
    rawset(_G, "cooperative_spec_rate", 3)
    for _, upvalues in ipairs { "error", "copy", "private" } do
      local response = RunSync { upvalues = upvalues, globals = { "cooperative_spec_rate" }, tasks = tasks_of(3, function(n)
        count, list[n] = count + 1, n
        return n * _G.cooperative_spec_rate
      end) }
      assert.same({ 3, 6, 9 }, data_of(response))
    end
    rawset(_G, "cooperative_spec_rate", nil)
    assert.same({ 9, { 1, 2, 3 } }, { count, list })
  end)
end)

describe("values that cross within one state #cooperative", function()
  it("are functions themselves, C functions too, and copies of tables", function()
    local iterator, value = ("a"):gmatch("a"), {}
    value.self, value.f, value[iterator] = value, identity, true
    local got
    local back = run(function(v) got = v return v end, { value }).data
    for _, copy in ipairs { got, back } do
      assert.is_true(copy ~= value and copy.self == copy and copy.f == identity and copy[iterator])
    end
    assert.is_true(got ~= back)
  end)

  it("are as deep as memory allows, and so are errors about them", function()
    local value = io.stdout
    for _ = 1, 100000 do
      value = { value }
    end
    local entry = run(identity, { value })
    assert.equal("transfer", entry.kind)
    assert_says("cannot send a userdata (at args[1][1][1]", entry.data)
    assert.equal(#"Error: cannot send a userdata (at args[1]" + 3 * 100000, #entry.data:match("^[^)]+"))
  end)
end)

describe("a task of the cooperative backend #cooperative", function()
  it("fails with a clear error if it uses gma2workers, whatever it calls", function()
    crossing.with_gma(nil, function()
      local job = RunAsync { tasks = tasks_of(2, identity), onComplete = identity }
      for name, use in pairs {
        RunSync = function() RunSync { tasks = {} } end,
        RunAsync = function() RunAsync { tasks = {}, onComplete = identity } end,
        Poll = function() Poll() end,
        wait = function() job:wait() end,
      } do
        local entry = run(use)
        assert.same({ name, "runtime" }, { name, entry.kind })
        assert_says("gma2workers is not available in a worker: start jobs on the host", entry.data)
      end
      assert.equal("number", type(run(function() return gma2workers.clock() end).data))
      assert.same({ 1, 2 }, data_of(job:wait()))
    end)
  end)

  it("has a traceback that ends at the task", function()
    local function fails() error("boom") end
    crossing.with_gma(nil, function()
      local traceback = coroutine.wrap(run)(fails).traceback
      assert.equal(("stack traceback:\n\t[C]: in function 'error'\n\t%s:%d: in function <%s:%d>"):format(HERE,
        debug.getinfo(fails, "S").linedefined, HERE, debug.getinfo(fails, "S").linedefined), traceback)
    end)
  end)

  it("ends the waiting RunSync if Ctrl-C hits it", function()
    crossing.with_gma(nil, function()
      local begun = {}
      local ok, message = pcall(RunSync, { tasks = tasks_of(3, function(n)
        begun[#begun + 1] = n
        error("spec.lua:1: interrupted!", 0)
      end) })
      assert.same({ false, "spec.lua:1: interrupted!", { 1 } }, { ok, message, begun })
      assert.equal(0, Poll())
    end)
  end)
end)

describe("tasks in an engine #cooperative", function()
  each_mode(function(mode)
    it("take turns when they sleep, as many as there are workers, in the list's order", function()
      for _, workers in ipairs { 1, 2, 5 } do
        local inside, most, begun, response = 0, 0, {}, nil
        local before = names_of_globals()
        local engine = in_engine(nil, function()
          response = RunSync { mode = mode, workers = workers, tasks = tasks_of(10, function(n)
            begun[#begun + 1] = n
            inside = inside + 1
            most = math.max(most, inside)
            nap()
            inside = inside - 1
            return n
          end) }
        end)
        assert.same({ workers, workers, count_to(10), count_to(10) }, { most, response.workerCount, begun, data_of(response) })
        assert_clean(engine, before)
      end
    end)

    it("let the engine breathe between them", function()
      local turns, response = 0, nil
      local before = names_of_globals()
      local engine = in_engine(nil, function()
        local is_over
        gma.timer(function() while not is_over do turns = turns + 1 gma.sleep(0.001) end end, 0, 1)
        response = RunSync { mode = mode, workers = 1, tasks = tasks_of(20, function(n)
          local stop = os.clock() + 0.006
          repeat until os.clock() > stop
          return n
        end) }
        is_over = true
      end)
      assert.same(count_to(20), data_of(response))
      assert.is_true(turns >= 10, turns)
      assert_clean(engine, before)
    end)

    it("never start if the job is cancelled first; a running task is cancelled at once, and its result dropped", function()
      local begun, ended, calls, at_cancel = {}, {}, {}, nil
      local before = names_of_globals()
      local engine = in_engine(nil, function()
        local job = RunAsync { mode = mode, workers = 2, onComplete = function(response) calls[#calls + 1] = response end,
          tasks = tasks_of(6, function(n)
            begun[#begun + 1] = n
            for _ = 1, n < 3 and 1 or 5 do nap() end
            ended[#ended + 1] = n
            return n
          end) }
        repeat gma.sleep(0.01) until begun[4]
        assert.is_true(job:cancel())
        at_cancel = { job:status() }
        assert.is_true(job:wait() == calls[1])
        assert.is_nil(ended[3])
        assert.is_false(job:cancel())
      end)
      assert.same({ "cancelled", 6, 6 }, at_cancel)
      assert.same({ 1, { 1, 2, 3, 4 }, { 1, 2, 3, 4 }, true }, { #calls, begun, ended, calls[1].cancelled })
      assert.same({ success = true, data = 2 }, calls[1].result[2])
      for n = 3, 6 do
        assert.same({ success = false, data = "Error: cancelled", kind = "cancelled" }, calls[1].result[n])
      end
      assert_clean(engine, before)
    end)

    it("leave nothing behind if their job is cancelled before they start", function()
      local before = names_of_globals()
      local begun, response = 0, nil
      local engine = in_engine(nil, function()
        local job = RunAsync { mode = mode, tasks = tasks_of(5, function() begun = begun + 1 end), onComplete = identity }
        job:cancel()
        response = job:wait()
      end)
      assert.same({ 0, true, 5 }, { begun, response.cancelled, #response.result })
      assert_clean(engine, before)
    end)

    it("are run by a RunSync that can't be suspended", function()
      local sum
      local before = names_of_globals()
      local engine = in_engine(nil, function()
        table.sort({ 2, 1 }, function(a, b)
          sum = sum or RunSync({ mode = mode, tasks = tasks_of(3, identity) }).result[3].data
          return a < b
        end)
      end)
      assert.equal(3, sum)
      assert_clean(engine, before)
    end)

    it("can't be waited for once begun if the engine gets no time, which the error says", function()
      local message, value
      local before = names_of_globals()
      local engine = in_engine(nil, function()
        local has_begun, may_end
        local job = RunAsync { mode = mode, onComplete = identity, tasks = tasks_of(1, function(n)
          has_begun = true
          repeat nap() until may_end
          return n
        end) }
        running.sleep_until(function() return has_begun end)
        table.sort({ 2, 1 }, function(a, b)
          message = message or select(2, pcall(job.wait, job))
          return a < b
        end)
        may_end = true
        value = data_of(job:wait())
      end)
      assert_says("cannot wait here: running tasks need the engine", message)
      assert.same({ 1 }, value)
      assert_clean(engine, before)
    end)

    it("are run by the waiting caller if the engine never runs them", function()
      local before = names_of_globals()
      local response
      local engine = in_engine(nil, function()
        local kept = { timer = gma.timer, cmd = gma.cmd }
        gma.timer, gma.cmd = identity, function() end
        response = RunSync { mode = mode, tasks = tasks_of(3, identity) }
        gma.timer, gma.cmd = kept.timer, kept.cmd
      end)
      assert.same({ 1, 2, 3 }, data_of(response))
      assert.is_true(response.duration >= 1)
      assert_clean(engine, before)
    end)

    it("have one outcome each, wherever a slice ends", function()
      for _, slice in ipairs { 7, 13, 29, 101 } do
        local before = names_of_globals()
        local runs, calls, jobs = {}, {}, {}
        local engine = in_engine({ slice = slice, tick = 0 }, function()
          for i = 1, 4 do
            calls[i], runs[i] = {}, {}
            jobs[i] = RunAsync { mode = mode, workers = 3, tasks = tasks_of(7, function(n, job)
              -- A slice may end between any two instructions, so only the task itself writes here.
              runs[job][n] = (runs[job][n] or 0) + 1
              if n == 5 then
                error("five", 0)
              end
              return { n }
            end, i), onComplete = function(response) table.insert(calls[i], response) end }
          end
          jobs[4]:cancel()
          for i = 1, 4 do
            jobs[i]:wait()
          end
        end)
        local ids = {}
        for i = 1, 4 do
          local response = calls[i][1]
          assert.same({ 1, 7 }, { #calls[i], #response.result })
          assert.is_nil(ids[response.jobId])
          ids[response.jobId] = true
          assert.is_true(i < 4 or response.cancelled or #runs[i] == 7)
          for n, entry in ipairs(response.result) do
            if i < 4 then
              assert.same({ 1, n ~= 5, n == 5 and "Error: five" or { n } }, { runs[i][n], entry.success, entry.data })
            else
              assert.is_true(entry.kind == "cancelled" or entry.data == "Error: five" or entry.data[1] == n)
              assert.is_true((runs[i][n] or 1) == 1, "a task ran twice")
            end
          end
        end
        assert_clean(engine, before)
      end
    end)
  end)

  it("end with their plugin: if it is switched off, they leave nothing behind", function()
    local path = system.temporary()
    local file = io.open(path, "w")
    file:write([[return function()
      local function endless() while true do gma.sleep(0.001) end end
      require("gma2workers").RunSync { tasks = { { func = endless }, { func = endless } } }
    end]])
    file:close()
    local engine = console.new { tick = 0.001 }
    engine:install()
    local plugin = engine:plugin(path)
    for _ = 1, 20 do
      engine:tick()
    end
    assert.is_false(engine:idle())
    engine:stop(plugin)
    engine:tick()
    engine:uninstall()
    os.remove(path)
    assert.same({ true, 0 }, { engine:idle(), engine.count_timers() })
    engine, plugin = nil, nil -- luacheck: ignore 311
    collectgarbage()
    collectgarbage()
    assert.equal(0, Poll())
  end)
end)
