-- Pool scan: lists every object of a pool that has a label.
--
--   Plugin "Pool scan"                 macros
--   Plugin "Pool scan" "Group"         any pool, by the word that one types for it
--   Plugin "Pool scan" "Preset 4 cmd"  in the other mode
--
-- Shows: gma functions in tasks (the console carries out each call while its task waits), a helper function and a part
-- of the gma table that cross with the task, RunAsync with a callback, and waiting for the job all the same.

local gma2workers = require "gma2workers"

local getobj = gma.show.getobj

local LAST_NUMBER, CHUNK = 500, 50

-- "Group 5", but "Preset 4.5".
local function object_name(pool, number)
  return pool .. (pool:find("%d$") and "." or " ") .. number
end

local function label_of(pool, number)
  local object = getobj.handle(object_name(pool, number))
  return object and getobj.label(object)
end

local function scan(pool, first, last)
  local found = {}
  for number = first, last do
    local label = label_of(pool, number)
    if label then
      found[#found + 1] = { number = number, label = label }
    end
  end
  return found
end

local function chunks(pool)
  local tasks = {}
  for first = 1, LAST_NUMBER, CHUNK do
    local last = math.min(first + CHUNK - 1, LAST_NUMBER)
    tasks[#tasks + 1] = { name = ("%s %d to %d"):format(pool, first, last), func = scan, args = { pool, first, last } }
  end
  return tasks
end

local function show(pool, response)
  local count = 0
  for _, result in ipairs(response.result) do
    if result.success then
      for _, object in ipairs(result.data) do
        count = count + 1
        gma.feedback(object_name(pool, object.number) .. ": " .. object.label)
      end
    else
      gma.feedback("Pool scan: " .. result.data)
    end
  end
  gma.feedback(("Pool scan: %s has labelled objects: %d"):format(pool, count))
end

local function Start(argument)
  local text = argument and argument:match("%S") and argument or "Macro"
  local pool, mode = text:match("^(.-)%s+(%a+)$")
  pool = pool or text

  local job = gma2workers.RunAsync {
    tasks = chunks(pool),
    mode = mode,
    onComplete = function(response)
      show(pool, response)
    end,
  }
  gma.echo("Pool scan: started, looking at 1 to " .. LAST_NUMBER)
  -- Nothing else to do here; without this line the list would appear all the same.
  job:wait()
end

return Start
