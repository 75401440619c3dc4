-- The pages are true: each example runs as it stands and shows what the page says, and each link and file is there.
--
-- A fenced block of Lua is a file of its own, with the name that its first line gives ("-- name.lua"). It runs beside the
-- page's earlier files: with scripts/run-plugin if it returns Start, otherwise with the Lua of the specs; or by the command in the
-- block of shell right after it. It must show the block of text that follows, or what stands after "-->" in it, and nothing else.

local read = require "spec.fixtures.read"
local system = require "spec.fixtures.system"
local write = require "spec.fixtures.write"

local LUA = _VERSION == "Lua 5.3" and "lua5.3" or "lua5.4"

-- How many examples of Lua each page has at least. Those of the stand-in's page are run by console_runs_spec.
local PAGES = {
  ["README.md"] = 1, ["CONTRIBUTING.md"] = 0, ["CHANGELOG.md"] = 0, ["tests/README.md"] = 0, ["tests/bench/README.md"] = 0,
  ["tests/console/README.md"] = 0, ["lua/README.md"] = 1, ["lua/GUIDE.md"] = 12, ["lua/WITHOUT_A_CONSOLE.md"] = 5, ["lua/ENGINES.md"] = 1,
  ["lua/REFERENCE.md"] = 2, ["lua/FROM_THE_ORIGINAL.md"] = 4, ["lua/MESSAGES.md"] = 0, ["lua/plugins/README.md"] = 0,
}

--- The fenced blocks of a page: language, text, and the number of the line before.
local function blocks_of(text)
  local blocks, open, number = {}, nil, 0
  for line in text:gmatch("([^\n]*)\n") do
    number = number + 1
    local language = line:match("^```(%l*)$")
    if open and language == "" then
      blocks[#blocks + 1] = open
      open = nil
    elseif open then
      open.text = open.text .. line .. "\n"
    elseif language then
      open = { language = language, text = "", line = number }
    end
  end
  assert(not open, "a block without an end")
  return blocks
end

--- The examples of a page: their code, file, command, and what they show.
local function examples_of(text)
  local examples, last = {}, nil
  for _, block in ipairs(blocks_of(text)) do
    if block.language == "lua" then
      -- The README's response is a table to read, not a file to save.
      local name = block.text:match("^%-%- ([%w_]+%.lua)\n") or block.text:find("^local response = {\n") and "response.lua"
      local is_plugin = block.text:find("\nreturn Start[,\n]")
      last = { name = name, line = block.line, code = block.text, shows = "",
        command = (is_plugin and "scripts/run-plugin " or LUA .. " ") .. (name or "none") }
      for shown in block.text:gmatch("%-%-> ([^\n]+)") do
        last.shows = last.shows .. shown .. "\n"
      end
      examples[#examples + 1] = last
    elseif block.language == "sh" and last and block.text:find("^scripts/run%-plugin ") then
      last.command = block.text
    elseif block.language == "text" and last then
      last.shows = block.text
      last = nil
    else
      last = nil
    end
  end
  return examples
end

-- Times that were measured differ between runs.
local function without_times(text)
  return (text:gsub(" in %d+%.%d+ s%f[%W]", " in … s"):gsub("%d+:%d%d left", "… left"))
end

-- Examples that show what only the binary does.
local NATIVE = {
  ["endless.lua"] = "a time-out", ["tidy.lua"] = "a time-out", ["limits.lua"] = "a time-out and a limit of memory",
  ["failing.lua"] = "captured data is refused", ["first_answer.lua"] = "a task that runs on until it is stopped",
}

describe("in", function()
  for page, at_least in pairs(PAGES) do
    local text = read(page)
    local examples = examples_of(text)
    describe(page, function()
      describe("the examples #posix", function()
        local folder

        setup(function()
          folder = system.temporary()
          os.remove(folder)
          assert(os.execute("mkdir " .. folder))
          for _, example in ipairs(examples) do
            if example.name then
              write(folder .. "/" .. example.name, example.code)
            end
          end
        end)

        teardown(function()
          os.execute("rm -rf " .. folder)
        end)

        it("are all found, and each has a name of its own", function()
          local seen = {}
          assert.is_true(#examples >= at_least, #examples .. " examples")
          for _, example in ipairs(examples) do
            assert.is_string(example.name, page .. ":" .. example.line)
            assert.is_nil(seen[example.name], example.name)
            seen[example.name] = true
          end
        end)

        for _, example in ipairs(examples) do
          local tag = NATIVE[example.name] and " #native" or ""
          it(("after line %d shows what the page says (K17)%s"):format(example.line, tag), function()
            local command = example.command:gsub("^scripts/run%-plugin", 'lua5.3 "$root/tests/console/main.lua"')
            write(folder .. "/run.sh", (command:gsub("lua5%.3", LUA)))
            local pipe = io.popen(("export root=\"$PWD\"; cd '%s' && timeout 60 sh run.sh 2>&1"):format(folder))
            local shown = pipe:read("a")
            pipe:close()
            assert.equal(without_times(example.shows), without_times(shown))
          end)
        end
      end)

      it("each link to a heading or a file has a target (K17)", function()
        local function headings_of(content)
          local headings = {}
          for heading in content:gmatch("\n#+ ([^\n]+)") do
            headings[heading:lower():gsub("[^%w%-_ ]", ""):gsub(" ", "-")] = true
          end
          return headings
        end
        local base = page:match("^.*/") or ""
        local targets = {}
        for _, pattern in ipairs { "%]%(([^)]+)%)", ' src="([^"]+)"', ' srcset="([^"]+)"' } do
          for target in text:gmatch(pattern) do
            targets[#targets + 1] = target
          end
        end
        for _, target in ipairs(targets) do
          local path, heading = target:match("^([^#]*)#?(.*)$")
          if not target:find("^https?:") then
            local file = path == "" and page or base .. path
            -- The drop-in folder is all that a user has.
            if page:find("^lua/") then
              local depth = select(2, page:gsub("/", "")) - 1
              assert.is_true(select(2, path:gsub("%.%./", "")) <= depth, page .. " links out of its folder: " .. target)
            end
            local content = read(file)
            if heading ~= "" then
              assert.is_true(headings_of(content)[heading], target)
            end
          end
        end
      end)

      it("each file that it names is there (K17) #posix", function()
        local roots = { lua = true, tests = true, scripts = true, src = true }
        for path in text:gmatch("%f[%w_./~%-]([%w_.~%-]+/[%w_./%-]*%w)") do
          if roots[path:match("^[^/]+")] and not path:find("^tests/?$") and not page:find("^CHANGELOG") then
            local exists = io.open(path, "rb") or io.open((page:match("^.*/") or "") .. path, "rb")
              or io.open(path .. ".lua", "rb") or io.open(path .. ".rs", "rb")
            assert.is_truthy(exists, page .. " names " .. path)
            exists:close()
          end
        end
      end)
    end)
  end
end)

describe("the first page", function()
  it("has at most 300 lines", function()
    assert.is_true(select(2, read("README.md"):gsub("\n", "")) <= 300)
  end)
end)

describe("the guide", function()
  it("has no cost that the README has not measured", function()
    local readme, count = read("README.md"), 0
    for figure in read("lua/GUIDE.md"):gmatch("%d[%d.]* µs") do
      count = count + 1
      assert.is_truthy(readme:find("| " .. figure .. " |", 1, true), figure)
    end
    assert.is_true(count >= 3)
  end)
end)

describe("the pictures", function()
  it("that are drawn for dark pages, too, are shown there (K17)", function()
    local count = 0
    for page in pairs(PAGES) do
      local text = read(page)
      for dark, light in text:gmatch('srcset="([^"]+)%-dark%.svg">%s*<img [^>]*src="([^"]+)%.svg"') do
        assert.equal(dark, light)
        count = count + 1
      end
      for path in text:gmatch("%]%(([^)]+)%.svg%)") do
        assert.is_nil(io.open((page:match("^.*/") or "") .. path .. "-dark.svg", "rb"), page .. " shows " .. path)
      end
    end
    assert.is_true(count >= 6)
  end)

  it("of a timeline have a number for each of the twelve tasks (K17)", function()
    for _, ending in ipairs { "", "-dark" } do
      local picture = read("lua/pictures/timeline" .. ending .. ".svg")
      for task = 1, 12 do
        assert.is_truthy(picture:find(('fill="#FFFFFF">\n%d\n</text>'):format(task)), task)
      end
    end
  end)
end)
