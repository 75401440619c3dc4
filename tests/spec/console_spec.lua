-- The stand-in behaves as the known facts about the engine say, so that its results can be trusted.

local console = require "console"
local running = require "spec.fixtures.running"
local system = require "spec.fixtures.system"

local function run(options, func)
  local engine = console.new(options)
  engine:install()
  engine:run(func)
  engine:uninstall()
  return engine
end

describe("coroutines of the engine", function()
  it("sleep side by side, and gma.sleep is coroutine.yield", function()
    local order = {}
    local engine = console.new()
    engine:install()
    for name, seconds in pairs { slow = 0.4, quick = 0.02 } do
      engine:start(function()
        assert.is_true(coroutine.isyieldable())
        coroutine.yield(seconds)
        order[#order + 1] = name
      end)
    end
    engine:run()
    engine:uninstall()
    assert.same({ "quick", "slow" }, order)
  end)

  it("show an error with its traceback and do not affect other coroutines", function()
    local ended = false
    local engine = console.new()
    engine:start(function() error("boom") end)
    engine:start(function() ended = true end)
    engine:run()
    assert.is_true(ended)
    assert.equal(1, #engine:texts("error"))
    assert.truthy(engine:texts("error")[1]:find("boom\nstack traceback", 1, true))
  end)

  it("return their results from run, and raise their errors there", function()
    local engine = console.new()
    assert.same({ 1, nil, 3 }, { engine:run(function(...) return ... end, 1, nil, 3) })
    assert.has_error(function() engine:run(function() error("boom", 0) end) end)
  end)

  it("run in slices of a given number of instructions if that is turned on", function()
    local function turns(slice)
      local engine, count, done = console.new { slice = slice, tick = 0.001 }, 0, false
      engine:start(function()
        for _ = 1, 20000 do end
        done = true
      end)
      while not engine:idle() do
        engine:tick()
        count = count + 1
      end
      assert.is_true(done)
      return count
    end
    assert.equal(1, turns(nil))
    local coarse, fine = turns(4000), turns(2000)
    assert.is_true(coarse > 1)
    assert.is_true(fine > coarse)
  end)

  it("finish a C call before a slice ends", function()
    local engine = console.new { slice = 500, tick = 0.001 }
    local sorted
    engine:start(function()
      local list = {}
      for i = 1, 500 do list[i] = (i * 7919) % 503 end
      table.sort(list, function(a, b) return a < b end)
      sorted = list[1] <= list[2] and list[499] <= list[500]
    end)
    engine:run()
    assert.same({}, engine:texts("error"))
    assert.is_true(sorted)
  end)
end)

describe("gma.timer", function()
  it("leaves nothing behind if its plugin is stopped at any point of its start", function()
    for ticks = 1, 40 do
      local engine, plugin = console.new { slice = 3, tick = 0.001 }, { name = "P" }
      engine:install()
      engine.scheduler:start("plugin P", plugin, function() gma.timer(function() end, 0, 0) end)
      for _ = 1, ticks do
        engine:tick()
      end
      engine:stop(plugin)
      engine:run()
      engine:uninstall()
      assert.equal(0, engine.count_timers())
      assert.same({}, engine:texts("error"))
    end
  end)

  for _, first in ipairs { "tick", "inside" } do
    it("calls at once, the given number of times, and cleans up after the last (first call: " .. first .. ")", function()
      local calls, cleaned, at_return = {}, nil, nil
      local engine = run({ firstTimerCall = first }, function()
        gma.timer(function(t, n)
          assert.equal("number", type(t))
          calls[#calls + 1] = n
        end, 0.02, 3, function() cleaned = #calls end)
        at_return = #calls
      end)
      assert.same({ 1, 2, 3 }, calls)
      assert.equal(3, cleaned)
      assert.equal(first == "inside" and 1 or 0, at_return)
      assert.equal(0, engine.count_timers())
      assert.same({}, engine:texts("error"))
    end)
  end

  it("waits dt between calls, but not before the first", function()
    local ticks, engine = 0, console.new { tick = 0.001 }
    engine:install()
    local seen, moments = {}, {}
    engine:start(function()
      gma.timer(function(moment, n) seen[n], moments[n] = ticks, moment end, 0.05, 2)
    end)
    while not engine:idle() do
      ticks = ticks + 1
      engine:tick()
      engine.scheduler:rest()
    end
    engine:uninstall()
    assert.is_true(seen[1] <= 2)
    assert.is_true(moments[2] - moments[1] >= 0.05, moments[2] - moments[1])
  end)

  it("runs its callback as a coroutine, which may sleep and never runs twice at a time", function()
    local inside, most = 0, 0
    run(nil, function()
      gma.timer(function()
        inside = inside + 1
        most = math.max(most, inside)
        gma.sleep(0.03)
        inside = inside - 1
      end, 0.001, 3)
    end)
    assert.equal(1, most)
  end)

  it("goes on with a count of 0 until its plugin is switched off", function()
    local engine = console.new { tick = 0.001 }
    engine:install()
    local path = system.temporary()
    local file = io.open(path, "w")
    file:write("return function() gma.timer(function() CALLS = CALLS + 1 end, 0, 0) end, function() CLEANED = true end")
    file:close()
    rawset(_G, "CALLS", 0)
    local plugin = engine:plugin(path)
    for _ = 1, 20 do engine:tick() end
    local calls = rawget(_G, "CALLS")
    engine:stop(plugin)
    engine:run()
    engine:uninstall()
    os.remove(path)
    assert.is_true(calls > 5)
    assert.equal(calls, rawget(_G, "CALLS"))
    assert.is_true(rawget(_G, "CLEANED"))
    rawset(_G, "CALLS", nil)
    rawset(_G, "CLEANED", nil)
  end)
end)

describe("gma.cmd", function()
  it("queues LUA beside the caller, in the same globals", function()
    local order = {}
    local function note(text) order[#order + 1] = text end
    rawset(_G, "note", note)
    run(nil, function()
      assert.is_nil(gma.cmd([[LUA "note('command')"]]))
      note("caller")
      running.sleep_until(function() return order[2] end)
      note("caller again")
    end)
    rawset(_G, "note", nil)
    assert.same({ "caller", "command", "caller again" }, order)
  end)

  it("has no escapes: the next quote of the same kind ends the code", function()
    local engine = run(nil, function() gma.cmd([[LUA "x = \"a\""]]) end)
    assert.equal(1, #engine:texts("error"))
  end)

  it("splits at semicolons outside of quotes, and returns the first error", function()
    run(nil, function()
      assert.is_nil(gma.cmd([[SetVar $a = 1; LUA "RAN = 'a;b'"]]))
      assert.equal("1", gma.show.getvar("A"))
      assert.truthy(gma.cmd("Flurb 1"):find("UNKNOWN COMMAND", 1, true))
    end)
    assert.equal("a;b", rawget(_G, "RAN"))
    rawset(_G, "RAN", nil)
  end)

  it("replaces the names of variables by their values", function()
    run(nil, function()
      gma.user.setvar("number", 2)
      assert.is_nil(gma.cmd('Label Group $number "Renamed"'))
      assert.equal("Renamed", gma.show.getobj.label(gma.show.getobj.handle("Group 2")))
    end)
  end)
end)

describe("the show", function()
  local getobj, property

  before_each(function()
    local engine = console.new()
    getobj, property = engine.gma.show.getobj, engine.gma.show.property
  end)

  it("has numbers as handles, and nil for missing objects", function()
    assert.equal("integer", math.type(getobj.handle("Group 1")))
    assert.is_nil(getobj.handle("Group 99"))
    assert.is_nil(getobj.handle("Nothing 1"))
    assert.is_true(getobj.verify(getobj.handle("Macro 1")))
    assert.is_false(getobj.verify(12345))
    assert.is_true(getobj.compare(getobj.handle("Macro 1"), getobj.handle("macro 1")))
  end)

  it("has something of everything, and pools where the original's examples look for them (K14)", function()
    local children, labels, pools = 0, 0, {}
    for index = 0, getobj.amount(1) - 1 do
      local pool = getobj.child(1, index)
      pools[getobj.label(pool)] = getobj.amount(pool)
    end
    for _, name in ipairs { "Fixture", "Channel", "FixtureType", "Layer", "Group", "Preset", "Sequence", "Effect", "Layout" } do
      assert.is_true(pools[name] > 0, name)
    end
    local pool = getobj.child(1, 14)
    for index = 1, getobj.amount(pool) do
      local object = getobj.child(pool, index)
      children = children + (object and 1 or 0)
      labels = labels + (object and getobj.label(object) and 1 or 0)
    end
    assert.is_true(children > labels and labels > 0)
  end)

  it("has fixtures, as a patch creates them (K14)", function()
    local spot = getobj.handle("Fixture 1")
    assert.equal("CMD_FIXTURE", getobj.class(spot))
    assert.equal("Spot 1", getobj.label(spot))
    assert.equal("1.1", property.get(spot, "Patch"))
    assert.equal("CMD_SUBFIXTURE", getobj.class(getobj.child(spot, 0)))
    assert.is_nil(getobj.label(getobj.handle("Fixture 3")))
  end)

  it("counts children from 0, including cue zero", function()
    local sequence = getobj.handle("Sequence 1")
    assert.equal(4, getobj.amount(sequence))
    assert.equal("cue zero", getobj.label(getobj.child(sequence, 0)))
    assert.equal("Opening", getobj.label(getobj.child(sequence, 1)))
    assert.is_nil(getobj.child(sequence, 4))
    assert.equal(sequence, getobj.parent(getobj.child(sequence, 2)))
    assert.equal(0, getobj.index(sequence))
  end)

  it("has numbers as texts, and labels only for labelled objects", function()
    assert.equal("10", getobj.number(getobj.handle("Group 10")))
    assert.is_nil(getobj.label(getobj.handle("Group 3")))
    assert.equal("Back 10", getobj.name(getobj.handle("Group 10")))
    assert.equal("Red", getobj.label(getobj.handle("Preset 4.1")))
    assert.equal("CMD_SEQUENCE", getobj.class(getobj.handle("Sequence 1")))
  end)

  it("ends at a root without a parent", function()
    local handle, steps = getobj.handle("Macro 2.1"), 0
    while handle do
      handle, steps = getobj.parent(handle), steps + 1
    end
    assert.equal(4, steps)
    assert.is_nil(getobj.parent(1))
  end)

  it("requires an index where the engine does", function()
    for name, func in pairs { child = getobj.child, name = property.name } do
      local ok, message = pcall(function() func(getobj.handle("Group 1")) end)
      assert.is_false(ok)
      assert.truthy(message:find(("console_spec.lua:%%d+: bad argument #2 to '%s' %%(number expected"):format(name)), message)
    end
  end)

  it("has properties as texts, counted from 0", function()
    local engine = console.new { show = { { name = "Image", { label = "Logo", properties = { { "Width", 12.5 } } } } } }
    local image = engine.gma.show.getobj.handle("Image 1")
    property = engine.gma.show.property
    assert.equal(1, property.amount(image))
    assert.equal("Width", property.name(image, 0))
    assert.equal("12.5", property.get(image, 0))
    assert.equal("12.5", property.get(image, "Width"))
    assert.is_nil(property.get(image, "Height"))
  end)
end)

describe("output and questions of the engine", function()
  it("join the values of an echo, and keep their order", function()
    local engine = run(nil, function()
      gma.echo("a", 1, nil, true)
      gma.feedback("b")
    end)
    assert.equal("a 1 nil true", engine.transcript[1].text)
    assert.equal("feedback", engine.transcript[2].kind)
  end)

  it("take text input from the script, and name a question without an answer", function()
    local engine = console.new { textinput = { "4", false } }
    assert.equal("4", engine.gma.textinput("Workers", "2"))
    assert.is_nil(engine.gma.textinput("Load", "1"))
    engine:start(engine.gma.textinput, "Mode", "timer")
    engine:run()
    assert.truthy(engine:texts("error")[1]:find("no answer for the text input 'Mode'", 1, true))
  end)

  it("include progress bars, and accept stop(nil) as plugins call it", function()
    local engine = run(nil, function()
      local bar = gma.gui.progress.start("Work")
      gma.gui.progress.setrange(bar, 0, 10)
      gma.gui.progress.set(bar, 5)
      gma.gui.progress.stop(bar)
      gma.gui.progress.stop(nil)
    end)
    assert.same({ name = "Work", open = false, range = { 0, 10 }, values = { 5 }, texts = {} }, engine.progress[1])
  end)
end)

describe("installing", function()
  it("restores the previous gma", function()
    local before = rawget(_G, "gma")
    local engine = console.new()
    engine:install()
    assert.equal(engine.gma, gma)
    engine:uninstall()
    assert.equal(before, rawget(_G, "gma"))
  end)
end)
