--- Checks of arguments, with the same message everywhere.

local _, modules = ...

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

--- What the caller has given as an argument, for messages: a type, or the module itself, which `gma2workers:Map()` passes.
-- @string name the function's name
function arguments.got(value, name)
  return arguments.is_itself(value) and string.format("itself: write .%s with a dot", name) or arguments.type(value)
end

--- Whether a value is the module itself.
function arguments.is_itself(value)
  return value ~= nil and value == modules.sync.itself
end

--- Checks the type of an argument. Returns the refusal, or nil if the type is right.
-- @param value the argument
-- @string expected the type, or types joined by " or "
-- @int position which argument it is, from 1
-- @string name the function's name
-- @treturn ?string
function arguments.check(value, expected, position, name)
  for kind in string.gmatch(expected, "%a+") do
    if kind == type(value) and not arguments.is_itself(value) then
      return nil
    end
  end
  return arguments.refusal(position, name, string.format("%s expected, got %s", expected, arguments.got(value, name)))
end

return arguments
