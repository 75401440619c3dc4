--- Reads the list of a `Map`. Items are read raw, and none is left out silently.

local core = ...

local items = {}

--- Finds the reason why a table is not a list; nil if it is one.
-- @tab list
-- @tparam int|false count the number of items, if the list has `n`
local function find_problem(list, count)
  local found, last = 0, 0
  for key in next, list do
    if math.type(key) ~= "integer" then
      if key ~= "n" then
        local shown = type(key) == "string" and string.format("field '%s'", key) or type(key) .. " as a key"
        return "a list expected, but it has a " .. shown
      end
    elseif key < 1 then
      return string.format("a list that starts at 1 expected, but it has [%d]", key)
    else
      found, last = found + 1, math.max(last, key)
    end
  end
  if count then
    local problem = "list.n is %d, but there is an item at [%d]: set list.n to the number of items"
    return last > count and string.format(problem, count, last) or nil
  end
  local hole = 1
  while found ~= last and rawget(list, hole) ~= nil do
    hole = hole + 1
  end
  if found ~= last then
    return string.format("list[%d] is missing: the list has a hole (list[%d] is there); for a list with nils, set list.n", hole, last)
  end
end

--- Reads a list. All keys are checked, because a table's length says nothing about the others.
-- @treturn ?tab a plain table of the items, which may be the list itself; nil if it is not a list
-- @treturn int|string the number of items, or the problem
function items.read(list)
  local n = rawget(list, "n")
  local count = n == nil and rawlen(list) or math.type(n) and math.tointeger(n)
  if not count or count < 0 then
    return nil, string.format("list.n must be a whole number of items, got %s", tostring(n))
  end
  local problem = (n ~= nil or not core.is_list(list, count)) and find_problem(list, n ~= nil and count)
  if problem then
    return nil, problem
  end
  if not core.metatable(list) then
    return list, count
  end
  local copy = {}
  for i = 1, count do
    copy[i] = rawget(list, i)
  end
  return copy, count
end

return items
