--- The command line of `scripts/run-plugin`.

local _ENV = require "console.globals" ()

local options = {}

options.USAGE = [[
usage: scripts/run-plugin FILE... [option...]

Runs a grandMA2 plugin in a stand-in for the console's Lua engine, until nothing of it runs any more.
FILE is a plugin's .lua, or the pool's .xml that names it. The first one is started; further ones are
in the pool, for Plugin 2 and so on (and started where the .xml says execute_on_load).

the plugin
  --argument TEXT   what Start gets, as from Plugin 1 "TEXT"
  --name NAME       the name the plugin gets (default: the file's, or what the .xml says)
  --answer TEXT     answers gma.textinput, and any but the word no confirms a gma.gui.confirm; may be given
                    several times, in order (without one, questions are asked here, or on standard input)
  --cancel          the next answer is a cancelled input, or a dialog that is not confirmed
  --at SECONDS COMMAND
                    types a command that many seconds after the start, as --at 2 "Off Plugin 1",
                    --at 2 ReloadPlugins, --at 3 'Plugin 1 "again"'; may be given several times

the console
  --show FILE       the show: .lua or .json (see tests/console/show.lua), or what a console exported as .xml:
                    patch, layouts, presets (named like preset_4.1.xml), groups, macros, sequences; may be given
                    several times. Without one there is a small show with a little of everything
  --folder FOLDER   the console's folder, for temp and importexport (default: a new one, made when it is needed, and
                    removed at the end)
  --var NAME=VALUE  sets a user variable
  --showvar NAME=VALUE  sets a variable of the show, or one of the engine's own, as --showvar VERSION=3.3.4.3
  --slice N         VM instructions that a coroutine may run in a tick (default: no slices)

what is shown
  --times           the seconds since the start before each line
  --commands        what the plugin types by gma.cmd, too
  --transcript FILE writes everything there, with times
  --help            this text

GMA2WORKERS_BACKEND in the environment, native or cooperative, says which backend of gma2workers plugins get.
Ctrl-C ends the plugin as Off Plugin does, with its Cleanup; a second one ends everything at once.
Exit code: 0 when all ended well, 1 when a plugin, a timer or a command failed (failed tasks alone are no failure), 2 for a wrong
command line.]]

--- The options of a command line.
-- @func fail called with the reason if one is wrong
function options.parse(words, fail)
  local parsed = { files = {}, answers = {}, shows = {}, uservars = {}, showvars = {}, commands_at = {} }
  local at = 1
  local function value(name)
    at = at + 1
    return words[at] or fail(name .. " needs a value")
  end
  local function one(key)
    return function(name) parsed[key] = value(name) end
  end
  local function variable(key)
    return function(name)
      local word = value(name)
      local variable_name, text = string.match(word, "^%$?([%w_]+)=(.*)$")
      if not variable_name then
        fail(string.format("%s takes NAME=VALUE, got %s", name, word))
      end
      parsed[key][variable_name] = text
    end
  end
  local take = {
    ["--argument"] = one("argument"),
    ["--name"] = one("name"),
    ["--folder"] = one("folder"),
    ["--transcript"] = one("transcript"),
    ["--answer"] = function(name) table.insert(parsed.answers, value(name)) end,
    ["--cancel"] = function() table.insert(parsed.answers, false) end,
    ["--show"] = function(name) table.insert(parsed.shows, value(name)) end,
    ["--times"] = function() parsed.times = true end,
    ["--commands"] = function() parsed.commands = true end,
    ["--help"] = function() parsed.help = true end,
    ["--var"] = variable("uservars"),
    ["--showvar"] = variable("showvars"),
    ["--slice"] = function(name)
      local word = value(name)
      parsed.slice = math.tointeger(tonumber(word))
      if not parsed.slice or parsed.slice < 1 then
        fail(string.format("--slice takes a whole number above 0, got %s", word))
      end
    end,
    ["--at"] = function(name)
      local word = value(name)
      local seconds = tonumber(word)
      if not seconds then
        fail(string.format("--at takes seconds and a command, got %s", word))
      end
      local entry = { seconds = seconds, command = words[at + 1] or fail("--at needs a command after its seconds") }
      at = at + 1
      table.insert(parsed.commands_at, entry)
    end,
  }
  while words[at] do
    local word = words[at]
    if take[word] then
      take[word](word)
    elseif string.sub(word, 1, 1) == "-" then
      fail("no option " .. word)
    else
      table.insert(parsed.files, word)
    end
    at = at + 1
  end
  if #parsed.files == 0 and not parsed.help then
    fail("which plugin?")
  end
  -- Commands at the same time stay in order.
  for i, entry in ipairs(parsed.commands_at) do
    entry.order = i
  end
  table.sort(parsed.commands_at, function(a, b)
    return a.seconds < b.seconds or a.seconds == b.seconds and a.order < b.order
  end)
  return parsed
end

return options
