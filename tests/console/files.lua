--- The engine's files: `gma.export`, `gma.export_csv`, `gma.export_json` and `gma.import`, and the folders they are in.
--
-- A console's folder has `temp`, `plugins` and `importexport`. Exports go to `temp`; import reads from there, or from
-- another folder below the console's. The XML follows MA's own files as far as they show it; rows and JSON have no model.

local _ENV = require "console.globals" ()

local events = require("examples.ma2_xml").events
local json = require "console.json"

local files = {}

local IS_WINDOWS = string.sub(package.config, 1, 1) == "\\"

local function quoted(path)
  if IS_WINDOWS then
    return '"' .. string.gsub(path, "/", "\\") .. '"'
  end
  return "'" .. string.gsub(path, "'", "'\\''") .. "'"
end

--- Creates a folder and its parents.
function files.make_folder(path)
  local made = os.execute(IS_WINDOWS and string.format("if not exist %s mkdir %s", quoted(path), quoted(path))
    or "mkdir -p " .. quoted(path))
  if not made then
    error("cannot make the folder " .. path, 0)
  end
end

--- Whether a file or folder exists.
local function exists(path)
  return os.rename(path, path) ~= nil
end

--- A folder for a console without one: a path at which nothing exists yet.
function files.temporary_folder()
  local path = os.tmpname()
  os.remove(path)
  if IS_WINDOWS then
    -- On Windows this is only a name, at the root of the drive.
    path = string.gsub(os.getenv("TEMP"), "\\", "/") .. "/gma2workers" .. string.gsub(path, "%W", "x")
  end
  return path
end

--- Removes a folder with all its contents, if it exists.
-- @treturn boolean whether it contained a file
function files.remove_folder(path)
  if not exists(path) then
    return false
  end
  local pipe = io.popen(string.format(IS_WINDOWS and "dir /s /b /a-d %s 2>nul" or "find %s -type f", quoted(path)))
  local has_file = pipe:read() ~= nil
  pipe:close()
  os.execute((IS_WINDOWS and "rmdir /s /q " or "rm -r ") .. quoted(path))
  return has_file
end

local function escape(text)
  return (string.gsub(text, '[&<>"\r\n\t]', { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["\r"] = "&#13;",
    ["\n"] = "&#10;", ["\t"] = "&#9;" }))
end

local function element_of(key, path)
  if math.type(key) == "integer" then
    return string.format('table_index i="%d"', key)
  elseif type(key) == "string" and string.match(key, "^[%a_][%w_.-]*$") and key ~= "table_index" then
    return key
  end
  error(string.format("the key %s can't be an XML element's name (at %s)",
    type(key) == "string" and string.format("%q", key) or tostring(key), path), 0)
end

local function sorted(value)
  local keys = {}
  for key in pairs(value) do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b)
    if type(a) == type(b) and type(a) ~= "boolean" and type(a) ~= "table" then
      return a < b
    end
    return type(a) < type(b)
  end)
  return keys
end

--- Adds the lines for a table's fields.
local function write_fields(lines, value, indent, path, inside)
  if inside[value] then
    error(string.format("a table that contains itself can't be exported (at %s)", path), 0)
  end
  inside[value] = true
  for _, key in ipairs(sorted(value)) do
    local field, at = value[key], string.format("%s.%s", path, tostring(key))
    local element, kind = element_of(key, path), math.type(field) == "integer" and "integer" or type(field)
    if kind == "table" then
      lines[#lines + 1] = string.format('%s<%s table="true">', indent, element)
      write_fields(lines, field, indent .. "\t", at, inside)
      lines[#lines + 1] = string.format("%s</%s>", indent, string.match(element, "^%S+"))
    elseif kind == "string" or kind == "integer" or kind == "number" or kind == "boolean" then
      lines[#lines + 1] = string.format('%s<%s %s="%s" />', indent, element, kind == "boolean" and "bool" or kind,
        escape(kind == "number" and string.format("%.17g", field) or tostring(field)))
    else
      error(string.format("a %s can't be exported (at %s)", kind, at), 0)
    end
  end
  inside[value] = nil
end

local function to_xml(value)
  local lines = { '<?xml version="1.0" encoding="utf-8"?>', "<LUA_EXPORT>" }
  write_fields(lines, value, "\t", "table", {})
  lines[#lines + 1] = "</LUA_EXPORT>\n"
  return table.concat(lines, "\n")
end

local READ = { string = tostring, number = tonumber, integer = function(text) return math.tointeger(tonumber(text)) end,
  bool = function(text) return text == "true" end }

local function from_xml(text, name)
  local next_event, fail = events(text, name)
  local open = {}
  for event, element, attributes in next_event do
    local around = open[#open]
    if event == "open" and not around and element ~= "LUA_EXPORT" then
      fail("<" .. element .. "> where <LUA_EXPORT> must stand: gma.import reads what gma.export wrote")
    elseif event == "open" then
      local value = (attributes.table or not around) and {} or nil
      for kind, read in pairs(READ) do
        if attributes[kind] then
          value = read(attributes[kind])
        end
      end
      local key = element
      if element == "table_index" then
        key = math.tointeger(tonumber(attributes.i)) or fail("a table_index without its i")
      end
      if around then
        around[key] = value
      end
      open[#open + 1] = type(value) == "table" and value or {}
    elseif event == "close" then
      if #open == 1 then
        return around
      end
      open[#open] = nil
    end
  end
end

local function to_csv(rows)
  local lines = {}
  for i, row in ipairs(rows) do
    if type(row) ~= "table" then
      error(string.format("a row must be a table, got a %s (at table.%d)", type(row), i), 0)
    end
    local cells, last = {}, 0
    for column in pairs(row) do
      last = math.max(last, math.type(column) == "integer" and column or
        error(string.format("columns are counted from 1, got %s (at table.%d)", tostring(column), i), 0))
    end
    for column = 1, last do
      local text = row[column] == nil and "" or tostring(row[column])
      cells[column] = string.find(text, '[,"\r\n]') and '"' .. string.gsub(text, '"', '""') .. '"' or text
    end
    lines[i] = table.concat(cells, ",") .. "\n"
  end
  return table.concat(lines)
end

--- The path of a file in one of the console's folders. A folder is created when a file is written to it.
local function place(name, what, folder)
  if type(name) ~= "string" then
    error(string.format("bad argument #1 to '%s' (string expected, got %s)", what, type(name)), 3)
  elseif name == "" or string.find(name, "[/\\]") then
    error(string.format("gma.%s: '%s' must be the name of a file, without a folder", what, name), 3)
  end
  return folder .. "/" .. name
end

--- Writes a file and reports it.
function files.write(engine, folder, path, text)
  files.make_folder(folder)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  engine:say("file", path)
end

--- Adds these functions to the engine's `gma`.
function files.add(engine, gma)
  local function export(name, encode)
    gma[name] = function(filename, value)
      local folder = gma.show.getvar("TEMPPATH")
      local path = place(filename, name, folder)
      if type(value) ~= "table" then
        error(string.format("bad argument #2 to '%s' (table expected, got %s)", name, type(value)), 2)
      end
      local ok, text = pcall(encode, value)
      if not ok then
        error(string.format("gma.%s: %s: %s", name, filename, text), 2)
      end
      files.write(engine, folder, path, text)
    end
  end
  export("export", to_xml)
  export("export_csv", to_csv)
  export("export_json", function(value) return json.encode(value, "", "table") .. "\n" end)

  function gma.import(filename, subfolder)
    local folder = gma.show.getvar("TEMPPATH")
    if subfolder then
      local beside = string.match(subfolder, "^plugins/?(.*)$")
      folder = beside and gma.show.getvar("PLUGINPATH") .. "/" .. beside or gma.show.getvar("PATH") .. "/" .. subfolder
    end
    local path = place(filename, "import", (string.gsub(folder, "/+$", "")))
    local file = io.open(path, "rb")
    if not file then
      engine:say("note", "gma.import: there is no file " .. path)
      return nil
    end
    local text = file:read("a")
    file:close()
    local ok, value = pcall(from_xml, text, path)
    if not ok then
      error("gma.import: " .. value, 2)
    end
    return value
  end
end

return files
