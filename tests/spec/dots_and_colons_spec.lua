-- A dot where a colon belongs, or a colon where a dot belongs: every call works, or says which of the two to write.

local gma2workers = require "gma2workers"

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
