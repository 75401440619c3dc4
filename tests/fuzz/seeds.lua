-- The sources of the seeds in `corpus`: any values for `decode`, options for `options`. `f` has functions with 0 to 5
-- upvalues; a text `@name` becomes the name of one of the `things` in host.lua.

-- luacheck: globals f

local f = f
local things = setmetatable({}, { __index = function(_, name) return "@" .. name end })

local decode, options = {}, {}

function decode.nothing() end
function decode.scalars() return nil, true, false, 7, -1, math.maxinteger, 0.5, -0.0, 1 / 0, 0 / 0, "text", "" end
function decode.list() return { 1, 2, 3, "four", { 5 } } end
function decode.holes() return { nil, 2, nil, 4, nil } end
function decode.record() return { name = "Dimmer", id = 101, [true] = 1.5, [2.5] = false, nested = { x = 1 } } end
function decode.mixed() return { "a", "b", n = 2, [10] = "j", [-1] = "z" } end
function decode.long() return ("x"):rep(130), { ("y"):rep(40) } end
function decode.texts()
  local text = ("z"):rep(50)
  return text, { text, [text] = text, ("z"):rep(41) }, { text }
end
function decode.functions() return f[1], f[2], f[3] end
function decode.recursive() return f[6], { f[6], again = f[6] } end
function decode.variables() return f[4], f[5], f[3] end
function decode.everything() return { run = f[7], helper = f[3], list = { f[4], f[1] } } end
function decode.named() return print, math.sin, string, { pairs, string.format } end

function decode.objects()
  local class = package.loaded.m
  local object = setmetatable({ 1, x = 2 }, class)
  return object, { object, [object] = setmetatable({ object }, class) }, class
end

function decode.shared()
  local t = { 1 }
  return t, { t, t, again = t }
end

function decode.cycle()
  local t = {}
  t[1], t.self, t[t] = t, t, t
  return t
end

function decode.keys()
  local key = { "key" }
  return { [key] = { [key] = key }, [{}] = 1 }, key
end

function decode.deep()
  local t = {}
  for i = 1, 40 do t = i % 2 == 0 and { t } or { inner = t } end
  return t
end

function decode.deep_and_shared()
  local shared = { 1 }
  local t = { shared }
  for i = 1, 30 do t = i % 2 == 0 and { t } or { inner = t, again = shared } end
  return shared, t, shared, { shared }
end

function decode.deep_keys()
  local t = { f[6] }
  for _ = 1, 30 do t = { [t] = f[6] } end
  return t, f[6]
end

function decode.many()
  local t = {}
  for i = 1, 40 do t[i] = {} end
  return t, t[1], t[40]
end

options.empty = { tasks = {} }
options.one = { tasks = { { func = f[1], args = { 1, 2 } } } }
options.full = {
  tasks = { { func = f[3], args = { 1, nil, 3, n = 4 }, name = "task" } },
  mode = "cmd",
  workers = 4,
  upvalues = "copy",
  globals = { "rate", "gma" },
  timeout = 0.5,
  memoryLimit = 1048576,
  sandbox = true,
  onComplete = f[1],
  onProgress = f[2],
}
options.control = {
  tasks = { { func = f[1], timeout = 2.5 }, { func = f[1], timeout = 1 / 0 } },
  init = { func = f[2], args = { 1 } },
  host = { add = f[1] },
  grace = 0.5,
  stopOnError = true,
  onResult = f[1],
}
options.objects = {
  tasks = { { func = f[1], args = { setmetatable({ 1 }, package.loaded.m), { package.loaded.m } } }, { func = package.loaded.m.new } },
}
options.traced = { tasks = {}, trace = "trace.json" }
options.extra_args = { tasks = { { func = f[1], args = { 1, [0] = 0 } }, { func = f[1], args = { 1, x = 2 } } } }
options.text = { tasks = {}, workers = " 4 ", mode = "timer", upvalues = "error" }
options.floats = { tasks = {}, workers = 4.0, timeout = 3, memoryLimit = 2 ^ 20, sandbox = false }
options.limits = { tasks = {}, workers = 256, timeout = 1e-9, memoryLimit = 16384 }
options.wrong = { tasks = 1, mode = "fast", workers = 0, timeout = -1, memoryLimit = 1.5, sandbox = 1 }
options.types = { tasks = {}, mode = { timer = true }, workers = {}, globals = "rate", upvalues = false }
options.globals = { tasks = {}, globals = { "a", nil, "c", d = "e" } }
options.numbers = { tasks = {}, globals = { 1, 2.5 } }
options.slips = { task = {}, worker = 4, onComplet = f[1], memorylimit = 5 }
options.indices = { tasks = {}, [1] = { func = f[1] }, [true] = 1, [{}] = 2 }
options.hole = { tasks = { { func = f[1] }, nil, { func = f[1] } } }
options.keys = { tasks = { n = 2, { func = f[1] }, first = { func = f[1] }, [0] = 1, [1.5] = 2, [false] = 3 } }
options.fields = { tasks = { { fun = f[1], arg = {}, Name = "x", other = 1 } } }
options.no_func = { tasks = { { args = {} }, { func = 5 }, "task" } }
options.args = {
  tasks = { { func = f[1], args = 5 }, { func = f[1], args = { n = -1 } }, { func = f[1], args = { n = 1e6 } } },
}
options.callable = { tasks = { { func = things.callable, args = { 1 } }, { func = f[1], args = { n = 2 } } } }
options.uncallable = { tasks = { { func = f[1] }, { func = things.uncallable } } }
options.standard = {
  tasks = { { func = print, args = { string, math.pi } }, { func = things.echo, args = { things.show } } },
}
options.unsendable = {
  tasks = {
    { func = f[1], args = { { deep = things.userdata } } },
    { func = f[1], args = { [things.thread] = 1, things.native } },
  },
}
options.upvalues = { tasks = { { func = f[4] }, { func = f[7] }, { func = f[4] } }, upvalues = "copy" }
options.private = { tasks = { { func = f[4], args = { f[5] } }, { func = f[7] } }, upvalues = "private" }
options.trapped = { tasks = { { func = f[1], args = { things.trap } } }, [things.trap] = things.trap }
options.cycle = { tasks = {} }
options.cycle.tasks[1] = options.cycle
options.cycle.globals = options.cycle
options.many = { tasks = {} }
for i = 1, 6 do options.many.tasks[i] = { func = f[i], name = "task " .. i } end

-- Flags: decode on a full stack, set traps on tables, read as options of RunAsync.
local FULL, ARMED, ASYNC = 64, 2, 4
local flags = {
  decode = { deep = FULL, deep_and_shared = FULL, deep_keys = FULL },
  options = { full = ARMED + ASYNC, indices = ARMED, cycle = ARMED, one = ASYNC },
}

local seeds = {}
local function add(target, name, ...) seeds[#seeds + 1] = table.pack(target, name, flags[target][name] or 0, ...) end
for name, values in pairs(decode) do add("decode", name, values()) end
for name, table_of_options in pairs(options) do add("options", name, table_of_options) end
return seeds
