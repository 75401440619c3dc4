-- Fixture json: writes the fixtures of a show to a JSON file, and takes names and patch from one.
--
--   Plugin "gma2workers fixture json"                          asks what to do
--   Plugin "gma2workers fixture json" "export D:/front.json"
--   Plugin "gma2workers fixture json" "import D:/front.json"   shows what would change, and asks
--
-- { "fixtures": [ { "number": 101, "name": "Spot 1", "class": "…", "properties": { "Patch": "1.1", … } }, … ] }
-- The import looks at number, name and Patch alone, and at fixtures that the show has: it makes none.

-- All plugins share one set of globals, in which another may have set any of these to something else.
local error, io, ipairs, loadfile, math, pairs, pcall, require, table, tonumber, tostring, type, utf8 = error, io, ipairs,
  loadfile, math, pairs, pcall, require, table, tonumber, tostring, type, utf8

-- What the engine passes to the file: the plugin's name, and the one that the user gave it.
local NAME = select(2, ...) or "Fixture json"

local LAST_NUMBER, SHARE, BREATH, MOST_RANGES = 9999, 100, 1000, 12

---@type gma2workers.job?
local job
---@type integer?
local bar
local is_running = false

local function say(text)
  gma.feedback(NAME .. ": " .. text)
end

--- The library; or nil, and why it can't be had.
local function find_library()
  local ok, found = pcall(require, "gma2-workers")
  if not ok then
    -- The plugins folder need not be among those that `require` looks in.
    local path = (gma.show.getvar("PLUGINPATH") or ".") .. "/gma2-workers/init.lua"
    local chunk = loadfile(path)
    if chunk then
      ok, found = pcall(chunk, "gma2-workers", path)
    end
  end
  return ok and found or nil, found
end

--- JSON is UTF-8; in a text that isn't, bytes count as Latin-1.
local function utf8_of(text)
  return utf8.len(text) and text or (text:gsub("[\128-\255]", function(byte) return utf8.char(byte:byte()) end))
end

local function json_string(text)
  return '"' .. utf8_of(text):gsub('[%c"\\]', function(char) return ("\\u%04x"):format(char:byte()) end) .. '"'
end

--- A task: fixtures as JSON, one a line.
local function encode(fixtures)
  local lines = {}
  for i, fixture in ipairs(fixtures) do
    local fields, names = {}, {}
    for name in pairs(fixture.properties) do
      names[#names + 1] = name
    end
    table.sort(names)
    for k, name in ipairs(names) do
      fields[k] = json_string(name) .. ": " .. json_string(fixture.properties[name])
    end
    lines[i] = ('{ "number": %d, "name": %s, "class": %s, "properties": { %s } }'):format(fixture.number,
      fixture.name and json_string(fixture.name) or "null", json_string(fixture.class), table.concat(fields, ", "))
  end
  return table.concat(lines, ",\n")
end

--- A text in JSON, as tables; null becomes nil. What is malformed raises its file and line.
local function decode(text, file)
  local at, value = 1, nil
  local escapes = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", ["/"] = "/", ['"'] = '"', ["\\"] = "\\" }
  local function fail(what)
    local _, ends = text:sub(1, at - 1):gsub("\n", "")
    error(("%s:%d: %s"):format(file, ends + 1, what), 0)
  end
  --- Passes blanks and what the pattern stands for, and gives that.
  local function take(pattern)
    local found, after = text:match("^[ \t\r\n]*(" .. pattern .. ")()", at)
    at = after or at
    return found
  end
  local function expect(pattern, what)
    local found = take(pattern)
    if not found then
      take("")
      fail(what .. " must stand here")
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
    fail("the end must stand here")
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

--- A task: what a file would change in fixtures that are there, and which of its fixtures are not.
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

--- Numbers in order, as one reads them: "1-4, 7".
local function ranges(numbers)
  local parts, first = {}, numbers[1]
  for i, number in ipairs(numbers) do
    if numbers[i + 1] ~= number + 1 then
      parts[#parts + 1] = first == number and tostring(number) or ("%d-%d"):format(first, number)
      first = numbers[i + 1]
    end
  end
  return table.concat(parts, ", ", 1, math.min(#parts, MOST_RANGES)) .. (#parts > MOST_RANGES and ", and more" or "")
end

--- Runs the tasks under a bar, while the console goes on. Gives the response.
local function run(gma2workers, tasks)
  job = gma2workers.RunAsync {
    tasks = tasks,
    onProgress = function(done)
      if bar then
        gma.gui.progress.set(bar, done)
      end
    end,
    onComplete = function() end,
  }
  bar = gma.gui.progress.start(NAME)
  gma.gui.progress.setrange(bar, 0, #tasks)
  local response = job:wait()
  gma.gui.progress.stop(bar)
  job, bar = nil, nil
  return response
end

--- The fixtures of the show, read on the console's thread, which may do other things in between.
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

--- Runs the tasks and gives what they returned; nil, once it is said, where one failed.
local function results_of(gma2workers, tasks)
  local response = run(gma2workers, tasks)
  local results = {}
  for i, result in ipairs(response.result) do
    if response.cancelled or not result.success then
      say(response.cancelled and "cancelled" or result.data)
      return nil
    end
    results[i] = result.data
  end
  return results
end

local function export(gma2workers, path)
  local there = io.open(path, "rb")
  if there then
    there:close()
    if not gma.gui.confirm(NAME, "Write over " .. path .. "?") then
      say("nothing is written")
      return
    end
  end
  local fixtures, tasks = read_fixtures(), {}
  if #fixtures == 0 then
    say("the show has no fixtures: nothing is written")
    return
  end
  for first = 1, #fixtures, SHARE do
    local share = table.move(fixtures, first, math.min(first + SHARE - 1, #fixtures), 1, {})
    tasks[#tasks + 1] = { func = encode, args = { share } }
  end
  local texts = results_of(gma2workers, tasks)
  local file, problem = nil, nil
  if texts then
    file, problem = io.open(path, "wb")
  end
  if file then
    file:write('{ "fixtures": [\n', table.concat(texts, ",\n"), "\n] }\n")
    file:close()
    say(("%d fixtures are in %s"):format(#fixtures, path))
  elseif problem then
    say("can't be written: " .. problem)
  end
end

--- The commands that a change takes, and a line that tells of it.
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

local function import(gma2workers, path)
  local file, problem = io.open(path, "rb")
  local text = file and file:read("a")
  if file then
    file:close()
  end
  if not text then
    say("can't be read: " .. tostring(problem or path))
    return
  end
  local present = {}
  for _, fixture in ipairs(read_fixtures()) do
    present[fixture.number] = fixture
  end
  local results = results_of(gma2workers, { { func = compare, args = { text, path:match("[^/\\]*$"), present } } })
  if not results then
    return
  end
  local found, commands = results[1], {}
  for _, change in ipairs(found.changes) do
    local list, line = commands_of(change)
    table.move(list, 1, #list, #commands + 1, commands)
    say(line)
  end
  if #found.missing > 0 then
    say("not in this show, and left out: " .. ranges(found.missing))
  end
  if #commands == 0 then
    say("nothing to change")
  elseif not gma.gui.confirm(NAME, ("Make these %d changes?"):format(#commands)) then
    say("nothing is changed")
  else
    local count = 0
    for _, command in ipairs(commands) do
      problem = gma.cmd(command)
      count = count + (problem and 0 or 1)
      if problem then
        say(("%s: %s"):format(command, problem))
      end
    end
    say(("changed: %d of %d"):format(count, #commands))
  end
end

local function work(gma2workers, argument)
  local action, path = (argument or ""):match("^%s*(%S*)%s*(.-)%s*$")
  action = action ~= "" and action or gma.textinput(NAME .. ": export or import", "export")
  if action and action ~= "export" and action ~= "import" then
    say(('write export or import, not "%s"'):format(action))
    return
  end
  if action and path == "" then
    path = gma.textinput(NAME .. ": file", (gma.show.getvar("PATH") or ".") .. "/importexport/fixtures.json")
  end
  if not action or not path then
    say("cancelled")
    return
  end
  local carry_out = action == "export" and export or import
  carry_out(gma2workers, path)
end

--- Called by Off Plugin, and by whatever else ends a plugin: nothing of it may be left.
local function Cleanup()
  is_running = false
  if job then
    job:cancel()
    job = nil
  end
  if bar then
    gma.gui.progress.stop(bar)
    bar = nil
  end
end

local function Start(argument)
  if is_running then
    say("runs already")
    return
  end
  local gma2workers, problem = find_library()
  if not gma2workers then
    gma.echo(("%s: %s"):format(NAME, problem))
    say("gma2-workers can't be loaded: copy its folder, gma2-workers, into the plugins folder; "
      .. "the System Monitor has the reason")
    return
  end
  is_running = true
  local ok, failure = pcall(work, gma2workers, argument)
  Cleanup()
  if not ok then
    say("stopped by an error: " .. tostring(failure))
  end
end

return Start, Cleanup
