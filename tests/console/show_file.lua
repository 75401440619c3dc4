--- Reads shows from files: Lua that returns pools (see console.show), JSON of the same shape, or a console's XML exports.
--
-- Among exports, a patch gives the pools Layer, Fixture with its subfixtures, Channel and FixtureType; a layout the pool
-- Layout; presets the pool of the type in the file's name, as in preset_4.1.xml; anything else, such as groups, macros or
-- sequences, the pool of its name. Properties are the element's attributes, sorted by name.

local _ENV = require "console.globals" ()

local events = require("examples.ma2_xml").events
local json = require "console.json"

local show_file = {}

local function read(path)
  local file, problem = io.open(path, "rb")
  local text = file and file:read("a")
  if not text then
    error("cannot read the show " .. (problem or path .. ": is it a folder?"), 0)
  end
  file:close()
  return text
end

--- Attributes as a list of properties.
local function properties_of(attributes)
  local list = {}
  for name, value in pairs(attributes) do
    if not string.find(name, ":", 1, true) then
      list[#list + 1] = { name, value }
    end
  end
  table.sort(list, function(a, b) return a[1] < b[1] end)
  return list
end

local function named(text)
  return text ~= nil and text ~= "" and text or nil
end

--- The pools of an exported file, by name.
local function from_xml(text, path)
  local next_event, fail = events(text, path)
  local pools, open = {}, {}
  local top, fixture, sub, fixture_type

  local function pool(name, class)
    pools[name] = pools[name] or { name = name, class = class or "CMD_" .. string.upper(name) }
    return pools[name]
  end
  local function number_of(attributes)
    local index = math.tointeger(tonumber(attributes.index)) or fail("an index is missing")
    return index + 1
  end
  local function object(attributes, class)
    return { label = named(attributes.name), class = class, properties = properties_of(attributes), file = path }
  end

  local opened = {}
  function opened.top(name, attributes)
    local number = number_of(attributes)
    if name == "Preset" then
      local type_number = math.tointeger(tonumber(string.match(path, "^.*%f[%d](%d+)%.%d+[^/\\]*$")
        or string.match(path, "^.*%f[%d](%d+)_%d+[^/\\]*$"))) or
        fail("which type are these presets of? name the file like preset_4.1.xml")
      local presets = pool("Preset", "CMD_PRESET_POOL")
      presets[type_number] = presets[type_number] or { class = "CMD_PRESET" }
      presets[type_number][number] = object(attributes)
    else
      pool(name)[number] = object(attributes, name == "Layer" and "CMD_FIXTURE_LAYER_COLLECT" or nil)
    end
    top = { name = name, number = number }
  end
  -- A layout is exported as a group that contains the layout's data.
  function opened.LayoutData()
    if top.name == "Group" then
      pool("Layout")[top.number], pools.Group[top.number] = pools.Group[top.number], nil
    end
  end
  function opened.Fixture(attributes)
    fixture = object(attributes, "CMD_FIXTURE")
    for attribute, name in pairs { fixture_id = "Fixture", channel_id = "Channel" } do
      local number = math.tointeger(tonumber(attributes[attribute]))
      if number then
        pool(name)[number] = fixture
      end
    end
  end
  function opened.FixtureType(attributes)
    fixture_type = attributes.name
    if fixture then
      table.insert(fixture.properties, { "FixtureType", fixture_type })
    end
  end
  function opened.SubFixture(attributes)
    if fixture then
      sub = object(attributes, "CMD_SUBFIXTURE")
      fixture[number_of(attributes)] = sub
    end
  end
  local said = {}
  function said.No(content)
    local number = fixture_type and math.tointeger(tonumber(content))
    if number then
      pool("FixtureType")[number] = { label = fixture_type, class = "CMD_FIXTURETYPE" }
    end
  end
  function said.Address(content)
    if sub then
      table.insert(sub.properties, { "Address", content })
    end
  end

  for event, name, content in next_event do
    if event == "open" then
      if #open == 0 and name ~= "MA" then
        fail("<" .. name .. "> where <MA> must stand: a show is what a console exported")
      elseif #open == 1 and name ~= "Info" then
        opened.top(name, content)
      elseif opened[name] and name ~= "top" then
        opened[name](content)
      end
      open[#open + 1] = name
    elseif event == "text" and said[name] then
      said[name](content)
    elseif event == "close" then
      open[#open] = nil
      fixture = name ~= "Fixture" and fixture or nil
      sub = name ~= "SubFixture" and sub or nil
      fixture_type = name ~= "FixtureType" and fixture_type or nil
    end
  end
  local list = {}
  for _, found in pairs(pools) do
    local holds = false
    for key in pairs(found) do
      holds = holds or math.type(key) == "integer"
    end
    list[#list + 1] = holds and found or nil
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  if #list == 0 then
    error(path .. ": there is no object in it", 0)
  end
  return list
end

--- JSON has only texts as names: "10" is the number of an object.
local function numbered(value)
  if type(value) ~= "table" then
    return value
  end
  local copy = {}
  for key, field in pairs(value) do
    copy[math.tointeger(tonumber(key)) or key] = key == "properties" and field or numbered(field)
  end
  return copy
end

local LOAD = {
  xml = from_xml,
  json = function(text, path) return numbered(json.decode(text, path)) end,
  lua = function(text, path)
    local chunk, problem = load(text, "@" .. path, "t")
    if not chunk then
      error(problem, 0)
    end
    return chunk()
  end,
}

local function merge(into, from)
  for key, value in pairs(from) do
    if math.type(key) == "integer" and type(value) == "table" and type(into[key]) == "table" then
      merge(into[key], value)
    else
      into[key] = value
    end
  end
end

--- The pools of all files together; if several files have an object, the last one counts.
-- @treturn table for console.new's `show`
function show_file.load(paths)
  local pools, by_name = {}, {}
  for _, path in ipairs(paths) do
    local kind = string.match(string.lower(path), "%.(%w+)$")
    local from = LOAD[kind]
      or error(string.format("the show %s must be a .lua, .json or .xml file", path), 0)
    local found = from(read(path), path)
    if type(found) ~= "table" then
      error(string.format("%s: a show is a list of pools, got a %s", path, type(found)), 0)
    end
    for _, pool in ipairs(found) do
      local name = type(pool) == "table" and pool.name
      local known = name and by_name[name]
      if known then
        merge(known, pool)
      else
        pools[#pools + 1] = pool
        by_name[name or pool] = pool
      end
    end
    if #found == 0 and next(found) ~= nil then
      error(path .. ": a show is a list of pools, each with its name", 0)
    end
  end
  return pools
end

return show_file
