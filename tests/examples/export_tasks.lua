-- The reading of many exports as tasks for gma2workers: plan(), run, collect().
--
--   local exports = { { name = "patch.xml", text = … }, … }
--   local response = gma2workers.RunSync { tasks = plan(exports, 65536) }
--   collect(exports, response)     -- now each has content and kind, or problem
--
-- A big preset is cut into pieces, so that one file keeps several workers busy; the content is the same as if
-- export_parser.parse had read the file at once.

local line_ends = require("ma2_xml").line_ends
local parse = require("export_parser").parse

-- Cuts a preset's values into pieces of about `size` bytes, each a document of its own: { text, line }.
-- Anything else is one piece; so is a text with comments, where what looks like a tag need not be one.
local function pieces(text, size)
  local opening, closing = "<MA><Preset><Values><Channels>", "</Channels></Values></Preset></MA>"
  local values_end = not text:find("<!", 1, true) and text:find("</Values>", 1, true) or 0
  local list, first, line = {}, 1, 1
  while first + size < values_end do
    local cut = text:find("<PresetValue[%s>]", first + size)
    if not cut or cut > values_end then
      break
    end
    list[#list + 1] = { text = (first > 1 and opening or "") .. text:sub(first, cut - 1) .. closing, line = line }
    first, line = cut, line + line_ends(text, first, cut - 1)
  end
  list[#list + 1] = { text = (first > 1 and opening or "") .. text:sub(first), line = line }
  return list
end

-- Puts a further piece of a preset into the preset. A cut may go through a fixture, and the later value counts.
local function add(preset, piece)
  for fixture, values in pairs(piece) do
    local known = preset[fixture]
    if known then
      for attribute, value in pairs(values) do
        known[attribute] = value
      end
    else
      preset[fixture] = values
    end
  end
end

-- One task a piece; `first` and `last` say which tasks are the export's.
local function plan(exports, piece_size)
  local tasks = {}
  for _, export in ipairs(exports) do
    export.first = #tasks + 1
    for i, piece in ipairs(pieces(export.text, piece_size)) do
      tasks[#tasks + 1] = {
        name = ("%s, piece %d"):format(export.name, i),
        func = parse,
        args = { piece.text, export.name, piece.line },
      }
    end
    export.last = #tasks
  end
  return tasks
end

local function collect(exports, response)
  for _, export in ipairs(exports) do
    for i = export.first, export.last do
      local result = response.result[i]
      if not result.success then
        export.content, export.problem = nil, result.data
        break
      elseif i == export.first then
        export.content, export.kind = result.returns[1], result.returns[2]
      else
        add(export.content, result.data)
      end
    end
  end
end

return { plan = plan, collect = collect }
