--- Measures the sides of a row in turn, again and again, and writes one line of JSON for each row. A machine's speed
-- drifts, so the sides run alternately and ratios are taken pair by pair; a figure is the median of its pairs. Each side's
-- answer is checked, and a wrong one ends the run.
-- @module measure

local clock = require("consolenative").clock

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

--- The seconds that a call takes, and its result. Garbage of other sides is collected first.
function measure.seconds(run, ...)
  collectgarbage()
  local start = clock()
  local answer = run(...)
  return clock() - start, answer
end

--- The median over the rounds of `join`, applied to the values of both sides.
local function paired(one, other, join)
  local list = {}
  for round = 1, #one do
    list[round] = join(one[round], other[round])
  end
  return measure.median(list)
end

local function figure_value(figure, values)
  local of = values[figure.of]
  if figure.over then
    return paired(of, values[figure.over], function(above, below) return above / below end)
  elseif figure.less then
    return paired(of, values[figure.less], function(all, part) return all - part end)
  end
  return measure.median(of)
end

--- Measures a row.
-- @tab row `name`; `unit`; `scale` from seconds to the unit (1 by default); `rounds`; `sides`, a list of
-- `{ name, run }`; `check(answer, side)`; `figures`, a list of `{ name =, of = side, least = or most = }`, each with
-- `over = side` for a ratio, or with `less = side` for a difference
function measure.row(row)
  local scale = row.scale or 1
  local values = {}
  for _, side in ipairs(row.sides) do
    values[side[1]] = {}
    row.check(side[2](), side[1])
  end
  for round = 1, row.rounds or 7 do
    for _, side in ipairs(row.sides) do
      local seconds, answer = measure.seconds(side[2])
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
