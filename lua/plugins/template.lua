-- Template: a plugin that works in parallel. Copy template.lua and template.xml under names of your own, write the new
-- names into the .xml, and replace the middle part with your own work.
--
--   Plugin "gma2workers template"           looks at the groups
--   Plugin "gma2workers template" "Macro"   looks at any pool, by its keyword
--
-- As it stands, it finds labels that differ by a typing error, such as "Spot front" and "Spot fornt". It reads the
-- labels on the console's thread, and tasks compare all pairs of them, since comparing takes most of the time.

-- All plugins share one set of globals, and another plugin may change any of these.
local ipairs, loadfile, math, pcall, require = ipairs, loadfile, math, pcall, require

-- The engine passes two names to the file: the plugin's own, and the one that the user gave it.
local NAME = select(2, ...) or "Template"

local LAST_NUMBER, TASKS, SLIP = 999, 16, 2

---@type gma2workers.job?
local job

--- The library; or nil and the reason.
local function find_library()
  local ok, found = pcall(require, "gma2-workers")
  if not ok then
    -- The plugins folder need not be on `package.path`.
    local path = (gma.show.getvar("PLUGINPATH") or ".") .. "/gma2-workers/init.lua"
    local chunk = loadfile(path)
    if chunk then
      ok, found = pcall(chunk, "gma2-workers", path)
    end
  end
  return ok and found or nil, found
end

-- Your work: the tasks and their arguments.

--- How many letters must be inserted, deleted or changed to turn one text into the other.
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

--- A task: compares its share of the labels with all later ones. It runs in a Lua state of its own, on another thread,
-- and sees only its arguments and the functions it uses.
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

-- Keep this part: it runs the tasks and cleans up.

--- Called by Off Plugin and however else a plugin ends. Cancelling the job closes its progress bar, too.
local function Cleanup()
  if job then
    job:cancel()
    job = nil
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
    progress = NAME,
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
  -- The console goes on while this waits.
  job:wait()
  job = nil
end

return Start, Cleanup
