--- What the plugins in this folder share; it is not a plugin itself. It loads the library, runs jobs under a progress
-- bar, refuses a second start, and cleans up when the plugin ends.
--
--   local plugin = frame(name, work)   -- plugin.Start and plugin.Cleanup are what the file returns to the engine
--   work(argument)                     -- is called by each Start

-- All plugins share one set of globals, and another plugin may change any of these.
local ipairs, loadfile, math, pcall, require, select, setmetatable, table, tostring = ipairs, loadfile, math, pcall, require,
  select, setmetatable, table, tostring

-- `require` passes the module's name and this file's path; the library has the parent name and lies in the parent
-- folder.
local LIBRARY = (...):gsub("%.plugins%.frame$", "")
local INIT = (select(2, ...) or ""):gsub("plugins[/\\]frame%.lua$", "init.lua")

local MOST_RANGES = 12

---@class gma2workers.plugin
---@field name string
---@field library? gma2workers
---@field job? gma2workers.job
---@field bar? integer
---@field is_running boolean
local Plugin = {}
Plugin.__index = Plugin

function Plugin:say(text)
  gma.feedback(self.name .. ": " .. text)
end

--- Shows a progress bar for work outside of a job; `gma.gui.progress.set(plugin.bar, done)` moves it.
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

--- Runs tasks under a progress bar while the console goes on.
---@return gma2workers.response
function Plugin:run(tasks)
  self.job = self.library.RunAsync { tasks = tasks, progress = self.name, onComplete = function() end }
  local response = self.job:wait()
  self.job = nil
  return response
end

--- Sorted numbers as people write them: "1-4, 7".
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

return function(name, work)
  local plugin = setmetatable({ name = name, is_running = false }, Plugin)

  --- Called by Off Plugin and however else a plugin ends.
  function plugin.Cleanup()
    plugin.is_running = false
    if plugin.job then
      plugin.job:cancel()
      plugin.job = nil
    end
    plugin:close_bar()
  end

  function plugin.Start(argument)
    if plugin.is_running then
      plugin:say("runs already")
      return
    end
    local problem
    plugin.library, problem = find_library()
    if not plugin.library then
      gma.echo(("%s: %s"):format(name, problem))
      plugin:say("gma2-workers can't be loaded: copy its folder, gma2-workers, into the plugins folder; "
        .. "the System Monitor has the reason")
      return
    end
    plugin.is_running = true
    local ok, failure = pcall(work, argument)
    plugin.Cleanup()
    if not ok then
      plugin:say("stopped by an error: " .. tostring(failure))
    end
  end

  return plugin
end
