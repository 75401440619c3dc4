-- The cooperative backend packed into one file, and what the pages of a zip link to. `GMA2WORKERS_BACKEND=packed scripts/spec`
-- runs the other specs on that file.

local console = require "console"
local read = require "spec.fixtures.read"
local system = require "spec.fixtures.system"
local write = require "spec.fixtures.write"

local folder

--- The output of a fresh interpreter that finds nothing but the packed file.
local function run(code)
  write(folder .. "/run.lua", ("package.path, package.cpath = %q, ''\n%s"):format(folder .. "/?.lua", code))
  local pipe = assert(io.popen(("env -u GMA2WORKERS_BACKEND %s %s/run.lua 2>&1"):format(system.lua, folder)))
  local text = pipe:read("a")
  pipe:close()
  return text
end

local USE = [[
  local sum = gma2workers.RunSync { tasks = { { func = function(a, b) return a + b end, args = { 1, 2 } } } }
  print(gma2workers.info.backend, gma2workers.info.version, sum.result[1].data)
]]

describe("the packed file #posix", function()
  local used = ("cooperative\t%s\t3\n"):format(require("gma2workers").info.version)

  setup(function()
    folder = system.temporary()
    os.remove(folder)
    assert(os.execute(("mkdir %s && scripts/pack-cooperative %s/gma2_workers.lua >%s/said"):format(folder, folder, folder)))
  end)

  teardown(function()
    os.execute("rm -rf " .. folder)
  end)

  it("is required by its name, and is then there by each name (K20)", function()
    assert.equal(used .. "true\ttrue\n", run('local gma2workers = require "gma2_workers"\n' .. USE
      .. 'print(require "gma2workers" == gma2workers, require "gma2-workers" == gma2workers)'))
  end)

  it("is loaded by its path, and is then there by each name (K20)", function()
    assert.equal(used .. "true\n", run(('local gma2workers = dofile(%q)\n'):format(folder .. "/gma2_workers.lua") .. USE
      .. 'package.path = "" print(require "gma2_workers" == gma2workers and dofile(' .. ("%q"):format(folder .. "/gma2_workers.lua")
      .. ") == gma2workers)"))
  end)

  it("is preloaded, or pasted into a function (K20)", function()
    local path = ("%q"):format(folder .. "/gma2_workers.lua")
    assert.equal(used, run(("package.preload.gma2_workers = loadfile(%s)\nlocal gma2workers = require 'gma2_workers'\n"):format(path)
      .. USE))
    assert.equal(used, run("local gma2workers = (function(...)\n" .. read(folder .. "/gma2_workers.lua") .. "\nend)()\n" .. USE))
  end)

  it("gives the library that is there already, and takes no other global (K20)", function()
    assert.equal("true\n", run([[
      local before = {}
      for name in pairs(_G) do before[name] = true end
      package.loaded["gma2workers"] = { info = { name = "gma2workers" } }
      local same = require "gma2_workers" == package.loaded["gma2workers"]
      for name in pairs(_G) do same = same and before[name] end
      print(same)]]))
  end)

  it("is a plugin of its own, which lets all others require it (K20)", function()
    write(folder .. "/mine.lua", [[
      return function()
        local gma2workers = require "gma2_workers"
        local response = gma2workers.RunSync { tasks = { { func = function() gma.sleep(0.01) return gma.show.getvar("OS") end } } }
        gma.feedback(gma2workers.info.backend, response.result[1].data)
      end]])
    local loaded = {}
    for _, name in ipairs { "gma2workers", "gma2-workers", "gma2_workers" } do
      loaded[name], package.loaded[name] = package.loaded[name], nil
    end
    local engine = console.new()
    engine:install()
    local ok, problem = pcall(function()
      engine:plugin(folder .. "/gma2_workers.lua", { name = "gma2_workers", visible = "Workers" })
      engine:run()
      engine:plugin(folder .. "/mine.lua", { name = "mine" })
      engine:run()
    end)
    engine:uninstall()
    for _, name in ipairs { "gma2workers", "gma2-workers", "gma2_workers" } do
      package.loaded[name] = loaded[name]
    end
    assert.is_true(ok, problem)
    assert.same({}, engine:texts("error"))
    local feedback = engine:texts("feedback")
    assert.truthy(feedback[1]:find('^Workers: gma2workers [%d.]+ is loaded; other plugins may require "gma2_workers"$'), feedback[1])
    assert.truthy(feedback[2]:find("^cooperative"), feedback[2])
    assert.equal(2, #feedback)
  end)

  it("refuses another Lua like the folder (K20)", function()
    for _, lua in ipairs { "lua5.1", "lua5.2", "luajit" } do
      local pipe = io.popen(("%s %s/gma2_workers.lua 2>&1"):format(lua, folder))
      local text = pipe:read("a")
      pipe:close()
      assert.truthy(text:find("gma2workers needs Lua 5.3 or 5.4, this is Lua 5.", 1, true) or text:find("not found", 1, true), text)
    end
  end)

  it("has the licence, and the texts of the project's files as they are (K20)", function()
    local text = read(folder .. "/gma2_workers.lua")
    assert.truthy(text:find("\n-- MIT License\n", 1, true))
    for _, name in ipairs { "pump", "cooperative/workers", "gma2workers" } do
      assert.truthy(text:find(read("lua/" .. name .. ".lua"), 1, true), name)
    end
  end)
end)

describe("the pages of a zip #posix", function()
  it("link to nothing outside of it (K21)", function()
    local zip = system.temporary()
    os.remove(zip)
    -- The commands of scripts/package that fill the folder, without that for the binary.
    local commands = { ("folder=%s"):format(zip) }
    for line in read("scripts/package"):gmatch("\n *([^\n]*)") do
      if line:find("^mkdir %-p \"$folder") or line:find("^cp [^\"]") then
        commands[#commands + 1] = line
      end
    end
    assert(os.execute(table.concat(commands, "\n")))
    local pipe = assert(io.popen(("cd %s && find . -name '*.md'"):format(zip)))
    local pages, links = 0, 0
    for page in pipe:lines() do
      pages = pages + 1
      for target in read(zip .. "/" .. page):gmatch("%]%(([^)#]+)[^)]*%)") do
        if not target:find("^https?:") then
          links = links + 1
          local depth = 0
          for part in (page:match("^%./(.*/)") or ""):gmatch("[^/]+") do
            depth = depth + (part ~= "" and 1 or 0)
          end
          assert.is_true(select(2, target:gsub("%.%./", "")) <= depth, page .. " links out of the zip: " .. target)
          local file = io.open(("%s/%s%s"):format(zip, page:match("^.*/"), target), "rb")
          assert.is_truthy(file, page .. " links to " .. target)
          file:close()
        end
      end
    end
    pipe:close()
    os.execute("rm -rf " .. zip)
    assert.is_true(pages >= 8, pages .. " pages")
    assert.is_true(links >= 20, links .. " links")
  end)
end)
