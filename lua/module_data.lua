--- Brings the plain data of modules up to date with the host's, in place: a table keeps its identity, since the module's own
-- functions may hold it. Runs in a task's state, before its first task.
--
-- `updates` lists modules, each before the host's data for it. In that data, the table of globals stands for all that is not
-- plain, which the module keeps as it is.

local updates, left_out, loaded = ...

--- The tables that are not a module's own.
local foreign = { [left_out] = true, [loaded] = true }
for _, value in next, loaded do
  foreign[value] = true
end

local function is_scalar(value)
  local kind = type(value)
  return kind == "number" or kind == "string" or kind == "boolean"
end

--- Whether a value of a module is plain: a scalar, or a table of such.
local function is_plain(value)
  if type(value) ~= "table" then
    return is_scalar(value)
  end
  local queue, seen, last = { value }, { [value] = true }, 1
  while last > 0 do
    local current = queue[last]
    queue[last] = nil
    last = last - 1
    if foreign[current] then
      return false
    end
    for key, field in next, current do
      if type(field) == "table" then
        if not seen[field] then
          last = last + 1
          queue[last], seen[field] = field, true
        end
      elseif not is_scalar(key) or not is_scalar(field) then
        return false
      end
    end
  end
  return true
end

--- Removes the plain fields of a module's table that the host's has not.
local function remove_missing(own, sent)
  for key, value in next, own do
    if is_scalar(key) and rawget(sent, key) == nil and is_plain(value) then
      rawset(own, key, nil)
    end
  end
end

local function merge(module, data)
  -- The own table for each sent one, and the own tables that are taken.
  local own_of, taken = { [data] = module }, { [module] = true }
  local queue, last = { data }, 1

  --- The own table for a sent one, which is the current value of a field if that is a table, or else the sent one itself.
  local function own_table(sent, current)
    local own = own_of[sent]
    if not own then
      own = type(current) == "table" and not foreign[current] and not taken[current] and current or sent
      own_of[sent], taken[own] = own, true
      last = last + 1
      queue[last] = sent
    end
    return own
  end

  while last > 0 do
    local sent = queue[last]
    queue[last] = nil
    last = last - 1
    local own = own_of[sent]
    local is_new = rawequal(own, sent)
    if not is_new then
      remove_missing(own, sent)
    end
    for key, value in next, sent do
      if rawequal(value, left_out) then
        if is_new then
          rawset(sent, key, nil)
        end
      elseif type(value) == "table" then
        rawset(own, key, own_table(value, rawget(own, key)))
      else
        rawset(own, key, value)
      end
    end
  end
end

for i = 1, #updates, 2 do
  local module, data = updates[i], updates[i + 1]
  if type(module) == "table" and type(data) == "table" and not rawequal(data, left_out) then
    merge(module, data)
  end
end
