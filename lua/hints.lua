--- Adds to a failed task's error what only the host can know: the global it missed is here.

local hints = {}

--- The name of the global that an error of Lua's says is nil.
local function missing_global(message)
  return message:match("a nil value %(global '([^']+)'%)$")
end

--- Adds the hint to each failed entry that misses a global.
-- @tab response
-- @tab failed the indices of the failed tasks
function hints.add(response, failed)
  for _, index in ipairs(failed) do
    local entry = response.result[index]
    local name = entry.kind == "runtime" and missing_global(entry.data)
    if name and rawget(_G, name) ~= nil then
      entry.data = ("%s: the host has it, a task does not (list it in globals = { %q })"):format(entry.data, name)
    elseif name == "gma" then
      entry.data = entry.data .. ": the host has no gma, so there is none in a task"
    end
  end
end

return hints
