--- The output of a run: the transcript's lines, progress bars, and questions for the user.

local _ENV = require "console.globals" ()

local clock = require("consolenative").clock

local Terminal = {}
Terminal.__index = Terminal

local WIDTH, TIMES_A_SECOND = 24, 20

--- Makes a terminal.
-- @tab options of the command line, see console.options @number started the moment from which times count @bool draws
-- whether standard error is a terminal, so that bars can be drawn
function Terminal.new(options, started, draws)
  local self = setmetatable({ options = options, started = started, draws = draws, failed = false }, Terminal)
  if options.transcript then
    local problem
    self.transcript, problem = io.open(options.transcript, "a")
    if not self.transcript then
      error("cannot write the transcript " .. problem, 0)
    end
    self.transcript:setvbuf("line")
  end
  return self
end

function Terminal:clear_bar()
  if self.bar_is_drawn then
    io.stderr:write("\r\27[K")
    self.bar_is_drawn = false
  end
end

--- Questions and bars are already on the screen; commands are shown if the user asked for that.
function Terminal:is_seen_already(kind)
  if kind == "input" or kind == "confirm" then
    return #self.options.answers == 0
  end
  return kind == "cmd" and not self.options.commands or kind == "progress" and self.draws
end

--- One line of the transcript.
function Terminal:line(kind, text)
  local time = string.format("%8.3f ", clock() - self.started)
  if self.transcript then
    self.transcript:write(time, kind, ": ", text, "\n")
  end
  self:clear_bar()
  local shown = (self.options.times and time or "") .. kind .. ": " .. text .. "\n"
  if kind == "error" then
    self.failed = true
    io.stderr:write(shown)
  elseif not self:is_seen_already(kind) then
    io.stdout:write(shown)
    io.stdout:flush()
  end
end

--- Called when a progress bar has changed.
function Terminal:bar(bar)
  if self.draws and bar.open then
    self.changed = bar
    self:draw()
  elseif self.draws then
    self.changed = nil
    self:clear_bar()
  end
end

--- Draws the changed bar, a limited number of times a second. It is called at each tick, so that the last change is drawn.
function Terminal:draw()
  local now, bar = clock(), self.changed
  if not bar or now < (self.next_bar or 0) then
    return
  end
  self.next_bar, self.changed = now + 1 / TIMES_A_SECOND, nil
  local from, to = table.unpack(bar.range or { 0, 100 })
  local value = bar.values[#bar.values] or from
  local share = to > from and math.max(0, math.min(1, (value - from) / (to - from))) or 0
  local full = math.floor(share * WIDTH)
  local drawn = string.rep("#", full) .. string.rep(".", WIDTH - full)
  local text = tostring(bar.texts[#bar.texts] or "")
  -- A text with numbers, as in the library's bars, replaces the bar's own count.
  if not string.find(text, "%d") then
    text = string.format("%s of %s %s", value, to, text)
  end
  io.stderr:write("\r", tostring(bar.name), " [", drawn, "] ", text, "\27[K")
  self.bar_is_drawn = true
end

--- Asks for a text. An empty line means the default; the end of the input cancels.
function Terminal:ask(title, default)
  self:clear_bar()
  io.stdout:write(tostring(title), default and (" [" .. tostring(default) .. "]") or "", ": ")
  io.stdout:flush()
  local answer = io.read()
  if answer == "" then
    return default or ""
  end
  return answer
end

--- Asks for a confirmation: any answer but no confirms.
function Terminal:confirm(title, message)
  local answer = self:ask(string.format("%s: %s", tostring(title), tostring(message)), "yes")
  return answer ~= nil and not string.match(string.lower(answer), "^%s*no?%s*$")
end

return Terminal
