--- Show and user variables: texts, with names in any letter case. The engine's own have made-up values, except the folders.

local _ENV = require "console.globals" ()

local files = require "console.files"

local variables = {}

local BUILT_IN = {
  VERSION = "3.9.60.50",
  OS = string.sub(package.config, 1, 1) == "\\" and "WINDOWS" or "LINUX",
  HOSTTYPE = "Console",
  HOSTSUBTYPE = "onPC",
  HOSTNAME = "standin",
  HOSTIP = "127.0.0.1",
  HOSTSTATUS = "Standalone",
  USER = "Administrator",
  USERPROFILE = "Default",
  USERRIGHTS = "Admin",
  SHOWFILE = "standin",
  SELECTEDEXEC = "1.1.1",
  SELECTEDEXECCUE = "NONE",
  SELECTEDFIXTURESCOUNT = "0",
  FADERPAGE = "1",
  BUTTONPAGE = "1",
  CHANNELPAGE = "1",
  FEATURE = "DIMMER",
  ATTRIBUTE = "DIM",
  PRESET = "DIMMER",
}

local function store(given)
  local values = {}
  for name, value in pairs(given or {}) do
    values[string.upper(name)] = tostring(value)
  end
  local function get(name)
    return values[string.upper(tostring(name))]
  end
  local function set(name, value)
    values[string.upper(tostring(name))] = value ~= nil and tostring(value) or nil
  end
  return get, set, values
end

local FOLDERS = { PATH = "", PLUGINPATH = "/plugins", TEMPPATH = "/temp" }

-- The folders that a console has. Each is made when a plugin first asks for the variable.
local MADE = { PATH = "/importexport", TEMPPATH = "/temp" }

--- Adds these functions to the engine's `gma`.
function variables.add(engine, gma)
  local get_show, set_show, of_show = store(engine.options.showvars)
  -- A function returns the folder when it is first needed.
  local folder
  local made = {}
  local function path()
    folder = folder or engine.options.folder or files.temporary_folder
    if type(folder) == "function" then
      folder = folder()
    end
    return folder
  end
  function gma.show.getvar(name)
    local upper = string.upper(tostring(name))
    if upper == "TIME" then
      return os.date("%H:%M:%S")
    elseif upper == "DATE" then
      return os.date("%d.%m.%Y")
    end
    local value = get_show(name) or BUILT_IN[upper]
    if not value and MADE[upper] and not made[upper] then
      made[upper] = true
      files.make_folder(path() .. MADE[upper])
    end
    return value or FOLDERS[upper] and path() .. FOLDERS[upper]
  end
  gma.show.setvar = set_show
  local of_user
  gma.user.getvar, gma.user.setvar, of_user = store(engine.options.uservars)
  engine.variables = { show = of_show, user = of_user }
  if not engine.options.folder then
    -- A folder made for this engine alone is removed with it.
    engine.own_folder = setmetatable({}, { __gc = function() return folder and files.remove_folder(folder) end })
  end
end

return variables
