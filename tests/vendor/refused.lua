--- A build of Lua that the module can't serve: refused.lua BINARY REASON. The bare binary gives the reason, and so does the
-- drop-in folder, once, before the cooperative backend takes its place.

local binary, reason = arg[1], arg[2]

for _ = 1, 2 do
  local ok, message = pcall(open_binary, binary)
  assert(not ok and type(message) == "string", message)
  assert(not string or message:find("^gma2workers needs .*" .. reason), message)
end

local needed = { "string", "table", "math", "coroutine" }
for _, name in ipairs(needed) do
  if not _G[name] then
    -- The folder needs it, too.
    print("refused: " .. select(2, pcall(open_binary, binary)))
    return
  end
end

local said = {}
gma = { echo = function(text) said[#said + 1] = text end }
local gma2workers = require("gma2-workers")
assert(#said == 1 and said[1]:find("gma2workers needs .*" .. reason), said[1])
assert(gma2workers.info.backend == "cooperative")
assert(require("gma2-workers") == gma2workers and #said == 1)
gma = nil
local response = gma2workers.RunSync {
  tasks = { { func = function(a, b) return a + b end, args = { 1, 2 } }, { func = function() error("boom") end } },
}
assert(response.result[1].data == 3, response.result[1].data)
assert(not response.result[2].success)
print("refused: " .. said[1]:gsub("^.*(gma2workers needs)", "%1"))
