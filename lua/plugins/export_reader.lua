-- Export reader: shows what exported patches, presets and layouts contain, whether they are complete, and where they
-- conflict: addresses that are patched twice, fixtures that are missing from the patch.
--
--   Plugin "gma2workers export reader"                       asks for the folder
--   Plugin "gma2workers export reader" "D:/show"             the usual names in a folder
--   Plugin "gma2workers export reader" "D:/show; front.xml"  these files in it
--
-- Each file is read in one piece; a big preset in several. Tasks read the pieces.

-- All plugins share one set of globals, and another plugin may change any of these.
local error, io, ipairs, loadfile, math, pairs, pcall, require, select, table, tonumber = error, io, ipairs, loadfile, math,
  pairs, pcall, require, select, table, tonumber

-- The engine passes two names to the file: the plugin's own, and the one that the user gave it.
local NAME = select(2, ...) or "Export reader"

local USUAL_NAMES = { "patch.xml", "layout.xml", "preset_0.1.xml", "preset_0.2.xml" }
local PIECE_BYTES = 64 * 1024

-- What all plugins here share: its functions are called below. Start loads it.
---@type gma2workers.plugin
local plugin

--- The attributes at a position, and the position behind the tag; the latter is nil if the tag has no proper end.
local function attributes_at(text, at)
  local attributes = {}
  while true do
    local name, _, value, after = text:match("^%s+([%w_:.-]+)%s*=%s*([\"'])(.-)%2()", at)
    if not name then
      return attributes, text:match("^%s*/?>()", at)
    end
    attributes[name], at = value, after
  end
end

--- A fixture as people type it: the number 101, or "Channel 5" for a fixture with only a channel number.
local function fixture_of(attributes)
  local id = math.tointeger(tonumber(attributes.fixture_id or attributes.fix_id))
  local channel = math.tointeger(tonumber(attributes.channel_id or attributes.cha_id))
  return id or channel and "Channel " .. channel
end

--- Runs in tasks: reads a file or a piece of one. `kind` is given only for the later pieces of a preset.
local function read(piece)
  local text, file, line, kind = piece.text, piece.file, piece.line, piece.kind
  local kinds = { Layer = "patch", Preset = "preset", Group = "layout" }
  local found = { fixtures = {}, addresses = {}, parts = 0 }
  local fixture, in_values, at, counted = nil, kind ~= nil, 1, 1
  while true do
    local tag = text:find("<", at, true)
    if not tag then
      break
    end
    local skipped = text:sub(tag, tag + 3) == "<!--" and "-->" or text:sub(tag, tag + 1) == "<?" and "?>"
    local slash, name, behind = text:match("^<(/?)([%a_][%w_:.-]*)()", tag)
    local attributes
    if skipped then
      at = select(2, text:find(skipped, tag, true))
    elseif name then
      attributes, at = attributes_at(text, behind)
    end
    if not at or not (skipped or name) then
      local _, ends = text:sub(1, tag):gsub("\n", "")
      error(("%s:%d: malformed tag %s"):format(file, line + ends, text:match("^[^\n>]*", tag):sub(1, 40)), 0)
    end
    if name == "Values" then
      in_values = slash == ""
    elseif name and slash == "" then
      kind = kind or kinds[name]
      local key = fixture_of(attributes)
      if kind == "patch" and name == "Fixture" then
        -- Some fixtures have no number at all.
        counted, fixture = counted + 1, key or ("without a number, %d"):format(counted)
        found.fixtures[fixture] = true
      elseif kind == "patch" and name == "SubFixture" then
        found.parts = found.parts + 1
      elseif kind == "patch" and name == "Address" then
        local address = tonumber(text:match("^%s*(%d+)", at))
        if address and address > 0 and fixture then
          found.addresses[#found.addresses + 1] = { address = address, fixture = fixture }
        end
      elseif kind == "preset" and in_values and name == "PresetValue" then
        found.parts = found.parts + 1
      elseif kind == "layout" and attributes.center_x then
        found.parts = found.parts + 1
      end
      if key and (kind == "layout" or kind == "preset" and in_values and name == "Channel") then
        found.fixtures[key] = true
      end
    end
  end
  found.kind = kind
  return found
end

--- Cuts the values of a preset into pieces of about PIECE_BYTES, for `read`; any other file is one piece.
local function pieces(text, file)
  -- A file with comments is not cut, since text in a comment may look like a tag.
  local values_end = text:find("<Preset[%s>]") and not text:find("<!", 1, true) and text:find("</Values>", 1, true) or 0
  local list, first, line = {}, 1, 1
  while true do
    local cut = first + PIECE_BYTES < values_end and text:find("<PresetValue[%s>]", first + PIECE_BYTES)
    local last = cut and cut < values_end and cut - 1 or #text
    list[#list + 1] = { text = text:sub(first, last), file = file, line = line, kind = first > 1 and "preset" or nil }
    if last == #text then
      return list
    end
    line = line + select(2, list[#list].text:gsub("\n", ""))
    first = cut
  end
end

--- Fixtures in order: first the numbers, as ranges, then the others.
local function listed(fixtures)
  local numbers, others = {}, {}
  for _, fixture in ipairs(fixtures) do
    local list = math.type(fixture) and numbers or others
    list[#list + 1] = fixture
  end
  table.sort(numbers)
  table.sort(others)
  return table.concat({ #numbers > 0 and plugin.ranges(numbers) or nil, table.unpack(others) }, ", ")
end

--- Merges the results of a file's pieces; returns nil and the reason if a piece failed.
local function merge(results)
  local whole
  for _, result in ipairs(results) do
    if not result.success then
      return nil, result.data
    end
    local piece = result.data
    whole = whole or { kind = piece.kind, addresses = piece.addresses, fixtures = {}, parts = 0 }
    whole.parts = whole.parts + piece.parts
    for fixture in pairs(piece.fixtures) do
      whole.fixtures[fixture] = true
    end
  end
  return whole.kind and whole, "neither a preset, a patch nor a layout"
end

--- The files to read, each as { name, text }. A missing file is reported only if the user named it.
local function open_exports(text)
  local names = {}
  for word in text:gmatch("[^;]+") do
    names[#names + 1] = word:match("^%s*(.-)%s*$")
  end
  local folder = table.remove(names, 1) or "."
  local given, exports = #names > 0, {}
  for _, name in ipairs(given and names or USUAL_NAMES) do
    local file, problem = io.open(folder .. "/" .. name, "rb")
    local content = file and file:read("a")
    if file then
      file:close()
    end
    if content and not content:find("</MA>%s*$") then
      plugin:say(name .. ": is not whole: </MA> is missing at its end; export it again")
    elseif content then
      exports[#exports + 1] = { name = name, text = content }
    elseif given then
      plugin:say(problem or name .. ": can't be read")
    end
  end
  return exports, folder
end

local function show(exports)
  local texts = { patch = "subfixtures", preset = "values", layout = "elements" }
  local patched
  for _, export in ipairs(exports) do
    patched = export.content and export.content.kind == "patch" and export.content.fixtures or patched
  end
  for _, export in ipairs(exports) do
    local content = export.content
    local fixtures, strangers, user_of = 0, {}, {}
    for fixture in pairs(content and content.fixtures or {}) do
      fixtures = fixtures + 1
      strangers[#strangers + 1] = patched and not patched[fixture] and fixture or nil
    end
    plugin:say(("%s: %s"):format(export.name, content
      and ("%s, %d fixtures, %d %s"):format(content.kind, fixtures, content.parts, texts[content.kind]) or export.problem))
    if #strangers > 0 then
      plugin:say(("%s: not in the patch: %s"):format(export.name, listed(strangers)))
    end
    for _, patch in ipairs(content and content.addresses or {}) do
      local address, user = patch.address, user_of[patch.address]
      if user then
        plugin:say(("%s: address %d.%d is patched twice: %s and %s"):format(
          export.name, (address - 1) // 512 + 1, (address - 1) % 512 + 1, user, patch.fixture))
      end
      user_of[address] = patch.fixture
    end
  end
end

local function work(argument)
  local text = argument and argument:find("%S") and argument
    or plugin:ask("folder, or folder; file; file", (gma.show.getvar("PATH") or ".") .. "/importexport")
  local exports, folder = open_exports(text)
  if #exports == 0 then
    plugin:say(("nothing to read in %s: export there a patch, a layout or a preset, or name files"):format(folder))
    return
  end
  local began, all = plugin.library.clock(), {}
  for _, export in ipairs(exports) do
    local list = pieces(export.text, export.name)
    export.first, export.last = #all + 1, #all + #list
    table.move(list, 1, #list, #all + 1, all)
  end
  -- A file that can't be read must not keep the others from being read.
  local records = plugin:map(read, all, { chunk = 1, onError = "collect" })
  for _, export in ipairs(exports) do
    export.content, export.problem = merge(table.move(records, export.first, export.last, 1, {}))
  end
  show(exports)
  plugin:say(("%d files in %.3f s"):format(#exports, plugin.library.clock() - began))
end

-- Start and Cleanup find gma2-workers where `require` looks, or in the plugins folder.

local function Start(argument)
  local path = (gma.show.getvar("PLUGINPATH") or ".") .. "/gma2-workers/plugins/plugin.lua"
  local ok, new = pcall(require, "gma2-workers.plugins.plugin")
  local chunk = not ok and loadfile(path)
  if chunk then
    new = chunk("gma2-workers.plugins.plugin", path)
  elseif not ok then
    gma.echo(NAME .. ": " .. new)
    gma.feedback(NAME .. ": copy the folder gma2-workers into the plugins folder; the System Monitor has the reason")
    return
  end
  plugin = plugin or new(NAME, work)
  plugin.Start(argument)
end

-- The engine calls this on Off Plugin.
local function Cleanup()
  if plugin then plugin.Cleanup() end
end

return Start, Cleanup
