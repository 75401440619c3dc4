--- Checks of arguments, with the same message everywhere.

local arguments = {}

--- The refusal of an argument.
-- @int position which argument it is, from 1
-- @string name the function's name
-- @string problem
function arguments.refusal(position, name, problem)
  return string.format("bad argument #%d to '%s' (%s)", position, name, problem)
end

--- The type of a value, for messages.
function arguments.type(value)
  return value == nil and "no value" or type(value)
end

--- Checks the type of an argument. Returns the refusal, or nil if the type is right.
-- @param value the argument
-- @string expected the type, or types joined by " or "
-- @int position which argument it is, from 1
-- @string name the function's name
-- @treturn ?string
function arguments.check(value, expected, position, name)
  for kind in string.gmatch(expected, "%a+") do
    if kind == type(value) then
      return nil
    end
  end
  return arguments.refusal(position, name, string.format("%s expected, got %s", expected, arguments.type(value)))
end

return arguments
