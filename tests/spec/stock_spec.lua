-- The same code gives exactly the same output in a main program of a stock interpreter and in a task. Only intended
-- differences are left out.

local gma2workers = require "gma2workers"
local results_of = require "spec.fixtures.results_of"
local stock = require "spec.fixtures.stock"

-- Asserts that each piece of code does in a task what it does in a main program.
local function same_as_stock(subject, snippets)
  describe(subject .. " #native", function()
    local expected, tasks = stock.results(snippets), {}
    for i, code in ipairs(snippets) do
      tasks[i] = { func = results_of, args = { code } }
    end
    local response
    setup(function()
      response = gma2workers.RunSync { tasks = tasks, workers = 1 }
    end)
    for i, code in ipairs(snippets) do
      it("does what it does in a main program: " .. code, function()
        assert.equal(expected[i], response.result[i].data)
      end)
    end
  end)
end

same_as_stock("coroutine", {
  "return coroutine.yield(1)",
  "return pcall(coroutine.yield)",
  "return coroutine.running()",
  "return coroutine.isyieldable()",
  "return coroutine.status((coroutine.running()))",
  "return coroutine.resume((coroutine.running()))",
  "return pcall(table.sort, { 3, 2, 1 }, function() coroutine.yield() end)",
  "return coroutine.wrap(function() return table.sort({ 3, 2, 1 }, function() coroutine.yield() end) end)()",
  "return coroutine.wrap(function() return coroutine.isyieldable(), coroutine.running() end)()",
  "return coroutine.wrap(function() return pcall(coroutine.yield, 5) end)()",
  "local main = coroutine.running() return coroutine.wrap(function() return coroutine.resume(main) end)()",
  "local main = coroutine.running() return coroutine.wrap(function() return coroutine.status(main) end)()",
  "return coroutine.wrap()",
  "return coroutine.wrap(5)",
  "return coroutine.wrap(coroutine.create(print))",
  "return coroutine.wrap(io.stdout)",
  "return coroutine.create()",
  "return coroutine.resume(5)",
  "local f f = coroutine.wrap(function() return f() end) return f()",
  "local co co = coroutine.create(function() return coroutine.resume(co) end) return coroutine.resume(co)",
  "local f = coroutine.wrap(function() error('x') end) return f()",
  "local f = coroutine.wrap(function() error('x', 0) end) return f()",
  "local f = coroutine.wrap(function() error({}) end) return f()",
  "local f = coroutine.wrap(function() error() end) return f()",
  "local f = coroutine.wrap(function() error(5) end) return pcall(f)",
  "local f = coroutine.wrap(function() error('x') end) return pcall(f)",
  "local f = coroutine.wrap(function() local x x() end) return f()",
  "local f = coroutine.wrap(function() end) f() return f()",
  "local f = coroutine.wrap(function() error('a') end) pcall(f) return f()",
  "local co = coroutine.create(function() end) coroutine.resume(co) return coroutine.resume(co)",
  "local co = coroutine.create(error) coroutine.resume(co) return coroutine.resume(co), coroutine.status(co)",
  "return coroutine.wrap(function() return coroutine.wrap(function() error('deep') end)() end)()",
  "local f = coroutine.wrap(function(...) local a = coroutine.yield(...) return a, coroutine.yield(a, a) end)\n"
    .. "local a = table.pack(f(1, nil)) return a.n, f(3), f(4), pcall(f)",
  "local f = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end)\n"
    .. "local n = 0 for i in f do n = n * 10 + i end return n",
  "return coroutine.wrap(function() return pcall(pcall, coroutine.yield, 1) end)()",
  "local f = coroutine.wrap(function() return pcall(function() error(coroutine.yield(1)) end) end)\n"
    .. "f() return f('again')",
  "return select('#', coroutine.wrap(function() return table.unpack({}, 1, 5000) end)())",
  "return coroutine.wrap(function(...) return select('#', ...) end)(table.unpack({}, 1, 5000))",
  "local f = coroutine.wrap(function() return setmetatable({}, { __index = function(_, k) return coroutine.yield(k) end"
    .. " }).field end) return f(), f('given')",
  "local co = coroutine.create(function() coroutine.yield() end) coroutine.resume(co) return debug.traceback(co)",
  "local co = coroutine.create(function() local x x() end) coroutine.resume(co) return debug.traceback(co, 'm', 0)",
  "local function nest(n) return n == 0 and coroutine.isyieldable() or coroutine.wrap(nest)(n - 1) end return nest(50)",
})

same_as_stock("setmetatable", {
  "return setmetatable()",
  "return setmetatable({})",
  "return setmetatable(1, {})",
  "return setmetatable({}, 1)",
  "return setmetatable({}, print)",
  "return setmetatable(nil, nil)",
  "return setmetatable(coroutine.create(print), {})",
  "return setmetatable(io.stdout, {})",
  "local renamed = setmetatable return renamed(1)",
  "return setmetatable(setmetatable({}, { __metatable = false }), nil)",
  "return setmetatable(setmetatable({}, { __metatable = 1 }), {})",
  "return getmetatable(setmetatable({}, { __metatable = 1 }))",
  "local t, m = {}, {} return setmetatable(t, m) == t, getmetatable(t) == m, getmetatable(setmetatable(t, nil))",
  "local n = 0 setmetatable({}, { __gc = function() n = n + 1 end }) collectgarbage() return n",
  "local t = setmetatable({}, { __gc = error }) t = nil return pcall(collectgarbage)",
})

same_as_stock("math.random", {
  "return math.type(math.random(0))",
  "return math.random(5, 1)",
  "return math.random(1, 2, 3)",
  "return math.random(1.5)",
  "return math.random(1, 1.5)",
  "return math.random('x')",
  "return math.random('1.5')",
  "return math.random('1')",
  "return math.random(1, {})",
  "return math.random(nil)",
  "return math.random(coroutine.create(print))",
  "return math.type(math.random(math.mininteger, math.maxinteger))",
  "return math.type(math.random(-1, math.maxinteger))",
  "return math.type(math.random(math.mininteger, 0))",
  "return math.random(math.mininteger)",
  "return math.random(math.maxinteger, math.maxinteger)",
  "local renamed = math.random return math.type(renamed(0))",
  "return math.random(3, 3), math.random(-3, -3), math.random(1)",
  "return math.type(math.random(10)), math.type(math.random(3.0)), math.type(math.random())",
  "return (select('#', math.randomseed()))",
  "return math.randomseed('x')",
  "return math.randomseed({})",
  "return select('#', math.randomseed(5)), select('#', math.randomseed('5')), select('#', math.randomseed(0 / 0))",
  "math.randomseed(7) local a, b = math.random(), math.random() math.randomseed(7)\n"
    .. "return a ~= b, a == math.random(), b == math.random()",
  "for _ = 1, 10000 do local r = math.random() if r < 0 or r >= 1 then return r end end return 'in [0, 1)'",
  "local seen = {} for _ = 1, 10000 do seen[math.random(-3, 3)] = true end\n"
    .. "local n = 0 for i = -3, 3 do n = n + (seen[i] and 1 or 99) end return n",
})

same_as_stock("load, loadfile, dofile and require", {
  "return load()",
  "return load(nil)",
  "return load(5)",
  "return load({})",
  "return load('return 1', 'n', 'b')",
  "return load('return 1', 'n', 'x')",
  "return load('return 1', 'n', {})",
  "return load('return 1', 'n', 'bt')()",
  "return load('return x', 'n', 't', nil)",
  "return pcall(load('return x', 'n', 't', nil))",
  "return load('return x', 'n', 't', { x = 5 })()",
  "return load('return ...', 'n')(4)",
  "return load('syntax error here')",
  "return load('x x', '=name')",
  "return load('x x', '@name')",
  "return load('x x', {})",
  "return load(function() return nil end)",
  "local parts = { 'return ', '1', nil } local n = 0 return load(function() n = n + 1 return parts[n] end)()",
  "local n = 0 return load(function() n = n + 1 return n < 3 and 5 or nil end)",
  "return load(function() return {} end)",
  "return load(function() error('in the reader') end)",
  "return load(function() return 'x x' end)",
  "return loadfile('/nonexistent')",
  "return loadfile({})",
  "return loadfile('/nonexistent', {})",
  "return dofile('/nonexistent')",
  "return dofile({})",
  "return require()",
  "return require({})",
  "return require('string') == string, require('_G') == _G",
  "return require('spec.fixtures.greeter').greet('you')",
  "return (select(2, pcall(require, 'no.such.module')):gsub('\\n.*', ''))",
  "package.preload.given = function(...) return { ... } end return require('given')[1], package.loaded.given[2]",
  "return #package.searchers, package.config, package.searchpath('no', '?.x;?.y')",
  "return package.path, package.cpath",
})

same_as_stock("io.write, file:write and print", {
  "return io.write({})",
  "return io.write(nil)",
  "return io.write('', nil)",
  "return io.write('', {})",
  "return io.write('', true)",
  "return io.stdout:write({})",
  "return io.stdout:write('', {})",
  "return io.stdout.write()",
  "return io.stdout.write({}, 'x', 'y')",
  "local f = io.tmpfile() f:close() return f:write('x')",
  "local f = io.tmpfile() f:close() return f:write('x', 'y')",
  "local f = io.tmpfile() return f:write(1, 2) == f, f:write(1) == f, f:write() == f",
  "local f = io.tmpfile() f:write(1, 1.0, 1e100, -0.0, 1 / 0, 'a\\0b', math.mininteger, 0.1, 2 ^ 53, 2 ^ 63)\n"
    .. "f:seek('set') return f:read('a')",
  "local f = io.tmpfile() for _, v in ipairs { 1, 1.0, 1e15, 1e16, -0.0, 1 / 3 } do f:write(v) f:write(' ') end\n"
    .. "f:seek('set') return f:read('a')",
  "local f = io.tmpfile() io.output(f) io.write(1, 2.5, 'x') io.write() io.output(io.stdout)\n"
    .. "f:seek('set') return f:read('a')",
  "local f = io.tmpfile() io.output(f) f:close() local ok, message = pcall(io.write, 'a', 'b')\n"
    .. "io.output(io.stdout) return ok, message",
  "local f = io.open('/dev/full', 'w') f:setvbuf('no') return f:write('x', 'y')",
})

same_as_stock("what an error says", {
  "local x x()",
  "local x = {} return x.y.z",
  "return undefined_global()",
  "return ('x'):nope()",
  "return 1 + {}",
  "return 1 < 'x'",
  "return #5",
  "error('with position')",
  "error('without', 0)",
  "error('one up', 2)",
  "error({ code = 5 })",
  "error(setmetatable({}, { __tostring = function() return 'spoken' end }))",
  "error()",
  "return string.rep()",
  "return ('x'):rep({})",
  "return string.format('%d', 1.5)",
  "return setmetatable({}, { __index = function(_, k) error(k) end }).field",
  "local function f() return 1 + f() end return f()",
  "return table.concat({ {} })",
  "return xpcall(error, function(m) return 'handled ' .. tostring(m) end, 'x')",
  "return pcall(error)",
  "return select(-5)",
  "return ipairs()",
  "return tostring()",
  "collectgarbage('incremental') return collectgarbage('generational'), collectgarbage('incremental')",
  "return collectgarbage('isrunning'), collectgarbage('setpause', 100), collectgarbage('setstepmul', 200)",
  "return os.setlocale()",
  "return os.setlocale(nil, 'bad')",
  "return os.setlocale({})",
  "return os.time({})",
  "return os.date('%Ez')",
  "return io.open('/nonexistent/file')",
  "return io.open('x', 'bad')",
  "return _VERSION, type(_G), _G._G == _G",
  "return debug.traceback('m', 50), debug.traceback({}) ~= nil, debug.getinfo(1, 'l').currentline",
  "return debug.getinfo(100), pcall(debug.getinfo, 1, '?')",
})

describe("the output of a task #native", function()
  local scripts = {
    ["mixed values"] = [[
      print() print(nil) print(1, 1.0, -0.0, 1e15, 1e16, 2^53, 2^63, 1/0, -1/0, math.mininteger, 0.1, 1/3)
      print("a\0b", true, false, nil, "", "tab\there")
      io.write(1, 1.0, " ", 1e100, "\n") io.write() io.write("x\n") io.stdout:write("y", 2, "\n"):write("z\n")
      io.write(-0.0, " ", 5 // 0.0, " ", 3 | 0, " ", "\0\255", "\n")
      print(setmetatable({}, { __tostring = function() return "spoken" end }), _VERSION)
    ]],
    ["nothing but what is written"] = [[ io.write("no line end") ]],
    ["much"] = [[ for i = 1, 2000 do print(i, i / 2) io.write(i, " ", i / 4, "\n") end ]],
    ["a tostring of one's own"] = [[ function tostring() return "mine" end print(1, true) ]],
    ["a tostring that gives no string"] = [[ function tostring() return 1 end print(pcall(print, 1)) io.write("end") ]],
    ["what tells its text itself"] = [[
      local n = 0 print(setmetatable({}, { __tostring = function() n = n + 1 return "" end }), n)
      print(pcall(print, setmetatable({}, { __tostring = function() return 1 end })))
      print(pcall(print, setmetatable({}, { __tostring = function() return {} end })))
    ]],
    ["through other files"] = [[
      io.output():write("a", 1, "\n") io.stderr:write("b", 2, "\n") io.output():setvbuf("no") io.write("c\n")
    ]],
  }
  for name, script in pairs(scripts) do
    it("is that of a main program: " .. name, function()
      assert.equal(stock.run(script), stock.run_in_task(script))
    end)
  end
end)
