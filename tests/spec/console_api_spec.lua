-- The stand-in has the engine's whole API: each function works, or says why it has no meaning off the console.

local console = require "console"

-- Every known function of the engine. `gma.show.property.set` is not among them: a live console has no such function.
local WORKS = {
  gma = { "sleep", "echo", "feedback", "build_date", "build_time", "git_version", "gethardwaretype", "gettime", "cmd",
    "timer", "textinput", "export", "export_csv", "export_json", "import" },
  ["gma.gui"] = { "confirm", "msgbox" },
  ["gma.gui.progress"] = { "start", "stop", "settext", "setrange", "set" },
  ["gma.show"] = { "getvar", "setvar" },
  ["gma.show.getobj"] = { "handle", "class", "index", "number", "name", "label", "amount", "child", "parent", "verify",
    "compare" },
  ["gma.show.property"] = { "amount", "name", "get" },
  ["gma.user"] = { "getvar", "setvar", "getcmddest", "getselectedexec" },
  ["gma.network"] = { "gethosttype", "gethostsubtype", "getprimaryip", "getsecondaryip", "getstatus", "getsessionnumber",
    "getsessionname", "getslot", "gethostdata", "getmanetslot", "getperformance" },
}
local REFUSED = {
  ["gma.show"] = { "getdmx" },
  ["gma.timestamp"] = { "name", "time", "amount" },
  ["gma.draw"] = { "getperformance" },
  ["gma.canbus"] = { "hardkey", "encoder", "wheel", "ball", "fader" },
}

-- Adds the names of all functions in a table and in the tables below it.
local function collect(names, path, value)
  for key, field in pairs(value) do
    if type(field) == "table" then
      collect(names, path .. "." .. key, field)
    else
      assert.equal("function", type(field), path .. "." .. key)
      names[path .. "." .. key] = field
    end
  end
  return names
end

describe("the stand-in's gma", function()
  local gma, functions

  before_each(function()
    gma = console.new().gma
    functions = collect({}, "gma", gma)
  end)

  it("has exactly the functions of the engine", function()
    local expected, found = {}, {}
    for _, list in ipairs { WORKS, REFUSED } do
      for path, names in pairs(list) do
        for _, name in ipairs(names) do
          expected[path .. "." .. name] = true
        end
      end
    end
    for name in pairs(functions) do
      found[name] = true
    end
    assert.same(expected, found)
  end)

  it("refuses functions that need a console's hardware, at the caller's line and with the reason", function()
    for path, names in pairs(REFUSED) do
      for _, name in ipairs(names) do
        local ok, message = pcall(function() functions[path .. "." .. name](1) end)
        assert.is_false(ok)
        local expected = ("console_api_spec.lua:%%d+: %s.%s works only on a console: there "):format(path, name)
        assert.truthy(message:find(expected:gsub("%.", "%%."):gsub("%-", "%%-"), 1), message)
      end
    end
  end)

  it("is alone in its network", function()
    local network = gma.network
    assert.equal("onPC", network.gethostsubtype())
    assert.equal("Standalone", network.getstatus())
    assert.same({ 255, 255, "" }, { network.getsessionnumber(), network.getslot(), network.getsessionname() })
    assert.equal(gma.show.getvar("VERSION"), network.gethostdata().version)
    local recycled = {}
    assert.equal(recycled, network.gethostdata("10.0.0.1", recycled))
    assert.same({}, recycled)
    assert.is_nil(network.getmanetslot(1))
    assert.is_nil(network.getperformance(1))
    assert.has_error(function() network.getmanetslot("one") end)
  end)

  it("knows the engine's own variables, in any letter case", function()
    for name in ("PATH PLUGINPATH TEMPPATH VERSION OS HOSTTYPE HOSTSUBTYPE HOSTNAME HOSTIP HOSTSTATUS USER USERPROFILE "
      .. "USERRIGHTS SHOWFILE TIME DATE SELECTEDEXEC SELECTEDEXECCUE SELECTEDFIXTURESCOUNT FADERPAGE BUTTONPAGE "
      .. "CHANNELPAGE FEATURE ATTRIBUTE PRESET"):gmatch("%u+") do
      assert.equal("string", type(gma.show.getvar(name)), name)
      assert.equal(gma.show.getvar(name), gma.show.getvar(name:lower()))
    end
    assert.is_nil(gma.show.getvar("NOTHING"))
  end)

  it("creates its folders when they are first used", function()
    local asked = 0
    local engine = console.new { folder = function() asked = asked + 1 return "/console" end }
    assert.equal(0, asked)
    assert.equal("/console/plugins", engine.gma.show.getvar("PLUGINPATH"))
    assert.equal("/console", engine.gma.show.getvar("PATH"))
    assert.equal(1, asked)
  end)

  it("has a temporary folder, which is removed with an engine that was given none (K12)", function()
    local engine = console.new()
    local path = engine.gma.show.getvar("TEMPPATH")
    assert.equal(path, engine.gma.show.getvar("PATH") .. "/temp")
    assert.equal(path, engine.gma.show.getvar("temppath"))
    local exports = assert(io.open(engine.gma.show.getvar("PATH") .. "/importexport/list.csv", "w"))
    exports:close()
    local file = assert(io.open(path .. "/list.csv", "w"))
    file:close()
    engine = nil -- luacheck: ignore 311
    collectgarbage()
    collectgarbage()
    assert.is_nil(io.open(path .. "/list.csv"))
    assert.is_nil(os.rename(path, path))
  end)
end)
