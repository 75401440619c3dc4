-- Host calls: a task's calls of gma.* run on the host, and their results come back to the call.

local console = require "console"
local gma2workers = require "gma2workers"
local calls = require "spec.fixtures.calls"
local crossing = require "spec.fixtures.crossing"
local signal = require "spec.fixtures.signal"

local call, run, with_gma = crossing.call, crossing.run, crossing.with_gma
local MODES = { "timer", "cmd" }
local results, repeated, spin = calls.results, calls.repeated, calls.spin

describe("host calls", function()
  it("run in the host's state, in the coroutine that waits for the job (H1)", function()
    local places = {}
    with_gma({ probe = function() places[#places + 1] = coroutine.running() return #places end }, function()
      assert.equal(3, call(function() gma.probe() gma.probe() return gma.probe() end))
    end)
    local here = coroutine.running()
    assert.same({ here, here, here }, places)
  end)

  for _, mode in ipairs(MODES) do
    it(("run in each task's own order, whether they are waited for or not, in mode %s (H1)"):format(mode), function()
      local seen = {}
      local function note(task, step)
        seen[task] = seen[task] or {}
        table.insert(seen[task], step)
      end
      with_gma({ probe = note, echo = note, feedback = note }, function()
        results(repeated(function(task)
          for step = 1, 60, 3 do
            gma.echo(task, step)
            gma.probe(task, step + 1)
            gma.feedback(task, step + 2)
          end
        end, 8), { workers = 4, mode = mode })
      end)
      local expected = {}
      for step = 1, 60 do
        expected[step] = step
      end
      for task = 1, 8 do
        assert.same(expected, seen[task])
      end
    end)
  end

  it("keep every result: several, nils, none (H4)", function()
    local sent = { none = table.pack(), one_nil = table.pack(nil), nils = table.pack(nil, nil, nil), mixed = table.pack(1, nil, "x", nil),
      many = table.pack(table.unpack({}, 1, 250)), list = table.pack({ 1, { 2 } }, 0.5, false) }
    with_gma({ probe = function(name) return table.unpack(sent[name], 1, sent[name].n) end }, function()
      for name, values in pairs(sent) do
        assert.same({ name, values }, { name, call(function(which) return table.pack(gma.probe(which)) end, name) })
      end
    end)
  end)

  it("return functions, and standard functions become the task's own", function()
    local function double(n) return 2 * n end
    with_gma({ get = function() return { f = function(n) return double(n) end, upper = string.upper } end }, function()
      assert.same({ 10, true }, call(function() local got = gma.get() return { got.f(5), got.upper == string.upper } end))
    end)
  end)

  it("return functions of gma as host calls", function()
    local count = 0
    local engine = { get = function() return _G.gma.count end, count = function() count = count + 1 return count end }
    with_gma(engine, function()
      local entry = run(function() return gma.get()(), gma.get() == gma.count end)
      assert.same({ 1, true, n = 2 }, entry.returns, entry.data)
    end)
  end)

  it("change neither the task's tables nor the host's (H12) #native", function()
    local kept = {}
    local engine = { keep = function(value) kept[#kept + 1] = value value[1], value.deep[1] = "host", "host" return value end }
    with_gma(engine, function()
      assert.same({ "task", "task", "host", "again" }, call(function()
        local mine = { "task", deep = { "task" } }
        local back = gma.keep(mine)
        local seen = { mine[1], mine.deep[1], back[1] }
        back[1], mine[1] = "again", "again"
        gma.keep(mine)
        seen[4] = mine[1]
        return seen
      end))
    end)
    assert.same({ { "host", deep = { "host" } }, { "host", deep = { "host" } } }, kept)
  end)

  local contexts = {
    ["a coroutine"] = function() return coroutine.wrap(function() return (gma.double(4)) end)() end,
    ["a coroutine that yields in between"] = function()
      local f = coroutine.wrap(function() coroutine.yield(gma.double(1)) return gma.double(4) end)
      f()
      return f()
    end,
    ["pcall"] = function() return select(2, pcall(gma.double, 4)) end,
    ["xpcall's handler"] = function() return select(2, xpcall(error, function() return gma.double(4) end)) end,
    ["a sort comparator"] = function()
      local list = { 1, 3, 2, 5, 4 }
      table.sort(list, function(a, b) return gma.double(a) > gma.double(b) end)
      return list[1] + list[3]
    end,
    ["a gsub callback"] = function() return tonumber((("4"):gsub("%d", function(n) return gma.double(n // 1) end))) end,
    ["a metamethod"] = function() return setmetatable({}, { __index = function(_, n) return gma.double(n) end })[4] end,
    ["__tostring"] = function()
      return tostring(setmetatable({}, { __tostring = function() return gma.double(4) .. "" end })) // 1
    end,
    ["an iterator"] = function()
      local sum = 0
      for n in function(_, last) return not last and gma.double(4) or nil end do sum = sum + n end
      return sum
    end,
    ["a reader for load"] = function()
      local parts = { "return ", false }
      return load(function() local part = table.remove(parts, 1) return part == false and "" .. gma.double(4) or part end)()
    end,
    ["a module's loader"] = function() package.preload.eight = function() return gma.double(4) end return (require("eight")) end,
    ["a finalizer"] = function()
      local n
      setmetatable({}, { __gc = function() n = gma.double(4) end })
      collectgarbage()
      return n
    end,
  }
  for context, func in pairs(contexts) do
    it(("work in %s (H7)"):format(context), function()
      local engine = { double = function(n) return 2 * n end }
      with_gma(engine, function()
        assert.same({ 8, 8 }, { call(func), call(func) })
      end)
    end)
  end
end)

describe("an error of the host's function", function()
  local function raise(value) error(value, 0) end

  it("is raised at the call and can be caught there: a string, a table, nil and others (H2)", function()
    with_gma({ raise = raise, index = function() local t = {} return t.x.y end }, function()
      for _, value in ipairs { "refused", { code = 5, list = { 1 } }, false, 5, 0.5, "" } do
        assert.same({ false, value, 2 }, call(function(v)
          local caught = table.pack(pcall(gma.raise, v))
          caught.n = nil
          caught[3] = select("#", pcall(gma.raise, v))
          return caught
        end, value))
      end
      assert.same({ 2, true }, call(function()
        local caught = table.pack(pcall(gma.raise, nil))
        return { caught.n, caught[1] == false and caught[2] == nil }
      end))
      assert.is_truthy(call(function() return select(2, pcall(gma.index)) end)
        :find("hostcalls_spec.lua:%d+: attempt to index a nil value %(field 'x'%)"))
    end)
  end)

  it("fails a task that does not catch it, with the place of the call (H2)", function()
    with_gma({ raise = raise }, function()
      local function task(value)
        gma.raise(value)
      end
      local text = run(task, { "refused" })
      assert.same({ false, "Error: refused", "runtime" }, { text.success, text.data, text.kind })
      assert.is_truthy(text.traceback:find("hostcalls_spec.lua:%d+: in "), text.traceback)
      assert.same({ code = 5 }, run(task, { { code = 5 } }).error)
      assert.same({ "Error: nil", "runtime" }, { run(task).data, run(task).kind })
    end)
  end)

  it("that cannot cross becomes its text (H2) #native", function()
    with_gma({ raise = function() error(setmetatable({ coroutine.create(print) }, { __tostring = function() return "spoken" end })) end },
      function()
        assert.equal("spoken", call(function() return select(2, pcall(gma.raise)) end))
      end)
  end)

  it("that has a text keeps it (H25)", function()
    local meta = { __tostring = function(failure) return "refused: " .. failure.code end }
    with_gma({ raise = function(code) error(setmetatable({ code = code }, meta)) end }, function()
      local entry = run(function() gma.raise(7) end)
      assert.same({ "Error: refused: 7", { code = 7 } }, { entry.data, entry.error })
      assert.equal("refused: 8", call(function() return tostring(select(2, pcall(gma.raise, 8))) end))
    end)
  end)

  it("does not affect other calls and tasks", function()
    with_gma({ raise = raise, probe = function(n) return n end }, function()
      local entries = results(repeated(function(n)
        local ok = pcall(gma.raise, "x")
        assert(not ok and gma.probe(n) == n)
        return n % 2 == 0 and gma.raise("even") or n
      end, 10), { workers = 3 })
      for i, entry in ipairs(entries) do
        assert.equal(i % 2 == 0 and "Error: even" or i, entry.data)
      end
    end)
  end)
end)

describe("a function for the host #native", function()
  local called = 0
  for place, value in pairs { ["args[2]"] = function() end, ["args[2][2].f"] = { 1, { f = print } }, ["in a key"] = { [print] = 1 } } do
    it(("is refused at the call, with its position: %s (H3)"):format(place), function()
      with_gma({ timer = function() called = called + 1 end }, function()
        local text = call(function(v) return select(2, pcall(function() gma.timer("name", v) end)) end, value)
        assert.is_truthy(text:find("hostcalls_spec.lua:%d+: cannot send a function to the host %(at args%[2%]"), text)
        for _, part in ipairs { place, "gma.timer" } do
          assert.is_truthy(text:find(part, 1, true), text)
        end
      end)
      assert.equal(0, called)
    end)
  end

  it("is refused, too, if it is a standard function or one of gma's own (H3)", function()
    with_gma({ timer = function() called = called + 1 end }, function()
      assert.equal("refused", call(function()
        for _, value in ipairs { print, gma.timer } do
          local _, text = pcall(gma.timer, value)
          if not text:find("cannot send a function to the host (at args[1] of gma.timer)", 1, true) then
            return text
          end
        end
        return "refused"
      end))
    end)
    assert.equal(0, called)
  end)
end)

describe("the host's gma", function()
  it("is missing: there is a clear error at the call (H5)", function()
    with_gma(nil, function()
      local text = run(function() gma.cmd("Clear") end).data
      assert.is_truthy(text:find("hostcalls_spec.lua:%d+: .*global 'gma'.*the host has no gma"), text)
      assert.is_true(call(function() return gma == nil and pcall(require, "table") end))
    end)
  end)

  it("lacks the function, or has something else: there is a clear error at the call (H5)", function()
    with_gma({ version = "3.9", show = {} }, function()
      for code, text in pairs { ["gma.nothing()"] = "a nil value (field 'nothing')", ["gma.show()"] = "a table value (field 'show')",
        ["gma.version()"] = "a string value (field 'version')", ["gma.show.nothing()"] = "a nil value (field 'nothing')" } do
        assert.equal("Error: plugin.lua:1: attempt to call " .. text, run(load(code, "@plugin.lua")).data)
      end
    end)
  end)

  it("is searched for the nested name at the time of the call (H8) #native", function()
    local engine = { show = { getobj = { handle = function(name) return "first " .. name end } } }
    function engine.swap(what)
      if what == "function" then
        engine.show.getobj.handle = function(name) return "second " .. name end
      elseif what == "table" then
        engine.show = { getobj = { handle = function(name) return "third " .. name end } }
      elseif what == "gma" then
        _G.gma = { swap = engine.swap, show = { getobj = { handle = function(name) return "fourth " .. name end } } }
      else
        engine.show, _G.gma.show = nil, nil
      end
    end
    with_gma(engine, function()
      assert.same({ "first a", "second a", "third a", "fourth a", "no such function on the host: gma.show.getobj.handle" },
        call(function()
          local handle, seen = gma.show.getobj.handle, {}
          seen[1] = handle("a")
          for i, what in ipairs { "function", "table", "gma", "nothing" } do
            gma.swap(what)
            seen[i + 1] = select(2, pcall(handle, "a"))
          end
          return seen
        end))
    end)
  end)

  -- A small stand-in of gma often consists of Lua's own functions, or has one function under two names.
  for what, functions in pairs {
    ["a standard function"] = { one = string.upper, two = tostring },
    ["one function under two names"] = { one = crossing.run, two = crossing.run },
  } do
    it(("has a function that is found by its name even if it is %s (H8)"):format(what), function()
      local engine = { one = functions.one, two = functions.two }
      function engine.swap()
        engine.one, engine.two = function() return "new one" end, function() return "new two" end
      end
      with_gma(engine, function()
        assert.same({ "new one", "new two" }, call(function() gma.swap() return { gma.one("x"), gma.two("x") } end))
      end)
    end)
  end

  it("has constants, which are values as at the call #native", function()
    local engine = { version = "3.9", limits = { pages = 9999, rates = { 0.5, 1.0 } }, live = true, off = false }
    engine.again = engine.limits
    engine.change = function() engine.version, engine.limits.pages = "4", 1 end
    with_gma(engine, function()
      assert.same({ "3.9", 9999, { 0.5, 1.0 }, true, false, true, "3.9" }, call(function()
        gma.change()
        return { gma.version, gma.limits.pages, gma.limits.rates, gma.live, gma.off, gma.again == gma.limits, gma.version }
      end))
    end)
  end)
end)

describe("a call after the end of its task #native", function()
  for _, mode in ipairs(MODES) do
    it(("is refused at once, in mode %s (H6)"):format(mode), function()
      local called = 0
      local engine = {}
      for _, name in ipairs { "probe", "echo", "sleep" } do
        engine[name] = function() called = called + (name == "sleep" and 0 or 1) end
      end
      local text = signal.with(function(path)
        local function leave(name)
          local probe, echo, sleep = gma.probe, gma.echo, gma.sleep
          keep = setmetatable({}, { __gc = function() -- luacheck: ignore 111
            sleep(3600)
            local file = io.open(name, "a")
            file:write(tostring(select(2, pcall(probe))), "\n", tostring(select(2, pcall(echo, 1))), "\n")
            file:close()
          end })
        end
        local function collect() collectgarbage() collectgarbage() end
        local tasks = { { func = leave, args = { path } }, { func = collect } }
        with_gma(engine, function() results({ tasks[1], tasks[2], tasks[1], tasks[2] }, { workers = 1, mode = mode }) end)
        return signal.text(path)
      end)
      assert.equal(("cannot call gma.probe: the task is over, or its job is closing\n"
        .. "cannot call gma.echo: the task is over, or its job is closing\n"):rep(2), text)
      assert.equal(0, called)
    end)
  end
end)

describe("a host function that yields", function()
  it("is resumed by the engine, and the job goes on (D9)", function()
    for _, mode in ipairs { "RunSync", "RunAsync" } do
      local engine, ticks = console.new(), 0
      -- Returns only after the engine's other coroutine has had three turns.
      function engine.gma.ask(n)
        local from = ticks
        while ticks < from + 3 do
          _G.gma.sleep(0.001)
        end
        return "answer " .. n
      end
      local response
      with_gma(engine.gma, function()
        engine:start(function()
          while not response do
            ticks = ticks + 1
            _G.gma.sleep(0.001)
          end
        end)
        engine:run(function()
          gma2workers[mode] { workers = 2, onComplete = function(r) response = r end,
            tasks = repeated(function(n) return { gma.ask(n), select(2, pcall(gma.ask, n)) } end, 4) }
        end)
      end)
      for i, entry in ipairs(response.result) do
        assert.same({ "answer " .. i, "answer " .. i }, entry.data)
      end
      assert.same({}, engine:texts("error"))
    end
  end)
end)

describe("many calls", function()
  it("are all served: 300 tasks of 10 calls each (D3)", function()
    for _, workers in ipairs { 1, 3 } do
      local sum = 0
      with_gma({ add = function(n) sum = sum + n return sum end }, function()
        for _, entry in ipairs(results(repeated(function(i) for _ = 1, 10 do gma.add(i) end return i end, 300), { workers = workers })) do
          assert.is_true(entry.success)
        end
      end)
      assert.equal(10 * 45150, sum)
    end
  end)

  it("are all right, and a quiet task is served between those of a noisy one (H10) #native", function()
    local order = {}
    local engine = { noisy = function(n) order[#order + 1] = "noisy" return n * 2, order.quiet or n > 1000000 end,
      quiet = function() order[#order + 1] = "quiet" return #order end, done = function() order.quiet = true end }
    with_gma(engine, function()
      local entries = results({ { func = function()
        local n, is_done = 0, false
        while n < 10000 or not is_done do
          n = n + 1
          local double
          double, is_done = gma.noisy(n)
          assert(double == 2 * n)
        end
        return n
      end }, { func = function() for _ = 1, 10 do gma.quiet() end gma.done() return "quiet" end } }, { workers = 2 })
      assert.is_true(entries[1].success and entries[1].data < 1000000, entries[1].data)
      assert.equal("quiet", entries[2].data)
    end)
  end)

  it("hold their worker: no other task starts on it meanwhile (D4)", function()
    local marks = {}
    local function mark(text) marks[#marks + 1] = text end
    with_gma({ mark = mark, slow = function(i) spin(0.05) mark(i .. " slow") end }, function()
      results(repeated(function(i) gma.mark(i .. " starts") gma.slow(i) gma.mark(i .. " ends") end, 3), { workers = 1 })
    end)
    assert.equal("1 starts, 1 slow, 1 ends, 2 starts, 2 slow, 2 ends, 3 starts, 3 slow, 3 ends", table.concat(marks, ", "))
  end)

  it("wait while the host is in a slow function, and tasks without calls go on (H11) #native", function()
    local order, came = {}, nil
    local set, await = signal.set, signal.await
    local engine = { slow = function(path) set(path, "busy") came = await(path, "computed") order[#order + 1] = "slow" end,
      probe = function() order[#order + 1] = "probe" return 7 end }
    with_gma(engine, function()
      local entries = signal.with(function(path)
        return results({ { func = function(name) gma.slow(name) end, args = { path } }, { func = function(name)
          await(name, "busy")
          local sum = 0
          for i = 1, 1000000 do sum = sum + i end
          set(name, "computed")
          return gma.probe() + sum
        end, args = { path } } }, { workers = 2 })
      end)
      assert.equal(500000500007, entries[2].data)
    end)
    assert.is_true(came)
    assert.same({ "slow", "probe" }, order)
  end)
end)
