-- The README's lists and quotes are true; pages_spec runs its examples.

local gma2workers = require "gma2workers"

local function readme()
  local file = assert(io.open("README.md"))
  local text = file:read("a")
  file:close()
  return text
end

describe("the README", function()
  it("names exactly the existing options", function()
    local _, message = pcall(gma2workers.RunSync, { tasks = {}, nothing_of_the_kind = 1 })
    local options = {}
    for name in message:match("the options are (.+)$"):gmatch("%a+") do
      options[name] = true
    end
    local documented = {}
    for name in readme():match("| option | type, default | meaning |(.-)\n\n"):gmatch("\n| `(%a+)`") do
      documented[name] = true
    end
    assert.same(options, documented)
  end)

  it("names existing options of Map, and all of Map's own", function()
    local _, message = pcall(gma2workers.Map, print, {}, { nothing_of_the_kind = 1 })
    local accepted = {}
    for name in message:match("the options are (.+)$"):gmatch("%a+") do
      accepted[name] = true
    end
    local documented = {}
    for name in readme():match("| option of `Map` | type, default | meaning |(.-)\n\n"):gmatch("\n| `(%a+)`") do
      assert.is_true(accepted[name], name)
      documented[name] = true
    end
    local _, jobs = pcall(gma2workers.RunSync, { tasks = {}, nothing_of_the_kind = 1 })
    for name in message:match("the options are (.+)$"):gmatch("%a+") do
      assert.is_true(documented[name] or jobs:find("%f[%a]" .. name .. "%f[%A]") ~= nil, name)
    end
  end)

  describe("quotes messages word for word:", function()
    local text = readme()
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
