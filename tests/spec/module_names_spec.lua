-- Modules cross by name: what a task gets is its own state's.

local gma2workers = require "gma2workers"
local assertions = require "spec.fixtures.assertions"
local crossing = require "spec.fixtures.crossing"
local settings = require "spec.fixtures.settings"
local shapes = require "spec.fixtures.shapes"

local assert_failed, says = assertions.failed, assertions.says
local Box, area = shapes.Box, shapes.area
local is_native = gma2workers.info.backend == "native"

local call, run, run_tasks, with_preload = crossing.call, crossing.run, crossing.run_tasks, crossing.with_preload

describe("a module that a function has captured", function()
  it("is the task's own, and so are its functions and classes (F21)", function()
    assert.equal(12, call(function(a, b) return shapes.area(a, b) end, 2, 3))
    assert.equal(12, call(function(a, b) return area(a, b) end, 2, 3))
    assert.equal(8, call(function() return setmetatable({ w = 2, h = 2 }, Box):area() end))
    assert.is_true(call(function()
      local module = require "spec.fixtures.shapes"
      return module == shapes and module.area == area and module.Box == Box
    end))
  end)

  it("is reached through other functions, and from a Map (F21)", function()
    local function helper(n) return shapes.area(n, 1) end
    assert.equal(6, call(function(n) return helper(n) end, 3))
    assert.same({ 2, 4, 6 }, gma2workers.Map(function(n) return area(n, 1) end, { 1, 2, 3 }))
    assert.same({ 2, 4 }, gma2workers.Map(shapes.double, { 1, 2 }, { chunk = 1 }))
  end)

  it("may be a function, or hold modules and libraries (F21)", function()
    with_preload({
      ["a function"] = function() return function(n) return n + 1 end end,
      ["with links"] = function()
        local M = { str = string, G = _G, loaded = package.loaded, settings = require "spec.fixtures.settings" }
        M.self, M.area = M, require("spec.fixtures.shapes").area
        function M.upper(text) return M.self.str.upper(text) end
        return M
      end,
    }, function()
      local increment, links = require "a function", require "with links"
      local upper, format = links.upper, links.str.format
      assert.equal(6, call(function() return increment(5) end))
      assert.same({ "A", "B", 2, 1, "5" }, call(function()
        return { links.upper("a"), upper("b"), links.area(1, 1), links.settings.factor, format("%d", 5) }
      end))
    end)
  end)

  it("is loaded once by a worker, and each task finds it as it was then (F22)", function()
    local loads = 0
    crossing.with_gma({ note = function() loads = loads + 1 end }, function()
      with_preload({ counted = function()
        gma.note()
        local n = 0
        return { count = 0, next = function() n = n + 1 return n end }
      end }, function()
        local counted = require "counted"
        loads = 0
        local response = run_tasks(20, function()
          counted.count = counted.count + 1
          return { counted.count, counted.next() }
        end)
        for i, entry in ipairs(response.result) do
          assert.same(is_native and { 1, 1 } or { i, i }, entry.data)
        end
        assert.equal(is_native and 1 or 0, loads)
      end)
    end)
  end)

  it("is loaded anew after the host has loaded it anew (F22)", function()
    local function version_of(module) return call(function() return module.version() end) end
    with_preload({ reloaded = function() return { version = function() return 1 end } end }, function()
      assert.equal(1, version_of(require "reloaded"))
      package.loaded.reloaded = nil
      package.preload.reloaded = function() return { version = function() return 2 end } end
      assert.equal(2, version_of(require "reloaded"))
    end)
  end)

  it("may call the host while it is loaded, and load gma2workers (F22)", function()
    crossing.with_gma({ rate = function() return 5 end }, function()
      with_preload({ asking = function()
        local workers = require "gma2workers"
        local rate = gma.rate()
        return { rate = function() return rate, workers.info.name end }
      end }, function()
        local asking = require "asking"
        assert.same({ 5, "gma2workers" }, { call(function() return asking.rate() end) })
      end)
    end)
  end)
end)

describe("a module that changes between two jobs", function()
  -- What a task's own module has.
  local function load_changing()
    -- Lua 5.3 may take a function of the source for the one that it made before.
    return { first = load("return 1", "@changing.lua"), second = load("return 2", "@changing.lua"),
      inner = { deep = load("return 3", "@changing.lua") } }
  end

  --- The fields of the task's module that a function of the host's becomes; none if it crosses as code.
  local function fields_of(f)
    return call(function()
      local module, found = require "changing", {}
      for _, name in ipairs { "first", "second" } do
        found[#found + 1] = module[name] == f and name or nil
      end
      found[#found + 1] = module.inner.deep == f and "deep" or nil
      return table.concat(found, " ")
    end)
  end

  it("gives each job the names that it has then (F27) #native", function()
    with_preload({ changing = load_changing }, function()
      local M = require "changing"
      -- Its file does not tell that it is not the module's.
      local first, deep, own = M.first, M.inner.deep, load("return 4", "@changing.lua")
      assert.same({ "first", "deep", "" }, { fields_of(first), fields_of(deep), fields_of(own) })
      -- A function is replaced, and a field removed.
      M.first = own
      assert.same({ "", "first" }, { fields_of(first), fields_of(own) })
      M.first = nil
      assert.same({ "", "" }, { fields_of(first), fields_of(own) })
      -- A field is added, then another one: it can't be both.
      M.inner.deep = own
      assert.same({ "", "deep" }, { fields_of(deep), fields_of(own) })
      M.second = own
      local _, problem = pcall(fields_of, own)
      assert.is_truthy(tostring(problem):find("are one on the host, but two in a task", 1, true), problem)
      -- A table is replaced.
      M.second, M.inner = nil, { deep = deep }
      assert.same({ "deep", "" }, { fields_of(deep), fields_of(own) })
    end)
  end)

  it("is one only while it is in package.loaded (F27) #native", function()
    with_preload({ changing = load_changing }, function()
      local M = require "changing"
      local first = M.first
      assert.equal("first", fields_of(first))
      package.loaded.changing = nil
      assert.equal("", fields_of(first))
      -- What a metatable of package.loaded shows is no module.
      setmetatable(package.loaded, { __index = { changing = M }, __pairs = function() return next, { changing = M } end })
      local ok, field = pcall(fields_of, first)
      setmetatable(package.loaded, nil)
      assert.same({ true, "" }, { ok, field })
      package.loaded.changing = M
      assert.equal("first", fields_of(first))
      package.loaded.changing = load_changing()
      assert.equal("", fields_of(first))
    end)
  end)

  it("is found behind any number of other functions and tables (F27) #native", function()
    with_preload({ changing = load_changing }, function()
      local M = require "changing"
      for _, count in ipairs { 1, 10, 100, 1000 } do
        local list = {}
        for i = 1, count do
          list[i] = { f = load("return " .. i) }
        end
        list[count + 1], list[count + 2] = M.first, M.inner
        assert.same({ true, true }, { call(function(sent, n)
          local module = require "changing"
          return sent[n + 1] == module.first, sent[n + 2] == module.inner
        end, list, count) })
      end
    end)
  end)
end)

describe("a module's function or table as a task's func", function()
  it("runs there (F21)", function()
    assert.equal(12, run(area, { 2, 3 }).data)
    assert.equal(12, run(shapes, { 2, 3 }).data)
    assert.equal(24, run(Box.area, { shapes.new(3, 4) }).data)
  end)
end)

describe("an object whose metatable is a module's class", function()
  local function hand_back(...) return ... end

  it("arrives with its class, in a task and on the host (V17)", function()
    for way, send in pairs(crossing.ways) do
      local box = send(shapes.new(2, 3))
      assert.same({ way, Box, 12 }, { way, getmetatable(box), box:area() })
    end
    assert.equal(40, call(function(box) return box:area() end, shapes.new(4, 5)))
    local box = call(function() return shapes.new(2, 2) end)
    assert.equal(Box, getmetatable(box))
    assert.is_true(box == shapes.new(2, 2))
  end)

  it("is found at any depth, shared, in cycles, and as a key (V17)", function()
    local box = shapes.new(1, 2)
    box.inner, box.self, box.list = shapes.new(3, 4), box, { shapes.new(5, 6), shapes.new(7, 8) }
    local got, again, by_box = call(hand_back, box, { box }, { [box] = true })
    for _, one in ipairs { got, got.inner, got.list[1], got.list[2] } do
      assert.equal(Box, getmetatable(one))
    end
    assert.is_true(rawequal(got, got.self) and rawequal(got, again[1]) and by_box[got])
    assert.same({ 1, 8, nil }, { got.w, got.list[2].h, getmetatable(got.list) })
  end)

  it("comes back from a task that requires the module by itself (V17)", function()
    local box = call(function() return require("spec.fixtures.shapes").new(2, 2) end)
    assert.equal(Box, getmetatable(box))
    local made, class = call(function()
      local module = require "spec.fixtures.shapes"
      return module.area, module.Box
    end)
    assert.is_true(made == area and class == Box)
  end)

  it("may be an error (V17)", function()
    local entry = run(function() error(shapes.new(2, 3)) end)
    assert.equal("Error: 2 x 3", entry.data)
    assert.equal(Box, getmetatable(entry.error))
  end)

  it("may come in an answer of the host, to a task that has not loaded the module (V17)", function()
    crossing.with_gma({ make = function(w) return shapes.new(w, 2) end }, function()
      assert.equal(12, call(function() return gma.make(3):area() end))
      local entry = run(function() return gma.make(3) end)
      assert.equal(Box, getmetatable(entry.data))
    end)
  end)

  it("may have been sent by a global or in a table of one (V17)", function()
    crossing.with_globals({ BOXES = { shapes.new(1, 2) } }, function()
      assert.equal(4, run(function() return BOXES[1]:area() end, {}, { globals = { "BOXES" } }).data) -- luacheck: ignore
    end)
  end)

  it("with any other metatable arrives without it (V17) #native", function()
    local Hidden = { __index = {} }
    assert.is_nil(getmetatable(call(hand_back, setmetatable({}, Hidden))))
    with_preload({ ["only there"] = function() return { Class = { __index = {} } } end }, function()
      local got = call(function() return setmetatable({ 5 }, require("only there").Class) end)
      assert.same({ 5 }, got)
      assert.is_nil(getmetatable(got))
    end)
  end)

  it("keeps its class if the task has changed the module (V17) #native", function()
    local got = call(function()
      local box = shapes.new(1, 1)
      shapes.Box, shapes.new, package.loaded["spec.fixtures.shapes"] = nil, nil, nil
      collectgarbage()
      return box
    end)
    assert.equal(Box, getmetatable(got))
  end)
end)

describe("a module's plain data", function()
  --- Sets fields of the module for as long as `body` runs.
  local function with_fields(module, fields, body)
    local before = {}
    for name, value in pairs(fields) do
      before[name], module[name] = module[name], value
    end
    local ok, problem = pcall(body)
    for name in pairs(fields) do
      module[name] = before[name]
    end
    assert.is_true(ok, problem)
  end

  it("is as the host has it at the call (F23)", function()
    with_fields(shapes, { unit = "mm", sizes = { 7, 8 }, extra = { { n = 1 } } }, function()
      assert.same({ "mm", { 7, 8 }, { { n = 1 } } }, call(function() return { shapes.unit, shapes.sizes, shapes.extra } end))
    end)
    assert.same({ "cm", { 1, 2, 3 } }, call(function() return { shapes.unit, shapes.sizes, shapes.extra } end))
  end)

  it("is changed in place: the module's functions find it (F23)", function()
    shapes.sizes[3], shapes.options.deep.rate, shapes.options.deep.only_here = nil, 5, nil
    local same, count, rate = call(function() return shapes.same_tables() end)
    local only_here = call(function() return shapes.options.deep.only_here end)
    shapes.sizes[3], shapes.options.deep.rate, shapes.options.deep.only_here = 3, 1, true
    assert.same({ true, 2, 5, nil }, { same, count, rate, only_here })
    assert.same({ true, 3, 1 }, { call(function() return shapes.same_tables() end) })
  end)

  it("is up to date in a module that another one has loaded (F23)", function()
    with_fields(settings, { factor = 10 }, function()
      assert.equal(120, call(function() return shapes.area(2, 3) end))
    end)
    assert.equal(12, call(function() return shapes.area(2, 3) end))
  end)

  it("is up to date if there is much of it, and the module is reached only through another's locals (F23)", function()
    with_preload({ much = function() return { list = {}, rate = 1 } end,
      user = function()
        local held = { { much = require "much" } }
        local function look() return held[1].much end
        return { read = function() return #look().list, look().rate end }
      end }, function()
      local user, much = require "user", require "much"
      for i = 1, 5000 do
        much.list[i] = i
      end
      much.rate = 7
      assert.same({ 5000, 7 }, { call(function() return user.read() end) })
    end)
  end)

  it("may be in its classes, be shared, and form cycles; code stays as it is (F23)", function()
    local ring = { shapes.new(1, 1) }
    ring.self = ring
    with_fields(Box, { kind = "crate" }, function()
      with_fields(shapes, { ring = ring, again = ring, area = 5 }, function()
        assert.same({ "crate", true, true, 5, "function" }, { call(function()
          return Box.kind, shapes.ring.self == shapes.ring and shapes.again == shapes.ring, getmetatable(shapes.ring[1]) == Box,
            shapes.area, type(shapes.new)
        end) })
      end)
    end)
  end)

  it("may be an object whose class the host has made later: that stays behind (F23) #native", function()
    local Late = { __index = { f = type } }
    with_fields(shapes, { Late = Late, late = setmetatable({ 5 }, Late) }, function()
      assert.equal(5, call(function() return shapes.late[1] end))
      assert.is_nil(call(function() return shapes.late.f end))
    end)
  end)

  it("may be as deep as memory allows (F23) #long", function()
    local deep = {}
    for _ = 1, 200000 do
      deep = { deep }
    end
    with_fields(shapes, { extra = deep }, function()
      local depth = call(function()
        local level, count = shapes.extra, 0
        while level[1] do
          level, count = level[1], count + 1
        end
        return count
      end)
      assert.equal(200000, depth)
    end)
  end)

  it("is data like any other if it is passed on its own (F23)", function()
    local is_same, count = call(function(list) return list == shapes.sizes, #list end, shapes.sizes)
    assert.same({ false, 3 }, { is_same, count })
    if is_native then
      local sizes = shapes.sizes
      assert_failed(run(function() return #sizes end), "upvalue", "upvalue 'sizes' (a table)")
    end
  end)

  it("stays in the task if the task writes to it (F23) #native", function()
    local response = run_tasks(3, function() return shapes.note() end)
    assert.same({ 1, 1, 1 }, { response.result[1].data, response.result[2].data, response.result[3].data })
    assert.equal(0, shapes.count)
  end)
end)

describe("a module that can't be loaded in a task #native", function()
  local function with_failing(loader, body)
    with_preload({ failing = function() return { f = function() return 1 end } end }, function()
      local failing = require "failing"
      package.preload.failing = loader
      body(failing, failing.f)
    end)
  end

  it("fails each task with its error and the place, and is tried once (F24)", function()
    local loads = 0
    crossing.with_gma({ note = function() loads = loads + 1 end }, function()
      with_failing(function() gma.note() error("no lamp", 0) end, function(failing)
        for _, mode in ipairs { "timer", "cmd" } do
          loads = 0
          for _, entry in ipairs(run_tasks(5, function() return failing.f() end, { mode = mode }).result) do
            assert_failed(entry, "runtime", "no lamp")
            says("in module 'failing', which the job needs\nstack traceback:", entry.traceback)
          end
          assert.equal(1, loads)
        end
        -- The next job tries again.
        package.preload.failing = function() return { f = function() return 2 end } end
        assert.equal(2, call(function() return failing.f() end))
      end)
    end)
  end)

  it("is stopped with its job if it never ends (F24)", function()
    crossing.with_gma({ note = function() end }, function()
      with_failing(function() gma.note() while true do end end, function(_, f)
        local has_begun = false
        gma.note = function() has_begun = true end
        local job = gma2workers.RunAsync { tasks = { { func = f }, { func = f } }, workers = 1, onComplete = type }
        repeat
          gma2workers.Poll()
        until has_begun
        job:cancel()
        for _, entry in ipairs(job:wait(60).result) do
          assert_failed(entry, "cancelled")
        end
      end)
    end)
  end)

  it("may run out of memory (F24)", function()
    with_failing(function() local t = {} while true do t[#t + 1] = ("x"):rep(1000) .. #t end end, function(_, f)
      for _, entry in ipairs(run_tasks(2, f, { memoryLimit = 4 << 20 }).result) do
        assert_failed(entry, "memory", "not enough memory")
      end
      assert.equal(1, run(function() return 1 end).data)
    end)
  end)

  it("is not found if the host has it neither in a file nor in package.preload (F24)", function()
    package.loaded["only loaded"] = { f = function() return 1 end }
    local f = package.loaded["only loaded"].f
    local entry = run(f)
    assert_failed(entry, "runtime", "module 'only loaded' is loaded on the host, but a task can't require it: "
      .. "put a function that makes it into package.preload['only loaded']", "no field package.preload['only loaded']")
    package.preload["only loaded"] = function() return { f = function() return 5 end } end
    assert.equal(5, run(f).data)
    -- A function that only hands out the host's module needs that itself.
    local module = package.loaded["only loaded"]
    package.preload["only loaded"] = function() return module end
    assert_failed(run(f), "runtime", "module 'only loaded' is in the host's package.preload, but the function there "
      .. "uses the host's module: it must make a new one")
    package.preload["only loaded"], package.loaded["only loaded"] = nil, nil
  end)

  it("refuses what the host has added to it, and says what to do (F24)", function()
    function shapes.extra() return 1 end
    local extra = shapes.extra
    local entry = run(function() return extra() end)
    shapes.extra = nil
    assert_failed(entry, "upvalue", "module 'spec.fixtures.shapes' has no 'extra' in a task, which loads the module anew: ",
      "define it in the module itself, or do not put it there on the host")
    assert.equal(1, run(function() return extra() end).data)
  end)

  it("is refused at the call in a sandbox (F24)", function()
    for _, task in ipairs { { func = area }, { func = function() return shapes end }, { func = type, args = { { shapes.new(1, 2) } } } } do
      local ok, problem = pcall(gma2workers.RunSync, { tasks = { task }, sandbox = true })
      assert.is_false(ok)
      says("option 'sandbox' keeps out modules, but the tasks use 'spec.fixtures.shapes': "
        .. "leave the option out, or pass what the tasks need in args", problem)
    end
    assert.is_true(run(function(n) return n == 3 end, { area(1, 1) + 1 }, { sandbox = true }).data)
  end)
end)

describe("a module with a finalizer or an open file #native", function()
  it("is loaded anew for each task (I12)", function()
    local loads = 0
    crossing.with_gma({ note = function() loads = loads + 1 end }, function()
      with_preload({ finalized = function()
        gma.note()
        local object = setmetatable({ n = 0 }, { __gc = function(self) self.n = -1 end })
        return { take = function() object.n = object.n + 1 return object.n end, drop = function() object = nil collectgarbage() end }
      end, file = function()
        gma.note()
        local file = assert(io.tmpfile())
        return { write = function(text) file:write(text) return file:seek("cur") end, close = function() return file:close() end }
      end }, function()
        local finalized, file = require "finalized", require "file"
        loads = 0
        local response = run_tasks(3, function()
          local n = finalized.take()
          finalized.drop()
          return n
        end)
        assert.same({ 1, 1, 1 }, { response.result[1].data, response.result[2].data, response.result[3].data })
        assert.equal(3, loads)
        response = run_tasks(3, function() return file.write("abc"), file.close() end)
        for _, entry in ipairs(response.result) do
          assert.same({ 3, true, n = 2 }, entry.returns)
        end
        assert.equal(6, loads)
      end)
    end)
  end)
end)
