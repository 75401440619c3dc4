-- The included plugins as files that a user imports, and the template from which he starts his own.

local console = require "console"
local gma2workers = require "gma2workers"
local ma2_xml = require "ma2_xml"
local plugins_folder = require "spec.fixtures.plugins_folder"
local running = require "spec.fixtures.running"
local read = require "spec.fixtures.read"

local PLUGINS = { "duplicate_finder", "export_reader", "fixture_json", "pool_report", "probe", "template" }

local function names_of(kind)
  local names = {}
  local pipe = assert(io.popen("ls lua/plugins"))
  for name in pipe:lines() do
    names[#names + 1] = name:match("^(.+)%." .. kind .. "$")
  end
  pipe:close()
  return names
end

--- The elements of a file, by name; malformed XML raises an error.
local function elements_of(text)
  local elements = {}
  for event, name, attributes in (ma2_xml.events(text, "test.xml")) do
    if event == "open" then
      assert.is_nil(elements[name], "two of " .. name)
      elements[name] = attributes
    end
  end
  return elements
end

describe("each included plugin", function()
  it("has a .lua and an .xml #posix", function()
    local files = names_of("lua")
    for i = #files, 1, -1 do
      if files[i] == "plugin" then
        table.remove(files, i)
      end
    end
    assert.same(PLUGINS, files)
    assert.same(PLUGINS, names_of("xml"))
  end)

  for _, name in ipairs(PLUGINS) do
    it("is named by its .xml, which each console since 3.0 accepts: " .. name .. " (K4)", function()
      local text = read(("lua/plugins/%s.xml"):format(name))
      assert.equal('<?xml version="1.0" encoding="utf-8"?>', text:match("^[^\n]*"))
      local found = elements_of(text)
      local schema = "http://schemas.malighting.de/grandma2/xml/"
      assert.same({
        ["xmlns:xsi"] = "http://www.w3.org/2001/XMLSchema-instance", xmlns = schema .. "MA",
        ["xsi:schemaLocation"] = ("%sMA %s3.0.0/MA.xsd"):format(schema, schema),
        major_vers = "3", minor_vers = "0", stream_vers = "0",
      }, found.MA)
      assert.truthy(found.Info.datetime:find("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d$"))
      assert.equal("gma2workers", found.Info.showfile)
      assert.same({ index = "1", execute_on_load = "0", name = "gma2workers " .. name:gsub("_", " "),
        luafile = name .. ".lua" }, found.Plugin)
      found.MA, found.Info, found.Plugin = nil, nil, nil
      assert.same({}, found)
    end)

    it("is described on the folder's page: " .. name .. " (K4)", function()
      local readme = read("lua/plugins/README.md")
      assert.truthy(readme:find(("\n| `%s` | "):format(name), 1, true))
      if name ~= "probe" and name ~= "template" then
        local picture = ("lua/pictures/%s.svg"):format(name)
        assert.truthy(readme:find(("](%s)"):format((picture:gsub("^lua", ".."))), 1, true))
        local texts = {}
        for event, _, text in (ma2_xml.events(read(picture), picture)) do
          texts[#texts + 1] = event == "text" and text or nil
        end
        assert.equal(('> Plugin "gma2workers %s"'):format(name:gsub("_", " ")), texts[1]:match('^[^"]*"[^"]*"'))
        assert.is_true(#texts > 5)
      end
    end)

    it("returns Start and Cleanup to the engine, and does nothing before: " .. name .. " (K4)", function()
      local globals = {}
      for key in pairs(_G) do
        globals[key] = true
      end
      -- Without an engine, any use of it while the file loads would be an error.
      local gma_before = rawget(_G, "gma")
      rawset(_G, "gma", nil)
      local start, cleanup = loadfile(("lua/plugins/%s.lua"):format(name))(name, name)
      rawset(_G, "gma", gma_before)
      assert.equal("function", type(start))
      assert.equal("function", type(cleanup))
      for key in pairs(_G) do
        assert.is_true(globals[key], key)
      end
    end)
  end
end)

describe("all included plugins but the probe", function()
  it("find the library in the same way (K4)", function()
    local function ending(name)
      local text = read(("lua/plugins/%s.lua"):format(name))
      return text:sub(assert(text:find("local function Start(argument)\n", 1, true)))
    end
    for _, name in ipairs(PLUGINS) do
      if name ~= "probe" then
        assert.equal(ending("template"), ending(name))
      end
    end
  end)
end)

describe("the template", function()
  it("has at most 80 lines", function()
    assert.is_true(select(2, read("lua/plugins/template.lua"):gsub("\n", "")) <= 80)
  end)

  local LABELS = { name = "Group", "Spot front", "Wash", "Spot fornt", [7] = false, [9] = "WASH 2", [12] = "Blinder" }

  local function open(show, variables)
    -- Time slices keep tasks of the cooperative backend from ending before they can be stopped.
    local engine = console.new { show = { show }, showvars = variables, slice = 5000 }
    engine:install()
    return engine, engine:plugin("lua/plugins/template.lua", { name = "template", visible = "My plugin" })
  end

  local function run(show, variables)
    local engine = open(show, variables)
    engine:run()
    engine:uninstall()
    assert.same({}, engine:texts("error"))
    return engine
  end

  before_each(function()
    package.loaded["gma2-workers"] = gma2workers
    package.loaded[plugins_folder.SHARED] = plugins_folder.load_shared()
  end)
  after_each(function()
    package.loaded["gma2-workers"], package.loaded[plugins_folder.SHARED] = nil, nil
  end)

  it("finds similar labels, and shows its progress (K5)", function()
    local engine = run(LABELS)
    local feedback = engine:texts("feedback")
    assert.same({
      'My plugin: Group 1 "Spot front" looks like 3 "Spot fornt"',
      'My plugin: Group 2 "Wash" looks like 9 "WASH 2"',
      "My plugin: compared 5 labels",
    }, feedback)
    local bar = engine.progress[1]
    assert.same({ "My plugin", false, { 0, 5 } }, { bar.name, bar.open, bar.range })
    assert.equal(5, bar.values[#bar.values])
  end)

  it("looks at the pool in its argument (K5)", function()
    local engine = console.new { show = { { name = "Macro", "Go", "Go!" } } }
    engine:install()
    engine:plugin("lua/plugins/template.lua", { name = "template", argument = "Macro" })
    engine:run()
    engine:uninstall()
    assert.equal('template: Macro 1 "Go" looks like 2 "Go!"', engine:texts("feedback")[1])
  end)

  it("is stopped by Off Plugin, and leaves nothing behind (K6)", function()
    local many = { name = "Group" }
    for i = 1, 200 do
      many[i] = ("%d of many groups with a long name "):format(i):rep(3)
    end
    local engine, plugin = open(many)
    while not engine.progress[1] do
      engine:tick()
    end
    assert.is_true(engine.progress[1].open)
    -- A second start meanwhile is refused.
    plugin:run()
    engine:tick()
    engine:stop(plugin)
    engine:run()
    engine:uninstall()
    assert.same({}, engine:texts("error"))
    assert.same({ "My plugin: runs already" }, engine:texts("feedback"))
    assert.is_false(engine.progress[1].open)
    assert.equal(0, engine.count_timers())
    -- Its tasks are stopped; only this spec still waits for them.
    running.poll_until(function() return gma2workers.Poll() == 0 end)
  end)

  it("says what to do if gma2-workers is missing (K6)", function()
    package.loaded["gma2-workers"], package.loaded[plugins_folder.SHARED] = nil, nil
    local engine = run(LABELS, { PLUGINPATH = "/nowhere" })
    assert.same({ "My plugin: copy the folder gma2-workers into the plugins folder; the System Monitor has the reason" },
      engine:texts("feedback"))
    assert.truthy(engine:texts("echo")[1]:find("^My plugin: module 'gma2%-workers.plugins.plugin' not found"))
    assert.same({}, engine.progress)
  end)

  it("finds it in the plugins folder, on package.path or not (K6) #posix", function()
    package.loaded["gma2-workers"], package.loaded[plugins_folder.SHARED] = nil, nil
    local folder = plugins_folder.make("refused")
    local engine = run(LABELS, { PLUGINPATH = folder })
    plugins_folder.remove(folder)
    assert.equal(3, #engine:texts("feedback"))
    assert.is_nil(package.loaded["gma2-workers"])
  end)
end)
