--- The drop-in folder: `require` of the folder this file lies in gives gma2workers.
-- The binary lies beside this file, or, installed as a rock, on `package.cpath`. Nothing here knows the
-- folder's name, so it may be renamed.

local VERSION = "0.1.0"

-- A program that has the module already, under whichever name, gets the same one; and in a worker, where
-- there is none, the clear error that stands there.
if package.loaded["gma2workers"] then
  return package.loaded["gma2workers"]
elseif package.preload["gma2workers"] then
  return require("gma2workers")
end

if _VERSION ~= "Lua 5.3" then
  error("gma2workers needs Lua 5.3, this is " .. _VERSION, 0)
end

-- `require` passes the name and the path of this file; a chunk that was loaded otherwise knows its source.
local _, path = ...
local source = type(path) == "string" and path or debug.getinfo(1, "S").source:gsub("^@", "")
local folder = source:match("^(.*[/\\])[^/\\]*$") or "./"
local is_windows = package.config:sub(1, 1) == "\\"
local binary = folder .. (is_windows and "gma2workers.dll" or "gma2workers.so")

local open, problem = package.loadlib(binary, "luaopen_gma2workers")
if not open and package.searchpath("gma2workers", package.cpath) then
  return require("gma2workers")
elseif not open then
  error(("gma2workers: cannot load its binary, which belongs beside %s: %s"):format(source, problem), 0)
end

local gma2workers = open("gma2workers", binary)
if gma2workers.info.version ~= VERSION then
  error(("gma2workers: %s is of version %s, and the binary beside it of version %s: copy both from one release")
    :format(source, VERSION, gma2workers.info.version), 0)
end
package.loaded["gma2workers"] = gma2workers
return gma2workers
