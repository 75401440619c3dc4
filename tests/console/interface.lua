--- Output and questions of the engine: echo, feedback, text input, dialogs, progress bars.

local _ENV = require "console.globals" ()

local interface = {}

--- Joins several values into one line.
local function line(...)
  local parts = table.pack(...)
  for i = 1, parts.n do
    parts[i] = tostring(parts[i])
  end
  return table.concat(parts, " ", 1, parts.n)
end

--- The position of a bar, for its last line.
local function reached(bar)
  local value, text = bar.values[#bar.values], bar.texts[#bar.texts]
  return (value and string.format(" at %s of %s", value, bar.range and bar.range[2] or 100) or "") .. (text and ": " .. text or "")
end

--- Answers from a script: a list to use up in order, or a function of the title and the default.
local function answers(script, what)
  local next_answer = 0
  return function(title, default)
    if type(script) == "function" then
      return script(title, default)
    end
    next_answer = next_answer + 1
    local answer = script and script[next_answer]
    if answer == nil then
      error(string.format("the stand-in has no answer for the %s '%s': add one to its script", what, tostring(title)), 3)
    end
    return answer or nil
  end
end

--- Adds these functions to the engine's `gma`.
function interface.add(engine, gma)
  local options = engine.options

  function gma.echo(...)
    engine:say("echo", line(...))
  end

  -- The second argument is a colour.
  function gma.feedback(value)
    engine:say("feedback", tostring(value))
  end

  local ask = answers(options.textinput, "text input")
  function gma.textinput(title, default)
    local answer = ask(title, default)
    engine:say("input", string.format("%s: %s", tostring(title), answer or "cancelled"))
    return answer or nil
  end

  local confirm = answers(options.confirm, "confirmation")
  gma.gui = {
    confirm = function(title, message)
      local answer = confirm(title, message)
      engine:say("confirm", string.format("%s: %s: %s", tostring(title), tostring(message), answer and "OK" or "cancelled"))
      return answer and true or nil
    end,
    msgbox = function(title, message)
      engine:say("msgbox", line(title, message))
    end,
  }

  local bars, last = engine.progress, 0
  local function bar(handle)
    return bars[handle] or error("no progress bar has the handle " .. tostring(handle), 3)
  end
  local function changed(handle)
    if options.bar then
      options.bar(bars[handle])
    end
  end
  gma.gui.progress = {
    start = function(name)
      last = last + 1
      bars[last] = { name = name, open = true, values = {}, texts = {} }
      engine:say("progress", "start " .. tostring(name))
      changed(last)
      return last
    end,
    -- Plugins call this in their Cleanup with whatever they have, even nil.
    stop = function(handle)
      if bars[handle] then
        bars[handle].open = false
        changed(handle)
        engine:say("progress", "stop " .. tostring(bars[handle].name) .. reached(bars[handle]))
      end
    end,
    settext = function(handle, text)
      table.insert(bar(handle).texts, text)
      changed(handle)
    end,
    setrange = function(handle, from, to)
      bar(handle).range = { from, to }
      changed(handle)
    end,
    set = function(handle, value)
      table.insert(bar(handle).values, value)
      changed(handle)
    end,
  }
end

return interface
