--- The entry of the drop-in folder: `require` of this folder returns gma2workers.
-- The binary is beside this file or, with a rock, on `package.cpath`. If it can't be loaded, this loads the cooperative backend
-- beside this file and reports why. Nothing here depends on the folder's name, so it may be renamed.

local VERSION = "0.1.0"

-- If the program has loaded the module under another name, it gets the same one. A worker can't have the module; it gets the
-- preloaded stand-in, which raises a clear error.
for _, name in ipairs { "gma2workers", "gma2-workers", "gma2_workers" } do
  local loaded = package.loaded[name]
  -- Another library may have such a name.
  local info = type(loaded) == "table" and rawget(loaded, "info")
  if name == "gma2workers" and loaded or type(info) == "table" and rawget(info, "name") == "gma2workers" then
    return loaded
  end
end
if package.preload["gma2workers"] then
  return require("gma2workers")
end

if _VERSION ~= "Lua 5.3" and _VERSION ~= "Lua 5.4" then
  error("gma2workers needs Lua 5.3 or 5.4, this is " .. _VERSION, 0)
end

-- The packed file begins like this one, up to here: see scripts/pack-cooperative.

-- `require` passes the name and the path of this file. If it was loaded in another way, its source has the path.
local _, path = ...
local debugging = package.loaded.debug
local source = type(path) == "string" and path or debugging and debugging.getinfo(1, "S").source:gsub("^@", "") or "init.lua"
local folder = source:match("^(.*[/\\])[^/\\]*$") or "./"
local is_windows = package.config:sub(1, 1) == "\\"

--- The processor, as the zips name it. On Linux, the program's own file says which it is.
local function processor()
  local program = not is_windows and io and io.open("/proc/self/exe", "rb")
  local header = program and program:read(20) or ""
  if program then
    program:close()
  end
  -- The field `e_machine` of an ELF header.
  local machines = { [3] = "x86", [40] = "arm", [62] = "x86_64", [183] = "aarch64" }
  return machines[header:byte(19)] or string.packsize("T") == 8 and "x86_64" or "x86"
end

local function exists(name)
  if not io then
    -- A path without a question mark is tried as it is.
    return package.searchpath("", name) ~= nil
  end
  local file = io.open(name, "rb")
  return file ~= nil and file:close()
end

--- The possible names of the binary: its name in the zips, so that one folder can hold the binaries of all systems and of both
-- Luas, and its name after a build.
local function binary_names()
  local ending = is_windows and ".dll" or ".so"
  local built, renamed = "gma2workers" .. ending, "gma2_workers" .. ending
  if not is_windows and exists("/System/Library/CoreServices/SystemVersion.plist") then
    -- This is macOS, for which there is no zip.
    return { built, renamed }
  end
  local system = is_windows and "windows" or "linux"
  local lua = _VERSION == "Lua 5.3" and "" or "-lua5.4"
  local names = { ("gma2workers-%s-%s%s%s"):format(system, processor(), lua, ending), built, renamed }
  if not io and system == "linux" then
    -- Without `io`, the processor is a guess. The system refuses a binary for another one.
    names[#names + 1] = "gma2workers-linux-aarch64" .. lua .. ending
  end
  return names
end

--- Makes the host's Lua visible to other libraries. On Linux, a host may have loaded it with `RTLD_LOCAL`, which hides it;
-- `package.loadlib` with "*" makes it global. The library is the mapped file that contains one of Lua's functions.
-- @treturn boolean whether to try again
local function make_lua_global()
  local address = math.tointeger(tonumber(tostring(rawequal):match("0x%x+")))
  local maps = address and io and io.open("/proc/self/maps")
  if not maps then
    return false
  end
  local library
  for line in maps:lines() do
    local first, last, file = line:match("^(%x+)%-(%x+) %S+ %S+ %S+ %S+ +(/.*)$")
    if file and address >= tonumber(first, 16) and address < tonumber(last, 16) then
      library = file
      break
    end
  end
  maps:close()
  return library ~= nil and package.loadlib(library, "*") == true
end

local function load_binary(binary)
  local open, problem, where = package.loadlib(binary, "luaopen_gma2workers")
  if not open and (problem:find("undefined symbol: lua", 1, true) or problem:find(": luaL?_%w+: symbol not found")) then
    if make_lua_global() then
      return package.loadlib(binary, "luaopen_gma2workers")
    end
    problem = problem .. " (the host shows its Lua to no other library)"
  elseif not open and is_windows and where == "open" then
    problem = problem .. (" (the binary may be for another Lua than %s, or the program may hide its Lua from binaries)"):format(_VERSION)
  elseif not open and (problem:find("^Error relocating ") or problem:find("^Error loading .*%(needed by ")) then
    problem = problem .. " (a program built against musl cannot load a binary for glibc)"
  end
  return open, problem
end

--- Finds the binary. Returns its entry and its path, or nil and the reason if it can't be loaded.
local function find_binary()
  local names, problem = binary_names(), nil
  for _, name in ipairs(names) do
    if exists(folder .. name) then
      local open, why = load_binary(folder .. name)
      if open then
        return open, folder .. name
      end
      problem = problem or why
    end
  end
  local elsewhere = package.searchpath("gma2workers", package.cpath) or package.searchpath("gma2_workers", package.cpath)
  if elsewhere then
    local open, why = load_binary(elsewhere)
    if open then
      return open, elsewhere
    end
    problem = problem or why
  end
  return nil, problem or ("there is no %s and no %s"):format(names[1], names[2])
end

--- Loads the module from the binary. Returns nil and the reason if the binary refuses the host's Lua.
local function open_binary(open, binary)
  local ok, gma2workers = pcall(open, "gma2workers", binary)
  if not ok then
    local problem = gma2workers
    if type(problem) == "string" and problem:find("^gma2workers needs ") then
      return nil, problem
    end
    error(problem, 0)
  end
  if gma2workers.info.version ~= VERSION then
    error(("gma2workers: %s has version %s, but the binary %s has version %s: copy both from one release")
      :format(source, VERSION, binary, gma2workers.info.version), 0)
  end
  return gma2workers
end

--- Compiles a Lua file of this folder.
-- @tab globals its `_ENV`
local function read(name, globals)
  if not io then
    return assert(loadfile(folder .. name .. ".lua", "t", globals))
  end
  local file, problem = io.open(folder .. name .. ".lua", "rb")
  local text = file and file:read("a")
  if not text then
    error(("gma2workers: cannot read %s: copy the whole folder"):format(problem or folder .. name .. ".lua"), 0)
  end
  file:close()
  return assert(load(text, "@gma2workers/" .. name .. ".lua", "t", globals))
end

--- Compiles the cooperative backend, with globals that no plugin can change.
local function read_cooperative()
  return read("cooperative/init", read("cooperative/globals", _G)(package.loaded))
end

--- Loads the cooperative backend in place of a binary that can't be loaded.
local function fall_back(reason, wanted)
  local ok, chunk = pcall(read_cooperative)
  if not ok or wanted == "native" then
    error(("gma2workers: cannot load its binary, which belongs beside %s: %s"):format(source, reason), 0)
  end
  local gma2workers = chunk(read, VERSION)
  local modules = {}
  modules.engine = read("engine", _G)(nil, modules)
  read("report", _G)(nil, modules)("gma2workers: its binary can't be loaded, so tasks take turns on the host "
    .. "(the cooperative backend): " .. reason)
  return gma2workers
end

-- Tests can choose a backend.
local wanted = os and os.getenv("GMA2WORKERS_BACKEND") or ""
---@type gma2workers
local gma2workers
if wanted == "cooperative" then
  gma2workers = read_cooperative()(read, VERSION)
elseif wanted == "native" or wanted == "" then
  local open, found = find_binary()
  if open then
    gma2workers, found = open_binary(open, found)
  end
  gma2workers = gma2workers or fall_back(found, wanted)
else
  error(('gma2workers: GMA2WORKERS_BACKEND must be "native" or "cooperative", got "%s"'):format(wanted), 0)
end
package.loaded["gma2workers"] = gma2workers
return gma2workers
