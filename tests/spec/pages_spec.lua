-- The examples of the README and of the pages beside the library run, and print what they show after "-->".

local console = require "console"
local gma2workers = require "gma2workers"
local read = require "spec.fixtures.read"

local PAGES = { "README.md", "lua/GUIDE.md", "lua/MESSAGES.md" }

--- The examples of a page: their code, and the number of the line before it.
local function blocks(text)
  local found, code, first, number = {}, nil, nil, 0
  for line in text:gmatch("([^\n]*)\n") do
    number = number + 1
    if line == "```lua" then
      code, first = {}, number
    elseif line:find("^```") and code then
      found[#found + 1] = { code = table.concat(code, "\n"), first = first }
      code = nil
    elseif code then
      code[#code + 1] = line
    end
  end
  assert(not code, "an example without an end")
  return found
end

--- The output that an example shows.
local function expected(code)
  local texts = {}
  for text in code:gmatch("%-%-> ([^\n]+)") do
    texts[#texts + 1] = text
  end
  return texts
end

--- Runs an example: as a plugin if it returns a Start function, otherwise as a plain chunk.
-- @treturn table its output of every kind
local function shown_by(code, name)
  local texts = {}
  local engine = console.new { output = function(_, text)
    -- The library says that tasks have failed; examples show what they print themselves.
    if not text:find("^gma2workers: %d+ of %d+ %a+ failed, ") then
      texts[#texts + 1] = text
    end
  end }
  -- The README's examples continue the first, and do not name the library again; each of the guide's can be copied alone.
  local given = name == "README.md" and "local print, gma2workers = ... " or "local print = ... "
  local function compile(text)
    return load(given .. text, "=" .. name, "t")
  end
  local chunk = compile(code) or assert(compile("return " .. code))
  local loaded, before = package.loaded["gma2-workers"], rawget(_G, "gma")
  package.loaded["gma2-workers"] = gma2workers
  rawset(_G, "gma", engine.gma)
  local ok, problem = pcall(function()
    local start = engine:run(chunk, engine.gma.echo, gma2workers)
    if type(start) == "function" then
      engine:run(start)
    end
  end)
  package.loaded["gma2-workers"] = loaded
  package.loaded.label_rules, package.preload.label_rules = nil, nil
  rawset(_G, "gma", before)
  assert(ok, problem)
  return texts
end

for _, page in ipairs(PAGES) do
  describe("in " .. page, function()
    local found = blocks(read(page))
    for _, block in ipairs(found) do
      -- Examples that the cooperative backend refuses.
      local tag = block.code:find("timeout = ", 1, true) and " #native" or ""
      it(("the example after line %d runs, and prints what it shows%s"):format(block.first, tag), function()
        local shown, says = shown_by(block.code, page), expected(block.code)
        if page == "lua/GUIDE.md" then
          assert.is_true(#says > 0)
          assert.same(says, shown)
        end
      end)
    end

    it("each link to a heading or a file has a target", function()
      local text = read(page)
      local headings = {}
      for heading in text:gmatch("\n#+ ([^\n]+)") do
        headings[heading:lower():gsub("[^%w%- ]", ""):gsub(" ", "-")] = true
      end
      for target in text:gmatch("%]%(([^)]+)%)") do
        if target:find("^#") then
          assert.is_true(headings[target:sub(2)], target)
        elseif not target:find("^https?:") then
          assert(io.open((page:match("^.*/") or "") .. target)):close()
        end
      end
    end)
  end)
end

describe("the guide", function()
  it("has no cost that the README has not measured", function()
    local readme, count = read("README.md"), 0
    for figure in read("lua/GUIDE.md"):gmatch("%d[%d.]* µs") do
      count = count + 1
      assert.is_truthy(readme:find("| " .. figure .. " |", 1, true), figure)
    end
    assert.is_true(count > 3)
  end)
end)
