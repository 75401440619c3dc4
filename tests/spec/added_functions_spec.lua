-- Functions that the host has added to the standard libraries come along.

local gma2workers = require "gma2workers"
local crossing = require "spec.fixtures.crossing"

local is_native = gma2workers.info.backend == "native"

local call, run, run_tasks, with_preload = crossing.call, crossing.run, crossing.run_tasks, crossing.with_preload

describe("a function that the host has added to a library", function()
  --- Sets functions of libraries for as long as `body` runs.
  local function with_added(functions, body)
    local before = {}
    for name, func in pairs(functions) do
      local library, field = name:match("(.+)%.(.+)")
      before[name], _G[library][field] = _G[library][field] or false, func
    end
    local ok, problem = pcall(body)
    for name, func in pairs(before) do
      local library, field = name:match("(.+)%.(.+)")
      _G[library][field] = func or nil
    end
    assert.is_true(ok, problem)
  end

  -- luacheck: push ignore 143
  it("is in the task's library, also as a method of texts (F25)", function()
    with_added({
      ["string.words"] = function(s) local n = 0 for _ in s:gmatch("%S+") do n = n + 1 end return n end,
      ["string.double_words"] = function(s) return 2 * s:words() end,
      ["table.contains"] = function(t, x) for _, v in ipairs(t) do if v == x then return true end end return false end,
      ["math.round"] = function(x) return math.floor(x + 0.5) end,
      ["os.greet"] = function() return "hello" end,
      ["utf8.first"] = function(s) return utf8.codepoint(s) end,
    }, function()
      local contains, str = table.contains, string
      assert.same({ 3, 3, 6, true, false, 2, "hello", 97, 1 }, call(function(s)
        return { s:words(), string.words(s), s:double_words(), table.contains({ 1, 2 }, 2), contains({ 1, 2 }, 3), math.round(1.6),
          os.greet(), utf8.first(s), str.words("a") }
      end, "a b c"))
      assert.equal(2, run(function(s) return s:words() end, { "a b" }, { sandbox = is_native or nil }).data)
    end)
    assert.is_nil(call(function() return string.words end))
  end)

  it("is there while a module is loaded, and may be a module's (F25)", function()
    with_preload({ words = function() return { first = function(s) return s:match("%w+") end } end,
      user = function() local word = ("ab cd"):first() return { word = function() return word end } end }, function()
      with_added({ ["string.first"] = require("words").first }, function()
        local user = require "user"
        assert.equal("ab", call(function() return user.word() end))
        assert.equal("x", call(function(s) return s:first() end, "x y"))
        if is_native then
          assert.is_nil(run(function() return string.first end, {}, { sandbox = true }).data)
        end
        package.preload.words = function() error("no words") end
        assert.equal(is_native and "nil" or "function", call(function() return type(string.first) end))
      end)
    end)
  end)

  it("is not there if it can't cross, and an original one stays in its place (F25) #native", function()
    local rate, file = 5, io.stdout
    local format = string.format
    with_added({ ["math.rated"] = function(n) return n * rate end, ["io.log"] = function(...) file:write(...) end,
      ["string.format"] = function(...) return "host's " .. format(...) end }, function()
      local mine = string.format
      local function look(n) return { math.rated ~= nil, io.log ~= nil, string.format("%d", n), mine("%d", n) } end
      assert.same({ false, false, "5", "host's 5" }, call(look, 5))
      assert.same({ true, false, "5", "host's 5" }, crossing.copied(look, 5))
    end)
  end)

  it("is as new in each task (F25) #native", function()
    with_added({ ["string.words"] = function() return 1 end }, function()
      local response = run_tasks(3, function()
        local n = string.words and string.words()
        string.words = nil -- luacheck: ignore
        return n
      end)
      assert.same({ 1, 1, 1 }, { response.result[1].data, response.result[2].data, response.result[3].data })
    end)
  end)
  -- luacheck: pop
end)
