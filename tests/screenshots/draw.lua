-- Runs the plugins in the stand-in and draws their output as SVG: lua5.3 tests/screenshots/draw.lua FOLDER
--
-- A line that begins with "?" is a question with its answer; one with "$" is a command that the plugin has carried out. A
-- progress bar is drawn as it was when it had done about 60 %.

local console = require "console"
local generated = require "generated_exports"

local FOLDER = assert(arg[1], "which folder?")
-- Narrow, so that a phone shows the text large enough to read.
local LINE, LEFT, SIZE, CHARACTER, MOST_COLUMNS = 22, 14, 15, 9.1, 54
local WIDTH = math.ceil(2 * LEFT + MOST_COLUMNS * CHARACTER)
local BAR, SHOWN = 14, 0.6
local COLOURS = { feedback = "#d8dee9", question = "#ebcb8b", cmd = "#a3be8c", progress = "#81a1c1", error = "#bf616a" }

-- Each plugin's argument, and its answers by a word of the question.
local RUNS = {
  pool_report = { answers = { pools = "Group, Macro, Sequence" } },
  export_reader = { answers = { folder = FOLDER } },
  duplicate_finder = { answers = { pool = "Macro", letters = "0", show = "delete" } },
  fixture_json = { argument = "import fixtures.json", answers = {} },
}

--- Notes a bar's state, if that is nearer to the share that is drawn. A bar that has drawn nothing yet has none.
local function watch(shown, bar)
  local value, text, range = bar.values[#bar.values], bar.texts[#bar.texts], bar.range
  if not (bar.open and value and text and range) then
    return
  end
  local share = (value - range[1]) / (range[2] - range[1])
  local best = shown[bar]
  if not best or math.abs(share - SHOWN) < math.abs(best.share - SHOWN) then
    shown[bar] = { share = share, text = text }
  end
end

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
  local told, bars, shown = 0, 0, {}
  local function tell()
    for i = told + 1, #engine.transcript do
      local entry = engine.transcript[i]
      if entry.kind == "progress" then
        if entry.text:find("^start ") then
          bars = bars + 1
          lines[#lines + 1] = { "progress", engine.progress[bars].name, bar = engine.progress[bars] }
        end
      elseif COLOURS[entry.kind] and entry.kind ~= "question" then
        wrap(lines, entry.kind, (entry.kind == "cmd" and "$ " or "") .. entry.text)
      end
    end
    told = #engine.transcript
  end
  engine = console.new {
    show = dofile("tests/screenshots/show.lua"),
    showvars = { TEMPPATH = FOLDER, PATH = FOLDER },
    bar = function(bar) watch(shown, bar) end,
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
  for i = #lines, 1, -1 do
    local bar = lines[i].bar
    if bar and shown[bar] then
      lines[i].share, lines[i].text = shown[bar].share, shown[bar].text
    elseif bar then
      table.remove(lines, i)
    end
  end
  return lines
end

local function escaped(text)
  return (text:gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }))
end

local function draw_text(parts, x, y, colour, text)
  parts[#parts + 1] = ('<text x="%.0f" y="%.0f" textLength="%.0f" xml:space="preserve" fill="%s">%s</text>'):format(
    x, y, utf8.len(text) * CHARACTER, colour, escaped(text))
end

--- Draws a bar below its title, with its text at the right.
local function draw_bar(parts, line, y)
  local width = WIDTH - 2 * LEFT - 24 * CHARACTER
  local box = '<rect x="%d" y="%.0f" width="%.0f" height="%d" rx="3" %s />'
  draw_text(parts, LEFT, y, COLOURS.progress, line[2])
  parts[#parts + 1] = box:format(LEFT, y + LINE - BAR + 2, width * line.share, BAR, ('fill="%s"'):format(COLOURS.progress))
  parts[#parts + 1] = box:format(LEFT, y + LINE - BAR + 2, width, BAR, ('fill="none" stroke="%s"'):format(COLOURS.progress))
  draw_text(parts, LEFT + width + CHARACTER, y + LINE, COLOURS.progress, line.text)
end

local function draw(name, lines)
  local parts, row = { "", '<rect width="100%" height="100%" rx="6" fill="#2e3440" />' }, 0
  for _, line in ipairs(lines) do
    row = row + 1
    if line.bar then
      draw_bar(parts, line, row * LINE + 4)
      row = row + 1
    else
      draw_text(parts, LEFT, row * LINE + 4, COLOURS[line[1]], line[2])
    end
  end
  parts[1] = ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="monospace" font-size="%d">')
    :format(WIDTH, (row + 1) * LINE, SIZE)
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
