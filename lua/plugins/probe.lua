-- Probe: measures what is unknown about the engine, and writes a report that can be mailed.
--
--   Plugin "gma2workers probe"
--
-- Each line of the report is "name: value". The lines go to the System Monitor and, one by one, to a file: if the console
-- hangs, the file has all lines before. A measurement that fails says so in its line and stops nothing. The show is not
-- changed. The probe also runs without gma2workers, on an engine that lacks functions, and in older Luas: operators and
-- functions of Lua 5.3 are used only inside measurements.

-- All plugins share one set of globals, and another plugin may change any of these.
local _G, _VERSION, error, io, ipairs, loadfile, math, os, package, pairs, pcall, rawget, rawset, require, select, string,
  table, tostring, type = _G, _VERSION, error, io, ipairs, loadfile, math, os, package, pairs, pcall, rawget, rawset,
  require, select, string, table, tostring, type
local coroutine, LUA = coroutine, { coroutine = coroutine, debug = debug, io = io, package = package, string = string }
local NAME, FILE = "gma2workers probe", "gma2workers_probe.txt"
-- A command line can only name a global; this one exists while the probe runs.
local ALIAS = "gma2workers_probe"
-- Seconds: from look to look at an awaited event; the longest wait for it; of one loop; the longest wait for the job.
local SOON, LONG, LOOP, PATIENCE = 0.01, 2, 0.2, 10
local MOST_PASSES, HALF = 20000000, 10000 -- of a loop whose clock stands still; half of the job's numbers

-- The functions that command lines will run; the report's file; the library's job.
local queue, file, job, is_running, is_over = {}, nil, nil, false, false

local function feedback(text)
  pcall(function() gma.feedback(NAME .. ": " .. text) end)
end

local function tell(name, value)
  local text = (name .. ": " .. tostring(value)):gsub("%s+$", ""):gsub("%s*\n%s*", " | "):gsub("%c", " ")
  pcall(function() gma.echo(text) end)
  if file then
    file:write(text, "\n")
    file:flush()
  end
end

local function filled(format, first, ...)
  return first == nil and "none" or format:format(first, ...)
end

--- Tells what a function returns, formatted; or, if it fails, why.
local function tell_of(name, format, func, ...)
  local ok, text = pcall(function(...) return filled(format, func(...)) end, ...)
  tell(name, ok and text or "not measured: " .. tostring(text))
end

--- A function of the engine by its path below `gma`, or a function of Lua; nil if it does not exist.
local function find(path, root)
  local found = root or rawget(_G, "gma")
  for name in path:gmatch("[^.]+") do
    found = type(found) == "table" and found[name] or nil
  end
  return type(found) == "function" and found or nil
end

local function call(path, ...)
  local func = find(path) or error("the engine has no gma." .. path, 0)
  return func(...)
end

local function variable(name)
  return find("show.getvar") and call("show.getvar", name)
end

local now = os.clock

--- Lets the engine run until a condition holds or the seconds are over.
local function wait(is_so, seconds)
  local deadline = now() + seconds
  for _ = 1, seconds / SOON do
    if is_so() or is_over or now() > deadline then
      break
    end
    call("sleep", SOON)
  end
  return is_so()
end

--- How long a function takes.
local function seconds_of(func, ...)
  local started = now()
  func(...)
  return now() - started
end

--- A file's text, or its first bytes; nil if there is no such file.
local function read(path, size)
  local opened = io.open(path, "rb")
  local text = opened and opened:read(size or "*a")
  return text, opened and opened:close()
end

--- The arguments that are not nil.
local function present(...)
  local found = {}
  for i = 1, select("#", ...) do
    found[#found + 1] = (select(i, ...))
  end
  return found
end

local function joined(list)
  return #list > 0 and table.concat(list, ", ") or nil
end

--- Folders for plugins, and the arguments. A console's USB stick comes first: users can't copy files from a console's
-- own drive.
local function plugin_folders(...)
  return present("/media/sdb1/gma2/plugins", "/media/sdb/gma2/plugins", "/media/sdc1/gma2/plugins",
    variable("PLUGINPATH") or nil, ...)
end

--- The kind of program, from its ELF header.
local function program()
  local head = read("/proc/self/exe", 20)
  if not head or head:sub(1, 4) ~= "\127ELF" then
    return nil
  end
  local machines = { [3] = "x86", [40] = "ARM", [62] = "x86_64", [183] = "ARM64" }
  return head:byte(5) * 32, machines[head:byte(19)] or "machine " .. head:byte(19)
end

--- The C library and the Lua library among the files that the program has mapped.
local function libraries()
  local found = {}
  for path in (read("/proc/self/maps") or ""):gmatch("(/[^\n]*)") do
    if not found[path] and (path:find("/libc[-.][^/]*$") or path:find("/liblua[^/]*$")) then
      found[path], found[#found + 1] = true, path
    end
  end
  return joined(found)
end

local function tell_system()
  tell_of("console", "%s, %s, %s", function() return variable("HOSTTYPE"), variable("HOSTSUBTYPE"), call("gethardwaretype") end)
  tell_of("console version", "%s", variable, "VERSION")
  tell_of("console build", "%s %s", function() return call("build_date"), call("build_time") end)
  tell_of("console system", "%s", variable, "OS")
  tell_of("system", "%s", function()
    return read("/proc/version")
      or joined(present(os.getenv("OS"), os.getenv("PROCESSOR_ARCHITECTURE"), os.getenv("PROCESSOR_ARCHITEW6432")))
  end)
  tell_of("system cores", "%s", function()
    local _, count = (read("/proc/cpuinfo") or ""):gsub("processor%s*:", "")
    return count > 0 and count or os.getenv("NUMBER_OF_PROCESSORS")
  end)
  tell_of("program", "%d bit, %s", program)
  tell_of("program libraries", "%s", libraries)
end

local function tell_lua()
  tell("lua", _VERSION)
  tell_of("lua size_t", "%d bytes", find("string.packsize", LUA), "T")
  tell("lua largest integer", math.maxinteger)
  tell("lua table at", tostring({}):match("%S+$"))
  tell_of("lua hook", "%s, mask '%s', each %d instructions", find("debug.gethook", LUA))
  tell("io.popen", find("io.popen", LUA) and "there" or "not there")
  for _, name in ipairs { "path", "cpath", "config" } do
    tell_of("package." .. name, "%s", function() return package[name] end)
  end
  tell("package.loadlib", find("package.loadlib", LUA) and "there" or "not there")
end

--- The names of all functions in a table and in the tables inside it.
local function names_in(found, prefix, names, seen)
  seen[found] = true
  for name, value in pairs(found) do
    if type(value) == "function" then
      names[#names + 1] = prefix .. tostring(name)
    elseif type(value) == "table" and not seen[value] then
      names_in(value, prefix .. tostring(name) .. ".", names, seen)
    end
  end
  return names
end

local function tell_engine()
  tell_of("engine functions", "%d: %s", function()
    local names = names_in(rawget(_G, "gma"), "", {}, {})
    table.sort(names)
    return #names, table.concat(names, " ")
  end)
  local gettime = find("gettime")
  local ok, first = pcall(gettime or error)
  now = ok and type(first) == "number" and gettime or os.clock
  tell("clock", now == gettime and "gma.gettime" or "os.clock, since gma.gettime is missing or gives no number")
  tell_of("clock step", "%.9f s", function()
    local before, looks, after = now(), 0
    repeat
      after, looks = now(), looks + 1
    until after ~= before or looks == MOST_PASSES
    return after - before
  end)
end

-- How coroutines take turns.

local function tell_sleep()
  tell_of("plugin may sleep", "%s", find("coroutine.isyieldable", LUA))
  tell_of("sleep(0)", "%.6f s, the mean of %d calls", function()
    local calls, started = 0, now()
    repeat
      call("sleep", 0)
      calls = calls + 1
    until calls == 50 or now() - started > 1 or is_over
    return (now() - started) / calls, calls
  end)
  tell_of("sleep(0.01)", "%.3f s", seconds_of, call, "sleep", 0.01)
  tell_of("sleep(0.1)", "%.3f s", seconds_of, call, "sleep", 0.1)
  tell_of("yield(0.1)", "%.3f s", seconds_of, coroutine.yield, 0.1)
end

--- Describes when the engine begins a function: `ask` gets the function and asks the engine to call it.
local function begin_of(ask)
  local caller = coroutine.running()
  local asked, begun, is_inside = now(), nil, false
  ask(function()
    if not begun then
      -- If the caller is not suspended here, this runs inside of its call.
      begun, is_inside = now(), coroutine.status(caller) ~= "suspended"
    end
  end)
  local deadline, looks = now() + LOOP, 0
  repeat
    looks = looks + 1
  until begun or now() > deadline or looks == MOST_PASSES
  if begun then
    return (is_inside and "before the call returned, %.3f s after it was made" or "while the caller ran on, %.3f s after the call")
      :format(begun - asked)
  end
  asked = now()
  return wait(function() return begun ~= nil end, LONG) and ("once the caller slept, after %.3f s"):format(begun - asked)
    or ("not within %d s"):format(LONG)
end

--- Sleeps in a coroutine of the engine, and says how that went.
local function nap()
  local ok, seconds = pcall(seconds_of, call, "sleep", 0.05)
  return ok and ("yes, sleep(0.05) takes %.3f s"):format(seconds) or "no: " .. tostring(seconds)
end

local function tell_timer()
  local calls, counts, slept, ended = {}, {}, nil, nil
  tell_of("timer begins", "%s", begin_of, function(begin)
    call("timer", function(...)
      begin()
      local t, n = ...
      calls[#calls + 1] = { at = now(), t = t, count = select("#", ...) }
      counts[#calls] = tostring(n)
      if #calls == 2 then
        slept = nap()
      end
    end, 0.1, 3, function()
      ended = now()
    end)
  end)
  if find("timer") then
    wait(function() return ended and #calls > 2 end, LONG)
    local first, second, third = calls[1], calls[2], calls[3]
    tell("timer calls", #calls .. " of 3")
    tell_of("timer passes", "%d values: a %s that is %.3f s from the clock's, then %s", function()
      return first.count, (math.type or type)(first.t), math.abs(first.t - first.at), table.concat(counts, ", ")
    end)
    tell_of("timer interval", "%.3f s where 0.1 s was asked", function() return second.at - first.at end)
    tell("timer may sleep", slept)
    tell_of("timer interval with that", "%.3f s", function() return third.at - second.at end)
    tell_of("timer cleanup", "%.3f s after the last call", function() return ended and ended - third.at end)
  end
end

--- Makes a command line run a function; returns the engine's answer.
local function command(func)
  queue[#queue + 1] = func
  return call("cmd", ('LUA "if %s then %s() end"'):format(ALIAS, ALIAS))
end

local function tell_command()
  local answer, slept, is_own
  local caller = coroutine.running()
  tell_of("command begins", "%s", begin_of, function(begin)
    answer = command(function()
      begin()
      is_own = coroutine.running() ~= caller
      slept = nap()
    end)
  end)
  if find("cmd") then
    tell("command answer", answer)
    wait(function() return slept ~= nil end, LONG)
    tell("command is a coroutine of its own", is_own)
    tell("command may sleep", slept)
  end
end

-- Instructions of one pass in `count` as a hook counts them: a comparison and its jump count as one.
local INSTRUCTIONS = 5

--- Counts passes for a while, and notes each pass before which another loop ran.
local function count(me, shared)
  local time, began = now, now()
  local deadline, passes, starts, times = began + LOOP, MOST_PASSES, {}, {}
  for pass = 1, MOST_PASSES do
    if shared.last ~= me then
      shared.last = me
      starts[#starts + 1], times[#times + 1] = pass, time()
    end
    if pass % 256 == 0 and (time() > deadline or is_over) then
      passes = pass
      break
    end
  end
  return { began = began, ended = time(), passes = passes, starts = starts, times = times }
end

--- Runs some loops side by side. Returns what each found, and the passes per second of all.
local function loops(number)
  local shared, found = {}, {}
  for me = 1, number do
    local function body() table.insert(found, count(me, shared)) end
    if find("timer") then
      call("timer", body, SOON, 1)
    else
      command(body)
    end
  end
  if not wait(function() return #found == number end, LONG + number * LOOP) then
    error(("%d of %d loops ended"):format(#found, number), 0)
  end
  local passes, began, ended = 0, math.huge, 0
  for _, one in ipairs(found) do
    passes, began, ended = passes + one.passes, math.min(began, one.began), math.max(ended, one.ended)
  end
  return found, passes / (ended - began)
end

local function tell_slices()
  tell_of("slice", "%s", function()
    local sizes, periods = {}, {}
    for _, one in ipairs((loops(2))) do
      -- The first slice includes the start of the loop.
      for i = 3, #one.starts do
        sizes[#sizes + 1], periods[#periods + 1] = one.starts[i] - one.starts[i - 1], one.times[i] - one.times[i - 1]
      end
    end
    if #sizes == 0 then
      return ("none: of two loops of %g s, one ran after the other"):format(LOOP)
    end
    table.sort(sizes)
    table.sort(periods)
    local middle = math.floor((#sizes + 1) / 2)
    return ("%d instructions (%d passes of a loop, %d to %d in %d slices), one each %.4f s"):format(
      sizes[middle] * INSTRUCTIONS, sizes[middle], sizes[1], sizes[#sizes], #sizes, periods[middle])
  end)
  tell_of("slice gain", "4 loops do %.2f times the passes of one, which does %.0f a second", function()
    local _, one = loops(1)
    local _, four = loops(4)
    return four / one, one
  end)
end

local function find_binary()
  local is_windows, is_64 = package.config:sub(1, 1) == "\\", find("string.packsize", LUA) and string.packsize("T") == 8
  local ending = is_windows and ".dll" or ".so"
  local machine = not is_windows and select(2, program()) == "ARM64" and "aarch64" or is_64 and "x86_64" or "x86"
  local full = ("-%s-%s"):format(is_windows and "windows" or "linux", machine)
  local init = package.searchpath("gma2-workers", package.path) or ""
  for _, folder in ipairs(plugin_folders(init:match("^(.*)[/\\]gma2%-workers[/\\]init%.lua$"))) do
    for _, name in ipairs { full, "" } do
      local path = ("%s/gma2-workers/gma2workers%s%s"):format(folder, name, ending)
      if read(path, 1) then
        return path
      end
    end
  end
  return (package.searchpath("gma2workers", package.cpath))
end

local function tell_binary()
  local path, entry = find_binary(), nil
  tell("binary", path or "not found")
  tell_of("binary loads", "%s", function()
    local open, problem, where = package.loadlib(path or error("there is none", 0), "luaopen_gma2workers")
    entry = open
    return open and "yes" or ("no (%s): %s"):format(where, problem)
  end)
  -- The binary checks how the engine's Lua was built, and refuses one that it can't serve.
  tell_of("binary serves", "%s", function()
    local ok, problem = pcall(entry or error("it was not loaded", 0), "gma2workers", path)
    return ok and "yes, errors jump, numbers and limits are the usual ones" or "no: " .. tostring(problem)
  end)
end

--- The library, and how it was found; or nil and the reason.
local function find_library()
  local problems = {}
  for _, name in ipairs { "gma2-workers", "gma2workers" } do
    local ok, found = pcall(require, name)
    if ok then
      return found, ('require "%s"'):format(name)
    end
    problems[#problems + 1] = tostring(found):sub(1, 300)
  end
  -- The plugins folder need not be on package.path.
  for _, folder in ipairs(plugin_folders()) do
    local path = folder .. "/gma2-workers/init.lua"
    local chunk = loadfile(path)
    if chunk then
      return chunk("gma2-workers", path), path .. ", which is not on package.path"
    end
  end
  return nil, "not found: " .. table.concat(problems, "\n")
end

local function waves(first, last)
  local sum = 0
  for i = first, last do
    sum = sum + math.sin(i) * math.cos(i)
  end
  return sum
end

local function tell_library()
  local library, how = find_library()
  tell("library", how)
  if not library then
    return
  end
  tell("library backend", library.info.backend)
  tell("library version", library.info.version)
  tell_of("quick start", "%s, %.3f s on %d workers", function()
    job = library.RunAsync {
      tasks = { { func = waves, args = { 1, HALF } }, { func = waves, args = { HALF + 1, 2 * HALF } } },
      workers = 2,
      onComplete = function() end,
    }
    local response = job:wait(PATIENCE) or error(("not done within %d s"):format(PATIENCE), 0)
    local sum = 0
    for _, entry in ipairs(response.result) do
      sum = sum + (entry.success and entry.data or error(entry.data, 0))
    end
    -- The sum of sin(i) cos(i) from 1 to n is sin(n) sin(n + 1) / (2 sin(1)).
    local is_right = math.abs(sum - math.sin(2 * HALF) * math.sin(2 * HALF + 1) / (2 * math.sin(1))) < 1e-9
    return is_right and "right" or "wrong: " .. sum, response.duration, response.workerCount
  end)
end

--- Opens the report's file in the first writable folder.
local function open_file()
  for _, folder in ipairs(plugin_folders(variable("TEMPPATH") or nil, os.getenv("TMPDIR"), os.getenv("TEMP"), "/tmp", ".")) do
    local path = folder .. "/" .. FILE
    file = io.open(path, "w")
    if file then
      return path
    end
  end
end

local function finish()
  is_over, is_running, queue = true, false, {}
  rawset(_G, ALIAS, nil)
  if job then
    pcall(job.cancel, job)
  end
  if file then
    file:close()
  end
  job, file = nil, nil
end

local function Start()
  if is_running then
    return feedback("runs already")
  end
  is_running, is_over = true, false
  rawset(_G, ALIAS, function()
    local func = table.remove(queue, 1)
    return func and func()
  end)
  feedback("takes some 5 seconds, half a minute at most, and changes nothing in the show")
  local ok, path = pcall(open_file)
  path = ok and path
  tell("probe", "report of version 1")
  tell("report", path or "no file could be written")
  tell_of("date", "%s", os.date, "%Y-%m-%d %H:%M:%S")
  for _, part in ipairs { tell_system, tell_lua, tell_engine, tell_sleep, tell_timer, tell_command, tell_slices, tell_binary,
    tell_library } do
    local is_whole, problem = pcall(part)
    if not is_whole then
      tell("not measured", problem)
    end
  end
  tell("end", "of the report")
  finish()
  feedback(("the report is in the System Monitor%s: please send it to %s"):format(
    path and " and in " .. path or "", "https://github.com/gma2workers/gma2workers/issues"))
end

-- The engine calls the second on Off Plugin.
return Start, finish
