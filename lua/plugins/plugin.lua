--- What the plugins in this folder share; it is not a plugin itself. It loads the library, runs jobs under a progress bar,
-- refuses a second start while the first one runs, and cleans up when the plugin ends.
--
--   local plugin = new(name, work)   -- plugin.Start and plugin.Cleanup are what the file returns to the engine
--   work(argument)                   -- is called by each Start; if it raises an error, the user sees it

-- All plugins share one set of globals, and another plugin may change any of these.
local error, ipairs, loadfile, math, pairs, pcall, require, setmetatable, table, tostring = error, ipairs, loadfile,
  math, pairs, pcall, require, setmetatable, table, tostring

-- `require` passes the module's name and this file's path; the library has the parent name and lies in the parent
-- folder.
local MODULE, FILE = ... ---@type string, string?
local LIBRARY = MODULE:gsub("%.plugins%.plugin$", "")
local INIT = (FILE or ""):gsub("plugins[/\\]plugin%.lua$", "init.lua")

local MOST_RANGES = 12

-- The error that ends `work` if the user cancels.
local CANCELLED = setmetatable({}, { __tostring = function() return "cancelled" end })

---@class gma2workers.plugin
---@field name string
---@field library? gma2workers
---@field job? gma2workers.job
---@field jobs_before? table<string, boolean> while a job is being started: those that ran before, by their ids
---@field bar? integer
---@field is_running boolean
---@field Start fun(argument?: string)
---@field Cleanup fun()
local Plugin = {}
Plugin.__index = Plugin

--- Shows a line in the Command Line Feedback.
---@param text string
function Plugin:say(text)
  gma.feedback(self.name .. ": " .. text)
end

--- Asks the user for a text. If the user cancels, this ends the plugin's work.
---@param question string
---@param default string
---@return string
function Plugin:ask(question, default)
  return gma.textinput(self.name .. ": " .. question, default) or error(CANCELLED, 0)
end

--- Calls `func(item, ...)` in tasks for each item of the list, under a progress bar, while the console goes on; returns the
--- results in the list's order. The options are those of `gma2workers.Map`. A failure, or a cancelled job, ends the
--- plugin's work.
---@param func function
---@param list table
---@param options? gma2workers.map_options
---@return table results
function Plugin:map(func, list, options)
  ---@type gma2workers.map_async_options
  local given = { progress = self.name, onComplete = function() end }
  for name, value in pairs(options or {}) do
    given[name] = value
  end
  self.jobs_before = {}
  for _, other in ipairs(self.library.jobs()) do
    self.jobs_before[other.id] = true
  end
  local job = self.library.Map(func, list, given)
  self.job, self.jobs_before = job, nil
  local ok, results = pcall(job.wait, job)
  self.job = nil
  if job:status() == "cancelled" then
    error(CANCELLED, 0)
  elseif not ok then
    error(results, 0)
  end
  return results
end

--- Shows a progress bar for work outside of a job; `gma.gui.progress.set(plugin.bar, done)` moves it.
---@param total integer
function Plugin:open_bar(total)
  self.bar = gma.gui.progress.start(self.name)
  gma.gui.progress.setrange(self.bar, 0, total)
end

function Plugin:close_bar()
  if self.bar then
    gma.gui.progress.stop(self.bar)
    self.bar = nil
  end
end

--- Sorted numbers as people write them: "1-4, 7".
---@param numbers integer[]
---@return string
function Plugin.ranges(numbers)
  local parts, first = {}, numbers[1]
  for i, number in ipairs(numbers) do
    if numbers[i + 1] ~= number + 1 then
      parts[#parts + 1] = first == number and tostring(number) or ("%d-%d"):format(first, number)
      first = numbers[i + 1]
    end
  end
  return table.concat(parts, ", ", 1, math.min(#parts, MOST_RANGES)) .. (#parts > MOST_RANGES and ", and more" or "")
end

--- The library; or nil and the reason. Its folder need not be on `package.path`.
local function find_library()
  local ok, found = pcall(require, LIBRARY)
  local chunk = not ok and loadfile(INIT)
  if chunk then
    ok, found = pcall(chunk, LIBRARY, INIT)
  end
  return ok and found or nil, found
end

---@param name string
---@param work fun(argument?: string)
---@return gma2workers.plugin
return function(name, work)
  local plugin = setmetatable({ name = name, is_running = false }, Plugin)

  --- Called by the engine on Off Plugin, and by Start at its end.
  function plugin.Cleanup()
    plugin.is_running = false
    -- Only this plugin's job: `cancelAll` would stop those of other plugins, too.
    if plugin.job then
      plugin.job:cancel()
      plugin.job = nil
    elseif plugin.jobs_before then
      -- With time slices, Off Plugin may come in the middle of starting the job, when there is no handle yet.
      for _, job in ipairs(plugin.library.jobs()) do
        if not plugin.jobs_before[job.id] then
          job:cancel()
        end
      end
      plugin.jobs_before = nil
    end
    plugin:close_bar()
  end

  ---@param argument? string
  function plugin.Start(argument)
    if plugin.is_running then
      plugin:say("runs already")
      return
    end
    local problem
    plugin.library, problem = find_library()
    if not plugin.library then
      gma.echo(("%s: %s"):format(name, problem))
      plugin:say("copy the folder gma2-workers into the plugins folder; the System Monitor has the reason")
      return
    end
    plugin.is_running = true
    local ok, failure = pcall(work, argument)
    plugin.Cleanup()
    if not ok then
      plugin:say(failure == CANCELLED and "cancelled" or "stopped by an error: " .. tostring(failure))
    end
  end

  return plugin
end
