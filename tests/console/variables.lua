--- Show and user variables: texts, their names in any letter case.

local variables = {}

local BUILT_IN = {
  VERSION = "3.9.60.50",
  OS = "LINUX",
  HOSTTYPE = "Console",
  HOSTSUBTYPE = "onPC",
  HOSTNAME = "standin",
  HOSTIP = "127.0.0.1",
  HOSTSTATUS = "Standalone",
  USER = "Administrator",
  USERPROFILE = "Default",
  USERRIGHTS = "Admin",
  SHOWFILE = "standin",
  PATH = ".",
  PLUGINPATH = "./plugins",
  TEMPPATH = "./temp",
  SELECTEDEXEC = "1.1.1",
  FADERPAGE = "1",
  BUTTONPAGE = "1",
}

local function store(given)
  local values = {}
  for name, value in pairs(given or {}) do
    values[name:upper()] = tostring(value)
  end
  local function get(name)
    return values[tostring(name):upper()]
  end
  local function set(name, value)
    values[tostring(name):upper()] = value ~= nil and tostring(value) or nil
  end
  return get, set
end

--- Adds the functions to the engine's `gma`.
function variables.add(engine, gma)
  local get_show, set_show = store(engine.options.showvars)
  function gma.show.getvar(name)
    local upper = tostring(name):upper()
    if upper == "TIME" then
      return os.date("%H:%M:%S")
    elseif upper == "DATE" then
      return os.date("%d.%m.%Y")
    end
    return get_show(name) or BUILT_IN[upper]
  end
  gma.show.setvar = set_show
  gma.user.getvar, gma.user.setvar = store(engine.options.uservars)
end

return variables
