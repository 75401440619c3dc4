--- Runs a plugin in the engine stand-in and shows what it says: `scripts/run-plugin` calls this.

local USAGE = [[
usage: scripts/run-plugin FILE [option...]

Runs a grandMA2 plugin in a stand-in for the console's Lua engine, until nothing of it runs any more.

  --argument TEXT   what Start gets, as from Plugin 1 "TEXT"
  --name NAME       the plugin's name (default: the file's)
  --answer TEXT     answers gma.textinput; may be given several times, in order
                    (without one, questions are asked here)
  --cancel          the next answer is a cancelled input
  --var NAME=VALUE  sets a user variable
  --show FILE       a Lua file that returns the show's pools (see tests/console/show.lua)
  --slice N         VM instructions that a coroutine may run in a tick (default: no slices)
  --times           shows the seconds since the start before each line
  --help            this text

Exit code: 0 when the plugin ended well, 1 when something in it failed, 2 for a wrong command line.]]

local function fail(text)
  io.stderr:write("run-plugin: ", text, " (see --help)\n")
  os.exit(2)
end

--- The options and the file named on the command line.
local function parse(words)
  local options = { answers = {}, variables = {} }
  local at = 1
  local function value(name)
    at = at + 1
    return words[at] or fail(name .. " needs a value")
  end
  local take = {
    ["--argument"] = function(name) options.argument = value(name) end,
    ["--name"] = function(name) options.name = value(name) end,
    ["--answer"] = function(name) options.answers[#options.answers + 1] = value(name) end,
    ["--cancel"] = function() options.answers[#options.answers + 1] = false end,
    ["--show"] = function(name) options.show = value(name) end,
    ["--times"] = function() options.times = true end,
    ["--var"] = function(name)
      local key, text = value(name):match("^(%w+)=(.*)$")
      if not key then
        fail("--var takes NAME=VALUE")
      end
      options.variables[key] = text
    end,
    ["--slice"] = function(name)
      options.slice = math.tointeger(tonumber(value(name))) or fail("--slice takes a whole number")
    end,
    ["--help"] = function()
      print(USAGE)
      os.exit(0)
    end,
  }
  while words[at] do
    local word = words[at]
    if take[word] then
      take[word](word)
    elseif word:sub(1, 1) == "-" then
      fail("no option " .. word)
    elseif options.file then
      fail("one plugin at a time: " .. options.file .. ", " .. word)
    else
      options.file = word
    end
    at = at + 1
  end
  if not options.file then
    fail("which plugin?")
  end
  return options
end

--- Asks on the terminal; an empty line takes the default, the end of input cancels.
local function ask(title, default)
  io.stdout:write(title, default and (" [" .. tostring(default) .. "]") or "", ": ")
  io.stdout:flush()
  local answer = io.read()
  if answer == "" then
    return default
  end
  return answer
end

local options = parse(arg)
local console = require "console"
local clock = require("consolenative").clock

local file = io.open(options.file)
if not file then
  fail("cannot open " .. options.file)
end
file:close()
-- A plugin finds the modules that lie beside it.
local folder = options.file:match("^(.*[/\\])") or "./"
package.path = folder .. "?.lua;" .. folder .. "?/init.lua;" .. package.path

local started = clock()
local failed = false
local engine = console.new {
  show = options.show and assert(loadfile(options.show))(),
  textinput = #options.answers > 0 and options.answers or ask,
  uservars = options.variables,
  slice = options.slice,
  output = function(kind, text)
    local time = options.times and ("%8.3f "):format(clock() - started) or ""
    if kind == "error" then
      failed = true
      io.stderr:write(time, "error: ", text, "\n")
    elseif kind ~= "cmd" then
      print(time .. kind .. ": " .. text)
    end
  end,
}
engine:install()
local ok, problem = pcall(engine.plugin, engine, options.file, { name = options.name, argument = options.argument })
if not ok then
  io.stderr:write("error: ", tostring(problem), "\n")
  os.exit(1)
end
engine:run()
os.exit(failed and 1 or 0, true)
