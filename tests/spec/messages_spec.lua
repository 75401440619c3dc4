-- The page of messages is true and complete: the tests provoke each of its messages, and it has each message of the source.

local gma2workers = require "gma2workers"
local messages = require "spec.fixtures.messages"
local read = require "spec.fixtures.read"

--- The messages of the page as keys. Each may stand there only once.
local function rows()
  local found = {}
  for line in read("lua/MESSAGES.md"):gmatch("[^\n]+") do
    local message, why, advice = line:match("^| `([^`]+)` | (.+) | (.+) |$")
    if message then
      assert(not found[message], "twice: " .. message)
      assert(#why > 0 and #advice > 0)
      found[message] = true
    elseif line:find("^|") then
      assert(line:find("^| message | why |") or line:find("^|[-|]+$"), "no row: " .. line)
    end
  end
  return found
end

local ROWS = rows()

--- A pattern for a message of the page, in which the parts that match `wild` may be anything.
local function pattern_of(message, wild)
  local escaped = message:gsub("[%^%$%(%)%%%.%[%]%*%+%-%?]", "%%%0")
  return "^" .. escaped:gsub(wild, ".+") .. "$"
end

--- A message without the common prefix: "Error: " and the position.
local function bare(text)
  return (text:gsub("^Error: ", ""):gsub("^[%w_./]+%.lua:%d+: ", ""))
end

--- The message of one failed task.
local function task(func, args, options)
  local job = { tasks = { { func = func, args = args } } }
  for name, value in pairs(options or {}) do
    job[name] = value
  end
  local entry = gma2workers.RunSync(job).result[1]
  assert.is_false(entry.success)
  return entry.data
end

--- The error, or the output, of loading the folder: by a program of that Lua `version`, with that `backend` asked for, with
-- a binary that returns that module, and with the cooperative files or without (`has_files`).
local function opened(world)
  local shown
  local own = { gma = { echo = function(text) shown = text end }, _VERSION = world.version or _VERSION }
  own._G = own
  own.os = { getenv = function() return world.backend end, clock = os.clock, time = os.time }
  own.package = setmetatable({ loaded = { _G = own }, preload = {}, cpath = "",
    searchpath = function() return world.binary and "elsewhere/gma2workers.so" end,
    loadlib = function() return world.binary and function() return world.binary end end }, { __index = package })
  if world.has_files == false then
    own.io = { open = function(name) return nil, name .. ": No such file or directory" end }
  end
  for name, value in pairs(_G) do
    own[name] = own[name] or value
  end
  local ok, message = pcall(assert(loadfile("lua/init.lua", "t", own)), "gma2-workers", "lua/init.lua")
  return ok and shown or message
end

-- Globals that reproductions change.
local KEPT = { "gma", "clean", "handle", "LIST", "LOW", "HIGH", "host", "settings" }

local function come(code)
  local before, path, cpath, loaded = {}, package.path, package.cpath, package.loaded["gma2-workers"]
  for _, name in ipairs(KEPT) do
    before[name] = rawget(_G, name)
  end
  local function nothing() end
  rawset(_G, "gma", { timer = nothing, cmd = nothing })
  local chunk = assert(load("local gma2workers, task, opened = ... " .. code, "=plugin.lua"))
  local _, message = pcall(chunk, gma2workers, task, opened)
  for _, name in ipairs(KEPT) do
    rawset(_G, name, before[name])
  end
  package.path, package.cpath, package.loaded["gma2-workers"] = path, cpath, loaded
  return message
end

describe("a message of the page is exact:", function()
  for tag, list in pairs { [""] = messages.always, [" #native"] = messages.native, [" #cooperative"] = messages.cooperative,
    [" #native #posix"] = messages.with_c_modules } do
    for message, code in pairs(list) do
      it(message .. tag, function()
        assert.is_true(ROWS[message])
        local came = come(code)
        assert.equal("string", type(came))
        assert.is_truthy(bare(came):find(pattern_of(message, "…")), came)
      end)
    end
  end

  it("or is provoked by another test", function()
    for message, where in pairs(messages.elsewhere) do
      assert.is_true(ROWS[message], message)
      assert.is_truthy(read(where[1]):find(where[2], 1, true), message)
      assert.is_truthy(message:find(where[2], 1, true), message)
    end
  end)
end)

describe("the page of messages", function()
  it("has no message without a test", function()
    local tried = {}
    for _, list in pairs(messages) do
      for message in pairs(list) do
        assert.is_nil(tried[message], message)
        tried[message] = true
      end
    end
    assert.same(tried, ROWS)
  end)

  --- Whether the page has a text of the source, in which names in braces stand for the varying parts.
  local function has(text)
    text = text:gsub("{{", "\1"):gsub("}}", "\2"):gsub("{[%a_]*}", "…"):gsub("\1", "{"):gsub("\2", "}")
    local pattern = pattern_of(text, "…")
    for message in pairs(ROWS) do
      if message:find(pattern) or text:find(pattern_of(message, "…")) then
        return true
      end
    end
    return false
  end

  it("has each option", function()
    local options = select(2, pcall(gma2workers.RunSync, { tasks = {}, nothing_of_the_kind = 1 })):match("the options are (.+)$")
    for name in options:gmatch("%a+") do
      local count = 0
      for message in pairs(ROWS) do
        count = count + (message:find(("^option '%s'"):format(name)) and 1 or 0)
      end
      assert.is_true(count > 0, name)
    end
  end)

  it("has each error of the source", function()
    -- Messages whose whole text comes from elsewhere: Lua's own, and those that the next test checks.
    local elsewhere = { Lua = true, Finalizer = true, BadCall = true, Upvalues = true }
    local source = read("src/error.rs")
    local variants, shown = source:match("\npub enum Error {\n(.-)\n}\n"), source:match("\nimpl fmt::Display for Error {(.-)\n}\n")
    local count = 0
    for name in ("\n" .. variants):gmatch("\n    (%u%a+)") do
      count = count + 1
      local arm = (shown .. "Error::"):match("Error::" .. name .. "%f[%A](.-)Error::")
      assert.is_truthy(arm, name)
      local text = arm:match('"([^"]*)"')
      assert.equal(elsewhere[name] == nil, text ~= nil, name)
      if text then
        assert.is_true(has(text), name .. ": " .. text)
      end
    end
    assert.is_true(count >= 20)
  end)

  it("has each advice about upvalues that there is in the source", function()
    local source = read("src/error/upvalues.rs"):gsub('\\"', "\3"):gsub("\\\n%s*", "")
    local count = 0
    for _, name in ipairs { "advice", "advice_for_several" } do
      for text in source:match("\n    fn " .. name .. "%(.-\n    }\n"):gmatch('"([^"]*)"') do
        count, text = count + 1, text:gsub("\3", '"')
        local is_there = false
        for message in pairs(ROWS) do
          is_there = is_there or message:find(text, 1, true) ~= nil
        end
        assert.is_true(is_there, text)
      end
    end
    assert.is_true(count >= 12)
  end)

  it("has each problem with an option that there is in the source", function()
    local shown = read("src/error.rs"):match("\nimpl fmt::Display for Problem {(.-)\n}\n"):gsub('\\"', "\3")
    local count = 0
    for text in shown:gmatch('write!%(f, "([^"]*)"') do
      count, text = count + 1, text:gsub("\3", '"'):gsub("{}", "{list}")
      assert.is_true(has("option {place} " .. text) or has("tasks{place} " .. text), text)
    end
    assert.is_true(count >= 15)
  end)

  it("has each refusal whose text is in the source", function()
    -- In the words of a stock Lua.
    local stock = { ["stack overflow: too many values to print"] = true, ["'tostring' must return a string to 'print'"] = true,
      ["wrong number of arguments"] = true, ["attempt to yield from outside a coroutine"] = true }
    local count = 0
    for _, name in ipairs { "coroutine", "stdlib", "api", "tasks", "config" } do
      for text in read("src/" .. name .. ".rs"):gmatch('BadCall%(%s*"([^"]+)"') do
        count = count + 1
        assert.is_true(stock[text] or has(text), text)
      end
    end
    assert.is_true(count > 3)
  end)
end)
