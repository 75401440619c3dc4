-- Shows that the stand-in reads from files: Lua, JSON, and exports of a console.

local console = require "console"
local generated = require "generated_exports"
local show_file = require "console.show_file"
local system = require "spec.fixtures.system"
local write_file = require "spec.fixtures.write"

local REAL_EXPORTS = os.getenv("GMA2WORKERS_EXPORTS") or "../shared/data/ma2-exports"

local function has_real_exports()
  local file = io.open(REAL_EXPORTS .. "/patch.xml", "rb")
  return file and file:close()
end

local it_for_real = has_real_exports() and it or pending

local written

-- Writes a file for one spec; `name` is the end of its name.
local function write(name, text)
  local base = system.temporary()
  os.remove(base)
  local path = base .. name
  write_file(path, text)
  written[#written + 1] = path
  return path
end

local function getobj_of(...)
  local gma = console.new({ show = show_file.load { ... } }).gma
  return gma.show.getobj, gma.show.property
end

local function label(getobj, name)
  return getobj.label(assert(getobj.handle(name), name))
end

describe("a show from a file", function()
  before_each(function() written = {} end)
  after_each(function()
    for _, path in ipairs(written) do
      os.remove(path)
    end
  end)

  it("is the table that a Lua file returns", function()
    local getobj = getobj_of(write(".lua", 'return { { name = "Group", "Front", [10] = { label = "Back" } } }'))
    assert.equal("Front", label(getobj, "Group 1"))
    assert.equal("Back", label(getobj, "Group 10"))
  end)

  it("is a JSON file of the same shape", function()
    local getobj, property = getobj_of(write(".json", [[
      [ { "name": "Group", "1": "Front", "3": false },
        { "name": "Image", "class": "CMD_IMAGE", "5": { "label": "Logo", "properties": { "Width": 12.5, "Height": 3 } } } ]
    ]]))
    assert.equal("Front", label(getobj, "Group 1"))
    assert.is_nil(label(getobj, "Group 3"))
    local image = getobj.handle("Image 5")
    assert.equal("CMD_IMAGE", getobj.class(image))
    assert.same({ 2, "Height", "12.5" }, { property.amount(image), property.name(image, 0), property.get(image, "Width") })
  end)

  it("is a patch: layers, fixtures with subfixtures, channels and types", function()
    local getobj, property = getobj_of(write("patch.xml", generated.patch(10)))
    local fixture = getobj.handle("Fixture 10")
    assert.equal("CMD_FIXTURE", getobj.class(fixture))
    assert.equal("10", getobj.number(fixture))
    assert.equal(2, getobj.amount(fixture))
    assert.equal("CMD_SUBFIXTURE", getobj.class(getobj.handle("Fixture 10.2")))
    assert.truthy(property.get(getobj.handle("Fixture 1.1"), "Address"))
    assert.truthy(property.get(fixture, "FixtureType"))
    assert.is_nil(getobj.handle("Fixture 11"))
  end)

  it("is presets of the type in the file's name, a layout and groups, all together", function()
    local getobj = getobj_of(write("preset_4.1.xml", generated.preset(1)),
      write("preset_4.7.xml", '<MA><Preset index="6" name="Blue" /></MA>'),
      write("layout.xml", generated.layout(1)),
      write("groups.xml", '<MA><Info /><Group index="0" name="Front" /><Group index="4"><Subfixtures /></Group></MA>'))
    assert.equal("All & nothing", label(getobj, "Preset 4.1"))
    assert.equal("Blue", label(getobj, "Preset 4.7"))
    assert.equal("CMD_PRESET", getobj.class(getobj.handle("Preset 4.7")))
    assert.equal("CMD_LAYOUT", getobj.class(getobj.handle("Layout 1") or getobj.handle("Layout 2")))
    assert.equal("Front", label(getobj, "Group 1"))
    assert.is_nil(label(getobj, "Group 5"))
    assert.is_nil(getobj.handle("Group 2"))
  end)

  it("has the preset type at the end of the file's name", function()
    for name, preset in pairs { ["3_4_preset_2.1.xml"] = "Preset 2.1", ["preset_2_1.xml"] = "Preset 2.1",
      ["preset_2.1_2022.xml"] = "Preset 2.1", ["preset_10.1.xml"] = "Preset 10.1" } do
      local getobj = getobj_of(write(name, '<MA><Preset index="0" name="Blue" /></MA>'))
      assert.equal("Blue", label(getobj, preset))
    end
  end)

  it("may have groups and layouts in one file", function()
    local getobj = getobj_of(write("both.xml", '<MA><Group index="0" name="Front" /><Group index="1" name="Stage">'
      .. '<LayoutData /></Group></MA>'))
    assert.equal("Front", label(getobj, "Group 1"))
    assert.equal("Stage", label(getobj, "Layout 2"))
    assert.is_nil(getobj.handle("Group 2"))
  end)

  it_for_real("is what a real console exported", function()
    local getobj, property = getobj_of(REAL_EXPORTS .. "/patch.xml", REAL_EXPORTS .. "/preset_0.1.xml",
      REAL_EXPORTS .. "/preset_0.2.xml", REAL_EXPORTS .. "/layout.xml")
    assert.equal("SSLEDm6 1", label(getobj, "Fixture 201"))
    assert.equal("sunstrip", label(getobj, "Layer 4"))
    assert.equal("5 Sunstrip LED RGB Mode 6", label(getobj, "FixtureType 5"))
    assert.equal(10, getobj.amount(getobj.handle("Fixture 201")))
    assert.equal("1", property.get(getobj.handle("Fixture 201.1"), "Address"))
    assert.equal("SSLEDm6", label(getobj, "Layout 2"))
    assert.is_nil(getobj.handle("Group 2"))
    assert.truthy(getobj.handle("Preset 0.2"))
  end)

  local refused = {
    { "x.txt", "", "must be a .lua, .json or .xml file" },
    { ".lua", "return 5", ": a show is a list of pools, got a number" },
    { ".lua", "return {", "near <eof>" },
    { ".lua", "return { Group = { 'Front' } }", ": a show is a list of pools, each with its name" },
    { ".lua", "return { { 'Front' } }", "the show's pool 1 has no name" },
    { ".lua", "return { { name = 'Group', { lable = 'x' } } }", "the show's pool Group, object 1 has an unknown field 'lable'" },
    { ".lua", "return { { name = 'Group', 5 } }", "the show's pool Group, object 1 must be a table, a label, or false, got a number" },
    { ".lua", "return { { name = 'Group', { label = 5 } } }", "object 1: label must be a string, got a number" },
    { ".json", "[ 1", ":1: expected , or ], found the end" },
    { "preset.xml", '<MA>\n<Preset index="0" /></MA>', ":2: which type are these presets of?" },
    { "x.xml", "<LUA_EXPORT></LUA_EXPORT>", ":1: <LUA_EXPORT> where <MA> must stand" },
    { "x.xml", "<MA><Info /></MA>", ": there is no object in it" },
    { "x.xml", '<MA>\n<Group name="x" /></MA>', ":2: an index is missing" },
  }
  for _, case in ipairs(refused) do
    it("is refused with the reason: " .. case[3]:gsub("^:%d*:? ?", ""), function()
      local path = write(case[1], case[2])
      local ok, message = pcall(getobj_of, path)
      assert.is_false(ok)
      assert.truthy(message:find(case[3], 1, true), message)
    end)
  end

  it("is refused if it does not exist", function()
    assert.has_error(function() getobj_of("no_such_show.xml") end,
      "cannot read the show no_such_show.xml: No such file or directory")
  end)
end)
