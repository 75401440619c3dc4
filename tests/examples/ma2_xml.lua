-- Reads XML as a console writes it, one event at a time (a pull parser).
--
--   local next_event, fail = events(text, "patch.xml")
--   for event, name, content in next_event do … end
--
--   "open",  name, attributes   an opening tag; a self-closing tag is followed by its "close"
--   "close", name
--   "text",  name, text         text or CDATA in the element <name>; blank text is left out
--
-- Malformed input raises "patch.xml:12: <reason>". `fail(message)` raises an error in the same form, with the line of the
-- last event. Document types (<!DOCTYPE …>) are refused. The functions capture no data, so they can cross into a task.

local error, tonumber = error, tonumber
local char, find, gsub, match, sub = utf8.char, string.find, string.gsub, string.match, string.sub

-- The number of lines that end in text[1 .. last].
local function line_ends(text, last)
  local count, at = 0, find(text, "\n", 1, true)
  while at and at <= last do
    count, at = count + 1, find(text, "\n", at + 1, true)
  end
  return count
end

local function unescape(text, fail)
  local named = { amp = "&", lt = "<", gt = ">", quot = '"', apos = "'" }
  return (gsub(text, "&([^;&%s]*)(;?)", function(entity, semicolon)
    local code = tonumber(match(entity, "^#(%d+)$")) or tonumber(match(entity, "^#x(%x+)$") or "", 16)
    local character = named[entity] or code and code <= 0x10FFFF and char(code)
    if semicolon == "" or not character then
      fail("unknown entity &" .. entity .. semicolon)
    end
    return character
  end))
end

-- The attributes at `position`, and the position behind them.
local function attributes_at(text, position, fail)
  local attributes = {}
  while true do
    local name, value, after = match(text, '^%s+([%a_:\128-\255][%w_:.\128-\255-]*)%s*=%s*"([^"<]*)"()', position)
    if not name then
      name, value, after = match(text, "^%s+([%a_:\128-\255][%w_:.\128-\255-]*)%s*=%s*'([^'<]*)'()", position)
    end
    if not name then
      return attributes, position
    end
    if attributes[name] then
      fail("attribute " .. name .. " given twice")
    end
    if find(value, "&", 1, true) then
      value = unescape(value, fail)
    end
    attributes[name], position = value, after
  end
end

-- The end of the comment, CDATA or instruction at `position`, and its text if it is CDATA.
local function markup_at(text, position, fail)
  local function ends_with(mark, from)
    local first, last = find(text, mark, from, true)
    if not first then
      fail(mark .. " is missing")
    end
    return last + 1, first - 1
  end

  if sub(text, position, position + 3) == "<!--" then
    return (ends_with("-->", position + 4))
  elseif sub(text, position, position + 8) == "<![CDATA[" then
    local after, last = ends_with("]]>", position + 9)
    return after, sub(text, position + 9, last)
  elseif sub(text, position, position + 1) == "<?" then
    return (ends_with("?>", position + 2))
  end
  fail("malformed tag " .. sub(match(text, "^[^\n>]*", position), 1, 40))
end

local function events(text, source)
  local position = match(text, "^\xEF\xBB\xBF()") or 1
  local event_at = position
  local open, depth, has_root = {}, 0, false
  local close_is_due = false

  local function fail(message)
    local line = 1 + line_ends(text, event_at - 1)
    error(("%s:%d: %s"):format(source, line, message), 0)
  end

  local function next_text()
    event_at = find(text, "%S", position)
    if event_at then
      local after = find(text, "<", event_at, true) or #text + 1
      local content = sub(text, position, after - 1)
      position = after
      return find(content, "&", 1, true) and unescape(content, fail) or content
    end
    event_at = #text
    if depth > 0 or not has_root then
      fail(depth > 0 and "the file ends inside <" .. open[depth] .. ">" or "no element in the file")
    end
  end

  local function open_tag(name, after)
    local attributes, behind = attributes_at(text, after, fail)
    local slash, next_position = match(text, "^%s*(/?)>()", behind)
    if not slash then
      fail("malformed tag <" .. name .. ">")
    elseif depth == 0 and has_root then
      fail("a second root element <" .. name .. ">")
    end
    position, close_is_due, has_root, depth = next_position, slash == "/", true, depth + 1
    open[depth] = name
    return "open", name, attributes
  end

  local function close_tag(name, after)
    if not after then
      fail("malformed tag </" .. name .. ">")
    elseif depth == 0 then
      fail("</" .. name .. "> where nothing is open")
    elseif name ~= open[depth] then
      fail(("</%s> where </%s> must stand"):format(name, open[depth]))
    end
    position, close_is_due, depth = after, false, depth - 1
    return "close", name
  end

  local function next_event()
    if close_is_due then
      return close_tag(open[depth], position)
    end
    while true do
      local content
      local tag = match(text, "^%s*()<", position)
      if tag then
        event_at = tag
        local slash, name, after = match(text, "^(/?)([%a_:\128-\255][%w_:.\128-\255-]*)()", tag + 1)
        if slash == "" then
          return open_tag(name, after)
        elseif slash then
          return close_tag(name, match(text, "^%s*>()", after))
        end
        position, content = markup_at(text, tag, fail)
      else
        content = next_text()
        if not content then
          return nil
        end
      end
      if content and depth == 0 then
        fail("text outside of the root element")
      elseif content then
        return "text", open[depth], content
      end
    end
  end

  return next_event, fail
end

return { events = events }
