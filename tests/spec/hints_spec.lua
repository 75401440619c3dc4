-- A task that fails because something stayed on the host is told what, and what to do. Without that cause, nothing is added.

local gma2workers = require "gma2workers"
local assert_says = require("spec.fixtures.assertions").says
local crossing = require "spec.fixtures.crossing"

local run, with_globals = crossing.run, crossing.with_globals

local function message_of(func, args, options)
  local entry = run(func, args, options)
  assert.is_false(entry.success)
  assert.is_nil(entry.missing)
  assert.equal("runtime", entry.kind)
  return entry.data
end

local function map_message(func, list, options)
  return select(2, pcall(gma2workers.Map, func, list, options))
end

local function collected(func, list)
  local record = gma2workers.Map(func, list, { onError = "collect" })[1]
  assert.is_nil(record.missing)
  return record.data
end

describe("a missing global that the error does not name #native", function()
  local GLOBALS = { LIST = { 1 }, LIMIT = 5, HELP = function() end, KEY = "x" }

  local function says(hint, code, ...)
    local func, args = crossing.plugin("return function(...) local arg = ... " .. code .. " end"), table.pack(...)
    with_globals(GLOBALS, function()
      assert_says(hint, message_of(func, args))
      if args.n == 0 then
        assert_says(hint, map_message(func, { 1 }))
        assert_says(hint, collected(func, { 1 }))
      end
    end)
    local entry = run(func, args)
    assert.is_nil(not entry.success and entry.data:find("globals = ", 1, true) or nil, "the host lacks it, too")
  end

  local uses = {
    "for _ in ipairs(LIST) do end", "for _ in pairs(LIST) do end", "return next(LIST)", "return #table.concat(LIST)",
    "return table.unpack(LIST)", "local f = string.rep return f('x', LIST)", "local t = {} t[LIST] = 1",
    "return 1 < LIST", "return LIST >= 1", "return LIST < LIST", "for i = 1, LIST do return i end",
    "for i = LIST, 3 do return i end", "for i = 1, 3, LIST do return i end", "assert(LIST)", "return setmetatable(LIST, {})",
    "return select(LIST, 1)", "local list = LIST table.insert(list, 1)", "return (LIST):rep(3)", "table.sort(\n\nLIST\n)",
    "local function inner(list) for _ in ipairs(list) do end end inner(LIST)",
    "local list = LIST\nreturn list[1]", "local list, n = LIST, 1\nfor i = n, 2 do\nlist[i] = n end",
    "local list\nlist = LIST return #list",
    "local list = LIST\nfor _ in pairs(list) do end",
    "local function inner(list) return list[1] end\nreturn 1 + inner(\nLIST)", "coroutine.wrap(LIST)",
    "coroutine.wrap(function() for _ in ipairs(LIST) do end end)()",
    "local inner = coroutine.wrap(function() return 1 < LIST end)\nfor _ in coroutine.wrap(function() inner() end) do end",
  }
  for _, code in ipairs(uses) do
    it("is named, with its place (E20): " .. code, function()
      says("LIST", code)
      says('globals = { "LIST" }: each task gets a copy, so return what you change)', code)
    end)
  end

  it("is named with the line that reads it, and with others at that line (E20)", function()
    says("plugin.lua:2 reads the global 'LIST', which the host has and a task does not (list it in globals = { \"LIST\" }: ",
      "\nfor _ in ipairs(LIST) do end")
    says("plugin.lua:3 reads the globals 'LIMIT', 'KEY', which the host has and a task does not (list them in globals = "
      .. "{ \"LIMIT\", \"KEY\" }: each task gets a copy, so return what you change)", "\n\nreturn LIMIT < KEY")
    says("plugin.lua:2 reads the global 'LIST'", "\nlocal list = LIST\nlocal n = 1\nreturn list[n]")
    says("plugin.lua:4 reads the global 'LIST'", "local function inner(list)\nreturn #list\nend\nreturn 1 + inner(LIST)")
  end)

  it("is there if it is listed, as the advice says (E20)", function()
    with_globals(GLOBALS, function()
      local func = crossing.plugin("return function() local n = 0 for _, x in ipairs(LIST) do n = n + x end return n < LIMIT end")
      assert.is_true(run(func, {}, { globals = { "LIST", "LIMIT" } }).data)
      assert_says("'LIMIT'", message_of(func, {}, { globals = { "LIST" } }))
    end)
  end)

  it("is to be added to those that are listed already, not to take their place (E20)", function()
    with_globals(GLOBALS, function()
      local func = crossing.plugin("return function() for _ in ipairs(LIST) do end return LIMIT < KEY end")
      assert_says('(add "LIMIT", "KEY" to the option globals: each task gets a copy, so return what you change)',
        message_of(func, {}, { globals = { "LIST" } }))
      local options = { globals = { "LIST" } }
      assert_says('(add "HELP" to the option globals)', message_of(crossing.plugin("return function() HELP() end"), {}, options))
      assert_says('(add "HELP" to the option globals)', map_message(crossing.plugin("return function() HELP() end"), { 1 }, options))
    end)
  end)

  it("is advised to be returned if it is data that a task may change, and not if it is a function (E29)", function()
    local copied = ": each task gets a copy, so return what you change)"
    with_globals({ results = {}, count = 0, help = function() end }, function()
      for name, code in pairs { results = "results[#results + 1] = 1", count = "count = count + 1" } do
        assert_says(('the host has it, a task does not (list it in globals = { %q }%s'):format(name, copied),
          message_of(crossing.plugin("return function() " .. code .. " end")))
      end
      assert_says('(add "results" to the option globals' .. copied,
        message_of(crossing.plugin("return function() results.x = 1 end"), {}, { globals = { "count" } }))
      assert.is_truthy(message_of(crossing.plugin("return function() help() end")):find('(list it in globals = { "help" })', 1, true))
    end)
  end)

  it("is not meant by other errors (E20)", function()
    local others = {
      "local list = LIST\nreturn arg.field.x", "local a = LIST\nreturn #arg.field", "return string.rep(LIST and 1 or 2, {})",
      "error('attempt to compare nil with number')", "error({ LIST })", "return 1 < {}, LIST", "local LIST for _ in ipairs(LIST) do end",
      "local _ENV = { ipairs = ipairs, gma = gma } for _ in ipairs(LIST) do end", "return string.rep('x', -1, {}, LIST)",
      "return arg.LIST.x", "local up local function f() return up.x end return f(LIST)",
      "local function f(list) local x return x.y end return f(LIST)", "coroutine.wrap(function(x) return x.y.z end)({}, LIST)",
    }
    with_globals(GLOBALS, function()
      for _, code in ipairs(others) do
        local func = crossing.plugin("return function(...) local arg = ... " .. code .. " end")
        local entry = run(func, { {} }, { upvalues = "copy" })
        assert.is_true(entry.success or not entry.data:find("globals = ", 1, true), entry.data)
      end
    end)
  end)

  it("is not looked for in a function without lines, nor does a huge function take long (E20)", function()
    with_globals(GLOBALS, function()
      local stripped = load(string.dump(crossing.plugin("return function() return 1 < LIST end"), true))
      assert_says("attempt to compare", message_of(stripped))
      local lines = {}
      for i = 1, 20000 do
        lines[i] = ("local function f%d() return LIST end f%d(1, 2)"):format(i % 100, i % 100)
      end
      local code = "return function() do " .. table.concat(lines, " end do\n") .. " end return 1 < LIST end"
      assert_says("'LIST'", message_of(crossing.plugin(code)))
    end)
  end)
end)

-- Classes of the host.
local Lamp = { __name = "Lamp" }
Lamp.__index = Lamp
function Lamp:percent() return self.level end
Lamp.unit = "%"
local Dimmer = setmetatable({}, { __index = Lamp })
Dimmer.__index = Dimmer
local function lamp(class) return setmetatable({ level = 5 }, class or Lamp) end

describe("a method that stayed on the host", function()
  local HINT = "the table came without its metatable, which stays on the host: put the class into a module, or pass plain data "
    .. "and call a function with it"
  local tasks = {
    ["called"] = { function(l) return l:percent() end, lamp() },
    ["called as a field"] = { function(l) return l.percent(l) end, lamp() },
    ["inherited"] = { function(l) return l:percent() end, lamp(Dimmer) },
    ["deep in an argument"] = { function(t) return t.list[2]:percent() end, { list = { 1, lamp() } } },
    ["of a key"] = { function(t) return next(t):percent() end, { [lamp()] = true } },
    ["a class's field"] = { function(l) return l.level .. l.unit end, lamp() },
    ["of an __index that is a function"] = { function(l) return l:percent() end, setmetatable({}, { __index = function() end }) },
    ["addition"] = { function(v) return v + 1 end, setmetatable({}, { __add = print }) },
    ["negation"] = { function(v) return -v end, setmetatable({}, { __unm = print }) },
    ["bits"] = { function(v) return v | 1 end, setmetatable({}, { __bor = print }) },
    ["concatenation"] = { function(v) return v .. "" end, setmetatable({}, { __concat = print }) },
    ["comparison"] = { function(v) return v < v end, setmetatable({}, { __lt = print }) },
    ["comparison with a number"] = { function(v) return v < 1 end, setmetatable({}, { __lt = print }) },
    ["comparison of a number"] = { function(v) return 1 <= v end, setmetatable({}, { __le = print }) },
    ["a call"] = { function(v) return v() end, setmetatable({}, { __call = print }) },
  }
  for name, task in pairs(tasks) do
    it("gets a hint (E21): " .. name, function()
      assert_says(HINT, message_of(task[1], { task[2] }))
      assert_says(HINT, message_of(task[1], { task[2] }, { mode = "cmd" }))
      assert_says("list[1]: ", map_message(task[1], { task[2] }))
      assert_says(HINT, map_message(task[1], { task[2] }))
      assert_says(HINT, collected(task[1], { task[2] }))
    end)
  end

  it("gets it in an asynchronous job, too (E21)", function()
    local job = gma2workers.RunAsync { tasks = { { func = tasks.called[1], args = { lamp() } } }, onComplete = function() end }
    assert_says(HINT, job:wait().result[1].data)
  end)

  it("of a copied upvalue gets it (E21) #native", function()
    local mine = lamp()
    local function helper() return mine:percent() end
    assert_says(HINT, message_of(function() return helper() end, {}, { upvalues = "copy" }))
  end)

  it("can be called as the hint says (E21)", function()
    local function percent(l) return l.level end
    assert.equal(5, run(function(l) return percent(l) end, { lamp() }).data)
  end)

  it("is not meant if no argument had it (E21)", function()
    for _, args in ipairs { {}, { {} }, { { level = 5 } }, { setmetatable({}, {}) }, { setmetatable({}, { __index = { other = print } }) },
      { setmetatable({}, { __metatable = false }) } } do
      assert.is_nil(message_of(function(l) return (l or {}):percent() end, args):find("metatable", 1, true))
    end
    assert.is_nil(message_of(function(v) return v + 1 end, { lamp() }):find("metatable", 1, true))
    assert.is_nil(message_of(function(v) error("attempt to call a nil value, percent " .. v.level) end, { lamp() }):find("module"))
  end)

  it("is not meant by a module or its objects, nor by the library itself (E21)", function()
    local class = {}
    class.__index = function() return nil end
    package.loaded.hints_spec_class = { class = class, new = function() return setmetatable({}, class) end }
    package.preload.hints_spec_class = function()
      local own = {}
      own.__index = function() return nil end
      return { class = own, new = function() return setmetatable({}, own) end }
    end
    local module, new, clock = package.loaded.hints_spec_class, package.loaded.hints_spec_class.new, gma2workers.clock
    local function func(object)
      return clock() and module.new() and new() and object.missing()
    end
    for _, argument in ipairs { {}, module.new() } do
      assert.is_nil(message_of(func, { argument }):find("metatable", 1, true))
      assert.is_nil(map_message(func, { argument }):find("metatable", 1, true))
      assert.is_nil(collected(func, { argument }):find("metatable", 1, true))
    end
    assert_says(HINT, map_message(tasks.called[1], { lamp() }))
    assert_says(HINT, collected(tasks.called[1], { lamp() }))
    package.loaded.hints_spec_class, package.preload.hints_spec_class = nil, nil
  end)

  it("is looked for without calling anything of the host's, and not without end (E21)", function()
    local function fails() error("called") end
    local trap = setmetatable({}, { __index = setmetatable({}, { __index = fails, __len = fails, __pairs = fails }),
      __len = fails, __pairs = fails, __metatable = "locked" })
    assert_says(HINT, message_of(function(t) return t.inner:percent() end, { { inner = trap } }))
    local loop = {}
    loop.__index = setmetatable(loop, loop)
    local big = {}
    for i = 1, 200000 do
      big[i] = i
    end
    assert_says("method 'percent'", message_of(function(l) return l:percent() end, { loop, big, lamp() }))
  end)
end)

describe("coroutine.yield in a task", function()
  it("gets a hint to gma.sleep (E22) #native", function()
    local hint = "a task has no engine to yield to: to wait, call gma.sleep(seconds), if the host has gma"
    local function yields() coroutine.yield(0.1) end
    assert_says(hint, message_of(yields))
    assert_says(hint, map_message(yields, { 1 }))
  end)

  it("in a coroutine of its own is no failure (E22)", function()
    assert.equal(3, run(function() return coroutine.wrap(function() coroutine.yield(3) end)() end).data)
  end)
end)

describe("a part of debug that no task has #native", function()
  it("is named (I3)", function()
    assert_says("(field 'sethook'): a task has no debug.sethook", message_of(function() debug.sethook() end))
    assert_says("(field 'getregistry'): a task has no debug.getregistry", message_of(function() debug.getregistry() end))
  end)
end)

-- luacheck: push ignore 142 143
describe("a field of a library that stayed on the host #native", function()
  local HINT = 'the host has string.strip, but a task does not: to use it there, list it in globals = { "string.strip" }'
  local blank = "^%s*"
  local function skip(text) return (text:gsub(blank, "")) end

  before_each(function()
    function string.strip(text) return skip(text) end
    function string.plain(text) return text end
    math.limits = { most = 5 }
  end)

  after_each(function()
    string.strip, string.plain, math.limits = nil, nil, nil
  end)

  it("gets a hint (E24)", function()
    for _, func in ipairs { function() return string.strip(" a") end, function() return (" a"):strip() end } do
      assert_says(HINT, message_of(func))
      assert_says(HINT, map_message(func, { 1 }))
      local job = gma2workers.RunAsync { tasks = { { func = func } }, onComplete = function() end }
      assert_says(HINT, job:wait().result[1].data)
    end
    assert_says("the host has math.limits, but a task does not", message_of(function() return math.limits.most end))
  end)

  it("is there if it is listed, as the hint and then the refusal say (E24)", function()
    local function func() return string.strip(" a") end
    local options = { globals = { "string.strip" } }
    assert_says([[set upvalues = "copy"]], select(2, pcall(run, func, {}, options)))
    options.upvalues = "copy"
    assert.equal("a", run(func, {}, options).data)
    assert.equal(5, run(function() return math.limits.most end, {}, { globals = { "math.limits" } }).data)
  end)

  it("is not meant if it came along (E24)", function()
    assert.is_nil(message_of(function(t) return t:plain() end, { {} }):find("the host has", 1, true))
    for _, upvalues in ipairs { "copy", "private" } do
      local message = message_of(function(t) return t:strip() end, { {} }, { upvalues = upvalues })
      assert.is_nil(message:find("the host has", 1, true), message)
      local job = gma2workers.RunAsync { tasks = { { func = function() return ({}).strip() end } }, upvalues = upvalues,
        onComplete = function() end }
      assert.is_nil(job:wait().result[1].data:find("the host has", 1, true))
    end
    assert.is_nil(message_of(function(t) return t.strip() end, { {} }, { globals = { "string.strip" }, upvalues = "copy" })
      :find("the host has", 1, true))
    assert.is_nil(message_of(function(t) return t.gsub() end, { {} }):find("the host has", 1, true))
  end)
end)
-- luacheck: pop

describe("gma.sleep #native", function()
  it("refuses what is no number of seconds, and says why (E23)", function()
    crossing.with_gma({ sleep = function() end }, function()
      assert_says("bad argument #1 to 'sleep' (number of seconds expected, got nan)", message_of(function() gma.sleep(0 / 0) end))
      assert_says("bad argument #1 to 'sleep' (number expected, got table)", message_of(function() gma.sleep({}) end))
      assert_says("bad argument #1 to 'sleep' (number expected, got no value)", message_of(function() gma.sleep() end))
    end)
  end)
end)

describe("gma.sleep in a function that C code calls", function()
  it("works with the binary, and says without it where to sleep (E30)", function()
    require("spec.fixtures.running").in_engine({}, function()
      local record = gma2workers.RunSync({ tasks = { { func = function()
        return (string.gsub("ab", "%w", function(letter) gma.sleep(0.001) return letter .. letter end))
      end } } }).result[1]
      if gma2workers.info.backend == "native" then
        assert.equal("aabb", record.data)
      else
        assert_says("gma.sleep can't wait in a function that table.sort, string.gsub or other C code calls", record.data)
      end
    end)
  end)
end)
