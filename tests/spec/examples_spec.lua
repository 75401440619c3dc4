-- The example plugins as a user runs them, in the engine's stand-in and in both modes; and reading exports.
--
-- Real exports are read, too, if there are any: in the folder named by GMA2WORKERS_EXPORTS, or beside the repository.

local console = require "console"
local gma2workers = require "gma2workers"
local generated = require "generated_exports"
local ma2_xml = require "ma2_xml"
local parse = require("export_parser").parse
local system = require "spec.fixtures.system"

local REAL_EXPORTS = os.getenv("GMA2WORKERS_EXPORTS") or "../shared/data/ma2-exports"
local MODES = { "timer", "cmd" }

local function read_real(name)
  local file = assert(io.open(REAL_EXPORTS .. "/" .. name, "rb"))
  local text = file:read("a")
  file:close()
  return text
end

local function has_real_exports()
  local file = io.open(REAL_EXPORTS .. "/patch.xml", "rb")
  return file and file:close()
end

-- Without real exports, these are reported as pending.
local it_for_real = has_real_exports() and it or pending

-- What the plugin wrote to the command line feedback and to the system monitor. An error in it fails the test.
local function run_plugin(name, argument, options)
  local engine = console.new(options or {})
  engine:install()
  engine:plugin("tests/examples/" .. name .. ".lua", { name = name, argument = argument })
  engine:run()
  engine:uninstall()
  local shown = { feedback = {}, echo = {}, error = {} }
  for _, line in ipairs(engine.transcript) do
    if shown[line.kind] then
      table.insert(shown[line.kind], line.text)
    end
  end
  assert.same({}, shown.error)
  return shown.feedback, shown.echo
end

local function for_each_mode(describe_mode)
  for _, mode in ipairs(MODES) do
    describe("in mode " .. mode, function()
      describe_mode(mode)
    end)
  end
end

describe("traced", function()
  it("asks for all labels, and leaves a timeline", function()
    local path = system.temporary()
    local feedback = run_plugin("traced", path)
    local file = io.open(path, "rb")
    local text = file:read("a")
    file:close()
    os.remove(path)
    assert.is_truthy(feedback[1]:find("^Traced: %d+ labels in [%d.]+ s, see "), feedback[1])
    for _, name in ipairs { "Group 1 and on", "Group 45 and on" } do
      assert.is_truthy(text:find(('"name":"%s","cat":"task"'):format(name), 1, true), name)
    end
  end)
end)

describe("cpu_burner", function()
  for_each_mode(function(mode)
    it("shows the same sum, however the steps are divided", function()
      local sum = 0.0
      for i = 1, 10007 do
        sum = sum + math.sin(i) * math.sin(i) * math.cos(i / 3)
      end
      local feedback = run_plugin("cpu_burner", nil, { textinput = { mode, "4", "10007" } })
      assert.truthy(feedback[1]:find("10007 steps on 4 workers", 1, true))
      -- Shares are summed separately, which may change the last digits.
      assert.near(sum, tonumber(feedback[2]:match("sum (%S+)")), 1e-5)
    end)
  end)

  it("stops at the first cancelled question", function()
    for answered = 0, 2 do
      local answers = table.move({ "timer", "4", "1000" }, 1, answered, 1, {})
      answers[answered + 1] = false
      assert.same({ "CPU burner: cancelled" }, (run_plugin("cpu_burner", nil, { textinput = answers })))
    end
  end)

  it("refuses a load that is not a number", function()
    local feedback = run_plugin("cpu_burner", nil, { textinput = { "timer", "4", "much" } })
    assert.same({ "CPU burner: not a number of steps: much" }, feedback)
  end)
end)

describe("limited_workers", function()
  for_each_mode(function(mode)
    it("lets twelve sleepers sleep three at a time", function()
      local feedback, echo = run_plugin("limited_workers", mode)
      assert.equal(1, #feedback)
      assert.truthy(feedback[1]:find("12 rested, 3 at a time", 1, true))
      -- Fewer than four rounds would mean that more than three slept at once.
      assert.is_true(tonumber(feedback[1]:match("(%d+) rounds")) >= 4)

      local rested, done = {}, {}
      for _, text in ipairs(echo) do
        rested[#rested + 1] = text:match("^Sleeper (%d+) is rested$")
        done[#done + 1] = tonumber(text:match("(%d+) of 12 done$"))
      end
      table.sort(rested, function(a, b) return tonumber(a) < tonumber(b) end)
      assert.same({ "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12" }, rested)
      for i = 2, #done do
        assert.is_true(done[i - 1] < done[i])
      end
      assert.equal(12, done[#done])
    end)
  end)
end)

describe("ma2_xml", function()
  -- One line per event; attributes in the order of their names.
  local function listed(text)
    local lines = {}
    for event, name, content in (ma2_xml.events(text, "test.xml")) do
      local parts = {}
      for key, value in pairs(event == "open" and content or {}) do
        parts[#parts + 1] = key .. "=" .. value
      end
      table.sort(parts)
      table.insert(parts, 1, event .. " " .. name)
      parts[#parts + 1] = event == "text" and content or nil
      lines[#lines + 1] = table.concat(parts, " ")
    end
    return lines
  end

  it("returns tags, attributes and text in order", function()
    assert.same({ "open a", "open b x=1 y=2", "text b hello", "close b", "close a" },
      listed("<a>\n  <b x='1' y=\"2\">hello</b>\n</a>\n"))
  end)

  it("closes an element that closes itself", function()
    assert.same({ "open a", "open b", "close b", "open c x=1", "close c", "close a" }, listed("<a><b/><c x='1' /></a>"))
  end)

  it("skips byte order mark, instructions and comments", function()
    local head = '\xEF\xBB\xBF<?xml version="1.0"?>\n<?xml-stylesheet href="a>b.xsl"?>\n<!-- <a> & -- > -->'
    assert.same({ "open a", "close a" }, listed(head .. "<a><!----></a><!-- end -->\n"))
  end)

  it("takes CDATA as it is", function()
    assert.same({ "open a", "text a x < y &amp; ]", "close a" }, listed("<a><![CDATA[x < y &amp; ]]]></a>"))
  end)

  it("reads the other quote and > in an attribute", function()
    assert.same({ [[open a x=it's > y="so"]], "close a" }, listed([[<a x="it's >" y='"so"'/>]]))
  end)

  it("decodes entities in attributes and text", function()
    assert.same({ [[open a x=<&>"']], "text a A\u{E9}\u{2191}&lt;", "close a" },
      listed("<a x='&lt;&amp;&gt;&quot;&apos;'>&#65;&#233;&#x2191;&amp;lt;</a>"))
  end)

  it("reads names beyond ASCII", function()
    assert.same({ "open Größe höhe=1", "close Größe" }, listed("<Größe höhe='1'/>"))
  end)

  local malformed = {
    { "<a>\n<b>\n</a>", "test.xml:3: </a> where </b> must stand" },
    { "<a/>\n</a>", "test.xml:2: </a> where nothing is open" },
    { "<a>\n<b>", "test.xml:2: the file ends inside <b>" },
    { "", "test.xml:1: no element in the file" },
    { "<a/>\n<b/>", "test.xml:2: a second root element <b>" },
    { "<a/>\n\ntext", "test.xml:3: text outside of the root element" },
    { "text<a/>", "test.xml:1: text outside of the root element" },
    { "<a>\n<b x=1/></a>", "test.xml:2: malformed tag <b>" },
    { "<a>\n<b x='1/></a>", "test.xml:2: malformed tag <b>" },
    { "<a>\n<b x='1'y='2'/></a>", "test.xml:2: malformed tag <b>" },
    { "<a>\n<b", "test.xml:2: malformed tag <b>" },
    { "<a>\n</a x='1'>", "test.xml:2: malformed tag </a>" },
    { "<a>\n< b/></a>", "test.xml:2: malformed tag < b/" },
    { "<!DOCTYPE a>\n<a/>", "test.xml:1: malformed tag <!DOCTYPE a" },
    { "<a>\n\n<b x='1' x='2'/></a>", "test.xml:3: attribute x given twice" },
    { "<a>\n<b x='&nope;'/></a>", "test.xml:2: unknown entity &nope;" },
    { "<a>\n\n rock & roll</a>", "test.xml:3: unknown entity &" },
    { "<a>&#x110000;</a>", "test.xml:1: unknown entity &#x110000;" },
    { "<a>\n<!-- </a>", "test.xml:2: --> is missing" },
    { "<a><![CDATA[</a>", "test.xml:1: ]]> is missing" },
    { "<?xml <a/>", "test.xml:1: ?> is missing" },
  }
  for _, case in ipairs(malformed) do
    it(("refuses %q"):format(case[1]), function()
      local ok, message = pcall(listed, case[1])
      assert.same({ false, case[2] }, { ok, message })
    end)
  end
end)

local function count(values)
  local n = 0
  for _ in pairs(values) do
    n = n + 1
  end
  return n
end

-- The number of a preset's values, and their sum.
local function totals(preset)
  local n, sum = 0, 0
  for _, values in pairs(preset) do
    for _, value in pairs(values) do
      n, sum = n + 1, sum + value
    end
  end
  return n, sum
end

describe("generated exports", function()
  it("are the same each time", function()
    for _, kind in ipairs { "preset", "patch", "layout" } do
      assert.equal(generated[kind](7), generated[kind](7))
    end
  end)

  it("have a preset that can be read back", function()
    local preset, kind = parse(generated.preset(30), "preset.xml")
    assert.equal("preset", kind)
    assert.equal(60, count(preset))
    assert.equal(30 * 45, (totals(preset)))
    assert.equal(40, count(preset[30]))
    assert.equal(5, count(preset["30.2"]))
    assert.equal(102.648, preset[1].DIM)
    assert.equal("integer", math.type(preset[1].COLORRGB2))
    -- 2.5 is the fade of every PAN.
    assert.not_equal(2.5, preset[1].PAN)
  end)

  it("have a patch that can be read back", function()
    local patch, kind = parse(generated.patch(40), "patch.xml")
    assert.equal("patch", kind)
    assert.equal(40, count(patch))
    assert.same({
      name = 'Spot "31"', type = "2 Spot & ring", layer = "Spots <front>",
      subfixtures = {
        { address = 511, universe = 1, channel = 511, channels = 40 },
        { address = 525, universe = 2, channel = 13, channels = 5 },
      },
    }, patch[31])
    assert.same({ { channels = 40 }, { channels = 5 } }, patch[40].subfixtures)
  end)

  it("have a layout that can be read back", function()
    local layout, kind = parse(generated.layout(40), "layout.xml")
    assert.equal("layout", kind)
    assert.equal(83, #layout)
    assert.same({ kind = "fixture", fixture = 22, sub = 2, x = 1, y = 4.25, w = 1, h = 1 }, layout[44])
    assert.same({ kind = "object", name = "All & on", object = "13.1.5", x = -2.5, y = 1, w = 2, h = 1 }, layout[81])
    assert.same({ kind = "rectangle", text = "Stage", x = 9.5, y = 4, w = 24, h = 12 }, layout[82])
    assert.same({ kind = "text", text = "\u{2191} Up \u{2191}", x = 9.5, y = -3, w = 6, h = 1 }, layout[83])
  end)
end)

describe("export_parser", function()
  local function preset_of(values)
    return '<MA>\n<Preset>\n<Values><Channels>\n' .. values .. '</Channels></Values>\n</Preset></MA>'
  end

  it("takes a conventional channel by its number", function()
    local text = preset_of '<PresetValue Value="55"><Channel channel_id="5" attribute_name="DIM"/></PresetValue>'
    assert.same({ ["Channel 5"] = { DIM = 55 } }, (parse(text, "preset.xml")))
  end)

  it("keeps patched fixtures without a number", function()
    local patch = parse([[<MA><Layer name="Floor"><Fixture index="3" name="Haze" fixture_id="" channel_id="">
      <SubFixture index="0"><Patch><Address>1024</Address></Patch></SubFixture></Fixture></Layer></MA>]], "patch.xml")
    assert.same({ { address = 1024, universe = 2, channel = 512, channels = 0 } }, patch["Floor/3"].subfixtures)
  end)

  local refused = {
    { "<MA>\n<Sequence/></MA>", "x.xml:2: neither a preset, a patch nor a layout" },
    { preset_of '<PresetValue Value="full"/>', "x.xml:4: Value is no number: full" },
    { preset_of '<PresetValue/>', "x.xml:4: Value is no number: nil" },
    { preset_of '<PresetValue Value="1">\n<Channel attribute_name="DIM"/></PresetValue>',
      "x.xml:5: a value without a fixture" },
    { preset_of '<PresetValue Value="1">\n<Channel fixture_id="1"/></PresetValue>',
      "x.xml:5: a value without an attribute" },
    { '<MA><Layer>\n<Fixture fixture_id="1.5"/></Layer></MA>', "x.xml:2: fixture number is no whole number: 1.5" },
    { '<MA><Group>\n<A center_x="1" center_y="b"/></Group></MA>', "x.xml:2: center_y is no number: b" },
  }
  for _, case in ipairs(refused) do
    it("names file and line: " .. case[2], function()
      local ok, message = pcall(parse, case[1], "x.xml")
      assert.same({ false, case[2] }, { ok, message })
    end)
  end
end)

describe("export_parser as a task", function()
  local function assert_same_as_alone(exports, mode)
    local tasks = {}
    for i, export in ipairs(exports) do
      tasks[i] = { func = parse, args = { export.text, export.name }, name = export.name }
    end
    local response = gma2workers.RunSync { tasks = tasks, mode = mode }
    for i, export in ipairs(exports) do
      local content, kind = parse(export.text, export.name)
      assert.is_true(response.result[i].success, response.result[i].data)
      assert.same({ content, kind, n = 2 }, response.result[i].returns)
    end
  end

  for_each_mode(function(mode)
    it("returns the same as on the host, with the functions of both modules", function()
      assert_same_as_alone({
        { name = "patch.xml", text = generated.patch(8) },
        { name = "preset.xml", text = generated.preset(8) },
        { name = "layout.xml", text = generated.layout(8) },
        { name = "comment.xml", text = generated.preset(8):gsub("</MA>", "<!-- </Values> --></MA>") },
      }, mode)
    end)

    it("names file and line of an error", function()
      local text = "<MA>\n<Preset>\n</MA>"
      local response = gma2workers.RunSync { tasks = { { func = parse, args = { text, "broken.xml" } } }, mode = mode }
      assert.equal("Error: broken.xml:3: </MA> where </Preset> must stand", response.result[1].data)
    end)

    it_for_real("gives the same of real exports in " .. REAL_EXPORTS, function()
      local exports = {}
      for i, name in ipairs { "preset_0.1.xml", "preset_0.2.xml", "patch.xml", "layout.xml" } do
        exports[i] = { name = name, text = read_real(name) }
      end
      assert_same_as_alone(exports, mode)
    end)
  end)
end)

-- The figures were counted in the files themselves, by other means than this parser.
describe("real exports in " .. REAL_EXPORTS, function()
  local function real(name, test)
    it_for_real("read right: " .. name, function()
      test(parse(read_real(name), name))
    end)
  end

  local function fixtures_of(preset)
    local fixtures, subfixtures = 0, 0
    for key in pairs(preset) do
      if math.type(key) == "integer" then
        fixtures = fixtures + 1
      else
        subfixtures = subfixtures + 1
      end
    end
    return fixtures, subfixtures
  end

  real("preset_0.1.xml", function(preset)
    local values, sum = totals(preset)
    assert.equal(1260, values)
    assert.near(39039.952273, sum, 1e-6)
    assert.same({ 40, 80 }, { fixtures_of(preset) })
    assert.equal(41.601875, preset[1].SHUTTER)
    assert.equal(50, preset[1]["SHAPER ROT"])
    assert.equal(-0.0041199359, preset[2].PAN)
    assert.equal(100, preset["310.5"].COLORRGB3)
  end)

  real("preset_0.2.xml", function(preset)
    local values, sum = totals(preset)
    assert.equal(1259, values)
    assert.near(39039.956393, sum, 1e-6)
    assert.same({ 40, 80 }, { fixtures_of(preset) })
    assert.is_nil(preset[2].PAN)
  end)

  real("patch.xml", function(patch)
    assert.equal(10, count(patch))
    local sum, seen, channels = 0, {}, 0
    for id = 201, 210 do
      assert.equal("SSLEDm6 " .. id - 200, patch[id].name)
      assert.equal("5 Sunstrip LED RGB Mode 6", patch[id].type)
      assert.equal("sunstrip", patch[id].layer)
      assert.equal(10, #patch[id].subfixtures)
      for _, sub in ipairs(patch[id].subfixtures) do
        sum, seen[sub.address], channels = sum + sub.address, true, channels + sub.channels
      end
    end
    assert.same({ 64102, 100, 400 }, { sum, count(seen), channels })
    assert.same({ address = 10, universe = 1, channel = 10, channels = 4 }, patch[201].subfixtures[4])
    assert.same({ address = 525, universe = 2, channel = 13, channels = 4 }, patch[201].subfixtures[5])
    assert.equal(810, patch[210].subfixtures[10].address)
  end)

  real("layout.xml", function(layout)
    assert.equal(100, #layout)
    for i, item in ipairs(layout) do
      local fixture, sub = 201 + (i - 1) // 10, (i - 1) % 10 + 1
      assert.same({ kind = "fixture", fixture = fixture, sub = sub, x = i - 1, y = 0, w = 1, h = 1 }, item)
    end
  end)
end)
