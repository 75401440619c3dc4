--- Measures the sides of a row in turn, again and again, and writes one line of JSON for each row. A machine's speed
-- drifts, so the sides run alternately and ratios are taken pair by pair; a figure is the median of its pairs. Each side's
-- answer is checked, and a wrong one ends the run.
-- @module measure

local clock = require("consolenative").clock
local console = require "console"

local measure = {}

--- The median.
function measure.median(list)
  local sorted = table.move(list, 1, #list, 1, {})
  table.sort(sorted)
  return (sorted[(#sorted + 1) // 2] + sorted[#sorted // 2 + 1]) / 2
end

local function json(value)
  if type(value) == "table" then
    local parts = {}
    if #value > 0 then
      for i, item in ipairs(value) do
        parts[i] = json(item)
      end
      return "[" .. table.concat(parts, ",") .. "]"
    end
    for key, item in pairs(value) do
      parts[#parts + 1] = json(key) .. ":" .. json(item)
    end
    return "{" .. table.concat(parts, ",") .. "}"
  elseif type(value) == "string" then
    return '"' .. value:gsub('[%c"\\]', function(c) return ("\\u%04x"):format(c:byte()) end) .. '"'
  elseif math.type(value) == "float" then
    return ("%.9g"):format(value)
  end
  return tostring(value)
end

--- Writes a row's line.
-- @tab row `name`, `unit`, `sides` (lists of values by name), `figures` (name, value, and the target: `least` or `most`)
function measure.report(row)
  print(json(row))
end

--- The seconds that a call takes, or those that it returns after its result; its result; and its further results. Garbage of
-- other sides is collected first.
function measure.seconds(run, ...)
  collectgarbage()
  local start = clock()
  local answer, seconds, all, host = run(...)
  return seconds or clock() - start, answer, all, host
end

--- Makes a side that runs in the engine stand-in, as a plugin does. The engine's own start and end are not measured.
-- @func run gets the engine
-- @treturn func returns the result and the seconds
function measure.in_engine(run)
  local function plugin(engine)
    local start = clock()
    local answer = run(engine)
    return answer, clock() - start
  end
  return function()
    local engine = console.new()
    engine:install()
    local answer, seconds = engine:run(plugin, engine)
    engine:uninstall()
    return answer, seconds
  end
end

--- Loads the cooperative backend beside the native one.
function measure.cooperative()
  local native, getenv = package.loaded.gma2workers, os.getenv
  package.loaded.gma2workers = nil
  os.getenv = function() return "cooperative" end -- luacheck: ignore 122
  local module = assert(loadfile("lua/init.lua"))("gma2workers", "lua/init.lua")
  package.loaded.gma2workers, os.getenv = native, getenv -- luacheck: ignore 122
  return module
end

--- The processor seconds of this thread.
function measure.thread_seconds()
  local file = assert(io.open("/proc/thread-self/schedstat"))
  local nanoseconds = file:read("n")
  file:close()
  return nanoseconds / 1e9
end

--- Whether two values are the same, tables with all their fields.
function measure.is_same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then
    return a == b
  end
  for key, item in pairs(a) do
    if not measure.is_same(item, b[key]) then
      return false
    end
  end
  for key in pairs(b) do
    if a[key] == nil then
      return false
    end
  end
  return true
end

--- The median over the rounds of `join`, applied to the values of both sides.
local function paired(one, other, join)
  local list = {}
  for round = 1, #one do
    list[round] = join(one[round], other[round])
  end
  return measure.median(list)
end

--- The median over the rounds of `join`, applied to the round's values by side.
local function joined(values, join)
  local list = {}
  for round = 1, #values[next(values)] do
    local of_round = {}
    for side, of_side in pairs(values) do
      of_round[side] = of_side[round]
    end
    list[round] = join(of_round)
  end
  return measure.median(list)
end

local function figure_value(figure, values)
  if figure.join then
    return joined(values, figure.join)
  end
  local of = values[figure.of]
  if figure.over then
    return paired(of, values[figure.over], function(above, below) return above / below end)
  elseif figure.less then
    return paired(of, values[figure.less], function(all, part) return all - part end)
  end
  return measure.median(of)
end

--- Makes a side that returns its result, its seconds, and the processor seconds of all threads and of the host's.
local function with_processor(run)
  return function()
    local all, host = os.clock(), measure.thread_seconds()
    local start = clock()
    local answer, seconds = run()
    seconds = seconds or clock() - start
    return answer, seconds, os.clock() - all, measure.thread_seconds() - host
  end
end

local function note(values, side, round, value)
  values[side] = values[side] or {}
  values[side][round] = value
end

--- Measures a row.
-- @tab row `name`; `unit`; `scale` from seconds to the unit (1 by default); `rounds`; `sides`, a list of
-- `{ name, run }`; `processor`, whether to note the processor time of each side, too, as further sides: it tells more than the
-- wall clock on a busy machine; `check(answer, side)`; `figures`, a list of `{ name =, of = side, least = or most = }`, each with
-- `over = side` for a ratio, or with `less = side` for a difference; or instead of `of`, `join`, a function that computes
-- the figure from a round's values by side
function measure.row(row)
  local scale = row.scale or 1
  local values = {}
  for _, side in ipairs(row.sides) do
    values[side[1]] = {}
    row.check(side[2](), side[1])
  end
  for round = 1, row.rounds or 7 do
    for _, side in ipairs(row.sides) do
      local seconds, answer, all, host = measure.seconds(row.processor and with_processor(side[2]) or side[2])
      if row.processor then
        note(values, side[1] .. ", processor time", round, all * scale)
        note(values, side[1] .. ", the host's processor time", round, host * scale)
      end
      row.check(answer, side[1])
      values[side[1]][round] = seconds * scale
    end
  end
  local figures = {}
  for i, figure in ipairs(row.figures) do
    figures[i] = {
      name = figure.name,
      value = figure_value(figure, values),
      least = figure.least,
      most = figure.most,
    }
  end
  measure.report { name = row.name, unit = row.unit, sides = values, figures = figures }
end

--- The last line of a command's output, as a number.
function measure.number_from(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read("a")
  pipe:close()
  return tonumber(text:match("([^\n]*)\n*$")) or error("no number from: " .. command .. "\n" .. text)
end

--- The allowed difference between two floats whose terms were added in another order.
function measure.is_close(a, b)
  return math.abs(a - b) <= 1e-6 * math.max(1, math.abs(b))
end

return measure
