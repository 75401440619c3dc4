-- Plugins shaped like the examples of the original run on both backends and in both modes, in the stand-in's own show: they
-- change nothing but the name that they require.

local console = require "console"
local gma2workers = require "gma2workers"

--- What the plugin shows, by kind.
local function run(name, argument)
  local engine = console.new()
  engine:install()
  engine:plugin(("tests/spec/fixtures/from_the_original/%s.lua"):format(name), { name = name, argument = argument })
  engine:run()
  engine:uninstall()
  assert.same({}, engine:texts("error"))
  assert.equal(0, engine.count_timers())
  return engine:texts("feedback"), engine:texts("echo")
end

describe("a plugin of the original", function()
  local before

  setup(function()
    before = package.loaded["gma2_workers"]
    package.loaded["gma2_workers"] = gma2workers
  end)

  teardown(function()
    package.loaded["gma2_workers"] = before
  end)

  for _, mode in ipairs { "timer", "cmd" } do
    describe("in mode " .. mode, function()
      it("burns processor time in tasks, and ends before they do (K22)", function()
        local value = 8
        for i = 1, 2000 do
          value = (value * 1103515245 + i) % 2147483648
        end
        local shown = run("cpu_burn", mode)
        assert.equal("started", shown[1])
        assert.truthy(shown[2]:find("^8 of 8 burnt, on at most %d+ workers: Job_%d+$"), shown[2])
        assert.same({ tostring(value) }, { select(3, table.unpack(shown)) })
      end)

      it("limits its workers, and its tasks read captured locals with upvalues = \"copy\" (K22)", function()
        local shown = run("limited_workers", mode .. " copy")
        assert.same({ "task 1 of task, 1", "task 2 of task, 4", "task 3 of task, 9", "task 4 of task, 16", "task 5 of task, 25",
          "workers: 2" }, shown)
      end)

      it("is told all captured locals, and what to do, if it doesn't say so (K22) #native", function()
        local shown, echoed = run("limited_workers", mode)
        for i = 1, 5 do
          assert.truthy(shown[i]:find("^Error: upvalues 'label' %(a string%), 'PREFIX' %(a string%) and 'i' %(a number%) of "
            .. 'the function at %S+limited_workers%.lua:15 cannot cross: pass them in args, or set upvalues = "copy"$'), shown[i])
        end
        assert.truthy(echoed[1]:find("^gma2workers: 5 of 5 tasks failed, the first one: "), echoed[1])
      end)

      it("lists a pool from its tasks (K22)", function()
        local shown, echoed = run("pool_listing", mode)
        assert.same({ "Macro has 4 objects, 4 were listed" }, shown)
        table.sort(echoed)
        assert.same({ "0: Clear", "1: Reset", "2: Macro 3", "3: Blackout" }, echoed)
      end)

      it("lists a pool, and waits for its tasks (K22)", function()
        local shown, echoed = run("awaited_pool_listing", mode)
        assert.same({ "1: Clear", "2: Reset", "3: no label", "4: Blackout", "waited for 4" }, shown)
        assert.same({ "waiting" }, echoed)
      end)
    end)
  end

  it("finds captured locals as they are, without the binary (K22) #cooperative", function()
    assert.equal("task 5 of task, 25", run("limited_workers", "timer")[5])
  end)
end)
