-- `os.exit`: a task can't end the program.

local gma2workers = require "gma2workers"
local running = require "spec.fixtures.running"
local stock = require "spec.fixtures.stock"

local RunSync, RunAsync, Poll = gma2workers.RunSync, gma2workers.RunAsync, gma2workers.Poll
local in_engine, sleep_until = running.in_engine, running.sleep_until

local REFUSAL = "os.exit is not available in a task: return from its function instead"

describe("os.exit in a task", function()
  it("refuses to exit, however it is called (I2)", function()
    local ways = {
      function() os.exit() end,
      function() os.exit(true, true) end,
      function() os.exit(3) end,
      function() os.exit(false) end,
      function() coroutine.wrap(os.exit)(0) end,
      function() error(select(2, coroutine.resume(coroutine.create(function() os.exit(0, true) end)))) end,
      -- Since Lua 5.4, the error of a finalizer is a warning.
      function() setmetatable({}, { __gc = function() os.exit(0) end }) collectgarbage() if _VERSION ~= "Lua 5.3" then os.exit() end end,
      function() table.sort({ 1, 2, 3 }, os.exit) end,
      function() load("os.exit(1)")() end,
      function() xpcall(error, function() os.exit(1) end) os.exit() end,
    }
    local tasks = {}
    for i, way in ipairs(ways) do
      tasks[i] = { func = way }
    end
    for i, entry in ipairs(gma2workers.RunSync({ tasks = tasks }).result) do
      assert.is_truthy(not entry.success and entry.data:find(REFUSAL, 1, true),
        ("way %d: %s"):format(i, tostring(entry.data)))
    end
  end)

  it("does not end the program, also in init (I2)", function()
    assert.truthy(stock.run_in_task("os.exit(0)"):find(REFUSAL, 1, true))
    assert.truthy(RunSync({ init = function() os.exit(0) end, tasks = { { func = print } } }).result[1].data:find(REFUSAL, 1, true))
  end)
end)

describe("without the binary, the host's os.exit #cooperative", function()
  local exit, calls = os.exit, nil

  local function note(...)
    calls = table.pack(...)
    return "noted"
  end

  before_each(function()
    calls, os.exit = nil, note -- luacheck: ignore 122
  end)

  after_each(function()
    os.exit = exit -- luacheck: ignore 122
  end)

  local function exit_in_task()
    return os.exit(1)
  end

  it("is called by host functions and callbacks, with its arguments and results (I14)", function()
    local function leave() return os.exit(3, true) end
    local function refused() return select(2, pcall(os.exit)) == REFUSAL end
    local told
    local response = RunSync { host = { leave = leave },
      tasks = { { func = function() return host.leave(), os.exit ~= nil end }, { func = refused }, -- luacheck: ignore 113
        { func = function() return coroutine.wrap(function() return host.leave() end)() end } }, -- luacheck: ignore 113
      onResult = function() told = os.exit(4) end }
    assert.same({ "noted", true, "noted" }, running.data(response))
    assert.same({ "noted", 4 }, { told, calls[1] })
    assert.equal(note, os.exit)
  end)

  it("is called by other code while a task sleeps, and is back afterwards (I14)", function()
    in_engine({}, function()
      local job = RunAsync { tasks = { { func = function() gma.sleep(0.05) return pcall(os.exit) end } },
        onComplete = function() end }
      sleep_until(function() return os.exit ~= note end)
      assert.equal("noted", os.exit(5))
      assert.equal(5, calls[1])
      -- A plugin wraps the function that is there now.
      local inner = os.exit
      local function wrapper(...) return inner(...) end
      os.exit = wrapper -- luacheck: ignore 122
      local entry = job:wait().result[1]
      assert.same({ false, REFUSAL }, { entry.returns[1], entry.returns[2] })
      assert.equal(wrapper, os.exit)
      assert.falsy(RunSync({ tasks = { { func = exit_in_task } } }).result[1].success)
      assert.equal(wrapper, os.exit)
      assert.equal("noted", os.exit(6))
      assert.equal(6, calls[1])
    end)
  end)

  it("is the host's in a coroutine of a host function, which a task called from one of its own (I14)", function()
    local function in_coroutine() return coroutine.wrap(function() return os.exit(4) end)() end
    local entry = RunSync({ host = { exit = in_coroutine },
      tasks = { { func = function() return coroutine.wrap(function() return host.exit() end)() end } } }).result[1] -- luacheck: ignore 113
    assert.equal("noted", entry.data)
    assert.equal(4, calls[1])
  end)

  it("is back after Ctrl-C at any instruction, and jobs still run (I14)", function()
    local gethook = table.pack(debug.gethook())
    local ended, at = false, 0
    while not ended do
      at = at + 1
      local left = at
      local function interrupt()
        left = left - 1
        if left == 0 then
          debug.sethook()
          error("interrupted!", 0)
        end
      end
      pcall(function()
        debug.sethook(interrupt, "", 1)
        RunSync { tasks = { { func = exit_in_task }, { func = exit_in_task } } }
        debug.sethook()
      end)
      debug.sethook(table.unpack(gethook, 1, gethook.n))
      ended = left > 0
      assert.equal(note, os.exit, "interrupted at instruction " .. at)
      assert.equal(0, Poll())
      assert.is_nil(calls)
    end
    assert.equal(1, RunSync({ tasks = { { func = function() return 1 end } } }).result[1].data)
  end)

  it("is called after the engine has killed a task's coroutine, and is back when Lua has collected it (I14)", function()
    local console = require "console"
    local engine = console.new { tick = 0.001 }
    engine:install()
    local path = require("spec.fixtures.system").temporary()
    require("spec.fixtures.write")(path, [[return function()
      require("gma2workers").RunSync { tasks = { { func = function() gma.sleep(100) end } } }
    end]])
    local plugin = engine:plugin(path)
    for _ = 1, 20 do
      engine:tick()
    end
    assert.not_equal(note, os.exit)
    engine:stop(plugin)
    engine:tick()
    engine:uninstall()
    os.remove(path)
    assert.equal("noted", os.exit(7))
    engine, plugin = nil, nil -- luacheck: ignore 311
    collectgarbage()
    collectgarbage()
    assert.equal(note, os.exit)
  end)
end)
