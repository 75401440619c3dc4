-- A worker's state where the contract differs from Lua, and many states at once.

local gma2workers = require "gma2workers"
local crossing = require "spec.fixtures.crossing"
local stock = require "spec.fixtures.stock"
local system = require "spec.fixtures.system"

local call, run = crossing.call, crossing.run

describe("the standard library #native", function()
  -- The names that exist: globals, and one level below.
  local function names()
    local list = {}
    for name, value in pairs(_G) do
      if name ~= "arg" and name ~= "gma" then
        list[#list + 1] = name
        if type(value) == "table" and value ~= _G then
          for field in pairs(value) do
            list[#list + 1] = name .. "." .. tostring(field)
          end
        end
      end
    end
    table.sort(list)
    return table.concat(list, "\n")
  end

  it("is complete", function()
    local script = "local names = load(%q) debug.debug, debug.getregistry, debug.sethook = nil io.write(names())"
    local expected = stock.run(script:format(string.dump(names)))
    assert.equal(expected, call(names))
  end)

  it("has C functions, according to debug.getinfo", function()
    assert.equal("", call(function()
      local wrong = {}
      for _, library in pairs { _G, string, table, math, io, os, coroutine, utf8, package, debug } do
        for name, value in pairs(library) do
          if type(value) == "function" and (debug.getinfo(value, "S").what ~= "C" or pcall(string.dump, value)) then
            wrong[#wrong + 1] = name
          end
        end
      end
      table.sort(wrong)
      return table.concat(wrong, " ")
    end))
  end)
end)

describe("binary chunks #native", function()
  it("are refused by load and similar functions, whatever the mode (I5, F9)", function()
    local path = system.temporary()
    local file = io.open(path, "wb")
    file:write(string.dump(function() return 5 end))
    file:close()
    local tried = call(function(bytes, name)
      local messages = {}
      for _, mode in ipairs { "none", "b", "bt", "t", "tb", "" } do
        if mode == "none" then
          mode = nil
        end
        messages[#messages + 1] = select(2, load(bytes, "chunk", mode))
        messages[#messages + 1] = select(2, load(function() local b = bytes bytes = nil return b end, "chunk", mode))
        bytes = bytes or string.dump(function() end)
        messages[#messages + 1] = select(2, loadfile(name, mode))
      end
      messages[#messages + 1] = select(2, pcall(dofile, name))
      messages[#messages + 1] = select(2, load("\27Lua"))
      return messages
    end, string.dump(function() return 5 end), path)
    os.remove(path)
    assert.equal(20, #tried)
    for i = 1, 20 do
      assert.is_truthy(tried[i]:find("attempt to load a binary chunk", 1, true), tried[i])
    end
  end)

  it("can be made by a task, and are still refused (I5)", function()
    assert.same({ nil, "attempt to load a binary chunk (mode is 't')" }, { call(function()
      return load(string.dump(function() return 5 end), "chunk", "b")
    end) })
  end)
end)

describe("os #native", function()
  it("does not exit when a state is closed (I2)", function()
    for _, mode in ipairs { "timer", "cmd" } do
      assert.equal(1, crossing.results(run(function()
        kept = setmetatable({}, { __gc = function() os.exit(7, true) end }) -- luacheck: ignore
        return 1
      end, {}, { mode = mode })))
    end
  end)

  it("reports the locale, sets the current one, and refuses a change (P7)", function()
    local questions = [[
      local function ask()
        local told = {}
        for _, locale in ipairs { false, "C", "POSIX", "", "C.UTF-8", "nowhere", 5 } do
          for _, category in ipairs { false, "all", "numeric", "ctype" } do
            told[#told + 1] = tostring(os.setlocale(locale or nil, category or nil))
          end
        end
        return table.concat(told, " ")
      end
      local function ask_wrongly()
        local told = {}
        for _, wrong in ipairs { { "C", "nonsense" }, { "C", 5 }, { {} }, { "C", {} }, { nil, "nonsense" } } do
          told[#told + 1] = select(2, pcall(os.setlocale, table.unpack(wrong, 1, 2)))
        end
        return table.concat(told, " ")
      end
      local gma2workers = require "gma2workers"
      local function told(func) return gma2workers.RunSync({ tasks = { { func = func } } }).result[1].data end]]
    for _, setting in ipairs { "LC_ALL=", "LC_ALL=C", "LC_ALL=POSIX", "LC_ALL=C.UTF-8" } do
      setting = setting .. " LANG= LC_CTYPE= LC_NUMERIC= LC_TIME= LC_COLLATE= LC_MONETARY= LC_MESSAGES="
      -- On Windows, the system's settings give the empty name's locale, so it is not checked.
      local native = system.is_windows and ("nil "):rep(4) or stock.run([[
        for _, category in ipairs { "all", "all", "numeric", "ctype" } do
          io.write(os.setlocale("", category) == "C" and "C " or "nil ")
          os.setlocale("C")
        end]], setting)
      local expected = ("C "):rep(12) .. native .. ("nil "):rep(11) .. "nil"
      assert.equal(expected .. "\nC\ntrue", stock.run(questions .. [[
        io.write(told(ask), "\n", os.setlocale(), "\n", tostring(told(ask_wrongly) == ask_wrongly()))]], setting), setting)
    end
    assert.equal("C.UTF-8 C.UTF-8 nil", stock.run(questions .. [[
      -- Some systems lack it, and musl gives its parts.
      if os.setlocale("C.UTF-8") ~= "C.UTF-8" then return io.write("C.UTF-8 C.UTF-8 nil") end
      io.write(told(function()
        return ("%s %s %s"):format(os.setlocale("C.UTF-8"), os.setlocale(""), os.setlocale("C"))
      end))]], "LC_ALL=C.UTF-8"))
  end)
end)

describe("the standard streams #native", function()
  it("keep their buffer and position, whatever a task asks for (P10)", function()
    local out, path = system.temporary(), system.temporary()
    local file = assert(io.open(path, "wb"))
    file:write(([[
      package.path, package.cpath = %q, %q
      io.stdout:setvbuf("full", 1 << 16)
      io.write("first ")
      local result = require("gma2workers").RunSync({ tasks = { { func = function()
        io.stdout:setvbuf("no")
        io.output():setvbuf("line", 100)
        io.stdout:seek("set", 0)
        io.stdout:seek("cur", -3)
        io.stdout:seek("end")
        io.stdout:close()
        io.close()
        io.output("/dev/null"):setvbuf("no")
        io.close()
      end } } }).result[1]
      io.write("second ")
      local file = io.open(%q)
      io.write(file:seek("end"), " ", tostring(result.success))
    ]]):format(package.path, package.cpath, out))
    file:close()
    os.execute(system.command(path) .. " > " .. out)
    file = assert(io.open(out, "rb"))
    assert.equal("first second 0 true", file:read("a"))
    file:close()
    os.remove(out)
    os.remove(path)
  end)

  it("refuse in Lua's way, and accept requests that change nothing (P10)", function()
    local message = "the standard streams belong to the host: a task can't change their buffering or position"
    local answers = call(function()
      local answers = {}
      local function add(...) answers[#answers + 1] = table.pack(...) end
      for _, stream in ipairs { io.stdout, io.stderr } do
        add(stream:setvbuf("no"))
        add(stream:setvbuf("full", 1024))
        add(stream:seek("set"))
        add(stream:seek("end", 0))
        add(stream:seek("cur", 1))
        add(io.type(stream), stream:write("") == stream, stream:flush() ~= nil)
      end
      return answers
    end)
    for i, answer in ipairs(answers) do
      local expected = i % 6 == 0 and { "file", true, true, n = 3 } or { nil, message, 1, n = 3 }
      assert.same(expected, answer)
    end
    assert.equal(12, #answers)
  end)

  it("check their arguments as Lua does, and a task's own files obey (P10)", function()
    local function ask(name)
      local told = {}
      for _, method in ipairs { "setvbuf", "seek" } do
        for _, args in ipairs { { "nonsense" }, { 5 }, { {} }, { "full", "x" }, { "set", "x" }, { "cur", 0.5 } } do
          told[#told + 1] = select(2, pcall(io.stdout[method], io.stdout, table.unpack(args)))
        end
        told[#told + 1] = select(2, pcall(io.stdout[method]))
      end
      for i, text in ipairs(told) do
        told[i] = tostring(text):find("^bad argument") and text or "an answer"
      end
      local file = assert(io.open(name, "w+"))
      told[#told + 1] = tostring(file:setvbuf("full", 100))
      file:write("text")
      told[#told + 1] = file:seek("set", 1) .. file:read("a")
      file:close()
      told[#told + 1] = select(2, pcall(file.seek, file))
      return table.concat(told, "\n")
    end
    local name = system.temporary()
    assert.equal(ask(name), call(ask, name))
    os.remove(name)
  end)
end)

describe("many workers at once #native", function()
  it("get right results from os.date, os.time and io.open (P9)", function()
    local function ask(worker)
      for i = 1, 10000 do
        local moment = worker * 86400 * 365 + i * 3607
        local text = os.date("!%Y-%m-%d %H:%M:%S", moment)
        local parts = os.date("!*t", moment)
        if text ~= ("%04d-%02d-%02d %02d:%02d:%02d"):format(parts.year, parts.month, parts.day, parts.hour, parts.min,
          parts.sec) then
          return "date: " .. text
        end
        local here = os.date("*t", moment)
        if os.time(here) ~= moment then
          return "time: " .. os.time(here) .. " is not " .. moment
        end
        local name = ("/nonexistent/%d/%d"):format(worker, i)
        local file, message, code = io.open(name)
        if file or message ~= name .. ": No such file or directory" or code ~= 2 then
          return "open: " .. tostring(message)
        end
      end
      return "right"
    end
    local tasks = {}
    for i = 1, 8 do
      tasks[i] = { func = ask, args = { i } }
    end
    for _, entry in ipairs(gma2workers.RunSync({ tasks = tasks, workers = 8 }).result) do
      assert.equal("right", entry.data)
    end
  end)

  it("have random numbers of their own, different for each task (P6)", function()
    local tasks = {}
    for i = 1, 64 do
      tasks[i] = { func = function() return math.random(math.maxinteger) end }
    end
    local seen = {}
    for _, entry in ipairs(gma2workers.RunSync({ tasks = tasks, workers = 8 }).result) do
      assert.is_nil(seen[entry.data])
      seen[entry.data] = true
    end
  end)

  it("do not affect the host's random numbers (P6)", function()
    local function sequence(between)
      math.randomseed(42)
      local numbers = {}
      for i = 1, 20 do
        numbers[i] = math.random(1 << 30)
        between()
      end
      return numbers
    end
    assert.same(sequence(function() end), sequence(function()
      call(function() math.randomseed(1) return math.random() end)
    end))
  end)
end)

describe("gma2workers.clock", function()
  local clock = gma2workers.clock

  it("counts wall seconds in a task as it does on the host (P8) #native", function()
    local before = clock()
    local first, slept, last = crossing.with_gma({ sleep = function() end }, function()
      return call(function()
        local began = clock()
        gma.sleep(0.2)
        return began, clock() - began, clock()
      end)
    end)
    assert.is_true(before <= first and first <= last and last <= clock())
    assert.is_true(slept >= 0.2 * 0.95, slept)
  end)

  it("agrees with the job's duration (P8)", function()
    local began = clock()
    local response = gma2workers.RunSync { tasks = { { func = function(limit)
      local start = clock()
      while clock() - start < limit do end -- luacheck: ignore 542
      return clock() - start
    end, args = { 0.3 } } } }
    local took = clock() - began
    assert.is_true(response.result[1].data <= response.duration and response.duration <= took, took .. " and " .. response.duration)
  end)
end)

describe("a function that captured the clock", function()
  it("has the host's clock when it returns to a host with an engine (F12)", function()
    local clock = gma2workers.clock
    local function make()
      return function() return clock() end
    end
    local before = rawget(_G, "gma")
    rawset(_G, "gma", before or { echo = function() end })
    local entry = gma2workers.RunSync({ tasks = { { func = make } } }).result[1]
    rawset(_G, "gma", before)
    assert.is_true(entry.success, entry.data)
    local began = clock()
    local now = entry.data()
    assert.is_true(began <= now and now <= clock())
  end)
end)

describe("a state that is used again #native", function()
  local function open_files()
    local own = assert(io.open("/proc/self/stat")):read("n")
    local pipe = assert(io.popen("ls /proc/" .. own .. "/fd | wc -l"))
    local count = pipe:read("n")
    pipe:close()
    return count
  end

  it("has no open file of an earlier task (I1) #posix", function()
    local function leave()
      kept = { assert(io.open("/dev/null")), assert(io.lines("/dev/null")), io.output("/dev/null") } -- luacheck: ignore 111
      return io.output() == kept[3] -- luacheck: ignore 113
    end
    local function look()
      return kept == nil and io.output() == io.stdout -- luacheck: ignore 113
    end
    local before = open_files()
    for _ = 1, 10 do
      local tasks = { { func = leave }, { func = look } }
      local result = gma2workers.RunSync { tasks = tasks, workers = 1 }.result
      assert.is_true(result[1].data, result[1].data)
      assert.is_true(result[2].data, result[2].data)
    end
    -- After the first job, threads and other resources exist; a leak would add three files each round.
    assert.is_true(open_files() < before + 10)
  end)

  it("has a function's variables as they were, whatever a task did to them", function()
    local function counter()
      local count, list = 0, {}
      return function(step)
        count = count + step
        list[#list + 1] = count
        return count, #list
      end
    end
    local tasks = {}
    for i = 1, 20 do
      tasks[i] = { func = counter(), args = { 1 } }
      tasks[i].func = tasks[1].func
    end
    for _, entry in ipairs(gma2workers.RunSync { tasks = tasks, workers = 1, upvalues = "private" }.result) do
      assert.same({ 1, 1, n = 2 }, entry.returns)
    end
  end)

  it("is complete after a job whose tasks could not cross", function()
    local bad, good = { func = print, args = { io.stdout } }, { func = type, args = { 1 } }
    for _ = 1, 5 do
      assert.equal("transfer", gma2workers.RunSync { tasks = { bad }, workers = 1 }.result[1].kind)
      local result = gma2workers.RunSync { tasks = { bad, good, bad }, workers = 1 }.result
      assert.equal("number", result[2].data)
    end
  end)

  it("is restored even after harmless tasks that left a lot", function()
    local function text(i) return "text " .. i, { i, i, { i } } end
    local tasks = {}
    for i = 1, 5000 do
      tasks[i] = { func = text, args = { i } }
    end
    local result = gma2workers.RunSync { tasks = tasks, workers = 1 }.result
    for i = 1, 5000 do
      assert.equal("text " .. i, result[i].data)
    end
    assert.same({ 5000, 5000, { 5000 } }, result[5000].returns[2])
  end)
end)
