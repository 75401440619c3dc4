-- What one task does affects neither the next task, nor the library, nor the host.

local gma2workers = require "gma2workers"
local crossing = require "spec.fixtures.crossing"
local observer = require "spec.fixtures.observer"
local stock = require "spec.fixtures.stock"

local call, run, with_globals = crossing.call, crossing.run, crossing.with_globals
local look, new_observer, difference = observer.look, observer.new, observer.difference
local MODES = { "timer", "cmd" }

local function engine()
  return { echo = function() end, version = "3.9", show = { getobj = { handle = function() return 1 end } } }
end

describe("the next task finds a state as new after #native", function()
  local spoilers = {
    "extra = 1 _G[1] = 2 _G[2.5] = {}",
    "for i = 1, 10000 do _G['many' .. i] = i end",
    "string.format = nil",
    "string.format = function() return 'mine' end string.extra = string.rep",
    "for name in pairs(math) do math[name] = nil end",
    "string, table, math, io, os, coroutine, utf8, debug, package = nil",
    "pcall, error, tostring, type, next, setmetatable, print, require = nil",
    "local G = _G for name in pairs(G) do G[name] = nil end",
    "_G = {}",
    "_VERSION, math.pi, utf8.charpattern = 'mine', 3, ''",
    "setmetatable(_G, { __index = function() return 1 end, __newindex = print })",
    "setmetatable(_G, { __metatable = false })",
    "setmetatable(string, { __index = math })",
    "getmetatable('').__index = function() return 'caught' end",
    "getmetatable('').__add, getmetatable('').__call = print, print",
    "getmetatable('').__metatable = 'locked'",
    "getmetatable(io.stdout).__index.write = nil",
    "getmetatable(io.stdout).__index = nil",
    "getmetatable(io.stdout).__gc, getmetatable(io.stdout).__tostring = nil",
    "package.loaded.extra, package.loaded.string = true, nil",
    "package.loaded._G = {}",
    "package.loaded = {}",
    "package.path, package.cpath, package.config = '', '', ''",
    "package.preload.extra, package.preload.gma2workers = print, nil",
    "package.searchers[1], package.searchers[2] = nil, print",
    "package.searchers = {}",
    "package.searchpath, package.loadlib = nil",
    "require('spec.fixtures.greeter').greet('you')",
    "require('consolenative')",
    "collectgarbage('stop')",
    "collectgarbage('setpause', 1000) collectgarbage('setstepmul', 1000)",
    "io.output(io.tmpfile())",
    "io.output(io.tmpfile()) io.close()",
    "io.input(io.tmpfile())",
    "debug.traceback, debug.getinfo = nil",
    "debug.sethook, debug.getregistry = print, print",
    "debug.setmetatable(nil, { __index = print, __call = print })",
    "for _, value in pairs { 1, true, '', print, coroutine.create(print) } do debug.setmetatable(value, { __index = type }) end",
    "debug.setmetatable('', nil)",
    "debug.setmetatable(_G, { __index = function() return 1 end })",
    "debug.setupvalue(greet, 1, { print = type })",
    "local mine = { print = type } debug.upvaluejoin(greet, 1, function() return mine end, 1)",
    "if not debug.setuservalue(io.stdout, { 1 }) then print = nil end",
    "coroutine.wrap, coroutine.extra = coroutine.create, print",
    "gma = nil",
    "gma.echo, gma.extra, gma.version = nil, 5, 4",
    "gma.show.getobj.handle = nil gma.show.getobj.handle = print gma.show.more = {}",
    "setmetatable(gma, { __index = function() return print end })",
    "shared.list[1], shared.more = 2, {}",
    "shared, greet = nil",
  }
  setup(function()
    rawset(_G, "shared", { list = { 1 } })
    rawset(_G, "greet", function() return print and "hello" end)
  end)
  teardown(function()
    rawset(_G, "shared", nil)
    rawset(_G, "greet", nil)
  end)
  for _, mode in ipairs(MODES) do
    for _, code in ipairs(spoilers) do
      it(("%s (I1), in mode %s"):format(code, mode), function()
        local function spoil(chunk, fails)
          local look_again, raise = new_observer(), error
          chunk()
          if fails then
            raise("failed on purpose")
          end
          return look_again()
        end
        local chunk = assert(load(code, "=spoiler"))
        local tasks = { { func = look }, { func = spoil, args = { chunk } }, { func = look },
          { func = spoil, args = { chunk, true } }, { func = look } }
        local result = crossing.with_gma(engine(), function()
          return gma2workers.RunSync({ tasks = tasks, workers = 1, mode = mode, globals = { "shared", "greet" } }).result
        end)
        local before = result[1].data
        assert.is_true(#before > 5000, before)
        assert.is_true(result[2].success, result[2].data)
        assert.is_true(result[2].data ~= before, "the task changed nothing that is looked at")
        assert.equal("", difference(before, result[3].data))
        assert.is_truthy(result[4].data:find("failed on purpose", 1, true))
        assert.equal("", difference(before, result[5].data))
      end)
    end
  end

  local endings = {
    ["an endless recursion"] = "local function f() return 1 + f() end extra = 1 f()",
    ["a recursion in C"] = "extra = 1 local function f() return (('x'):gsub('x', f)) end f()",
    ["an error in a coroutine"] = "extra = 1 coroutine.wrap(function() string.rep = nil error('x') end)()",
    ["an error that is a table"] = "extra = 1 error(setmetatable({}, { __tostring = function() more = 2 error('x') end }))",
    ["a result that can't cross"] = "extra = 1 return coroutine.create(print)",
    ["a coroutine left open"] = "extra = coroutine.wrap(function() coroutine.yield() string.rep = nil end) extra()",
    ["finalizers"] = "for i = 1, 100 do setmetatable({}, { __gc = function() extra = i string.rep = nil end }) end",
    ["a finalizer put in late"] = "local m = { __gc = true } extra = setmetatable({}, m) m.__gc = function() string.rep = nil end",
    ["a file's finalizer"] = "getmetatable(io.stdout).__gc = function() string.rep = nil end for _ = 1, 9 do io.tmpfile() end",
  }
  for _, mode in ipairs(MODES) do
    for name, code in pairs(endings) do
      it(("%s (I1), in mode %s"):format(name, mode), function()
        local chunk = assert(load(code, "=spoiler"))
        local function collect_and_look()
          collectgarbage()
          collectgarbage()
          return look()
        end
        local result = gma2workers.RunSync({ workers = 1, mode = mode,
          tasks = { { func = look }, { func = chunk }, { func = collect_and_look }, { func = look } } }).result
        assert.equal("", difference(result[1].data, result[3].data))
        assert.equal("", difference(result[1].data, result[4].data))
      end)
    end
  end

  it("a new seed: random numbers (I1, P6)", function()
    local function seeded() math.randomseed(7) return math.random(1 << 40), math.random(1 << 40) end
    local function plain() return math.random(1 << 40) end
    local result = gma2workers.RunSync({ workers = 1,
      tasks = { { func = seeded }, { func = plain }, { func = seeded }, { func = plain } } }).result
    assert.same(result[1].returns, result[3].returns)
    local third = call(function() math.randomseed(7) return { math.random(1 << 40), math.random(1 << 40), math.random(1 << 40) } end)
    for _, number in ipairs(third) do
      assert.is_true(result[2].data ~= number and result[4].data ~= number)
    end
    assert.is_true(result[2].data ~= result[4].data)
  end)
end)

describe("names of host calls #native", function()
  it("that the host's gma lacks are nil, however they are made up (I8)", function()
    local host = engine()
    host.exec = setmetatable({}, { __index = os })
    setmetatable(host, { __index = { os = os, execute = os.execute } })
    crossing.with_gma(host, function()
      assert.equal("", call(function()
        local found = {}
        for _, name in ipairs { "_G", "os", "execute", "_G.os.execute", "os.execute", "__index", "", "show.getobj", "echo\0",
          "\0echo", "show\0getobj\0handle", "gma", ("x"):rep(1 << 20) } do
          found[#found + 1] = (gma[name] ~= nil or gma.show[name] ~= nil or gma.exec[name] ~= nil) and name or nil
        end
        return table.concat(found, ", ") .. (getmetatable(gma) and "metatable" or "") .. (getmetatable(gma.exec) and "inner" or "")
      end))
    end)
  end)

  it("reach only plain fields, even if the host's gma changes (I8)", function()
    local host, reached = engine(), 0
    local function reach() reached = reached + 1 end
    -- The host, which waits for the task, may sleep by it.
    local trap = setmetatable({}, { __index = function(_, name) return name ~= "sleep" and reach or nil end, __call = reach })
    host.swap = function(value) _G.gma = ({ trap = trap, text = "text", callable = { swap = host.swap, echo = trap, show = trap },
      flat = { show = 5 } })[value] end
    for _, kind in ipairs { "trap", "text", "callable", "flat", "nothing" } do
      crossing.with_gma(host, function()
        assert.same({ false, "no such function on the host: gma.show.getobj.handle" }, { call(function(k)
          gma.swap(k)
          local ok, message = pcall(gma.show.getobj.handle, 5)
          return ok, (message:gsub("^isolation_spec.lua:%d+: ", ""))
        end, kind) })
      end)
    end
    assert.equal(0, reached)
  end)

  it("may be odd if the host uses them (I8)", function()
    local host, called = engine(), {}
    for _, name in ipairs { "__index", "two words", "gma", "os", "a.b", ("x"):rep(1 << 20) } do
      host[name] = function() called[#called + 1] = name return name end
    end
    host[""], host["a\0b"], host[1], host[true] = os.exit, os.exit, os.exit, os.exit
    crossing.with_gma(host, function()
      call(function(names)
        for _, name in ipairs(names) do
          assert(gma[name]() == name)
        end
        for _, name in ipairs { "", "a\0b", 1, true } do
          pcall(gma[name], 5)
        end
      end, { "__index", "two words", "gma", "os", "a.b", ("x"):rep(1 << 20) })
    end)
    assert.equal(6, #called)
  end)
end)

describe("the library in a task #native", function()
  it("refuses a coroutine that resumes itself, as Lua does (I3)", function()
    assert.same({ "cannot resume non-suspended coroutine", "cannot resume non-suspended coroutine" }, call(function()
      local itself
      itself = coroutine.wrap(function() return select(2, pcall(itself, 1)) end)
      local other = coroutine.wrap(function() return select(2, coroutine.resume(coroutine.running(), 1)) end)
      return { itself(), other() }
    end))
  end)

  local broken = {
    "pcall, xpcall, error, assert = nil",
    "tostring = function() error('mine') end",
    "type, next, pairs, ipairs, select, rawget, rawset, rawequal, load, require = nil",
    "setmetatable, getmetatable = print, nil",
    "string.format, string.sub, string.find, string.gsub, string.rep = nil",
    "table.concat, table.pack, table.unpack, table.insert = nil",
    "for name in pairs(coroutine) do if name ~= 'wrap' then coroutine[name] = nil end end",
    "debug = nil",
    "debug.traceback, debug.getinfo = nil",
    "local keep = { coroutine = coroutine, gma = gma, error = error } local G = _G for n in pairs(G) do G[n] = keep[n] end",
    "getmetatable('').__index, getmetatable('').__concat = nil, print",
    "collectgarbage('stop')",
  }
  for _, code in ipairs(broken) do
    it(("works without the things that a task breaks: %s (I9)"):format(code), function()
      local function work(spoil, fails)
        local raise, object = error, setmetatable({}, { __tostring = function() return "spoken" end })
        spoil()
        local n = coroutine.wrap(function(x) return gma.double(x) end)(4)
        if fails == "string" then
          return n, object.nothing.x
        elseif fails == "coroutine" then
          coroutine.wrap(function() raise("inside") end)()
        elseif fails then
          raise(object)
        end
        return n, { "list", function() return n ~= nil end and "text" }
      end
      local spoil, tasks = assert(load(code)), {}
      for i, fails in ipairs { false, "string", "coroutine", "object", false } do
        tasks[i] = { func = work, args = { spoil, fails } }
      end
      tasks[6] = { func = work, args = { function() end } }
      local result = crossing.with_gma({ double = function(n) return 2 * n end }, function()
        return gma2workers.RunSync({ tasks = tasks, workers = 1 }).result
      end)
      for _, i in ipairs { 1, 5, 6 } do
        assert.same({ 8, { "list", "text" }, n = 2 }, result[i].returns, result[i].data)
      end
      assert.is_truthy(result[2].data:find("isolation_spec.lua:%d+: attempt to index a nil value %(field 'nothing'%)"))
      assert.is_truthy(result[2].traceback:find("isolation_spec.lua:%d+"))
      assert.is_truthy(result[3].data:find("isolation_spec.lua:%d+: inside$"))
      assert.equal("Error: spoken", result[4].data)
    end)
  end

  it("is a stand-in in a task, however it is reached (D1, F14)", function()
    for _, code in ipairs { "require('gma2workers')", "require('gma2-workers')", "require('gma2_workers')",
      "package.preload.gma2workers = nil return require('gma2workers')",
      "package.loadlib(package.searchpath('gma2workers', package.cpath), 'luaopen_gma2workers')()" } do
      local asked = code:find("return") and code:gsub("return", "local it =") or "local it = " .. code
      local entry = run(assert(load(asked .. " it.RunSync { tasks = {} }")))
      assert.is_truthy(entry.data:find("gma2workers is not available in a worker", 1, true), entry.data)
    end
  end)

  it("cannot be captured by a task, except for its clock (D1) #native", function()
    local module, run_sync = gma2workers, gma2workers.RunSync
    for name, task in pairs { gma2workers = function() return module.RunSync {} end,
      ["gma2workers.RunSync"] = function() return run_sync {} end } do
      for _, upvalues in ipairs { "error", "copy" } do
        local entry = run(task, {}, { upvalues = upvalues })
        assert.equal("upvalue", entry.kind)
        assert.is_truthy(entry.data:find(("(%s) of the function at "):format(name), 1, true), entry.data)
        assert.is_truthy(entry.data:find("cannot cross: start jobs on the host; to use clock or isStopping", 1, true), entry.data)
      end
    end
  end)

  it("lets a task stop its collector and see addresses (I10)", function()
    assert.same({ true, false, true }, { call(function()
      local address = tostring({}):find("^table: [x%x]+$") ~= nil
      collectgarbage("stop")
      local before = collectgarbage("count")
      for _ = 1, 100000 do
        before = { before = 1 } and before
      end
      return address, collectgarbage("isrunning"), collectgarbage("count") > before + 1000
    end) })
    assert.is_true(call(function() return collectgarbage("isrunning") end))
  end)
end)

describe("the option globals", function()
  for _, mode in ipairs(MODES) do
    it("copies values, tables and functions anew for each task, in mode " .. mode .. " #native", function()
      local function helper(n) return n + limits.step end -- luacheck: ignore 113
      local values = { rate = 0.5, flag = false, limits = { step = 2, names = { "a" } }, advance = helper }
      values.alias = values.limits
      with_globals(values, function()
        local names = { "rate", "flag", "limits", "advance", "alias" }
        local function use()
          local seen = { _G.rate, _G.flag, _G.limits.names[1], _G.advance(1), _G.limits == _G.alias }
          _G.rate, _G.flag, _G.limits.step, _G.limits.names[1], _G.advance = nil, true, 100, "b", nil
          return seen
        end
        local tasks = {}
        for i = 1, 6 do
          tasks[i] = { func = use }
        end
        for _, entry in ipairs(gma2workers.RunSync({ tasks = tasks, workers = 2, globals = names, mode = mode }).result) do
          assert.same({ 0.5, false, "a", 3, true }, entry.data)
        end
        assert.same({ 2, { "a" } }, { values.limits.step, values.limits.names })
        -- The next job did not ask for them.
        for _ = 1, 4 do
          assert.is_nil(call(function() return _G.rate or _G.flag or _G.limits or _G.advance end))
        end
      end)
    end)
  end

  it("copies them as they are at the call #native", function()
    with_globals({ rate = 1, list = { 1 } }, function()
      local got
      local job = gma2workers.RunAsync { tasks = { { func = function() return { _G.rate, _G.list[1] } end } },
        globals = { "rate", "list" }, onComplete = function(response) got = response.result[1].data end }
      rawset(_G, "rate", 2)
      _G.list[1] = 2
      job:wait(20)
      assert.same({ 1, 1 }, got)
    end)
  end)

  it("refuses anything but a list of names of globals, at the caller's line and before anything starts", function()
    local started = 0
    for problem, globals in pairs { ["'nothing_here'"] = { "print", "nothing_here" }, ["5"] = 5, ["rate"] = "rate",
      ["globals"] = { { "print" } }, ["global"] = { 5.5 } } do
      local ok, message = pcall(function()
        gma2workers.RunSync { tasks = { { func = function() end } }, globals = globals, onComplete = function() started = 1 end }
      end)
      assert.is_false(ok)
      assert.is_truthy(message:find("isolation_spec.lua:%d+: option 'globals'"), message)
      assert.is_truthy(message:find(problem, 1, true), message)
    end
    with_globals({ handle = coroutine.create(print) }, function()
      local ok, message = pcall(gma2workers.RunSync, { tasks = { { func = look } }, globals = { "handle" } })
      assert.is_false(ok)
      assert.is_truthy(message:find("option 'globals'.*cannot send a coroutine %(at globals.handle%)"), message)
    end)
    assert.equal(0, started)
  end)
end)

describe("the host #native", function()
  it("is unchanged after tasks of both modes", function()
    local function copy(of)
      local fields = {}
      for key, value in next, of do
        fields[key] = value
      end
      return fields
    end
    local watched = { _G, package.loaded, package.preload, package.searchers, getmetatable(""), getmetatable("").__index, debug,
      io, os, math, table, getmetatable(io.stdout), getmetatable(_G) or {} }
    local before = {}
    for i, of in ipairs(watched) do
      before[i] = copy(of)
    end
    local function hook() end
    debug.sethook(hook, "", 1 << 30)
    local state = { getmetatable(_G), io.output(), io.input(), package.path, package.cpath, os.setlocale(),
      collectgarbage("setpause", 200), collectgarbage("isrunning") }
    collectgarbage("setpause", state[#state - 1])
    local function spoil()
      _G.extra, string.format, package.loaded.extra, gma = 1, nil, 2, nil -- luacheck: ignore
      getmetatable("").__index, package.path = nil, ""
      io.output(io.tmpfile())
      collectgarbage("stop")
    end
    for _, mode in ipairs(MODES) do
      local tasks = { { func = spoil }, { func = error }, { func = spoil } }
      gma2workers.RunSync { tasks = tasks, mode = mode, globals = { "print" }, onProgress = function() end }
      gma2workers.RunAsync({ tasks = tasks, mode = mode, onComplete = function() end }):wait(20)
    end
    local hooked = debug.gethook()
    debug.sethook()
    assert.equal(hook, hooked)
    assert.same(state, { getmetatable(_G), io.output(), io.input(), package.path, package.cpath, os.setlocale(),
      collectgarbage("setpause", state[#state - 1]), collectgarbage("isrunning") })
    for i, of in ipairs(watched) do
      for key, value in next, copy(of) do
        assert.is_true(rawequal(before[i][key], value), tostring(key))
      end
      for key in next, before[i] do
        assert.is_true(rawget(of, key) ~= nil, tostring(key))
      end
    end
  end)
end)

describe("output of tasks", function()
  it("comes in whole lines, in each task's order, and before the job ends (P5)", function()
    local text = stock.run([[
      local function with_print(task)
        for i = 1, 20000 do print(task, i, "end") end
      end
      local function with_write(task)
        for i = 1, 20000 do io.write(task, "\t", i, "\tend\n") end
      end
      local function with_file(task)
        for i = 1, 20000 do io.stdout:write(task, "\t", i, "\tend\n") end
      end
      require("gma2workers").RunSync {
        tasks = { { func = with_print, args = { 1 } }, { func = with_write, args = { 2 } }, { func = with_file, args = { 3 } } },
        workers = 3,
      }
      print("over")
    ]])
    local next_line, broken = { 1, 1, 1 }, {}
    for line in text:gmatch("(.-)\n") do
      local task, i = line:match("^([123])\t(%d+)\tend$")
      if task and tonumber(i) == next_line[tonumber(task)] then
        next_line[tonumber(task)] = tonumber(i) + 1
      else
        broken[#broken + 1] = line
      end
    end
    assert.same({ 20001, 20001, 20001 }, next_line)
    assert.same({ "over" }, broken)
    assert.equal("over\n", text:sub(-5))
  end)
end)

describe("a function of gma that a task drops #native", function()
  it("gives its address to no table of the task's (F11)", function()
    local function drop()
      local function address(value) return tostring(value):match("%x+$") end
      local dropped = { [address(gma)] = true, [address(gma.show)] = true }
      gma = nil -- luacheck: ignore 111
      collectgarbage()
      collectgarbage()
      local mine = {}
      for i = 1, 10000 do
        mine[i] = { mine = true }
        if dropped[address(mine[i])] then
          local value = mine[i]
          return true, function() return value end
        end
      end
      return false
    end
    _G.gma = engine()
    local result = gma2workers.RunSync { upvalues = "copy", workers = 1, tasks = { { func = drop } } }.result[1]
    _G.gma = nil
    assert.is_true(result.success, result.data)
    if result.data then
      assert.same({ mine = true }, result.returns[2]())
    end
  end)
end)
