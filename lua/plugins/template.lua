-- Template: a plugin whose work is done in parallel. Copy template.lua and template.xml under names of your own, write the
-- new names into the .xml, and put your work in place of the middle part.
--
--   Plugin "gma2workers template"           looks at the groups
--   Plugin "gma2workers template" "Macro"   at any pool, by the word that one types for it
--
-- As it is, it finds labels that look like slips of each other, "Spot front" and "Spot fornt": it reads the labels on the
-- console's thread and has all pairs of them compared by tasks, since that is what takes long.

-- All plugins share one set of globals, in which another may have set any of these to something else.
local ipairs, loadfile, math, pcall, require = ipairs, loadfile, math, pcall, require

-- What the engine passes to the file: the plugin's name, and the one that the user gave it.
local NAME = select(2, ...) or "Template"

local LAST_NUMBER, TASKS, SLIP = 999, 16, 2

---@type gma2workers.job?
local job
---@type integer?
local bar

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

-- Your work: what the tasks do, and what they are given.

--- How many letters have to be put in, left out or changed to get from one text to the other.
local function distance(from, to)
  ---@type table<integer, integer>
  local row = {}
  for j = 0, #to do
    row[j] = j
  end
  for i = 1, #from do
    local diagonal = row[0]
    row[0] = i
    for j = 1, #to do
      local above = row[j]
      local changed = diagonal + (from:byte(i) == to:byte(j) and 0 or 1)
      row[j] = math.min(changed, above + 1, row[j - 1] + 1)
      diagonal = above
    end
  end
  return row[#to]
end

--- A task: compares its share of the labels with all behind them. It runs in a state of its own, on another thread, and
-- knows nothing but its arguments and the functions it uses.
local function compare(labels, first, step, slip)
  local found = {}
  for i = first, #labels, step do
    for j = i + 1, #labels do
      if distance(labels[i].text:lower(), labels[j].text:lower()) <= slip then
        found[#found + 1] = { labels[i], labels[j] }
      end
    end
  end
  return found
end

--- Reads the labels of a pool.
local function labels_of(pool)
  local labels = {}
  for number = 1, LAST_NUMBER do
    local object = gma.show.getobj.handle(pool .. " " .. number)
    local text = object and gma.show.getobj.label(object)
    if text then
      labels[#labels + 1] = { number = number, text = text }
    end
  end
  return labels
end

--- The list of tasks.
local function tasks_for(labels)
  local tasks = {}
  for first = 1, TASKS do
    tasks[first] = { func = compare, args = { labels, first, TASKS, SLIP }, name = ("share %d"):format(first) }
  end
  return tasks
end

--- Shows the result of one task.
local function show(pool, pairs_found)
  for _, pair in ipairs(pairs_found) do
    gma.feedback(("%s: %s %d \"%s\" looks like %s %d \"%s\""):format(
      NAME, pool, pair[1].number, pair[1].text, pool, pair[2].number, pair[2].text))
  end
end

-- What stays: running the tasks, and taking everything back.

--- Called by Off Plugin, and by whatever else ends a plugin: nothing of it may be left.
local function Cleanup()
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
  if job then
    gma.feedback(NAME .. ": runs already")
    return
  end
  local gma2workers, problem = find_library()
  if not gma2workers then
    gma.echo(("%s: %s"):format(NAME, problem))
    gma.feedback(NAME .. ": gma2-workers can't be loaded: copy its folder, gma2-workers, into the plugins folder; "
      .. "the System Monitor has the reason")
    return
  end
  local pool = argument and argument:match("%a+") or "Group"
  local labels = labels_of(pool)

  job = gma2workers.RunAsync {
    tasks = tasks_for(labels),
    onProgress = function(done)
      if bar then
        gma.gui.progress.set(bar, done)
      end
    end,
    onComplete = function(response)
      if response.cancelled then
        return
      end
      for i, result in ipairs(response.result) do
        if result.success then
          show(pool, result.data)
        else
          gma.feedback(("%s: task %d: %s"):format(NAME, i, result.data))
        end
      end
      gma.feedback(("%s: compared %d labels in %.2f s on %d workers"):format(
        NAME, #labels, response.duration, response.workerCount))
    end,
  }
  bar = gma.gui.progress.start(NAME)
  gma.gui.progress.setrange(bar, 0, TASKS)
  -- The console goes on meanwhile.
  job:wait()
  Cleanup()
end

return Start, Cleanup
