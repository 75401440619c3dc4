-- Whole runs in the stand-in, as scripts/run-plugin starts them, each in a process of its own.

local read_file = require "spec.fixtures.read"
local system = require "spec.fixtures.system"
local write_file = require "spec.fixtures.write"

local folder

local function write(name, text)
  write_file(folder .. "/" .. name, text)
  return folder .. "/" .. name
end

local function read(name)
  return read_file(folder .. "/" .. name)
end

-- Runs main.lua with words in shell syntax, where @ is the folder; returns its output and its exit code.
local function run(words, input, setting)
  write("input", input or "")
  local command = ("%s timeout 60 %s tests/console/main.lua %s <@/input 2>&1"):format(setting or "", system.lua, words):gsub("@", folder)
  local pipe = io.popen(command)
  local text = pipe:read("a")
  local _, _, code = pipe:close()
  return text, code
end

local function assert_has(text, part)
  assert.truthy(text:find(part, 1, true), text)
end

describe("a run in the stand-in #posix", function()
  before_each(function()
    folder = system.temporary()
    os.remove(folder)
    assert(os.execute("mkdir " .. folder))
  end)

  after_each(function()
    os.execute("rm -rf " .. folder)
  end)

  it("passes the plugin its name, its argument and the answers, in order", function()
    write("ask.lua", [[
      local internal, visible = ...
      return function(argument)
        gma.echo(internal, visible, argument)
        gma.feedback(gma.textinput("Name", "x"))
        gma.feedback(gma.textinput("Name", "x"))
        gma.feedback(gma.gui.confirm("Sure?", "really"))
      end
    ]])
    local text, code = run("@/ask.lua --name Asker --argument 'a b' --answer Bob --cancel --answer yes")
    assert.equal("echo: Asker Asker a b\ninput: Name: Bob\nfeedback: Bob\ninput: Name: cancelled\nfeedback: nil\n"
      .. "confirm: Sure?: really: OK\nfeedback: true\n", text)
    assert.equal(0, code)
    text = run("@/ask.lua --answer Bob")
    assert_has(text, "ask.lua:5: there is no answer for 'Name': add --answer TEXT, or --cancel, to the command line")
  end)

  it("takes answers from standard input if none are given", function()
    write("ask.lua", [[return function()
      gma.echo(gma.textinput("One", "default"), gma.textinput("Two"), gma.gui.confirm("Sure?", "really"), gma.textinput("Last"))
    end]])
    local text, code = run("@/ask.lua", "\nthe second\nno\n")
    assert_has(text, "One [default]: Two: Sure?: really [yes]: Last: echo: default the second nil nil")
    assert.equal(0, code)
  end)

  it("repeats everything in the transcript, with times", function()
    write("all.lua", [[return function()
      gma.echo("an echo")
      gma.cmd("SetVar $a = 1")
      local bar = gma.gui.progress.start("Work")
      gma.gui.progress.setrange(bar, 0, 8)
      gma.gui.progress.set(bar, 8)
      gma.gui.progress.stop(bar)
      gma.feedback("the end")
      error("boom")
    end]])
    local text, code = run("@/all.lua --transcript @/run.txt")
    assert.equal(1, code)
    assert.is_nil(text:find("SetVar", 1, true))
    local kinds, last = {}, 0
    for time, kind in read("run.txt"):gmatch("%f[^\n\0]%s*(%d+%.%d%d%d) (%a+): ") do
      assert.is_true(tonumber(time) >= last)
      last = tonumber(time)
      kinds[#kinds + 1] = kind
    end
    assert.same({ "echo", "cmd", "progress", "progress", "feedback", "error" }, kinds)
    assert_has(read("run.txt"), "progress: stop Work at 8 of 8\n")
    assert_has(run("@/all.lua --commands"), "cmd: SetVar $a = 1\n")
    assert.truthy(run("@/all.lua --times"):find("%d%.%d%d%d echo: an echo"))
  end)

  it("draws progress bars on a terminal, the last change included, and removes them", function()
    write("bar.lua", [[return function()
      local bar = gma.gui.progress.start("Work")
      gma.gui.progress.setrange(bar, 0, 8)
      for value = 1, 4 do
        gma.gui.progress.set(bar, value)
        gma.gui.progress.settext(bar, value .. " done")
      end
      -- Several ticks, each of which draws what is due.
      for _ = 1, 20 do gma.sleep(0.01) end
      gma.gui.progress.stop(bar)
    end]])
    local start, last = "\rWork [........................] 0 of 100 \27[K", "\rWork [############............] 4 done\27[K"
    local text = run("@/bar.lua", nil, "GMA2WORKERS_TERMINAL=yes")
    assert.equal(start, text:sub(1, #start))
    -- Other changes may have been drawn in between.
    assert.equal(last .. "\r\27[K", text:sub(-#last - 4))
    assert.equal("progress: start Work\nprogress: stop Work at 4 of 8: 4 done\n", (run("@/bar.lua")))
  end)

  it("draws one count in a bar: that in the text, otherwise its own (K15)", function()
    write("bars.lua", [[return function()
      local bar = gma.gui.progress.start("Work")
      gma.gui.progress.setrange(bar, 0, 8)
      gma.gui.progress.set(bar, 2)
      gma.gui.progress.settext(bar, "reading")
      for _ = 1, 20 do gma.sleep(0.01) end
      gma.gui.progress.stop(bar)
      local ticks = 0
      gma.timer(function() ticks = ticks + 1 end, 0.01, 1000)
      -- The second task ends when the engine has had time to draw the end of the first.
      local function wait()
        local first = host.ticks()
        repeat gma.sleep(0.01) until host.ticks() > first + 20
      end
      require("gma2-workers").RunSync { progress = "Job", workers = 1, tasks = { { func = type, args = { 1 } }, { func = wait } },
        host = { ticks = function() return ticks end } }
      gma.cmd("Off Plugin 1")
    end, function() end]])
    local text = run("@/bars.lua", nil, "GMA2WORKERS_TERMINAL=yes")
    assert_has(text, "\rWork [######..................] 2 of 8 reading\27[K")
    assert.truthy(text:find("\rJob [############............] 1/2, 0:0", 1, true), text)
  end)

  it("has a folder for plugins' temporary files, which is removed at the end unless it was named (K12) #long", function()
    local argument = "--argument 'Group, Fixture'"
    local text, code = run("lua/plugins/pool_report.lua " .. argument)
    assert.equal(0, code)
    local path = text:match("feedback: pool_report: the whole list is in ([^\n]*)/temp/pool_report%.csv\n")
    assert.truthy(path, text)
    assert_has(text, ("\nnote: the console's folder %s was removed with the files in it: to keep them, use --folder FOLDER\n")
      :format(path))
    assert.is_nil(os.rename(path, path))
    text = run("lua/plugins/pool_report.lua --folder @/console " .. argument)
    assert_has(text, ("the whole list is in %s/console/temp/pool_report.csv\n"):format(folder))
    assert.is_nil(text:find("note:", 1, true))
    assert_has(read("console/temp/pool_report.csv"), 'Fixture,11,"Wash 11",CMD_FIXTURE,1\r\n')
    write("asks.lua", "return function() gma.echo(gma.show.getvar('TEMPPATH')) gma.cmd('ReloadPlugins') end")
    path = run("@/asks.lua"):match("^echo: (.*)/temp\nnote: ReloadPlugins[^\n]*\n$")
    assert.is_nil(os.rename(path, path))
  end)

  it("gives plugins the requested backend, by each name, and refuses others (K13)", function()
    write("backend.lua", "return function() gma.echo(require('gma2-workers').info.backend, require('gma2workers').info.backend, "
      .. "require('gma2workers') == require('gma2-workers') and require('gma2_workers') == require('gma2workers')) end")
    write("original.lua", "return function() gma.echo(require('gma2_workers').info.backend, require('gma2workers').info.backend) end")
    write("backwards.lua", "return function() gma.echo(require('gma2workers').info.backend, require('gma2-workers').info.backend) end")
    for _, backend in ipairs { "native", "cooperative" } do
      local setting = "GMA2WORKERS_BACKEND=" .. backend
      assert.equal(("echo: %s %s true\n"):format(backend, backend), (run("@/backend.lua", nil, setting)))
      assert.equal(("echo: %s %s\n"):format(backend, backend), (run("@/backwards.lua", nil, setting)))
      assert.equal(("echo: %s %s\n"):format(backend, backend), (run("@/original.lua", nil, setting)))
    end
    assert.equal("echo: native native true\n", (run("@/backend.lua", nil, "GMA2WORKERS_BACKEND=")))
    local text, code = run("@/backend.lua", nil, "GMA2WORKERS_BACKEND=fast")
    assert.equal('run-plugin: GMA2WORKERS_BACKEND must be "native" or "cooperative", got "fast" (see --help)\n', text)
    assert.equal(2, code)
  end)

  it("goes on if a plugin changes the globals, and shows that plugin's own error (K16)", function()
    write("breaks.lua", [[return function()
      local gma, error, next, G, tables = gma, error, next, _G, {}
      for name, value in next, G do
        if name ~= "package" and G.type(value) == "table" and value ~= G then
          tables[#tables + 1] = value
        end
      end
      for _, library in next, tables do
        if library ~= gma then
          for name in next, library do library[name] = false end
        end
      end
      for name in next, G do
        if name ~= "gma" then G[name] = false end
      end
      gma.timer(function() gma.echo("a timer") end, 0.01, 2)
      gma.cmd("SetVar $a = 'b'; Label Group 1 'c'; LUA 'gma.echo(1)'")
      gma.echo(gma.show.getvar("a"), gma.show.getobj.label(gma.show.getobj.handle("Group 1")), gma.textinput("Name"))
      gma.sleep(0.05)
      local bar = gma.gui.progress.start("Bar")
      gma.gui.progress.set(bar, 1)
      gma.gui.progress.stop(bar)
      gma.export("a.xml", { 1, { b = "c" } })
      gma.echo(gma.import("a.xml")[2].b)
      error("its own")
    end]])
    local text, code = run("@/breaks.lua --answer Bob --folder @/console --transcript @/run.txt --at 0.2 'Plugin breaks'",
      nil, "GMA2WORKERS_TERMINAL=yes")
    local own = ("error: plugin breaks: %s/breaks.lua:25: its own\nstack traceback:\n"):format(folder)
    for _, part in ipairs { "echo: b c Bob\n", "echo: 1\n", "echo: a timer\n", "echo: c\n", own, "note: typed: Plugin breaks\n" } do
      assert_has(text, part)
      assert_has(read("run.txt"), part)
    end
    assert.equal(1, code)
  end)

  it("types commands at the given times, and Off Plugin runs the Cleanup", function()
    write("endless.lua", "return function(word) gma.echo('start', word) while true do gma.sleep(1) end end, "
      .. "function() gma.echo('cleanup') end")
    local text, code = run("@/endless.lua --at 0.02 'Off Plugin endless' --at 0 'Off Plugin 1' --at 0.01 \"Plugin 1 'again'\"")
    assert.equal("echo: start nil\nnote: typed: Off Plugin 1\necho: cleanup\nnote: typed: Plugin 1 'again'\n"
      .. "echo: start again\nnote: typed: Off Plugin endless\necho: cleanup\n", text)
    assert.equal(0, code)
    text, code = run("@/endless.lua --at 0 'Off Plugin 1' --at 0 'Plugin 9'")
    assert_has(text, "error: the command line refused Plugin 9: Error #9: OBJECT DOES NOT EXIST")
    assert.equal(1, code)
  end)

  it("ends a plugin at Ctrl-C as Off Plugin does", function()
    write("endless.lua", "return function() io.popen('kill -INT $PPID'):close() while true do gma.sleep(0.01) end end, "
      .. "function() gma.echo('cleanup') end")
    local text, code = run("@/endless.lua")
    assert_has(text, "run-plugin: interrupted: Off Plugin for all; press Ctrl-C again to end at once\n")
    assert_has(text, "echo: cleanup\n")
    assert.equal(1, code)
  end)

  it("closes the Lua state at ReloadPlugins while jobs run, and opens a new one", function()
    write("pool.xml", '<MA><Info /><Plugin index="0" execute_on_load="1" name="Reloader" luafile="reloader.lua" /></MA>')
    write("reloader.lua", [[
      local gma2workers = require "gma2-workers"
      local function Start(argument)
        gma.echo("start", argument, gma.user.getvar("times"), STAYS)
        STAYS = true
        if not gma.user.getvar("times") then
          gma.user.setvar("times", 1)
          gma2workers.RunSync { workers = 2, tasks = {
            { func = function() while true do gma.sleep(0.001) end end },
            { func = function() gma.cmd("ReloadPlugins") while true do gma.sleep(0.001) end end },
          } }
        end
        local response = gma2workers.RunSync { tasks = { { func = function() return 6 * 7 end } } }
        gma.feedback(response.result[1].data)
      end
      return Start, function() gma.echo("cleanup") end
    ]])
    local text, code = run("@/pool.xml --argument word")
    assert.equal("echo: start word nil nil\nnote: ReloadPlugins: the Lua state was closed with N coroutines in it, and opened "
      .. "again\necho: start nil 1 nil\nfeedback: 42\n", (text:gsub("with %d+", "with N")))
    assert.equal(0, code)
  end)

  it("has a pool of several plugins, and starts the first", function()
    write("first.lua", "return function() gma.echo('first') gma.cmd('Plugin 2 \"from it\"') end")
    write("second.lua", "return function(word) gma.echo('second', word) end")
    write("third.xml", '<MA><Plugin luafile="second.lua" name="Third" execute_on_load="1" /></MA>')
    local text = run("@/first.lua @/second.lua @/third.xml")
    assert_has(text, "echo: first\n")
    assert_has(text, "echo: second nil\n")
    assert_has(text, "echo: second from it\n")
  end)

  it("keeps its exports in the named folder, and reads a show", function()
    write("show.json", '[{ "name": "Group", "7": "Front" }]')
    write("report.lua", "return function() local o = gma.show.getobj gma.export_json('r.json', { o.label(o.handle('Group 7')) }) "
      .. "gma.feedback(gma.show.getvar('PLUGINPATH'), gma.show.getvar('version')) end")
    local text, code = run("@/report.lua --show @/show.json --folder @/console --showvar Version=1")
    assert.equal(("file: %s/console/temp/r.json\nfeedback: %s\n"):format(folder, folder), text)
    assert.equal('[\n  "Front"\n]\n', read("console/temp/r.json"))
    assert.equal(0, code)
  end)

  local wrong = {
    { "", 2, "run-plugin: which plugin? (see --help)\n" },
    { "no_such.lua", 2, "run-plugin: cannot open no_such.lua (see --help)\n" },
    { "@/p.lua --answr x", 2, "run-plugin: no option --answr (see --help)\n" },
    { "@/p.lua --argument", 2, "run-plugin: --argument needs a value (see --help)\n" },
    { "@/p.lua --slice few", 2, "run-plugin: --slice takes a whole number above 0, got few (see --help)\n" },
    { "@/p.lua --var count", 2, "run-plugin: --var takes NAME=VALUE, got count (see --help)\n" },
    { "@/p.lua --at soon", 2, "run-plugin: --at takes seconds and a command, got soon (see --help)\n" },
    { "@/p.lua --at 1", 2, "run-plugin: --at needs a command after its seconds (see --help)\n" },
    { "@/p.lua --transcript @", 2, "run-plugin: cannot write the transcript " },
    { "@/p.lua --show no_such.json", 1, "error: cannot read the show no_such.json: No such file or directory\n" },
    { "@/p.xml", 1, "error: @/p.xml:1: its luafile is not there: @/gone.lua\n" },
    { "@/syntax.lua", 1, "error: @/syntax.lua:2: unexpected symbol near" },
    { "@/raises.lua", 1, "error: @/raises.lua:2: attempt to index a nil value (global 'nothing')\n" },
    { "@/nothing.lua", 1, "error: the plugin @/nothing.lua must return its functions at the end" },
  }
  for _, case in ipairs(wrong) do
    it(("refuses %s with exit code %d"):format(case[1] == "" and "no plugin" or case[1], case[2]), function()
      write("p.lua", "return print")
      write("p.xml", '<MA><Plugin luafile="gone.lua" /></MA>')
      write("syntax.lua", "local x =\n]]")
      write("raises.lua", "local x\nx = nothing.y\nreturn print")
      write("nothing.lua", "local function Start() end")
      local text, code = run(case[1])
      assert.equal(case[3]:gsub("@", folder), text:sub(1, #case[3]:gsub("@", folder)))
      assert.equal(case[2], code)
    end)
  end

  it("shows where in the plugin an error occurred, without the stand-in's own lines", function()
    write("dmx.lua", "local function read() return gma.show.getdmx(1) + 1 end\nreturn function() read() end")
    local text, code = run("@/dmx.lua")
    local path = folder .. "/dmx.lua"
    assert.equal(("error: plugin dmx: %s:1: gma.show.getdmx works only on a console: there is no DMX output\n"
      .. "stack traceback:\n\t%s:1: in upvalue 'read'\n\t%s:2: in function <%s:2>\n"):format(path, path, path, path), text)
    assert.equal(1, code)
  end)

  it("does what the example on its page shows", function()
    local section = read_file("tests/console/README.md")
    local shown = 0
    for commands, behind in section:gmatch("```sh\n(.-)```\n()") do
      local pipe = io.popen(("HOME='%s'\n%s"):format(folder, commands:gsub("scripts/run%-plugin", function()
        return system.lua .. " tests/console/main.lua"
      end)))
      local text = pipe:read("a"):gsub(folder, "/home/you")
      pipe:close()
      local expected = section:match("^\n```\n(.-)```\n", behind) or ""
      shown = shown + (expected ~= "" and 1 or 0)
      assert.equal(expected, text)
    end
    assert.equal(3, shown)
  end)

  it("explains its usage", function()
    local text, code = run("--help")
    assert.equal(0, code)
    local file = assert(io.open("tests/console/options.lua"))
    local count = 0
    for option in file:read("a"):gmatch('%["(%-%-%a+)"%] =') do
      assert_has(text, "\n  " .. option .. " ")
      count = count + 1
    end
    file:close()
    assert.is_true(count > 10)
  end)
end)
