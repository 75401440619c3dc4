-- Tables of Lua's standard library, and the table of globals, as values: each side gets its own.
-- luacheck: globals only_there, ignore 143

local gma2workers = require "gma2workers"
local crossing = require "spec.fixtures.crossing"

local call, run = crossing.call, crossing.run

local LIBRARIES = { "coroutine", "debug", "io", "math", "os", "package", "string", "table", "utf8" }

--- The libraries of the state that runs this, and its globals.
local function own_tables()
  return { coroutine, debug, io, math, os, package, string, table, utf8, _G }
end

describe("a library, or the table of globals", function()
  for way, send in pairs(crossing.ways) do
    it("comes back as itself, " .. way .. " (V23)", function()
      for i, library in ipairs(own_tables()) do
        assert.is_true(rawequal(library, send(library)), LIBRARIES[i])
        local got = send { deep = { library, [library] = library, again = library } }
        assert.is_true(rawequal(library, got.deep[1]) and got.deep[library] == library and got.deep.again == library, LIBRARIES[i])
      end
    end)
  end

  it("is the task's own: as an argument, in a table, captured, and in a Map (V23)", function()
    local function are_own(sent)
      local found = {}
      for i, library in ipairs { coroutine, debug, io, math, os, package, string, table, utf8, _G } do
        found[i] = rawequal(sent[i], library)
      end
      return found
    end
    local all = { true, true, true, true, true, true, true, true, true, true }
    assert.same(all, call(are_own, own_tables()))
    local held = own_tables()
    assert.same(all, run(function() return are_own(held) end, {}, { upvalues = "copy" }).data)
    assert.is_true(call(function(lib) return lib == math and lib.random == math.random end, math))
    assert.same({ true, true }, gma2workers.Map(function(lib, other) return lib.format == string.format and other == math end,
      { string, string }, { args = { math } }))
  end)

  it("is the same for many tasks that have it as an argument (V23)", function()
    local tasks = {}
    for i = 1, 20 do
      tasks[i] = { func = function(lib, row) return lib == math and row.lib == table end, args = { math, { lib = table } } }
    end
    for _, entry in ipairs(gma2workers.RunSync({ tasks = tasks, workers = 2 }).result) do
      assert.is_true(entry.data)
    end
  end)

  it("of the task keeps its changes there (V23) #native", function()
    local entry = run(function(lib, globals)
      lib.only_there, globals.only_there = 1, 2
      return math.only_there, only_there, _G
    end, { math, _G })
    assert.same({ 1, 2 }, { entry.returns[1], entry.returns[2] })
    assert.is_true(rawequal(_G, entry.returns[3]))
    assert.same({}, { math.only_there, rawget(_G, "only_there") })
  end)

  it("that the host has replaced by a table of its own is data (V23)", function()
    local before, own = math, { random = "mine" }
    rawset(_G, "math", own)
    local ok, is_copied = pcall(call, function(lib) return lib.random == "mine" end, own)
    rawset(_G, "math", before)
    assert.same({ true, true }, { ok, is_copied })
    assert.is_true(call(function(lib) return lib.floor(1.5) == 1 end, before))
  end)

  it("that a sandbox lacks fails the task, which says so (V23) #native", function()
    local entry = run(function() end, { { lib = io } }, { sandbox = true })
    assert.same({ false, "upvalue" }, { entry.success, entry.kind })
    assert.is_truthy(entry.data:find("io is not available in a worker", 1, true), entry.data)
    assert.is_true(run(function(lib) return lib == math end, { math }, { sandbox = true }).data)
  end)

  it("is no class: an object that has it as its metatable loses that (V23) #native", function()
    assert.is_nil(getmetatable(call(function(object) return object end, setmetatable({ 1 }, string))))
  end)
end)
