--- Writes a job's timeline, as the native backend does: a file for Perfetto and chrome://tracing.
-- Host calls are plain calls here, so no slice shows a wait for them. Other tasks may have run during a task's slice.

local core, parts = ...
local options = parts.options

local trace = {}

-- The host's row. The workers' rows come after it.
local HOST = 0

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\" }

local function quoted(text)
  local function escaped(character)
    return ESCAPES[character] or string.format("\\u%04x", string.byte(character))
  end
  return '"' .. string.gsub(text, '[%c"\\]', escaped) .. '"'
end

--- Begins a timeline and creates its file. Refuses the option if the file can't be created.
-- @string path
-- @number origin the time of `core.clock()` from which the file counts
function trace.create(path, origin)
  local file, problem
  if io then
    file, problem = io.open(path, "wb")
  else
    problem = "the host has no io"
  end
  if not file then
    local cause = string.sub(problem, 1, #path + 2) == path .. ": " and string.sub(problem, #path + 3) or problem
    options.refuse("option 'trace'", string.format("names a file that can't be written, %s: %s", options.describe(path), cause))
  end
  local timeline = { file = file, origin = origin, events = {}, rows = HOST }
  trace.host_did(timeline, "read tasks", origin)
  return timeline
end

local function slice(timeline, row, name, category, begun, arguments)
  timeline.rows = math.max(timeline.rows, row)
  table.insert(timeline.events, string.format(
    '{"name":%s,"cat":"%s","ph":"X","ts":%.3f,"dur":%.3f,"pid":1,"tid":%d,"args":{%s}}',
    quoted(name), category, (begun - timeline.origin) * 1e6, (core.clock() - begun) * 1e6, row, arguments))
end

--- Adds a slice of the host, which ends now.
function trace.host_did(timeline, name, begun)
  slice(timeline, HOST, name, "host", begun, "")
end

--- Adds a task's slice, which ends now.
-- @tab timeline
-- @int worker the row; nil for the host's
-- @tab task
-- @bool success
-- @number begun the time at which it began
function trace.task_did(timeline, worker, task, success, begun)
  slice(timeline, worker or HOST, task.name or "task " .. task.index, "task", begun,
    string.format('"task":%d,"success":%s', task.index, success))
end

--- Writes the file, once.
-- @treturn ?string the problem, if it can't be written
function trace.write(timeline, id)
  local file = timeline.file
  if not file then
    return nil
  end
  timeline.file = nil
  local lines = { string.format('{"name":"process_name","ph":"M","pid":1,"args":{"name":"gma2workers Job_%d"}}', id) }
  for row = HOST, timeline.rows do
    lines[#lines + 1] = string.format('{"name":"thread_name","ph":"M","pid":1,"tid":%d,"args":{"name":"%s"}}',
      row, row == HOST and "host" or "worker " .. row)
  end
  table.move(timeline.events, 1, #timeline.events, #lines + 1, lines)
  local ok, problem = file:write('{"displayTimeUnit":"ms","traceEvents":[\n', table.concat(lines, ",\n"), "\n]}\n")
  local closed, other = file:close()
  if not (ok and closed) then
    return "option 'trace': the job is done, but its timeline can't be written: " .. (problem or other)
  end
end

return trace
