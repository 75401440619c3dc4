--- Hints for tasks that failed because a global is missing. Only the host knows whether it has that global.

local core = ...

local hints = {}

--- The name of the global that a Lua error reports as nil.
local function missing_global(message)
  return string.match(message, "a nil value %(global '([^']+)'%)$")
end

-- The globals that are missing in a sandbox.
local NOT_IN_SANDBOX = { io = true, package = true, debug = true, require = true, loadfile = true, dofile = true }

-- The globals that every task has at first.
local STANDARD = {}
for name in string.gmatch([[_G _VERSION assert collectgarbage coroutine debug dofile error getmetatable gma io ipairs load loadfile
  math next os package pairs pcall print rawequal rawget rawlen rawset require select setmetatable string table tonumber tostring
  type utf8 xpcall]], "%S+") do
  STANDARD[name] = true
end

--- Whether every task has this global at first.
local function is_in_tasks(name, globals)
  for _, listed in ipairs(globals or {}) do
    if listed == name then
      return true
    end
  end
  return STANDARD[name] or core.backend == "cooperative"
end

--- Adds the hint to each failed entry whose error is a missing global.
-- @tab response
-- @tab failed the indices of the failed tasks
-- @bool sandbox whether the tasks were in a sandbox
-- @tab globals the names of the host's globals that the tasks had
function hints.add(response, failed, sandbox, globals)
  for _, index in ipairs(failed) do
    local entry = response.result[index]
    local name = entry.kind == "runtime" and missing_global(entry.data)
    if name and sandbox and NOT_IN_SANDBOX[name] then
      entry.data = entry.data .. ": a sandbox does not have it"
    elseif name and rawget(_G, name) ~= nil and is_in_tasks(name, globals) then
      entry.data = entry.data .. ": a task begins with it in _G: clear it nowhere, and give the function no _ENV but _G"
    elseif name and rawget(_G, name) ~= nil then
      entry.data = string.format("%s: the host has it, a task does not (list it in globals = { %q })", entry.data, name)
    elseif name == "gma" then
      entry.data = entry.data .. ": the host has no gma, so there is none in a task"
    end
  end
end

return hints
