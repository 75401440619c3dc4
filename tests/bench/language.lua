--- Ordinary code in one task on one worker, beside the same function called in plain Lua. A task should never be slower.

local gma2workers = require "gma2workers"
local measure = require "measure"

-- Each takes some tens of milliseconds.
local LOADS = {
  { "many texts of 300 KB", most = 1.1, code = [[
    local text, last = ("x"):rep(300000), nil
    for i = 1, 3000 do last = text .. i end
    return #last]] },
  { "many texts of 600 KB after those of 270 KB", most = 1.1, code = [[
    local list, text, last = {}, ("x"):rep(270000), nil
    for i = 1, 100 do list[i] = text .. i end
    list = nil
    collectgarbage() collectgarbage()
    text = ("x"):rep(600000)
    for i = 1, 1500 do last = text .. i end
    return #last]] },
  { "a text that grows to 1.1 MB", most = 1.1, code = [[
    local text = ("x"):rep(200000)
    for _ = 1, 3000 do text = text .. ("y"):rep(300) end
    return #text]] },
  { "the last 100 of many texts of 600 KB", most = 1.1, code = [[
    local text, list = ("x"):rep(600000), {}
    for i = 1, 1500 do list[i % 100] = text .. i end
    return #list]] },
  { "patterns", most = 1.1, code = [[
    local parts = {}
    for i = 1, 2000 do parts[i] = ('<fixture id="%d" name="Fix %d"><channel n="%d"/></fixture>'):format(i, i, i) end
    local text, count = table.concat(parts, "\n"), 0
    for _ = 1, 10 do
      for _, attributes in text:gmatch("<(%a+)(.-)/?>") do
        for _ in attributes:gmatch('(%a+)="(.-)"') do count = count + 1 end
      end
    end
    return count]] },
  { "small tables", most = 1.1, code = [[
    local list
    for _ = 1, 10 do
      list = {}
      for i = 1, 20000 do list[i] = { id = i, name = "x" } end
    end
    return #list]] },
  { "sorting with a comparator", most = 1.1, code = [[
    local list = {}
    for i = 1, 60000 do list[i] = i * 7919 % 60013 end
    table.sort(list, function(a, b) return a > b end)
    return list[1] ]] },
  { "objects", most = 1.3, code = [[
    local Class, sum = {}, 0
    Class.__index = Class
    function Class:get() return self.value end
    for i = 1, 300000 do sum = sum + setmetatable({ value = i }, Class):get() end
    return sum]] },
  { "lines written to a file", most = 1.3, code = [[
    local file = assert(io.tmpfile())
    for i = 1, 300000 do file:write("line ", i, "\n") end
    file:close()
    return 0]] },
  { "a coroutine's switches", most = 2, code = [[
    local next_number, sum = coroutine.wrap(function() for i = 1, 500000 do coroutine.yield(i) end end), 0
    for _ = 1, 500000 do sum = sum + next_number() end
    return sum]] },
}

for _, entry in ipairs(LOADS) do
  local func = assert(load(entry.code))
  local expected = func()
  measure.row {
    name = "one task: " .. entry[1], unit = "ms", scale = 1e3, rounds = 5,
    sides = {
      { "plain Lua", func },
      { "one worker", function() return gma2workers.RunSync({ tasks = { { func = func } }, workers = 1 }).result[1].data end },
    },
    check = function(answer, side) assert(answer == expected, side .. ": wrong answer") end,
    figures = { { name = "of plain Lua's time", of = "one worker", over = "plain Lua", most = entry.most } },
  }
end
