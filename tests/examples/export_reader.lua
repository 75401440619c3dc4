-- Export reader: what exported presets, patches and layouts say, read on all cores.
--
--   Plugin "Export reader"                          the usual names in the console's own importexport folder
--   Plugin "Export reader" "D:/show"                the same in another folder
--   Plugin "Export reader" "D:/show; preset_4.1.xml; patch.xml"
--
-- Shows: files in a plugin, one task a file (a big preset is cut into several), functions of a module as tasks, results
-- put together again. The mode is a user variable: SetUserVar $EXPORTMODE = "cmd"
--
-- The modules export_tasks, export_parser and ma2_xml have to be found by `require` here. The workers need no path: the
-- functions are sent to them.

local gma2workers = require "gma2workers"
local export_tasks = require "export_tasks"

local USUAL_NAMES = { "patch.xml", "layout.xml", "preset_0.1.xml", "preset_0.2.xml" }
local PIECE_BYTES = 64 * 1024

-- The exports to read, { name, text } each. Of the usual names only those that are there; of names given, all.
local function open_exports(argument)
  local names = {}
  for word in (argument or ""):gmatch("[^;]+") do
    names[#names + 1] = word:match("^%s*(.-)%s*$")
  end
  local folder = table.remove(names, 1) or gma.show.getvar("PATH") .. "/importexport"
  local given = #names > 0

  local exports = {}
  for _, name in ipairs(given and names or USUAL_NAMES) do
    local file, problem = io.open(folder .. "/" .. name, "rb")
    if file then
      exports[#exports + 1] = { name = name, text = file:read("a") }
      file:close()
    elseif given then
      gma.feedback("Export reader: " .. problem)
    end
  end
  return exports
end

local function summary(export)
  local entries, parts = 0, 0
  for _, entry in pairs(export.content) do
    entries = entries + 1
    for _ in pairs(entry.subfixtures or entry) do
      parts = parts + 1
    end
  end
  local texts = {
    preset = "%d fixtures and subfixtures, %d values",
    patch = "%d fixtures, %d subfixtures",
    layout = "%d elements",
  }
  return export.kind .. ", " .. texts[export.kind]:format(entries, parts)
end

local function Start(argument)
  local exports = open_exports(argument)
  local response = gma2workers.RunSync {
    tasks = export_tasks.plan(exports, PIECE_BYTES),
    mode = gma.user.getvar("EXPORTMODE"),
  }
  export_tasks.collect(exports, response)
  for _, export in ipairs(exports) do
    gma.feedback(("Export reader: %s: %s"):format(export.name, export.problem or summary(export)))
  end
  gma.feedback(("Export reader: %d files in %.3f s"):format(#exports, response.duration))
end

return Start
