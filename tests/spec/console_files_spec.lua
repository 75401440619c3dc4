-- Exports of plugins in the stand-in, and reading them with gma.import.

local console = require "console"
local json = require "console.json"
local read_file = require "spec.fixtures.read"
local system = require "spec.fixtures.system"
local write_file = require "spec.fixtures.write"

-- Values that every kind of file can hold.
local REPORT = { name = 'Front <"&"> \n', count = 3, share = 0.1, done = true, missing = false,
  rows = { { "a", 1 }, { "b", 2.5 } }, empty = {} }

describe("the files of the engine", function()
  local folder, engine, gma

  before_each(function()
    folder = system.temporary()
    os.remove(folder)
    folder = folder:gsub("\\", "/")
    engine = console.new { folder = folder }
    gma = engine.gma
  end)

  after_each(function()
    os.execute(system.is_windows and ('rmdir /s /q "%s"'):format(folder:gsub("/", "\\")) or "rm -rf '" .. folder .. "'")
  end)

  local function read(name)
    return read_file(folder .. "/temp/" .. name)
  end

  local function write(name, text)
    write_file(folder .. "/temp/" .. name, text)
  end

  it("come back from gma.import as they were exported", function()
    gma.export("report.xml", REPORT)
    assert.same(REPORT, gma.import("report.xml"))
    assert.equal("integer", math.type(gma.import("report.xml").count))
    assert.same({ folder .. "/temp/report.xml" }, engine:texts("file"))
  end)

  it("are XML like that of MA's own plugins", function()
    gma.export("report.xml", { name = "Front", list = { 1, true } })
    assert.equal('<?xml version="1.0" encoding="utf-8"?>\n<LUA_EXPORT>\n\t<list table="true">\n'
      .. '\t\t<table_index i="1" integer="1" />\n\t\t<table_index i="2" bool="true" />\n\t</list>\n'
      .. '\t<name string="Front" />\n</LUA_EXPORT>\n', read("report.xml"))
  end)

  it("are JSON with the same content", function()
    gma.export_json("report.json", REPORT)
    assert.same(REPORT, json.decode(read("report.json")))
  end)

  it("are rows with quotes where needed", function()
    gma.export_csv("report.csv", { { "a", 1, true }, { 'say "b", c', [3] = 2.5 } })
    assert.equal('a,1,true\n"say ""b"", c",,2.5\n', read("report.csv"))
  end)

  it("are found in a subfolder of the console's folder", function()
    gma.export("report.xml", { 1 })
    assert.same({ 1 }, gma.import("report.xml", "temp"))
    assert.is_nil(gma.import("report.xml", "plugins/other"))
    assert.equal("gma.import: there is no file " .. folder .. "/plugins/other/report.xml", engine:texts("note")[1])
  end)

  local function refused(text, func, ...)
    local arguments = table.pack(...)
    local ok, message = pcall(function() func(table.unpack(arguments, 1, arguments.n)) end)
    assert.is_false(ok)
    assert.truthy(message:find("console_files_spec.lua:%d+: "), message)
    assert.truthy(message:find(text, 1, true), message)
  end

  it("are refused with the path of a value that they can't hold", function()
    local cyclic = {}
    cyclic.self = cyclic
    refused("gma.export: x.xml: a function can't be exported (at table.a.f)", gma.export, "x.xml", { a = { f = print } })
    refused("a table that contains itself can't be exported (at table.self)", gma.export, "x.xml", cyclic)
    refused('the key "two words" can\'t be an XML element\'s name', gma.export, "x.xml", { ["two words"] = 1 })
    refused("gma.export_json: x.json: a function can't be written (at table.f)", gma.export_json, "x.json", { f = print })
    refused("contains itself", gma.export_json, "x.json", cyclic)
    refused("a row must be a table, got a number (at table.2)", gma.export_csv, "x.csv", { {}, 5 })
    refused("bad argument #2 to 'export' (table expected, got nil)", gma.export, "x.xml")
    refused("bad argument #1 to 'export_csv' (string expected, got nil)", gma.export_csv)
    refused("'../x.xml' must be the name of a file, without a folder", gma.export, "../x.xml", {})
    assert.same({}, engine:texts("file"))
  end)

  it("are refused by gma.import with the line if gma.export did not write them", function()
    gma.export("x.xml", {})
    write("x.xml", "<?xml version='1.0'?>\n<MA></MA>")
    refused("x.xml:2: <MA> where <LUA_EXPORT> must stand", gma.import, "x.xml")
    write("x.xml", "<LUA_EXPORT>\n<a string='b'>")
    refused("x.xml:2: the file ends inside <a>", gma.import, "x.xml")
  end)
end)

describe("JSON", function()
  it("is read completely", function()
    assert.same({ a = { 1, 2.5, -3e2, "x\n\"\u{e9}", true, false, false }, b = {} },
      json.decode(' { "a" : [1, 2.5, -3e2, "x\\n\\"\\u00e9", true, false, null], "b": {} } '))
  end)

  local malformed = {
    ["[1,\n2"] = "show.json:2: expected , or ], found the end",
    ["{\n\n5: 1}"] = "show.json:3: expected a name in quotes",
    ['{"a" 1}'] = 'show.json:1: expected : after "a"',
    ["[1] 2"] = "show.json:1: text behind the value",
    ["[nil]"] = "show.json:1: no such value: nil",
    ["[1,]"] = "show.json:1: a value is missing",
    [""] = "show.json:1: a value is missing",
    ['["a]'] = "show.json:1: a text that does not end",
    ['["\\x"]'] = "show.json:1: unknown escape \\x",
  }
  for text, message in pairs(malformed) do
    it("is refused with its line: " .. text:gsub("%c", " "), function()
      assert.same({ false, message }, { pcall(json.decode, text, "show.json") })
    end)
  end
end)
