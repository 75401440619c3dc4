-- Results as they come: onResult and job:results().

local gma2workers = require "gma2workers"
local crossing = require "spec.fixtures.crossing"
local running = require "spec.fixtures.running"

local RunSync, RunAsync, Map, Poll = gma2workers.RunSync, gma2workers.RunAsync, gma2workers.Map, gma2workers.Poll
local tasks_of, with_gma, in_engine, ask_until = running.tasks, crossing.with_gma, running.in_engine, running.ask_until

local function identity(...) return ... end
local function ignore() end

local function fail_if_odd(n)
  if n % 2 == 1 then
    error("odd " .. n, 0)
  end
  return n
end

-- In a task: passes when all tasks before it in `order` have been reported.
local function pass_in_turn(n)
  return ask_until(gma.is_next, n) and n
end

--- A host on which tasks pass one after another, in the given order.
local function in_turn(order)
  local at = 1
  return { is_next = function(n) return order[at] == n end }, function() at = at + 1 end
end

--- Fails if an index is missing or comes twice.
local function assert_each_once(total, indices)
  local sorted = { table.unpack(indices) }
  table.sort(sorted)
  assert.same(running.count_to(total), sorted)
end

describe("onResult", function()
  running.each_mode(function(mode)
    it("gets each task's record once, before onComplete, and it is the response's (R1)", function()
      for _, count in ipairs { 0, 1, 7, 300 } do
        local indices, records, is_complete = {}, {}, false
        local response = RunSync { mode = mode, workers = 3, tasks = tasks_of(count, fail_if_odd),
          onResult = function(index, record)
            assert.is_false(is_complete)
            indices[#indices + 1], records[index] = index, record
          end,
          onComplete = function() is_complete = true end }
        assert_each_once(count, indices)
        assert.is_true(is_complete)
        for i, record in ipairs(response.result) do
          assert.is_true(rawequal(record, records[i]))
          assert.equal(i % 2 == 0, record.success)
        end
      end
    end)

    it("gets each record once in an asynchronous job (R1)", function()
      in_engine({}, function()
        local indices, response = {}, nil
        local job = RunAsync { mode = mode, workers = 3, tasks = tasks_of(100, fail_if_odd),
          onResult = function(index)
            assert.is_nil(response)
            indices[#indices + 1] = index
          end,
          onComplete = function(got) response = got end }
        job:wait()
        assert_each_once(100, indices)
        assert.is_table(response)
      end)
    end)
  end)

  it("is called in the order in which the tasks end, while others run #native (R1)", function()
    local order = { 3, 1, 4, 2 }
    local host, go_on = in_turn(order)
    with_gma(host, function()
      local indices = {}
      RunSync { workers = 4, tasks = tasks_of(4, pass_in_turn), onResult = function(index, record)
        assert.equal(index, record.data)
        indices[#indices + 1] = index
        go_on()
      end }
      assert.same(order, indices)
    end)
  end)

  it("finds the hints in the records (R2)", function()
    rawset(_G, "only_on_the_host", 1)
    local told
    local response = RunSync { tasks = { { func = function() return only_on_the_host() end } }, -- luacheck: ignore 113
      onResult = function(_, record) told = record.data end }
    rawset(_G, "only_on_the_host", nil)
    assert.equal(response.result[1].data, told)
    if gma2workers.info.backend == "native" then
      assert.truthy(told:find("list it in globals", 1, true), told)
    end
  end)

  it("may change its record (R2)", function()
    local response = RunSync { tasks = tasks_of(3, fail_if_odd), onResult = function(_, record)
      record.data, record.kind = nil, nil
    end }
    assert.same({ success = false }, { success = response.result[3].success, data = response.result[3].data })
  end)

  it("gets tasks that are refused, stopped and never begun #native (R1)", function()
    local kinds, indices = {}, {}
    local job
    job = RunAsync { workers = 1, tasks = {
      { func = identity, args = { coroutine.create(ignore) } },
      { func = function() while true do end end, timeout = 0.05 },
      { func = identity },
      { func = function() while true do end end },
      { func = identity },
    }, onComplete = ignore, onResult = function(index, record)
      indices[#indices + 1], kinds[index] = index, record.kind or "none"
      if index == 3 then
        job:cancel()
      end
    end }
    job:wait()
    assert_each_once(5, indices)
    assert.same({ "transfer", "timeout", "none" }, { kinds[1], kinds[2], kinds[3] })
    assert.same({ "cancelled", "cancelled" }, { kinds[4], kinds[5] })
  end)

  it("may cancel its job (R3)", function()
    local indices, job = {}, nil
    in_engine({}, function()
      job = RunAsync { workers = 1, onComplete = ignore, tasks = tasks_of(50, function(n) gma.sleep(n > 1 and 1 or 0) end),
        onResult = function(index)
          table.insert(indices, index)
          job:cancel()
        end }
      assert.is_true(job:wait().cancelled)
    end)
    assert_each_once(50, indices)
  end)

  it("may run jobs, poll, and wait for its own (R3)", function()
    local indices, inner = {}, {}
    local job
    job = RunAsync { workers = 2, tasks = tasks_of(20, identity), onComplete = ignore, onResult = function(index)
      indices[#indices + 1] = index
      inner[index] = RunSync({ tasks = { { func = identity, args = { index } } } }).result[1].data
      Poll()
      if #indices == 5 then
        job:wait()
      end
    end }
    job:wait()
    assert_each_once(20, indices)
    for index, data in pairs(inner) do
      assert.equal(index, data)
    end
  end)

  it("may sleep, and other pumps go on without calling it twice (R3)", function()
    -- The shorter a slice, the more often two pumps meet in the same line.
    for slice in ("0 200 7 5 3 2 1"):gmatch("%d+") do
      local indices, completed = {}, 0
      in_engine(slice == "0" and {} or { slice = math.tointeger(slice), tick = 0.0001 }, function()
        local job = RunAsync { workers = 2, tasks = tasks_of(40, identity), onResult = function(index)
          -- The engine may switch to another call anywhere but in a C function.
          table.insert(indices, index)
          gma.sleep(0.001)
        end, onComplete = function() completed = completed + 1 end }
        job:wait()
      end)
      assert.equal(1, completed, slice)
      assert_each_once(40, indices)
    end
  end)

  it("is not called again after it has failed, and its error comes at the job's end (R4)", function()
    local calls, is_complete = 0, false
    local ok, message = pcall(RunSync, { tasks = tasks_of(10, identity), onComplete = function() is_complete = true end,
      onResult = function()
        calls = calls + 1
        error("no more", 0)
      end })
    assert.same({ false, "no more" }, { ok, message })
    assert.equal(1, calls)
    assert.is_true(is_complete)

    local engine = in_engine({}, function()
      RunAsync { tasks = tasks_of(10, identity), onComplete = ignore, onResult = function() error("again", 0) end }:wait()
    end)
    local texts = table.concat(engine:texts("echo"), "\n")
    assert.truthy(texts:find("gma2workers: error in a callback: again", 1, true), texts)
  end)
end)

describe("without the binary, results #cooperative", function()
  -- Longer than a worker may block the engine.
  local function work(n)
    host.note("task " .. n) -- luacheck: ignore 113
    local began = gma2workers.clock()
    repeat until gma2workers.clock() - began > 0.01
  end

  -- An engine may start several workers in one tick.
  local function in_hosts(body)
    with_gma(nil, function() body("without an engine", 3) end)
    in_engine({}, function() body("in an engine", 1) end)
  end

  it("come as each task ends, before the next one begins (R12)", function()
    local expected = { "task 1", "result 1", "task 2", "result 2", "task 3", "result 3" }
    in_hosts(function(host, most)
      for workers = 1, most do
        local events = {}
        local function note(event) events[#events + 1] = event end
        local config = { workers = workers, tasks = tasks_of(3, work), host = { note = note }, onComplete = ignore,
          onResult = function(index) note("result " .. index) end }
        RunSync(config)
        assert.same(expected, events, host)

        events = {}
        RunAsync(config):wait()
        assert.same(expected, events, host)

        events, config.onResult = {}, nil
        for index in RunAsync(config):results() do
          note("result " .. index)
        end
        assert.same(expected, events, host)
      end
    end)
  end)

  it("let the first one cancel the others (R12)", function()
    local function run(func, workers)
      local kinds, job = {}, nil
      job = RunAsync { workers = workers, tasks = tasks_of(5, func), host = { note = ignore }, onComplete = ignore,
        onResult = function(index, record)
          kinds[index] = record.kind or "none"
          job:cancel()
        end }
      assert.is_true(job:wait().cancelled)
      assert.same({ "none", "cancelled", "cancelled", "cancelled", "cancelled" }, kinds)
    end
    in_hosts(function(_, most) run(work, most) end)
    -- Without an engine, however short the tasks are.
    with_gma(nil, function() run(identity) end)
  end)
end)

describe("onResult of Map", function()
  it("gets each item's value (R5)", function()
    for _, chunk in ipairs { 1, 3, 100 } do
      local values = {}
      local results = Map(function(n) return n * 10 end, running.count_to(20), { chunk = chunk, workers = 3,
        onResult = function(index, value)
          assert.is_nil(values[index])
          values[index] = value
        end })
      assert.same(results, values)
    end
  end)

  it("gets each item's record with onError = \"collect\" (R5)", function()
    for _, chunk in ipairs { 1, 3, 100 } do
      local records, list = {}, running.count_to(20)
      list[8] = coroutine.create(ignore)
      local results = Map(fail_if_odd, list, { chunk = chunk, workers = 3, onError = "collect",
        onResult = function(index, record)
          assert.is_nil(records[index])
          records[index] = record
        end })
      assert.equal(20, #results)
      for i, record in ipairs(results) do
        assert.is_true(rawequal(record, records[i]))
      end
      assert.same({ "Error: odd 7", "transfer", 10 }, { records[7].data, records[8].kind, records[10].data })
    end
  end)

  it("gets no item of a chunk that fails, if the failure is raised (R5)", function()
    local values = {}
    local ok = pcall(Map, function(n) if n == 2 then error("no") end return n end, { 1, 2, 3, 4 }, { chunk = 2, workers = 1,
      onResult = function(index, value) values[index] = value end })
    assert.is_false(ok)
    assert.is_nil(values[1])
    assert.is_nil(values[2])
  end)
end)

describe("job:results()", function()
  it("gives each record as its task ends, in that order #native (R6)", function()
    local order = { 3, 1, 4, 2 }
    local host, go_on = in_turn(order)
    with_gma(host, function()
      local indices = {}
      local job = RunAsync { workers = 4, tasks = tasks_of(4, pass_in_turn), onComplete = ignore }
      for index, record in job:results() do
        indices[#indices + 1] = index
        assert.equal(index, record.data)
        go_on()
      end
      assert.same(order, indices)
    end)
  end)

  it("gives all records to each of two loops, also after the job's end (R6)", function()
    local job = RunAsync { workers = 2, tasks = tasks_of(100, fail_if_odd), onComplete = ignore }
    for _, is_over in ipairs { false, true } do
      local first, second = {}, {}
      local a, b = job:results(), job:results()
      for _ = 1, 100 do
        local index, record = a()
        first[#first + 1] = index
        second[#second + 1] = b()
        assert.equal(index % 2 == 0 and index or "Error: odd " .. index, record.data)
      end
      assert.is_nil(a())
      assert.is_nil(b())
      assert_each_once(100, first)
      assert_each_once(100, second)
      local response = job:wait()
      assert.is_true(#response.result == 100 and not is_over or is_over)
    end
  end)

  it("gives records that came before it was called (R6)", function()
    local job = RunAsync { workers = 1, tasks = tasks_of(300, identity), onComplete = ignore }
    running.poll_until(function() return select(2, job:status()) > 100 end)
    local indices = {}
    for index in job:results() do
      indices[#indices + 1] = index
    end
    assert_each_once(300, indices)

    job = RunAsync { tasks = tasks_of(5, identity), onComplete = ignore }
    job:wait()
    indices = {}
    for index, record in job:results() do
      indices[#indices + 1] = record.data
      assert.equal(index, record.data)
    end
    assert_each_once(5, indices)
  end)

  it("can be left early, and the job goes on (R6)", function()
    local got
    local job = RunAsync { tasks = tasks_of(10, identity), onComplete = function(response) got = response end }
    for _ in job:results() do -- luacheck: ignore 512
      break
    end
    job:wait()
    assert.equal(10, #got.result)
  end)

  it("lets the engine run meanwhile (R6)", function()
    in_engine({}, function()
      local ticks = 0
      gma.timer(function() ticks = ticks + 1 end, 0.001, 5)
      gma.ticks = function() return ticks end
      -- The first task ends when the engine has run, or after far more time than that takes.
      local job = RunAsync { workers = 1, onComplete = ignore, tasks = tasks_of(5, function(n)
        for _ = 1, 10000 do
          if gma.ticks() > 0 then break end
          gma.sleep(0.001)
        end
        return n
      end) }
      local indices = {}
      for index in job:results() do
        indices[#indices + 1] = index
      end
      assert_each_once(5, indices)
      assert.is_true(ticks > 0)
    end)
  end)

  it("gives items of a Map, and raises its failure at the end (R6)", function()
    local values = {}
    local job = Map(function(n) return n * n end, { 1, 2, 3, 4, 5 }, { chunk = 2, onComplete = ignore })
    for index, value in job:results() do
      values[index] = value
    end
    assert.same({ 1, 4, 9, 16, 25 }, values)

    job = Map(fail_if_odd, { 2, 4, 5 }, { chunk = 1, onComplete = ignore })
    values = {}
    local ok, message = pcall(function()
      for index, value in job:results() do
        values[index] = value
      end
    end)
    assert.same({ 2, 4 }, values)
    assert.is_false(ok)
    assert.truthy(message:find("results_spec%.lua:%d+: list%[3%]: odd 5"), message)
  end)

  it("is refused on anything but a job", function()
    local job = RunAsync { tasks = {}, onComplete = ignore }
    local ok, message = pcall(job.results)
    assert.is_false(ok)
    assert.truthy(message:find("write job:results()", 1, true), message)
  end)
end)

describe("a loop over job:results() #native", function()
  it("begins with tasks that ended before it, while others go on (R11)", function()
    for _ = 1, 20 do
      local job = RunAsync { workers = 2, onComplete = ignore,
        tasks = { { func = function() while true do end end, timeout = 60 }, { func = identity, args = { 5 } } } }
      repeat until select(2, job:status()) == 1
      for index, record in job:results() do
        if index == 2 then
          assert.equal(5, record.data)
          job:cancel()
        else
          assert.equal("cancelled", record.kind)
        end
      end
    end
  end)
end)
