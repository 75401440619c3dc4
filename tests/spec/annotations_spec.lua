-- The annotations for editors declare exactly the API.

local gma2workers = require "gma2workers"
local read = require "spec.fixtures.read"

local TEXT = read "lua/annotations.lua"

local function set(names)
  local found = {}
  for _, name in ipairs(names) do
    found[name] = true
  end
  return found
end

--- The declarations: the classes' fields by name, true if they may be nil; the words of each alias; the functions of each
-- table, with the names of their parameters, their documented parameters and their results.
local function parse(text)
  local classes, aliases, owners = {}, {}, {}
  local class, alias, params, returns
  for line in (text .. "\n"):gmatch("(.-)\n") do
    local name, optional = line:match("^%-%-%-@field (%a+)(%??) ")
    local owner, method, parameters = line:match("^function ([%a%d]+)[.:](%a+)%((.-)%) end$")
    if line:find("^%-%-%-@class ") then
      class = {}
      classes[line:gsub("^%-%-%-@class ", ""):gsub("^%(exact%) ", ""):match("^[%a%d_.]+")] = class
    elseif line:find("^%-%-%-@alias ") then
      alias = {}
      aliases[line:match("@alias ([%a%d_.]+)")] = alias
    elseif name then
      assert(class[name] == nil, name)
      class[name] = optional == "?"
    elseif line:find("^%-%-%-|") then
      alias[line:match('^%-%-%-| "(%a+)"')] = true
    elseif line:find("^%-%-%-@param ") then
      params[#params + 1] = line:match("@param (%a+)")
    elseif line:find("^%-%-%-@return ") then
      returns[#returns + 1] = line:match("@return [%a%d_.?%[%]]+ (%a+)")
    elseif owner then
      owners[owner] = owners[owner] or {}
      owners[owner][method] = { takes = parameters, params = table.concat(params, ", "), returns = #returns }
    end
    if not line:find("^%-%-%-") then
      params, returns = {}, {}
    end
  end
  return classes, aliases, owners
end

local CLASSES, ALIASES, FUNCTIONS = parse(TEXT)

--- Merges lists of names, without what is declared about them.
local function names_of(...)
  local names = {}
  for _, list in ipairs { ... } do
    for name in pairs(list) do
      names[name] = true
    end
  end
  return names
end

local function message_of(options)
  return select(2, pcall(gma2workers.RunSync, options))
end

--- The records of tasks that ended in every possible way.
local function responses()
  local found = {}
  local function run(options)
    found[#found + 1] = gma2workers.RunSync(options)
  end
  run { tasks = {
    { func = math.abs, args = { -5 } },
    { func = function() end },
    { func = function() return 1, nil, 3 end },
    { func = function() error("text") end },
    { func = function() error({ 1 }) end },
    { func = print, args = { io.stdout } },
  } }
  local job = gma2workers.RunAsync { tasks = { { func = tostring, args = { 1 } } }, onComplete = function() end }
  job:cancel()
  found[#found + 1] = job:wait()
  return found
end

describe("the annotations", function()
  it("belong to the module under its own name, and contain no code", function()
    assert.equal("---@meta gma2workers", TEXT:match("^[^\n]*"))
    local ok, message = pcall(assert(loadfile("lua/annotations.lua")))
    assert.is_false(ok)
    assert.equal("annotations.lua is for editors: require gma2-workers, or gma2workers", message)
  end)

  it("belong to the folder, too, whatever its name", function()
    assert.truthy(read("lua/init.lua"):find("\n%-%-%-@type gma2workers\nlocal gma2workers\n.*\nreturn gma2workers\n$"))
  end)

  it("have exactly the fields of the module", function()
    assert.same(names_of(gma2workers), names_of(CLASSES.gma2workers, FUNCTIONS.gma2workers))
    for name, value in pairs(gma2workers) do
      assert.equal(type(value) == "function", FUNCTIONS.gma2workers[name] ~= nil, name)
    end
  end)

  it("have exactly the fields of info", function()
    local declared = CLASSES["gma2workers.info"]
    for name, optional in pairs(declared) do
      assert.is_false(optional)
      assert.is_not_nil(gma2workers.info[name], name)
    end
    for name in pairs(gma2workers.info) do
      assert.is_not_nil(declared[name], name)
    end
    -- Computed fields can't be listed here; the README lists them.
    for name in read("README.md"):match("\n| `info` | ([^\n]+)"):gmatch("`(%l+)`") do
      assert.is_not_nil(declared[name], name)
    end
  end)

  it("have exactly the accepted options", function()
    local accepted = {}
    for name in message_of({ tasks = {}, nothing_of_the_kind = 1 }):match("the options are (.+)$"):gmatch("%a+") do
      accepted[name] = true
    end
    local declared = CLASSES["gma2workers.options"]
    assert.same(accepted, names_of(declared))
    for name, optional in pairs(declared) do
      assert.equal(name ~= "tasks", optional)
    end
    -- RunAsync requires another class.
    assert.same({ onComplete = false }, CLASSES["gma2workers.async_options"])
    assert.is_false(pcall(gma2workers.RunAsync, { tasks = {} }))
    assert.is_true(pcall(gma2workers.RunAsync, { tasks = {}, onComplete = function() end }))
  end)

  it("have exactly the options that Map accepts", function()
    local accepted = {}
    local message = select(2, pcall(gma2workers.Map, print, {}, { nothing_of_the_kind = 1 }))
    for name in message:match("the options are (.+)$"):gmatch("%a+") do
      accepted[name] = true
    end
    local declared = CLASSES["gma2workers.map_options"]
    assert.same(accepted, names_of(declared))
    for name, optional in pairs(declared) do
      assert.is_true(optional, name)
    end
    assert.same({ onComplete = false }, CLASSES["gma2workers.map_async_options"])
    local words = {}
    for word in select(2, pcall(gma2workers.Map, print, {}, { onError = "?" })):match("must be (.-), got"):gmatch('"(%a+)"') do
      words[word] = true
    end
    assert.same(words, ALIASES["gma2workers.on_error"])
  end)

  it("have exactly the words that options accept", function()
    for _, option in ipairs { "mode", "upvalues" } do
      local accepted = {}
      for word in message_of({ tasks = {}, [option] = "?" }):match("must be (.-), got"):gmatch('"(%a+)"') do
        accepted[word] = true
      end
      assert.same(accepted, ALIASES["gma2workers." .. option])
    end
  end)

  it("have a task's fields", function()
    assert.same({ func = false, args = true, name = true, timeout = true }, CLASSES["gma2workers.task"])
    for name, wrong in pairs { func = 1, args = 1, name = {}, timeout = 0 } do
      local task = { func = print, [name] = wrong }
      assert.truthy(message_of({ tasks = { task } }):find(name, 1, true))
    end
  end)

  it("have exactly the fields of a response and of its records", function()
    local response, entry, responses_count, entries_count = {}, {}, 0, 0
    for _, found in ipairs(responses()) do
      for name in pairs(found) do
        response[name] = (response[name] or 0) + 1
      end
      for _, one in ipairs(found.result) do
        for name in pairs(one) do
          entry[name] = (entry[name] or 0) + 1
        end
        entries_count = entries_count + 1
      end
      responses_count = responses_count + 1
    end
    local function assert_declared(found, class, count)
      local declared = CLASSES[class]
      assert.same(names_of(found), names_of(declared))
      for name, optional in pairs(declared) do
        assert.equal(found[name] < count, optional, name)
      end
    end
    assert_declared(response, "gma2workers.response", responses_count)
    assert_declared(entry, "gma2workers.result", entries_count)
  end)

  it("have the README's kinds of failure and backends", function()
    local kinds, readme = {}, read("README.md")
    for kind in readme:match("| kind | the task |(.-)\n\n"):gmatch("\n| `(%a+)`") do
      kinds[kind] = true
    end
    assert.same(kinds, ALIASES["gma2workers.kind"])
    assert.same(set { "native", "cooperative" }, ALIASES["gma2workers.backend"])
    assert.is_true(ALIASES["gma2workers.backend"][gma2workers.info.backend])
  end)

  it("have exactly the methods and fields of a job", function()
    local job = gma2workers.RunAsync { tasks = {}, onComplete = function() end }
    local methods = {}
    for name in pairs(getmetatable(job).__index) do
      methods[name] = not name:find("^__") or nil
    end
    assert.same(methods, names_of(FUNCTIONS.job))
    assert.same(names_of(job), names_of(CLASSES["gma2workers.job"]))
  end)

  it("have the words for a job's status", function()
    local stands = {}
    local function note(job)
      stands[(job:status())] = true
      return job
    end
    for _, cancels in ipairs { false, true } do
      local job = note(gma2workers.RunAsync { tasks = { { func = tostring, args = { 1 } } }, onComplete = function() end })
      if cancels then
        job:cancel()
      end
      job:wait()
      note(job)
    end
    assert.same(stands, ALIASES["gma2workers.status"])
  end)

  it("name the parameters and results of each function", function()
    local given = { status = 3, setEngine = 0 }
    for _, owner in pairs(FUNCTIONS) do
      for name, declared in pairs(owner) do
        assert.equal(declared.takes, declared.params, name)
        assert.equal(given[name] or 1, declared.returns, name)
      end
    end
  end)
end)
