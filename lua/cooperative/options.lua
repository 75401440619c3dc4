--- Reads and checks the options of a job, as the native backend does and with the same messages. Refuses options that need threads
-- or separate states.

local _, parts = ...
local values = parts.values

local options = {}

-- The largest number of workers for one job.
local WORKER_LIMIT = 256

-- The smallest `memoryLimit`, in bytes.
local LEAST_MEMORY = 16384

-- All options of `RunSync` and of `Map`, in the order in which messages list them.
local RUN, MAP = { "tasks" }, { "chunk", "onError", "args", "index" }
for _, name in ipairs { "onComplete", "onResult", "stopOnError", "mode", "workers", "init", "host", "upvalues", "globals", "timeout",
  "grace", "memoryLimit", "sandbox", "onProgress", "progress", "trace" } do
  table.insert(RUN, name)
  table.insert(MAP, name)
end

--- Raises a refusal, which `core.start` returns.
-- @string place the part that is wrong: an option, or a part of `tasks`
function options.refuse(place, problem)
  error({ place = place, problem = problem }, 0)
end

--- The text of a refusal, or of another error.
function options.text(failure)
  return type(failure) == "table" and string.format("%s %s", failure.place, failure.problem) or failure
end

local function refuse_option(name, problem)
  options.refuse(string.format("option '%s'", name), problem)
end

--- Formats a float with the fewest digits that still represent it exactly.
local function shortest(number)
  if number % 1 == 0 and math.abs(number) < 1e15 then
    return string.format("%.0f", number)
  end
  for digits = 14, 17 do
    local text = string.format("%." .. digits .. "g", number)
    if tonumber(text) == number then
      return (string.gsub(text, "e%+?(%-?)0*", "e%1"))
    end
  end
  return number ~= number and "NaN" or tostring(number)
end

--- A value as a message shows it: a scalar itself, any other value by its kind.
function options.describe(value)
  local kind = type(value)
  if kind == "nil" then
    return "nothing"
  elseif kind == "string" then
    return '"' .. value .. '"'
  elseif math.type(value) == "float" then
    return shortest(value)
  elseif kind == "number" or kind == "boolean" then
    return tostring(value)
  end
  return "a " .. kind
end

local function unexpected(name, expected, value)
  refuse_option(name, string.format("must be %s, got %s", expected, options.describe(value)))
end

--- The Damerau-Levenshtein distance between two words: the number of insertions, deletions, changes and swaps of neighbours that
-- turn one into the other.
local function distance(from, to)
  local byte, rows = string.byte, {}
  for i = 0, #from do
    rows[i] = { [0] = i }
    for j = 1, #to do
      if i == 0 then
        rows[0][j] = j
      else
        local same = byte(from, i) == byte(to, j)
        local steps = math.min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (same and 0 or 1))
        local is_swapped = i > 1 and j > 1 and byte(from, i) == byte(to, j - 1) and byte(from, i - 1) == byte(to, j)
        if is_swapped then
          steps = math.min(steps, rows[i - 2][j - 2] + 1)
        end
        rows[i][j] = steps
      end
    end
  end
  return rows[#from][#to]
end

--- The known name of which a name is probably a misspelling.
function options.nearest(name, known)
  local best, nearest, length = 3, nil, utf8 and utf8.len(name) or #name
  for _, other in ipairs(known) do
    -- A much longer text can't be a misspelling, and measuring it would be slow.
    local steps = #name <= #other + best and distance(string.lower(name), string.lower(other)) or math.huge
    if 2 * steps < length and (steps < best or steps == best and nearest and other < nearest) then
      best, nearest = steps, other
    end
  end
  return nearest
end

-- The fields of the module, and the length from which on a name may be one letter away from one of them.
local FIELDS = { "Dispatch", "Map", "Poll", "RunAsync", "RunSync", "cancelAll", "jobs", "clock", "info", "isStopping",
  "setEngine" }
local LONG_NAME = 6

local function plain(name)
  return string.lower((string.gsub(name, "[_-]", "")))
end

--- The field of the module of which a name is a misspelling: it differs in case or underscores or, if it is long, by one letter.
function options.field_meant(name)
  local nearest, best = nil, 2
  for _, field in ipairs(FIELDS) do
    if field == name then
      return nil
    end
    local steps = #name < 32 and distance(plain(name), plain(field)) or best
    if steps < best and (steps == 0 or #field >= LONG_NAME) or steps == best and nearest and field < nearest then
      nearest, best = field, steps
    end
  end
  return nearest
end

-- What an option or a field is measured in. Its misspelling may have had another unit.
local UNITS = { timeout = ", in seconds", grace = ", in seconds", memoryLimit = ", in bytes" }

--- The advice that names an option or a field.
local function advise(name)
  return string.format("did you mean '%s'%s?", name, UNITS[name] or "")
end

-- Other names that people use for a task's fields, in small letters and without underscores.
local SYNONYMS = { arg = "args", argument = "args", arguments = "args", param = "args", params = "args",
  parameters = "args", callback = "func", fn = "func", fun = "func", ["function"] = "func",
  maxtime = "timeout", timelimit = "timeout", timeoutms = "timeout", timeoutseconds = "timeout" }

-- Words one letter away from a task's field that are probably the caller's own fields.
local IS_ORDINARY_WORD = { arcs = true, ares = true, arms = true, arts = true, came = true, dame = true, fame = true,
  fund = true, funk = true, game = true, lame = true, named = true, names = true, nave = true, same = true, tame = true }

--- The problem with a field that a task should not have: a misspelling or a synonym of one of `fields`, or an option of the job. Nil
-- if the field is the caller's own.
function options.misnamed(name, fields)
  -- `_name` is the caller's own.
  if string.find(name, "^_") or string.find(name, "_$") then
    return nil
  end
  local lower = string.lower(name)
  local bare = string.gsub(lower, "_", "")
  for _, field in ipairs(fields) do
    if field == bare then
      return ": " .. advise(field)
    end
  end
  for _, option in ipairs(RUN) do
    if string.lower(option) == bare then
      local example = option == "tasks" and "{ tasks = { { func = f }, ... } }" or "{ tasks = { ... }, " .. option .. " = ... }"
      return ", which is an option of the job: write " .. example
    end
  end
  local meant = SYNONYMS[bare]
  for _, field in ipairs(fields) do
    local may_be_slip = not meant and not IS_ORDINARY_WORD[name] and math.abs(#name - #field) <= 1
    if may_be_slip and distance(lower, field) <= 1 then
      meant = field
    end
  end
  return meant and ": " .. advise(meant)
end

-- Other names that people use for options, in small letters and without underscores.
local OPTION_SYNONYMS = { args = "tasks", func = "tasks", fn = "tasks", functions = "tasks", jobs = "tasks",
  callback = "onComplete", done = "onComplete", ondone = "onComplete", onend = "onComplete", onfinish = "onComplete",
  onfinished = "onComplete", cores = "workers", maxthreads = "workers", maxworkers = "workers", numthreads = "workers",
  numworkers = "workers", threads = "workers", workercount = "workers", maxtime = "timeout", timelimit = "timeout",
  timeoutms = "timeout", timeoutseconds = "timeout", maxmemory = "memoryLimit", memory = "memoryLimit",
  batchsize = "chunk", chunksize = "chunk", title = "progress" }

--- The option that an unknown name probably means: another name for it, or a misspelling.
local function option_meant(name, names)
  local synonym = #name < 32 and OPTION_SYNONYMS[string.lower((string.gsub(name, "_", "")))]
  for _, known in ipairs(names) do
    if known == synonym then
      return known
    end
  end
  return options.nearest(name, names)
end

--- Reads the options that the caller set, by name. Refuses unknown names.
local function given(config, names)
  local found = {}
  for key, value in next, config do
    if type(key) ~= "string" then
      options.refuse("options", string.format("have names, but there is a value at [%s]: write { %s }",
        options.describe(key), names == RUN and "tasks = { ... }" or "chunk = 10"))
    end
    found[key] = value
  end
  for key in next, found do
    local is_known = false
    for _, name in ipairs(names) do
      is_known = is_known or key == name
    end
    if not is_known then
      local meant = option_meant(key, names)
      refuse_option(key, "is unknown: " .. (meant and advise(meant) or "the options are " .. table.concat(names, ", ")))
    end
  end
  return found
end

local function check_callbacks(found, is_async)
  for _, name in ipairs { "onComplete", "onResult", "onProgress" } do
    local value = found[name]
    if type(value) ~= "function" and is_async and name == "onComplete" then
      refuse_option(name, string.format("must be a function, got %s: RunAsync requires an onComplete callback",
        options.describe(value)))
    elseif type(value) ~= "function" and value ~= nil then
      unexpected(name, "a function", value)
    end
  end
end

--- Reads the number of workers, which may be text.
local function read_workers(value)
  local number = value
  if type(value) == "string" then
    number = string.find(value, "^%s*[%d.eE+-]+%s*$") and tonumber(value)
  end
  local workers = type(number) == "number" and math.tointeger(number)
  if value ~= nil and not (workers and workers >= 1 and workers <= WORKER_LIMIT) then
    unexpected("workers", "a whole number from 1 to " .. WORKER_LIMIT, value)
  end
  return workers or WORKER_LIMIT
end

local function read_word(found, name, first, second, third)
  local value = found[name]
  if value ~= nil and value ~= first and value ~= second and value ~= third then
    local words = third and '"%s", "%s" or "%s"' or '"%s" or "%s"'
    unexpected(name, string.format(words, first, second, third), value)
  end
  return value or first
end

local function check_boolean(found, name)
  if found[name] ~= nil and type(found[name]) ~= "boolean" then
    unexpected(name, "true or false", found[name])
  end
end

-- The expected value of a `timeout`, of a job or of a task.
options.TIMEOUT = "a number of seconds above 0"

function options.is_timeout(seconds)
  return type(seconds) == "number" and seconds > 0
end

-- Why this backend refuses a timeout.
options.NO_TIMEOUT = "is not possible here, since the cooperative backend can't stop a task: leave it out, or have the binary loaded"

--- Refuses the options that need threads or separate states.
local function refuse_impossible(found)
  if found.timeout and found.timeout < math.huge then
    refuse_option("timeout", options.NO_TIMEOUT)
  end
  local why = {
    memoryLimit = "can't limit a task's memory, which is the host's",
    sandbox = "runs tasks in the host's own state",
  }
  for _, name in ipairs { "memoryLimit", "sandbox" } do
    if found[name] then
      refuse_option(name, string.format(
        "is not possible here, since the cooperative backend %s: leave it out, or have the binary loaded", why[name]))
    end
  end
end

local function check_limits(found)
  local bytes, grace = found.memoryLimit, found.grace
  if found.timeout ~= nil and not options.is_timeout(found.timeout) then
    unexpected("timeout", options.TIMEOUT, found.timeout)
  end
  if grace ~= nil and not (type(grace) == "number" and grace >= 0) then
    unexpected("grace", "a number of seconds from 0 up", grace)
  end
  if bytes ~= nil and not (type(bytes) == "number" and bytes > 0 and bytes % 1 == 0) then
    unexpected("memoryLimit", "a whole number of bytes above 0", bytes)
  elseif bytes and bytes < LEAST_MEMORY then
    local got = options.describe(bytes)
    refuse_option("memoryLimit", string.format("must be at least %d bytes, got %s: write %s << 20 for %s MiB", LEAST_MEMORY, got,
      got, got))
  end
end

local function read_globals(list)
  local count = 0
  for _ in next, type(list) == "table" and list or {} do
    count = count + 1
  end
  local is_list = list == nil or type(list) == "table"
  for i = 1, is_list and count or 0 do
    local name = rawget(list, i)
    is_list = is_list and type(name) == "string" and (not utf8 or utf8.len(name) ~= nil)
  end
  if not is_list then
    unexpected("globals", 'a list of names of globals: { "name", ... }', list)
  end
  return list or {}
end

--- Reads the functions of the option `host`.
-- @treturn ?table a copy
local function read_host(functions)
  if functions == nil then
    return nil
  elseif type(functions) ~= "table" then
    unexpected("host", "a table of functions by name: { name = f, ... }", functions)
  end
  local copied = {}
  for name, value in next, functions do
    if type(name) ~= "string" or name == "" or string.find(name, "\0", 1, true) or utf8 and not utf8.len(name) then
      refuse_option("host", string.format("must have names, but has a value at [%s]: write host = { name = f, ... }",
        options.describe(name)))
    elseif type(value) ~= "function" then
      options.refuse(string.format("option 'host'['%s']", name), "must be a function, got " .. options.describe(value))
    end
    copied[name] = value
  end
  return copied
end

local function nearest_field(owner, name)
  local known = {}
  for key in next, owner do
    if type(key) == "string" then
      known[#known + 1] = key
    end
  end
  return options.nearest(name, known)
end

--- Checks that the globals exist and could cross. They are not copied, because here tasks see the host's own globals.
function options.check_globals(names)
  local copies = {}
  for i, name in ipairs(names) do
    local place = string.format("option 'globals'[%d]", i)
    local owner, field, prefix = _G, name, ""
    local library, rest = string.match(name, "^([^.]*)%.(.*)$")
    if rawget(_G, name) == nil and library and type(rawget(_G, library)) == "table" then
      if not parts.modules.IS_LIBRARY[library] then
        options.refuse(place, string.format("%s, got '%s': list '%s' instead",
          "must be the name of a global, or of a field of a standard library", name,
          library == "_G" and rest or library))
      end
      owner, field, prefix = rawget(_G, library), rest, library .. "."
    end
    copies[name] = rawget(owner, field)
    if copies[name] == nil then
      local meant = (owner ~= _G or not library) and nearest_field(owner, field)
      options.refuse(place, string.format("must be the name of a global, got '%s': %s", name,
        meant and string.format("did you mean '%s%s'?", prefix, meant) or "pass a local in args"))
    end
  end
  local _, failure = values.clone({ copies }, 1, function(_, keys) return "globals" .. values.path(keys) end)
  if failure then
    refuse_option("globals", "cannot cross: " .. failure.message)
  end
end

--- Reads and checks all options, except the list of tasks and the values of the globals.
-- @treturn table `tasks`, `mode`, `workers`, `init`, `host`, `stops`, `globals`, `trace`
function options.read(config, is_async)
  local found = given(config, RUN)
  check_callbacks(found, is_async)
  if type(found.tasks) ~= "table" then
    unexpected("tasks", "a list of tasks: { { func = f, args = { ... } }, ... }", found.tasks)
  end
  local workers = read_workers(found.workers)
  check_limits(found)
  check_boolean(found, "stopOnError")
  if found.init ~= nil and type(found.init) ~= "function" and type(found.init) ~= "table" then
    unexpected("init", "a function or { func = f, args = { ... } }", found.init)
  end
  local host = read_host(found.host)
  local mode = read_word(found, "mode", "timer", "cmd")
  read_word(found, "upvalues", "error", "copy", "private")
  local globals = read_globals(found.globals)
  check_boolean(found, "sandbox")
  if found.trace ~= nil and (type(found.trace) ~= "string" or found.trace == "") then
    unexpected("trace", "the path of a file", found.trace)
  end
  if found.progress ~= nil and type(found.progress) ~= "string" then
    unexpected("progress", "a title as text", found.progress)
  end
  refuse_impossible(found)
  return { tasks = found.tasks, mode = mode, workers = workers, init = found.init, host = host, stops = found.stopOnError,
    globals = globals, trace = found.trace }
end

--- Reads the options that only Map has, and refuses unknown ones. The other options are read when the job starts.
-- @treturn table `chunk`, `collects`, `workers`
function options.read_map(config)
  local found = given(config, MAP)
  check_callbacks({ onComplete = found.onComplete, onResult = found.onResult }, false)
  check_boolean(found, "index")
  if found.args ~= nil and type(found.args) ~= "table" then
    unexpected("args", "a list of arguments: { value, ... }", found.args)
  end
  local chunk = found.chunk
  if chunk ~= nil and not (type(chunk) == "number" and chunk >= 1 and chunk % 1 == 0 and chunk < 2 ^ 53) then
    unexpected("chunk", "a whole number of items above 0", chunk)
  end
  local on_error = read_word(found, "onError", "raise", "collect")
  return { chunk = math.tointeger(chunk), collects = on_error == "collect", workers = read_workers(found.workers) }
end

return options
