--- The standard globals as they are when the library is loaded: what its own files have as their `_ENV`.
--
-- All plugins of a console share one `_G`, and each may set `debug`, `type` or `string.format` to something else. So our files
-- get copies, of the libraries' fields too, and go on reading plain names: that is shorter than locals in each file. What is
-- meant to be the host's of now is read from its own table, which is `_G` here: `rawget(_G, "gma")`. A method of a text
-- would be looked up in the host's `string`: it is `string.format(text)` in our files, not `text:format()`.

-- `package.loaded` has a library that a plugin took out of `_G` before.
local loaded = ...
local globals = loaded._G
local ipairs, next, rawget = globals.ipairs, globals.next, globals.rawget

local own = { _G = globals }

for _, name in ipairs { "_VERSION", "assert", "collectgarbage", "dofile", "error", "getmetatable", "ipairs", "load",
  "loadfile", "next", "pairs", "pcall", "print", "rawequal", "rawget", "rawlen", "rawset", "require", "select",
  "setmetatable", "tonumber", "tostring", "type", "xpcall" } do
  own[name] = rawget(globals, name)
end

-- A host need not have all of them.
for _, name in ipairs { "coroutine", "debug", "io", "math", "os", "string", "table", "utf8" } do
  local library = loaded[name] or rawget(globals, name)
  if library then
    local copy = {}
    for key, value in next, library do
      copy[key] = value
    end
    own[name] = copy
  end
end

-- Its fields say how things are now.
own.package = loaded.package

return own
