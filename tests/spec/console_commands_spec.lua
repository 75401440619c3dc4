-- Commands of the stand-in other than LUA and variables: the pool of plugins, objects, exports.

local console = require "console"
local system = require "spec.fixtures.system"
local write = require "spec.fixtures.write"

describe("the command line", function()
  local engine, gma, getobj, path

  before_each(function()
    path = system.temporary()
    engine = console.new()
    gma, getobj = engine.gma, engine.gma.show.getobj
    engine:install()
  end)

  after_each(function()
    engine:uninstall()
    os.remove(path)
  end)

  it("runs plugins by number and by name, with the text behind them", function()
    write(path, "return function(argument) gma.echo(argument) end")
    engine:load(path, { name = "Front of house" })
    assert.equal("Front of house", getobj.label(getobj.handle("Plugin 1")))
    for _, command in ipairs { 'Plugin 1 "a b"', "Plugin 1", 'Plugin "Front of house" "c"', "Plugin 1 'd'" } do
      assert.is_nil(gma.cmd(command))
      engine:run()
    end
    assert.same({ "a b", "nil", "c", "d" }, engine:texts("echo"))
    assert.equal("Error #9: OBJECT DOES NOT EXIST", gma.cmd("Plugin 2"))
  end)

  it("ends plugins, and calls their Cleanup", function()
    write(path, "return function() while true do gma.sleep(0.001) end end, function() gma.echo('clean') end")
    engine:plugin(path)
    engine:tick()
    assert.is_nil(gma.cmd("Off Plugin 1"))
    engine:run()
    assert.same({ "clean" }, engine:texts("echo"))
  end)

  it("refuses a plugin that does not return its functions, and says how it must end", function()
    local function refused(code, text)
      write(path, code)
      local ok, message = pcall(engine.load, engine, path)
      assert.is_false(ok)
      assert.equal("string", type(message))
      assert.truthy(message:find(text, 1, true), message)
    end
    refused("local function Start() end", "must return its functions at the end, return Start, Cleanup: its Start is missing")
    refused("return 'Start'", "its Start is a string")
    refused("return function() end, 5", "its Cleanup is a number")
    refused("return function(", "expected near <eof>")
  end)

  it("stores, labels and deletes objects", function()
    assert.is_nil(gma.cmd('Store Group 6 "New"'))
    assert.is_nil(getobj.handle("Group 7"))
    assert.equal("New", getobj.label(getobj.handle("Group 6")))
    assert.equal(5, getobj.index(getobj.handle("Group 10")))
    assert.is_nil(gma.cmd("Delete Group 6"))
    assert.is_nil(getobj.handle("Group 6"))
    assert.equal("Error #9: OBJECT DOES NOT EXIST", gma.cmd("Store Nothing 1"))
  end)

  it("reports an unknown command, in addition to the engine's refusal", function()
    assert.equal("Error #1: UNKNOWN COMMAND: Flurb", gma.cmd("Flurb 1"))
    assert.same({ "the stand-in knows no command 'Flurb', a console may" }, engine:texts("note"))
  end)

  it("reports that the Lua state is to be closed", function()
    assert.is_falsy(engine.reload_is_due)
    assert.is_nil(gma.cmd("ReloadPlugins"))
    assert.is_true(engine.reload_is_due)
  end)
end)

describe("Export", function()
  local folder, engine

  before_each(function()
    folder = system.temporary()
    os.remove(folder)
    folder = folder:gsub("\\", "/")
  end)

  after_each(function()
    os.execute(system.is_windows and ('rmdir /s /q "%s"'):format(folder:gsub("/", "\\")) or "rm -rf '" .. folder .. "'")
  end)

  local function exported(name)
    local file = assert(io.open(folder .. "/importexport/" .. name, "rb"))
    local text = file:read("a")
    file:close()
    return text
  end

  it("writes an object's number and label", function()
    engine = console.new { folder = folder, show = { { name = "Group", [3] = "Wash & beam" } } }
    assert.is_nil(engine.gma.cmd('Export Group 3 "washes"'))
    assert.truthy(exported("washes.xml"):find('<Group index="2" name="Wash &amp; beam" />', 1, true))
    assert.equal("Error #9: OBJECT DOES NOT EXIST", engine.gma.cmd('Export Group 4 "washes"'))
    assert.equal("Error #3: SYNTAX ERROR", engine.gma.cmd("Export Group 3 washes"))
  end)

  it("writes what the console exported if the object came from that", function()
    local path = system.temporary()
    write(path, "<MA><Group index='2' /><!-- all of it --></MA>")
    engine = console.new { folder = folder, show = { { name = "Group", [3] = { file = path } } } }
    assert.is_nil(engine.gma.cmd('Export Group 3 "group.xml"'))
    os.remove(path)
    assert.equal("<MA><Group index='2' /><!-- all of it --></MA>", exported("group.xml"))
  end)
end)
