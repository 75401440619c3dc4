-- Fixture json: writes the fixtures of a show to a JSON file, and reads names and patch from one.
--
--   Plugin "gma2workers fixture json"                          asks what to do
--   Plugin "gma2workers fixture json" "export D:/front.json"
--   Plugin "gma2workers fixture json" "import D:/front.json"   shows what would change, and asks
--
-- { "fixtures": [ { "number": 101, "name": "Spot 1", "class": "…", "properties": { "Patch": "1.1", … } }, … ] }
-- The import reads only number, name and Patch, and only for fixtures that the show has: it creates none.

-- All plugins share one set of globals, and another plugin may change any of these.
local error, io, ipairs, loadfile, math, pairs, pcall, require, table, tonumber, tostring, type, utf8 = error, io, ipairs,
  loadfile, math, pairs, pcall, require, table, tonumber, tostring, type, utf8

-- The engine passes two names to the file: the plugin's own, and the one that the user gave it.
local NAME = select(2, ...) or "Fixture json"

local LAST_NUMBER, SHARE, BREATH = 9999, 100, 1000

-- What all plugins here share: its functions are called below. Start loads it.
---@type gma2workers.plugin
local plugin

--- JSON is UTF-8. A text in any other encoding is taken for Latin-1.
local function utf8_of(text)
  return utf8.len(text) and text or (text:gsub("[\128-\255]", function(byte) return utf8.char(byte:byte()) end))
end

local function json_string(text)
  return '"' .. utf8_of(text):gsub('[%c"\\]', function(char) return ("\\u%04x"):format(char:byte()) end) .. '"'
end

--- Runs in tasks: encodes a fixture as JSON, in one line.
local function encode(fixture)
  local fields, names = {}, {}
  for name in pairs(fixture.properties) do
    names[#names + 1] = name
  end
  table.sort(names)
  for i, name in ipairs(names) do
    fields[i] = json_string(name) .. ": " .. json_string(fixture.properties[name])
  end
  return ('{ "number": %d, "name": %s, "class": %s, "properties": { %s } }'):format(fixture.number,
    fixture.name and json_string(fixture.name) or "null", json_string(fixture.class), table.concat(fields, ", "))
end

--- Decodes JSON into tables; null becomes nil. Malformed text raises an error with file and line.
local function decode(text, file)
  local at, value = 1, nil
  local escapes = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", ["/"] = "/", ['"'] = '"', ["\\"] = "\\" }
  local function fail(what)
    local _, ends = text:sub(1, at - 1):gsub("\n", "")
    error(("%s:%d: %s"):format(file, ends + 1, what), 0)
  end
  --- Skips blanks and a match of the pattern, and returns the match.
  local function take(pattern)
    local found, after = text:match("^[ \t\r\n]*(" .. pattern .. ")()", at)
    at = after or at
    return found
  end
  local function expect(pattern, what)
    local found = take(pattern)
    if not found then
      take("")
      fail("expected " .. what)
    end
    return found
  end
  local function string_value()
    local parts = {}
    while true do
      local plain, char, after = text:match('^([^"\\\0-\31]*)(["\\])()', at)
      parts[#parts + 1], at = plain or fail("a string has no end in its line"), after
      if char == '"' then
        return table.concat(parts)
      end
      local code = tonumber(text:match("^u(%x%x%x%x)", at) or "", 16)
      local low = code and code >> 10 == 0x36 and tonumber(text:match("^\\u([dD][c-fC-F]%x%x)", at + 5) or "", 16)
      if code and code >> 11 == 0x1B and not low then
        fail("half a character")
      elseif low then
        code = 0x10000 + ((code & 0x3FF) << 10) + (low & 0x3FF)
      end
      parts[#parts + 1] = code and utf8.char(code) or escapes[text:sub(at, at)] or fail("no such escape")
      at = at + (low and 11 or code and 5 or 1)
    end
  end
  local function list(close, add)
    local whole = {}
    if not take(close) then
      repeat
        add(whole)
      until not take(",")
      expect(close, "a comma or " .. close:sub(-1))
    end
    return whole
  end
  function value()
    local start = take('[%[{"]')
    if start == '"' then
      return string_value()
    elseif start == "[" then
      local count = 0
      return list("%]", function(whole) count = count + 1; whole[count] = value() or false end)
    elseif start == "{" then
      return list("}", function(whole)
        expect('"', "a name in quotes")
        local name = string_value()
        expect(":", "a colon")
        whole[name] = value()
      end)
    end
    local word = expect("[%w.+-]+", "a value")
    if word == "true" or word == "false" or word == "null" then
      return word == "true" or word == "false" and false or nil
    end
    return word:find("^-?%d") and not word:find("[xX]") and tonumber(word) or fail("no value: " .. word)
  end
  local whole = value()
  take("")
  if at <= #text then
    fail("expected the end")
  end
  return whole
end

local function patch_of(fixture)
  for name, value in pairs(type(fixture.properties) == "table" and fixture.properties or {}) do
    if name:lower() == "patch" then
      return value
    end
  end
end

--- Runs in a task: finds what a file would change in the show's fixtures, and which of its fixtures the show lacks.
local function compare(text, file, present)
  local whole = decode(text, file)
  if type(whole) ~= "table" or type(whole.fixtures) ~= "table" then
    error(file .. ": has no list named fixtures", 0)
  end
  local changes, missing, seen = {}, {}, {}
  for i, fixture in ipairs(whole.fixtures) do
    fixture = type(fixture) == "table" and fixture or {}
    local number, name, patch = math.tointeger(fixture.number), fixture.name, patch_of(fixture)
    if not number or seen[number] or name and type(name) ~= "string" or patch and type(patch) ~= "string" then
      error(("%s: fixtures[%d] must have a number of its own, and name and Patch as texts"):format(file, i), 0)
    end
    seen[number] = true
    local own = present[number]
    if not own then
      missing[#missing + 1] = number
    else
      local now_patch = patch_of(own)
      name = name and name ~= utf8_of(own.name or "") and name or nil
      patch = patch and now_patch and patch ~= now_patch and patch or nil
      if name or patch then
        changes[#changes + 1] = { number = number, name = name, old_name = own.name, patch = patch, old_patch = now_patch }
      end
    end
  end
  table.sort(missing)
  return { changes = changes, missing = missing }
end

--- Reads the show's fixtures on the console's thread, and pauses now and then so that the console can go on.
local function read_fixtures()
  local fixtures, getobj, property = {}, gma.show.getobj, gma.show.property
  for number = 1, LAST_NUMBER do
    local object = getobj.handle("Fixture " .. number)
    if object then
      local properties = {}
      for i = 0, property.amount(object) - 1 do
        local name = property.name(object, i)
        properties[name or tostring(i)] = property.get(object, i)
      end
      fixtures[#fixtures + 1] = { number = number, name = getobj.label(object), class = getobj.class(object) or "",
        properties = properties }
    end
    if number % BREATH == 0 or object and #fixtures % SHARE == 0 then
      gma.sleep(0.01)
    end
  end
  return fixtures
end

local function export(path)
  local there = io.open(path, "rb")
  if there then
    there:close()
    if not gma.gui.confirm(NAME, "Write over " .. path .. "?") then
      plugin:say("nothing is written")
      return
    end
  end
  local fixtures = read_fixtures()
  if #fixtures == 0 then
    plugin:say("the show has no fixtures: nothing is written")
    return
  end
  local lines = plugin:map(encode, fixtures)
  local file, problem = io.open(path, "wb")
  if not file then
    plugin:say("can't be written: " .. problem)
    return
  end
  file:write('{ "fixtures": [\n', table.concat(lines, ",\n"), "\n] }\n")
  file:close()
  plugin:say(("%d fixtures are in %s"):format(#fixtures, path))
end

--- The commands for a change, and a line that describes it.
local function commands_of(change)
  local commands, texts = {}, {}
  if change.name then
    texts[#texts + 1] = ('"%s" becomes "%s"'):format(change.old_name or "", change.name)
    if change.name:find('["$%c]') or change.name == "" then
      texts[#texts] = texts[#texts] .. " (left alone: it can't be typed)"
    else
      commands[#commands + 1] = ('Label Fixture %d "%s"'):format(change.number, change.name)
    end
  end
  if change.patch then
    texts[#texts + 1] = ("patch %s becomes %s"):format(change.old_patch, change.patch)
    if change.patch:find("^%d+%.%d+$") then
      commands[#commands + 1] = ("Assign Fixture %d /patch=%s"):format(change.number, change.patch)
    else
      texts[#texts] = texts[#texts] .. " (left alone: no universe.address)"
    end
  end
  return commands, ("Fixture %d: %s"):format(change.number, table.concat(texts, ", "))
end

local function import(path)
  local file, problem = io.open(path, "rb")
  local text = file and file:read("a")
  if file then
    file:close()
  end
  if not text then
    plugin:say("can't be read: " .. tostring(problem or path))
    return
  end
  local present = {}
  for _, fixture in ipairs(read_fixtures()) do
    present[fixture.number] = fixture
  end
  local record = plugin:map(compare, { text }, { args = { path:match("[^/\\]*$"), present }, onError = "collect" })[1]
  if not record.success then
    plugin:say(record.data)
    return
  end
  local found, commands = record.data, {}
  for _, change in ipairs(found.changes) do
    local list, line = commands_of(change)
    table.move(list, 1, #list, #commands + 1, commands)
    plugin:say(line)
  end
  if #found.missing > 0 then
    plugin:say("not in this show, and left out: " .. plugin.ranges(found.missing))
  end
  if #commands == 0 then
    plugin:say("nothing to change")
  elseif not gma.gui.confirm(NAME, ("Make these %d changes?"):format(#commands)) then
    plugin:say("nothing is changed")
  else
    local count = 0
    for _, command in ipairs(commands) do
      problem = gma.cmd(command)
      count = count + (problem and 0 or 1)
      if problem then
        plugin:say(("%s: %s"):format(command, problem))
      end
    end
    plugin:say(("changed: %d of %d"):format(count, #commands))
  end
end

local function work(argument)
  local action, path = (argument or ""):match("^%s*(%S*)%s*(.-)%s*$")
  action = action ~= "" and action or plugin:ask("export or import", "export")
  if action ~= "export" and action ~= "import" then
    plugin:say(('write export or import, not "%s"'):format(action))
    return
  end
  if path == "" then
    path = plugin:ask("file", (gma.show.getvar("PATH") or ".") .. "/importexport/fixtures.json")
  end
  local carry_out = action == "export" and export or import
  carry_out(path)
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
