-- A failed task that ends others: the option `stopOnError`, and `Map`, which raises the first failure.

local gma2workers = require "gma2workers"
local crossing = require "spec.fixtures.crossing"
local endless = require "spec.fixtures.endless"
local running = require "spec.fixtures.running"
local signal = require "spec.fixtures.signal"
local stops = require "spec.fixtures.stops"

local RunSync, RunAsync, Map, info = gma2workers.RunSync, gma2workers.RunAsync, gma2workers.Map, gma2workers.info
local with_gma, each_mode, tasks_of, ask_until = crossing.with_gma, running.each_mode, running.tasks, running.ask_until
local isStopping, await, set = gma2workers.isStopping, signal.await, signal.set

local function identity(...) return ... end
local function fail() error("first", 0) end
local function loop() while true do end end

local function kinds(list)
  local found = {}
  for i, entry in ipairs(list) do
    found[i] = entry.kind or entry.success
  end
  return found
end

describe("with stopOnError, a failed task", function()
  each_mode(function(mode)
    it("keeps all others from beginning (C7)", function()
      local response = RunSync { mode = mode, workers = 1, stopOnError = true,
        tasks = { { func = identity }, { func = fail }, { func = identity }, { func = identity } } }
      assert.same({ true, "runtime", "cancelled", "cancelled" }, kinds(response.result))
      assert.equal(3, response.failed)
      assert.is_nil(response.cancelled)
    end)

    it("stops the running ones (C7) #native", function()
      local tasks = tasks_of(5, loop)
      tasks[4].func = fail
      local response = RunSync { mode = mode, workers = 5, stopOnError = true, tasks = tasks }
      assert.same({ "cancelled", "cancelled", "cancelled", "runtime", "cancelled" }, kinds(response.result))
      assert.equal(5, response.failed)
      stops.good_job()
    end)
  end)

  it("does not make its job a cancelled one (C7)", function()
    local given
    local job = RunAsync { workers = 1, stopOnError = true, tasks = { { func = fail }, { func = identity } },
      onComplete = function(response) given = response end }
    job:wait(running.NEVER)
    assert.same({ "done", 2, 2 }, { job:status() })
    assert.is_nil(given.cancelled)
  end)

  it("stops the others while the host is busy (C8) #native", function()
    signal.with(function(path)
      local function wait(name)
        while not isStopping() do end
        set(name, "told")
      end
      local job = RunAsync { workers = 2, stopOnError = true, grace = running.NEVER, onComplete = identity,
        tasks = { { func = wait, args = { path } }, { func = fail } } }
      assert.is_true(await(path, "told"))
      assert.same({ "cancelled", "runtime" }, kinds(job:wait(running.NEVER).result))
    end)
  end)

  it("may have timed out, or be one whose init failed (C8) #native", function()
    local response = RunSync { workers = 2, stopOnError = true, tasks = { { func = loop }, { func = loop, timeout = 0.05 } } }
    assert.same({ "cancelled", "timeout" }, kinds(response.result))
    response = RunSync { workers = 1, stopOnError = true, init = fail, tasks = tasks_of(3, identity) }
    assert.same({ "runtime", "cancelled", "cancelled" }, kinds(response.result))
  end)

  it("may be one that can't cross (C8)", function()
    local response = RunSync { workers = 1, stopOnError = true,
      tasks = { { func = identity, args = { io.stdout } }, { func = identity } } }
    assert.same({ "transfer", "cancelled" }, kinds(response.result))
  end)

  it("may be a lost one (C8) #native", function()
    signal.with(function(path)
      -- On a busy machine a short limit ends before the task is stuck.
      local response = stops.response_in_time(function(timeout)
        return RunSync { workers = 2, stopOnError = true,
          tasks = { { func = endless.stuck["a finalizer"], args = { path }, timeout = timeout }, { func = loop } } }
      end, stops.has_timed_out)
      assert.same({ "lost", "cancelled" }, kinds(response.result))
      set(path, "go")
    end)
    running.poll_until(function() return info.lost == 0 end)
  end)

  it("is one of all without the option (C7)", function()
    local response = RunSync { workers = 1, tasks = { { func = fail }, { func = identity } } }
    assert.same({ "runtime", true }, kinds(response.result))
    assert.equal(1, response.failed)
  end)
end)

describe("Map with a failed item", function()
  it("begins no item behind it (C9)", function()
    for _, chunk in ipairs { 1, 2 } do
      local begun = {}
      with_gma({ begun = function(n) begun[#begun + 1] = n end }, function()
        local ok, message = pcall(Map, function(n) gma.begun(n) if n >= 4 then error("no " .. n, 0) end end, running.count_to(20),
          { chunk = chunk, workers = 1 })
        assert.is_false(ok)
        assert.is_truthy(message:find("list%[4%]: no 4$"), message)
      end)
      assert.same({ 1, 2, 3, 4 }, begun)
    end
  end)

  it("lets the items before it go on, and raises the first failure in the list (C9) #native", function()
    local has_failed = false
    local engine = { fails = function() has_failed = true end, has_failed = function() return has_failed end }
    with_gma(engine, function()
      local ok, message = pcall(Map, function(n)
        if n == 2 then
          gma.fails()
        else
          ask_until(gma.has_failed)
        end
        error("item " .. n, 0)
      end, { 1, 2, 3 }, { chunk = 1, workers = 2 })
      assert.is_false(ok)
      assert.is_truthy(message:find("list%[1%]: item 1$"), message)
    end)
  end)

  it("stops the running items behind it (C9) #native", function()
    local begun = 0
    local engine = { begun = function() begun = begun + 1 end, have_begun = function() return begun == 2 end }
    with_gma(engine, function()
      local ok, message = pcall(Map, function(n)
        if n == 1 then
          ask_until(gma.have_begun)
          error("item 1", 0)
        end
        gma.begun()
        while true do end
      end, { 1, 2, 3 }, { chunk = 1, workers = 3 })
      assert.is_false(ok)
      assert.is_truthy(message:find("list%[1%]: item 1$"), message)
    end)
    stops.good_job()
  end)

  it("and stopOnError has records of all items (C10)", function()
    local function work(n)
      return n == 3 and error("third", 0) or n == 9 and coroutine.create(print) or n
    end
    for _, chunk in ipairs { 1, 2, 4 } do
      local records = Map(work, { 1, 2, 3, 4, 5 }, { chunk = chunk, workers = 1, onError = "collect", stopOnError = true })
      assert.same({ true, true, "runtime", "cancelled", "cancelled" }, kinds(records))
      assert.same({ 1, 2, "Error: third", "Error: cancelled" }, { records[1].data, records[2].data, records[3].data, records[4].data })
    end
    local records = Map(work, { 1, 9, 2, 5 }, { chunk = 3, workers = 1, onError = "collect", stopOnError = true })
    assert.same({ true, "transfer", true, "cancelled" }, kinds(records))
  end)

  it("has all other items with collect alone (C10)", function()
    local records = Map(function(n) return n == 3 and error("third", 0) or n end, { 1, 2, 3, 4, 5 },
      { chunk = 2, workers = 1, onError = "collect" })
    assert.same({ true, true, "runtime", true, true }, kinds(records))
  end)
end)
