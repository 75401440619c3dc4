-- A wrong call is refused before anything starts: with a plain string, at the caller's line, that names the option and its
-- fault.

local gma2workers = require "gma2workers"
local assert_says = require("spec.fixtures.assertions").says
local system = require "spec.fixtures.system"

local HERE = debug.getinfo(1, "S").short_src
-- What an advice says of an option's unit.
local UNITS = { timeout = ", in seconds", memoryLimit = ", in bytes" }

local CALLS = { "RunSync", "RunAsync" }

local function double(n)
  return 2 * n
end

local callbacks = 0

local function callback()
  callbacks = callbacks + 1
end

-- Options of a job that needs more threads than there are, so that its start would show.
local function good_options()
  local workers = math.min(gma2workers.info.threads + 1, 256)
  local tasks = {}
  for i = 1, workers do
    tasks[i] = { func = double, args = { i } }
  end
  return { tasks = tasks, workers = workers, onComplete = callback, onProgress = callback }
end

-- The error of `call`, without its position, which must be that line of this file.
local function raised(line, call)
  -- A job that an earlier test started by mistake must not count here.
  repeat until gma2workers.Poll() == 0
  local threads, before = gma2workers.info.threads, callbacks
  local ok, message = pcall(call)
  assert.is_false(ok)
  assert.equal("string", type(message))
  assert.equal(0, gma2workers.Poll())
  assert.is_true(gma2workers.info.threads <= threads)
  assert.equal(before, callbacks)
  local where = ("%s:%d: "):format(HERE, line)
  assert.equal(where, message:sub(1, #where))
  local text = message:sub(#where + 1)
  assert.is_nil(text:find(HERE, 1, true), "two positions in " .. message)
  assert.is_nil(text:find("\n", 1, true), "several lines: " .. message)
  return text
end

local function line_here()
  return debug.getinfo(2, "l").currentline
end

local function refusal(name, options)
  local line = line_here() + 1
  return raised(line, function() gma2workers[name](options) end)
end

-- A value as a test's name shows it.
local function written(value)
  if type(value) == "string" then
    return ("%q"):format(value):gsub("\n", "n")
  elseif type(value) ~= "table" then
    return (tostring(value):gsub(":? %(?0x%x+%)?", ""))
  end
  local parts = {}
  for key, item in pairs(value) do
    parts[#parts + 1] = (type(key) == "string" and key or "[" .. written(key) .. "]") .. " = " .. written(item)
  end
  table.sort(parts)
  return "{ " .. table.concat(parts, ", ") .. " }"
end

-- Good options except one; each wrong value with parts of its message.
local function refused(option, cases)
  for _, name in ipairs(CALLS) do
    for _, case in ipairs(cases) do
      it(("%s: %s = %s"):format(name, option, written(case[1])), function()
        local options = good_options()
        options[option] = case[1]
        local message = refusal(name, options)
        assert_says(option, message)
        for i = 2, #case do
          assert_says(case[i], message)
        end
      end)
    end
  end
end

local function a_function() end
local a_coroutine = coroutine.create(a_function)

describe("an option", function()
  it("that is right starts the job", function()
    -- Otherwise the tests below would prove nothing.
    for _ = 1, 50 do
      local options = good_options()
      local response = gma2workers.RunSync(options)
      assert.equal(options.workers, response.workerCount)
      assert.equal(2 * options.workers, response.result[options.workers].data)
      assert.is_true(callbacks > 0)
      -- Idle threads may have ended meanwhile.
      if gma2workers.info.threads >= options.workers or gma2workers.info.backend == "cooperative" then
        return
      end
    end
    error("the job's threads don't show")
  end)

  describe("with an unknown name is refused, with the nearest name (E9, E7)", function()
    local nearest = { worker = "workers", Workers = "workers", wokers = "workers", task = "tasks", Tasks = "tasks",
      taks = "tasks", oncomplete = "onComplete", onCompleted = "onComplete", OnComplete = "onComplete",
      onprogress = "onProgress", onProgres = "onProgress", mod = "mode", Mode = "mode", global = "globals",
      upvalue = "upvalues", upValues = "upvalues", timeOut = "timeout", timout = "timeout", memorylimit = "memoryLimit",
      memoryLimt = "memoryLimit", sandBox = "sandbox", Progress = "progress", progres = "progress" }
    for wrong, right in pairs(nearest) do
      refused(wrong, { { 1, ("'%s' is unknown"):format(wrong), ("'%s'"):format(right) } })
    end
    local synonyms = { timeout_ms = "timeout", max_memory = "memoryLimit", threads = "workers", max_workers = "workers",
      cores = "workers", callback = "onComplete", onFinish = "onComplete",
      on_done = "onComplete", func = "tasks", args = "tasks", time_limit = "timeout", memory = "memoryLimit", title = "progress" }
    for wrong, right in pairs(synonyms) do
      refused(wrong, { { 1, ("option '%s' is unknown: did you mean '%s'%s?"):format(wrong, right, UNITS[right] or "") } })
    end
    for _, name in ipairs { "anything", "", "a b", "chunkSize" } do
      refused(name, { { 1, ("'%s' is unknown: the options are "):format(name) } })
    end
  end)

  describe("with a key that is not a name is refused (E9)", function()
    for shown, key in pairs { ["[1]"] = 1, ["[1.5]"] = 1.5, ["[true]"] = true, ["table"] = {} } do
      for _, name in ipairs(CALLS) do
        it(("%s: %s"):format(name, shown), function()
          local options = good_options()
          options[key] = { func = double }
          local message = refusal(name, options)
          assert_says(shown, message)
          assert_says("tasks = {", message)
        end)
      end
    end
  end)

  describe("'workers' must be a whole number from 1 up (T8, E7)", function()
    refused("workers", {
      { 0, "got 0" }, { -1, "got -1" }, { 1.5, "got 1.5" }, { 1e9, "got 1", "256" }, { 257, "got 257", "256" },
      { 256.5, "got 256.5" }, { math.mininteger, "got -9223372036854775808" }, { 0 / 0, "got ", "whole number" },
      { 1 / 0, "got inf" }, { -1 / 0, "got -inf" }, { "many", 'got "many"' }, { "", 'got ""' }, { " ", 'got " "' },
      { "0", 'got "0"' }, { "-1", 'got "-1"' }, { "1.5", 'got "1.5"' }, { "4 workers", 'got "4 workers"' },
      { "4,5", 'got "4,5"' }, { "nan", 'got "nan"' }, { "inf", 'got "inf"' }, { "1000", 'got "1000"' },
      { {}, "got a table" }, { { 4 }, "got a table", "1 to 256" }, { true, "got true" }, { false, "got false" },
      { a_function, "got a function" }, { io.stdout, "got a userdata" }, { a_coroutine, "got a " },
    })

    it("or such a number as text, or as a float (T8)", function()
      for _, workers in ipairs { 4, 4.0, "4", " 4 ", "4.0", "\t4\n", "004" } do
        local options = good_options()
        for i = 1, 4 do
          options.tasks[i] = { func = double, args = { i } }
        end
        options.workers = workers
        assert.equal(4, gma2workers.RunSync(options).workerCount, workers)
      end
    end)

    it("or left out, which means the usable cores (T8) #native", function()
      local cores = system.cores()
      local tasks = {}
      for i = 1, cores + 1 do
        tasks[i] = { func = double, args = { i } }
      end
      local workers = gma2workers.RunSync({ tasks = tasks }).workerCount
      -- A quota may leave fewer.
      assert.is_true(workers >= 1 and workers <= cores, workers)
    end)

    it("and is never more than the number of tasks (T8)", function()
      local tasks = {}
      for count = 0, 3 do
        assert.equal(count, gma2workers.RunSync({ tasks = tasks, workers = 256 }).workerCount)
        tasks[count + 1] = { func = double, args = { 1 } }
      end
    end)
  end)

  for option, words in pairs { mode = { "timer", "cmd" }, upvalues = { "error", "copy", "private" } } do
    describe(("'%s' must be one of its words (E8)"):format(option), function()
      local both = ('"%s" or "%s"'):format(words[#words - 1], words[#words])
      refused(option, {
        { "fast", 'got "fast"', both }, { words[1]:upper(), ('got "%s"'):format(words[1]:upper()), both },
        { words[1] .. " ", ('got "%s "'):format(words[1]) }, { "", 'got ""', both }, { 1, "got 1", both },
        { true, "got true", both }, { false, "got false", both }, { {}, "got a table", both },
        { { words[1] }, "got a table" }, { { [words[2]] = true }, "got a table", both },
        { a_function, "got a function", both }, { io.stdout, "got a userdata" }, { a_coroutine, "got a " },
      })
    end)
  end

  describe("'globals' must be a list of names of existing globals (E8)", function()
    refused("globals", {
      { "print", 'got "print"' }, { 1, "got 1" }, { true, "got true" }, { a_function, "got a function" },
      { { 1 }, "globals" }, { { "print", 5 }, "globals" }, { { print }, "globals" }, { { "print", {} }, "globals" },
      { { print = true }, "globals", "list" }, { { print = print }, "globals", "list" },
      { { "print", nil, "type" }, "globals", "list" }, { { [2] = "print" }, "globals", "list" },
      { { "print", name = "type" }, "globals", "list" },
      { { "print", "no_such_global" }, "'globals'[2]", "'no_such_global'" }, { { "" }, "'globals'[1]", "''" },
    })

    it("and a name that looks like a typing error gets a hint", function()
      _G.options_spec_global = 5
      local options = good_options()
      options.globals = { "options_spec_gobal" }
      local ok, message = pcall(refusal, "RunSync", options)
      _G.options_spec_global = nil
      assert.is_true(ok, message)
      assert_says("must be the name of a global, got 'options_spec_gobal': did you mean 'options_spec_global'?", message)
      options.globals = { "options_spec_nothing_like_it" }
      assert_says("must be the name of a global, got 'options_spec_nothing_like_it': pass a local in args",
        refusal("RunSync", options))
    end)

    it("and their values must be able to cross (E7)", function()
      for kind, value in pairs { coroutine = a_coroutine, userdata = io.stdout } do
        _G.options_spec_global = { deep = { value } }
        local options = good_options()
        options.globals = { "options_spec_global" }
        local ok, message = pcall(refusal, "RunSync", options)
        _G.options_spec_global = nil
        assert.is_true(ok, message)
        assert_says(("cannot send a %s (at globals.options_spec_global.deep[1])"):format(kind), message)
      end
    end)
  end)

  for option, what in pairs { timeout = "seconds", memoryLimit = "bytes" } do
    describe(("'%s' must be a number of %s above 0 (E8)"):format(option, what), function()
      refused(option, { { 0, "got 0", what }, { -1, "got -1", what }, { 0.0, "got 0" }, { -0.5, "got -0.5" },
        { 0 / 0, "got ", what }, { -1 / 0, "got -inf" }, { "1", 'got "1"', what }, { "much", 'got "much"' },
        { true, "got true" }, { false, "got false" }, { {}, "got a table" }, { { 1 }, "got a table" },
        { a_function, "got a function" }, { io.stdout, "got a userdata" } })
    end)
  end

  describe("'memoryLimit' must be whole, too (E8)", function()
    refused("memoryLimit", { { 1.5, "got 1.5" }, { 1e6 + 0.5, "got 1000000.5" }, { 1 / 0, "got inf" } })
  end)

  describe("'memoryLimit' must be enough for a state (E28)", function()
    local cases = {}
    for _, bytes in ipairs { 1, 64, 512, 4096.0, 16383 } do
      local shown = ("%d"):format(bytes)
      cases[#cases + 1] = { bytes, ("got %s: write %s << 20 for %s MiB"):format(shown, shown, shown), "at least 16384 bytes" }
    end
    refused("memoryLimit", cases)
    it("and 16384 may be tried #native", function()
      assert.equal("table", type(gma2workers.RunSync({ tasks = { { func = type, args = { 1 } } }, memoryLimit = 16384 }).result[1]))
    end)
  end)

  describe("'sandbox' must be true or false (E8)", function()
    refused("sandbox", { { 1, "got 1", "true or false" }, { 0, "got 0" }, { "true", 'got "true"' }, { {}, "got a table" },
      { a_function, "got a function" } })
  end)

  describe("'progress' must be a title as text (E8)", function()
    refused("progress", { { 1, "got 1", "a title as text" }, { true, "got true" }, { {}, "got a table" },
      { a_function, "got a function" } })
  end)

  for _, option in ipairs { "onComplete", "onProgress" } do
    describe(("'%s' must be a function (E8)"):format(option), function()
      refused(option, { { 5, "got 5" }, { "print", 'got "print"' }, { true, "got true" }, { {}, "got a table" },
        { setmetatable({}, { __call = callback }), "got a table" }, { io.stdout, "got a userdata" } })
    end)
  end

  it("'onComplete' is required by RunAsync, with the message that plugins know (E7)", function()
    local options = good_options()
    options.onComplete = nil
    assert_says("RunAsync requires an onComplete callback", refusal("RunAsync", options))
  end)

  describe("'tasks' must be present, and a list (E8)", function()
    refused("tasks", { { nil, "got nothing" }, { 5, "got 5" }, { "tasks", 'got "tasks"' }, { true, "got true" },
      { double, "got a function" }, { io.stdout, "got a userdata" }, { { func = double }, "'func'", "list" },
      { { first = { func = double } }, "'first'", "list" }, { { [0] = { func = double } }, "[0]" },
      { { [-1] = { func = double } }, "[-1]" }, { { { func = double }, [1.5] = { func = double } }, "list" },
      { { [true] = { func = double } }, "list", "boolean" }, { { [{}] = { func = double } }, "list", "table" } })
  end)

  describe("'tasks' must have a valid task at each index (E16, E8)", function()
    local good = { func = double, args = { 1 } }
    local not_callable = setmetatable({}, { __call = "not a function" })
    refused("tasks", {
      { { 5 }, "tasks[1]", "number" }, { { good, "x" }, "tasks[2]", "string" }, { { good, good, double }, "tasks[3]",
        "function" }, { { false }, "tasks[1]", "boolean" }, { { good, io.stdout }, "tasks[2]", "userdata" },
      { { {} }, "tasks[1].func", "missing" }, { { good, { args = {} } }, "tasks[2].func", "missing" },
      { { { double, { 1 } } }, "tasks[1].func", "missing" }, { { { func = 5 } }, "tasks[1].func", "number" },
      { { { func = "double" } }, "tasks[1].func", "string" }, { { { func = {} } }, "tasks[1].func", "table" },
      { { { func = not_callable } }, "tasks[1].func", "table" },
      { { { func = io.stdout } }, "tasks[1].func", "userdata" }, { { { fn = double } }, "tasks[1]", "'fn'", "'func'" },
      { { { Func = double } }, "tasks[1]", "'Func'", "'func'" }, { { { func = double, arg = { 1 } } }, "tasks[1]",
        "'arg'", "'args'" }, { { good, { func = double, Name = "x" } }, "tasks[2]", "'Name'", "'name'" },
      { { { func = double, args = 5 } }, "tasks[1].args", "number" },
      { { { func = double, args = "5" } }, "tasks[1].args", "string" },
      { { good, { func = double, args = double } }, "tasks[2].args", "function" },
      { { { func = double, args = { 1, n = -1 } } }, "tasks[1].args", "-1" },
      { { { func = double, args = { 1, n = "two" } } }, "tasks[1].args", "two" },
      { { { func = double, args = { 1, n = 1.5 } } }, "tasks[1].args", "1.5" },
      { { { func = double, args = { 1, n = 1 << 40 } } }, "tasks[1].args", tostring(1 << 40) },
      { { { func = double, name = 5 } }, "tasks[1].name", "number" },
      { { good, { func = double, name = {} } }, "tasks[2].name", "table" },
    })
  end)

  describe("'tasks' must have no hole (E16)", function()
    local good = { func = double, args = { 1 } }
    refused("tasks", { { { good, nil, good }, "tasks[2]", "hole" }, { { [2] = good }, "tasks[1]", "hole" },
      { { nil, nil, good, good }, "tasks[1]", "hole" }, { { good, good, [1 << 40] = good }, "tasks[3]", "hole" },
      { { good, [math.maxinteger] = good }, "tasks[2]", "hole" } })
  end)

  describe("with a field of a task", function()
    it("that is the caller's own is ignored (E18)", function()
      for _, name in ipairs { "id", "_name", "timeout_", "note", "label", "data", "date", "game", "names", "node", "tags", "size", "unit",
        "index", "title", "fixture", "arms", "chunk", "", "_", ("x"):rep(1 << 20), 5, true } do
        local task = { func = double, args = { 4 }, [name] = "mine" }
        assert.equal(8, gma2workers.RunSync({ tasks = { task } }).result[1].data)
        assert.equal("mine", task[name])
      end
    end)

    local slips = { fucn = "func", Func = "func", fnc = "func", fn = "func", fun = "func", ["function"] = "func",
      callback = "func", agrs = "args", ARGS = "args", arg = "args", arguments = "args", Params = "args", param = "args",
      nmae = "name", Name = "name", nam = "name", nsme = "name",
      timout = "timeout", time_out = "timeout", timeoutMs = "timeout", time_limit = "timeout" }
    it("that is a slip or a synonym is refused with the right name (E18)", function()
      for slip, meant in pairs(slips) do
        for _, name in ipairs(CALLS) do
          local options = good_options()
          options.tasks = { { func = double, args = { 1 } }, { func = double, [slip] = 1 } }
          assert_says(("tasks[2] has a field '%s': did you mean '%s'%s?"):format(slip, meant, UNITS[meant] or ""), refusal(name, options))
        end
      end
    end)

    it("that is an option of the job is refused with its place (E18)", function()
      local names = select(2, pcall(gma2workers.RunSync, { tasks = {}, nothing_of_the_kind = 1 })):match("the options are (.+)$")
      -- A task may have a timeout of its own.
      names = names:gsub(", timeout", "")
      for option in (names .. ", oncomplete, memory_limit"):gmatch("[%a_]+") do
        local options = good_options()
        options.tasks = { { func = double, [option] = 1 } }
        local example = option == "tasks" and "{ tasks = { { func = f }, ... } }" or "{ tasks = { ... }, "
        assert_says(("tasks[1] has a field '%s', which is an option of the job: write %s"):format(option, example),
          refusal("RunSync", options))
      end
    end)
  end)

  it("that is wrong has no effect: the next job runs", function()
    local options = good_options()
    assert.equal(2, gma2workers.RunSync(options).result[1].data)
    assert.equal(0, gma2workers.Poll())
  end)
end)

describe("an argument of the wrong type is refused", function()
  local wrong = { ["no value"] = "none", number = 5, string = "x", boolean = true, ["function"] = double,
    userdata = io.stdout, thread = a_coroutine }

  for _, name in ipairs { "RunSync", "RunAsync", "Dispatch" } do
    it("by " .. name .. ", with the message that plugins know (E8, E7)", function()
      for kind, value in pairs(wrong) do
        local message
        if kind == "no value" then
          local line = line_here() + 1
          message = raised(line, function() gma2workers[name]() end)
        else
          message = refusal(name, value)
        end
        assert.is_truthy(message:find("^bad argument #1 to '%a+'"), message)
        local kept = name == "Dispatch" and "RunSync" or name
        assert_says(("gma2Workers.%s expects a config table"):format(kept), message)
        assert_says("got " .. kind, message)
      end
    end)
  end

  it("with a colon in place of a dot", function()
    for _, name in ipairs(CALLS) do
      local line = line_here() + 1
      local message = raised(line, function() gma2workers[name](gma2workers, { tasks = {} }) end)
      assert_says(("expects a config table, got itself: write .%s with a dot"):format(name), message)
    end
  end)

  local function finished_job()
    local job = gma2workers.RunAsync { tasks = {}, onComplete = a_function }
    job:wait(20)
    return job
  end

  it("by job:wait, as seconds (E8, E7)", function()
    local job = finished_job()
    for kind, value in pairs(wrong) do
      if kind ~= "no value" and kind ~= "number" then
        local line = line_here() + 1
        local message = raised(line, function() job:wait(value) end)
        assert.is_truthy(message:find("^bad argument #%d to 'wait' %(number[%a ]* expected, got " .. kind), message)
      end
    end
  end)

  it("by a job's methods, with a dot in place of the colon (E8, E7)", function()
    local job = finished_job()
    for _, method in ipairs { "wait", "status", "cancel" } do
      for _, handle in pairs { 5, "x", true, double, {}, io.stdout, setmetatable({}, getmetatable(job)) } do
        local line = line_here() + 1
        local message = raised(line, function() job[method](handle) end)
        assert.is_truthy(message:find(("^bad argument #1 to '%s' %%(job expected, got %s"):format(method, type(handle))),
          message)
        assert_says(("job:%s("):format(method), message)
      end
      local line = line_here() + 1
      assert_says("job:" .. method, raised(line, function() job[method]() end))
    end
  end)

  it("but an extra argument is ignored, as by any Lua function", function()
    local job = finished_job()
    assert.equal(0, gma2workers.Poll(0, "x"))
    assert.equal("done", (job:status("x")))
  end)
end)
