-- Functions with an `_ENV` of their own: how it crosses, and what errors about it say.

local gma2workers = require "gma2workers"
local assert_failed = require("spec.fixtures.assertions").failed
local crossing = require "spec.fixtures.crossing"

local call, run, copied, plugin = crossing.call, crossing.run, crossing.copied, crossing.plugin

describe("a custom _ENV", function()
  local code = "local _ENV = { rate = 5 }\nreturn function() rate = rate + 1 return rate end"

  local function loaded(text, env)
    return assert(load(text, "@plugin.lua", "t", env))
  end

  it("that only looks up in _G is each task's own, and looks up there (F5)", function()
    local env = setmetatable({}, { __index = _G, __name = "env", __metatable = "hidden" })
    local func = loaded("count = (count or 0) + 1 return math.floor(2.5), count, rawget(_G, 'count')", env)
    for _, upvalues in ipairs { "error", "copy" } do
      local result = gma2workers.RunSync { tasks = { { func = func } }, upvalues = upvalues }.result
      assert.equal(2, result[1].data)
      assert.is_nil(result[1].returns[3])
    end
  end)

  it("that only looks up in _G is shared by the functions that shared it, and by no others (F5) #native", function()
    local env, other = setmetatable({}, { __index = _G }), setmetatable({}, { __index = _G })
    local set, get = loaded("count = ...", env), loaded("return count", env)
    local get_other = loaded("return count", other)
    assert.same({ 5, "none", "none" }, call(function()
      set(5)
      return { get(), get_other() or "none", rawget(_G, "count") or "none" }
    end))
    assert.same({ "none", "none" }, { call(get) or "none", rawget(env, "count") or "none" })
    -- An _ENV that arrives first as an argument, and one that arrives with functions among the results.
    local entry = run(function(_, f, g) f(7) return g() end, { env, set, get })
    assert.equal(7, entry.data)
    local made = call(function()
      return load("return math.floor(3.5)", "=made", "t", setmetatable({}, { __index = _G }))
    end)
    assert.equal(3, made())
    assert.equal(_G, getmetatable(debug.getupvalue(made, 1) and select(2, debug.getupvalue(made, 1))).__index)
  end)

  it("with data fails its task, and the error's advice works (F5) #native", function()
    local advice = 'upvalue \'_ENV\' (a table) of the function at plugin.lua:%d cannot cross: set upvalues = "copy"'
    local envs = { { rate = 5 }, setmetatable({ rate = 5 }, { __index = _G }) }
    for _, env in ipairs(envs) do
      local func = loaded("rate = rate + 1 return rate", env)
      assert_failed(run(func), "upvalue", advice:format(0))
      assert.equal(6, copied(func))
      assert.equal(5, env.rate)
    end
    assert_failed(run(plugin(code)), "upvalue", advice:format(2))
    local func = plugin(code)
    assert.same({ 6, 6 }, { copied(func), copied(func) })
    assert.equal(6, func())
  end)

  it("is copied with all its fields, and still looks up the rest where it did (F5) #native", function()
    local env = setmetatable({ io = io, str = string, list = { 1, 2 }, print = print }, { __index = _G })
    env._G, env.G = env, _G
    loaded("function double(n) return 2 * n end function work(n) seen = double(n) return seen end", env)()
    local func = loaded([[
      return { work(4), seen, math.max(3, 4), #list, _G.work == work, G.math == math, G ~= _G, io.write == G.io.write,
        str == string, print == G.print, G.seen == nil }]], env)
    assert.same({ 8, 8, 4, 2, true, true, true, true, true, true, true }, copied(func))
    assert.is_nil(rawget(env, "seen"))
    -- Without a metatable it looks up nothing else.
    assert.same({ 5, "nil" }, copied(loaded("return { rate, type(math) }", { rate = 5, type = type })))
  end)

  it("that does more is refused with advice, even with copies (F5) #native", function()
    local given = { { __index = function(_, name) return _G[name] end }, { __index = { math = math } }, { __newindex = _G },
      { __index = _G, __newindex = function() end }, { __index = _G, __mode = "k" } }
    for _, metatable in ipairs(given) do
      for _, upvalues in ipairs { "error", "copy" } do
        local env = setmetatable({}, metatable)
        assert_failed(run(loaded("return math.floor(2.5)", env), {}, { upvalues = upvalues }), "upvalue",
          "upvalue '_ENV' (a table with a metatable) of the function at plugin.lua:0 cannot cross: "
          .. "give its metatable only __index = _G, or use _G as the function's _ENV")
      end
    end
    assert.equal(2, call(loaded("return math.floor(2.5)", setmetatable({}, { __index = _G }))))
    assert.equal(2, call(loaded("return math.floor(2.5)", _G)))
  end)

  it("that lacks a task's global is named in the error (F5)", function()
    rawset(_G, "clean", print)
    for _, name in ipairs { "math", "clean" } do
      local func = loaded(name .. ".x()", {})
      local entry = run(func, {}, { upvalues = "copy", globals = { "clean" } })
      assert_failed(entry, "runtime", ("(global '%s'): every task has it in _G: do not set it to nil, and "
        .. "do not give the function another _ENV"):format(name))
    end
    local _, problem = pcall(gma2workers.Map, loaded("math.x()", {}), { 1 }, { upvalues = "copy" })
    assert.is_truthy(problem:find("do not give the function another _ENV", 1, true), problem)
    rawset(_G, "clean", nil)
  end)
end)
