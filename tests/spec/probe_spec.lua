-- The probe, run in engines with known properties: each line of its report is checked.

local console = require "console"
local plugins_folder = require "spec.fixtures.plugins_folder"
local read = require "spec.fixtures.read"

local SLICE = 4000
local VERSION = require("gma2workers").info.version

local function count_functions(list, seen)
  local count = 0
  seen[list] = true
  for _, value in pairs(list) do
    count = count + (type(value) == "function" and 1 or type(value) == "table" and not seen[value] and count_functions(value, seen) or 0)
  end
  return count
end

local function output_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read("l")
  pipe:close()
  return text
end

--- A check that a line gives at least so many seconds: { pattern with one capture, seconds }.
local function at_least(pattern, seconds)
  return { pattern, function(number) return tonumber(number) >= seconds end }
end

local word = string.packsize("T")
local machine = output_of("uname -m")

-- The lines of every run: a text is the whole value, { pattern, check } a pattern whose captures are checked.
local COMMON = {
  { "probe", "report of version 1" },
  { "report", { "^/.*/gma2workers_probe%.txt$" } },
  { "date", { "^%d%d%d%d%-%d%d%-%d%d %d%d:%d%d:%d%d$" } },
  { "console", "Console, onPC, GMA2" },
  { "console version", "3.9.60.50" },
  { "console build", "Jun 22 2021 12:00:00" },
  { "console system", "LINUX" },
  { "system", (read("/proc/version"):gsub("%s+$", "")) },
  { "system cores", select(2, read("/proc/cpuinfo"):gsub("processor%s*:", "")) .. "" },
  { "program", ("%d bit, %s"):format(word * 8, machine == "aarch64" and "ARM64" or machine) },
  { "program libraries", { "/libc[-.][^ ,]*" } },
  { "lua", "Lua 5.3" },
  { "lua size_t", word .. " bytes" },
  { "lua largest integer", tostring(math.maxinteger) },
  { "lua table at", { "^0x%x+$" } },
  { "lua hook", "none" },
  { "io.popen", "there" },
  { "package.path", "/nowhere/?.lua" },
  { "package.cpath", "/nowhere/?.so" },
  { "package.config", "/ | ; | ? | ! | -" },
  { "package.loadlib", "there" },
  { "engine functions", { "^(%d+): .*build_date .* show%.getobj%.handle .* timer ", function(count)
    return tonumber(count) == count_functions(console.new().gma, {})
  end } },
  { "clock", "gma.gettime" },
  { "clock step", { "^(0%.0%d+) s$", function(seconds) return tonumber(seconds) > 0 end } },
  { "plugin may sleep", "true" },
  -- Fifty calls, or fewer on a busy machine.
  { "sleep(0)", { "^%d+%.%d+ s, the mean of %d+ calls$" } },
  { "sleep(0.01)", at_least("^(%d+%.%d+) s$", 0.01) },
  { "sleep(0.1)", at_least("^(%d+%.%d+) s$", 0.1) },
  { "yield(0.1)", at_least("^(%d+%.%d+) s$", 0.1) },
  { "timer begins", { "^once the caller slept, after %d+%.%d+ s$" } },
  { "timer calls", "3 of 3" },
  { "timer passes", { "^2 values: a float that is %d+%.%d+ s from the clock's, then 1, 2, 3$" } },
  { "timer interval", at_least("^(%d+%.%d+) s where 0%.1 s was asked$", 0.1) },
  { "timer may sleep", at_least("^yes, sleep%(0%.05%) takes (%d+%.%d+) s$", 0.05) },
  { "timer interval with that", at_least("^(%d+%.%d+) s$", 0.15) },
  { "timer cleanup", { "^%d+%.%d+ s after the last call$" } },
  { "command begins", { "^once the caller slept, after %d+%.%d+ s$" } },
  { "command answer", "nil" },
  { "command is a coroutine of its own", "true" },
  { "command may sleep", at_least("^yes, sleep%(0%.05%) takes (%d+%.%d+) s$", 0.05) },
  { "slice", "none: of two loops of 0.2 s, one ran after the other" },
  { "slice gain", { "^4 loops do %d+%.%d+ times the passes of one, which does %d+ a second$" } },
  { "binary", { "/gma2%-workers/gma2workers%.so$" } },
  { "binary loads", "yes" },
  { "binary serves", "yes, errors jump, numbers and limits are the usual ones" },
  { "library", { "^/.*/gma2%-workers/init%.lua, which is not on package%.path$" } },
  { "library backend", "native" },
  { "library version", VERSION },
  { "quick start", { "^right, %d+%.%d+ s on 2 workers$" } },
  { "end", "of the report" },
}

-- The lines that differ with time slices.
local SLICED = {
  ["lua hook"] = ("external hook, mask '', each %d instructions"):format(SLICE),
  ["timer begins"] = { "^while the caller ran on, %d+%.%d+ s after the call$" },
  ["command begins"] = { "^while the caller ran on, %d+%.%d+ s after the call$" },
  ["slice"] = { "^(%d+) instructions %((%d+) passes of a loop, %d+ to %d+ in (%d+) slices%), one each (%d+%.%d+) s$",
    function(instructions, passes, slices, period)
      -- The loop uses some instructions besides counting. On a busy machine, the ticks are late, and slices follow each other at once.
      return instructions / SLICE > 0.97 and instructions / SLICE <= 1 and passes * 5 == math.tointeger(instructions)
        and tonumber(slices) > 1 and tonumber(period) >= 0
    end },
  ["slice gain"] = { "^4 loops do (%d+%.%d+) times", function(gain) return tonumber(gain) > 0 end },
}

local NO_LIBRARY = {
  ["binary"] = "not found",
  ["binary loads"] = "not measured: there is none",
  ["binary serves"] = "not measured: it was not loaded",
  ["library"] = { "^not found: module 'gma2%-workers' not found: .* module 'gma2workers' not found: " },
  ["library backend"] = false, ["library version"] = false, ["quick start"] = false,
}

local REFUSED = {
  ["binary loads"] = { "^no %(open%): .*gma2workers%.so: " },
  ["binary serves"] = "not measured: it was not loaded",
  ["library backend"] = "cooperative",
}

local function matches(value, expected)
  if type(expected) == "string" then
    return value == expected
  end
  local captures = table.pack((value or ""):match(expected[1]))
  return captures[1] ~= nil and (not expected[2] or expected[2](table.unpack(captures, 1, captures.n)))
end

--- Checks each line of a report, and their order, and that there are no others.
local function assert_report(shown, ...)
  assert.same({}, shown.error)
  local names = {}
  for _, line in ipairs(COMMON) do
    local name, expected = line[1], line[2]
    for _, different in ipairs { ... } do
      if different[name] ~= nil then
        expected = different[name]
      end
    end
    if expected then
      names[#names + 1] = name
      assert(matches(shown.values[name], expected), ("%s: %s"):format(name, shown.values[name]))
    end
  end
  -- The library's own message about its backend may come in between.
  local told = {}
  for _, name in ipairs(shown.names) do
    told[#told + 1] = not name:find("^gma2workers") and name or nil
  end
  assert.same(names, told)
end

--- The probe left nothing behind, and gave the command line only its own calls.
local function assert_clean(shown)
  assert.same({}, shown.changed)
  assert.same({ "0" }, shown.timers)
  for _, command in ipairs(shown.cmd) do
    assert.equal('LUA "if gma2workers_probe then gma2workers_probe() end"', command)
  end
end

-- The probe runs in a process of its own, with the backend that each case sets, so running this spec once is enough. The
-- expected system values are read as Linux gives them.
if os.getenv("GMA2WORKERS_CONSOLE") or package.config:sub(1, 1) == "\\" then
  return
end

-- The probe's measurements take time, in a debug build, too.
describe("the probe #native #posix #long", function()
  local native, refused, bare
  setup(function()
    native, refused = plugins_folder.make("native"), plugins_folder.make("refused")
    bare = plugins_folder.make()
  end)
  teardown(function()
    for _, folder in ipairs { native, refused, bare } do
      plugins_folder.remove(folder)
    end
  end)

  local function probe(folder, options)
    options = options or {}
    options.path = options.path or "/nowhere/?.lua"
    return plugins_folder.probe(folder, options)
  end

  it("reports on an engine without time slices, and on the native backend (K1)", function()
    local shown = probe(native)
    assert_report(shown)
    assert_clean(shown)
    local path = native .. "/gma2workers_probe.txt"
    assert.equal(path, shown.values.report)
    assert.equal(table.concat(shown.echo, "\n") .. "\n", read(path))
    assert.equal(2, #shown.feedback)
    assert.truthy(shown.feedback[1]:find("half a minute at most", 1, true))
    assert.truthy(shown.feedback[2]:find(path, 1, true))
  end)

  it("reports on an engine with time slices, and on a refused binary (K1)", function()
    local shown = probe(refused, { slice = SLICE })
    assert_report(shown, SLICED, REFUSED)
    assert_clean(shown)
  end)

  it("reports without the library, in an engine that starts timers at once (K1)", function()
    local shown = probe(bare, { slice = SLICE, engine = "{ firstTimerCall = 'inside' }" })
    assert_report(shown, SLICED, NO_LIBRARY, { ["timer begins"] = { "^before the call returned, %d+%.%d+ s after it was made$" } })
    assert_clean(shown)
  end)

  it("uses the backend that the environment asks for, as require does (K1)", function()
    -- Under the name that it has in the zips.
    local full = ("%s/gma2-workers/gma2workers-linux-%s.so"):format(native, word == 4 and "x86" or machine)
    assert(os.execute(("cp %s/gma2-workers/gma2workers.so %s"):format(native, full)))
    for _, backend in ipairs { "native", "cooperative" } do
      local shown = probe(native, { slice = SLICE, environment = "GMA2WORKERS_BACKEND=" .. backend,
        path = native .. "/?/init.lua" })
      assert_report(shown, SLICED, { ["package.path"] = native .. "/?/init.lua", ["library"] = 'require "gma2-workers"',
        ["library backend"] = backend, ["binary"] = full })
      assert_clean(shown)
    end
    os.remove(full)
  end)

  it("reports functions that were never run, and finishes all the same (K2)", function()
    local shown = probe(bare, { slice = SLICE, engine = "{ dead = { timer = true, cmd = true } }" })
    assert_report(shown, SLICED, NO_LIBRARY, {
      ["timer begins"] = "not within 2 s",
      ["timer calls"] = "0 of 3",
      ["timer passes"] = { "^not measured: " },
      ["timer interval"] = { "^not measured: " },
      ["timer may sleep"] = "nil",
      ["timer interval with that"] = { "^not measured: " },
      ["timer cleanup"] = "none",
      ["command begins"] = "not within 2 s",
      ["command is a coroutine of its own"] = "nil",
      ["command may sleep"] = "nil",
      ["slice"] = "not measured: 0 of 2 loops ended",
      ["slice gain"] = "not measured: 0 of 1 loops ended",
    })
    assert_clean(shown)
  end)

  describe("works without", function()
    local function lacks(name)
      return "not measured: the engine has no gma." .. name
    end
    local lacking = {
      sleep = { ["sleep(0)"] = lacks "sleep", ["sleep(0.01)"] = lacks "sleep", ["sleep(0.1)"] = lacks "sleep",
        ["slice"] = lacks "sleep" },
      timer = { ["timer begins"] = lacks "timer", ["timer calls"] = false, ["slice"] = SLICED.slice },
      cmd = { ["command begins"] = lacks "cmd", ["command answer"] = false, ["slice"] = SLICED.slice },
      gettime = { ["clock"] = "os.clock, since gma.gettime is missing or gives no number", ["lua"] = "Lua 5.3" },
      gethardwaretype = { ["console"] = lacks "gethardwaretype", ["console version"] = "3.9.60.50" },
      build_date = { ["console build"] = lacks "build_date", ["console version"] = "3.9.60.50" },
      ["show.getvar"] = { ["console version"] = "none", ["console system"] = "none" },
      feedback = { ["slice"] = SLICED.slice },
    }
    for name, lines in pairs(lacking) do
      it("gma." .. name .. " (K2)", function()
        local shown = probe(bare, { slice = SLICE, engine = ("{ without = { %q } }"):format(name),
          environment = "GMA2WORKERS_BACKEND= TMPDIR=" .. bare })
        assert.same({}, shown.error)
        for line, expected in pairs(lines) do
          if expected then
            assert(matches(shown.values[line], expected), ("%s: %s"):format(line, shown.values[line]))
          else
            assert.is_nil(shown.values[line])
          end
        end
        assert.equal(bare .. "/gma2workers_probe.txt", shown.values.report)
        assert.equal("of the report", shown.values["end"])
        assert.equal(name == "feedback" and 0 or 2, #shown.feedback)
        assert_clean(shown)
      end)
    end

    it("anything new in Lua 5.3, so an older Lua can load it and be reported (K2)", function()
      local code = read("lua/plugins/probe.lua"):gsub("%-%-[^\n]*", ""):gsub('"[^"\n]*"', '""'):gsub("'[^'\n]*'", "''"):gsub("~=", "")
      assert.is_nil(code:match("[^\n]*[/&|~<>][/&|~<>][^\n]*") or code:match("[^\n]*[&|~][^\n]*") or code:match("[^\n]*goto[^\n]*"))
    end)

    it("many functions of Lua (K2)", function()
      local shown = probe(bare, { slice = SLICE, engine = [[{ without_in_lua = { "debug.gethook", "string.packsize", "package.loadlib",
        "package.searchpath", "coroutine.isyieldable", "io.popen", "io.open", "os.getenv", "os.date" } }]] })
      assert.same({}, shown.error)
      for _, name in ipairs { "date", "lua size_t", "lua hook", "plugin may sleep", "not measured" } do
        assert.truthy(shown.values[name]:find("attempt to call a nil value", 1, true)
          or shown.values[name]:find("not measured: .*attempt to call"), shown.values[name])
      end
      assert.equal("no file could be written", shown.values.report)
      assert.same({ "not there", "not there" }, { shown.values["io.popen"], shown.values["package.loadlib"] })
      assert(matches(shown.values.slice, SLICED.slice))
      assert.equal("of the report", shown.values["end"])
      assert_clean(shown)
    end)

    it("gma.echo, with its file (K2)", function()
      local shown = probe(bare, { slice = SLICE, engine = "{ without = { 'echo' } }" })
      assert.same({}, shown.echo)
      assert.truthy(read(bare .. "/gma2workers_probe.txt"):find("\nslice: %d+ instructions .*\nend: of the report\n$"))
      assert_clean(shown)
    end)
  end)

  it("has the lines that the pages show and explain", function()
    local known, readme = {}, read("lua/plugins/README.md")
    for _, line in ipairs(COMMON) do
      known[line[1]] = true
    end
    local count = 0
    for name in readme:match("`scripts/run%-plugin lua/plugins/probe.lua[^\n]*\n.-```text(.-)```"):gmatch("\n([^:\n]+): ") do
      count = count + 1
      assert.is_true(known[name], name)
    end
    local explained = readme:match("| line | what it tells |(.-)\n\n"):gsub("(\n|[^|]*)[^\n]*", "%1")
    local settled = read("lua/GUIDE.md"):match("| fact | how it is known | probe |(.-)\n\n"):gsub("[^\n]*|([^|\n]*)|", "%1")
    for name in (explained .. settled):gmatch("`(.-)`") do
      count = count + 1
      assert.is_true(known[name], name)
    end
    assert.is_true(count > 50, count .. " lines")
  end)

  it("writes to another folder if it can't write to the plugins folder (K2)", function()
    local path = refused .. "/gma2workers_probe.txt"
    os.remove(path)
    assert(os.execute("mkdir " .. path))
    local shown = probe(refused, { slice = SLICE, environment = "GMA2WORKERS_BACKEND=" })
    os.remove(path)
    assert.matches("/temp/gma2workers_probe%.txt$", shown.values.report)
  end)

  it("leaves nothing behind wherever it is stopped (K3)", function()
    for _, line in ipairs { "timer calls", "command begins", "slice", "library version" } do
      local shown = probe(refused, { slice = SLICE, during = ([[function(engine, plugin)
        if not engine.was_stopped and table.concat(engine:texts("echo"), "\n"):find(%q, 1, true) then
          engine.was_stopped = true
          engine:stop(plugin)
        end
      end]]):format(line .. ": ") })
      assert.same({}, shown.error)
      assert.truthy(shown.values[line])
      assert.is_nil(shown.values["end"])
      assert_clean(shown)
    end
  end)

  it("refuses to run twice at the same time, but can run again (K3)", function()
    local shown = probe(bare, { slice = SLICE, during = [[function(engine, plugin)
      engine.runs = engine.runs or plugin:run() and 1
      if engine.runs == 1 and plugin.record.status == "done" and #engine:texts("feedback") == 3 then
        engine.runs = 2
        plugin:run()
      end
    end]] })
    assert.same({}, shown.error)
    assert.equal("gma2workers probe: runs already", shown.feedback[2])
    assert.equal(5, #shown.feedback)
    assert_clean(shown)
  end)
end)
