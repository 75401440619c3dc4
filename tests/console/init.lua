--- A stand-in for the grandMA2 Lua engine, for tests and for developing off the console.
--
--   local console = require "console"
--   local engine = console.new { textinput = { "timer", "4" } }
--   engine:install()                       -- the global gma
--   engine:plugin("my_plugin.lua")
--   engine:run()                           -- ticks until nothing runs
--   for _, entry in ipairs(engine.transcript) do print(entry.kind, entry.text) end
--   engine:uninstall()
--
-- Depends on consolenative (tests/console/native.rs), and on the modules beside this one.

local _ENV = require "console.globals" ()

local native = require "consolenative"
local Scheduler = require "console.scheduler"
local Show = require "console.show"
local commands = require "console.commands"
local files = require "console.files"
local hardware = require "console.hardware"
local interface = require "console.interface"
local timers = require "console.timers"
local variables = require "console.variables"

local console = { Show = Show }

--- The engine.
-- @field gma the table that plugins see
-- @field transcript output and errors: { time = seconds, kind = "echo", text = "..." }
-- @field progress progress bars by handle: { name, open, range, values, texts }
local Engine = {}
Engine.__index = Engine

local OPTIONS = { show = true, textinput = true, confirm = true, tick = true, firstTimerCall = true, slice = true,
  output = true, uservars = true, showvars = true, folder = true, bar = true }

local function build_gma(engine)
  local gma = {
    sleep = function(seconds)
      if type(seconds) ~= "number" then
        error("bad argument #1 to 'sleep' (number expected, got " .. type(seconds) .. ")", 2)
      end
      return coroutine.yield(seconds)
    end,
    cmd = commands.new(engine),
    build_date = function() return "Jun 22 2021" end,
    build_time = function() return "12:00:00" end,
    git_version = function() return "0000000" end,
    gethardwaretype = function() return "GMA2" end,
    gettime = native.clock,
    show = { getobj = engine.show:getobj(), property = engine.show:property() },
    user = { getcmddest = function() return 1 end, getselectedexec = function() return nil end },
  }
  gma.timer, engine.count_timers = timers.new(engine)
  interface.add(engine, gma)
  variables.add(engine, gma)
  files.add(engine, gma)
  hardware.add(gma)
  return gma
end

--- Makes an engine. Options, all optional: `show` (pools, see console.show), `textinput` and `confirm` (answers in
-- order, false for cancelled; or a function of title and default), `uservars` and `showvars` (by name), `folder` (the
-- console's, with `temp` and `plugins` in it, or a function that gives it; default: one that goes with the engine), `tick`
-- (seconds between ticks, default 0.01), `firstTimerCall` ("tick" or "inside"), `slice` (VM instructions that a
-- coroutine may run in a tick; default: no slices), `output` (called with kind and text of each transcript line), `bar`
-- (called with a progress bar that has changed).
function console.new(options)
  options = options or {}
  for name in pairs(options) do
    if not OPTIONS[name] then
      error("the stand-in has no option '" .. tostring(name) .. "'", 2)
    end
  end
  local engine = setmetatable({ options = options, transcript = {}, progress = {}, plugins = {}, pool = {} },
    Engine)
  engine.show = Show.new(options.show)
  engine.scheduler = Scheduler.new(options, function(record)
    engine:say("error", record.name .. ": " .. record.traceback)
  end)
  engine.gma = build_gma(engine)
  return engine
end

--- Appends a line to the transcript.
function Engine:say(kind, text)
  table.insert(self.transcript, { time = native.clock(), kind = kind, text = text })
  if self.options.output then
    self.options.output(kind, text)
  end
end

--- The transcript's texts of one kind.
function Engine:texts(kind)
  local texts = {}
  for _, entry in ipairs(self.transcript) do
    if entry.kind == kind then
      texts[#texts + 1] = entry.text
    end
  end
  return texts
end

function Engine:install()
  self.gma_before = rawget(_G, "gma")
  rawset(_G, "gma", self.gma)
end

function Engine:uninstall()
  rawset(_G, "gma", self.gma_before)
end

--- The owner of the running coroutine: everything it starts belongs to the same plugin.
function Engine:owner()
  local running = coroutine.running()
  for _, record in ipairs(self.scheduler.list) do
    if record.coroutine == running then
      return record.owner
    end
  end
  return nil
end

--- Starts a function as a plugin's coroutine.
-- @treturn table its record: status, results, error, traceback
function Engine:start(func, ...)
  return self.scheduler:start("plugin", nil, func, ...)
end

local Plugin = {}
Plugin.__index = Plugin

--- Runs the plugin's Start, beside other coroutines.
function Plugin:run(argument)
  self.record = self.engine.scheduler:start("plugin " .. self.name, self, self.start, argument)
  return self.record
end

--- Loads a plugin and adds it to the pool: { name = internal name, visible = visible name }.
function Engine:load(path, options)
  options = options or {}
  local chunk, problem = loadfile(path)
  if not chunk then
    error(problem, 0)
  end
  local name = options.name or string.match(path, "([^/\\]+)%.lua$") or path
  local plugin = setmetatable({ engine = self, name = name, number = #self.pool + 1 }, Plugin)
  plugin.start, plugin.cleanup = chunk(name, options.visible or name)
  for what, func in pairs { Start = plugin.start or false, Cleanup = plugin.cleanup } do
    if type(func) ~= "function" then
      error(string.format("the plugin %s must return its functions at the end, return Start, Cleanup: its %s is %s", path, what,
        func and "a " .. type(func) or "missing"), 0)
    end
  end
  self.pool[plugin.number] = plugin
  self.plugins[name] = plugin
  self.plugins[tostring(plugin.number)] = plugin
  self.show:store("Plugin", plugin.number, name)
  return plugin
end

--- Loads a plugin and runs its Start with options.argument.
function Engine:plugin(path, options)
  local plugin = self:load(path, options)
  plugin:run(options and options.argument)
  return plugin
end

--- The console's folder.
function Engine:folder()
  return self.gma.show.getvar("PATH")
end

--- Off Plugin: ends its coroutines and timers, then runs its Cleanup.
function Engine:stop(plugin)
  for _, record in ipairs(self.scheduler.list) do
    if record.owner == plugin and record.ended then
      record.ended(record)
    end
  end
  self.scheduler:kill(plugin)
  if plugin.cleanup then
    self.scheduler:start("cleanup of " .. plugin.name, nil, plugin.cleanup)
  end
end

function Engine:tick()
  self.scheduler:tick()
end

--- Whether nothing is left to run.
function Engine:idle()
  return self.scheduler:idle()
end

--- Ticks until nothing is left to run. If given a function, starts it first, and returns its results or raises its error.
function Engine:run(func, ...)
  local record = func and self:start(func, ...)
  while not self:idle() do
    self:tick()
    self.scheduler:rest()
  end
  if record and record.status == "failed" then
    error(record.traceback, 0)
  elseif record then
    return table.unpack(record.results, 1, record.results.n)
  end
end

return console
