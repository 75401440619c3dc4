-- The included plugins that do real work, as a user runs them: what they show, ask, do and refuse.
-- tests/spec/plugins_stopped_spec.lua and plugins_spec.lua test what they have in common.

local generated = require "generated_exports"
local parse = require("export_parser").parse
local plugin_runs = require "spec.fixtures.plugin_runs"

local path_of, write, read = plugin_runs.path_of, plugin_runs.write, plugin_runs.read
local open, run, assert_nothing_left = plugin_runs.open, plugin_runs.run, plugin_runs.assert_nothing_left

plugin_runs.set_up()

describe("the pool report", function()
  local SHOW = {
    { name = "Group", class = "CMD_GROUP", "All", false, 'Say "hi", you', [7] = "Ünïcode\n2", [9999] = "Last" },
    { name = "Macro" },
    { name = "Preset", class = "P", [4] = { label = "Color", [2] = { label = "Red", "inside" } } },
  }

  it("describes each pool, and writes a list (K7)", function()
    local lines, engine = run("pool_report", { show = SHOW, textinput = { "Group,  Macro, Preset 4" } })
    assert.same({
      "Group: objects: 5, the last is 9999; without a label: 2; free before it: 4-6, 8-9998",
      "Macro: empty",
      "Preset 4: objects: 1, the last is 2; free before it: 1",
      "the whole list is in " .. path_of("pool_report.csv"),
      "looked at 1 to 9999 in time",
    }, lines)
    assert.equal(table.concat({ "pool,number,label,class,children", 'Group,1,"All",CMD_GROUP,0', 'Group,2,"",CMD_GROUP,0',
      'Group,3,"Say ""hi"", you",CMD_GROUP,0', 'Group,7,"Ünïcode\n2",CMD_GROUP,0', 'Group,9999,"Last",CMD_GROUP,0',
      'Preset 4,2,"Red",P,1', "" }, "\r\n"), read("pool_report.csv"))
    for i, pool in ipairs { "Group", "Macro", "Preset 4" } do
      local bar = engine.progress[i]
      assert.same({ "P: " .. pool, { 0, 9999 }, 9999 }, { bar.name, bar.range, bar.values[#bar.values] })
    end
  end)

  it("refuses a word that is not a pool, before anything else (K7)", function()
    for text, wrong in pairs { ["Group; Macro"] = "Group; Macro", ["Macro, 5"] = " 5", [","] = "," } do
      assert.same({ ('no pool: "%s"; write as in Group, Preset 4'):format(wrong) },
        (run("pool_report", { argument = text, show = SHOW })))
    end
  end)

  it("says where the list can't be written, and reports all the same (K9)", function()
    local lines = run("pool_report", { argument = "Macro", show = SHOW, showvars = { TEMPPATH = "/nowhere" } })
    assert.equal("Macro: empty", lines[1])
    assert.truthy(lines[2]:find("^the list can't be written: /nowhere/pool_report.csv: "))
  end)
end)

describe("the export reader", function()
  local function count(fixtures)
    local n = 0
    for _ in pairs(fixtures) do
      n = n + 1
    end
    return n
  end

  it("reads the usual files of a folder as the parser does, big presets in pieces (K7)", function()
    generated.write(path_of(), 60)
    local text = read("preset_0.1.xml")
    assert.is_true(#text > 3 * 64 * 1024)
    local preset, values, fixtures = parse(text, "preset_0.1.xml"), 0, {}
    for key, attributes in pairs(preset) do
      fixtures[math.type(key) and key or math.tointeger(tonumber(key:match("^%d+")))] = true
      values = values + count(attributes)
    end
    local lines, engine = run("export_reader", { textinput = function(title, default)
      assert.equal("P: folder, or folder; file; file", title)
      assert.equal(path_of() .. "/importexport", default)
      return path_of()
    end })
    assert.same({
      ("patch.xml: patch, %d fixtures, 120 subfixtures"):format(count(parse(read("patch.xml"), "patch.xml"))),
      "layout.xml: layout, 60 fixtures, 123 elements",
      ("preset_0.1.xml: preset, %d fixtures, %d values"):format(count(fixtures), values),
      "3 files in time",
    }, lines)
    assert.is_true(engine.progress[1].range[2] > 5)
  end)

  it("finds conflicts (K7)", function()
    write("patch.xml", [[<?xml version="1.0"?><!-- <Fixture fixture_id="9"> -->
<MA><Layer name="a > b">
<Fixture index="0" name='x "y"' fixture_id="1"><SubFixture index="0"><Patch><Address>0</Address></Patch></SubFixture>
<SubFixture index="1"><Patch><Address>513</Address></Patch></SubFixture></Fixture>
<Fixture index="1" fixture_id="" channel_id="5"><SubFixture index="0"><Patch><Address>513</Address></Patch></SubFixture>
</Fixture><Fixture index="2" fixture_id="" channel_id="" /></Layer></MA>]])
    write("front.xml", '<MA><Preset><Values><Channels><PresetValue Value="1"><Channel fixture_id="1" /></PresetValue>'
      .. '<PresetValue Value="1"><Channel fixture_id="4" /></PresetValue><PresetValue Value="1">'
      .. '<Channel fixture_id="3" /></PresetValue><PresetValue Value="1"><Channel channel_id="7" /></PresetValue>'
      .. '</Channels></Values><Fades><PresetValue Value="1"><Channel fixture_id="8" /></PresetValue></Fades></Preset></MA>\n')
    assert.same({
      "patch.xml: patch, 3 fixtures, 3 subfixtures",
      "patch.xml: address 2.1 is patched twice: 1 and Channel 5",
      "front.xml: preset, 4 fixtures, 4 values",
      "front.xml: not in the patch: 3-4, Channel 7",
      "2 files in time",
    }, (run("export_reader", { argument = path_of() .. "; patch.xml ;front.xml" })))
  end)

  it("says which files can't be read, and reads the others (K9)", function()
    local text = generated.preset(60)
    local _, line = text:sub(1, text:find('fixture_id="55"', 1, true)):gsub("\n", "")
    write("broken.xml", (text:gsub('fixture_id="55"', 'fixture_id="55', 1)))
    write("half.xml", text:sub(1, 5000))
    write("sequ.xml", "<MA><Sequ /></MA>")
    write("odd.xml", "<MA><Group>\n< 5 /></Group></MA>")
    local lines = run("export_reader", { argument = path_of() .. ";none.xml;half.xml;broken.xml;sequ.xml;odd.xml" })
    assert.truthy(table.remove(lines, 1):find("none.xml", 1, true))
    assert.same({
      "half.xml: is not whole: </MA> is missing at its end; export it again",
      ('broken.xml: Error: broken.xml:%d: malformed tag <Channel fixture_id="55 attribute_name="'):format(line + 1),
      "sequ.xml: neither a preset, a patch nor a layout",
      "odd.xml: Error: odd.xml:2: malformed tag < 5 /",
      "3 files in time",
    }, lines)
    assert.same({ "nothing to read in /nowhere: export there a patch, a layout or a preset, or name files" },
      (run("export_reader", { argument = "/nowhere" })))
  end)
end)

describe("the duplicate finder", function()
  local function show()
    return { { name = "Macro", "Go", "Stop", "GO ", [7] = "Go#2", [8] = false, [9] = "Spot 1", [10] = "Spot 2",
      [12] = 'Say "a"', [13] = 'say "A"', [20] = "Stpo" } }
  end
  local SHOWN = { "compared 9 labels in time", 'Macro 1 "Go", Macro 3 "GO ", Macro 7 "Go#2"',
    'Macro 12 "Say "a"", Macro 13 "say "A""', "labels that occur more than once: 2; later objects: 3" }

  local function after(...)
    local lines = table.move(SHOWN, 1, #SHOWN, 1, {})
    for _, line in ipairs { ... } do
      lines[#lines + 1] = line
    end
    return lines
  end

  it("shows duplicates, and asks and does nothing more (K7)", function()
    local lines, engine = run("duplicate_finder", { show = show(), textinput = { "Macro", "0", "show" } })
    assert.same(SHOWN, lines)
    assert.same({}, engine:texts("cmd"))
  end)

  it("acts only after it has shown everything and got a confirmation (K10)", function()
    local asked
    local lines, engine
    local options = { argument = "Macro", show = show(), textinput = { "0", "delete" } }
    options.confirm = function(title, message)
      asked = { title, message, #engine:texts("feedback"), #engine:texts("cmd") }
      return false
    end
    engine = open("duplicate_finder", options)
    engine:run()
    engine:uninstall()
    assert.same({ "P", "Delete 3 of Macro? The first one of each label stays as it is.", 4, 0 }, asked)
    assert.equal("P: nothing is changed", engine:texts("feedback")[5])
    assert.same({}, engine:texts("cmd"))

    lines, engine = run("duplicate_finder", { argument = "Macro", show = show(), textinput = { "0", "Delete" },
      confirm = { true } })
    assert.same(after("deleted: 3 of 3"), lines)
    assert.same({ "Delete Macro 3 /nc", "Delete Macro 7 /nc", "Delete Macro 13 /nc" }, engine:texts("cmd"))
    assert.is_nil(engine.show:find("Macro 7"))
    assert.is_truthy(engine.show:find("Macro 1"))
  end)

  it("marks objects, and leaves those alone that can't be typed or have changed (K9)", function()
    local engine
    local options = { show = show(), argument = "Macro", textinput = { "0", "mark" } }
    options.confirm = function()
      engine.show:find("Macro 7").label = "Mine now"
      return true
    end
    engine = open("duplicate_finder", options)
    engine:run()
    engine:uninstall()
    assert_nothing_left(engine)
    local lines = engine:texts("feedback")
    assert.same({ "P: Macro 7 has changed meanwhile, and is left alone", "P: Macro 13 is left alone: its label can't be typed",
      "P: marked: 1 of 3" }, { lines[5], lines[6], lines[7] })
    assert.equal("GO  =1", engine.show:find("Macro 3").label)
  end)

  it("finds typing errors, which are not deleted; different numbers are none (K7)", function()
    local pool = { { name = "Preset", [4] = { "Spot 1", "Spto 1", "Spot 2", "Spot 1" } } }
    local lines = run("duplicate_finder", { show = pool, textinput = { "Preset 4", "2", "show" } })
    assert.same({ "compared 4 labels in time", 'Preset 4.1 "Spot 1", Preset 4.2 "Spto 1", Preset 4.4 "Spot 1"',
      "labels that occur more than once: 1; later objects: 2" }, lines)
    assert.same({ "only equal labels are deleted: with other ones, show or mark" },
      (run("duplicate_finder", { show = pool, textinput = { "Preset 4", "2", "delete" } })))
  end)

  it("refuses answers that make no sense, and stops if there is nothing to do (K9)", function()
    local cases = {
      { { "Macro 1.5" }, 'no pool: "Macro 1.5"; write as in Macro, or Preset 4' },
      { { "Macro", "many" }, 'not a number of letters from 0 to 9: "many"' },
      { { "Macro", "0", "burn" }, 'write show, mark or delete, not "burn"' },
      { { "Macro", false }, "cancelled" },
      { { "Macro", "0", false }, "cancelled" },
      { { "Group", "0", "delete" }, "Group has 0 labels: nothing to compare" },
    }
    for _, case in ipairs(cases) do
      assert.same({ case[2] }, (run("duplicate_finder", { show = show(), textinput = case[1] })))
    end
    local pool = { { name = "Macro", "A", "B" } }
    assert.same({ "compared 2 labels in time", "no duplicates" },
      (run("duplicate_finder", { show = pool, textinput = { "Macro", "0", "delete" } })))
  end)

  it("does not count commands that the console refuses (K9)", function()
    local engine = open("duplicate_finder", { show = show(), argument = "Macro", textinput = { "0", "delete" },
      confirm = { true } })
    engine.gma.cmd = function(text)
      return text:find("Macro 3") and "Error #72: OBJECT IS LOCKED" or nil
    end
    engine:run()
    engine:uninstall()
    local lines = engine:texts("feedback")
    assert.same({ "P: Macro 3: Error #72: OBJECT IS LOCKED", "P: deleted: 2 of 3" }, { lines[5], lines[6] })
  end)
end)

describe("fixture json", function()
  local ODD = 'Odd "q" \\ \t\1 ü ' .. "\u{1F4A1}"
  local function show()
    local fixtures = { name = "Fixture", class = "CMD_FIXTURE" }
    for i = 1, 250 do
      fixtures[i] = { label = "Spot " .. i, properties = { { "Name", "Spot " .. i }, { "Patch", "1." .. i } } }
    end
    fixtures[7].label = ODD
    fixtures[8].label = "Latin \xFC"
    fixtures[9] = { properties = { { "Patch", "-" } } }
    return { fixtures }
  end
  local PATH

  before_each(function()
    PATH = path_of("fixtures.json")
  end)

  local function export()
    os.remove(PATH)
    return run("fixture_json", { argument = "export " .. PATH, show = show() })
  end

  it("exports all fixtures, and its own import then finds nothing to change (K7)", function()
    assert.same({ "250 fixtures are in " .. PATH }, (export()))
    local text = read("fixtures.json")
    assert.truthy(utf8.len(text))
    assert.truthy(text:find('\n{ "number": 7, "name": "Odd \\u0022q\\u0022 \\u005c \\u0009\\u0001 ü \u{1F4A1}", "class": '
      .. '"CMD_FIXTURE", "properties": { "Name": "Spot 7", "Patch": "1.7" } },\n', 1, true))
    assert.truthy(text:find('"name": "Latin ü"', 1, true))
    assert.truthy(text:find('"number": 9, "name": null', 1, true))
    assert.same({ "nothing to change" }, (run("fixture_json", { argument = "import " .. PATH, show = show() })))
  end)

  it("shows the changes of an import, and makes them when confirmed (K10)", function()
    export()
    local text = read("fixtures.json"):gsub('"Spot 1",', '"Front",', 1):gsub('"Patch": "1.3"', '"patch": "2.3"')
      :gsub('"name": "Spot 4"', '"name": "\\ud83d\\udca1 \\"q\\""'):gsub('"number": 250', '"number": 999')
      :gsub('"Patch": "1.5"', '"Patch": "(-)"')
    write("fixtures.json", text)
    local shown = { 'Fixture 1: "Spot 1" becomes "Front"', "Fixture 3: patch 1.3 becomes 2.3",
      'Fixture 4: "Spot 4" becomes "\u{1F4A1} "q"" (left alone: it can\'t be typed)',
      "Fixture 5: patch 1.5 becomes (-) (left alone: no universe.address)", "not in this show, and left out: 999" }
    local options = { textinput = { "import", PATH }, show = show(), confirm = { false } }
    local lines, engine = run("fixture_json", options)
    shown[6] = "nothing is changed"
    assert.same(shown, lines)
    assert.same({}, engine:texts("cmd"))
    lines, engine = run("fixture_json", { textinput = { "import", PATH }, show = show(), confirm = { true } })
    shown[6] = "changed: 2 of 2"
    assert.same(shown, lines)
    assert.same({ 'Label Fixture 1 "Front"', "Assign Fixture 3 /patch=2.3" }, engine:texts("cmd"))
    assert.equal("Front", engine.show:find("Fixture 1").label)
    assert.equal("2.3", engine.show:find("Fixture 3").properties[2][2])
  end)

  it("asks before it overwrites a file, and writes nothing if there are no fixtures (K9)", function()
    write("fixtures.json", "mine")
    local function again(answer)
      return run("fixture_json", { argument = "export " .. PATH, show = show(), confirm = { answer } })
    end
    assert.same({ "nothing is written" }, (again(false)))
    assert.equal("mine", read("fixtures.json"))
    assert.same({ "250 fixtures are in " .. PATH }, (again(true)))
    os.remove(PATH)
    assert.same({ "the show has no fixtures: nothing is written" },
      (run("fixture_json", { argument = "export " .. PATH, show = { { name = "Fixture" } } })))
    assert.is_nil(io.open(PATH))
    local lines = run("fixture_json", { argument = "export /nowhere/a.json", show = show() })
    assert.truthy(lines[1]:find("^can't be written: /nowhere/a.json: "))
  end)

  it("refuses malformed files, with the line (K9) #long", function()
    local cases = {
      { '{ "fixtures": [\n{ "number": 1 2 } ] }', "fixtures.json:2: expected a comma or }" },
      { '{ "fixtures": [\n{ "number": tru } ] }', "fixtures.json:2: no value: tru" },
      { '{ "fixtures": [] }\n\nx', "fixtures.json:3: expected the end" },
      { '{ "fixtures": [ "\n" ] }', "fixtures.json:1: a string has no end in its line" },
      { '["\\x"]', "fixtures.json:1: no such escape" },
      { '["\\ud83d"]', "fixtures.json:1: half a character" },
      { '{ fixtures: [] }', "fixtures.json:1: expected a name in quotes" },
      { '["a" ; "b"]', "fixtures.json:1: expected a comma or ]" },
      { "", "fixtures.json:1: expected a value" },
      { "[]", "fixtures.json: has no list named fixtures" },
      { '{ "fixtures": [ null ] }', "fixtures.json: fixtures[1] must have a number of its own, and name and Patch as texts" },
      { '{ "fixtures": [ { "number": 1 }, { "number": 1 } ] }',
        "fixtures.json: fixtures[2] must have a number of its own, and name and Patch as texts" },
      { '{ "fixtures": [ { "number": 1, "properties": { "Patch": 5 } } ] }',
        "fixtures.json: fixtures[1] must have a number of its own, and name and Patch as texts" },
    }
    for _, case in ipairs(cases) do
      write("fixtures.json", case[1])
      assert.same({ "Error: " .. case[2] }, (run("fixture_json", { argument = "import " .. PATH, show = show() })))
    end
    assert.same({ 'write export or import, not "burn"' }, (run("fixture_json", { argument = "burn", show = show() })))
    local lines = run("fixture_json", { argument = "import /nowhere.json", show = show() })
    assert.truthy(lines[1]:find("^can't be read: /nowhere.json: "))
  end)
end)
