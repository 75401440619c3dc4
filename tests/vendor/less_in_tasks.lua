--- A host whose own libraries are more than its luaL_openlibs opens: less_in_tasks.lua BINARY. Tasks have the opened ones.

local gma2workers = open_binary(arg[1])
local sin, pack, write = math.sin, table.pack, io.write

local function run(func, options, ...)
  options = options or {}
  options.tasks = { { func = func, args = { ... } } }
  return gma2workers.RunSync(options).result[1]
end

for _, options in ipairs { {}, { mode = "cmd" }, { sandbox = true }, { workers = 2, timeout = 60 } } do
  for _ = 1, 2 do
    assert(run(function(a, b) return a + b end, options, 1, 2).data == 3)
    local failed = run(function() return nil + 1 end, options)
    assert(failed.kind == "runtime", failed.data)
  end
end
-- A captured function that does not exist there is named.
local users = {
  { function() return sin(0) end, function() return math ~= nil end, "math.sin" },
  { function() return pack(1).n end, function() return table ~= nil end, "table.pack" },
  { function() write() end, function() return io ~= nil end, "io.write" },
}
for _, user in ipairs(users) do
  local record, is_there = run(user[1]), run(user[2]).data
  assert(record.success == is_there, record.data)
  assert(is_there or record.kind == "upvalue" and record.data:find(user[3], 1, true), record.data)
end
assert(run(function() while true do end end, { timeout = 0.05 }).kind == "timeout")
gma = { twice = function(n) return 2 * n end }
assert(run(function() return gma.twice(4) end).data == 8)
print("tasks end as they should")
