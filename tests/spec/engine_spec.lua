-- Jobs in the engine's stand-in: a timer or the command line drives them, everything may yield, nothing is left behind.

local gma2workers = require "gma2workers"
local running = require "spec.fixtures.running"

local RunSync, RunAsync, Poll = gma2workers.RunSync, gma2workers.RunAsync, gma2workers.Poll
local each_mode, tasks_of, data_of, count_to = running.each_mode, running.tasks, running.data, running.count_to
local in_engine, ask_until, watch_host = running.in_engine, running.ask_until, running.watch_host

local HERE = debug.getinfo(1, "S").short_src

local function identity(...)
  return ...
end

local function fail(n)
  error("no " .. n)
end

-- How many of the engine's coroutines a job of this many tasks uses: one that drives it, and on the cooperative backend one
-- for each worker.
local function coroutines_of(tasks)
  return gma2workers.info.backend == "cooperative" and 1 + tasks or 1
end

-- The ways in which the engine may call a function that it was given.
local ENGINES = {
  ["first timer call at the next tick"] = { firstTimerCall = "tick" },
  ["first timer call inside gma.timer"] = { firstTimerCall = "inside" },
  ["coroutines in slices"] = { slice = 1000, tick = 0.001 },
}

local function each_engine(body)
  for name, options in pairs(ENGINES) do
    each_mode(function(mode)
      describe(name, function()
        body(mode, options)
      end)
    end)
  end
end

-- The things of which nothing may be left.
local function assert_clean(engine)
  assert.same({}, engine:texts("error"))
  assert.equal(0, engine.count_timers())
  assert.equal(0, Poll())
end

-- The names that are new in `_G`.
local function new_globals(before)
  local names = {}
  for name in pairs(_G) do
    names[#names + 1] = before[name] == nil and name or nil
  end
  return names
end

local function copy_of_globals()
  local copy = {}
  for name, value in pairs(_G) do
    copy[name] = value
  end
  return copy
end

describe("RunAsync", function()
  each_engine(function(mode, options)
    it("returns first; then its job runs on without the plugin, and calls onComplete once (M6)", function()
      for _, case in ipairs { { 0, identity }, { 1, identity }, { 50, identity }, { 50, fail } } do
        local log, response = {}, nil
        local engine = in_engine(options, function()
          local job = RunAsync { tasks = tasks_of(table.unpack(case)), workers = 2, mode = mode,
            onComplete = function(got)
              response = got
              log[#log + 1] = coroutine.isyieldable() and "complete" or "complete where nothing may yield"
            end }
          log[#log + 1] = "returned"
          log[#log + 1] = (job:status())
        end)
        assert.same({ "returned", "running", "complete" }, log)
        assert.equal(case[1], #response.result)
        assert.is_true(case[1] == 0 or response.result[case[1]].success == (case[2] == identity))
        assert_clean(engine)
      end
    end)

    it("runs twenty jobs at once, each with an onComplete of its own", function()
      local done = {}
      local engine = in_engine(options, function()
        for i = 1, 20 do
          RunAsync { tasks = tasks_of(i, identity), mode = mode, workers = 2,
            onComplete = function(response) done[#done + 1] = #response.result == i and i end }
        end
      end)
      table.sort(done)
      assert.same(count_to(20), done)
      assert_clean(engine)
    end)

    it("can be waited for while the engine drives it, and calls onComplete once", function()
      -- Either of the two may come first.
      for _ = 1, 5 do
        local calls, waited, response = 0, nil, nil
        local engine = in_engine(options, function()
          local job = RunAsync { tasks = tasks_of(30, function(n) return gma.build_date() and n end), mode = mode,
            onComplete = function(got) calls, response = calls + 1, got end }
          waited = job:wait()
          assert.is_true(job:wait(0) == waited)
        end)
        assert.is_true(calls == 1 and waited == response)
        assert.same(count_to(30), data_of(waited))
        assert_clean(engine)
      end
    end)
  end)

  each_mode(function(mode)
    it("shows an error of a callback with gma.echo and its traceback, and other jobs go on (E4)", function()
      local done = 0
      local function complete() done = done + 1 end
      local function raise() error("boom in " .. "a callback") end
      local engine = in_engine(nil, function()
        RunAsync { tasks = tasks_of(2, identity), mode = mode, onComplete = function() complete() raise() end }
        RunAsync { tasks = tasks_of(2, identity), mode = mode, onComplete = complete, onProgress = raise }
        RunAsync { tasks = tasks_of(2, identity), mode = mode, onComplete = complete }
      end)
      assert.equal(3, done)
      local shown = engine:texts("echo")
      assert.equal(2, #shown)
      for _, text in ipairs(shown) do
        local place = ("%s:%d: "):format(HERE, debug.getinfo(raise, "S").linedefined)
        assert.is_truthy(text:find(place .. "boom in a callback\nstack traceback:", 1, true), text)
      end
      assert_clean(engine)
    end)

    it("leaves the host as it was (P2) #native", function()
      local hook = function() end
      local engine = in_engine(nil, function()
        local gethook = table.pack(debug.gethook())
        debug.sethook(hook, "r", 0)
        local changed = watch_host()
        RunSync { tasks = tasks_of(20, function(n)
          rawset(string, "format", nil)
          _G.engine_spec_global, package.loaded.engine_spec = n, n
          getmetatable("").__index = nil
          return n % 2 == 0 and gma.build_time() or gma.no_such_function()
        end), mode = mode }
        pcall(RunSync, { tasks = tasks_of(1, fail), mode = mode, onComplete = fail })
        pcall(RunSync, { tasks = tasks_of(1, fail), mode = mode, workers = 0 })
        local job = RunAsync { tasks = tasks_of(20, fail), mode = mode, onComplete = fail }
        job:wait()
        RunAsync({ tasks = tasks_of(20, identity), mode = mode, onComplete = identity }):wait()
        local what = changed()
        debug.sethook(table.unpack(gethook, 1, gethook.n))
        assert.same({}, what)
      end)
      assert_clean(engine)
    end)
  end)

  each_mode(function(mode)
    it("asks the engine for one turn each, and for nothing else", function()
      local asked = { timer = 0, cmd = 0 }
      local engine = in_engine(nil, function()
        for name in pairs(asked) do
          local ask = gma[name]
          gma[name] = function(...)
            asked[name] = asked[name] + 1
            return ask(...)
          end
        end
        RunAsync { tasks = tasks_of(3, identity), mode = mode, onComplete = identity }
      end)
      local turns = coroutines_of(3)
      assert.same({ timer = mode == "timer" and turns or 0, cmd = mode == "cmd" and turns or 0 }, asked)
      assert_clean(engine)
    end)
  end)
end)

describe("the global for a command line", function()
  it("exists while the command is pending, has a unique name, and is gone afterwards", function()
    local before, names, at_complete = copy_of_globals(), {}, {}
    local each = coroutines_of(2)
    local engine = in_engine(nil, function()
      for i = 1, 3 do
        local known = copy_of_globals()
        RunAsync { tasks = tasks_of(2, identity), mode = "cmd",
          onComplete = function() at_complete[i] = tostring(rawget(_G, names[i * each])) end }
        local new = new_globals(known)
        assert.equal(each, #new)
        table.move(new, 1, each, #names + 1, names)
      end
    end)
    assert.same({ "nil", "nil", "nil" }, at_complete)
    local commands = table.concat(engine:texts("cmd"), "\n")
    for _, name in ipairs(names) do
      assert.is_truthy(name:find("gma2workers", 1, true), name)
      assert.is_truthy(commands:find(name, 1, true))
    end
    assert.equal(3 * each, #engine:texts("cmd"))
    assert.same({}, new_globals(before))
    assert_clean(engine)
  end)

  local ways = {
    ["every task fails"] = function() return RunAsync { tasks = tasks_of(3, fail), mode = "cmd", onComplete = identity } end,
    ["onComplete raises"] = function() return RunAsync { tasks = tasks_of(3, fail), mode = "cmd", onComplete = fail } end,
    ["the command is lost"] = function()
      gma.cmd = function() end
      local job = RunAsync { tasks = tasks_of(3, identity), mode = "cmd", onComplete = identity }
      assert.equal(3, #job:wait().result)
    end,
    ["an option is wrong"] = function() pcall(RunAsync, { tasks = { 5 }, mode = "cmd", onComplete = identity }) end,
  }
  for name, way in pairs(ways) do
    it("is gone when " .. name, function()
      local before = copy_of_globals()
      local engine = in_engine(nil, way)
      assert.same({}, new_globals(before))
      assert_clean(engine)
    end)
  end
end)

describe("an engine that refuses to run the job", function()
  local refusals = {
    ["with a text of the command line's"] = { "cmd", "cmd", function() return "Error #1: UNKNOWN COMMAND" end, "Error #1" },
    ["with an error of gma.cmd's"] = { "cmd", "cmd", function() error("no command line", 0) end, "no command line" },
    ["with an error of gma.timer's"] = { "timer", "timer", function() error("no timers", 0) end, "no timers" },
  }
  for name, case in pairs(refusals) do
    it(("makes RunAsync raise an error at the caller's line, and leaves nothing behind: %s (E7)"):format(name), function()
      local mode, func, refuse, text = table.unpack(case)
      local calls, before, message, line = 0, copy_of_globals(), nil, nil
      local engine = in_engine(nil, function()
        gma[func] = refuse
        line = debug.getinfo(1, "l").currentline + 1
        message = select(2, pcall(function() RunAsync { tasks = tasks_of(3, identity), mode = mode, onComplete = fail } end))
        calls = Poll()
      end)
      assert.equal("string", type(message))
      assert.equal(("%s:%d: "):format(HERE, line), message:match("^.-:%d+: "))
      assert.is_truthy(message:find(text, 1, true), message)
      assert.same({ 0, {} }, { calls, new_globals(before) })
      assert.same({}, engine:texts("echo"))
      assert_clean(engine)
    end)
  end
end)

describe("the code that may yield", function()
  local function naps(n)
    gma.sleep(0.015)
    return n
  end

  each_engine(function(mode, options)
    it("includes host functions, onProgress and onComplete of RunSync (D9)", function()
      local log = {}
      local engine = in_engine(options, function()
        gma.naps = naps
        local response = RunSync { tasks = tasks_of(5, function(n) return gma.naps(n) end), workers = 2, mode = mode,
          onProgress = function(done) naps() log[#log + 1] = done end,
          onComplete = function() naps() log[#log + 1] = "complete" end }
        log[#log + 1] = data_of(response)
      end)
      assert.same({ 5, "complete", count_to(5) }, { table.unpack(log, #log - 2) })
      assert_clean(engine)
    end)

    it("includes host functions, onProgress and onComplete of RunAsync (D9)", function()
      local log, value = {}, nil
      local engine = in_engine(options, function()
        gma.naps = naps
        RunAsync { tasks = tasks_of(5, function(n) return gma.naps(n) end), workers = 2, mode = mode,
          onProgress = function(done) naps() log[#log + 1] = done end,
          onComplete = function(response) naps() log[#log + 1] = "complete" value = data_of(response) end }
      end)
      assert.same({ 5, "complete" }, { table.unpack(log, #log - 1) })
      assert.same(count_to(5), value)
      assert_clean(engine)
    end)
  end)

  each_mode(function(mode)
    it("includes jobs inside a callback or a host call (D2) #native", function()
      local values = {}
      local function inner(n)
        return data_of(RunSync { tasks = tasks_of(3, function(i, factor) gma.naps(i) return i * factor end, n),
          mode = mode })[3]
      end
      local engine = in_engine(nil, function()
        gma.naps, gma.inner = naps, inner
        for _, run in ipairs { RunSync, RunAsync } do
          run { tasks = tasks_of(4, function(n) return gma.inner(n) end), workers = 2, mode = mode,
            onComplete = function(response)
              values[#values + 1] = data_of(response)[4]
              values[#values + 1] = inner(5)
            end }
        end
      end)
      assert.same({ 12, 15, 12, 15 }, values)
      assert_clean(engine)
    end)

    it("includes RunSync itself: others run while it waits, and it ends with its tasks #native", function()
      local others, response = 0, nil
      local engine = in_engine(nil, function()
        gma.others = function() return others >= 3 end
        gma.timer(function() others = others + 1 end, 0.01, 3)
        response = RunSync { tasks = tasks_of(1, function() return ask_until(gma.others) end), mode = mode }
      end)
      assert.same({ true }, data_of(response))
      assert_clean(engine)
    end)

    it("does not include a short job: it ends before the engine's next tick #native", function()
      local yields = 0
      in_engine(nil, function()
        RunSync { tasks = tasks_of(2, identity), mode = mode }
        local sleep = gma.sleep
        gma.sleep = function(...) yields = yields + 1 return sleep(...) end
        -- On a busy machine, many tries fail.
        for _ = 1, 200 do
          yields = 0
          RunSync { tasks = tasks_of(2, identity), mode = mode }
          if yields == 0 then
            break
          end
        end
      end)
      assert.equal(0, yields)
    end)
  end)
end)
