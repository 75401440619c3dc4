--- Public modules, captured at the top of a script and used in tasks. Each function has to give in a task what it gives on the host.
-- Prints the packages that are missing. See scripts/test-modules.

local gma2workers = require "gma2workers"

-- The module, a function of it that makes the function for the tasks, and the function of `debug` that it needs.
local USES = {
  { "dkjson", function(json)
    local encode = json.encode
    return function() return encode({ 1, 2, { x = true } }), json.decode('{"a":[1,2]}').a[2], json.null ~= nil end
  end },
  { "json", function(json) return function() return json.encode({ 1, "a" }), json.decode("[1,[2,3]]")[2][2] end end },
  { "MessagePack", function(pack) return function() return pack.unpack(pack.pack({ 1, { a = "b" } }))[2].a, #pack.pack("x") end end },
  { "inspect", function(inspect) return function() return inspect({ 1, { a = 2 } }), inspect.inspect("x") end end },
  { "moses", function(moses)
    return function() return moses.sum({ 1, 2, 3 }), moses.map({ 1, 2 }, function(v) return v * 2 end)[2] end
  end },
  { "argparse", function(argparse)
    return function()
      local parser = argparse("name")
      parser:argument("input")
      parser:option("-l --level"):convert(tonumber)
      local args = parser:parse { "file", "--level", "5" }
      return args.input, args.level
    end
  end },
  { "inifile", function(ini)
    return function()
      local read = ini.parse("[section]\nkey=5\n", "memory")
      return read.section.key
    end
  end },
  { "binaryheap", function(heap)
    return function()
      local h = heap.minHeap()
      for _, n in ipairs { 5, 3, 8 } do h:insert(n) end
      return h:pop(), h:peek()
    end
  end },
  { "ansicolors", function(colors) return function() return colors("%{red}x%{reset}") end end },
  { "say", function(say)
    say:set_namespace("en")
    say:set("hello", "Hello %s!")
    return function() return say("hello", { "you" }) ~= nil, say:set("bye", "Bye") or say("bye") end
  end },
  { "luassert", function(luassert)
    return function()
      luassert.same({ 1, { 2 } }, { 1, { 2 } })
      return pcall(luassert.equal, 1, 1), (pcall(luassert.equal, 1, 2))
    end
  end },
  { "pl.pretty", function(pretty) return function() return pretty.write({ 1, { a = 2 } }), pretty.read("{ 1, 2 }")[2] end end },
  { "pl.tablex", function(tablex)
    local deepcompare = tablex.deepcompare
    return function() return deepcompare({ 1, { 2 } }, { 1, { 2 } }), tablex.map(function(v) return v + 1 end, { 1, 2 })[2] end
  end },
  { "pl.class", function(class)
    return function()
      local Animal = class()
      function Animal:_init(name) self.name = name end
      local Dog = class(Animal)
      function Dog:speak() return self.name .. " barks" end
      return Dog("Rex"):speak(), Dog("Rex"):is_a(Animal)
    end
  end },
  { "pl.stringx", function(stringx)
    return function() return stringx.strip("  x "), stringx.split("a b c")[2], stringx.join(",", { 1, 2 }) end
  end },
  { "pl.List", function(List) return function() return List { 1, 2, 3 }:map("_+1"):reduce("+"), tostring(List { 1, 2 }) end end },
  { "pl.OrderedMap", function(OrderedMap)
    return function()
      local map = OrderedMap()
      map:set("z", 1)
      map:set("a", 2)
      return map:keys():concat(",")
    end
  end },
  { "cjson", function(cjson)
    local decode = cjson.decode
    return function() return cjson.encode({ 1, { 2 } }), decode("[1,2]")[2], decode("[null]")[1] == cjson.null end
  end },
  { "lpeg", function(lpeg) return function() return (lpeg.C(lpeg.R("az") ^ 1)):match("abc1"), lpeg.match(lpeg.P("x"), "x") end end },
  { "re", function(re) return function() return re.match("abc12", "[a-z]+"), re.find("x1", "[0-9]") end end },
  { "lfs", function(lfs)
    local attributes = lfs.attributes
    return function() return attributes("/", "mode"), type(lfs.currentdir()) end
  end },
  { "zlib", function(zlib) return function() return zlib.inflate()(zlib.deflate()(("x"):rep(1000), "finish")) end end },
}

local failures = 0
local function check(name, ok, problem)
  if not ok then
    failures = failures + 1
    print(("%s: %s"):format(name, tostring(problem)))
  end
end

local function show(values)
  local texts = {}
  for i = 1, values.n do
    texts[i] = tostring(values[i])
  end
  return table.concat(texts, " | ")
end

local tried = 0
for _, use in ipairs(USES) do
  local name, make = use[1], use[2]
  local has_module, module = pcall(require, name)
  if not has_module then
    print("skipped: there is no " .. name)
  else
    tried = tried + 1
    local func = make(module)
    local expected = show(table.pack(func()))
    local tasks = {}
    for i = 1, 6 do
      tasks[i] = { func = func }
    end
    for _, mode in ipairs { "timer", "cmd" } do
      for i, entry in ipairs(gma2workers.RunSync({ tasks = tasks, workers = 2, mode = mode }).result) do
        local got = entry.success and show(entry.returns or { entry.data, n = 1 }) or entry.data .. "\n" .. (entry.traceback or "")
        check(("%s, task %d in mode %s"):format(name, i, mode), got == expected, got .. "\ninstead of " .. expected)
        if got ~= expected then
          break
        end
      end
    end
  end
end

-- Objects keep their classes, both ways.
for name, make in pairs { ["pl.List"] = function(List) return List { 1, 2 } end,
  ["pl.OrderedMap"] = function(Map) return Map { { a = 1 } } end,
  ["pl.Set"] = function(Set) return Set { 1, 2 } end } do
  local has_module, class = pcall(require, name)
  if has_module then
    local object = make(class)
    local entry = gma2workers.RunSync({ tasks = { { func = function(one)
      return one, tostring(one), getmetatable(one) == class
    end, args = { object } } } }).result[1]
    check(name .. ", an object", entry.success and getmetatable(entry.data) == class and entry.returns[3], entry.data)
    check(name .. ", an object's text", entry.success and entry.returns[2] == tostring(object), entry.success and entry.returns[2])
  end
end

-- Penlight adds its functions to `string`.
local has_stringx, stringx = pcall(require, "pl.stringx")
if has_stringx then
  stringx.import()
  local entry = gma2workers.RunSync({ tasks = { { func = function() return ("  x "):strip(), ("a,b"):split(",")[2] end } } }).result[1]
  check("pl.stringx.import", entry.success and entry.data == "x" and entry.returns[2] == "b", entry.data)
end

print(("%d public modules tried, %d failures"):format(tried, failures))
os.exit(failures == 0)
