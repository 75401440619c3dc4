--- Runs plugins in the engine stand-in: `scripts/run-plugin` calls this.
--
-- The engine runs in a separate Lua state, which is closed and opened again at ReloadPlugins. This file has the clock, the
-- commands to type at given times, and Ctrl-C.

local native = require "consolenative"
local files = require "console.files"
local options = require "console.options"

local SESSION = package.searchpath("console.session", package.path)

local function fail(text)
  io.stderr:write("run-plugin: ", text, " (see --help)\n")
  os.exit(2)
end

local given = options.parse(arg, fail)
if given.help then
  print(options.USAGE)
  os.exit(0)
end
local backend = os.getenv("GMA2WORKERS_BACKEND") or ""
if backend ~= "" and backend ~= "native" and backend ~= "cooperative" then
  fail(('GMA2WORKERS_BACKEND must be "native" or "cooperative", got "%s"'):format(backend))
end
for _, path in ipairs(given.files) do
  local file = io.open(path)
  if not file then
    fail("cannot open " .. path)
  end
  file:close()
end
if given.transcript then
  local file, problem = io.open(given.transcript, "w")
  if not file then
    fail("cannot write the transcript " .. problem)
  end
  file:close()
end

local started = native.clock()
local failed = false

-- All states of a run share one folder.
local words, own_folder = { table.unpack(arg) }, nil
if not given.folder then
  own_folder = files.temporary_folder()
  table.move({ "--folder", own_folder }, 1, 2, #words + 1, words)
end

local function open(memory)
  return native.state(SESSION, tostring(started), os.getenv("GMA2WORKERS_TERMINAL") or "no", memory, table.unpack(words))
end

local function finish(code)
  if own_folder and files.remove_folder(own_folder) then
    print(("note: the console's folder %s was removed with the files in it: to keep them, use --folder FOLDER")
      :format(own_folder))
  end
  os.exit(code, true)
end

local state = open("")

--- Runs one tick; returns whether there is more to run.
local function turn()
  local entry = given.commands_at[1]
  local seconds = native.clock() - started
  local status
  if entry and entry.seconds <= seconds then
    table.remove(given.commands_at, 1)
    status = state:call("command " .. entry.command)
    -- Coroutines that a command starts begin before the next command is typed.
    if status ~= "reload" then
      status = state:call("tick")
    end
  else
    status = state:call("tick")
    if status == "idle" and entry then
      native.sleep(math.min(0.02, entry.seconds - seconds))
    end
  end
  if status == "reload" then
    failed = state:call("failed") == "yes" or failed
    local memory = state:call("memory")
    state:close()
    state = open(memory)
  end
  return status ~= "idle" or given.commands_at[1] ~= nil
end

local function run()
  repeat until not turn()
end

local ok, problem = pcall(function()
  -- The plugin has started before the first command is typed.
  if state:call("tick") ~= "idle" or given.commands_at[1] then
    run()
  end
end)
if not ok and tostring(problem):find("interrupted!", 1, true) then
  io.stderr:write("run-plugin: interrupted: Off Plugin for all; press Ctrl-C again to end at once\n")
  given.commands_at = {}
  state:call("off")
  run()
  failed = true
elseif not ok then
  io.stderr:write("run-plugin: ", tostring(problem), "\n")
  finish(1)
end
failed = state:call("failed") == "yes" or failed
state:close()
finish(failed and 1 or 0)
