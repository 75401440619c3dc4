--- Copies values within one state, as the native backend copies them between two states: a structured clone.
-- Tables are copied, with their shared and cyclic references. Fields are read raw, and metatables are not copied, except those of
-- modules. Modules, their classes and functions pass unchanged. Userdata and coroutines are refused, with their place. Nothing here
-- recurses, so only memory limits the depth.

local _, parts = ...

local values = {}

-- A class may have a `__metatable` field, which is no reason to refuse its objects.
local set_metatable = debug and debug.setmetatable or setmetatable

-- The kinds that pass unchanged.
local PLAIN = { ["nil"] = true, boolean = true, number = true, string = true, ["function"] = true }

--- The kind of a value, for messages.
function values.kind(value)
  local kind = type(value)
  if kind == "thread" then
    return "coroutine"
  end
  -- A light userdata is an address, so it can be copied like a number. `type` does not distinguish it from a full userdata, but
  -- only a full one can have a user value.
  if kind == "userdata" and debug and not pcall(debug.setuservalue, value, debug.getuservalue(value)) then
    return "light userdata"
  end
  return kind
end

-- Takes the place of a key in a path if the value is in the key itself.
local IN_KEY = {}

--- A key as a step of a path: `.key`, `[1]` or `["a key"]`.
local function step(key)
  if key == IN_KEY then
    return ", in a key"
  end
  local kind = values.kind(key)
  if kind == "string" then
    local quoted = string.gsub(string.format("[%q]", key), "\\\n", "\\n")
    return string.find(key, "^[%a_][%w_]*$") and "." .. key or quoted
  elseif kind == "number" or kind == "boolean" then
    return "[" .. tostring(key) .. "]"
  end
  return "[a " .. kind .. "]"
end

--- The path from one value to another.
-- @tab keys
-- @tparam[opt=1] int first the position of the first key to include
function values.path(keys, first)
  local steps = {}
  for i = first or 1, #keys do
    steps[#steps + 1] = step(keys[i])
  end
  return table.concat(steps)
end

-- The advice for kinds that can't cross.
local INSTEAD = {
  coroutine = "send the function it runs, and make it there",
  userdata = "send what it holds, or open it there",
}

--- Raises the error of a value that can't cross.
-- @tab met the tables found so far, see `copy_tables`
-- @int at the number of the table that holds the value, 0 for none
-- @param key the value's key in that table
-- @func place see `values.clone`
local function refuse(value, met, at, key, place)
  local depth, table_at = 0, at
  while table_at > 0 do
    depth, table_at = depth + 1, met.inside[table_at]
  end
  local keys = {}
  for i = depth, 1, -1 do
    keys[i] = key
    at, key = met.inside[at], met.keys[at]
  end
  local kind = values.kind(value)
  local where, item = place(key, keys)
  local message = string.format("cannot send a %s (at %s): %s", kind, where, INSTEAD[kind])
  if item then
    message = string.format("list[%d]: %s", item, message)
  end
  error({ kind = "transfer", message = message }, 0)
end

--- Copies `list[1]` to `list[n]`, with all tables in them.
local function copy_tables(list, n, place)
  local copies, classes = {}, {}
  -- The tables in the order in which they were found. For each, `inside` has the number of the table that holds it, and `keys` its
  -- key there. For a table directly in the list, these are 0 and its position.
  local met = { tables = {}, inside = {}, keys = {} }
  local count, done = 0, 0
  local read = parts.modules.reader()

  local function copy(value, at, key, is_key)
    if type(value) == "table" then
      local known = copies[value]
      if not known then
        local is_module, class = read(value)
        if is_module then
          copies[value] = value
          return value
        end
        known, count = {}, count + 1
        copies[value] = known
        if class then
          classes[known] = class
        end
        met.tables[count], met.inside[count] = value, at
        met.keys[count] = is_key and IN_KEY or key
      end
      return known
    elseif PLAIN[type(value)] or values.kind(value) == "light userdata" then
      return value
    end
    return refuse(value, met, at, is_key and IN_KEY or key, place)
  end

  local copied = {}
  for i = 1, n do
    copied[i] = copy(list[i], 0, i)
  end
  while done < count do
    done = done + 1
    local source = met.tables[done]
    local target = copies[source]
    for key, value in next, source do
      local new_key = PLAIN[type(key)] and key or copy(key, done, key, true)
      target[new_key] = PLAIN[type(value)] and value or copy(value, done, key)
    end
  end
  for object, class in next, classes do
    local finalizer = rawget(class, "__gc")
    if finalizer == nil then
      set_metatable(object, class)
    else
      -- What it would release belongs to the original: Lua looks for it as the metatable is set.
      rawset(class, "__gc", nil)
      set_metatable(object, class)
      rawset(class, "__gc", finalizer)
    end
  end
  return copied
end

local function clone(list, n, place)
  for i = 1, n do
    if not PLAIN[type(list[i])] then
      return copy_tables(list, n, place)
    end
  end
  return table.move(list, 1, n, 1, {})
end

--- Copies `list[1]` to `list[n]`.
-- @func place names the place of a value, from its position in the list and the keys from there. For the result of an item of a
-- `Map`'s list, it also returns the item's position
-- @treturn ?table the copies; nil if they can't be made
-- @treturn ?table the failure: `kind` and `message`
function values.clone(list, n, place)
  local ok, copied = pcall(clone, list, n, place)
  if ok then
    return copied
  elseif type(copied) == "table" then
    return nil, copied
  end
  -- Memory ran out, or the engine ran other code meanwhile, which changed a table.
  return nil, { kind = copied == "not enough memory" and "memory" or "transfer", message = tostring(copied) }
end

return values
