-- The option `globals` with dotted names, which set fields of the standard libraries in a task.
-- luacheck: globals globals_spec_settings, ignore 142 143

local gma2workers = require "gma2workers"
local crossing = require "spec.fixtures.crossing"
local running = require "spec.fixtures.running"

local RunSync = gma2workers.RunSync

--- Runs `body` while the host's libraries have these fields more.
local function with_fields(fields, body)
  for library, added in pairs(fields) do
    for name, value in pairs(added) do
      _G[library][name] = value
    end
  end
  local ok, problem = pcall(body)
  for library, added in pairs(fields) do
    for name in pairs(added) do
      _G[library][name] = nil
    end
  end
  if not ok then
    error(problem, 0)
  end
end

local ADDED = {
  string = { split = function(text, at) return text:match("^(.-)" .. at .. "(.*)$") end, marks = { ",", ";" } },
  table = { count = function(list) local n = 0 for _ in pairs(list) do n = n + 1 end return n end },
}

describe("a dotted name among the globals", function()
  it("sets that field of a library, for every task, also as a method (C15)", function()
    with_fields(ADDED, function()
      local response = RunSync { workers = 1, globals = { "string.split", "table.count", "string.marks" },
        tasks = running.tasks(3, function()
          local first, second = ("a,b"):split(string.marks[1])
          return { first, second, table.count({ x = 1, y = 2 }), string.format("%d", 5) }
        end) }
      local expected = { "a", "b", 2, "5" }
      assert.same({ expected, expected, expected }, running.data(response))
    end)
  end)

  it("sets what a task may change for itself, and is gone with its job (C15) #native", function()
    with_fields(ADDED, function()
      local response = RunSync { workers = 1, globals = { "string.marks" }, tasks = running.tasks(2, function()
        string.marks[1] = string.marks[1] .. "!"
        return string.marks[1]
      end) }
      assert.same({ ",!", ",!" }, running.data(response))
      assert.equal(",", string.marks[1])
    end)
    local response = RunSync { workers = 1, tasks = running.tasks(1, function() return type(string.marks) end) }
    assert.same({ "nil" }, running.data(response))
  end)

  it("goes with plain names, and with libraries that a sandbox lacks (C15) #native", function()
    with_fields({ string = ADDED.string, io = { quiet = function() end } }, function()
      crossing.with_globals({ globals_spec_settings = { rate = 5 } }, function()
        local response = RunSync { sandbox = true, globals = { "globals_spec_settings", "string.split", "io.quiet" },
          tasks = running.tasks(1, function() return { globals_spec_settings.rate, ("a b"):split(" "), io == nil } end) }
        assert.same({ { 5, "a", true } }, running.data(response))
      end)
    end)
  end)

  it("is refused if it means no field of a library (C15)", function()
    local function refused(name)
      return select(2, pcall(RunSync, { tasks = running.tasks(1, print), globals = { "print", name } }))
    end
    crossing.with_globals({ globals_spec_settings = { rate = 5 } }, function()
      for name, part in pairs {
        ["globals_spec_settings.rate"] = "option 'globals'[2] must be the name of a global, or of a field of a standard library, got "
          .. "'globals_spec_settings.rate': list 'globals_spec_settings' instead",
        ["_G.globals_spec_settings"] = "'_G.globals_spec_settings': list 'globals_spec_settings'",
        ["zq_"] = "option 'globals'[2] must be the name of a global, got 'zq_': pass a local in args",
        ["string.formt"] = "option 'globals'[2] must be the name of a global, got 'string.formt': did you mean 'string.format'?",
        ["string.nope_nope"] = "option 'globals'[2] must be the name of a global, got 'string.nope_nope'",
        ["no_such_table.x"] = "option 'globals'[2] must be the name of a global, got 'no_such_table.x'",
        ["string."] = "must be the name of a global, got 'string.'",
        [".x"] = "must be the name of a global, got '.x'",
        ["string.format.x"] = "must be the name of a global, got 'string.format.x'",
      } do
        assert.is_truthy(refused(name):find(part, 1, true), refused(name))
      end
    end)
  end)

  it("must be able to cross (C15)", function()
    with_fields({ string = { handle = coroutine.create(print) } }, function()
      local _, message = pcall(RunSync, { tasks = running.tasks(1, print), globals = { "string.handle" } })
      assert.is_truthy(message:find("option 'globals' cannot cross: cannot send a coroutine (at globals", 1, true), message)
    end)
  end)
end)
