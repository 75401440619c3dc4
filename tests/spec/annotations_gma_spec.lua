-- The annotations of the engine declare exactly the functions of the stand-in.

local console = require "console"
local read = require "spec.fixtures.read"

local PATH = "lua/annotations_gma.lua"

--- The declared functions by their names below `gma`, with their parameters and the text about them; and the tables.
local function parse(text)
  local functions, tables, class, params = {}, {}, nil, {}
  for line in (text .. "\n"):gmatch("(.-)\n") do
    local name, parameters = line:match("^function gma%.([%l_.]+)%((.-)%) end$")
    if name then
      assert(not functions[name], name .. " is declared twice")
      functions[name] = { takes = parameters, params = table.concat(params, ", ") }
    elseif line:find("^function") then
      error("no function of gma's: " .. line)
    elseif line:find("^%-%-%-@class ") then
      class = line:match("^%-%-%-@class ([%l.]+)$")
    elseif line:find("^gma[%l.]* = {}$") then
      assert.equal(line:match("^[%l.]+"), class)
      tables[class] = true
    elseif line:find("^%-%-%-@param ") then
      params[#params + 1] = line:match("@param ([%l_.]+)%??")
    end
    if not line:find("^%-%-%-") then
      params = {}
    end
  end
  return functions, tables
end

local TEXT = read(PATH)
local FUNCTIONS, TABLES = parse(TEXT)

--- Adds the names of all functions in a table and in the tables inside it.
local function collect(from, prefix, names)
  for key, value in pairs(from) do
    if type(value) == "function" then
      names[prefix .. key] = true
    elseif type(value) == "table" then
      collect(value, prefix .. key .. ".", names)
    end
  end
  return names
end

--- The elements of one set that the other lacks, as a sorted list.
local function without(names, others)
  local found = {}
  for name in pairs(names) do
    if not others[name] then
      found[#found + 1] = name
    end
  end
  table.sort(found)
  return found
end

describe("the annotations of gma", function()
  it("contain no code", function()
    assert.equal("---@meta", TEXT:match("^[^\n]*"))
    local before = rawget(_G, "gma")
    local ok, message = pcall(assert(loadfile(PATH)))
    assert.is_false(ok)
    assert.equal("annotations_gma.lua is for editors: the engine gives every plugin its gma", message)
    assert.equal(before, rawget(_G, "gma"))
  end)

  it("have exactly the functions of the stand-in", function()
    local standin = collect(console.new().gma, "", {})
    assert.same({}, without(standin, FUNCTIONS))
    assert.same({}, without(FUNCTIONS, standin))
  end)

  it("detect a missing function and a superfluous one", function()
    local shorter = parse((TEXT:gsub("\nfunction gma%.show%.getobj%.verify.- end\n", "\n")))
    assert.same({ "show.getobj.verify" }, without(collect(console.new().gma, "", {}), shorter))
    local longer = parse(TEXT .. "\nfunction gma.canc(id) end\n")
    assert.same({ "canc" }, without(longer, FUNCTIONS))
  end)

  it("name the functions as tasks do #native", function()
    local engine = console.new()
    local before = rawget(_G, "gma")
    rawset(_G, "gma", engine.gma)
    local found = require("gma2workers").RunSync { tasks = { { func = function()
      local names = {}
      local function walk(from, prefix)
        for key, value in pairs(from) do
          if type(value) == "function" then
            names[prefix .. key] = true
          elseif type(value) == "table" then
            walk(value, prefix .. key .. ".")
          end
        end
      end
      walk(gma, "")
      return names
    end } } }
    rawset(_G, "gma", before)
    assert.same(collect(engine.gma, "", {}), found.result[1].data)
  end)

  it("declare each table that contains a function", function()
    local needed = { gma = true, ["gma.canbus.data"] = true }
    for name in pairs(FUNCTIONS) do
      local owner = ("gma." .. name):match("^(.+)%.")
      while owner do
        needed[owner] = true
        owner = owner:match("^(.+)%.")
      end
    end
    assert.same(needed, TABLES)
  end)

  it("name the parameters of each function", function()
    for name, declared in pairs(FUNCTIONS) do
      assert.equal(declared.takes, declared.params, name)
    end
  end)
end)
