--- The command line: `gma.cmd`. Depends on the scheduler and the show.
--
-- `LUA "code"` is queued and runs beside the caller, with the same globals. Its text ends at the next quote of the same
-- kind: there are no escapes, and a backslash is an ordinary character.

local _ENV = require "console.globals" ()

local files = require "console.files"

local commands = {}

--- Splits at semicolons outside of quotes.
local function split(text)
  local parts, start, quote = {}, 1, nil
  for at = 1, #text do
    local char = string.sub(text, at, at)
    if char == quote then
      quote = nil
    elseif not quote and (char == '"' or char == "'") then
      quote = char
    elseif not quote and char == ";" then
      parts[#parts + 1] = string.sub(text, start, at - 1)
      start = at + 1
    end
  end
  parts[#parts + 1] = string.sub(text, start)
  return parts
end

--- The quoted text at the start of a command's words, and the rest.
local function quoted(words)
  local quote = string.match(words, "^[\"']")
  if not quote then
    return nil
  end
  return string.match(words, "^" .. quote .. "([^" .. quote .. "]*)" .. quote .. "%s*(.-)%s*$")
end

local verbs = {}

function verbs.lua(engine, words)
  local code = quoted(words)
  if not code then
    return "Error #2: LUA needs its code in quotes"
  end
  local chunk, problem = load(code, "=LUA command", "t")
  if chunk then
    engine.scheduler:start("LUA command", engine:owner(), chunk)
  else
    engine:say("error", problem)
  end
  return nil
end

function verbs.plugin(engine, words)
  local name, argument = quoted(words)
  if not name then
    name, argument = string.match(words, "^(%S+)%s*(.-)%s*$")
  end
  local plugin = engine.plugins[name or words] or engine.plugins[words]
  if not plugin then
    return "Error #9: OBJECT DOES NOT EXIST"
  end
  plugin:run(argument ~= "" and quoted(argument) or nil)
  return nil
end

--- The engine closes its Lua state at the end of the tick, whatever runs in it; the program that runs the engine opens a
-- new one.
function verbs.reloadplugins(engine)
  engine.reload_is_due = true
  return nil
end

function verbs.off(engine, words)
  local name = string.match(words, "^[Pp]lugin%s+(.+)$")
  local plugin = name and engine.plugins[quoted(name) or name]
  if not plugin then
    return "Error #9: OBJECT DOES NOT EXIST"
  end
  engine:stop(plugin)
  return nil
end

local function set_variable(set)
  return function(_, words)
    local name, value = string.match(words, "^%$?(%w+)%s*=%s*(.-)%s*$")
    if not name then
      return "Error #3: SYNTAX ERROR"
    end
    set(name, quoted(value) or value)
    return nil
  end
end

function verbs.setvar(engine, words)
  return set_variable(engine.gma.show.setvar)(engine, words)
end

function verbs.setuservar(engine, words)
  return set_variable(engine.gma.user.setvar)(engine, words)
end

function verbs.label(engine, words)
  local name, label = string.match(words, "^(%a+%s+[%d%.]+)%s+(.+)$")
  local object = name and engine.show:find(name)
  if not object then
    return "Error #9: OBJECT DOES NOT EXIST"
  end
  object.label = quoted(label) or label
  return nil
end

function verbs.store(engine, words)
  local pool, number, label = string.match(words, "^(%a+)%s+(%d+)%s*(.*)$")
  if not pool or not engine.show.pools[string.lower(pool)] then
    return "Error #9: OBJECT DOES NOT EXIST"
  end
  engine.show:store(pool, math.tointeger(tonumber(number)), quoted(label))
  return nil
end

local function attribute(name, value)
  return value and string.format(' %s="%s"', name, string.gsub(value, '[&<>"]', { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;",
    ['"'] = "&quot;" })) or ""
end

--- Writes an object to the folder importexport: the file it came from, or only its number and label.
function verbs.export(engine, words)
  local name, rest = string.match(words, "^(%a+%s+[%d%.]+)%s+(.+)$")
  local object = name and engine.show:find(name)
  local filename = rest and quoted(rest)
  if not object then
    return "Error #9: OBJECT DOES NOT EXIST"
  elseif not filename then
    return "Error #3: SYNTAX ERROR"
  end
  local element = string.match(name, "^%a+")
  local text = string.format('<?xml version="1.0" encoding="utf-8"?>\n<MA major_vers="3" minor_vers="9" stream_vers="60">\n'
    .. '\t<%s index="%d"%s />\n</MA>\n', element, object.number - 1, attribute("name", object.label))
  local original = object.file and io.open(object.file, "rb")
  if original then
    text = original:read("a")
    original:close()
  end
  local folder = engine:folder() .. "/importexport"
  files.write(engine, folder, folder .. "/" .. string.gsub(filename, "%.xml$", "") .. ".xml", text)
  return nil
end

-- Assign only changes existing properties.
function verbs.assign(engine, words)
  local name, property, value = string.match(words, "^(%a+%s+[%d%.]+)%s+/(%w+)=(.+)$")
  local object = name and engine.show:find(name)
  for _, known in ipairs(object and object.properties or {}) do
    if string.lower(known[1]) == string.lower(property) then
      known[2] = quoted(value) or value
      return nil
    end
  end
  return "Error #9: OBJECT DOES NOT EXIST"
end

-- Options such as /nc (no confirmation) have no effect here.
function verbs.delete(engine, words)
  local object = engine.show:find((string.gsub(words, "%s+/%a+$", "")))
  if not object then
    return "Error #9: OBJECT DOES NOT EXIST"
  end
  engine.show:delete(object)
  return nil
end

-- Here `$name` names the variable to set; elsewhere its value replaces it.
local TAKES_NAMES = { setvar = true, setuservar = true }

--- Makes the engine's `gma.cmd`, which returns nil or the first error.
function commands.new(engine)
  return function(text)
    if type(text) ~= "string" then
      error("bad argument #1 to 'cmd' (string expected, got " .. type(text) .. ")", 2)
    end
    engine:say("cmd", text)
    local function expand(name)
      return engine.gma.user.getvar(name) or engine.gma.show.getvar(name)
    end
    local problem
    for _, command in ipairs(split(text)) do
      local verb, words = string.match(command, "^%s*(%a+)%s*(.-)%s*$")
      if verb then
        local run = verbs[string.lower(verb)]
        if not TAKES_NAMES[string.lower(verb)] then
          words = string.gsub(words, "%$(%w+)", expand)
        end
        local refusal = "Error #1: UNKNOWN COMMAND: " .. verb
        if run then
          refusal = run(engine, words)
        else
          engine:say("note", string.format("the stand-in knows no command '%s', a console may", verb))
        end
        problem = problem or refusal
      end
    end
    return problem
  end
end

return commands
