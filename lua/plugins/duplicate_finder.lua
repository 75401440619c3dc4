-- Duplicate finder: objects of a pool that have the same label, or nearly the same. It shows them first; only then, and
-- only if you confirm it, are the later ones of each label marked or deleted.
--
--   Plugin "gma2workers duplicate finder"          asks for the pool
--   Plugin "gma2workers duplicate finder" "Macro"  any pool, by the word that one types for it
--
-- Capitals, blanks, and what the console adds to a label that is there already ("Go#2") don't count. Digits always do:
-- "Spot 1" is no slip of "Spot 2". Only labels are compared, not what the objects do.

-- All plugins share one set of globals, in which another may have set any of these to something else.
local ipairs, loadfile, math, pcall, require, table, tonumber, tostring = ipairs, loadfile, math, pcall, require, table,
  tonumber, tostring

-- What the engine passes to the file: the plugin's name, and the one that the user gave it.
local NAME = select(2, ...) or "Duplicate finder"

local LAST_NUMBER, TASKS, BREATH, MOST_LETTERS = 9999, 32, 1000, 9

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

--- Whether one gets from one text to the other by putting in, leaving out or changing at most so many letters.
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

--- A task: compares its share of the labels with all behind them. Gives the places of those that are alike.
local function compare(labels, first, step, letters)
  local texts, digits, found = {}, {}, {}
  for i, label in ipairs(labels) do
    texts[i] = label.text:lower():gsub("#%d+$", ""):gsub("%s+", "")
    digits[i] = texts[i]:gsub("%D+", " ")
  end
  for i = first, #labels, step do
    for j = i + 1, #labels do
      if texts[i] == texts[j] or letters > 0 and digits[i] == digits[j] and is_near(texts[i], texts[j], letters) then
        found[#found + 1] = { i, j }
      end
    end
  end
  return found
end

local function open_bar(total)
  bar = gma.gui.progress.start(NAME)
  gma.gui.progress.setrange(bar, 0, total)
end

local function close_bar()
  gma.gui.progress.stop(bar)
  bar = nil
end

--- Reads the labels on the console's thread, which may do other things in between.
local function labels_of(pool)
  local labels = {}
  open_bar(LAST_NUMBER)
  for number = 1, LAST_NUMBER do
    local object = gma.show.getobj.handle(object_name(pool, number))
    local text = object and gma.show.getobj.label(object)
    if text and text:find("%S") then
      labels[#labels + 1] = { number = number, text = text }
    end
    if number % BREATH == 0 then
      gma.gui.progress.set(bar, number)
      gma.sleep(0.01)
    end
  end
  close_bar()
  return labels
end

--- Labels that are alike, together, each list in the pool's order; nil if the job was cancelled or a task failed.
local function groups_of(gma2workers, labels, letters)
  local tasks = {}
  for first = 1, math.min(TASKS, #labels) do
    tasks[first] = { func = compare, args = { labels, first, TASKS, letters }, name = ("share %d"):format(first) }
  end
  job = gma2workers.RunAsync {
    tasks = tasks,
    onProgress = function(done)
      if bar then
        gma.gui.progress.set(bar, done)
      end
    end,
    onComplete = function() end,
  }
  open_bar(#tasks)
  local response = job:wait()
  job = nil
  if response.cancelled then
    return nil
  end
  close_bar()

  -- Each label points to an earlier one that is alike, the first of its group to itself.
  local earlier = {}
  local function first_of(i)
    while earlier[i] and earlier[i] ~= i do
      i = earlier[i]
    end
    return i
  end
  for i, result in ipairs(response.result) do
    if not result.success then
      say(("%s: %s"):format(tasks[i].name, result.data))
      say("nothing is changed, since not all could be compared")
      return nil
    end
    for _, pair in ipairs(result.data) do
      local a, b = first_of(pair[1]), first_of(pair[2])
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
  say(("compared %d labels in %.2f s on %d workers"):format(#labels, response.duration, response.workerCount))
  return groups
end

--- What the command line takes for a label; nil where it would take it for something else.
local function quoted(text)
  return not text:find('["$%c]') and '"' .. text .. '"' or nil
end

--- Marks or deletes all of a group but its first. Gives how many.
local function act(action, pool, group)
  local count = 0
  for i = 2, #group do
    local name, text = object_name(pool, group[i].number), group[i].text
    local object = gma.show.getobj.handle(name)
    local label = quoted(("%s =%d"):format(text, group[1].number))
    -- The question may have stood there for long.
    if not object or gma.show.getobj.label(object) ~= text then
      say(name .. " has changed meanwhile, and is left alone")
    elseif action == "mark" and not label then
      say(name .. " is left alone: its label can't be typed")
    else
      local problem = gma.cmd(action == "mark" and ("Label %s %s"):format(name, label) or ("Delete %s /nc"):format(name))
      if problem then
        say(("%s: %s"):format(name, problem))
      else
        count = count + 1
      end
    end
  end
  return count
end

--- What the user wants: pool, letters, action; or nil, and what is wrong with it.
local function ask(argument)
  local text = argument and argument:find("%S") and argument or gma.textinput(NAME .. ": pool", "Macro")
  local pool = text and (text:match("^%s*(%a+)%s*$") or text:match("^%s*(%a+%s+%d+)%s*$"))
  if text and not pool then
    return nil, ('no pool: "%s"; write as in Macro, or Preset 4'):format(text)
  end
  local answer = pool and gma.textinput(NAME .. ": letters that may differ, 0 to 9", "0")
  local letters = math.tointeger(tonumber(answer))
  if answer and not (letters and letters >= 0 and letters <= MOST_LETTERS) then
    return nil, ('not a number of letters from 0 to %d: "%s"'):format(MOST_LETTERS, answer)
  end
  local action = answer and gma.textinput(NAME .. ": then show, mark or delete the later ones", "show")
  if not action then
    return nil, "cancelled"
  end
  action = action:lower():match("^%s*(.-)%s*$")
  if action ~= "show" and action ~= "mark" and action ~= "delete" then
    return nil, ('write show, mark or delete, not "%s"'):format(action)
  elseif action == "delete" and letters > 0 then
    return nil, "only equal labels are deleted: with other ones, show or mark"
  end
  return pool, letters, action
end

local function work(gma2workers, argument)
  local pool, letters, action = ask(argument)
  if not pool then
    say(letters)
    return
  end
  local labels = labels_of(pool)
  if #labels < 2 then
    say(("%s has %d labels: nothing to compare"):format(pool, #labels))
    return
  end
  local groups = groups_of(gma2workers, labels, letters)
  if not groups then
    return
  end
  local later = 0
  for _, group in ipairs(groups) do
    local names = {}
    for i, label in ipairs(group) do
      names[i] = ('%s "%s"'):format(object_name(pool, label.number), label.text)
    end
    later = later + #group - 1
    say(table.concat(names, ", "))
  end
  say(later == 0 and "no duplicates" or ("labels that are there more than once: %d, with later objects: %d"):format(#groups, later))
  if later == 0 or action == "show" then
    return
  end
  if not gma.gui.confirm(NAME, ("%s %d of %s? The first one of each label stays as it is."):format(
      action == "mark" and "Mark" or "Delete", later, pool)) then
    say("nothing is changed")
    return
  end
  local count = 0
  open_bar(#groups)
  for i, group in ipairs(groups) do
    count = count + act(action, pool, group)
    gma.gui.progress.set(bar, i)
    gma.sleep(0.01)
  end
  say(("%s: %d of %d"):format(action == "mark" and "marked" or "deleted", count, later))
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
