-- Each included plugin, run as on the folder's page: `scripts/run-plugin lua/plugins/NAME.lua`, and the Enter key at each
-- question.

local system = require "spec.fixtures.system"

--- The plugin's output on a console of its own: its lines in the Command Line Feedback, without its name and the times.
local function run(name, words)
  local setup = "i=0; while [ $i -lt 9 ]; do echo; i=$((i+1)); done"
  local pipe = assert(io.popen(("(%s) | timeout 60 %s tests/console/main.lua lua/plugins/%s.lua %s 2>&1"):format(
    setup, system.lua, name, words or "")))
  local text = pipe:read("a")
  assert.is_true((pipe:close()), text)
  local lines = {}
  for line in text:gmatch("feedback: " .. name .. ": ([^\n]*)") do
    lines[#lines + 1] = line:gsub("%d+%.%d+ s$", "… s")
  end
  return lines, text
end

describe("with all defaults, #posix", function()
  local folder

  before_each(function()
    folder = system.temporary()
    os.remove(folder)
  end)

  after_each(function()
    os.execute("rm -rf " .. folder)
  end)

  it("the template compares the groups (K18)", function()
    local lines, text = run("template")
    assert.same({ "compared 4 labels" }, lines)
    assert.truthy(text:find("progress: stop template at 4 of 4", 1, true), text)
  end)

  it("the pool report describes four pools, and writes its list (K18) #long", function()
    local lines = run("pool_report", "--folder " .. folder)
    assert.same({
      "Group: objects: 5, the last is 10; without a label: 3; free before it: 5-9",
      "Macro: objects: 4, the last is 7; without a label: 3; free before it: 4-6",
      "Sequence: objects: 2, the last is 2; without a label: 2",
      "Effect: objects: 2, the last is 2",
      "the whole list is in " .. folder .. "/temp/pool_report.csv",
      "looked at 1 to 9999 in … s",
    }, lines)
    assert(io.open(folder .. "/temp/pool_report.csv")):close()
  end)

  it("the export reader says what to do if nothing was exported, and reads what was (K18)", function()
    assert.same({ ("nothing to read in %s/importexport: export there a patch, a layout or a preset, or name files"):format(folder) },
      (run("export_reader", "--folder " .. folder)))
    require("generated_exports").write(folder .. "/importexport", 20)
    assert.same({
      "patch.xml: patch, 20 fixtures, 40 subfixtures", "layout.xml: layout, 20 fixtures, 43 elements",
      "preset_0.1.xml: preset, 20 fixtures, 900 values", "3 files in … s",
    }, (run("export_reader", "--folder " .. folder)))
  end)

  it("the duplicate finder compares the macros, and changes nothing (K18)", function()
    local lines, text = run("duplicate_finder")
    assert.same({ "compared 3 labels in … s", "no duplicates" }, lines)
    assert.truthy(text:find("progress: stop duplicate_finder at 9999 of 9999", 1, true), text)
  end)

  it("fixture json exports the fixtures, and asks before it does so again (K18)", function()
    local said = { ("5 fixtures are in %s/importexport/fixtures.json"):format(folder) }
    assert.same(said, (run("fixture_json", "--folder " .. folder)))
    local lines, text = run("fixture_json", "--folder " .. folder)
    assert.same(said, lines)
    assert.truthy(text:find("Write over " .. folder .. "/importexport/fixtures.json?", 1, true), text)
  end)

  it("the probe writes its report (K18) #long", function()
    local _, text = run("probe", "--folder " .. folder)
    assert.truthy(text:find("gma2workers probe: the report is in the System Monitor and in ", 1, true), text)
  end)
end)
