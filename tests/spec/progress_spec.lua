-- The progress bar of a job.

local gma2workers = require "gma2workers"
local crossing = require "spec.fixtures.crossing"
local native = require "consolenative"
local running = require "spec.fixtures.running"

local RunSync, RunAsync, with_gma = gma2workers.RunSync, gma2workers.RunAsync, crossing.with_gma

-- Bars that record all calls.
local function bars(others)
  local noted = {}
  local progress = {}
  for _, name in ipairs { "start", "setrange", "settext", "set", "stop" } do
    progress[name] = function(...)
      noted[#noted + 1] = { name, ... }
      return name == "start" and 7 or nil
    end
  end
  for name, func in pairs(others or {}) do
    progress[name] = func
  end
  return { gui = { progress = progress } }, noted
end

local function names(noted)
  local list = {}
  for i, call in ipairs(noted) do
    list[i] = call[1]
  end
  return table.concat(list, " ")
end

local function count(noted, name)
  return select(2, (names(noted) .. " "):gsub(name .. " ", ""))
end

local function identity(n)
  return n
end

describe("progress", function()
  running.each_mode(function(mode)
    it("shows the engine's bar while RunSync runs", function()
      local engine = running.in_engine({}, function()
        RunSync { tasks = running.tasks(50, identity), workers = 2, mode = mode, progress = "Reading labels" }
      end)
      assert.equal(1, #engine.progress)
      local bar = engine.progress[1]
      assert.same({ "Reading labels", false, { 0, 50 }, 50 }, { bar.name, bar.open, bar.range, bar.values[#bar.values] })
      assert.equal("50/50", bar.texts[#bar.texts])
      assert.equal(#bar.values, #bar.texts)
      for i = 2, #bar.values do
        assert.is_true(bar.values[i] > bar.values[i - 1])
      end
      assert.same({}, engine:texts("error"))
    end)

    it("shows it while an asynchronous job runs, and not in onComplete any more", function()
      local is_open
      local engine
      engine = running.in_engine({}, function()
        RunAsync { tasks = running.tasks(50, identity), mode = mode, progress = "Work", onComplete = function()
          is_open = engine == nil and gma.gui.progress ~= nil
        end }
      end)
      assert.same({ true, 1, false, 50 }, { is_open, #engine.progress, engine.progress[1].open,
        engine.progress[1].values[#engine.progress[1].values] })
    end)
  end)

  it("is gone before onComplete is called", function()
    local engine, noted = bars()
    with_gma(engine, function()
      local stops
      RunSync { tasks = running.tasks(3, identity), progress = "Work", onComplete = function() stops = count(noted, "stop") end }
      assert.equal(1, stops)
      local function note() stops = count(noted, "stop") end
      local job = RunAsync { tasks = running.tasks(3, identity), progress = "Work", onComplete = note }
      job:wait()
      assert.equal(2, stops)
    end)
  end)

  it("counts the items of a Map", function()
    local engine, noted = bars()
    with_gma(engine, function()
      gma2workers.Map(identity, running.count_to(100), { chunk = 7, progress = "Work" })
    end)
    assert.same({ "start", "Work" }, noted[1])
    assert.same({ "setrange", 7, 0, 100 }, noted[2])
    assert.same({ "settext", 7, "100/100" }, noted[#noted - 2])
    assert.same({ "set", 7, 100 }, noted[#noted - 1])
    assert.same({ "stop", 7 }, noted[#noted])
  end)

  it("estimates the remaining time from the time so far #native", function()
    local engine, noted = bars()
    engine.sleep = function() end
    -- The time is rounded up to whole seconds, so it is shown for tasks however short.
    engine.shows = function(start)
      for _, call in ipairs(noted) do
        if call[1] == "settext" and call[3]:sub(1, #start) == start then return true end
      end
      return false
    end
    with_gma(engine, function()
      -- Each task waits until the number of those before it is shown.
      RunSync { workers = 1, progress = "Work", tasks = running.tasks(4, function(n, ask_until)
        return ask_until(gma.shows, n - 1 .. "/4")
      end, running.ask_until) }
    end)
    local texts = {}
    for _, call in ipairs(noted) do
      texts[#texts + 1] = call[1] == "settext" and call[3] or nil
    end
    assert.equal("0/4", texts[1])
    assert.truthy(texts[2]:find("^[123]/4, 0:0%d left$"), texts[2])
    assert.equal("4/4", texts[#texts])
  end)

  it("updates the bar at most about 20 times a second, and a last time when all is done", function()
    local tasks = running.tasks(300, function(n)
      local stop = os.clock() + 0.001
      repeat until os.clock() > stop
      return n
    end)
    local updates
    -- A host that gets no processor meanwhile sees only the job's beginning and its end.
    for _ = 1, 20 do
      local engine, noted = bars()
      local started = native.clock()
      with_gma(engine, function() RunSync { tasks = tasks, workers = 1, progress = "Work" } end)
      local seconds = native.clock() - started
      updates = count(noted, "set")
      -- The first and the last update come on top.
      assert.is_true(updates <= seconds / 0.05 + 2, updates .. " in " .. seconds)
      assert.same({ "set", 7, 300 }, noted[#noted - 1])
      if updates > 2 then break end
    end
    assert.is_true(updates > 2)
  end)

  it("works together with onProgress", function()
    local engine, noted = bars()
    local last
    with_gma(engine, function()
      RunSync { tasks = running.tasks(9, identity), progress = "Work", onProgress = function(done, total) last = { done, total } end }
    end)
    assert.same({ 9, 9 }, last)
    assert.same({ "set", 7, 9 }, noted[#noted - 1])
  end)

  it("shows nothing if there is nothing to do, or no bar of the engine", function()
    local engine, noted = bars()
    with_gma(engine, function()
      assert.same({}, RunSync({ tasks = {}, progress = "Work" }).result)
    end)
    assert.same({}, noted)
    for _, other in ipairs { {}, { gui = 5 }, { gui = {} }, { gui = { progress = {} } }, { gui = { progress = { start = identity } } } } do
      with_gma(other, function()
        assert.equal(1, RunSync({ tasks = running.tasks(1, identity), progress = "Work" }).result[1].data)
      end)
    end
  end)
end)

describe("a progress bar is closed exactly once", function()
  local function closed(noted)
    assert.same({ 1, 1 }, { count(noted, "start"), count(noted, "stop") })
    assert.same({ "stop", 7 }, noted[#noted])
  end

  it("if tasks fail", function()
    local engine, noted = bars()
    with_gma(engine, function()
      RunSync { tasks = running.tasks(3, error), progress = "Work" }
    end)
    closed(noted)
  end)

  it("if a callback fails", function()
    for _, name in ipairs { "onProgress", "onComplete" } do
      local engine, noted = bars()
      with_gma(engine, function()
        assert.is_false(pcall(RunSync, { tasks = running.tasks(3, identity), progress = "Work", [name] = function() error("x") end }))
      end)
      closed(noted)
    end
  end)

  it("if Map raises an error", function()
    local engine, noted = bars()
    with_gma(engine, function()
      assert.is_false(pcall(gma2workers.Map, error, { 1, 2, 3 }, { progress = "Work" }))
    end)
    closed(noted)
  end)

  it("if Ctrl-C comes, at any point", function()
    local function interrupt() error("interrupted!", 0) end
    for _, name in ipairs { "onProgress", "setrange", "settext", "set" } do
      local engine, noted = bars({ [name] = interrupt })
      with_gma(engine, function()
        local options = { tasks = running.tasks(3, identity), progress = "Work", onProgress = name == "onProgress" and interrupt or nil }
        local ok, message = pcall(RunSync, options)
        assert.same({ false, "interrupted!" }, { ok, message }, name)
      end)
      closed(noted)
    end
  end)

  it("if the job is cancelled, at once", function()
    local engine, noted = bars()
    local gate, open = running.gate()
    engine.open = gate.open
    with_gma(engine, function()
      local job = RunAsync { tasks = running.tasks(2, running.pass_gate), progress = "Work", onComplete = function() end }
      assert.equal(0, count(noted, "stop"))
      job:cancel()
      closed(noted)
      open()
      job:wait()
      job:cancel()
    end)
    closed(noted)
  end)

  it("by job:cancel() in Cleanup if a plugin is ended", function()
    local console = require "console"
    local engine = console.new()
    engine:install()
    local job
    local plugin = { name = "plugin", engine = engine, cleanup = function() job:cancel() end }
    engine.scheduler:start("plugin", plugin, function()
      job = RunAsync { tasks = running.tasks(4, function() local stop = os.clock() + 0.2 repeat until os.clock() > stop end),
        progress = "Work", onComplete = function() end }
      while true do gma.sleep(0.01) end
    end)
    engine:tick()
    assert.is_true(engine.progress[1].open)
    engine:stop(plugin)
    engine:run()
    engine:uninstall()
    assert.is_false(engine.progress[1].open)
    pcall(job.wait, job)
  end)

  it("by the collector if a plugin is ended in RunSync", function()
    local console = require "console"
    local engine = console.new()
    engine:install()
    local plugin = { name = "plugin", engine = engine, cleanup = function()
      -- The stand-in keeps the plugin's coroutine until the tick is over.
      gma.sleep(0.01)
      collectgarbage()
      collectgarbage()
    end }
    engine.scheduler:start("plugin", plugin, function()
      RunSync { tasks = running.tasks(2, function() for _ = 1, 6000 do gma.sleep(0.01) end end), progress = "Work" }
    end)
    for _ = 1, 3 do
      engine:tick()
      engine.scheduler:rest()
    end
    assert.is_true(engine.progress[1].open)
    engine:stop(plugin)
    engine:run()
    engine:uninstall()
    assert.is_false(engine.progress[1].open)
  end)

  it("if nothing refers to the job any more #native", function()
    local engine, noted = bars()
    with_gma(engine, function()
      local gate = running.gate()
      engine.open = gate.open
      local waiting = coroutine.create(function()
        engine.sleep = coroutine.yield
        RunSync { tasks = running.tasks(2, running.pass_gate), progress = "Work" }
      end)
      assert.is_true(coroutine.resume(waiting))
      assert.equal("suspended", coroutine.status(waiting))
      waiting = nil -- luacheck: ignore 311
      collectgarbage()
      collectgarbage()
    end)
    closed(noted)
  end)
end)

describe("a progress bar that fails", function()
  it("harms no job", function()
    for _, name in ipairs { "start", "setrange", "settext", "set", "stop" } do
      local engine, noted = bars({ [name] = function() error("no bar") end })
      with_gma(engine, function()
        local response = RunSync { tasks = running.tasks(9, identity), progress = "Work" }
        assert.same(running.count_to(9), running.data(response))
      end)
      assert.equal(name ~= "start" and name ~= "stop" and 1 or 0, count(noted, "stop"))
    end
  end)

  it("may have no handle", function()
    local engine, noted = bars({ start = function() end })
    with_gma(engine, function()
      assert.same({ 1 }, running.data(RunSync { tasks = running.tasks(1, identity), progress = "Work" }))
    end)
    assert.same({}, noted)
  end)

  it("or may be slow, since its functions may yield", function()
    local noted
    local results
    local engine = running.in_engine({}, function()
      local progress = gma.gui.progress
      for name, func in pairs(progress) do
        progress[name] = function(...) gma.sleep(0) return func(...) end
      end
      results = running.data(RunSync { tasks = running.tasks(20, identity), progress = "Work" })
      noted = true
    end)
    assert.is_true(noted)
    assert.same(running.count_to(20), results)
    assert.is_false(engine.progress[1].open)
  end)
end)
