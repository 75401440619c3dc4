--- Reads JSON text as Lua values, and writes it.
--
-- Reading: objects and arrays become tables; null becomes false if it is a table's value. Writing: a table with the keys 1
-- to n becomes an array, any other an object with its keys in order; an empty one becomes an array.

local _ENV = require "console.globals" ()

local json = {}

local ESCAPES = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }
local NAMES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r",
  ["\t"] = "\\t" }
local WORDS = { ["true"] = true, ["false"] = false, ["null"] = false }

local function line_of(text, position)
  return select(2, string.gsub(string.sub(text, 1, position - 1), "\n", "")) + 1
end

--- Reads one value. Malformed text raises an error such as "show.json:3: what".
function json.decode(text, source)
  local function fail(position, what)
    error(string.format("%s:%d: %s", source or "JSON", line_of(text, position), what), 0)
  end
  local value_at

  local function string_at(position)
    local parts = {}
    local at = position + 1
    while true do
      local plain, mark, after = string.match(text, '^([^"\\%c]*)(["\\])()', at)
      if not plain then
        fail(position, "a text that does not end")
      end
      parts[#parts + 1] = plain
      if mark == '"' then
        return table.concat(parts), after
      end
      local code = string.match(text, "^u(%x%x%x%x)", after)
      local escaped = code and utf8.char(tonumber(code, 16)) or ESCAPES[string.sub(text, after, after)]
      parts[#parts + 1] = escaped or fail(after, "unknown escape \\" .. string.sub(text, after, after))
      at = after + (code and 5 or 1)
    end
  end

  --- The items between two brackets; `item` reads one and adds it to the table.
  local function list_at(position, closing, item)
    local list, at = {}, string.match(text, "^%s*()", position + 1)
    if string.sub(text, at, at) == closing then
      return list, at + 1
    end
    while true do
      local mark
      at = item(list, at)
      mark, at = string.match(text, "^%s*(.?)%s*()", at)
      if mark == closing then
        return list, at
      elseif mark ~= "," then
        fail(at, string.format("expected , or %s, found %s", closing, mark == "" and "the end" or mark))
      end
    end
  end

  function value_at(position)
    local at = string.match(text, "^%s*()", position)
    local mark = string.sub(text, at, at)
    if mark == '"' then
      return string_at(at)
    elseif mark == "[" then
      return list_at(at, "]", function(list, from)
        local value, after = value_at(from)
        list[#list + 1] = value
        return after
      end)
    elseif mark == "{" then
      return list_at(at, "}", function(object, from)
        if string.sub(text, from, from) ~= '"' then
          fail(from, "expected a name in quotes")
        end
        local name, behind = string_at(from)
        local start = string.match(text, "^%s*:()", behind) or fail(behind, string.format("expected : after %q", name))
        local after
        object[name], after = value_at(start)
        return after
      end)
    end
    local word, after = string.match(text, "^([%w+%-.]+)()", at)
    local value = WORDS[word]
    if value == nil then
      value = word and tonumber(word)
    end
    if value == nil then
      fail(at, word and "no such value: " .. word or "a value is missing")
    end
    return value, after
  end

  local value, after = value_at(1)
  if string.find(text, "%S", after) then
    fail(after, "text behind the value")
  end
  return value
end

local function quoted(text)
  return '"' .. string.gsub(text, '[%c"\\]', function(char)
    return NAMES[char] or string.format("\\u%04x", string.byte(char))
  end) .. '"'
end

local function sorted_keys(value, path)
  local keys = {}
  for key in pairs(value) do
    if type(key) ~= "string" and math.type(key) ~= "integer" then
      error(string.format("a %s can't be a key in JSON (at %s)", type(key), path), 0)
    end
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  return keys
end

--- Writes one value, indented. A value that JSON can't express raises an error with its path.
function json.encode(value, indent, path, inside)
  indent, path, inside = indent or "", path or "value", inside or {}
  if type(value) == "string" then
    return quoted(value)
  elseif type(value) == "boolean" or value == nil then
    return value == nil and "null" or tostring(value)
  elseif type(value) == "number" then
    if value ~= value or value == math.huge or value == -math.huge then
      error(string.format("JSON has no word for %s (at %s)", value, path), 0)
    end
    return math.type(value) == "integer" and tostring(value) or string.format("%.17g", value)
  elseif type(value) ~= "table" then
    error(string.format("a %s can't be written (at %s)", type(value), path), 0)
  elseif inside[value] then
    error(string.format("a table that contains itself can't be written (at %s)", path), 0)
  end
  inside[value] = true
  local deeper, parts, keys = indent .. "  ", {}, sorted_keys(value, path)
  local is_array = #keys == #value
  for i, key in ipairs(keys) do
    key = is_array and i or key
    local text = json.encode(value[key], deeper, string.format("%s.%s", path, key), inside)
    parts[i] = deeper .. (is_array and "" or quoted(tostring(key)) .. ": ") .. text
  end
  inside[value] = nil
  local open, close = is_array and "[" or "{", is_array and "]" or "}"
  return #parts == 0 and "[]" or string.format("%s\n%s\n%s%s", open, table.concat(parts, ",\n"), indent, close)
end

return json
