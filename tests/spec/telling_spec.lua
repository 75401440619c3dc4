-- Calls for which a task does not wait, and how it sleeps.

local gma2workers = require "gma2workers"
local calls = require "spec.fixtures.calls"
local crossing = require "spec.fixtures.crossing"
local running = require "spec.fixtures.running"
local signal = require "spec.fixtures.signal"

local call, run, with_gma = crossing.call, crossing.run, crossing.with_gma
local MODES = { "timer", "cmd" }
local results, repeated, spin = calls.results, calls.repeated, calls.spin

describe("gma.echo and gma.feedback", function()
  for _, mode in ipairs(MODES) do
    it(("are shown in the task's order before its result arrives, in mode %s"):format(mode), function()
      local shown = {}
      with_gma({ echo = function(text) shown[#shown + 1] = text end, feedback = function(text) shown[#shown + 1] = text end }, function()
        for n = 1, 50 do
          shown = {}
          results({ { func = function(i) gma.echo("a" .. i) gma.feedback("b" .. i) gma.echo("c" .. i) end, args = { n } } },
            { mode = mode, onComplete = function() shown[#shown + 1] = "over" end })
          assert.same({ "a" .. n, "b" .. n, "c" .. n, "over" }, shown)
        end
      end)
    end)
  end

  it("return at once even if the host is busy (H11) #native", function()
    local shown, came = 0, nil
    local set, await = signal.set, signal.await
    local engine = { echo = function() shown = shown + 1 end,
      hold = function(path) set(path, "busy") came = await(path, "told") end }
    with_gma(engine, function()
      signal.with(function(path)
        results({ { func = function(name) gma.hold(name) end, args = { path } },
          { func = function(name) await(name, "busy") gma.echo(1) gma.echo(2) set(name, "told") end, args = { path } } }, { workers = 2 })
      end)
    end)
    assert.is_true(came)
    assert.equal(2, shown)
  end)

  it("accept values of any kind, and ignore errors of the host #native", function()
    local shown = {}
    local engine = { echo = function(...) shown[#shown + 1] = table.pack(...) error("in echo") end, feedback = false }
    with_gma(engine, function()
      assert.equal(5, call(function()
        gma.echo()
        gma.echo(nil, 1, 1.5, true, "x", nil)
        gma.echo({}, print, coroutine.create(print))
        return 5
      end))
    end)
    assert.same({ { n = 0 }, { nil, 1, 1.5, true, "x", nil, n = 6 } }, { shown[1], shown[2] })
    for i, kind in ipairs { "table", "function", "thread" } do
      assert.is_truthy(tostring(shown[3][i]):find("^" .. kind .. ": "))
    end
  end)

  -- How many of `total` texts of this size a task has sent while the host serves the first.
  local function told_ahead(total, size, expected)
    local shown, ahead = 0, nil
    local function echo(_, path)
      shown = shown + 1
      if shown == 1 then
        signal.await(path, expected)
        spin(0.05)
        ahead = select(2, signal.text(path):gsub("\n", ""))
      end
    end
    with_gma({ echo = echo }, function()
      signal.with(function(path)
        assert.equal(total, call(function(name, count, length)
          local file, text = io.open(name, "w"), ("x"):rep(length)
          file:setvbuf("no")
          for i = 1, count do
            gma.echo(text, name)
            file:write(i, "\n")
          end
          file:close()
          return count
        end, path, total, size))
      end)
    end)
    assert.equal(total, shown)
    return ahead
  end

  it("wait if the host is far behind, so that the queue is bounded (T12) #native", function()
    local ahead = told_ahead(3000, 1, "1000")
    assert.is_true(ahead >= 1000 and ahead <= 1026, ahead .. " were told")
  end)

  it("wait if the host is far behind with long texts, of which one always passes (T12) #native", function()
    local ahead = told_ahead(40, 1 << 20, "8")
    assert.is_true(ahead >= 8 and ahead <= 10, ahead .. " were told")
    assert.is_true(told_ahead(4, 20 << 20, "1") <= 2)
  end)
end)

describe("The functions of progress bars", function()
  local FUNCTIONS = { "set", "settext", "setrange", "stop" }

  it("return at once even if the host is busy, and run in the task's order (H21) #native", function()
    local called, came = {}, nil
    local set, await = signal.set, signal.await
    local bars = {}
    for _, name in ipairs(FUNCTIONS) do
      bars[name] = function(...) called[#called + 1] = table.pack(name, ...) return "ignored" end
    end
    local engine = { hold = function(path) set(path, "busy") came = await(path, "told") end, gui = { progress = bars } }
    local counts
    with_gma(engine, function()
      signal.with(function(path)
        counts = results({
          { func = function(name) gma.hold(name) end, args = { path } },
          { func = function(name, functions)
            await(name, "busy")
            local returned = {}
            for i, func in ipairs(functions) do
              returned[i] = select("#", gma.gui.progress[func](7, i))
            end
            set(name, "told")
            return returned
          end, args = { path, FUNCTIONS } } }, { workers = 2 })[2].data
      end)
    end)
    assert.is_true(came)
    assert.same({ 0, 0, 0, 0 }, counts)
    assert.same({ { "set", 7, 1, n = 3 }, { "settext", 7, 2, n = 3 }, { "setrange", 7, 3, n = 3 }, { "stop", 7, 4, n = 3 } }, called)
  end)

  it("refuse what can't cross, at the call #native", function()
    local text
    with_gma({ gui = { progress = { settext = function() end } } }, function()
      text = call(function() return select(2, pcall(gma.gui.progress.settext, 1, coroutine.create(print))) end)
    end)
    assert.equal("cannot send a coroutine (at args[2] of gma.gui.progress.settext)", text:match("cannot send [^:]*"))
  end)
end)

describe("Results that come as tasks end", function()
  it("come after the calls that their tasks did not wait for (H22)", function()
    local echoed, is_late = {}, {}
    with_gma({ echo = function(n) spin(0.0005) echoed[n] = true end }, function()
      results(repeated(function(n) gma.echo(n) end, 200), { workers = 2,
        onResult = function(index) is_late[#is_late + 1] = not echoed[index] and index or nil end })
    end)
    assert.same({}, is_late)
  end)
end)

describe("gma.sleep in a task #native", function()
  it("sleeps in the worker: other tasks go on, and the host's function is not called", function()
    local slept = {}
    local host_sleep = coroutine.isyieldable() and rawget(_G, "gma") and _G.gma.sleep
    local engine = { sleep = function(s) slept[s] = true return host_sleep and host_sleep(s) end }
    with_gma(engine, function()
      local response = gma2workers.RunSync { tasks = repeated(function() gma.sleep(0.2345) return 1 end, 2), workers = 2 }
      assert.is_true(response.duration >= 0.2345, response.duration)
      assert.same({ 1, 1 }, running.data(response))
      assert.is_nil(slept[0.2345])
    end)
  end)

  it("delays no other task, nor its calls", function()
    local marks = {}
    with_gma({ sleep = function() end, mark = function(name) marks[#marks + 1] = name end }, function()
      local tasks = repeated(function() gma.sleep(3600) gma.mark("awake") end, 11)
      tasks[12] = { func = function() for _ = 1, 5 do gma.mark("busy") end end }
      local job = gma2workers.RunAsync { tasks = tasks, workers = 12, onComplete = function() end }
      running.poll_until(function() return select(2, job:status()) == 1 end)
      job:cancel()
      local response = job:wait(running.NEVER)
      assert.same({ "cancelled", true }, { response.result[1].kind, response.result[12].success })
    end)
    assert.same({ "busy", "busy", "busy", "busy", "busy" }, marks)
  end)

  it("is the worker's own even if the host's is coroutine.yield", function()
    with_gma({ sleep = coroutine.yield }, function()
      assert.same({ true }, { call(function() return (pcall(gma.sleep, 0.001)) end) })
      assert.same({ 1 }, { call(function() return coroutine.wrap(function() gma.sleep(0.001) return 1 end)() end) })
    end)
  end)

  it("sleeps until it is stopped if no clock can count that far (H13)", function()
    with_gma({ sleep = function() end }, function()
      for _, seconds in ipairs { math.huge, 1e300, 1e18, math.maxinteger } do
        local entry = results({ { func = function(s) gma.sleep(s) return "awake" end, args = { seconds } } }, { timeout = 0.05 })[1]
        assert.equal("timeout", entry.kind, entry.data)
      end
    end)
  end)

  it("requires a number of seconds", function()
    with_gma({ sleep = function() end }, function()
      for _, wrong in ipairs { "soon", {}, false } do
        local entry = run(function(value) gma.sleep(value) end, { wrong })
        assert.is_truthy(entry.data:find("telling_spec.lua:%d+: bad argument #1 to 'sleep' %(number expected, got "), entry.data)
      end
      assert.equal(1, call(function() gma.sleep(0) gma.sleep(-1) gma.sleep(0.001) gma.sleep("0.001") return 1 end))
    end)
  end)
end)
