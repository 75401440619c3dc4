--- Reads a plugin's file: a .lua file, or the pool's .xml that names one or several.

local _ENV = require "console.globals" ()

local events = require("examples.ma2_xml").events

local plugin_file = {}

local function folder_of(path)
  return string.match(path, "^(.*[/\\])") or ""
end

--- The plugins of a file.
-- @treturn table a list of { name, file, on_load = started when it is loaded }
function plugin_file.read(path)
  local file, problem = io.open(path, "rb")
  local text = file and file:read("a")
  if not text then
    error("cannot read the plugin " .. (problem or path .. ": is it a folder?"), 0)
  end
  file:close()
  if not string.find(string.lower(path), "%.xml$") then
    return { { name = string.match(path, "([^/\\]+)%.lua$") or path, file = path } }
  end
  local plugins = {}
  local next_event, fail = events(text, path)
  for event, name, attributes in next_event do
    if event == "open" and name == "Plugin" then
      local luafile = attributes.luafile or fail("the plugin has no luafile")
      local beside = folder_of(path) .. string.gsub(luafile, "\\", "/")
      local found = io.open(beside, "rb") or fail("its luafile is not there: " .. beside)
      found:close()
      plugins[#plugins + 1] = { name = attributes.name or string.match(luafile, "([^/\\]+)%.lua$") or luafile, file = beside,
        on_load = attributes.execute_on_load == "1" }
    end
  end
  return plugins[1] and plugins or error(path .. ": there is no <Plugin> in it", 0)
end

return plugin_file
