-- `require` in a task finds what the host's would find.

local gma2workers = require "gma2workers"
local assert_failed = require("spec.fixtures.assertions").failed
local crossing = require "spec.fixtures.crossing"
local signal = require "spec.fixtures.signal"
local system = require "spec.fixtures.system"
local write = require "spec.fixtures.write"

local call, run, with_preload = crossing.call, crossing.run, crossing.with_preload

-- What Lua 5.4 tells a loader from there.
local preload = _VERSION ~= "Lua 5.3" and ":preload:" or nil

local function required(name, options)
  return run(function(module) return require(module) end, { name }, options)
end

--- Calls `body` with the name of a module whose file has this content.
local function with_file(content, body)
  local path, before = system.temporary(), package.path
  write(path, content)
  package.path = path:gsub("[^/\\]+$", "?")
  local name = path:match("[^/\\]+$")
  local ok, problem = pcall(body, name, path)
  package.path, package.loaded[name] = before, nil
  os.remove(path)
  assert.is_true(ok, problem)
end

describe("a module in package.preload", function()
  it("is not asked for if the host has no such entry, so the host may be busy (F13) #native", function()
    with_preload({ other = function() return {} end }, function()
      signal.with(function(path)
        local set = signal.set
        local job = gma2workers.RunAsync { onComplete = function() end, tasks = { { func = function(name)
          set(name, require "spec.fixtures.greeter" and "loaded")
        end, args = { path } } } }
        local is_loaded = signal.await(path, "loaded")
        job:wait()
        assert.is_true(is_loaded)
      end)
    end)
  end)

  it("is found, and its loader keeps its name and helpers (F13)", function()
    local function double(n) return 2 * n end
    with_preload({
      ["core.tools"] = function(name, extra) return { double = double, name = name, extra = tostring(extra) } end,
      ["core.more"] = function() return { four = require("core.tools").double(2) } end,
      ["core of \255"] = function() return 5 end,
    }, function()
      assert.same({ 6, "core.tools", preload or "nil", 4, 5, true }, call(function()
        local tools = require "core.tools"
        return { tools.double(3), tools.name, tools.extra, require("core.more").four, require("core of \255"),
          require("core.tools") == tools }
      end))
    end)
  end)

  it("comes before a file of the same name, and a task's own loader before the host's (F13) #native", function()
    with_preload({ ["spec.fixtures.greeter"] = function() return "the host's" end }, function()
      assert.same({ "the host's", preload, n = preload and 2 or 1 },
        table.pack(call(function() return require "spec.fixtures.greeter" end)))
      assert.equal("the task's", call(function()
        package.preload["spec.fixtures.greeter"] = function() return "the task's" end
        return require "spec.fixtures.greeter"
      end))
      assert.equal("the host's", required("spec.fixtures.greeter").data)
    end)
  end)

  it("is fetched once by a job, in each mode, for tasks on many workers (F13)", function()
    with_preload({ core = function() return { count = 0 } end }, function()
      local function count()
        local core = require "core"
        core.count = core.count + 1
        return core.count
      end
      for _, mode in ipairs { "timer", "cmd" } do
        local tasks = {}
        for i = 1, 50 do
          tasks[i] = { func = count }
        end
        local last = 0
        for i, entry in ipairs(gma2workers.RunSync({ tasks = tasks, workers = 3, mode = mode }).result) do
          last = last + 1
          -- Tasks without states of their own share the host's module.
          assert.equal(gma2workers.info.backend == "native" and 1 or entry.data, entry.data, i)
        end
        assert.equal(50, last)
      end
    end)
  end)

  it("that can't cross fails only the task that requires it, with the reason (F13) #native", function()
    local rate, log = 5, io.stdout
    with_preload({ ["with data"] = function() return { rate = rate } end, ["with a file"] = function() return { log = log } end,
      ["of C"] = string.gmatch("", ""), fine = function() return 1 end }, function()
      assert_failed(required("with data"), nil, "module 'with data' is in the host's package.preload, and cannot cross: "
        .. "upvalue 'rate' (a number) of the function at ", 'cannot cross: set upvalues = "copy"')
      assert.equal(5, required("with data", { upvalues = "copy" }).data.rate)
      assert_failed(required("with a file"), nil, "upvalue 'log' (a userdata)", "make it in the task")
      assert_failed(required("of C"), nil, "cannot send a C function (at package.preload[\"of C\"])")
      assert.same({ false, 1 }, call(function() return { pcall(require, "with data"), (require "fine") } end))
      assert.equal(1, required("fine").data)
    end)
  end)

  it("that is not a function, or is removed, is not found (F13) #native", function()
    with_preload({ ["a table"] = {}, gone = function() return 1 end }, function()
      assert_failed(required("a table"), nil, "module 'a table' not found", "no field package.preload['a table']", "no file")
      crossing.with_gma({ take = function() package.preload.gone = nil end }, function()
        local entry = run(function() gma.take() return require "gone" end)
        assert_failed(entry, nil, "module 'gone' not found", "no field package.preload['gone']")
      end)
    end)
  end)

  it("costs nothing in a job that does not require it (F13) #native", function()
    local loaders, read = {}, 0
    -- Each would be copied with the table that it holds.
    local big = {}
    for i = 1, 100000 do
      big[i] = { i }
    end
    for i = 1, 300 do
      loaders["module " .. i] = function() return { big, i } end
    end
    with_preload(loaders, function()
      collectgarbage()
      local before = collectgarbage("count")
      for _ = 1, 20 do
        local entry = run(function() return 1 end, {}, { upvalues = "copy" })
        read = read + entry.data
      end
      assert.equal(20, read)
      assert.is_true(collectgarbage("count") - before < 4096)
      assert.equal(7, required("module 7", { upvalues = "copy" }).data[2])
    end)
  end)

  it("is found by an asynchronous job, and by a Map (F13)", function()
    with_preload({ core = function() return { double = function(n) return 2 * n end } end }, function()
      local function double(n) return require("core").double(n) end
      assert.same({ 2, 4, 6 }, gma2workers.Map(double, { 1, 2, 3 }))
      local job = gma2workers.RunAsync { tasks = { { func = double, args = { 5 } } }, onComplete = type }
      assert.equal(10, job:wait().result[1].data)
    end)
  end)

  it("is not found in a sandbox (F13) #native", function()
    with_preload({ core = function() return 1 end }, function()
      assert_failed(required("core", { sandbox = true }), nil, "a sandbox does not have it")
    end)
  end)
end)

describe("a searcher that the host has added #native", function()
  local NOTE = "no searcher of the host's: a task has none that was added to package.searchers"

  it("is missing in a task: the error says so (F13)", function()
    local function search(name) return name == "made" and function() return 5 end or "\n\tnot made" end
    local first, searchers = package.searchers[1], package.searchers
    assert.is_nil(required("made").data:find(NOTE, 1, true))
    for _, change in ipairs {
      function() table.insert(searchers, search) end,
      function() table.insert(searchers, 1, search) end,
      function() searchers[1] = function(...) return first(...) end end,
    } do
      local kept = table.move(searchers, 1, #searchers, 1, {})
      change()
      local entry = required("made")
      for i = 1, 5 do
        searchers[i] = kept[i]
      end
      assert_failed(entry, nil, "module 'made' not found:", "no field package.preload['made']\n\t" .. NOTE .. "\n\tno file ")
    end
    assert.is_nil(required("made").data:find(NOTE, 1, true))
  end)
end)

describe("a module's file", function()
  it("must be text: bytecode is refused (F15, I5) #native", function()
    with_file(string.dump(function() return 5 end), function(name, path)
      assert.equal(5, require(name))
      local entry = required(name)
      assert_failed(entry, nil, ("error loading module '%s' from file '%s':\n\t"):format(name, path),
        "attempt to load a binary chunk (mode is 't')")
    end)
  end)

  it("is loaded with its name and path, and its errors are reported as Lua does (F10)", function()
    with_file("#!/usr/bin/lua\nreturn { ... }", function(name, path)
      assert.same({ name, path }, required(name).data)
    end)
    with_file("return return", function(name)
      local _, expected = pcall(require, name)
      assert_failed(required(name), nil, expected)
    end)
    with_file("error('inside')", function(name)
      local entry = required(name)
      assert_failed(entry, nil, name .. ":1: inside")
    end)
  end)

  it("is searched for in package.path, which must be a text (F10) #native", function()
    local _, expected = pcall(function()
      local path = package.path
      package.path = nil
      local _, problem = pcall(require, "nowhere")
      package.path = path
      error(problem, 0)
    end)
    assert.is_truthy(expected:find("'package.path' must be a string", 1, true))
    assert.equal(expected, call(function()
      package.path = nil
      return select(2, pcall(require, "nowhere"))
    end))
    assert.equal("module 'nowhere' not found:", required("nowhere").data:match("module 'nowhere' not found:"))
  end)
end)

describe("gma2workers in a module that a task requires", function()
  local USER = "local own = require(%q) local clock = own.clock\n"
    .. "return { own = own, twice = function(n) return 2 * n end, now = function() return clock() end,\n"
    .. "run = function() return own.RunSync { tasks = {} } end }"

  it("is the same stand-in under each of its names (F14) #native", function()
    for _, own in ipairs { "gma2workers", "gma2-workers", "gma2_workers" } do
      with_file(USER:format(own), function(name)
        local before = gma2workers.clock()
        local twice, now, ok, problem, is_one, info = call(function(module)
          local user = require(module)
          local info = require("gma2workers").info
          local ok, problem = pcall(user.run)
          return user.twice(4), user.now(), ok, problem, user.own == require("gma2_workers"),
            { info.name, info.version, info.backend, info.threads, info.lost }
        end, name)
        assert.equal(8, twice)
        assert.is_true(before <= now and now <= gma2workers.clock())
        assert.is_false(ok)
        assert.is_truthy(problem:find(name .. ":3: gma2workers is not available in a worker: start jobs on the host", 1, true))
        assert.is_true(is_one)
        local real = gma2workers.info
        assert.same({ real.name, real.version, "native", real.threads, real.lost }, info)
      end)
    end
  end)

  it("has each function of the host's, and each raises an error except clock and isStopping (F14) #native", function()
    local names = {}
    for name, value in pairs(gma2workers) do
      if type(value) == "function" then
        names[#names + 1] = name
      end
    end
    assert.is_true(#names > 4)
    for _, name in ipairs(names) do
      local ok, problem = call(function(func) return pcall(require("gma2workers")[func], {}) end, name)
      assert.same({ name, name == "clock" or name == "isStopping" }, { name, ok })
      assert.is_truthy(ok or problem:find("gma2workers is not available in a worker", 1, true))
    end
  end)

  it("is the host's own if tasks have no states, and refuses all the same (F14) #cooperative", function()
    with_file(USER:format("gma2workers"), function(name)
      local twice, ok, problem = call(function(module)
        local user = require(module)
        return user.twice(4), pcall(user.run)
      end, name)
      assert.same({ 8, false }, { twice, ok })
      assert.is_truthy(problem:find("gma2workers is not available in a worker", 1, true), problem)
    end)
  end)
end)
