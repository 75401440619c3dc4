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
