-- Reads grandMA2 exports as Lua tables. Pure Lua: works with and without gma2workers.
--
--   parse(text, file) → content, kind
--
--   "preset"  { [fixture] = { [attribute name] = value } }, all presets of the file together, without fades and delays
--   "patch"   { [fixture] = { name, type, layer, subfixtures = { [sub] = { address, universe, channel, channels } } } }
--   "layout"  { { kind, x, y, w, h, … }, … }: x and y are the centre; besides,
--             "fixture" has fixture and sub, "object" has name and object ("13.1.5"), "rectangle" and "text" have text
--
-- Fixtures are named as people type them: 101, and "Channel 5" for a fixture with only a channel number. In presets,
-- further subfixtures are named as in "101.2". Subfixtures count from 1 everywhere, as on the command line. `address`
-- counts through all universes (513 is 2.1); it is nil, like universe and channel, if nothing is patched. `channels` is the
-- number of channels that the console controls, virtual dimmers included.

local events = require("ma2_xml").events

local function number(text, what, fail)
  return tonumber(text) or fail(("%s is no number: %s"):format(what, text))
end

local function whole(text, what, fail)
  return math.tointeger(tonumber(text)) or fail(("%s is no whole number: %s"):format(what, text))
end

local function fixture_key(fixture_id, channel_id, fail)
  if fixture_id and fixture_id ~= "" then
    return whole(fixture_id, "fixture number", fail)
  elseif channel_id and channel_id ~= "" then
    return ("Channel %d"):format(whole(channel_id, "channel number", fail))
  end
end

local function parse_preset(text, file)
  local next_event, fail = events(text, file)
  local preset, in_values, value = {}, false, nil
  for event, name, content in next_event do
    if event ~= "text" and name == "Values" then
      in_values = event == "open"
    elseif event == "open" and in_values then
      if name == "PresetValue" then
        value = number(content.Value, "Value", fail)
      elseif name == "Channel" then
        local key = fixture_key(content.fixture_id, content.channel_id, fail) or fail("a value without a fixture")
        -- Given from the second subfixture on: the first one is the fixture.
        if content.subfixture_id then
          key = ("%s.%d"):format(key, whole(content.subfixture_id, "subfixture_id", fail))
        end
        local values = preset[key]
        if not values then
          values = {}
          preset[key] = values
        end
        values[content.attribute_name or fail("a value without an attribute")] = value
      end
    end
  end
  return preset
end

local function parse_patch(text, file)
  local next_event, fail = events(text, file)
  local patch, layer, fixture, sub = {}, nil, nil, nil
  for event, name, content in next_event do
    if event == "open" then
      if name == "Layer" then
        layer = content.name
      elseif name == "Fixture" then
        fixture = { name = content.name, layer = layer, subfixtures = {} }
        -- A fixture may have no number at all: then only its index identifies it.
        local place = ("%s/%s"):format(layer, content.index)
        patch[fixture_key(content.fixture_id, content.channel_id, fail) or place] = fixture
      elseif fixture and name == "FixtureType" then
        fixture.type = content.name
      elseif fixture and name == "SubFixture" then
        sub = { channels = 0 }
        -- Only this kind of file counts from 0; layouts and the command line count from 1.
        fixture.subfixtures[whole(content.index, "index", fail) + 1] = sub
      elseif sub and name == "Channel" then
        sub.channels = sub.channels + 1
      end
    elseif event == "text" and sub and name == "Address" then
      local address = whole(content, "Address", fail)
      if address > 0 and not sub.address then
        sub.address, sub.universe, sub.channel = address, (address - 1) // 512 + 1, (address - 1) % 512 + 1
      end
    elseif event == "close" and name == "SubFixture" then
      sub = nil
    end
  end
  return patch
end

local function parse_layout(text, file)
  local kinds = { SubFixtures = "fixture", CObjects = "object", Rectangles = "rectangle", Texts = "text" }
  local next_event, fail = events(text, file)
  local layout, kind, item, object = {}, nil, nil, nil
  for event, name, content in next_event do
    if event == "open" then
      if kinds[name] then
        kind = kinds[name]
      elseif content.center_x then
        item = {
          kind = kind,
          x = number(content.center_x, "center_x", fail),
          y = number(content.center_y, "center_y", fail),
          w = number(content.size_w, "size_w", fail),
          h = number(content.size_h, "size_h", fail),
          text = content.text,
        }
        layout[#layout + 1] = item
      elseif item and name == "Subfixture" then
        item.fixture = fixture_key(content.fix_id, content.cha_id, fail)
        item.sub = content.sub_index and whole(content.sub_index, "sub_index", fail) or 1
      elseif item and name == "CObject" then
        item.name, object = content.name, {}
      end
    elseif event == "text" and object and name == "No" then
      object[#object + 1] = whole(content, "No", fail)
    elseif event == "close" and name == "CObject" and object then
      item.object, object = table.concat(object, "."), nil
    end
  end
  return layout
end

local function parse(text, file)
  local next_event, fail = events(text, file)
  for event, name in next_event do
    if event == "open" and name == "Preset" then
      return parse_preset(text, file), "preset"
    elseif event == "open" and name == "Layer" then
      return parse_patch(text, file), "patch"
    elseif event == "open" and name == "Group" then
      return parse_layout(text, file), "layout"
    end
  end
  fail("neither a preset, a patch nor a layout")
end

return { parse = parse }
