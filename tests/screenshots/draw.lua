-- Runs the plugins in the stand-in and draws their output as SVG: lua5.3 tests/screenshots/draw.lua FOLDER
--
-- A line that begins with "?" is a question with its answer; one with "$" is a command that the plugin has carried out.

local console = require "console"
local generated = require "generated_exports"

local FOLDER = assert(arg[1], "which folder?")
local WIDTH, LINE, LEFT, CHARACTER, MOST_COLUMNS = 900, 18, 14, 7.3, 118
local COLOURS = { feedback = "#d8dee9", question = "#ebcb8b", cmd = "#a3be8c", progress = "#81a1c1", error = "#bf616a" }

-- Each plugin's argument, and its answers by a word of the question.
local RUNS = {
  pool_report = { answers = { pools = "Group, Macro, Sequence" } },
  export_reader = { answers = { folder = FOLDER } },
  duplicate_finder = { answers = { pool = "Macro", letters = "0", show = "delete" } },
  fixture_json = { argument = "import fixtures.json", answers = {} },
}

--- Breaks a line that is wider than the picture.
local function wrap(lines, kind, text)
  text = text:gsub(FOLDER, "importexport", 1)
  while #text > MOST_COLUMNS do
    local cut = text:sub(1, MOST_COLUMNS):match(".*()%s") or MOST_COLUMNS
    lines[#lines + 1], text = { kind, text:sub(1, cut - 1) }, "    " .. text:sub(cut + 1)
  end
  lines[#lines + 1] = { kind, text }
end

local function run(name)
  local given, lines = RUNS[name], {}
  local visible = "gma2workers " .. name:gsub("_", " ")
  local argument = given.argument
  wrap(lines, "cmd", ('> Plugin "%s"%s'):format(visible, argument and (' "%s"'):format(argument) or ""))
  local engine
  local told = 0
  local function tell()
    for i = told + 1, #engine.transcript do
      local entry = engine.transcript[i]
      if COLOURS[entry.kind] and entry.kind ~= "question" then
        wrap(lines, entry.kind, (({ cmd = "$ ", progress = "[bar] " })[entry.kind] or "") .. entry.text)
      end
    end
    told = #engine.transcript
  end
  engine = console.new {
    show = dofile("tests/screenshots/show.lua"),
    showvars = { TEMPPATH = FOLDER, PATH = FOLDER },
    textinput = function(title)
      for word, answer in pairs(given.answers) do
        if title:match(": (.*)"):find(word, 1, true) == 1 or title:find("then " .. word, 1, true) then
          tell()
          wrap(lines, "question", ("? %s: %s"):format(title, answer))
          return answer
        end
      end
      error("no answer for " .. title)
    end,
    confirm = function(title, message)
      tell()
      wrap(lines, "question", ("? %s: %s [OK]"):format(title, message))
      return true
    end,
  }
  engine:install()
  engine:plugin(("lua/plugins/%s.lua"):format(name), { name = name, visible = visible,
    argument = argument and argument:gsub("fixtures.json", FOLDER .. "/fixtures.json") })
  engine:run()
  engine:uninstall()
  tell()
  return lines
end

local function escaped(text)
  return (text:gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }))
end

local function draw(name, lines)
  local parts = { ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="monospace" font-size="12">')
    :format(WIDTH, (#lines + 1) * LINE), '<rect width="100%" height="100%" rx="6" fill="#2e3440" />' }
  for i, line in ipairs(lines) do
    parts[#parts + 1] = ('<text x="%d" y="%d" textLength="%.0f" xml:space="preserve" fill="%s">%s</text>'):format(
      LEFT, i * LINE + 4, utf8.len(line[2]) * CHARACTER, COLOURS[line[1]], escaped(line[2]))
  end
  parts[#parts + 1] = "</svg>\n"
  local file = assert(io.open(("lua/pictures/%s.svg"):format(name), "wb"))
  file:write(table.concat(parts, "\n"))
  file:close()
end

generated.write(FOLDER, 500)
-- A preset of more fixtures than are patched, and a file with other names and addresses.
local file = assert(io.open(FOLDER .. "/preset_0.2.xml", "wb"))
file:write(generated.preset(520))
file:close()
file = assert(io.open(FOLDER .. "/fixtures.json", "wb"))
file:write([[{ "fixtures": [
  { "number": 1, "name": "Spot FOH left", "properties": { "Patch": "1.1" } },
  { "number": 2, "name": "Spot 2", "properties": { "Patch": "2.101" } },
  { "number": 99, "name": "Hazer" } ] }
]])
file:close()
for name in pairs(RUNS) do
  draw(name, run(name))
end
