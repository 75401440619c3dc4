-- Values that crossed and became garbage: their memory must not grow with the number of calls.

local gma2workers = require "gma2workers"
local crossing = require "spec.fixtures.crossing"

local RunSync = gma2workers.RunSync
local with_gma = crossing.with_gma

-- Values are built with the collector paused; it has to catch up afterwards.
describe("garbage of values that crossed", function()
  local function rows(count)
    local list = {}
    for i = 1, count do list[i] = { id = i, name = "row " .. i, values = { 1.5, 2.5, 3 } } end
    return list
  end

  -- The most memory, in KiB, that Lua used here while `run` called its argument again and again.
  local function peak_of(run)
    collectgarbage()
    collectgarbage()
    local before, peak = collectgarbage("count"), 0
    run(function() peak = math.max(peak, collectgarbage("count")) end)
    return peak, before
  end

  local TIMES, TEXT = 200, 1024
  local function text_of(i) return ("x"):rep(TEXT << 10) .. i end

  it("is collected on the host after the results of many jobs (T7) #native #long", function()
    local size = #RunSync({ tasks = { { func = rows, args = { 10000 } } } }).result[1].data * 0.25
    local peak, before = peak_of(function(look)
      for _ = 1, 40 do
        assert.equal(10000, #RunSync({ tasks = { { func = rows, args = { 10000 } } } }).result[1].data)
        look()
      end
    end)
    assert.is_true(peak < 3 * before + 8 * size, ("%.0f KiB before, at most %.0f"):format(before, peak))
  end)

  it("is collected on the host after the arguments of many calls (T7) #long", function()
    local peak, before = peak_of(function(look)
      with_gma({ show = look }, function()
        local function call() for i = 1, TIMES do gma.show({ text_of(i) }) end end
        assert.is_true(RunSync({ tasks = { { func = call, args = {} } }, upvalues = "copy" }).result[1].success)
      end)
    end)
    assert.is_true(peak < 3 * before + 16 * TEXT, ("%.0f KiB before, at most %.0f"):format(before, peak))
  end)

  it("is collected in a task after many answers of the host (T7) #long", function()
    local index = 0
    with_gma({ get = function() index = index + 1 return text_of(index) end }, function()
      -- On the cooperative backend, the task shares the host's memory.
      local counts = crossing.call(function(times)
        collectgarbage()
        local before, most = collectgarbage("count"), 0
        for _ = 1, times do
          local text = gma.get()
          most = math.max(most, #text > 0 and collectgarbage("count"))
        end
        return { before = before, most = most }
      end, TIMES)
      assert.is_true(counts.most < 3 * counts.before + 16 * TEXT, ("%.0f KiB before, at most %.0f"):format(counts.before, counts.most))
    end)
  end)

  it("stays if the host has stopped its collector", function()
    local weak = setmetatable({}, { __mode = "k" })
    collectgarbage("stop")
    weak[{}] = true
    local count = #RunSync({ tasks = { { func = rows, args = { 50000 } } } }).result[1].data
    local is_running, is_there = collectgarbage("isrunning"), next(weak) ~= nil
    collectgarbage("restart")
    assert.same({ 50000, false, true }, { count, is_running, is_there })
  end)
end)
