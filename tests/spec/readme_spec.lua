-- The README's examples and quotes are true.

local gma2workers = require "gma2workers"

local function readme()
  local file = assert(io.open("README.md"))
  local text = file:read("a")
  file:close()
  return text
end

describe("the README", function()
  it("opens with an example that runs", function()
    local code = readme():match("```lua\n(.-)```")
    local shown
    rawset(_G, "show", function(value) shown = value end)
    assert(load(code:gsub("\nprint%(", "\nshow("), "=README", "t"))()
    rawset(_G, "show", nil)
    local sum = 0
    for i = 1, 1000000 do
      sum = sum + math.sin(i) * math.cos(i)
    end
    assert.near(sum, shown, 1e-6)
  end)

  it("names exactly the existing options", function()
    local _, message = pcall(gma2workers.RunSync, { tasks = {}, nothing_of_the_kind = 1 })
    local options = {}
    for name in message:match("there are (.+)$"):gmatch("%a+") do
      options[name] = true
    end
    local documented = {}
    for name in readme():match("| option | type, default | meaning |(.-)\n\n"):gmatch("\n| `(%a+)`") do
      documented[name] = true
    end
    assert.same(options, documented)
  end)

  it("has an example of Map that runs", function()
    local code = readme():match("### Over a list.-```lua\n(.-)```")
    local shown
    rawset(_G, "show", function(text) shown = text end)
    local environment = "local gma2workers = require('gma2workers')\n"
    assert(load(environment .. code:gsub("\nprint%(", "\nshow("), "=README", "t"))()
    rawset(_G, "show", nil)
    assert.equal("255 127 0", shown)
  end)

  it("names existing options of Map, and all of Map's own", function()
    local _, message = pcall(gma2workers.Map, print, {}, { nothing_of_the_kind = 1 })
    local accepted = {}
    for name in message:match("there are (.+)$"):gmatch("%a+") do
      accepted[name] = true
    end
    local documented = {}
    for name in readme():match("### Over a list.-| option | type, default | meaning |(.-)\n\n"):gmatch("\n| `(%a+)`") do
      assert.is_true(accepted[name], name)
      documented[name] = true
    end
    assert.is_true(documented.chunk and documented.onError)
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
