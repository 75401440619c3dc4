-- Functions and tables of modules that the host has put under other names, too: into another module, or into package.loaded.

local gma2workers = require "gma2workers"
local assertions = require "spec.fixtures.assertions"
local crossing = require "spec.fixtures.crossing"
local settings = require "spec.fixtures.settings"
local shapes = require "spec.fixtures.shapes"

local assert_failed = assertions.failed
local call, run, with_preload = crossing.call, crossing.run, crossing.with_preload

--- Runs `body` while a field of a table has another value.
local function with_field(of, name, value, body)
  local before = of[name]
  of[name] = value
  local ok, problem = pcall(body)
  of[name] = before
  if not ok then
    error(problem, 0)
  end
end

-- Both modules of these loaders are made by functions of this file.
local function load_deep()
  local deep = { Class = { h = function(n) return n + 1 end }, kind = { name = "deep" } }
  deep.Class.__index = deep.Class
  return deep
end

local function load_short()
  return { own = function(n) return -n end, Kind = { __index = {}, h = function() end } }
end

local function with_modules(body)
  with_preload({ ["a.deep"] = load_deep, short = load_short }, function() body(require "a.deep", require "short") end)
end

describe("a module's function that the host has put into another module", function()
  it("is itself in a task: captured, as an argument, as func, in a Map (F28)", function()
    local area = shapes.Box.area
    with_field(settings, "alias", area, function()
      local box = shapes.new(2, 3)
      assert.equal(12, call(function(it) return area(it) end, box))
      assert.is_true(call(function(f) return f == require("spec.fixtures.shapes").Box.area end, area))
      assert.equal(12, run(area, { box }).data)
      assert.same({ 12 }, gma2workers.Map(area, { box }))
      assert.equal(area, run(function() return require("spec.fixtures.shapes").Box.area end).data)
    end)
  end)

  it("is itself even if no file tells which module has made it (F28)", function()
    with_modules(function(deep, short)
      local h = deep.Class.h
      with_field(short, "alias", h, function()
        assert.equal(6, call(function(n) return h(n) end, 5))
        assert.is_true(call(function(f) return f == require("a.deep").Class.h end, h))
      end)
    end)
  end)

  it("is never taken for the function whose place it has taken (F28)", function()
    with_modules(function(deep, short)
      local h = deep.Class.h
      with_field(short, "own", h, function()
        assert.equal(6, call(function(n) return h(n) end, 5))
        assert.equal(6, run(h, { 5 }).data)
      end)
    end)
  end)

  it("is itself though the other module can't be loaded in a task (F28)", function()
    with_modules(function(deep)
      local h = deep.Class.h
      with_field(package.loaded, "aa", { alias = h, other = { h } }, function()
        assert.equal(6, call(function(n) return h(n) end, 5))
      end)
    end)
  end)

  it("comes back from a task that did so itself (F28) #native", function()
    local area = run(function()
      local Box = require("spec.fixtures.shapes").Box
      require("spec.fixtures.settings").alias = Box.area
      return Box.area
    end).data
    assert.equal(shapes.Box.area, area)
  end)
end)

describe("a module's table that the host has put into another module", function()
  it("is itself in a task, and so are its objects and its data (F28)", function()
    with_modules(function(deep, short)
      for _, name in ipairs { "alias", "Kind" } do
        with_field(short, name, deep.Class, function()
          assert.is_true(call(function(class) return class == require("a.deep").Class end, deep.Class))
          assert.is_true(call(function(it) return getmetatable(it) == require("a.deep").Class end, setmetatable({}, deep.Class)))
        end)
      end
    end)
    with_field(settings, "B", shapes.Box, function()
      with_field(shapes.Box, "kind", "crate", function()
        assert.same({ "crate", true }, { call(function(box) return getmetatable(box).kind,
          getmetatable(box) == require("spec.fixtures.shapes").Box end, shapes.new(1, 1)) })
      end)
    end)
  end)

  it("may be a module that is loaded under a second name (F28)", function()
    for _, name in ipairs { "aa", "zz" } do
      with_field(package.loaded, name, shapes, function()
        assert.equal(12, call(function() return shapes.area(2, 3) end))
        assert.equal(12, run(shapes, { 2, 3 }).data)
        assert.is_true(call(function(module) return module == require "spec.fixtures.shapes" end, shapes))
      end)
      with_field(package.loaded, name, settings, function()
        assert.equal(1, call(function() return settings.factor end))
      end)
    end
  end)
end)

describe("a function of the host's own that it has put into a module", function()
  local function mine(n) return 3 * n end

  it("is refused where a task's module has none of that name; as a local it crosses (F28) #native", function()
    with_field(shapes, "mine", mine, function()
      assert_failed(run(mine, { 2 }), "upvalue", "module 'spec.fixtures.shapes' has no 'mine' in a task",
        "define it in the module itself, or do not put it there on the host")
    end)
    assert.equal(6, run(mine, { 2 }).data)
  end)

  it("is refused where a task's module has another of that name; as a local it crosses (F28) #native", function()
    with_field(shapes, "double", mine, function()
      assert_failed(run(function(n) return mine(n) end, { 2 }), "upvalue",
        "module 'spec.fixtures.shapes' has another 'double' on the host (", "module_aliases_spec.lua:",
        "than in a task (", "shapes.lua:", "do not put it there on the host")
      local entry = run(function() return require("spec.fixtures.shapes").double end)
      assert_failed(entry, "transfer", "the host does not have spec.fixtures.shapes.double of ", "shapes.lua:")
    end)
    assert.equal(6, run(function(n) return mine(n) end, { 2 }).data)
  end)

  it("does no harm to the module's other functions (F28)", function()
    with_field(shapes, "double", mine, function()
      assert.equal(12, call(function() return shapes.area(2, 3) end))
    end)
  end)
end)

-- Functions that one function has made have one place, so only what they have captured tells them apart.
local function adder(n)
  return function(x) return x + n end
end

local function counter(counts)
  return function() return counts[1] end
end

local function load_makers()
  local made = { default = adder(0), from = { first = counter { 1 }, second = counter { 2 } } }
  for n = 1, 5 do
    made["add" .. n] = adder(n)
  end
  return made
end

local function with_makers(body)
  with_preload({ makers = load_makers }, function() body(require "makers") end)
end

describe("functions of one place", function()
  it("are told apart by what they have captured (F28)", function()
    with_makers(function(makers)
      for n = 1, 5 do
        with_field(makers, "default", makers["add" .. n], function()
          assert.equal(10 + n, run(makers["add" .. n], { 10 }).data)
        end)
      end
    end)
  end)

  it("are told apart by their code if they are on one line (F28)", function()
    local code = "local m = {} function m.up(x) return x + 1 end function m.down(x) return x - 1 end return m"
    with_preload({ line = load(code, "@line.lua") }, function()
      local line = require "line"
      local up = line.up
      with_field(line, "down", up, function() assert.equal(6, run(up, { 5 }).data) end)
    end)
  end)

  it("are themselves whatever order modules are loaded in (F28)", function()
    local function register(made)
      local registry = require "registry"
      registry.first = registry.first or made.f
      return made
    end
    local function load_aa() return register { f = adder(1) } end
    local function load_zz() return register { f = adder(2) } end
    with_preload({ registry = function() return {} end, aa = load_aa, zz = load_zz }, function()
      local zz, aa = require "zz", require "aa"
      local response = gma2workers.RunSync { tasks = { { func = zz.f, args = { 0 } }, { func = aa.f, args = { 0 } } } }
      assert.same({ 2, 1 }, { response.result[1].data, response.result[2].data })
    end)
  end)

  it("are refused if nothing tells them apart (F28) #native", function()
    with_makers(function(makers)
      with_field(makers.from, "first", makers.from.second, function()
        assert_failed(run(makers.from.second), "upvalue", "makers.from.first", "makers.from.second",
          "are one on the host, but two in a task")
      end)
      assert.equal(2, run(makers.from.second).data)
    end)
  end)

  it("have as many names as the host likes (F28)", function()
    with_makers(function(makers)
      local add = makers.add3
      for i = 1, 100 do
        makers["alias" .. i] = add
      end
      assert.equal(8, run(add, { 5 }).data)
    end)
  end)
end)

-- Classes that one function has made, as most class libraries do.
local function load_classes()
  local function class()
    local made = {}
    made.__index = made
    function made.new() return setmetatable({}, made) end
    return made
  end
  local classes = { Circle = class(), Square = class() }
  function classes.Circle.name() return "circle" end
  function classes.Square.name() return "square" end
  classes.Default = classes.Circle
  return classes
end

describe("a class that the host has put in another's place", function()
  it("is itself, and the other one, too (F28)", function()
    with_preload({ classes = load_classes }, function()
      local classes = require "classes"
      with_field(classes, "Default", classes.Square, function()
        local square, circle = classes.Square.new(), classes.Circle.new()
        assert.same({ "square", "circle", "square" }, { call(function(a, b)
          return a.name(), b.name(), classes.Default.name()
        end, square, circle) })
        assert.equal("square", run(function() return classes.Square.new() end).data.name())
      end)
    end)
  end)

  it("has the data that the host has given it (F28)", function()
    with_preload({ classes = load_classes }, function()
      local classes = require "classes"
      classes.Square.sides = 4
      with_field(classes, "Default", classes.Square, function()
        assert.same({ 4, "nil" }, { call(function(a, b)
          return a.sides, tostring(b.sides)
        end, classes.Square.new(), classes.Circle.new()) })
      end)
    end)
  end)

  it("is refused if it is the host's own (F28) #native", function()
    with_preload({ classes = load_classes }, function()
      local classes = require "classes"
      local mine = { name = load("return 'mine'", "@plugin.lua") }
      with_field(classes, "Circle", mine, function()
        assert_failed(run(function() return mine.name() end), "upvalue", "module 'classes' has another 'Circle' on the host")
      end)
      with_field(classes, "extra", mine, function()
        assert_failed(run(function(it) return it.name() end, { mine }), "upvalue", "module 'classes' has no 'extra' in a task")
      end)
    end)
  end)
end)
