--- The code of tasks that never end, with what only Lua 5.4 has. Lua 5.3 could not read it.

local closing = "local function at_end(f) return setmetatable({}, { __close = f }) end "

return {
  closing_variables = closing .. [[
    while true do
      pcall(function() local a <close> = at_end(function() error("once more") end) error("raised") end)
    end]],
  closing_at_the_end = closing .. [[
    local a <close> = at_end(function() while true do pcall(error) end end)
    while true do pcall(error) end]],
  closing_coroutines = closing .. [[
    while true do
      local inner = coroutine.create(function() local a <close> = at_end(type) coroutine.yield() end)
      coroutine.resume(inner)
      coroutine.close(inner)
    end]],
  generational = [[
    collectgarbage("generational")
    while true do
      local list = {}
      for i = 1, 200 do list[i] = { list } end
    end]],
}
