--- The `_ENV` of the library's own files: a copy of the standard globals, made when the library is loaded.
--
-- All plugins of a console share one `_G`, and each may replace `debug`, `type` or `string.format`. So our files get copies, also
-- of the libraries, and use plain names, which are shorter than locals in each file. `_G` is the host's own table, for reading its
-- current globals: `rawget(_G, "gma")`. A method call on a string would use the host's `string`, so our files write
-- `string.format(text)`, not `text:format()`.

-- `package.loaded` still has a library that a plugin removed from `_G`.
local loaded = ...
local globals = loaded._G
local ipairs, next, rawget = globals.ipairs, globals.next, globals.rawget

local own = { _G = globals }

for _, name in ipairs { "_VERSION", "assert", "collectgarbage", "dofile", "error", "getmetatable", "ipairs", "load",
  "loadfile", "next", "pairs", "pcall", "print", "rawequal", "rawget", "rawlen", "rawset", "require", "select",
  "setmetatable", "tonumber", "tostring", "type", "xpcall" } do
  own[name] = rawget(globals, name)
end

-- A host may lack some of these.
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

-- `package` is not copied, because its current fields count.
own.package = loaded.package

return own
