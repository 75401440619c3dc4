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

--- Whether a sent table stands for one that is not plain, such as a class.
local function is_code(sent)
  for _, value in next, sent do
    if rawequal(value, left_out) then
      return true
    end
  end
  return false
end

--- Lists, for each table in a sent table's fields, the different values of these fields in the module's own table.
local function candidates_of(own, sent, is_free)
  local candidates = {}
  for key, value in next, sent do
    local current = rawget(own, key)
    if type(value) == "table" and not rawequal(value, left_out) and type(current) == "table" and is_free(current) then
      local list = candidates[value] or {}
      candidates[value] = list
      local is_new = true
      for _, other in next, list do
        is_new = is_new and not rawequal(other, current)
      end
      list[is_new and #list + 1 or #list] = current
    end
  end
  return candidates
end

--- Finds the own table for each sent one that the host has in several fields, where the module has several tables. That is the one
-- that no other sent table is alone in: after `shapes.Default = shapes.Square`, the module's square. A class that has none, or
-- not for itself, has `false`: it is left as it is.
local function matches_of(candidates)
  local alone, is_contested, matches = {}, {}, {}
  for sent, list in next, candidates do
    if #list == 1 then
      is_contested[list[1]] = alone[list[1]] ~= nil
      alone[list[1]] = sent
    end
  end
  for sent, list in next, candidates do
    local left, count = nil, 0
    for _, current in next, list do
      if not alone[current] then
        left, count = left or current, count + 1
      end
    end
    if #list == 1 and is_contested[list[1]] and is_code(sent) then
      matches[sent] = false
    elseif #list > 1 then
      matches[sent] = (count == 1 or not is_code(sent)) and (left or list[1])
    end
  end
  return matches
end

local function merge(module, data)
  -- The own table for each sent one, and the own tables that are taken.
  local own_of, taken = { [data] = module }, { [module] = true }
  local queue, last = { data }, 1

  local function is_free(own)
    return not foreign[own] and not taken[own]
  end

  --- The own table for a sent one, which is the current value of a field if that is a table, or else the sent one itself. None if a
  -- class of the module has to stay.
  local function own_table(sent, current, match)
    local own = own_of[sent]
    if own or match == false then
      return own
    end
    current = match or current
    local is_table = type(current) == "table"
    if is_table and is_free(current) then
      own = current
    elseif is_table and is_code(sent) then
      return nil
    else
      own = sent
    end
    own_of[sent], taken[own] = own, true
    last = last + 1
    queue[last] = sent
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
    local matches = is_new and {} or matches_of(candidates_of(own, sent, is_free))
    for key, value in next, sent do
      if rawequal(value, left_out) then
        if is_new then
          rawset(sent, key, nil)
        end
      elseif type(value) == "table" then
        local own_value = own_table(value, rawget(own, key), matches[value])
        if own_value then
          rawset(own, key, own_value)
        end
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
