--- Finds values with a destructor that live across a call which may raise: a `longjmp` would leave them undropped.
---
---   lua5.3 tests/fence/owners.lua FILE.mir
---
--- Rust's MIR shows it: where such a value lives, the call has a block of its own to clean up in. A call may raise if a
--- `Protected`, or a table checked in one, is among its arguments, or a closure that has captured one and raises itself.

local bodies, closures = {}, {}

--- What is raising about a type: `Protected` and what is made of it.
local function has_protected(type)
  return type:find "%f[%w_]Protected<'" or type:find "%f[%w_]Table<'"
end

--- The closure types that a type is made of.
local function each_closure(type)
  return type:gmatch "{closure@[^}]*}"
end

local function read(path)
  local body
  for line in io.lines(path) do
    local name, parameters = line:match "^fn (.-)%((.*)%) %->.* {$"
    if name then
      body = { name = name, types = {}, cleanup = {}, calls = {}, captures = {}, drops = {} }
      bodies[#bodies + 1] = body
      -- Several parameters: each begins with its number.
      for number, type in (parameters .. ", _"):gmatch "_(%d+): (.-)%f[,], %f[_]" do
        body.types[number] = type
      end
      -- What a closure gets is itself first.
      local own = name:find "{closure#%d+}$" and body.types["1"]
      body.closure = own and own:match "{closure@[^}]*}"
      if body.closure then
        closures[body.closure] = body
      end
    elseif line == "}" then
      body = nil
    elseif body then
      local number, type = line:match "^%s+let m?u?t? ?_(%d+): (.*);$"
      if number then
        body.types[number] = type
      end
      local block, mark = line:match "^    (bb%d+)( ?%(?c?l?e?a?n?u?p?%)?): {$"
      if block then
        body.block = block
        body.cleanup[block] = mark ~= ""
        body.drops[block] = { next = {} }
      elseif body.block and body.cleanup[body.block] then
        local drops = body.drops[body.block]
        drops[#drops + 1] = line:match "^%s+drop%((.*)%) %->"
        for next_block in line:gmatch "bb%d+" do
          drops.next[next_block] = true
        end
      end
      -- What a closure captured is a field of its first parameter.
      if body.closure then
        for field in line:gmatch "%(%(?%*?_1%)?%.%d+: ([^()]*)" do
          body.captures[field] = true
        end
      end
      local call, unwind = line:match "^%s+(.-) %-> %[?.-unwind:? ?([%w_]+)%]?;$"
      if call and not line:find "^%s+drop%(" and not line:find "^%s+assert%(" then
        body.calls[#body.calls + 1] = { text = call, unwind = unwind, block = body.block }
      end
    end
  end
end

--- The types of a call's arguments.
local function argument_types(body, call)
  local callee, arguments = call.text:match "^(.-[%w_>%)}])(%b())$"
  local types = {}
  if not callee then
    return "", types
  end
  for place in arguments:gmatch "[mc]o[vp][ey] ([^,]*)" do
    local number = place:match "^_(%d+)%)?$"
    types[#types + 1] = number and (body.types[number] or "") or place
  end
  return callee, types
end

--- Whether a call may raise.
local function raises(body, call)
  local callee, types = argument_types(body, call)
  if callee:find "as Deref>::deref" or callee:find "Protected::<'_>::table$" then
    return false
  end
  for _, type in ipairs(types) do
    -- A function's type names what it takes, not what it has.
    local held = type:gsub("{closure@[^}]*}", ""):gsub("fn%b()[^{]*{.-}", "")
    if has_protected(held) then
      return callee
    end
    for closure in each_closure(type) do
      if closures[closure] and closures[closure].raises then
        return callee
      end
    end
  end
  return false
end

--- Marks the closures that raise through what they have captured.
local function mark_closures()
  local changed
  repeat
    changed = false
    for _, body in pairs(closures) do
      local has_captured = false
      for field in pairs(body.captures) do
        has_captured = has_captured or has_protected(field)
        for closure in each_closure(field) do
          has_captured = has_captured or closures[closure] and closures[closure].raises
        end
      end
      if has_captured and not body.raises then
        for _, call in ipairs(body.calls) do
          if not body.cleanup[call.block] and raises(body, call) then
            body.raises, changed = true, true
            break
          end
        end
      end
    end
  until not changed
end

--- Whether nothing happens where a value of this type is dropped: an array's iterator over what needs no drop.
local function is_trivial(type)
  local items = type:gsub("std::iter::Chain", ""):gsub("std::array::IntoIter", "")
  if items == type then
    return false
  end
  for word in items:gsub("&'?%w*", ""):gsub("[%w_]+::", ""):gmatch "[%a_][%w_]*" do
    if not (word == "str" or word == "CStr" or word == "NativeFunction" or word:find "^[iu]%w+$") then
      return false
    end
  end
  return true
end

--- The types of what is dropped from a block on, but for those that need no drop.
local function owned(body, first)
  local types, seen, blocks = {}, {}, { first }
  while #blocks > 0 do
    local block = table.remove(blocks)
    if not seen[block] and body.drops[block] then
      seen[block] = true
      for _, drop in ipairs(body.drops[block]) do
        local type = body.types[drop:match "^_(%d+)$"] or drop
        types[#types + 1] = not is_trivial(type) and type or nil
      end
      for next_block in pairs(body.drops[block].next) do
        blocks[#blocks + 1] = next_block
      end
    end
  end
  return types
end

read(arg[1])
mark_closures()
local calls, findings = 0, 0
for _, body in ipairs(bodies) do
  for _, call in ipairs(body.calls) do
    local callee = not body.cleanup[call.block] and raises(body, call)
    calls = calls + (callee and 1 or 0)
    local types = callee and owned(body, call.unwind) or {}
    if #types > 0 then
      findings = findings + 1
      print(("%s: %s may raise, and %s would not be dropped"):format(body.name, callee, table.concat(types, ", ")))
    end
  end
end
print(("%d calls that may raise, %d of them across something owned"):format(calls, findings))
os.exit(findings == 0 and calls > 0)
