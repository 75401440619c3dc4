-- The lists and quotes of the README and the reference are true; pages_spec runs their examples.

local gma2workers = require "gma2workers"
local read = require "spec.fixtures.read"

--- The options that a call accepts, as its refusal of another one lists them.
local function accepted_by(call, ...)
  local _, message = pcall(call, ...)
  local options = {}
  for name in message:match("the options are (.+)$"):gmatch("%a+") do
    options[name] = true
  end
  return options
end

local OF_JOBS = accepted_by(gma2workers.RunSync, { tasks = {}, nothing_of_the_kind = 1 })
local OF_MAP = accepted_by(gma2workers.Map, print, {}, { nothing_of_the_kind = 1 })

describe("the reference", function()
  local text = read "lua/REFERENCE.md"

  it("explains every option of a job and of Map", function()
    for _, options in ipairs { OF_JOBS, OF_MAP } do
      for name in pairs(options) do
        assert.truthy(text:find("`" .. name .. "%f[^%w_]"), name)
      end
    end
  end)

  it("has no heading for an option that does not exist", function()
    local count = 0
    for name in text:match("\n## Options\n(.-)\n## "):gmatch("\n%- %*%*`(%a+)`%*%*") do
      assert.is_true(OF_JOBS[name], name)
      count = count + 1
    end
    assert.is_true(count >= 10, count)
  end)
end)

describe("the README", function()
  it("names exactly the existing options", function()
    local documented = {}
    for name in read("README.md"):match("| option | type, default | meaning |(.-)\n\n"):gmatch("\n| `(%a+)`") do
      documented[name] = true
    end
    assert.same(OF_JOBS, documented)
  end)

  it("names existing options of Map, and all of Map's own", function()
    local documented = {}
    for name in read("README.md"):match("| option of `Map` | type, default | meaning |(.-)\n\n"):gmatch("\n| `(%a+)`") do
      assert.is_true(OF_MAP[name], name)
      documented[name] = true
    end
    for name in pairs(OF_MAP) do
      assert.is_true(documented[name] or OF_JOBS[name], name)
    end
  end)

  describe("quotes messages word for word:", function()
    local text = read("README.md")
    local rate = 5
    local function failing(func, args, options)
      options = options or {}
      options.tasks = { { func = func, args = args } }
      return gma2workers.RunSync(options).result[1].data
    end
    local gma_before
    before_each(function()
      gma_before = rawget(_G, "gma")
      rawset(_G, "gma", { timer = function() end })
      rawset(_G, "clean", print)
    end)
    after_each(function()
      rawset(_G, "gma", gma_before)
      rawset(_G, "clean", nil)
    end)

    local quoted = {
      ["upvalue 'rate' (a number) of the function at plugin.lua:12 cannot cross: "] = function()
        return failing(function() return rate end):gsub("at %S+:%d+", "at plugin.lua:12")
      end,
      ["cannot send a userdata (at args[2].deep.h)"] = function()
        return failing(print, { 1, { deep = { h = io.stdout } } })
      end,
      ["attempt to call a nil value (global 'clean'): the host has it, a task does not "] = function()
        return failing(function() clean() end) -- luacheck: ignore
      end,
      ["option 'workers' must be a whole number from 1 to 256, got \"many\""] = function()
        return select(2, pcall(gma2workers.RunSync, { tasks = {}, workers = "many" }))
      end,
    }
    -- Errors that can't happen to tasks in one state.
    local native = { "upvalue 'rate'", "attempt to call a nil value" }
    for message, provoke in pairs(quoted) do
      local tag = ""
      for _, part in ipairs(native) do
        tag = message:find(part, 1, true) and " #native" or tag
      end
      it(message .. tag, function()
        assert.truthy(text:find(message, 1, true), "the README has it")
        local said = provoke()
        assert.truthy(said:find(message, 1, true), said)
      end)
    end
  end)
end)
