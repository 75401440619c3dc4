-- Pool report: shows what is in your pools, which numbers are free and which objects have no label, and writes a
-- spreadsheet of all objects.
--
--   Plugin "gma2workers pool report"                    asks for the pools
--   Plugin "gma2workers pool report" "Group, Preset 4"  by their keywords
--
-- Tasks look at all numbers. The console carries out their gma calls, and goes on in between.

-- All plugins share one set of globals, and another plugin may change any of these.
local io, ipairs, loadfile, pcall, require, table = io, ipairs, loadfile, pcall, require, table

-- The engine passes two names to the file: the plugin's own, and the one that the user gave it.
local NAME = select(2, ...) or "Pool report"

local LAST_NUMBER = 9999

-- What all plugins here share: its functions are called below. Start loads it.
---@type gma2workers.plugin
local plugin

-- "Group 5", but "Preset 4.5".
local function object_name(pool, number)
  return pool .. (pool:find("%d$") and "." or " ") .. number
end

--- Runs in tasks: describes an object; nil if there is none of this number.
local function look_at(number, pool)
  local getobj = gma.show.getobj
  local object = getobj.handle(object_name(pool, number))
  return object and { number = number, label = getobj.label(object), class = getobj.class(object),
    children = getobj.amount(object) } or nil
end

--- The objects of a pool, in their order.
local function objects_in(pool)
  local numbers, objects = {}, {}
  for number = 1, LAST_NUMBER do
    numbers[number] = number
  end
  local found = plugin:map(look_at, numbers, { args = { pool }, progress = NAME .. ": " .. pool })
  for number in ipairs(numbers) do
    objects[#objects + 1] = found[number]
  end
  return objects
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
    or plugin:ask("pools, with commas between", "Group, Macro, Sequence, Effect")
  local pools, wrong = pools_of(text)
  if not pools or #pools == 0 then
    plugin:say(('no pool: "%s"; write as in Group, Preset 4'):format(wrong or text))
    return
  end

  local began, objects_of = plugin.library.clock(), {}
  for _, pool in ipairs(pools) do
    objects_of[pool] = objects_of[pool] or objects_in(pool)
    plugin:say(pool .. ": " .. summary(objects_of[pool]))
  end
  write(pools, objects_of)
  plugin:say(("looked at 1 to %d in %.2f s"):format(LAST_NUMBER, plugin.library.clock() - began))
end

-- Start and Cleanup find gma2-workers where `require` looks, or in the plugins folder.

local function Start(argument)
  local path = (gma.show.getvar("PLUGINPATH") or ".") .. "/gma2-workers/plugins/plugin.lua"
  local ok, new = pcall(require, "gma2-workers.plugins.plugin")
  local chunk = not ok and loadfile(path)
  if chunk then
    new = chunk("gma2-workers.plugins.plugin", path)
  elseif not ok then
    gma.echo(NAME .. ": " .. new)
    gma.feedback(NAME .. ": copy the folder gma2-workers into the plugins folder; the System Monitor has the reason")
    return
  end
  plugin = plugin or new(NAME, work)
  plugin.Start(argument)
end

-- The engine calls this on Off Plugin.
local function Cleanup()
  if plugin then plugin.Cleanup() end
end

return Start, Cleanup
