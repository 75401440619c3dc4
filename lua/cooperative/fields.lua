--- A table's plain fields as text, for an error value that is a table. The same as the native backend's.

local core = ...

-- The most items, and the most other fields, that are shown of one table; the most tables inside each other; the most bytes of
-- one string; and the number of bytes beyond which no field begins.
local FIELDS, DEPTH, LONGEST, TOTAL = 16, 3, 100, 500

local RANK = { number = 0, string = 1, boolean = 2 }
local SHOWN = { number = true, string = true, boolean = true, table = true }

-- A text in parts, and its length.
local Text = {}
Text.__index = Text

function Text:add(part)
  self[#self + 1] = part
  self.length = self.length + #part
end

local function escape(char)
  return (char == '"' or char == "\\") and "\\" .. char or char == "\n" and "\\n" or string.format("\\%03d", string.byte(char))
end

local function quoted(text)
  local last = #text
  if last > LONGEST then
    last = LONGEST
    -- A character of UTF-8 is not cut.
    while last > LONGEST - 3 and (string.byte(text, last + 1) or 0) & 0xc0 == 0x80 do
      last = last - 1
    end
  end
  local shown = string.gsub(string.sub(text, 1, last), '[\0-\31\127"\\]', escape)
  return '"' .. shown .. (last < #text and '..."' or '"')
end

local function scalar(value)
  return type(value) == "string" and quoted(value) or tostring(value)
end

local function comes_before(a, b)
  if type(a) ~= type(b) then
    return RANK[type(a)] < RANK[type(b)]
  elseif type(a) == "boolean" then
    return b and not a
  end
  return a < b
end

--- The first keys in their order, which follow the list of that length; and whether there are no other fields.
local function first_keys(of, length)
  local keys, is_complete = {}, true
  for key, value in next, of do
    local is_item = math.type(key) == "integer" and key >= 1 and key <= length
    if not is_item and RANK[type(key)] and SHOWN[type(value)] then
      local at = #keys + 1
      while at > 1 and comes_before(key, keys[at - 1]) do
        at = at - 1
      end
      table.insert(keys, at, key)
      if #keys > FIELDS then
        keys[#keys], is_complete = nil, false
      end
    elseif not is_item then
      is_complete = false
    end
  end
  return keys, is_complete
end

local function add_table(text, of, depth)
  if depth == 0 then
    text:add("{ ... }")
    return
  end
  local is_first = true
  local function begin()
    text:add(is_first and "{ " or ", ")
    is_first = false
  end
  local function add_value(value)
    if type(value) == "table" then
      add_table(text, value, depth - 1)
    else
      text:add(SHOWN[type(value)] and scalar(value) or "...")
    end
  end
  local length = 0
  while rawget(of, length + 1) ~= nil do
    length = length + 1
  end
  local is_cut = length > FIELDS
  for i = 1, math.min(length, FIELDS) do
    if text.length > TOTAL then
      is_cut = true
      break
    end
    begin()
    add_value(rawget(of, i))
  end
  local keys, is_complete = first_keys(of, length)
  is_cut = is_cut or not is_complete
  for _, key in ipairs(keys) do
    if text.length > TOTAL then
      is_cut = true
      break
    end
    begin()
    local is_name = type(key) == "string" and #key <= LONGEST and string.find(key, "^[A-Za-z_][A-Za-z0-9_]*$")
    text:add(is_name and key or "[" .. scalar(key) .. "]")
    text:add(" = ")
    add_value(rawget(of, key))
  end
  if is_cut then
    begin()
    text:add("...")
  end
  text:add(is_first and "{}" or " }")
end

--- Returns the text, if the value is a table without `__tostring`.
function core.fields(value)
  local meta = type(value) == "table" and core.metatable(value)
  if type(value) ~= "table" or type(meta) == "table" and rawget(meta, "__tostring") ~= nil then
    return nil
  end
  local text = setmetatable({ length = 0 }, Text)
  local name = type(meta) == "table" and rawget(meta, "__name")
  if type(name) == "string" then
    text:add(name .. ": ")
  end
  add_table(text, value, DEPTH)
  return table.concat(text)
end

return core.fields
