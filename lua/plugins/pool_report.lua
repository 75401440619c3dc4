-- Pool report: shows what is in your pools, which numbers are free and which objects have no label, and writes a
-- spreadsheet of all objects.
--
--   Plugin "gma2workers pool report"                    asks for the pools
--   Plugin "gma2workers pool report" "Group, Preset 4"  by their keywords
--
-- Each task looks at a share of the numbers. The console carries out the gma calls of the tasks.

-- All plugins share one set of globals, and another plugin may change any of these.
local io, ipairs, loadfile, math, pcall, require, table = io, ipairs, loadfile, math, pcall, require, table

-- The engine passes two names to the file: the plugin's own, and the one that the user gave it.
local NAME = select(2, ...) or "Pool report"

local LAST_NUMBER, SHARE = 9999, 500

-- The part shared with the other plugins: Start, Cleanup and the functions called on it below. Start loads it.
---@type gma2workers.plugin
local plugin

-- "Group 5", but "Preset 4.5".
local function object_name(pool, number)
  return pool .. (pool:find("%d$") and "." or " ") .. number
end

--- A task: lists the objects with numbers from `first` to `last`.
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

--- The pools that a text names; or nil and the word that is not a pool.
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

--- Describes a pool in one line.
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
    parts[#parts + 1] = "without a label: " .. plugin.ranges(unlabelled)
  end
  if #free > 0 then
    parts[#parts + 1] = "free before it: " .. plugin.ranges(free)
  end
  return table.concat(parts, "; ")
end

local function quoted(text)
  return '"' .. text:gsub('"', '""') .. '"'
end

--- Writes the spreadsheet and says where it is.
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
    plugin:say("the list can't be written: " .. problem)
    return
  end
  file:write(table.concat(lines, "\r\n"), "\r\n")
  file:close()
  plugin:say("the whole list is in " .. path)
end

local function work(argument)
  local text = argument and argument:find("%S") and argument
    or gma.textinput(NAME .. ": pools, with commas between", "Group, Macro, Sequence, Effect")
  if not text then
    plugin:say("cancelled")
    return
  end
  local pools, wrong = pools_of(text)
  if not pools or #pools == 0 then
    plugin:say(('no pool: "%s"; write as in Group, Preset 4'):format(wrong or text))
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
  local response = plugin:run(tasks)
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
      plugin:say(("%s: %s"):format(tasks[i].name, result.data))
    end
  end
  if not is_whole then
    plugin:say("no report, since not all could be read")
    return
  end
  for _, pool in ipairs(pools) do
    plugin:say(pool .. ": " .. summary(objects_of[pool]))
  end
  write(pools, objects_of)
  plugin:say(("looked at 1 to %d in %.2f s on %d workers"):format(LAST_NUMBER, response.duration, response.workerCount))
end

local function Start(argument)
  if not plugin then
    local ok, frame = pcall(require, "gma2-workers.plugins.frame")
    if not ok then
      -- The plugins folder need not be on `package.path`.
      local path = (gma.show.getvar("PLUGINPATH") or ".") .. "/gma2-workers/plugins/frame.lua"
      local chunk = loadfile(path)
      if not chunk then
        gma.echo(("%s: %s"):format(NAME, frame))
        gma.feedback(NAME .. ": gma2-workers can't be loaded: copy its folder, gma2-workers, into the plugins folder; "
          .. "the System Monitor has the reason")
        return
      end
      frame = chunk("gma2-workers.plugins.frame", path)
    end
    plugin = frame(NAME, work)
  end
  plugin.Start(argument)
end

--- Called by Off Plugin and however else a plugin ends.
local function Cleanup()
  if plugin then
    plugin.Cleanup()
  end
end

return Start, Cleanup
