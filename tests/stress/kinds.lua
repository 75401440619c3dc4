--- The kinds of tasks of the soak: for each the function, its arguments, and a check of its record.
--
-- `run` is the task's function, `args(n, job)` makes its arguments (by default the number `n` alone), and
-- `is_right(entry, n, job)` checks its record. The other fields are optional: `share` says how often a kind comes,
-- `suits(options)` in which jobs, `is_failure` that it fails, and `is_refused` that it may be refused before it begins.

-- luacheck: globals gma greeting host litter math.pi string.litter base kept unlisted string.shout table.contains

local gma2workers = require "gma2workers"
local shapes = require "spec.fixtures.shapes"
local settings = require "spec.fixtures.settings"

local isStopping, area, Box = gma2workers.isStopping, shapes.area, shapes.Box
local RunSync = gma2workers.RunSync

local kinds = {}
local stress = { kinds = kinds }

-- The calls of the host that the tasks of some kinds make, by the tasks' numbers.
local begun, tidied = {}, {}

--- The host's `gma`.
stress.gma = {
  show = {
    getvar = function(name, ...) return name:upper(), select("#", ...) end,
    fail = function(name) error({ "no " .. name }) end,
    begun = function(n) begun[n] = (begun[n] or 0) + 1 end,
    tidied = function(n) tidied[n] = (tidied[n] or 0) + 1 end,
    box = function(w) return shapes.new(w, 2) end,
  },
  sleep = function() end,
}

--- The option `host` of some jobs.
stress.host = {
  double = function(n) return 2 * n end,
  fail = function(n) error({ code = n }) end,
  pause = function(n) gma.sleep(0) return n end,
  nested = function(n)
    local response = RunSync { host = { triple = function(m) return 3 * m end }, tasks = {
      { func = function(m) return host.triple(m) end, args = { n } }, { func = function(m) error(m, 0) end, args = { n } },
    } }
    assert(response.failed == 1 and response.result[2].data == "Error: " .. n)
    return response.result[1].data
  end,
}

function greeting(name)
  return "hello " .. name
end

function unlisted(n)
  return n
end

function string.shout(text)
  return text:upper() .. "!"
end

function table.contains(list, value)
  for _, one in ipairs(list) do
    if one == value then
      return true
    end
  end
  return false
end

local function succeeds(with)
  return function(entry, n, job)
    return entry.success and entry.data == with(n, job)
  end
end

local function fails(kind, text)
  return function(entry, n)
    return not entry.success and entry.kind == kind and entry.data:find(text:format(n), 1, true)
  end
end

local function itself(n) return n end

-- A sandbox keeps modules out.
local function may_use_modules(options) return not options.sandbox end

kinds.sum = {
  run = function(n)
    local sum = 0
    for i = 1, n % 500 do sum = sum + i end
    return sum
  end,
  is_right = succeeds(function(n) return (n % 500) * (n % 500 + 1) // 2 end),
}

kinds.several = {
  run = function(n) return n, nil, n * 0.5, tostring(n) end,
  is_right = function(entry, n)
    local all = entry.returns
    return entry.success and entry.data == n and all.n == 4 and all[2] == nil and all[3] == n * 0.5
      and all[4] == tostring(n)
  end,
}

kinds.nothing = {
  run = function() end,
  is_right = function(entry) return entry.success and entry.data == nil and entry.returns == nil end,
}

kinds.tables = {
  run = function(n, tree)
    local shared = { n }
    return { tree.leaf[1] + n, shared, shared, [tree] = tree, text = tree.text .. "\0" }
  end,
  args = function(n)
    local tree = { leaf = { n }, text = ("t"):rep(n % 300) }
    tree.tree = tree
    return { n, tree }
  end,
  is_right = function(entry, n)
    local data, trees = entry.data, 0
    for key, value in pairs(data) do
      if type(key) == "table" then
        trees = trees + (key == value and key.tree == key and key.leaf[1] == n and 1 or 0)
      end
    end
    return entry.success and trees == 1 and data[1] == 2 * n and data[2] == data[3] and data[2][1] == n
      and data.text == ("t"):rep(n % 300) .. "\0"
  end,
}

kinds.large = {
  run = function(n, text) return text:rep(2) .. n end,
  args = function(n) return { n, ("%05d"):format(n % 100000):rep(2000) } end,
  is_right = succeeds(function(n) return ("%05d"):format(n % 100000):rep(4000) .. n end),
  share = 0.1,
}

kinds.many = {
  run = function(n)
    local list = {}
    for i = 1, 1000 do list[i] = { i, n } end
    return list
  end,
  is_right = function(entry, n)
    return entry.success and #entry.data == 1000 and entry.data[1000][1] == 1000 and entry.data[1000][2] == n
  end,
  share = 0.1,
}

kinds.coroutines = {
  run = function(n)
    local sum = 0
    for i in coroutine.wrap(function() for i = 1, n % 50 do coroutine.yield(i) end end) do sum = sum + i end
    return sum
  end,
  is_right = succeeds(function(n) return (n % 50) * (n % 50 + 1) // 2 end),
}

-- Tasks that leave something behind, and tasks that must not find it ------------------------------------------

kinds.littering = {
  run = function(n)
    litter, base = { n }, "litter"
    if kept then kept[1], kept[4] = "litter", n end
    string.litter, string.shout, math.pi = n, print, 3
    setmetatable(_G, { __index = function() return "litter" end })
    return n
  end,
  is_right = succeeds(itself),
}

kinds.littering_with_debug = {
  run = function(n)
    local function litter_of(kind) return { __index = function() return kind end, __call = function() return kind end } end
    for _, value in ipairs { 1, true, print, coroutine.create(print) } do
      debug.setmetatable(value, litter_of(type(value)))
    end
    debug.setmetatable(nil, litter_of("nil"))
    debug.getmetatable("").__index = litter_of("string").__index
    local function helper() return n end
    debug.setupvalue(helper, 1, n + 1)
    return n + (n.x == "number" and undefined.x == "nil" and print.x == "function" and 1 or 0) -- luacheck: ignore 113 143
  end,
  is_right = succeeds(function(n) return n + 2 end),
  suits = may_use_modules,
}

kinds.littering_modules = {
  run = function(n)
    Box.area, Box.__index, shapes.sizes[1], shapes.options.deep = nil, nil, "litter", n
    settings.factor, shapes.new, package.loaded["spec.fixtures.shapes"] = 0, nil, nil
    shapes.note()
    return shapes.note()
  end,
  is_right = succeeds(function() return 2 end),
  suits = may_use_modules,
}

kinds.clean = {
  run = function(n)
    -- Nothing of what others left behind may be here.
    local nothing, value = nil, n
    return rawget(_G, "litter") == nil and string.litter == nil and math.pi > 3.1 and getmetatable(_G) == nil
      and not pcall(function() return nothing.x end) and not pcall(function() return value.x end)
      and not pcall(function() return print.x end) -- luacheck: ignore 143
      and getmetatable("").__index == string and n
  end,
  is_right = succeeds(itself),
}

kinds.finalized = {
  run = function(n)
    for _ = 1, 10 do setmetatable({}, { __gc = function() end }) end
    return n
  end,
  is_right = succeeds(itself),
  share = 0.2,
}

-- Calls of the host -------------------------------------------------------------------------------------------

kinds.called = {
  run = function(n)
    gma.echo("task", n)
    local upper, count = gma.show.getvar("v" .. n, n, nil, n)
    return upper .. count
  end,
  is_right = succeeds(function(n) return "V" .. n .. "3" end),
  share = 0.3,
}

kinds.called_and_failed = {
  run = function(n) gma.show.fail("v" .. n) end,
  is_right = function(entry, n)
    return not entry.success and entry.kind == "runtime" and entry.error and entry.error[1] == "no v" .. n
  end,
  share = 0.2,
}

local function has_host(options) return options.host end

kinds.hosted = {
  run = function(n)
    return host.double(n) + coroutine.wrap(function() return host.pause(n) end)()
  end,
  is_right = succeeds(function(n) return 3 * n end),
  share = 0.5,
  suits = has_host,
}

kinds.hosted_and_failed = {
  run = function(n)
    local ok, problem = pcall(host.fail, n)
    if not ok and problem.code == n then host.fail(-n) end
  end,
  is_right = function(entry, n)
    return not entry.success and entry.kind == "runtime" and entry.error and entry.error.code == -n
  end,
  share = 0.3,
  suits = has_host,
}

kinds.hosted_and_nested = {
  run = function(n) return host.nested(n) end,
  is_right = succeeds(function(n) return 3 * n end),
  share = 0.1,
  suits = has_host,
}

kinds.hostless = {
  run = function() return host end,
  is_right = succeeds(function() return nil end),
  share = 0.3,
  suits = function(options) return not options.host end,
}

kinds.slept = {
  run = function(n) gma.sleep(0.0002) return n end,
  is_right = succeeds(itself),
  share = 0.05,
}

-- Failures ----------------------------------------------------------------------------------------------------

kinds.failed = {
  run = function(n) error("failed at " .. n) end,
  is_right = fails("runtime", "failed at %d"),
  is_failure = true,
}

kinds.failed_with_a_table = {
  run = function(n) error({ code = n }) end,
  is_right = function(entry, n)
    return not entry.success and entry.kind == "runtime" and entry.error and entry.error.code == n
      and entry.data:find("code = " .. n, 1, true)
  end,
  is_failure = true,
}

kinds.failed_with_an_object = {
  run = function(n) error(shapes.new(n, 2)) end,
  is_right = function(entry, n)
    return not entry.success and entry.kind == "runtime" and entry.data == ("Error: %d x 2"):format(n)
      and getmetatable(entry.error) == Box and entry.error.w == n
  end,
  share = 0.5,
  suits = may_use_modules,
  is_failure = true,
}

kinds.missing = {
  run = function(n) return unlisted(n) end,
  -- What follows depends on whether the job lists other globals.
  is_right = fails("runtime", "(global 'unlisted'): the host has it, a task does not ("),
  share = 0.3,
  is_failure = true,
}

kinds.out_of_memory = {
  run = function()
    local text = "x"
    while true do text = text .. text end
  end,
  is_right = fails("memory", "not enough memory"),
  share = 0.2,
  suits = function(options) return options.memoryLimit end,
}

kinds.unsendable = {
  run = function() return coroutine.create(print) end,
  is_right = fails("transfer", "cannot send a coroutine"),
}

kinds.unsendable_argument = {
  run = function() end,
  args = function(n) return { n, { deep = { h = coroutine.create(print) } } } end,
  is_right = fails("transfer", "cannot send a coroutine (at args[2].deep.h)"),
  share = 0.3,
  is_refused = true,
}

-- Captured values ---------------------------------------------------------------------------------------------

local captured, cache = { "captured" }, {}

kinds.reads_captured = {
  run = function() return captured[1] end,
  is_right = function(entry, n, job)
    local is_right = job.options.upvalues and succeeds(function() return "captured" end)
      or fails("upvalue", "'captured' (a table)")
    return is_right(entry, n)
  end,
  is_refused = true,
}

kinds.writes_captured = {
  run = function(n)
    cache[#cache + 1] = n
    return #cache
  end,
  is_right = function(entry, n, job)
    local is_right = job.options.upvalues == "private" and succeeds(function() return 1 end)
      or fails("upvalue", "'cache' (a table, written to)")
    return is_right(entry, n) and #cache == 0
  end,
  is_refused = true,
}

kinds.with_globals = {
  run = function(n) return greeting(n) end,
  is_right = succeeds(function(n) return "hello " .. n end),
}

kinds.with_libraries = {
  run = function(n) return ("v" .. n):shout() .. tostring(table.contains({ 1, n }, n)) .. string.shout("x") end,
  is_right = succeeds(function(n) return "V" .. n .. "!trueX!" end),
}

-- Modules, and objects of their classes -------------------------------------------------------------------------

kinds.with_a_module = {
  run = function(n) return area(n, 1) + shapes.double(n) + shapes.note() end,
  -- The job's factor is what the host had set when the job began.
  is_right = succeeds(function(n, job) return 2 * n * job.factor + 2 * n + 1 end),
  suits = may_use_modules,
}

kinds.of_a_module = {
  run = area,
  args = function(n) return { n, 2 } end,
  is_right = succeeds(function(n, job) return 4 * n * job.factor end),
  share = 0.5,
  suits = may_use_modules,
}

kinds.with_objects = {
  run = function(n, box, list)
    local same, sizes, rate = shapes.same_tables()
    local made = setmetatable({ w = box.w, h = list[1].h }, Box)
    return { box, made, list, area = made:area(), same = same and sizes == 3 and rate == 1 and made == box and n,
      asked = gma.show.box(n) }
  end,
  args = function(n)
    local box = shapes.new(n, 3)
    return { n, box, { box, [box] = true } }
  end,
  is_right = function(entry, n, job)
    local data = entry.data
    return entry.success and data.same == n and data.area == 6 * n * job.factor and getmetatable(data[1]) == Box
      and data[1] == data[2] and rawequal(data[1], data[3][1]) and data[3][data[1]] == true
      and getmetatable(data.asked) == Box and data.asked.w == n
  end,
  share = 0.5,
  suits = may_use_modules,
}

kinds.with_our_module = {
  run = function(n)
    local module = require "gma2workers"
    return not module.isStopping() and not pcall(module.RunSync, { tasks = {} }) and module.clock() > 0 and n
  end,
  is_right = succeeds(itself),
  share = 0.5,
  suits = may_use_modules,
}

-- Arguments that many tasks share, and what init has left -----------------------------------------------------------

--- The argument that tasks of a job share.
function stress.shared_argument(n)
  local shared = { n = n, rows = {}, text = ("%d,"):format(n):rep(1000) }
  for i = 1, n % 400 do shared.rows[i] = { id = i, name = "row " .. i, n } end
  shared.self = shared
  return shared
end

kinds.shared = {
  run = function(n, shared, text)
    local sum, rows = 0, shared.rows
    for i, row in ipairs(rows) do
      assert(row.id == i and row.name == "row " .. i and #row == 1)
      sum = sum + row[1]
    end
    assert(shared.self == shared and shared.text == text and getmetatable(shared) == nil)
    -- The next task must find it as new.
    if n % 2 == 0 then
      for _, row in ipairs(rows) do row.id, row[1], row[2] = nil, n, {} end
      table.sort(rows, function(a, b) return a.name > b.name end)
      shared.self, shared.text, shared[1] = nil, "litter", shared
      setmetatable(shared, { __index = function() return "litter" end, __gc = n % 4 == 0 and function() end or nil })
    end
    return sum
  end,
  args = function(n, job) return { n, job.shared, job.shared.text } end,
  is_right = succeeds(function(_, job) return #job.shared.rows * job.shared.n end),
  share = 1.5,
}

--- The option `init` of some jobs, by its nature.
stress.inits = {
  plain = function() base, kept = 7, { 1, 2, { 3 } } end,
  calling = { func = function(n, list) base, kept = tonumber((gma.show.getvar(n))), list end, args = { "7", { 1, 2, { 3 } } } },
  failing = function() error("no base") end,
}

kinds.after_init = {
  run = function(n)
    local sum = base + kept[1] + kept[2] + kept[3][1] + #kept
    base, kept[1], kept[3][1], kept[5] = n, n, n, n
    return sum
  end,
  is_right = succeeds(function() return 16 end),
  share = 2,
  suits = function(options) return options.init end,
}

-- Tasks that must be stopped ------------------------------------------------------------------------------------

stress.endless = {
  function() while true do end end,
  function() while true do pcall(coroutine.wrap(function() while true do end end)) end end,
  function() table.sort({ 2, 1 }, function() while true do pcall(error) end end) end,
  function() while true do gma.sleep(1) end end,
  function() while true do assert(#table.pack({}, {}, tostring({})) == 3) end end,
  function(_, shared) while true do shared[#shared % 50 + 1], shared.text = {}, #shared end end,
}

--- Goes on until it is told to stop, and then tells the host that it has tidied up.
function stress.polite(n)
  gma.show.begun(n)
  while not isStopping() do gma.sleep(0.001) end
  gma.show.tidied(n)
end

--- Whether a polite task that had time enough has done what it should: once, if it has begun.
function stress.was_polite(n)
  return (begun[n] or 0) <= 1 and begun[n] == tidied[n]
end

return stress
