-- The included plugins that do real work, as far as they behave alike: they can be stopped, need the library, report
-- failures, and can run again.

local generated = require "generated_exports"
local plugin_runs = require "spec.fixtures.plugin_runs"
local plugins_folder = require "spec.fixtures.plugins_folder"

local path_of, write, open, run = plugin_runs.path_of, plugin_runs.write, plugin_runs.open, plugin_runs.run
local assert_nothing_left = plugin_runs.assert_nothing_left

plugin_runs.set_up()

local function many_of(pool, count)
  local many = { name = pool }
  for i = 1, count do
    many[i] = ("%d of many with a long name "):format(i):rep(3)
  end
  return many
end

-- Options that keep each plugin busy until it can be stopped.
local RUNS = {
  pool_report = function()
    return { argument = "Group", show = { many_of("Group", 300) } }
  end,
  export_reader = function()
    write("many.xml", generated.preset(300))
    return { argument = path_of() .. ";many.xml" }
  end,
  duplicate_finder = function()
    return { argument = "Group", show = { many_of("Group", 300) }, textinput = function(title)
      return title:find("letters", 1, true) and "5" or "show"
    end }
  end,
  fixture_json = function()
    os.remove(path_of("many.json"))
    return { argument = "export " .. path_of("many.json"), show = { many_of("Fixture", 300) } }
  end,
}

describe("an included plugin", function()
  it("leaves the jobs of other plugins alone when it is stopped (K19)", function()
    local gma2workers = require "gma2workers"
    local options = RUNS.pool_report()
    options.slice = 50000
    local engine, plugin = open("pool_report", options)
    local other = gma2workers.RunAsync { tasks = { { func = function() gma.sleep(0.2) return "done" end } },
      onComplete = function() end }
    while #plugin_runs.jobs == 0 do
      engine:tick()
    end
    engine:stop(plugin)
    engine:run()
    engine:uninstall()
    assert.equal("cancelled", (plugin_runs.jobs[1]:status()))
    assert.equal("done", (other:status()))
  end)

  it("leaves no job behind if it is stopped while it starts one (K8)", function()
    local gma2workers = require "gma2workers"
    for ticks = 1, 8 do
      local options = RUNS.export_reader()
      options.slice = 60
      local engine, plugin = open("export_reader", options)
      while #engine.progress == 0 do
        engine:tick()
      end
      for _ = 1, ticks do
        engine:tick()
      end
      engine:stop(plugin)
      engine:run()
      engine:uninstall()
      local limit = gma2workers.clock() + 30
      while gma2workers.Poll() > 0 do
        assert.is_true(gma2workers.clock() < limit, ticks .. " ticks after its bar began")
      end
    end
  end)

  it("says that it was cancelled, if another plugin cancels all jobs (K19)", function()
    local options = RUNS.pool_report()
    options.slice = 50000
    local engine = open("pool_report", options)
    while #plugin_runs.jobs == 0 do
      engine:tick()
    end
    require("gma2workers").cancelAll()
    engine:run()
    engine:uninstall()
    assert_nothing_left(engine)
    assert.same({ "P: cancelled" }, engine:texts("feedback"))
  end)
end)

for name, options_for in pairs(RUNS) do
  describe(name .. ", like each included plugin,", function()
    it("is stopped by Off Plugin at any point, and leaves nothing behind (K8)", function()
      for _, bars in ipairs { 0, 1, 2 } do
        local options = options_for()
        -- Time slices keep tasks of the cooperative backend from ending before they can be stopped.
        options.slice = 50000
        local engine, plugin = open(name, options)
        repeat
          engine:tick()
        until #engine.progress >= bars or engine:idle()
        if bars == 0 then
          -- A second start meanwhile is refused.
          plugin:run()
          engine:tick()
          assert.same({ "P: runs already" }, engine:texts("feedback"))
        end
        engine:stop(plugin)
        engine:run()
        for _, job in ipairs(plugin_runs.jobs) do
          assert.not_equal("running", (job:status()))
        end
        assert_nothing_left(engine)
        -- It can start again.
        plugin:run("?")
        engine:run()
        local feedback = engine:texts("feedback")
        assert.not_equal("P: runs already", feedback[#feedback])
        engine:uninstall()
      end
    end)

    for missing, names in pairs {
      ["the library"] = { "gma2-workers" }, ["the whole folder"] = { "gma2-workers", plugins_folder.SHARED },
    } do
      it(("says what to do if %s is missing (K8)"):format(missing), function()
        for _, module in ipairs(names) do
          package.loaded[module] = nil
        end
        local options = options_for()
        options.showvars = { PLUGINPATH = "/nowhere" }
        local lines, engine = run(name, options)
        assert.same({ "copy the folder gma2-workers into the plugins folder; the System Monitor has the reason" }, lines)
        assert.truthy(engine:texts("echo")[1]:find("^P: module 'gma2%-workers[%w.]*' not found"))
      end)
    end

    it("finds the folder in the plugins folder, on package.path or not (K8) #posix #long", function()
      for _, on_path in ipairs { "", "/?.lua", "/?/init.lua" } do
        package.loaded["gma2-workers"], package.loaded[plugins_folder.SHARED] = nil, nil
        local plugins, path = plugins_folder.make("refused"), package.path
        if on_path ~= "" then
          package.path = ("%s%s;%s"):format(plugins, on_path, path)
        end
        local options = options_for()
        options.showvars = { PLUGINPATH = on_path ~= "/?.lua" and plugins or "/nowhere", TEMPPATH = path_of() }
        local ok, lines = pcall(run, name, options)
        package.path = path
        plugins_folder.remove(plugins)
        assert.is_true(ok, lines)
        assert.is_falsy(lines[1]:find("copy the folder", 1, true))
        assert.is_true(#lines > 0)
      end
    end)

    it("ends if a question is cancelled (K8)", function()
      local lines = run(name, { textinput = function() return false end })
      assert.same({ "cancelled" }, lines)
    end)

    it("reports a failed task or an error of the engine, and can run again (K8)", function()
      local options = options_for()
      local argument = options.argument
      local engine, plugin = open(name, options)
      local getobj, open_file = engine.gma.show.getobj.handle, io.open
      local function refuse()
        error("the engine is out of order", 0)
      end
      engine.gma.show.getobj.handle = refuse
      io.open = refuse -- luacheck: ignore 122
      local ok, problem = pcall(engine.run, engine)
      io.open = open_file -- luacheck: ignore 122
      engine.gma.show.getobj.handle = getobj
      assert.is_true(ok, problem)
      assert_nothing_left(engine)
      assert.truthy(table.concat(engine:texts("feedback"), "\n"):find("the engine is out of order", 1, true))
      local said = #engine:texts("feedback")
      plugin:run(argument)
      engine:run()
      engine:uninstall()
      assert_nothing_left(engine)
      local again = table.concat(engine:texts("feedback"), "\n", said + 1)
      assert.truthy(#again > 0 and not again:find("runs already", 1, true) and not again:find("order", 1, true), again)
    end)
  end)
end
