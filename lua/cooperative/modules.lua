--- Tells which tables are modules, their classes, libraries or the table of globals. Such a table crosses as itself, and so does the
-- class of an object.
--
-- A module is a value in `package.loaded`. Its classes are the tables that are reached from it by field names and hold code: a
-- function, or a field that begins with two underscores.

local core = ...

local modules = {}

-- The names of gma2workers itself.
local OWN = { ["gma2workers"] = true, ["gma2-workers"] = true, ["gma2_workers"] = true }

modules.IS_LIBRARY = { bit32 = true, coroutine = true, debug = true, io = true, math = true, os = true, package = true,
  string = true, table = true, utf8 = true }

--- Whether a field shows that its table is code.
local function is_code(key, value)
  return type(key) == "string" and (type(value) == "function" or string.sub(key, 1, 2) == "__")
end

--- Whether a table may be a module or a class, or have one as its metatable. Quick, so that plain data costs little.
local function may_be_code(value)
  if core.metatable(value) ~= nil then
    return true
  end
  for key, field in next, value do
    if is_code(key, field) then
      return true
    end
  end
  return false
end

--- Whether a table is empty and has a metatable with a function, as `json.null`: all that it has is its identity.
local function is_sentinel(value)
  local meta = core.metatable(value)
  for _, field in next, type(meta) == "table" and next(value) == nil and meta or {} do
    if type(field) == "function" then
      return true
    end
  end
  return false
end

--- The set of all modules, and of the tables in them that hold code.
local function read_modules()
  local loaded = package and package.loaded or {}
  local found, left_out, queue, last = {}, { [loaded] = true, [_G] = true }, {}, 0
  local engine = rawget(_G, "gma")
  if engine ~= nil then
    left_out[engine] = true
  end
  for name, value in next, loaded do
    if type(value) == "table" and (name == "_G" or modules.IS_LIBRARY[name] or OWN[name]) then
      left_out[value] = true
    end
  end
  local seen = {}
  for name, value in next, loaded do
    if type(name) == "string" and type(value) == "table" and not left_out[value] then
      last = last + 1
      queue[last], seen[value], found[value] = value, true, true
    end
  end
  while last > 0 do
    local current = queue[last]
    queue[last] = nil
    last = last - 1
    if is_sentinel(current) then
      found[current] = true
    end
    for key, value in next, current do
      if is_code(key, value) then
        found[current] = true
      end
      if type(key) == "string" and type(value) == "table" and not seen[value] and not left_out[value] then
        last = last + 1
        queue[last], seen[value] = value, true
      end
    end
  end
  return found
end

--- Makes a function that tells what to do with a table: whether it crosses as itself, and the metatable of its copy, if that is a
-- module's.
function modules.reader()
  local found, values, libraries = nil, {}, { [_G] = true }
  for name, value in next, package and package.loaded or {} do
    values[value] = true
    if modules.IS_LIBRARY[name] then
      libraries[value] = true
    end
  end
  return function(value)
    if libraries[value] then
      return true, nil
    elseif not values[value] and not may_be_code(value) then
      return false, nil
    end
    found = found or read_modules()
    local class = core.metatable(value)
    return found[value] == true, class ~= nil and found[class] and class or nil
  end
end

return modules
