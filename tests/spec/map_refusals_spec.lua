-- Calls of Map that are refused.

local gma2workers = require "gma2workers"

local HERE = debug.getinfo(1, "S").short_src

describe("a wrong call of Map is refused at the caller's line", function()
  local count = 0
  local function note() count = count + 1 end

  local function refuses(expected, ...)
    local arguments = table.pack(...)
    local line = debug.getinfo(1, "l").currentline + 3
    -- A job left by an earlier test must not count here.
    repeat until gma2workers.Poll() == 0
    local ok, message = pcall(function() gma2workers.Map(table.unpack(arguments, 1, arguments.n)) end)
    assert.is_false(ok)
    local where = ("%s:%d: "):format(HERE, line)
    assert.equal(where, message:sub(1, #where))
    assert.truthy(message:find(expected, #where + 1, true), message)
    assert.equal(0, count)
    assert.equal(0, gma2workers.Poll())
  end

  it("because of its arguments", function()
    refuses "bad argument #1 to 'Map' (function expected, got no value)"
    refuses("bad argument #1 to 'Map' (function expected, got table)", {}, { 1 })
    refuses("bad argument #2 to 'Map' (table expected, got no value)", print)
    refuses("bad argument #2 to 'Map' (table expected, got string)", print, "list")
    refuses("bad argument #3 to 'Map' (table or nil expected, got number)", print, {}, 5)
  end)

  it("because of its list", function()
    refuses("bad argument #2 to 'Map' (list[2] is missing: the list has a hole (list[3] is there)", note, { 1, nil, 3 })
    refuses("(list[1] is missing: the list has a hole (list[5] is there)", note, { [5] = 1 })
    refuses("(list[3] is missing: the list has a hole (list[4] is there)", note, setmetatable({ 1, 2, [4] = 1 }, {}))
    refuses("(a list expected, but it has a field 'name')", note, { 1, 2, name = "x" })
    refuses("(a list expected, but it has a boolean as a key)", note, { [true] = 1 })
    refuses("(a list that starts at 1 expected, but it has [0])", note, { [0] = 1 })
    refuses("(list.n must be a whole number of items, got -1)", note, { n = -1 })
    refuses("(list.n must be a whole number of items, got many)", note, { n = "many" })
  end)

  it("because of its options", function()
    local items = "option 'chunk' must be a whole number of items above 0, got "
    for _, wrong in ipairs { 0, -1, 1.5, "4", true, {} } do
      refuses(items .. (type(wrong) == "table" and "a table" or type(wrong) == "string" and '"4"' or tostring(wrong)), note, { 1 },
        { chunk = wrong })
    end
    refuses('option \'onError\' must be "raise" or "collect", got "ignore"', note, { 1 }, { onError = "ignore" })
    refuses("option 'onTrouble' is unknown: the options are chunk, onError, args, index, ", note, { 1 }, { onTrouble = "raise" })
    refuses("option 'chunks' is unknown: did you mean 'chunk'?", note, { 1 }, { chunks = 5 })
    refuses("option 'batch_size' is unknown: did you mean 'chunk'?", note, { 1 }, { batch_size = 5 })
    refuses("option 'threads' is unknown: did you mean 'workers'?", note, { 1 }, { threads = 5 })
    refuses("option 'func' is unknown: the options are ", note, { 1 }, { func = print })
    refuses("option 'onerror' is unknown: did you mean 'onError'?", note, { 1 }, { onerror = "raise" })
    refuses("option 'tasks' is unknown: the options are chunk, onError, ", note, { 1 }, { tasks = {} })
    refuses("option 'workers' must be a whole number from 1 to 256, got 0", note, { 1 }, { workers = 0 })
    refuses("option 'onComplete' must be a function, got 5", note, { 1 }, { onComplete = 5 })
    refuses("option 'onProgress' must be a function, got 5", note, { 1 }, { onProgress = 5 })
    refuses("option 'progress' must be a title as text, got 5", note, { 1 }, { progress = 5 })
    refuses("option 'timeout' must be a number of seconds above 0, got 0", note, { 1 }, { timeout = 0 })
    refuses("option 'globals'[1] must be the name of a global, got 'no_such_global'", note, { 1 }, { globals = { "no_such_global" } })
    refuses("option 'args' has a field 'x', which would be lost: ", note, { 1 }, { args = { x = 1 } })
    refuses("option 'args' has a value at [0], which would be lost: arguments are numbered from 1", note, { 1 }, { args = { [0] = 1 } })
    refuses("option 'args'.n must be a whole number of arguments, got 1.5", note, { 1 }, { args = { n = 1.5 } })
    refuses("option 'args' must hold 0 to 250 arguments, got 251: pass them in one table", note, { 1 }, { args = { n = 251 } })
    refuses("cannot send a coroutine (at args[2].deep)", type, { 1 }, { args = { 1, { deep = coroutine.create(print) } } })
    refuses("options have names, but there is a value at [1]: write { chunk = 10 }", note, { 1 }, { 5 })
    -- Options of the other calls are not Map's, nor the other way round.
    local ok, message = pcall(gma2workers.RunSync, { tasks = {}, chunk = 5 })
    assert.is_false(ok)
    assert.truthy(message:find("option 'chunk' is unknown", 1, true))
  end)
end)
