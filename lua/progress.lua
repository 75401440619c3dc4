--- A job's progress bar: the engine's, or one on the terminal if standard error goes there.
-- An error in a bar is ignored, because it must not fail the job. Ctrl-C is passed on.

local core, modules = ...

local progress = {}

-- A terminal's width is unknown, so the bar fits into 80 columns.
local WIDTH = 24
local TITLE = 30

--- Calls a function of a bar. Ignores its errors, except Ctrl-C.
local function attempt(func, ...)
  local ok, value = pcall(func, ...)
  if not ok and modules.pump.is_interrupt(value) then
    error(value, 0)
  end
  return ok and value or nil
end

--- Formats seconds as minutes or hours.
local function as_time(seconds)
  local whole = math.ceil(seconds)
  local hours, minutes = whole // 3600, whole // 60 % 60
  if hours > 0 then
    return string.format("%d:%02d:%02d", hours, minutes, whole % 60)
  end
  return string.format("%d:%02d", minutes, whole % 60)
end

--- Opens a bar of the engine. If the engine refuses, the job shows no bar.
local function open_engine_bar(bar, bars, title, total)
  local handle = attempt(bars.start, title)
  if handle == nil then
    return
  end
  bar.closers[1] = function() attempt(bars.stop, handle) end
  attempt(bars.setrange, handle, 0, total)
  function bar.draw(done, text)
    attempt(bars.settext, handle, text)
    attempt(bars.set, handle, done)
  end
end

--- Shortens a title, and puts it on one line.
local function fitting(title)
  title = string.gsub(title, "%c", " ")
  local past = utf8 and utf8.len(title) and utf8.offset(title, TITLE + 1) or #title > TITLE and TITLE + 1
  return past and string.sub(title, 1, past - 1) or title
end

local function open_terminal_bar(bar, title)
  title = fitting(title)
  bar.closers[1] = function()
    io.stderr:write("\r\27[K")
    io.stderr:flush()
  end
  function bar.draw(done, text, total)
    local filled = WIDTH * done // total
    io.stderr:write("\r", title, " [", string.rep("=", filled), string.rep(" ", WIDTH - filled), "] ", text, "\27[K")
    io.stderr:flush()
  end
end

local Bar = {}
Bar.__index = Bar

--- Draws the progress. It may yield.
function Bar:show(done, total)
  if #self.closers == 0 or not self.draw then
    return
  end
  local text = string.format("%d/%d", done, total)
  if done > 0 and done < total then
    text = string.format("%s, %s left", text, as_time((core.clock() - self.since) / done * (total - done)))
  end
  attempt(self.draw, done, text, total)
end

--- Removes the bar, on the first call only. Several coroutines may call this, and the engine may switch between them at any
-- instruction.
function Bar:close()
  local close = table.remove(self.closers)
  if close then
    attempt(close)
  end
end

--- Opens a bar for a started job. The job gets the bar before it appears, so that the end of the job closes it in any case. The
-- bar shows nothing if there are neither engine bars nor a terminal.
-- @tab job gets the bar, as `bar`
-- @string title
-- @int total the number of tasks or items
function progress.open(job, title, total)
  local bar = setmetatable({ closers = {}, since = core.clock() }, Bar)
  job.bar, job.finalizer.bar = bar, bar
  local bars = modules.engine.bars()
  if bars then
    open_engine_bar(bar, bars, title, total)
  elseif core.is_on_terminal() and io then
    open_terminal_bar(bar, title)
  end
end

return progress
