--- What the system says of this process.

local process = {}

local function status(field)
  local file = io.open("/proc/self/status")
  if not file then
    return nil
  end
  local text = file:read("a")
  file:close()
  return tonumber(text:match("\n" .. field .. ":%s*(%d+)"))
end

--- MiB of memory in use; 0 where the system doesn't say.
function process.memory()
  return (status("VmRSS") or 0) / 1024
end

--- How many threads it has; nil where the system doesn't say.
function process.threads()
  return status("Threads")
end

--- Whether it has at most so many threads, soon: one that ends is there for a moment longer than the library counts it.
function process.has_at_most(threads)
  for _ = 1, 100 do
    if (process.threads() or 0) <= threads then
      return true
    end
    os.execute("sleep 0.1")
  end
  return false
end

--- How many cores it may use.
function process.cores()
  local list = io.popen("nproc 2>/dev/null")
  local cores = list and tonumber(list:read("a")) or 1
  if list then
    list:close()
  end
  return cores
end

return process
