-- Template: a plugin that works in parallel. Copy template.lua and template.xml under names of your own, write the new
-- names into the .xml, and replace `work` and the functions that it uses with your own.
--
--   Plugin "gma2workers template"           finds groups whose labels differ by a typing error
--   Plugin "gma2workers template" "Macro"   does so in any other pool

-- All plugins share one set of globals, and another plugin may change any of these.
local ipairs, loadfile, math, pcall, require = ipairs, loadfile, math, pcall, require

-- The engine passes two names to the file: the plugin's own, and the one that the user gave it.
local NAME = select(2, ...) or "Template"

---@type gma2workers.plugin
local plugin

--- How many letters must be inserted, deleted or changed to turn one text into the other.
local function distance(from, to)
  local row = {}
  for j = 0, #to do row[j] = j end
  for i = 1, #from do
    local diagonal = row[0]
    row[0] = i
    for j = 1, #to do
      local changed = diagonal + (from:byte(i) == to:byte(j) and 0 or 1)
      diagonal, row[j] = row[j], math.min(changed, row[j] + 1, row[j - 1] + 1)
    end
  end
  return row[#to]
end

--- Runs in tasks, on all cores: compares one label with all later ones. It sees its arguments, and functions such as
--- `distance`, but no other variables of this file.
local function similar_to(label, index, labels)
  local similar = {}
  for i = index + 1, #labels do
    if distance(label.text:lower(), labels[i].text:lower()) <= 2 then similar[#similar + 1] = labels[i] end
  end
  return similar
end

--- Runs on the console, once for each touch: reads the labels, lets tasks compare them, and shows what they found.
local function work(argument)
  local pool, labels = (argument or ""):match("%a+") or "Group", {}
  for number = 1, 999 do
    local object = gma.show.getobj.handle(pool .. " " .. number)
    local text = object and gma.show.getobj.label(object)
    if text then labels[#labels + 1] = { number = number, text = text } end
  end
  local similar = plugin:map(similar_to, labels, { index = true, args = { labels } })
  for i, label in ipairs(labels) do
    for _, other in ipairs(similar[i]) do
      plugin:say(('%s %d "%s" looks like %d "%s"'):format(pool, label.number, label.text, other.number, other.text))
    end
  end
  plugin:say(("compared %d labels"):format(#labels))
end

-- Keep the rest. It finds gma2-workers where `require` looks, or in the plugins folder.

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
