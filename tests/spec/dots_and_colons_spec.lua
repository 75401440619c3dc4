-- Calls written in another way than they are meant, such as with a dot where a colon belongs: each works, or says what to write.

local gma2workers = require "gma2workers"
local crossing = require "spec.fixtures.crossing"

local GOT_ITSELF = "got itself: write .%s with a dot)"
local NO_JOB = "bad argument #1 to '%s' (job expected, got %s): write job:%s()"

-- The calls of the module with a colon: the arguments, and what they are refused with.
local WITH_COLON = {
  RunSync = { "{ tasks = {} }", "gma2Workers.RunSync expects a config table, " .. GOT_ITSELF:format("RunSync"), "" },
  Dispatch = { "{ tasks = {} }", "gma2Workers.RunSync expects a config table, " .. GOT_ITSELF:format("RunSync"), "" },
  RunAsync = { "{ tasks = {}, onComplete = print }", "gma2Workers.RunAsync expects a config table, " .. GOT_ITSELF:format("RunAsync"), "" },
  Map = { "tostring, { 1 }", "bad argument #1 to 'Map' (function expected, " .. GOT_ITSELF:format("Map"), "" },
  Poll = { "1", "bad argument #1 to 'Poll' (number or nil expected, " .. GOT_ITSELF:format("Poll"), "" },
  setEngine = { "{ sleep = print }", "bad argument #1 to 'setEngine' (table or nil expected, " .. GOT_ITSELF:format("setEngine"), "" },
  -- These take no arguments, so a colon does no harm.
  jobs = {}, cancelAll = {}, clock = {}, isStopping = {},
}

-- The methods of a job.
local METHODS = { "wait", "status", "cancel", "results" }

--- Calls a piece of a plugin. An error has its line.
local function call(code, ...)
  return pcall(assert(load("local gma2workers, job = ...\nlocal got = " .. code .. "\nreturn got", "@plugin.lua")), gma2workers, ...)
end

local function assert_refused(part, code, ...)
  local ok, message = call(code, ...)
  assert.is_false(ok)
  assert.is_truthy(message:find("^plugin%.lua:2: "), message)
  assert.is_truthy(message:find(part, 1, true), message)
end

describe("a call of the module with a colon", function()
  it("is one of these (E25)", function()
    for name, value in pairs(gma2workers) do
      assert.equal(type(value) == "function", WITH_COLON[name] ~= nil, name)
    end
  end)

  for name, case in pairs(WITH_COLON) do
    it(name .. (case[1] and " is refused, with or without arguments (E25)" or " works (E25)"), function()
      for _, arguments in ipairs { case[1] or "", case[3] } do
        local code = ("gma2workers:%s(%s)"):format(name, arguments)
        if case[2] then
          assert_refused(case[2], code)
        else
          assert.is_true(call(code))
        end
      end
      assert.same({}, gma2workers.jobs())
    end)
  end
end)

describe("a method of a job with a dot", function()
  local job

  before_each(function()
    job = gma2workers.RunAsync { tasks = { { func = tostring, args = { 1 } } }, onComplete = function() end }
  end)

  after_each(function() job:wait() end)

  it("is one of these (E25)", function()
    local known = {}
    for _, name in ipairs(METHODS) do
      known[name] = true
    end
    for name, value in pairs(debug.getmetatable(job)) do
      assert.equal(type(value) == "function" and name:sub(1, 2) ~= "__", known[name] or false, name)
    end
  end)

  for _, name in ipairs(METHODS) do
    it(name .. " is refused, with or without arguments (E25)", function()
      for kind, argument in pairs { ["nil"] = "", number = "5", table = "{}" } do
        assert_refused(NO_JOB:format(name, kind, name), ("job.%s(%s)"):format(name, argument), job)
      end
      assert.equal("running", (job:status()))
    end)
  end
end)

describe("a host call with a colon", function()
  -- luacheck: globals host
  local function refused(func)
    local entry = crossing.run(func, {}, { host = { add = function(n) return n + 1 end } })
    assert.same({ false, "runtime" }, { entry.success, entry.kind })
    return (entry.data:gsub("^Error: ", ""))
  end

  it("of the option host is refused at its line, with or without arguments (E27)", function()
    for _, code in ipairs { "host:add(2)", "host:add()", "local h = host h:add(2)", "pcall(host.add, 2) host:add(2)" } do
      local func = assert(load(code .. "\nreturn 1", "@plugin.lua"))
      assert.equal("plugin.lua:1: host.add was called with a colon: write host.add(...)", refused(func))
    end
    assert.equal(3, crossing.run(function() return host.add(2) end, {}, { host = { add = function(n) return n + 1 end } }).data)
    assert.same({ add = 5 }, crossing.run(function() return host.give { add = 5 } end, {}, {
      host = { give = function(t) return t end } }).data)
  end)

  it("of the engine is refused at its line (E27) #native", function()
    local function none() end
    local engine = { echo = none, sleep = none, cmd = none, show = { getvar = none }, gui = { progress = { stop = none } } }
    crossing.with_gma(engine, function()
      for code, name in pairs { ['gma:echo("x")'] = "gma.echo", ["gma:sleep(0)"] = "gma.sleep", ['gma:cmd("x")'] = "gma.cmd",
          ['gma.show:getvar("X")'] = "gma.show.getvar", ["gma.gui.progress:stop(1)"] = "gma.gui.progress.stop" } do
        assert.equal(("plugin.lua:1: %s was called with a colon: write %s(...)"):format(name, name),
          refused(assert(load(code .. "\nreturn 1", "@plugin.lua"))))
      end
    end)
  end)
end)

describe("a job", function()
  it("has none of the fields of its response, and says so (E26)", function()
    local job = gma2workers.RunAsync { tasks = { { func = tostring, args = { 1 } } }, onComplete = function() end }
    for name in pairs { result = 1, data = 1, failed = 1, response = 1, duration = 1, cancelled = 1, returns = 1 } do
      assert_refused(("a job has no '%s': job:wait() returns the response"):format(name), "job." .. name, job)
    end
    assert.is_nil(job.note)
    job.note = "mine"
    assert.equal("mine", job.note)
    assert.equal("1", job:wait().result[1].data)
  end)

  it("has no method of another name, and says which it has (E26)", function()
    local job = gma2workers.RunAsync { tasks = {}, onComplete = function() end }
    for name, method in pairs { join = "wait", await = "wait", get = "wait", Wait = "wait", abort = "cancel", Cancel = "cancel",
        terminate = "cancel", Status = "status", Results = "results" } do
      assert_refused(("a job has no '%s': did you mean job:%s()?"):format(name, method), "job:" .. name .. "()", job)
    end
    -- These may be the caller's own fields.
    for _, name in ipairs { "done", "finished", "stop", "progress", 1 } do
      assert.is_nil(job[name])
    end
    job:wait()
  end)
end)

describe("a Map whose list comes first", function()
  it("is refused with the order of the two (E26)", function()
    assert_refused("bad argument #1 to 'Map' (function expected, got table: write Map(func, list))", "gma2workers.Map({ 1 }, tostring)")
    assert_refused("bad argument #1 to 'Map' (function expected, got string)", "gma2workers.Map('tostring', { 1 })")
  end)
end)
