--- One Lua state of a run, with the engine and its plugins, and its answers to main.lua. ReloadPlugins ends it, and a new
-- one continues with its memory: variables belong to the show, and outlive the state.
--
--   ... = started, is a terminal, memory (JSON; empty in the first state), then the words of the command line
--   returns function(request) → "running", "idle" or "reload"; its memory for the request "memory"

local _ENV = require "console.globals" ()

local console = require "console"
local json = require "console.json"
local options = require "console.options"
local plugin_file = require "console.plugin_file"
local show_file = require "console.show_file"
local Terminal = require "console.terminal"

local started, draws, memory = ...
local given = options.parse({ select(4, ...) }, error)
local remembered = memory ~= "" and json.decode(memory, "memory") or nil
local terminal = Terminal.new(given, tonumber(started), draws == "yes")

-- A plugin finds the modules in its own folder.
local plugin_folder = string.match(given.files[1], "^(.*)[/\\]") or "."
package.path = string.format("%s/?.lua;%s/?/init.lua;%s", plugin_folder, plugin_folder, package.path)

-- If that folder has no gma2-workers, this checkout's takes its place, also for the binary's own name. So both names give
-- the backend that GMA2WORKERS_BACKEND selects.
local checkout = string.match(package.searchpath("console.session", package.path), "^(.*)tests[/\\]console[/\\]")
local function load_from(path)
  return function(name) return assert(loadfile(path))(name, path) end
end
local load_library, load_shared = load_from(checkout .. "lua/init.lua"), load_from(checkout .. "lua/plugins/plugin.lua")
local stand_ins = { ["gma2-workers"] = load_library, ["gma2_workers"] = load_library,
  ["gma2-workers.plugins.plugin"] = load_shared }
table.insert(package.searchers, function(name) return stand_ins[name] end)
table.insert(package.searchers, 2, function(name) return name == "gma2workers" and load_library or nil end)

local next_answer = 0
local function answered(ask)
  if #given.answers == 0 then
    return ask
  end
  return function(title)
    next_answer = next_answer + 1
    local answer = given.answers[next_answer]
    if answer == nil then
      error(string.format("there is no answer for '%s': add --answer TEXT, or --cancel, to the command line",
        tostring(title)), 3)
    end
    return answer
  end
end

--- Removes the stand-in's own calls, which tell nothing about the plugin. It calls no methods of texts, since the plugin
-- may have broken those.
local function own_lines(text)
  for _, line in ipairs { "\n\t[^\n]*tests/console/%a+%.lua:[^\n]*", "\n\t%[C%]: in function 'error'",
    "\n\t%(%.%.%.tail calls%.%.%.%)" } do
    text = string.gsub(text, line, "")
  end
  return text
end

given.showvars.PLUGINPATH = given.showvars.PLUGINPATH or plugin_folder
local engine

--- Loads the plugins. Failures are shown; an error in the files is shown alone.
local function load_plugins()
  for i, file in ipairs(given.files) do
    for j, found in ipairs(plugin_file.read(file)) do
      local is_first = i == 1 and j == 1
      local plugin = engine:load(found.file, { name = is_first and given.name or found.name })
      if found.on_load or is_first and not remembered then
        plugin:run(is_first and not remembered and given.argument or nil)
      end
    end
  end
end

local ok, problem = pcall(function()
  engine = console.new {
    show = #given.shows > 0 and show_file.load(given.shows) or nil,
    textinput = answered(function(...) return terminal:ask(...) end),
    confirm = answered(function(...) return terminal:confirm(...) end),
    uservars = remembered and remembered.uservars or given.uservars,
    showvars = remembered and remembered.showvars or given.showvars,
    folder = given.folder,
    slice = given.slice,
    output = function(kind, text) terminal:line(kind, kind == "error" and own_lines(text) or text) end,
    bar = function(bar) terminal:bar(bar) end,
  }
  engine:install()
  if remembered then
    engine:say("note", string.format("ReloadPlugins: the Lua state was closed with %d coroutines in it, and opened again",
      remembered.coroutines))
  end
  load_plugins()
end)
if not ok then
  terminal:line("error", tostring(problem))
end

local requests = {}

function requests.tick()
  engine:tick()
  terminal:draw()
  if not engine.reload_is_due and not engine:idle() then
    engine.scheduler:rest()
  end
end

function requests.off()
  for _, plugin in ipairs(engine.pool) do
    engine:stop(plugin)
  end
end

local function reply(request)
  local command = string.match(request, "^command (.*)$")
  if request == "memory" then
    return json.encode { uservars = engine.variables.user, showvars = engine.variables.show,
      coroutines = #engine.scheduler.list }
  elseif request == "failed" then
    return terminal.failed and "yes" or "no"
  elseif command then
    engine:say("note", "typed: " .. command)
    local refusal = engine.gma.cmd(command)
    if refusal then
      engine:say("error", string.format("the command line refused %s: %s", command, refusal))
    end
  else
    requests[request]()
  end
  return engine.reload_is_due and "reload" or engine:idle() and "idle" or "running"
end

return function(request)
  if not ok then
    return request == "failed" and "yes" or "idle"
  end
  return reply(request)
end
