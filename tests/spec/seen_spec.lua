-- What a user sees who looks at nothing: failures in the System Monitor, names in tracebacks, and refused names.

local gma2workers = require "gma2workers"
local crossing = require "spec.fixtures.crossing"
local running = require "spec.fixtures.running"

local RunSync, RunAsync, Map = gma2workers.RunSync, gma2workers.RunAsync, gma2workers.Map
local with_gma, tasks_of, in_engine = crossing.with_gma, running.tasks, running.in_engine

local function ignore() end

local function fail_from_three(n)
  if n >= 3 then
    error("no " .. n, 0)
  end
  return n
end

--- The texts that the library echoes while `body` runs.
local function echoed(body)
  local texts = {}
  with_gma({ echo = function(text) texts[#texts + 1] = text end, sleep = function() end }, body)
  return texts
end

local function assert_echoes(expected, body)
  assert.same({ expected }, echoed(body))
end

describe("a job with failed tasks", function()
  local TWO = "gma2workers: 2 of 4 tasks failed, the first one: no 3"

  it("says so once in the engine, with the first error (M8)", function()
    assert_echoes(TWO, function() RunSync { tasks = tasks_of(4, fail_from_three) } end)
    assert_echoes(TWO, function() RunSync { tasks = tasks_of(4, fail_from_three), onProgress = ignore, onResult = ignore } end)
    assert_echoes(TWO, function()
      local job = RunAsync { tasks = tasks_of(4, fail_from_three), onComplete = ignore }
      job:wait()
      job:wait()
    end)
    running.each_mode(ignore)
    local engine = in_engine({}, function() RunAsync { tasks = tasks_of(4, fail_from_three), onComplete = ignore } end)
    assert.same({ TWO }, engine:texts("echo"))
  end)

  it("says the hint, too (M8) #native", function()
    rawset(_G, "only_on_the_host", 1)
    local texts = echoed(function()
      RunSync { tasks = { { func = function() return only_on_the_host() end } } } -- luacheck: ignore 113
    end)
    rawset(_G, "only_on_the_host", nil)
    assert.truthy(texts[1]:find("list it in globals", 1, true), texts[1])
  end)

  it("counts the items of a Map that collects; one that raises is loud by itself (M8)", function()
    assert_echoes("gma2workers: 3 of 5 items failed, the first one: no 3", function()
      Map(fail_from_three, { 1, 2, 3, 4, 5 }, { onError = "collect", chunk = 2 })
    end)
    assert_echoes("gma2workers: 3 of 5 items failed, the first one: no 3", function()
      Map(fail_from_three, { 1, 2, 3, 4, 5 }, { onError = "collect", onComplete = ignore }):wait()
    end)
    assert.same({}, echoed(function()
      assert.is_false(pcall(Map, fail_from_three, { 1, 2, 3 }))
    end))
  end)

  it("says nothing of cancelled tasks, nor where all went well (M8)", function()
    assert.same({}, echoed(function()
      RunSync { tasks = tasks_of(4, ignore) }
      Map(fail_from_three, { 1, 2 }, { onError = "collect" })
      local job = RunAsync { workers = 1, onComplete = ignore, tasks = tasks_of(4, function() while true do gma.sleep(0) end end) }
      job:cancel()
      for _, record in ipairs(job:wait().result) do
        assert.equal("cancelled", record.kind)
      end
    end))
  end)

  it("is not harmed by an echo that fails, or by a record that a callback has changed (M8)", function()
    with_gma({ echo = function() error("no monitor") end }, function()
      assert.equal("Error: no 3", RunSync({ tasks = tasks_of(3, fail_from_three) }).result[3].data)
    end)
    local texts = echoed(function()
      RunSync { tasks = tasks_of(4, fail_from_three), onResult = function(index, record)
        if index == 3 then
          record.success = true
        else
          record.data = nil
        end
      end }
    end)
    assert.same({ "gma2workers: 1 of 4 tasks failed, the first one: nil" }, texts)
  end)
end)

describe("the module's table", function()
  it("has Dispatch, which is RunSync, also for pairs (M11)", function()
    assert.equal(gma2workers.RunSync, gma2workers.Dispatch)
    local found = {}
    for name, value in pairs(gma2workers) do
      found[name] = value
    end
    assert.equal(RunSync, found.Dispatch)
    assert.equal(gma2workers.info, found.info)
    local response = gma2workers.Dispatch { tasks = tasks_of(1, function() return 5 end) }
    assert.equal(5, response.result[1].data)
  end)

  it("has RunSync in a traceback (M11)", function()
    local traceback
    local function note()
      traceback = traceback or debug.traceback()
    end
    for _, name in ipairs { "RunSync", "Dispatch" } do
      traceback = nil
      gma2workers[name] { tasks = {}, onComplete = note }
      assert.truthy(traceback:find("gma2%-?_?workers%.RunSync'"), traceback)
      assert.is_nil(traceback:find("Dispatch'", 1, true))
    end
  end)

  it("refuses a name that is nearly a call's (M10)", function()
    for name, meant in pairs { runSync = "RunSync", run_sync = "RunSync", RunSynch = "RunSync", runasync = "RunAsync",
      RUN_ASYNC = "RunAsync", dispatch = "Dispatch", Dispach = "Dispatch", map = "Map", poll = "Poll", Clock = "clock", Jobs = "jobs",
      cancelall = "cancelAll", CancelAll = "cancelAll", cancel_all = "cancelAll" } do
      local ok, message = pcall(function() return gma2workers[name] end)
      assert.is_false(ok)
      assert.truthy(message:find(("seen_spec%%.lua:%%d+: gma2workers has no '%s': did you mean '%s'%%?$"):format(name, meant)), message)
    end
  end)

  it("has nil for other names, and takes new fields (M10)", function()
    for _, name in ipairs { "Run", "version", "pool", "job", "maps", "lock", "info_", "name", "_NAME", "x", "", ("x"):rep(1000), "__gc" } do
      if name ~= "info_" then
        assert.is_nil(gma2workers[name], name)
      end
    end
    assert.is_nil(gma2workers[1])
    assert.is_nil(gma2workers[RunSync])
    rawset(gma2workers, "mine", nil)
    gma2workers.mine = 5
    assert.equal(5, gma2workers.mine)
    gma2workers.mine = nil
    assert.is_nil(gma2workers.mine)
  end)

  it("is as strict in a task (M10) #native", function()
    local response = RunSync { tasks = { { func = function()
      local stand_in = require "gma2workers"
      local function message_of(name) return select(2, pcall(function() return stand_in[name] end)) end
      return message_of("runSync"), message_of("Jobs"), stand_in.anything, type(stand_in.cancelAll), type(stand_in.jobs)
    end } } }
    local found = response.result[1].returns
    assert.truthy(found[1]:find("^tests/spec/seen_spec%.lua:%d+: gma2workers has no 'runSync': did you mean 'RunSync'%?$"), found[1])
    assert.truthy(found[2]:find("did you mean 'jobs'?", 1, true), found[2])
    assert.same({ "nil", "function", "function" }, { tostring(found[3]), found[4], found[5] })
  end)
end)
