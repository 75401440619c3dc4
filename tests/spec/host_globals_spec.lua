-- All plugins of a console share one set of globals, and each may change them: MA's own self-test leaves `debug = false`.
-- That breaks nothing in the library, whose files keep copies.

local console = require "console"
local public_calls = require "spec.fixtures.public_calls"
local read = require "spec.fixtures.read"
local stock = require "spec.fixtures.stock"
local system = require "spec.fixtures.system"

-- The functions used while the globals are changed.
local concat, error, next, pcall, rawset, sleep = table.concat, error, next, pcall, rawset, coroutine.yield

local function fail_always()
  error("another plugin's")
end

--- Calls a function with some fields of a table replaced, and restores them.
local function call_with(owner, replaced, call, ...)
  local before = {}
  for name in pairs(replaced) do
    before[name] = rawget(owner, name)
  end
  for name, value in next, replaced do
    rawset(owner, name, value)
  end
  local ok, problem = pcall(call, ...)
  for name in next, replaced do
    rawset(owner, name, before[name])
  end
  return ok, problem
end

local file

setup(function()
  file = system.temporary()
end)

teardown(function()
  os.remove(file)
end)

--- Makes all calls with these fields replaced, and notes the failures.
local function call_all(problems, where, host, owner, replaced)
  for name, call in pairs(public_calls.all) do
    local ok, problem = call_with(owner, replaced, call, host)
    if not ok then
      problems[#problems + 1] = ("%s, %s: %s"):format(name, where, tostring(problem))
    end
  end
end

local function assert_calls_without_engine(owner, replaced, gma)
  local problems = {}
  local host = { file = file, pump = function(poll) poll() end, told = function() end }
  call_with(_G, { gma = gma }, call_all, problems, "without an engine", host, owner, replaced)
  assert.same({}, problems)
end

local function assert_calls(owner, replaced)
  assert_calls_without_engine(owner, replaced, false)
  local problems = {}
  local engine = console.new()
  local host = { file = file, pump = function() sleep(0.001) end, told = function() return concat(engine:texts("echo"), "\n") end }
  engine:install()
  engine:run(call_all, problems, "in an engine", host, owner, replaced)
  engine:uninstall()
  assert.same({}, problems)
  assert.same({}, engine:texts("error"))
end

local function all_of(names, value)
  local replaced = {}
  for _, name in ipairs(names) do
    replaced[name] = value
  end
  return replaced
end

local function fields_of(library, value)
  local replaced = {}
  for name in pairs(library) do
    replaced[name] = value
  end
  return replaced
end

describe("the library works (I11)", function()
  local names = { "_G", "_VERSION", table.unpack(public_calls.FUNCTIONS) }
  table.move(public_calls.LIBRARIES, 1, #public_calls.LIBRARIES, #names + 1, names)

  for _, name in ipairs(names) do
    it(("if %s is false"):format(name), function()
      assert_calls_without_engine(_G, { [name] = false }, false)
    end)
  end

  for shown, value in pairs { ["false"] = false, ["a function that fails"] = fail_always } do
    it(("if all standard globals are %s"):format(shown), function()
      assert_calls(_G, all_of(names, value))
    end)

    it(("if gma is %s"):format(shown), function()
      assert_calls_without_engine(_G, {}, value)
    end)

    for _, name in ipairs(public_calls.LIBRARIES) do
      -- The fields of `package` describe the system.
      if name ~= "package" then
        it(("if all fields of %s are %s"):format(name, shown), function()
          assert_calls(_G[name], fields_of(_G[name], value))
        end)
      end
    end
  end

  it("if gma is nil", function()
    assert_calls_without_engine(_G, {}, nil)
  end)

  it("if texts have other methods", function()
    assert_calls(getmetatable(""), { __index = fail_always })
  end)

  -- Some parts of the library are loaded when they are first needed.
  it("if all of that changes before it has done anything", function()
    assert.equal("done\n", stock.run([[
      local public_calls = require "spec.fixtures.public_calls"
      local concat, next, pcall, stdout, G = table.concat, next, pcall, io.stdout, _G
      local host = { file = os.tmpname(), pump = function(poll) poll() end, told = function() end }
      getmetatable("").__index = false
      for _, name in ipairs(public_calls.LIBRARIES) do
        for field in next, name ~= "package" and G[name] or {} do
          G[name][field] = false
        end
        G[name] = false
      end
      for _, name in next, public_calls.FUNCTIONS do
        G[name] = false
      end
      G._G = false
      for name, call in next, public_calls.all do
        local ok, problem = pcall(call, host)
        if not ok then
          stdout:write(name, ": ", problem, "\n")
        end
      end
      stdout:write("done\n")
    ]]))
  end)

  it("if a host has registered libraries in one place alone", function()
    assert.equal("done\n", stock.run([[
      for _, name in ipairs { "coroutine", "io", "math", "string", "table" } do
        package.loaded[name] = nil
      end
      for _, name in ipairs { "debug", "utf8" } do
        _G[name] = nil
      end
      local gma2workers = require "gma2workers"
      local response = gma2workers.RunSync { tasks = { { func = function() return 1 end }, { func = function() return {} + 1 end } } }
      assert(response.result[1].data == 1 and response.result[2].traceback)
      assert(gma2workers.Map(function(n) return n + 1 end, { 1, 2 })[2] == 3)
      print "done"
    ]]))
  end)

  it("after MA's self-test", function()
    assert.equal("1 2 3\n", stock.run([[
      debug = false
      local public_calls = require "spec.fixtures.public_calls"
      public_calls.all["tasks that fail"]()
      public_calls.all["Map"]()
      print(table.concat(require("gma2workers").Map(math.abs, { -1, -2, -3 }), " "))
    ]]))
  end)

  -- A text's methods come from the host's current `string`. init.lua runs only at load.
  it("since none of its files calls a method of a text #posix", function()
    local pipe = io.popen("ls lua/*.lua lua/cooperative/*.lua")
    local found = {}
    for path in pipe:lines() do
      local code = path ~= "lua/init.lua" and read(path):gsub("%-%-[^\n]*", "")
      for method in (code or ""):gmatch(":%s*([%a_]+)%s*%(") do
        found[#found + 1] = string[method] and ("%s: %s"):format(path, method) or nil
      end
    end
    pipe:close()
    assert.same({}, found)
  end)
end)
