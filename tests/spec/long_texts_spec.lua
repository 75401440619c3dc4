-- Long texts among the arguments of tasks, which workers read from the host's own state.

local gma2workers = require "gma2workers"

local RunSync = gma2workers.RunSync

-- Around the size from which on a worker reads the host's own text.
local SIZES = { 1 << 10, (256 << 10) - 1, 256 << 10, (256 << 10) + 1, 3 << 20 }

local function text_of(size, mark)
  local text = ("\0x\255"):rep((size - #mark) // 3) .. mark
  return text .. ("y"):rep(size - #text)
end

describe("a long text (V18)", function()
  for _, size in ipairs(SIZES) do
    it(("of %d bytes arrives by itself, in a table, twice and as a key"):format(size), function()
      local function look(text, list)
        local _, same = next(list.fields)
        return text, list[1] == text, list.fields.text == text, same == text, list[text], #list
      end
      local text = text_of(size, "a")
      local list = { text, fields = { text = text }, [text] = true }
      for _ = 1, 3 do
        local entry = RunSync({ tasks = { { func = look, args = { text, list } } } }).result[1]
        assert.is_true(entry.success, entry.data)
        assert.is_true(entry.returns[1] == text)
        assert.same({ true, true, true, true, 1 }, { table.unpack(entry.returns, 2) })
      end
    end)
  end

  it("of each of many tasks arrives, with any number of workers, while the host collects", function()
    local function ends(text, other) return text:sub(-3), #text, other and other:sub(1, 3) end
    local shared = ("shared"):rep(100000)
    for _, workers in ipairs { 1, 3, 20 } do
      local tasks = {}
      for i = 1, 20 do
        tasks[i] = { func = ends, args = { ("z"):rep(300000) .. 100 + i, i % 5 == 0 and shared or nil } }
      end
      local count
      local job = gma2workers.RunAsync { tasks = tasks, workers = workers, onComplete = function() end,
        onResult = function() count = collectgarbage() end }
      for _, task in ipairs(tasks) do task.args = nil end
      collectgarbage()
      local response = job:wait()
      assert.equal(0, response.failed)
      assert.equal(0, count)
      for i = 1, 20 do
        assert.same({ tostring(100 + i), 300003, i % 5 == 0 and "sha" or nil, n = response.result[i].returns and 3 },
          response.result[i].returns)
      end
    end
  end)

  it("of two tasks at once is one of each", function()
    local text = text_of(1 << 20, "b")
    for _, mode in ipairs { "timer", "cmd" } do
      local result = RunSync({ tasks = { { func = string.reverse, args = { text } },
        { func = string.reverse, args = { text } } }, workers = 2, mode = mode }).result
      assert.is_true(result[1].data == text:reverse() and result[2].data == text:reverse())
    end
  end)

  it("arrives after init and modules #native", function()
    local function init() rawset(_G, "marked", "init") end
    local function look(text) return rawget(_G, "marked"), #text end
    local entry = RunSync({ tasks = { { func = look, args = { text_of(1 << 20, "c") } } }, init = init }).result[1]
    assert.same({ "init", 1 << 20, n = 2 }, entry.returns)
  end)

  it("arrives in items of Map", function()
    local list = {}
    for i = 1, 9 do list[i] = text_of(300000 + i, "d") end
    assert.same({ 300001, 300002, 300003, 300004, 300005, 300006, 300007, 300008, 300009 },
      gma2workers.Map(string.len, list, { chunk = 2, workers = 2 }))
  end)

  it("is collected on the host once its job has begun #native", function()
    local before = collectgarbage() and collectgarbage("count")
    local task = { func = string.len, args = { text_of(8 << 20, "e") } }
    local job = gma2workers.RunAsync { tasks = { task }, onComplete = function() end }
    task.args = nil
    collectgarbage()
    assert.is_true(collectgarbage("count") < before + 1024)
    assert.equal(8 << 20, job:wait().result[1].data)
  end)

  it("of a task that can't cross leaves the others alone #native", function()
    local text = text_of(1 << 20, "f")
    local result = RunSync({ tasks = { { func = string.len, args = { text, io.stdout } },
      { func = string.len, args = { text } } }, workers = 1 }).result
    assert.equal("transfer", result[1].kind)
    assert.equal(#text, result[2].data)
  end)

  it("that a refused list of tasks has is collected", function()
    local before = collectgarbage() and collectgarbage("count")
    local ok, message = pcall(RunSync, { tasks = { { func = string.len, args = { text_of(8 << 20, "g") } }, 1 } })
    assert.is_false(ok)
    assert.is_truthy(message:find("tasks[2]", 1, true), message)
    collectgarbage()
    assert.is_true(collectgarbage("count") < before + 1024)
  end)

  it("that does not fit into a task's memory is that task's error #native", function()
    local text = text_of(8 << 20, "h")
    local result = RunSync({ tasks = { { func = string.len, args = { text } }, { func = string.len, args = { "i" } } },
      workers = 2, memoryLimit = 4 << 20 }).result
    assert.equal("memory", result[1].kind)
    assert.equal(1, result[2].data)
  end)

  it("of a cancelled task is collected #native", function()
    local before = collectgarbage() and collectgarbage("count")
    local function rest() while true do end end
    local tasks = {}
    for i = 1, 6 do tasks[i] = { func = rest, args = { text_of(1 << 20, "j") } } end
    local job = gma2workers.RunAsync { tasks = tasks, workers = 2, onComplete = function() end }
    for _, task in ipairs(tasks) do task.args = nil end
    job:cancel()
    local response = job:wait()
    assert.is_true(response.cancelled)
    assert.equal(6, response.failed)
    collectgarbage()
    assert.is_true(collectgarbage("count") < before + 1024)
  end)
end)
