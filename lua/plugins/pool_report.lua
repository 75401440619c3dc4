-- Pool report: what is in your pools, which numbers are free, what has no label; and a list of it all as a spreadsheet.
--
--   Plugin "gma2workers pool report"                    asks for the pools
--   Plugin "gma2workers pool report" "Group, Preset 4"  by the words that one types for them
--
-- Tasks look through the numbers, a share each: every gma call in them is carried out by the console.

-- All plugins share one set of globals, in which another may have set any of these to something else.
local io, ipairs, loadfile, math, pcall, require, table, tostring = io, ipairs, loadfile, math, pcall, require, table,
  tostring

-- What the engine passes to the file: the plugin's name, and the one that the user gave it.
local NAME = select(2, ...) or "Pool report"

local LAST_NUMBER, SHARE, MOST_RANGES = 9999, 500, 12

---@type gma2workers.job?
local job
---@type integer?
local bar
local is_running = false

local function say(text)
  gma.feedback(NAME .. ": " .. text)
end

--- The library; or nil, and why it can't be had.
local function find_library()
  local ok, found = pcall(require, "gma2-workers")
  if not ok then
    -- The plugins folder need not be among those that `require` looks in.
    local path = (gma.show.getvar("PLUGINPATH") or ".") .. "/gma2-workers/init.lua"
    local chunk = loadfile(path)
    if chunk then
      ok, found = pcall(chunk, "gma2-workers", path)
    end
  end
  return ok and found or nil, found
end

-- "Group 5", but "Preset 4.5".
local function object_name(pool, number)
  return pool .. (pool:find("%d$") and "." or " ") .. number
end

--- A task: what is at the numbers from `first` to `last`.
local function scan(pool, first, last)
  local getobj, found = gma.show.getobj, {}
  for number = first, last do
    local object = getobj.handle(object_name(pool, number))
    if object then
      found[#found + 1] = { number = number, label = getobj.label(object), class = getobj.class(object),
        children = getobj.amount(object) }
    end
  end
  return found
end

--- The pools of a text; or nil, and what is none.
local function pools_of(text)
  local pools = {}
  for word in text:gmatch("[^,]+") do
    local pool = word:match("^%s*(%a+)%s*$") or word:match("^%s*(%a+%s+%d+)%s*$")
    if not pool then
      return nil, word
    end
    pools[#pools + 1] = pool
  end
  return pools
end

--- Numbers in order, as one reads them: "1-4, 7".
local function ranges(numbers)
  local parts, first = {}, numbers[1]
  for i, number in ipairs(numbers) do
    if numbers[i + 1] ~= number + 1 then
      parts[#parts + 1] = first == number and tostring(number) or ("%d-%d"):format(first, number)
      first = numbers[i + 1]
    end
  end
  return table.concat(parts, ", ", 1, math.min(#parts, MOST_RANGES)) .. (#parts > MOST_RANGES and ", and more" or "")
end

--- Runs the tasks under a bar, while the console goes on. Gives the response.
local function run(gma2workers, tasks)
  job = gma2workers.RunAsync {
    tasks = tasks,
    onProgress = function(done)
      if bar then
        gma.gui.progress.set(bar, done)
      end
    end,
    onComplete = function() end,
  }
  bar = gma.gui.progress.start(NAME)
  gma.gui.progress.setrange(bar, 0, #tasks)
  local response = job:wait()
  gma.gui.progress.stop(bar)
  job, bar = nil, nil
  return response
end

--- One line for a pool.
local function summary(objects)
  if #objects == 0 then
    return "empty"
  end
  local unlabelled, free, expected = {}, {}, 1
  for _, object in ipairs(objects) do
    for number = expected, object.number - 1 do
      free[#free + 1] = number
    end
    expected = object.number + 1
    if not object.label then
      unlabelled[#unlabelled + 1] = object.number
    end
  end
  local parts = { ("objects: %d, the last is %d"):format(#objects, expected - 1) }
  if #unlabelled > 0 then
    parts[#parts + 1] = "without a label: " .. ranges(unlabelled)
  end
  if #free > 0 then
    parts[#parts + 1] = "free before it: " .. ranges(free)
  end
  return table.concat(parts, "; ")
end

local function quoted(text)
  return '"' .. text:gsub('"', '""') .. '"'
end

--- Writes the list, and says where it is.
local function write(pools, objects_of)
  local path = (gma.show.getvar("TEMPPATH") or ".") .. "/pool_report.csv"
  local lines = { "pool,number,label,class,children" }
  for _, pool in ipairs(pools) do
    for _, object in ipairs(objects_of[pool]) do
      lines[#lines + 1] = ("%s,%d,%s,%s,%s"):format(
        pool, object.number, quoted(object.label or ""), object.class or "", object.children or "")
    end
  end
  local file, problem = io.open(path, "wb")
  if not file then
    say("the list can't be written: " .. problem)
    return
  end
  file:write(table.concat(lines, "\r\n"), "\r\n")
  file:close()
  say("the whole list is in " .. path)
end

local function work(gma2workers, argument)
  local text = argument and argument:find("%S") and argument
    or gma.textinput(NAME .. ": pools, with commas between", "Group, Macro, Sequence, Effect")
  if not text then
    say("cancelled")
    return
  end
  local pools, wrong = pools_of(text)
  if not pools or #pools == 0 then
    say(('no pool: "%s"; write as in Group, Preset 4'):format(wrong or text))
    return
  end

  local tasks, pool_of, objects_of = {}, {}, {}
  for _, pool in ipairs(pools) do
    if not objects_of[pool] then
      objects_of[pool] = {}
      for first = 1, LAST_NUMBER, SHARE do
        local last = math.min(first + SHARE - 1, LAST_NUMBER)
        tasks[#tasks + 1] = { func = scan, args = { pool, first, last }, name = ("%s %d to %d"):format(pool, first, last) }
        pool_of[#tasks] = pool
      end
    end
  end
  local response = run(gma2workers, tasks)
  if response.cancelled then
    return
  end
  local is_whole = true
  for i, result in ipairs(response.result) do
    if result.success then
      local objects = objects_of[pool_of[i]]
      table.move(result.data, 1, #result.data, #objects + 1, objects)
    else
      is_whole = false
      say(("%s: %s"):format(tasks[i].name, result.data))
    end
  end
  if not is_whole then
    say("no report, since not all could be read")
    return
  end
  for _, pool in ipairs(pools) do
    say(pool .. ": " .. summary(objects_of[pool]))
  end
  write(pools, objects_of)
  say(("looked at 1 to %d in %.2f s on %d workers"):format(LAST_NUMBER, response.duration, response.workerCount))
end

--- Called by Off Plugin, and by whatever else ends a plugin: nothing of it may be left.
local function Cleanup()
  is_running = false
  if job then
    job:cancel()
    job = nil
  end
  if bar then
    gma.gui.progress.stop(bar)
    bar = nil
  end
end

local function Start(argument)
  if is_running then
    say("runs already")
    return
  end
  local gma2workers, problem = find_library()
  if not gma2workers then
    gma.echo(("%s: %s"):format(NAME, problem))
    say("gma2-workers can't be loaded: copy its folder, gma2-workers, into the plugins folder; "
      .. "the System Monitor has the reason")
    return
  end
  is_running = true
  local ok, failure = pcall(work, gma2workers, argument)
  Cleanup()
  if not ok then
    say("stopped by an error: " .. tostring(failure))
  end
end

return Start, Cleanup
