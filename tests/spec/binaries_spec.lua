-- Which binary the drop-in folder's init.lua takes, on any system: the functions with which it finds out are stand-ins here.

--- The first bytes of a 64-bit program for the machine with this number.
local function program(machine)
  return "\127ELF\2\1\1\0" .. ("\0"):rep(8) .. string.pack("<I2I2", 3, machine)
end
local X86, ARM_32, X86_64, ARM_64 = program(3), program(40), program(62), program(183)

--- Runs init.lua in a folder that has some binaries. Returns the names of those that it tries to load, and its last error.
-- @tab system `program`, the header of the host's program; `config`; `io`, whether there is that library; `lua`, its version;
--   `macos`, whether it has a file of that system; `problem`, why binaries can't be loaded
-- @tab has the names in the folder
-- @tab loads those of them that can be loaded
local function choose(system, has, loads)
  local folder, tried = "/plugins/gma2-workers/", {}
  local there, can_load = {}, {}
  for _, name in ipairs(has) do there[folder .. name] = true end
  for _, name in ipairs(loads or {}) do can_load[folder .. name] = true end
  there["/System/Library/CoreServices/SystemVersion.plist"] = system.macos
  local function open(path, mode)
    if path == "/proc/self/exe" then
      return system.program and { read = function(_, count) return system.program:sub(1, count) end, close = function() end } or nil
    end
    return there[path] and { close = function() return true end } or io.open(path, mode)
  end
  local globals = setmetatable({
    _VERSION = system.lua or "Lua 5.3",
    io = system.io ~= false and { open = open },
    os = { getenv = function() return "native" end },
    package = {
      config = system.config or "/\n", cpath = "", preload = {}, loaded = {},
      searchpath = function(_, path) return there[path] and path or nil end,
      loadlib = function(path)
        tried[#tried + 1] = path:sub(#folder + 1)
        if can_load[path] then
          return function() return { info = { version = path } } end
        end
        return nil, system.problem or "not for this machine", "open"
      end,
    },
  }, { __index = _G })
  local ok, problem = pcall(assert(loadfile("lua/init.lua", "t", globals)), "gma2-workers", folder .. "init.lua")
  assert.is_false(ok)
  return tried, problem
end

local OF_ZIPS = {}
for _, name in ipairs { "linux-x86_64.so", "linux-aarch64.so", "windows-x86_64.dll", "windows-x86.dll",
  "linux-x86_64-lua5.4.so", "linux-aarch64-lua5.4.so", "windows-x86_64-lua5.4.dll", "windows-x86-lua5.4.dll" } do
  OF_ZIPS[#OF_ZIPS + 1] = "gma2workers-" .. name
end

describe("the drop-in folder #posix", function()
  for name, case in pairs {
    ["x86-64"] = { { program = X86_64 }, "linux-x86_64.so" },
    ["64-bit Arm"] = { { program = ARM_64 }, "linux-aarch64.so" },
    ["x86-64 with Lua 5.4"] = { { program = X86_64, lua = "Lua 5.4" }, "linux-x86_64-lua5.4.so" },
    ["64-bit Arm with Lua 5.4"] = { { program = ARM_64, lua = "Lua 5.4" }, "linux-aarch64-lua5.4.so" },
    ["a system without /proc"] = { {}, "linux-x86_64.so" },
    ["Windows, whatever file is there"] = { { config = "\\\n", program = ARM_64 }, "windows-x86_64.dll" },
  } do
    it("tries only the binary for " .. name .. " (L18)", function()
      local tried = choose(case[1], OF_ZIPS)
      assert.same({ "gma2workers-" .. case[2] }, tried)
    end)
  end

  it("prefers the binary of a zip to one that was built (L18)", function()
    local names = { "gma2workers-linux-aarch64.so", "gma2workers.so" }
    assert.same({ names[1] }, (choose({ program = ARM_64 }, names, names)))
    assert.same(names, (choose({ program = ARM_64 }, names, { names[2] })))
  end)

  it("tries both 64-bit binaries where it can't find out the processor (L18)", function()
    local names = { "gma2workers-linux-x86_64.so", "gma2workers-linux-aarch64.so" }
    assert.same(names, (choose({ io = false, program = ARM_64 }, OF_ZIPS, { names[2] })))
    assert.same({ names[1] }, (choose({ io = false, program = ARM_64 }, OF_ZIPS, names)))
  end)

  it("tries only a binary that was built there on macOS, which has no zip (L18)", function()
    local built = { "gma2workers.so", "gma2_workers.so" }
    for _, has_io in ipairs { true, false } do
      local names = table.move(OF_ZIPS, 1, #OF_ZIPS, 3, { table.unpack(built) })
      assert.same(built, (choose({ macos = true, io = has_io }, names)))
      local tried, problem = choose({ macos = true, io = has_io }, OF_ZIPS)
      assert.same({}, tried)
      assert.truthy(problem:find("there is no gma2workers.so and no gma2_workers.so", 1, true), problem)
    end
  end)

  it("says where a Lua built against musl refuses the binary for glibc (B25)", function()
    for _, problem in ipairs { "Error relocating /a/b.so: __register_atfork: symbol not found",
      "Error loading shared library libgcc_s.so.1: No such file or directory (needed by /a/b.so)" } do
      local _, told = choose({ program = X86_64, problem = problem }, OF_ZIPS)
      assert.truthy(told:find(problem .. " (a program built against musl cannot load a binary for glibc)", 1, true), told)
    end
    -- This one is for musl, and the host hides its Lua.
    local _, told = choose({ program = X86_64, problem = "Error relocating /a/b.so: lua_settop: symbol not found" }, OF_ZIPS)
    assert.truthy(told:find("symbol not found (the host shows its Lua to no other library)", 1, true), told)
  end)

  it("names the binary that it lacks (L18)", function()
    for header, word in pairs { [X86] = "x86", [ARM_32] = "arm", [X86_64] = "x86_64", [ARM_64] = "aarch64" } do
      local tried, problem = choose({ program = header }, {})
      assert.same({}, tried)
      assert.truthy(problem:find(("there is no gma2workers-linux-%s.so and no gma2workers.so"):format(word), 1, true), problem)
    end
  end)
end)
