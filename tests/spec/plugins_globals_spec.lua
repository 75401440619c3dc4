-- The included plugins work as usual if other plugins change the shared globals, before they start or while they run.

local console = require "console"
local generated = require "generated_exports"
local plugins_folder = require "spec.fixtures.plugins_folder"
local public_calls = require "spec.fixtures.public_calls"
local system = require "spec.fixtures.system"
local write = require "spec.fixtures.write"

local find, next, rawset = string.find, next, rawset

local folder

-- Each plugin's argument and answers.
local RUNS = {
  duplicate_finder = { argument = "Macro", answers = { letters = "1", show = "mark" } },
  export_reader = { argument = function() return folder end },
  ["fixture_json, exporting,"] = { argument = function() return ("export %s/fixtures.json"):format(folder) end },
  ["fixture_json, importing,"] = { argument = function() return ("import %s/names.json"):format(folder) end },
  pool_report = { argument = "Group, Preset 4" },
  template = { argument = "Macro" },
}

-- Without the measured times.
local function without_measures(text)
  return (text:gsub("%d+%.%d+ s$", "some time"):gsub("%-?%d+%.%d+", "?"))
end

--- Runs a plugin, with all standard globals set to false at a moment. Returns its output.
-- @tparam ?string moment "before" it starts, "during" its run
local function run(name, moment)
  local given = RUNS[name] or {}
  os.remove(folder .. "/fixtures.json")
  local engine = console.new {
    show = { { name = "Group", "Front", "Back", [4] = "Side" }, { name = "Preset", [4] = { label = "Color", "Red" } },
      { name = "Macro", "Go", "Go#2", "Went" }, { name = "Fixture", "Spot 1", "Spot 2" } },
    showvars = { TEMPPATH = folder, PLUGINPATH = folder },
    confirm = function() return true end,
    textinput = function(title)
      for word, answer in next, given.answers do
        if find(title, word, 1, true) then
          return answer
        end
      end
    end,
  }
  local before, replaced = {}, {}
  for _, list in ipairs { public_calls.FUNCTIONS, public_calls.LIBRARIES } do
    for _, global in ipairs(list) do
      before[global], replaced[global] = _G[global], false
    end
  end
  local G = _G
  local function set_globals(values)
    for global, value in next, values do
      rawset(G, global, value)
    end
  end

  engine:install()
  local plugin = engine:load(("lua/plugins/%s.lua"):format(name:match("[%w_]+")), { name = name, visible = "P" })
  local argument = given.argument
  if type(argument) == "function" then
    argument = argument()
  end
  if moment == "before" then
    set_globals(replaced)
  end
  plugin:run(argument)
  engine:tick()
  if moment == "during" then
    set_globals(replaced)
  end
  engine:run()
  set_globals(before)
  engine:uninstall()
  assert.same({}, engine:texts("error"))
  local shown = {}
  for _, kind in ipairs { "feedback", "cmd", "confirm" } do
    for _, text in ipairs(engine:texts(kind)) do
      shown[#shown + 1] = without_measures(text)
    end
  end
  return shown, engine:texts("echo")
end

describe("with all standard globals false (K11)", function()
  local before

  setup(function()
    before = package.loaded["gma2-workers"]
    package.loaded["gma2-workers"] = require "gma2workers"
    package.loaded[plugins_folder.SHARED] = plugins_folder.load_shared()
    folder = system.temporary()
    os.remove(folder)
    assert(os.execute('mkdir "' .. folder .. '"'))
    generated.write(folder, 20)
    write(folder .. "/names.json",
      '{ "fixtures": [ { "number": 1, "name": "Spot left" }, { "number": 9, "name": "Hazer" } ] }')
  end)

  teardown(function()
    package.loaded["gma2-workers"], package.loaded[plugins_folder.SHARED] = before, nil
    assert(os.execute((system.is_windows and 'rmdir /s /q "%s"' or 'rm -r "%s"'):format(folder)))
  end)

  for name in pairs(RUNS) do
    for _, moment in ipairs { "before", "during" } do
      -- The report of all pools takes some seconds in a debug build.
      local tag = name == "pool_report" and " #long" or ""
      it(("%s works, if they change %s its run%s"):format(name, moment, tag), function()
        local expected, shown = run(name), run(name, moment)
        assert.same(expected, shown)
        assert.is_true(#shown > 0)
      end)
    end
  end

  it("the probe writes its report, and no line lacks a value because of a global", function()
    local shown, told = run("probe", "before")
    assert.truthy(table.concat(shown, "\n"):find("gma2workers probe: the report is in the System Monitor and in ", 1, true))
    for _, line in ipairs(told) do
      -- The cooperative backend has not loaded the binary before, and no library can be loaded without globals.
      if package.loaded["gma2-workers"].info.backend == "native" or not line:find("^binary serves: ") then
        assert.is_falsy(line:find("boolean value", 1, true), line)
      end
    end
  end)
end)
