--- Checks of arguments, with the same message everywhere, at the caller's line.

local arguments = {}

--- Raises unless `value` is of one of the expected types.
-- @param value what was given
-- @string expected the type, or types joined by " or "
-- @int position which argument it is, from 1
-- @string name the function's name
-- @int level where the fault lies: 2 is the caller of the function that checks
function arguments.check(value, expected, position, name, level)
  local got = type(value)
  for kind in string.gmatch(expected, "%a+") do
    if kind == got then
      return value
    end
  end
  local shown = value == nil and "no value" or got
  error(string.format("bad argument #%d to '%s' (%s expected, got %s)", position, name, expected, shown), level + 1)
end

return arguments
