-- Duplicate finder: finds objects of a pool whose labels are the same or nearly the same. It shows them first. Then,
-- only if you confirm, it marks or deletes the later objects of each label.
--
--   Plugin "gma2workers duplicate finder"          asks for the pool
--   Plugin "gma2workers duplicate finder" "Macro"  any pool, by its keyword
--
-- Case, blanks and the suffix that the console adds to a label in use ("Go#2") are ignored. Digits always count: "Spot
-- 1" is not a typing error for "Spot 2". Only labels are compared, not the contents of the objects.

-- All plugins share one set of globals, and another plugin may change any of these.
local ipairs, loadfile, math, pcall, require, table, tonumber = ipairs, loadfile, math, pcall, require, table, tonumber

-- The engine passes two names to the file: the plugin's own, and the one that the user gave it.
local NAME = select(2, ...) or "Duplicate finder"

local LAST_NUMBER, BREATH, MOST_LETTERS = 9999, 1000, 9

-- What all plugins here share: its functions are called below. Start loads it.
---@type gma2workers.plugin
local plugin

-- "Group 5", but "Preset 4.5".
local function object_name(pool, number)
  return pool .. (pool:find("%d$") and "." or " ") .. number
end

--- Whether inserting, deleting or changing at most `letters` letters turns one text into the other.
local function is_near(from, to, letters)
  if math.abs(#from - #to) > letters then
    return false
  end
  local row = {}
  for j = 0, #to do
    row[j] = j
  end
  for i = 1, #from do
    local diagonal, least = row[0], i
    row[0] = i
    for j = 1, #to do
      local above = row[j]
      row[j] = math.min(diagonal + (from:byte(i) == to:byte(j) and 0 or 1), above + 1, row[j - 1] + 1)
      diagonal, least = above, math.min(least, row[j])
    end
    if least > letters then
      return false
    end
  end
  return row[#to] <= letters
end

--- Runs in tasks: compares a label with all later ones. Returns the indices of the similar ones.
local function similar_to(label, index, labels, letters)
  local similar = {}
  for i = index + 1, #labels do
    local other = labels[i]
    if label.key == other.key
        or letters > 0 and label.digits == other.digits and is_near(label.key, other.key, letters) then
      similar[#similar + 1] = i
    end
  end
  return similar
end

--- Reads the labels on the console's thread, and pauses now and then so that the console can go on.
local function labels_of(pool)
  local labels = {}
  plugin:open_bar(LAST_NUMBER)
  for number = 1, LAST_NUMBER do
    local object = gma.show.getobj.handle(object_name(pool, number))
    local text = object and gma.show.getobj.label(object)
    if text and text:find("%S") then
      local key = text:lower():gsub("#%d+$", ""):gsub("%s+", "")
      labels[#labels + 1] = { number = number, text = text, key = key, digits = key:gsub("%D+", " ") }
    end
    if number % BREATH == 0 or number == LAST_NUMBER then
      gma.gui.progress.set(plugin.bar, number)
      gma.sleep(0.01)
    end
  end
  plugin:close_bar()
  return labels
end

--- Groups of similar labels, each in the pool's order.
local function groups_of(labels, letters)
  local began = plugin.library.clock()
  local similar = plugin:map(similar_to, labels, { index = true, args = { labels, letters } })

  -- Each label points to an earlier similar one; the first of a group points to itself.
  local earlier = {}
  local function first_of(i)
    while earlier[i] and earlier[i] ~= i do
      i = earlier[i]
    end
    return i
  end
  for i, others in ipairs(similar) do
    for _, other in ipairs(others) do
      local a, b = first_of(i), first_of(other)
      earlier[math.max(a, b)] = math.min(a, b)
    end
  end
  local groups, group_of = {}, {}
  for i, label in ipairs(labels) do
    local first = first_of(i)
    if first == i then
      group_of[i] = { label }
    else
      local group = group_of[first]
      group[#group + 1] = label
      groups[#groups + 1] = #group == 2 and group or nil
    end
  end
  plugin:say(("compared %d labels in %.2f s"):format(#labels, plugin.library.clock() - began))
  return groups
end

--- The text, quoted for the command line; nil if the command line would not read it as plain text.
local function quoted(text)
  return not text:find('["$%c]') and '"' .. text .. '"' or nil
end

--- Marks or deletes all objects of a group but the first. Returns how many.
local function act(action, pool, group)
  local count = 0
  for i = 2, #group do
    local name, text = object_name(pool, group[i].number), group[i].text
    local object = gma.show.getobj.handle(name)
    local label = quoted(("%s =%d"):format(text, group[1].number))
    -- The show may have changed while the question was open.
    if not object or gma.show.getobj.label(object) ~= text then
      plugin:say(name .. " has changed meanwhile, and is left alone")
    elseif action == "mark" and not label then
      plugin:say(name .. " is left alone: its label can't be typed")
    else
      local problem = gma.cmd(action == "mark" and ("Label %s %s"):format(name, label) or ("Delete %s /nc"):format(name))
      if problem then
        plugin:say(("%s: %s"):format(name, problem))
      else
        count = count + 1
      end
    end
  end
  return count
end

--- Asks the user for pool, letters and action; returns nil and the reason if an answer is wrong.
local function ask(argument)
  local text = argument and argument:find("%S") and argument or plugin:ask("pool", "Macro")
  local pool = text:match("^%s*(%a+)%s*$") or text:match("^%s*(%a+%s+%d+)%s*$")
  if not pool then
    return nil, ('no pool: "%s"; write as in Macro, or Preset 4'):format(text)
  end
  local answer = plugin:ask("letters that may differ, 0 to 9", "0")
  local letters = math.tointeger(tonumber(answer))
  if not letters or letters < 0 or letters > MOST_LETTERS then
    return nil, ('not a number of letters from 0 to %d: "%s"'):format(MOST_LETTERS, answer)
  end
  local action = plugin:ask("then show, mark or delete the later ones", "show"):lower():match("^%s*(.-)%s*$")
  if action ~= "show" and action ~= "mark" and action ~= "delete" then
    return nil, ('write show, mark or delete, not "%s"'):format(action)
  elseif action == "delete" and letters > 0 then
    return nil, "only equal labels are deleted: with other ones, show or mark"
  end
  return pool, letters, action
end

local function work(argument)
  local pool, letters, action = ask(argument)
  if not pool then
    plugin:say(letters)
    return
  end
  local labels = labels_of(pool)
  if #labels < 2 then
    plugin:say(("%s has %d labels: nothing to compare"):format(pool, #labels))
    return
  end
  local groups, later = groups_of(labels, letters), 0
  for _, group in ipairs(groups) do
    local names = {}
    for i, label in ipairs(group) do
      names[i] = ('%s "%s"'):format(object_name(pool, label.number), label.text)
    end
    later = later + #group - 1
    plugin:say(table.concat(names, ", "))
  end
  plugin:say(later == 0 and "no duplicates" or ("labels that occur more than once: %d; later objects: %d"):format(#groups, later))
  if later == 0 or action == "show" then
    return
  end
  if not gma.gui.confirm(NAME, ("%s %d of %s? The first one of each label stays as it is."):format(
      action == "mark" and "Mark" or "Delete", later, pool)) then
    plugin:say("nothing is changed")
    return
  end
  local count = 0
  plugin:open_bar(#groups)
  for i, group in ipairs(groups) do
    count = count + act(action, pool, group)
    gma.gui.progress.set(plugin.bar, i)
    gma.sleep(0.01)
  end
  plugin:say(("%s: %d of %d"):format(action == "mark" and "marked" or "deleted", count, later))
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
