--- Functions that need a console's hardware or network: here they raise an error with the reason, or answer as a console
-- alone in its network does.

local _ENV = require "console.globals" ()

local hardware = {}

local ABSENT = {
  show = { reason = "there is no DMX output", "getdmx" },
  timestamp = { reason = "there is no timecode", "name", "time", "amount" },
  draw = { reason = "there are no windows", "getperformance" },
  canbus = { reason = "there are no keys, encoders and faders", "hardkey", "encoder", "wheel", "ball", "fader" },
}

local function absent(name, reason)
  return function()
    error(string.format("%s works only on a console: %s", name, reason), 2)
  end
end

local function alone(name, kind)
  return function(value)
    if type(value) ~= kind then
      error(string.format("bad argument #1 to '%s' (%s expected, got %s)", name, kind, type(value)), 2)
    end
    return nil
  end
end

--- Adds these functions to the engine's `gma`.
function hardware.add(gma)
  for group, names in pairs(ABSENT) do
    gma[group] = gma[group] or {}
    for _, name in ipairs(names) do
      gma[group][name] = absent(string.format("gma.%s.%s", group, name), names.reason)
    end
  end
  gma.canbus.data = { hardkeys = {} }

  local function variable(name)
    return function() return gma.show.getvar(name) end
  end
  gma.network = {
    gethosttype = variable("HOSTTYPE"),
    gethostsubtype = variable("HOSTSUBTYPE"),
    getprimaryip = variable("HOSTIP"),
    getsecondaryip = function() return "0.0.0.0" end,
    getstatus = variable("HOSTSTATUS"),
    -- 255 means no session.
    getsessionnumber = function() return 255 end,
    getsessionname = function() return "" end,
    getslot = function() return 255 end,
    -- Only its own address, since there is no other station in its network.
    gethostdata = function(ip, recycle)
      local data = recycle or {}
      if ip == nil or ip == gma.show.getvar("HOSTIP") then
        data.version, data.host_name, data.bits = gma.show.getvar("VERSION"), gma.show.getvar("HOSTNAME"), 64
      end
      return data
    end,
    getmanetslot = alone("getmanetslot", "number"),
    getperformance = alone("getperformance", "number"),
  }
end

return hardware
