--- `os.exit` while tasks run: it refuses to end the program from a task, as with the binary, and is the host's for all other code.
--
-- Tasks share the host's `os`. So its `exit` is replaced from the beginning of a task until no task is running. If the engine kills
-- a task's coroutine meanwhile, the replacement stays until Lua's collector has found that out and another job has ended. It still
-- does what the host's does.

local _, parts = ...

local exit = {}

local REFUSAL = "os.exit is not available in a task: return from its function instead"

-- The replacement of each function that was found as `os.exit`, with the table in which it was found; and all replacements. Each
-- calls its own original, so a plugin may wrap one meanwhile.
local replacements, is_replacement = setmetatable({}, { __mode = "k" }), setmetatable({}, { __mode = "k" })

-- The last of them that was set; nil if none is.
local replaced

local function replace(library, original)
  local function call(...)
    if parts.run.is_below_task() then
      error(REFUSAL, 2)
    end
    return original(...)
  end
  is_replacement[call] = true
  return { library = library, original = original, call = call }
end

--- Replaces `os.exit`, if the host has it. Called at the beginning of each task.
function exit.refuse()
  local library = rawget(_G, "os")
  local original = type(library) == "table" and rawget(library, "exit")
  if type(original) ~= "function" or is_replacement[original] then
    return
  end
  local replacement = replacements[original]
  if not replacement or replacement.library ~= library then
    replacement = replace(library, original)
    replacements[original] = replacement
  end
  replaced = replacement
  rawset(library, "exit", replacement.call)
end

--- Gives `os.exit` back, if no task is running any more.
function exit.restore()
  -- Read once: with time slices, another coroutine may set it to nil at any instruction.
  local last = replaced
  if not last or parts.run.has_tasks() then
    return
  end
  if rawget(last.library, "exit") == last.call then
    rawset(last.library, "exit", last.original)
  end
  replaced = nil
  if parts.run.has_tasks() then
    -- One has begun in between.
    exit.refuse()
  end
end

return exit
