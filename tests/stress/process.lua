--- The system's figures about this process.

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

--- MiB of memory in use; 0 if the system does not tell.
function process.memory()
  return (status("VmRSS") or 0) / 1024
end

--- The number of its threads; nil if the system does not tell.
function process.threads()
  return status("Threads")
end

--- Whether it soon has at most so many threads: one that ends exists for a moment after the library has stopped counting
-- it.
function process.has_at_most(threads)
  for _ = 1, 100 do
    if (process.threads() or 0) <= threads then
      return true
    end
    os.execute("sleep 0.1")
  end
  return false
end

--- The number of cores it may use.
function process.cores()
  local list = io.popen("nproc 2>/dev/null")
  local cores = list and tonumber(list:read("a")) or 1
  if list then
    list:close()
  end
  return cores
end

return process
