-- Values of any depth and size work. process/proportion.rs tests that their time grows in proportion.

local gma2workers = require "gma2workers"
local crossing = require "spec.fixtures.crossing"

local stock = require "spec.fixtures.stock"

local call, run = crossing.call, crossing.run

describe("depth", function()
  -- A chain of n tables, linked in the given way.
  local links = {
    ["as items"] = function(inner) return { inner } end,
    ["as fields"] = function(inner) return { next = inner } end,
    ["as keys"] = function(inner) return { [inner] = true } end,
    ["mixed"] = function(inner, n)
      local kind = n % 4
      if kind == 0 then
        return { inner }
      elseif kind == 1 then
        return { name = "n", next = inner, n }
      elseif kind == 2 then
        return { [inner] = n }
      end
      return { 1, 2, inner, inner }
    end,
  }

  local function chain(link, levels)
    local value = {}
    for n = 1, levels do
      value = link(value, n)
    end
    return value
  end

  -- Walks down the chain, in whatever way its tables are linked.
  local function depth(value)
    local levels = 0
    while next(value) ~= nil do
      local inner
      for key, item in next, value do
        inner = type(key) == "table" and key or type(item) == "table" and item or inner
      end
      value, levels = inner, levels + 1
    end
    return levels
  end

  local counts = {
    ["as items"] = { 100, 20000, 100000, 1000000 },
    ["as fields"] = { 100, 20000, 100000, 1000000 },
    ["as keys"] = { 100, 20000, 100000 },
    ["mixed"] = { 100, 20000, 100000 },
  }
  for way, send in pairs(crossing.ways) do
    for name, link in pairs(links) do
      for _, levels in ipairs(counts[name]) do
        local tag = levels > 20000 and " #long" or ""
        it(("of %d tables, one in the other %s, comes back %s (V6)%s"):format(levels, name, way, tag), function()
          assert.equal(levels, depth(send(chain(link, levels))))
        end)
      end
    end
  end

  it("is seen in the task, and the state works for the next task (V6) #long", function()
    local response = gma2workers.RunSync {
      tasks = {
        { func = depth, args = { chain(links.mixed, 1000000) } },
        { func = depth, args = { {} } },
        { func = depth, args = { chain(links["as items"], 1000000) } },
        { func = function(...) return select("#", ...) end, args = { 1, 2, 3 } },
      },
      workers = 1,
    }
    assert.same({ 1000000, 0, 1000000, 3 },
      { response.result[1].data, response.result[2].data, response.result[3].data, response.result[4].data })
  end)

  it("that ends in a value that cannot cross is that task's error (V6) #long", function()
    local value = { coroutine.create(print) }
    for _ = 1, 1000000 do
      value = { value }
    end
    local entry = run(function() end, { value })
    assert.equal("transfer", entry.kind)
    assert.is_truthy(entry.data:find("cannot send a coroutine (at args[1][1][1]", 1, true))
    assert.equal(5, call(function() return 5 end))
  end)

  for tag, levels in pairs { [""] = 5000, [" #long"] = 100000 } do
    it(("of a chain of %d functions comes back (V6)%s"):format(levels, tag), function()
      local function link(inner)
        return function(n) return inner and n < 3 and inner(n + 1) or n end
      end
      local value = link(nil)
      for _ = 1, levels do
        value = link(value)
      end
      assert.equal(3, call(value, 1))
      assert.equal(3, call(function(f) return f end, value)(1))
    end)
  end
end)

describe("memory #long", function()
  -- Runs code in a process of its own, in which nothing has raised the high-water mark before.
  local function peak_growth(make, result)
    return tonumber(stock.run([[
      local gma2workers = require "gma2workers"
      local function kilobytes()
        local status = io.open("/proc/self/status")
        local text = status and status:read("a") or ""
        return tonumber(text:match("VmHWM:%s*(%d+) kB"))
      end
      if not kilobytes() then
        print("unknown")
        return
      end
      local value = ]] .. make .. [[

      collectgarbage()
      local before = kilobytes()
      local response = gma2workers.RunSync {
        tasks = { { func = function(v) return ]] .. result .. [[ end, args = { value } } },
      }
      if not response.result[1].success then
        error(response.result[1].data)
      end
      print(kilobytes() - before)
    ]]))
  end

  it("peaks below three times a text of 256 MiB (V9)", function()
    local kilobytes = peak_growth("('x'):rep(256 << 20)", "#v")
    if not kilobytes then
      pending("the system tells no high water mark")
      return
    end
    assert.is_true(kilobytes < 3 * 256 << 10, kilobytes .. " kB more than before")
  end)

  it("does not grow with the number of tasks that run one function (F8)", function()
    local kilobytes = tonumber(stock.run([[
      local gma2workers = require "gma2workers"
      local func = load("return function(n) return n, '" .. ("x"):rep(1 << 20) .. "' == nil end")()
      local tasks = {}
      for i = 1, 500 do
        tasks[i] = { func = func, args = { i } }
      end
      for _, entry in ipairs(gma2workers.RunSync({ tasks = tasks, workers = 1 }).result) do
        if not entry.success then
          error(entry.data)
        end
      end
      local status = io.open("/proc/self/status")
      print(status and status:read("a"):match("VmHWM:%s*(%d+) kB") or "unknown")
    ]]))
    if not kilobytes then
      pending("the system tells no high water mark")
      return
    end
    assert.is_true(kilobytes < 250 << 10, kilobytes .. " kB")
  end)
end)
