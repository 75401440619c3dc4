-- What a function has captured is judged as a whole: one error names all of it, and its code tells what is written to.
-- luacheck: globals host

local gma2workers = require "gma2workers"
local assertions = require "spec.fixtures.assertions"
local crossing = require "spec.fixtures.crossing"

local assert_failed, plugin, run = assertions.failed, crossing.plugin, crossing.run

local READ = 'pass it in args, or set upvalues = "copy"'
local ALL_READ = 'pass them in args, or set upvalues = "copy"'
local WRITTEN = "make it a local of the task, or pass it in args, and return it, since other writes are lost; "
  .. 'for a cache, set upvalues = "private"'

local function message_of(func, options, ...)
  local entry = run(func, { ... }, options)
  assert_failed(entry, "upvalue")
  return entry.data
end

--- The names in an error that are said to be written to, and the others, in alphabetical order.
local function names_in(message)
  local written, read = {}, {}
  for name, holds in message:match("^(.-) cannot cross"):gmatch("'([%w_]+)' %((.-)%)") do
    local list = holds:find ", written to$" and written or read
    list[#list + 1] = name
  end
  table.sort(written)
  table.sort(read)
  return table.concat(written, " "), table.concat(read, " ")
end

-- A function at plugin.lua:1 that has captured some of these, and this as its body.
local function task_of(body)
  return plugin([[local found, rows, labels, total, insert, lib = {}, { {} }, { "a", "b" }, 0, table.insert, table
    local function put(list, value) list[#list + 1] = value end
    local function first(list) return list[1] end
    local function count() total = total + 1 end
    local counter = { n = 0 }
    function counter:add() self.n = self.n + 1 end
    function counter:get() return self.n end
    return function(i) ]] .. body .. " end")
end

describe("the error of captured data #native", function()
  it("names all of it, with its kind and place, and what to do (F17)", function()
    local task = plugin 'local a, b, c, d = 1, "x", true, {}\nreturn function() return a, b, c, d end'
    assert.equal("Error: upvalues 'a' (a number), 'b' (a string), 'c' (a boolean) and 'd' (a table) of the function at "
      .. "plugin.lua:2 cannot cross: " .. ALL_READ, message_of(task))
  end)

  it("names that of helpers at their places (F17)", function()
    local task = plugin [[local rate, limit, log = 5, 6, io.stdout
      local function scaled(n) return n * rate end
      local function show(n) log:write(n) end
      return function(n) show(scaled(n)) return limit end]]
    assert.equal("Error: upvalues 'log' (a userdata) of the function at plugin.lua:3, 'rate' (a number) of the function at "
      .. "plugin.lua:2, and 'limit' (a number) of the function at plugin.lua:4 cannot cross: for 'log', make it in the task, or "
      .. "pass what it holds in args; for 'rate' and 'limit', " .. ALL_READ, message_of(task))
  end)

  it("names a variable that several functions share once (F17)", function()
    local task = plugin "local rate = 5\nlocal function get() return rate end\nreturn function() return get() + rate end"
    assert.equal("Error: upvalue 'rate' (a number) of the function at plugin.lua:2 cannot cross: " .. READ, message_of(task))
  end)

  it("tells what is written to from what is read, and advises to return it (F18)", function()
    local task = plugin [[local labels, limit, found = { "a" }, 2, {}
      return function(i) if i >= limit then found[#found + 1] = labels[i] end end]]
    assert.equal("Error: upvalues 'limit' (a number), 'found' (a table, written to) and 'labels' (a table) of the function at "
      .. "plugin.lua:2 cannot cross: for 'limit' and 'labels', " .. ALL_READ .. "; for 'found', " .. WRITTEN,
      message_of(task, {}, 1))
    local count = plugin "local total = 0 return function(i) total = total + i end"
    assert.equal("Error: upvalue 'total' (a number, written to) of the function at plugin.lua:1 cannot cross: " .. WRITTEN,
      message_of(count, {}, 1))
  end)

  it("names a variable that is still nil, if the function sets it (F18)", function()
    local task = plugin "local best return function(i) if not best or i > best then best = i end end"
    assert.equal("Error: upvalue 'best' (nil, written to) of the function at plugin.lua:1 cannot cross: " .. WRITTEN,
      message_of(task, {}, 1))
    assert.truthy(message_of(task, { upvalues = "copy" }, 1):find("'best' (nil, written to)", 1, true))
    assert.is_true(run(task, { 1 }, { upvalues = "private" }).success)
    local reads = plugin "local best return function() return best == nil end"
    assert.is_true(run(reads, {}).data)
    assert.is_true(run(reads, {}, { upvalues = "copy" }).data)
  end)

  it("advises to copy a table that has functions, which may have captured the table themselves (F17)", function()
    local task = plugin [[local units, limit = { rate = 5 }, 9
      function units.scaled(n) return n * units.rate end
      return function(n) return math.min(units.scaled(n), limit) end]]
    assert.equal("Error: upvalues 'units' (a table) and 'limit' (a number) of the function at plugin.lua:3 cannot cross: for "
      .. "'units', set upvalues = \"copy\"; for 'limit', " .. READ, message_of(task, {}, 1))
    assert.equal(5, run(task, { 1 }, { upvalues = "copy" }).data)
  end)

  it("ends a long list with a count, and has what is written to in it (F17)", function()
    local names, sum = {}, {}
    for i = 1, 12 do
      names[i], sum[i] = "read" .. i, "read" .. i
    end
    local code = ("local %s, found = %s, {} return function() found.x = %s end")
      :format(table.concat(names, ", "), ("1, "):rep(11) .. "1", table.concat(sum, " + "))
    local message = message_of(plugin(code))
    assertions.says("and 5 more cannot cross", message)
    assert.equal("found", names_in(message))
  end)

  it("is about the function that was passed to Map, at the caller's line (F17, F18)", function()
    local task = plugin "local found, limit = {}, 3\nreturn function(n) if n > limit then found[#found + 1] = n end end"
    local ok, message = pcall(function() gma2workers.Map(task, { 1, 5 }) end)
    assert.is_false(ok)
    assertions.says("captures_spec.lua", message)
    assertions.says("'limit' (a number) and 'found' (a table, written to) of the function at plugin.lua:2", message)
    ok, message = pcall(gma2workers.Map, task, { 1, 5 }, { upvalues = "copy" })
    assert.is_false(ok)
    assertions.says("upvalue 'found' (a table, written to) of the function at plugin.lua:2", message)
    assert.same({ n = 2 }, gma2workers.Map(task, { 1, 5 }, { upvalues = "private" }))
  end)

  it("says that a captured local hides the option host, or the engine's gma (F29)", function()
    local advice = "cannot cross: rename the local: it hides the global of that name that tasks have"
    local hosts = plugin "local host = { add = function(n) return n + 1 end } return function() return host.add(1) end, host"
    assertions.says("upvalue 'host' (a table) of the function at plugin.lua:1 " .. advice,
      message_of(hosts, { host = { add = print } }))
    assertions.says("'host' (a table) of the function at plugin.lua:1 cannot cross: set upvalues", message_of(hosts))
    assert.equal(2, run(function() return host.add(1) end, {}, { host = select(2, plugin(
      "local host = { add = function(n) return n + 1 end } return 1, host")) }).data)
    local engines = plugin "local gma = { rate = 5 } return function() return gma.rate end"
    crossing.with_gma({ rate = 6 }, function()
      assertions.says("upvalue 'gma' (a table) of the function at plugin.lua:1 " .. advice, message_of(engines))
    end)
    crossing.with_gma(nil, function()
      assertions.says("'gma' (a table) of the function at plugin.lua:1 cannot cross: pass it in args", message_of(engines))
    end)
  end)

  it("of a function among the arguments names all of it, too (F17)", function()
    local func = plugin "local rate, found = 5, {} return function() found.x = rate end"
    local written, read = names_in(message_of(print, {}, { deep = { func } }))
    assert.same({ "found", "rate" }, { written, read })
  end)
end)

describe("a function #native", function()
  local writes = {
    ["total = total + i"] = "total",
    ["found = { labels[i] }"] = "found",
    ["found[#found + 1] = labels[i]"] = "found",
    ["found[labels[i]] = true"] = "found",
    ["rows[1].x = labels[i]"] = "rows",
    ["local row = rows[1] row.x = i"] = "rows",
    ["for _, row in ipairs(rows) do row.label = labels[i] end"] = "rows",
    ["for _, row in next, rows do row.label = labels[i] end"] = "rows",
    ["table.insert(found, labels[i])"] = "found",
    ["insert(found, labels[i])"] = "found",
    ["lib.insert(found, labels[i])"] = "found",
    ["table.sort(labels)"] = "labels",
    ["table.remove(labels)"] = "labels",
    ["table.move(labels, 1, 2, 1, found)"] = "found",
    ["rawset(found, i, labels[i])"] = "found",
    ["setmetatable(found, {})"] = "found",
    ["pcall(insert, found, labels[i])"] = "found",
    ["labels[i]:gsub('.', function(c) found[c] = true end)"] = "found",
    ["local t = found local function add() t[1] = i end add()"] = "found",
    ["put(found, labels[i])"] = "found",
    ["count()"] = "total",
    ["counter:add()"] = "counter",
    ["counter.n = i"] = "counter",
  }
  for body, name in pairs(writes) do
    it(("that writes to captured data is told apart: %s (F18)"):format(body), function()
      local task = task_of(body)
      assert.equal(name, (names_in(message_of(task, {}, 1))))
      assert.equal(name, (names_in(message_of(task, { upvalues = "copy" }, 1))))
      local entry = run(task, { 1 }, { upvalues = "private" })
      assert.is_true(entry.success, entry.data)
    end)
  end

  local reads = {
    ["return total + #labels, rows[1].x, first(found)"] = "found labels rows total",
    ["local mine = {} for n, label in ipairs(labels) do mine[n] = label end table.sort(mine)"] = "labels",
    ["local mine = table.move(labels, 1, 2, 1, {}) mine[1] = total"] = "labels total",
    ["local mine = {} put(mine, labels[i]) insert(mine, found)"] = "found labels",
    ["local mine = labels mine = {} mine.x = found"] = "found labels",
    ["local found = { table.unpack(labels) } found[1] = 'x'"] = "labels",
    ["return counter:get()"] = "counter",
    ["x = labels string.y = rows"] = "labels rows",
  }
  for body, names in pairs(reads) do
    it(("that only reads captured data may have a copy: %s (F18)"):format(body), function()
      local task = task_of(body)
      local written, read = names_in(message_of(task, {}, 1))
      assert.same({ "", names }, { written, read })
      local entry = run(task, { 1 }, { upvalues = "copy" })
      assert.is_true(entry.success, entry.data)
    end)
  end

  it("is refused if a helper writes to a variable that they share (F18)", function()
    local task = plugin [[local rate = 1
      local function raise() rate = rate + 1 end
      return function(n) raise() return n * rate end]]
    assert.equal("Error: upvalue 'rate' (a number, written to) of the function at plugin.lua:2 cannot cross: " .. WRITTEN,
      message_of(task, { upvalues = "copy" }, 1))
    assert.equal(10, run(task, { 5 }, { upvalues = "private" }).data)
  end)

  it("that a task returns takes its variables along, with copies of both kinds (F19)", function()
    for _, upvalues in ipairs { "copy", "private" } do
      local count = run(function()
        local n = 0
        return function() n = n + 1 return n end
      end, {}, { upvalues = upvalues }).data
      assert.same({ 1, 2 }, { count(), count() })
      local counts = gma2workers.Map(function(n) return function() n = n + 1 return n end end, { 5 },
        { upvalues = upvalues, onError = "collect" })
      assert.is_true(counts[1].success, counts[1].data)
      assert.same({ 6, 7 }, { counts[1].data(), counts[1].data() })
    end
    local message = message_of(plugin "return function()\nlocal n, m = 0, 1\nreturn function() n = n + m return n end\nend")
    assert.equal("Error: upvalues 'n' (a number) and 'm' (a number) of the function at plugin.lua:3 cannot cross: "
      .. 'set upvalues = "copy"', message)
  end)

  it("among the globals, or in package.preload, is judged as well (F18)", function()
    local count = plugin "local n = 0 return function() n = n + 1 return n end"
    crossing.with_globals({ captures_spec_count = count }, function()
      local config = { tasks = { { func = plugin "return function() return captures_spec_count() end" } },
        globals = { "captures_spec_count" }, upvalues = "copy" }
      local ok, message = pcall(gma2workers.RunSync, config)
      assert.is_false(ok)
      assertions.says("upvalue 'n' (a number, written to) of the function at plugin.lua:1 cannot cross: for a cache, set "
        .. 'upvalues = "private", since other writes are lost', message)
      config.upvalues = "private"
      assert.equal(1, gma2workers.RunSync(config).result[1].data)
    end)
    package.preload.captures_spec_module = count
    local entry = run(function() return require "captures_spec_module" end, {}, { upvalues = "copy" })
    assert_failed(entry, nil, "upvalue 'n' (a number, written to)", 'set upvalues = "private"')
    assert.equal(1, run(function() return require "captures_spec_module" end, {}, { upvalues = "private" }).data)
    package.preload.captures_spec_module = nil
  end)

  it("that is an item of Map's list is judged as well (F18)", function()
    local count = plugin "local n = 0 return function() n = n + 1 return n end"
    local function call(f) return f() end
    local records = gma2workers.Map(call, { count, function() return 5 end }, { upvalues = "copy", onError = "collect" })
    assert_failed(records[1], "upvalue", "upvalue 'n' (a number, written to) of the function at plugin.lua:1")
    assert.equal(5, records[2].data)
    assert.same({ 1 }, gma2workers.Map(call, { count }, { upvalues = "private", onError = "raise" }))
  end)
end)

describe('upvalues = "private"', function()
  it("lets each task have its own (F18) #native", function()
    local cache, misses = {}, 0
    local function square(n)
      if not cache[n] then cache[n], misses = n * n, misses + 1 end
      return cache[n], misses
    end
    local tasks = { { func = square, args = { 3 } }, { func = square, args = { 3 } } }
    for _, entry in ipairs(gma2workers.RunSync({ tasks = tasks, workers = 1, upvalues = "private" }).result) do
      assert.same({ 9, 1, n = 2 }, entry.returns)
    end
    assert.same({ {}, 0 }, { cache, misses })
  end)

  it("is a word of the option", function()
    assert.equal(6, run(function(n) return 2 * n end, { 3 }, { upvalues = "private" }).data)
  end)
end)
