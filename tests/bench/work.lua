--- The hot loops of plugins, as their authors write them. Each work has a `name`, a function `func`, and `parts`: one list of
-- arguments for each call. Not loaded by `require`, so that the functions cross as those of a plugin do, not as a module's.

local generated = require "generated_exports"

local EXPORTS = "../shared/data/ma2-exports/"

--- Reads an export with string patterns. A preset becomes levels by fixture and attribute, a patch a list of fixtures.
local function read_export(text)
  if text:find("<Preset ", 1, true) then
    local preset = {}
    local values = text:match("<Values>(.-)</Values>")
    for level, channel in values:gmatch('<PresetValue Value="([^"]*)">%s*<Channel ([^>]*)/>') do
      local fixture = channel:match('fixture_id="(%d+)"') or "channel " .. channel:match('channel_id="(%d+)"')
      local sub = channel:match('subfixture_id="(%d+)"')
      fixture = sub and fixture .. "." .. sub or fixture
      preset[fixture] = preset[fixture] or {}
      preset[fixture][channel:match('attribute_name="([^"]*)"')] = tonumber(level)
    end
    return preset
  end
  local signs = { quot = '"', amp = "&", lt = "<", gt = ">" }
  local patch = {}
  for name, attributes, body in text:gmatch('<Fixture index="%d+" name="([^"]*)"([^>]*)>(.-)</Fixture>') do
    local fixture = { id = tonumber(attributes:match('fixture_id="(%d+)"')), name = name:gsub("&(%a+);", signs), addresses = {} }
    for address in body:gmatch("<Address>(%d+)</Address>") do
      address = tonumber(address)
      table.insert(fixture.addresses, { universe = (address - 1) // 512 + 1, channel = (address - 1) % 512 + 1 })
    end
    patch[#patch + 1] = fixture
  end
  return patch
end

local function read_export_file(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("a")
  file:close()
  return read_export(text)
end

local function json_encode(value)
  if type(value) == "string" then
    return '"' .. value:gsub('[%c"\\]', function(char) return ("\\u%04x"):format(char:byte()) end) .. '"'
  elseif type(value) ~= "table" then
    return math.type(value) == "float" and ("%.14g"):format(value) or tostring(value)
  end
  local parts = {}
  if #value > 0 then
    for i, item in ipairs(value) do
      parts[i] = json_encode(item)
    end
    return "[" .. table.concat(parts, ",") .. "]"
  end
  local names = {}
  for name in pairs(value) do
    names[#names + 1] = name
  end
  table.sort(names)
  for i, name in ipairs(names) do
    parts[i] = json_encode(name) .. ":" .. json_encode(value[name])
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

--- The text at a position behind a quote, and the position behind its end.
local function json_text(text, at)
  local plain, after = text:match('^([^"\\]*)"()', at)
  if plain then
    return plain, after
  end
  local signs = { n = "\n", r = "\r", t = "\t", b = "\b", f = "\f" }
  local parts = {}
  repeat
    local part, sign, behind = text:match('^([^"\\]*)(.)()', at)
    parts[#parts + 1], at = part, behind
    if sign == "\\" then
      local code = text:match("^u(%x%x%x%x)", at)
      local char = text:sub(at, at)
      parts[#parts + 1] = code and utf8.char(tonumber(code, 16)) or signs[char] or char
      at = at + (code and 5 or 1)
    end
  until sign == '"'
  return table.concat(parts), at
end

--- The value at a position, and the position behind it.
local function json_value(text, at)
  local sign
  sign, at = text:match('^%s*(["{%[]?)()', at)
  if sign == '"' then
    return json_text(text, at)
  elseif sign == "" then
    local word, after = text:match("^([%w.+-]+)()", at)
    if word == "true" or word == "false" then
      return word == "true", after
    end
    return tonumber(word), after
  end
  local whole, count, last = {}, 0, sign == "{" and "}" or "]"
  local ended = text:match("^%s*%" .. last .. "()", at)
  while not ended do
    local name
    if sign == "{" then
      name, at = json_text(text, text:match('^%s*"()', at))
      at = text:match("^%s*:()", at)
    else
      count = count + 1
    end
    whole[name or count], at = json_value(text, at)
    ended, at = text:match("^%s*%" .. last .. "()", at), text:match("^%s*,?()", at)
  end
  return whole, ended
end

local function json_decode(text)
  return (json_value(text, 1))
end

--- Whether inserting, deleting or changing at most `letters` letters turns one text into the other.
local function is_near(from, to, letters)
  if math.abs(#from - #to) > letters then
    return false
  end
  local row = {}
  for j = 0, #to do
    row[j] = j
  end
  for i = 1, #from do
    local diagonal, least = row[0], i
    row[0] = i
    for j = 1, #to do
      local above = row[j]
      row[j] = math.min(diagonal + (from:byte(i) == to:byte(j) and 0 or 1), above + 1, row[j - 1] + 1)
      diagonal, least = above, math.min(least, row[j])
    end
    if least > letters then
      return false
    end
  end
  return row[#to] <= letters
end

--- Compares a share of the labels with all later ones: the pairs that are nearly the same.
local function near_labels(labels, first, step)
  local found = {}
  for i = first, #labels, step do
    for j = i + 1, #labels do
      if is_near(labels[i], labels[j], 1) then
        found[#found + 1] = { i, j }
      end
    end
  end
  return found
end

local function base64(bytes)
  local signs = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
  local out = {}
  for at = 1, #bytes, 3 do
    local a, b, c = bytes:byte(at, at + 2)
    local bits = a << 16 | (b or 0) << 8 | (c or 0)
    for shift = 18, b and (c and 0 or 6) or 12, -6 do
      local sign = (bits >> shift & 63) + 1
      out[#out + 1] = signs:sub(sign, sign)
    end
  end
  return table.concat(out) .. ("="):rep(-#bytes % 3)
end

--- Points a fixture at the marker for which it turns least.
local function aim(fixture, markers)
  local best, least = nil, math.huge
  for i, marker in ipairs(markers) do
    local x, y, z = marker.x - fixture.x, marker.y - fixture.y, fixture.z - marker.z
    local pan = math.deg(math.atan(y, x))
    local tilt = math.deg(math.acos(z / math.sqrt(x * x + y * y + z * z)))
    local turn = math.max(math.abs(pan - fixture.pan), math.abs(tilt - fixture.tilt))
    if turn < least then
      best, least = { id = fixture.id, marker = i, pan = pan, tilt = tilt }, turn
    end
  end
  return best
end

local function aim_all(fixtures, markers, first, last)
  local aimed = {}
  for i = first, last do
    aimed[#aimed + 1] = aim(fixtures[i], markers)
  end
  return aimed
end

local function list_of(count, make)
  local list = {}
  for i = 1, count do
    list[i] = make(i)
  end
  return list
end

--- Numbers that are the same in each run, from 0 to `most` - 1.
local function random(i, most)
  return (i * 2654435761 & 0xFFFFFFFF) * most >> 32
end

local function label(i)
  local words = { "Front", "Back", "Wash", "Spot", "Stage", "Blinder", "Truss", "Floor" }
  return ("%s %s %s"):format(words[random(i, 8) + 1], words[random(i + 1000, 8) + 1], words[random(i + 2000, 8) + 1])
end

local function fixture(i)
  return { number = i, name = 'Spot "' .. i .. '"', class = "CMD_FIXTURE", channels = { i % 512, i % 512 + 1, i % 512 + 2 },
    properties = { Patch = ("%d.%d"):format(i // 512 + 1, i % 512 + 1), Layer = "Truss " .. i % 7, Color = "ffffff" } }
end

local fixtures = list_of(1600, fixture)
local shares = list_of(16, function(i) return { table.move(fixtures, i * 100 - 99, i * 100, 1, {}) } end)
local labels = list_of(100, label)

local work = {
  { name = "reading presets and patches", func = read_export, parts = list_of(8, function(i)
    return { i % 2 == 0 and generated.preset(24) or generated.patch(80) }
  end) },
  { name = "writing JSON", func = json_encode, parts = shares },
  { name = "reading JSON", func = json_decode, parts = list_of(16, function(i) return { json_encode(shares[i][1]) } end) },
  { name = "near-duplicate labels", func = near_labels, parts = list_of(16, function(i) return { labels, i, 16 } end) },
  { name = "base64", func = base64, parts = list_of(8, function(i)
    return { (string.char(table.unpack(list_of(128, function(k) return random(i * 128 + k, 256) end)))):rep(80) }
  end) },
}

do
  local names = { "patch.xml", "preset_0.1.xml", "preset_0.2.xml" }
  local file = io.open(EXPORTS .. names[1])
  if file then
    file:close()
    table.insert(work, 2, { name = "reading a console's own exports", func = read_export_file, parts = list_of(#names, function(i)
      return { EXPORTS .. names[i] }
    end) })
  else
    io.stderr:write("skipped: no exports in ", EXPORTS, "\n")
  end
end

--- The layout: heads on trusses, and the markers on the stage.
work.layout = {
  aim = aim, aim_all = aim_all,
  fixtures = list_of(400, function(i)
    return { id = i, x = i % 20 * 1.0, y = i // 20 * 1.5, z = 8.0 + i % 3, pan = i % 7 * 40.0 - 120, tilt = i % 5 * 20.0 }
  end),
  markers = list_of(40, function(i) return { x = random(i, 2000) / 100, y = random(i + 50, 3000) / 100, z = 1.7 } end),
}

return work
