--- The show: a tree of objects, with `gma.show.getobj` and `gma.show.property`.
--
-- A show is a list of pools. A pool is `{ name = "Group", class = "CMD_GROUP", [number] = object, ... }`, an object
-- `{ label = "Front", class = ..., properties = { { "Name", "Front" }, ... }, [number] = child, ... }`. A label alone
-- stands for `{ label = label }`, and false for an object without a label. Children are in the order of their numbers, and
-- counted from 0. Properties may also be given by name. `file` is the file that Export writes. Handles are plain numbers;
-- the root's is 1.

local _ENV = require "console.globals" ()

local Show = {}
Show.__index = Show

local ROOT = 1
-- The engine's handles are large integers.
local STEP, BASE = 4096, 1 << 34

local function sorted_numbers(list)
  local numbers = {}
  for key in pairs(list) do
    if math.type(key) == "integer" then
      numbers[#numbers + 1] = key
    end
  end
  table.sort(numbers)
  return numbers
end

local FIELDS = { name = "string", label = "string", class = "string", file = "string", properties = "table" }

--- Refuses an invalid description, with its place.
local function check(description, place)
  if type(description) == "string" or description == false then
    return
  elseif type(description) ~= "table" then
    error(string.format("the show's %s must be a table, a label, or false, got a %s", place, type(description)), 0)
  end
  for key, value in pairs(description) do
    if math.type(key) == "integer" then
      check(value, string.format("%s, object %d", place, key))
    elseif not FIELDS[key] then
      error(string.format("the show's %s has an unknown field '%s': the fields are name, label, class, file, properties, and numbers",
        place, tostring(key)), 0)
    elseif type(value) ~= FIELDS[key] and value ~= false then
      error(string.format("the show's %s: %s must be a %s, got a %s", place, key, FIELDS[key], type(value)), 0)
    end
  end
end

--- Properties as a list of { name, value }. If they are given by name, they are sorted by name.
local function listed(properties)
  local list = { table.unpack(properties or {}) }
  for name, value in pairs(properties or {}) do
    if type(name) == "string" then
      list[#list + 1] = { name, value }
    end
  end
  if #list > 0 and not properties[1] then
    table.sort(list, function(a, b) return a[1] < b[1] end)
  end
  return list
end

local function add(self, description, parent, number, class)
  if type(description) ~= "table" then
    description = { label = description or nil }
  end
  local handle = parent and BASE + self.count * STEP or ROOT
  self.count = self.count + 1
  local object = { handle = handle, parent = parent, number = number, children = {}, label = description.label,
    class = description.class or class, pool = description.name or parent and parent.pool,
    properties = listed(description.properties), file = description.file }
  self.objects[handle] = object
  for _, child in ipairs(sorted_numbers(description)) do
    local added = add(self, description[child], object, child, object.class)
    added.index = #object.children
    object.children[#object.children + 1] = added
  end
  return object
end

--- A fixture with its subfixture; the label may be nil.
local function fixture(label, kind, address)
  return { label = label, class = "CMD_FIXTURE", properties = { { "Name", label or "" }, { "FixtureType", kind },
    { "Patch", address } }, { label = label, class = "CMD_SUBFIXTURE", properties = { { "Address", address } } } }
end

--- A show with something of everything, including unlabelled objects. The order of a console's pools is not known, except
-- that the root's child 14 is a pool, since the original's examples list it. Here it is the macros, so that there is
-- something to list.
function Show.default()
  return {
    { name = "Layer", class = "CMD_FIXTURE_LAYER_COLLECT", "Spots", "Washes", "Dimmers" },
    { name = "FixtureType", class = "CMD_FIXTURETYPE", [2] = "Dimmer", [3] = "Spot 24", [4] = "Wash 16" },
    { name = "Fixture", class = "CMD_FIXTURE", fixture("Spot 1", "3 Spot 24", "1.1"), fixture("Spot 2", "3 Spot 24", "1.25"),
      fixture(nil, "3 Spot 24", "1.49"), [11] = fixture("Wash 11", "4 Wash 16", "2.1"),
      [12] = fixture("Wash 12", "4 Wash 16", "2.17") },
    { name = "Channel", class = "CMD_FIXTURE", fixture("House", "2 Dimmer", "3.1"), fixture("Blinder", "2 Dimmer", "3.2") },
    { name = "Group", class = "CMD_GROUP", "All Spots", "All Washes", false, "Front", [10] = "Back" },
    { name = "Preset", class = "CMD_PRESET_POOL", [0] = { label = "All", "Warm", "Cold" },
      [4] = { label = "Color", "Red", "Green", false, "Blue" } },
    { name = "Sequence", class = "CMD_SEQUENCE", { label = "Main", [0] = "cue zero", "Opening", "Song", "End" }, false },
    { name = "Effect", class = "CMD_EFFECT", "Wave", "Chase" },
    { name = "World", class = "CMD_WORLD", "All", "Stage" },
    { name = "Filter", class = "CMD_FILTER", "All", false },
    { name = "Layout", class = "CMD_LAYOUT", "Plan" },
    { name = "View", class = "CMD_VIEW", "Groups", "Presets" },
    { name = "Image", class = "CMD_IMAGE" },
    { name = "Timer", class = "CMD_TIMER", "Show" },
    { name = "Macro", class = "CMD_MACRO", "Clear", { label = "Reset", "ClearAll", "Off Page 1" }, false, [7] = "Blackout" },
    { name = "Plugin", class = "CMD_PLUGIN" },
  }
end

--- A pool of many labelled objects, for scans.
function Show.pool(name, count)
  local pool = { name = name, class = "CMD_" .. string.upper(name) }
  for number = 1, count do
    pool[number] = name .. " no. " .. number
  end
  return pool
end

--- Builds the tree.
function Show.new(pools)
  local self = setmetatable({ objects = {}, pools = {}, count = 1 }, Show)
  local root = add(self, { label = "Root", class = "CMD_ROOT" }, nil, 1)
  for index, pool in ipairs(pools or Show.default()) do
    if type(pool) ~= "table" or type(pool.name) ~= "string" then
      error(string.format("the show's pool %d has no name", index), 0)
    end
    check(pool, "pool " .. pool.name)
    local added = add(self, pool, root, index, pool.class)
    added.index, added.label = index - 1, pool.name
    root.children[index] = added
    self.pools[string.lower(pool.name)] = added
  end
  return self
end

local function child_by_number(object, number)
  for _, child in ipairs(object and object.children or {}) do
    if child.number == number then
      return child
    end
  end
  return nil
end

--- The object with a command-line name: "Group 1", "Macro 1.5", "Preset 4.1".
function Show:find(name)
  local pool, numbers = string.match(tostring(name), "^%s*(%a+)%s+([%d%.]+)%s*$")
  local object = pool and self.pools[string.lower(pool)]
  for number in string.gmatch(numbers or "", "%d+") do
    object = object and child_by_number(object, math.tointeger(tonumber(number)))
  end
  return pool and object or nil
end

--- Adds an object to a pool, which is created if missing; or labels an existing object.
function Show:store(pool_name, number, label)
  local pool = self.pools[string.lower(pool_name)]
  if not pool then
    pool = add(self, { name = pool_name, label = pool_name, class = "CMD_" .. string.upper(pool_name) },
      self.objects[ROOT], #self.objects[ROOT].children + 1)
    pool.index = #self.objects[ROOT].children
    self.objects[ROOT].children[pool.index + 1] = pool
    self.pools[string.lower(pool_name)] = pool
  end
  local object = child_by_number(pool, number)
  if object then
    object.label = label or object.label
    return object
  end
  object = add(self, { label = label }, pool, number, pool.class)
  table.insert(pool.children, object)
  table.sort(pool.children, function(a, b) return a.number < b.number end)
  for index, child in ipairs(pool.children) do
    child.index = index - 1
  end
  return object
end

--- Removes an object from the show.
function Show:delete(object)
  for at, child in ipairs(object.parent.children) do
    if child == object then
      table.remove(object.parent.children, at)
    end
  end
  for index, child in ipairs(object.parent.children) do
    child.index = index - 1
  end
  self.objects[object.handle] = nil
end

local function check_index(index, name)
  if type(index) ~= "number" then
    local shown = index == nil and "no value" or type(index)
    error(string.format("bad argument #2 to '%s' (number expected, got %s)", name, shown), 3)
  end
end

--- The functions under `gma.show.getobj`.
function Show:getobj()
  local function get(handle)
    return self.objects[handle]
  end
  local function field(read)
    return function(handle)
      local object = get(handle)
      return object and read(object)
    end
  end
  return {
    handle = function(name)
      local object = get(name) or self:find(name)
      return object and object.handle
    end,
    class = field(function(object) return object.class end),
    index = field(function(object) return object.index or 0 end),
    -- A number, but as text.
    number = field(function(object) return tostring(object.number) end),
    label = field(function(object) return object.label end),
    name = field(function(object) return (object.label or object.pool or "Root") .. " " .. object.number end),
    amount = field(function(object) return #object.children end),
    child = function(handle, index)
      check_index(index, "child")
      local object = get(handle)
      local child = object and object.children[index + 1]
      return child and child.handle
    end,
    parent = field(function(object) return object.parent and object.parent.handle end),
    verify = function(handle) return get(handle) ~= nil end,
    compare = function(a, b) return get(a) ~= nil and get(a) == get(b) end,
  }
end

--- The functions under `gma.show.property`.
function Show:property()
  local function properties(handle)
    local object = self.objects[handle]
    return object and object.properties or {}
  end
  return {
    amount = function(handle) return #properties(handle) end,
    name = function(handle, index)
      check_index(index, "name")
      local property = properties(handle)[index + 1]
      return property and property[1]
    end,
    get = function(handle, key)
      for index, property in ipairs(properties(handle)) do
        if property[1] == key or index - 1 == key then
          return tostring(property[2])
        end
      end
      return nil
    end,
  }
end

return Show
