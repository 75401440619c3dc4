-- The table in tests/README.md names a test for each situation, and those tests exist.

local read = require "spec.fixtures.read"

describe("each situation in tests/README.md has its test:", function()
  local count = 0
  for id, tests in read("tests/README.md"):gmatch("\n| (%u%d+%l?) |[^\n]+| ([^|\n]+) |") do
    count = count + 1
    it(id, function()
      for group in tests:gmatch("[^;]+") do
        for spec in group:gmatch("[%w_]+_spec%.lua") do
          local text = read("tests/spec/" .. spec)
          assert.truthy(text:find("[%(, ]" .. id .. "[%),]"), spec .. " has no test of " .. id)
        end
        local file, names = group:match("([%w_/]+%.rs): (.+)")
        if file then
          local path = file:find("^src/") and file or "tests/process/" .. file
          local text = read(path)
          for name in names:gmatch("[%w_]+") do
            assert.truthy(text:find("fn " .. name .. "()", 1, true), file .. " has no test " .. name)
          end
        elseif group:find("%.rs") then
          local text = read("tests/process/" .. group:match("[%w_]+%.rs"))
          assert.truthy(text:find("/// " .. id .. "%f[%W]") or text:find("[, ]" .. id .. "[%.,:]"), group .. " names no " .. id)
        end
      end
    end)
  end

  it("and every path under src that a page names is there #posix", function()
    local PAGES = { "README.md", "CONTRIBUTING.md", "tests/README.md", "tests/bench/README.md",
      "tests/stress/thread_sanitizer/suppressions" }
    for _, page in ipairs(PAGES) do
      for path in read(page):gmatch("%f[%w]src/[%w_/]+%.?%l*") do
        path = path:gsub("%.$", "")
        -- Windows opens no folders.
        local file = assert(io.open(path, "rb"), page .. " names " .. path)
        file:close()
      end
    end
  end)

  it("and the table is complete", function()
    assert.is_true(count > 95, count .. " rows")
  end)
end)
