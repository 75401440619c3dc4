--- The globals of the stand-in's own files: copies, so that no plugin can change them. They are made like those of the
-- library. Any other name is an error.

local folder = select(2, ...):match("^(.*)tests[/\\]console[/\\]")
local globals = assert(loadfile(folder .. "lua/cooperative/globals.lua"))(package.loaded)

setmetatable(globals, {
  __index = function(_, name)
    globals.error("the stand-in uses no global " .. globals.tostring(name), 2)
  end,
})

-- Not as a table: tracebacks would search it for the names of functions.
return function()
  return globals
end
