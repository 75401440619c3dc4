-- A module's empty tables with metamethods, such as `json.null`: all that they have is their identity.

local gma2workers = require "gma2workers"
local crossing = require "spec.fixtures.crossing"

local run, with_preload = crossing.run, crossing.with_preload

describe("a module's empty table with metamethods, as json.null", function()
  local function load_marks()
    local marks = { null = setmetatable({}, { __tostring = function() return "null" end }), empty = {},
      weak = setmetatable({}, { __mode = "k" }), counts = setmetatable({}, { __index = function() return 0 end }) }
    function marks.is_null(value) return value == marks.null end
    return marks
  end

  it("is itself as an argument, in a table and as a result (F26)", function()
    with_preload({ marks = load_marks }, function()
      local marks = require "marks"
      local function find(value, row) return marks.is_null(value), marks.is_null(row.x), tostring(row.x) end
      assert.same({ true, true, "null", n = 3 }, run(find, { marks.null, { x = marks.null } }).returns)
      local row = run(function() return { x = marks.null } end).data
      assert.is_true(rawequal(marks.null, row.x))
      assert.is_true(rawequal(marks.null, gma2workers.Map(function() return require("marks").null end, { 1 })[1]))
      assert.is_false(run(function(value) return value == marks.empty or value == marks.weak end, { {} }).data)
    end)
  end)

  it("is itself even if nothing else of a module crosses (F26)", function()
    with_preload({ marks = load_marks }, function()
      local null = require("marks").null
      local function is_null(value, row) return value == require("marks").null, row.x == require("marks").null end
      assert.same({ true, true, n = 2 }, run(is_null, { null, { x = null } }).returns)
      assert.is_true(rawequal(null, run(function(value) return value end, { null }).data))
      assert.is_true(rawequal(null, gma2workers.Map(function(value) return value end, { null })[1]))
    end)
  end)

  it("is data once it has fields (F26)", function()
    with_preload({ marks = load_marks }, function()
      local marks = require "marks"
      local function count(counts)
        counts.a = (counts.a or 0) + 1
        return counts
      end
      assert.same({ a = 1 }, run(function() return count(require("marks").counts) end).data)
      marks.counts.a = 5
      assert.same({ a = 6 }, run(count, { marks.counts }).data)
      assert.equal(5, marks.counts.a)
    end)
  end)
end)
