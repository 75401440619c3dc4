---@meta gma2workers

-- The types of gma2workers for editors that know LuaLS annotations. Nothing loads this file, and as code it is refused.
-- `require "gma2workers"` gets them by its name, `require` of the folder by the folder's init.lua, whatever its name.

if _VERSION then
  error("annotations.lua is for editors: require gma2-workers, or gma2workers", 0)
end

---What turns an asynchronous job, and what a worker's state is:
--- * `"timer"`: `gma.timer`; the state is used again, and put back to what it was between tasks
--- * `"cmd"`: the command line, `gma.cmd('LUA "..."')`; the state is made for the task and closed after it
---@alias gma2workers.mode
---| "timer" # fast
---| "cmd" # isolated

---What becomes of data that a task's function has captured.
---@alias gma2workers.upvalues
---| "error" # the task fails with an error that names the upvalue
---| "copy" # each task gets its own copy

---What runs the tasks.
---@alias gma2workers.backend
---| "native" # threads, each task in a Lua state of its own
---| "cooperative" # coroutines of the engine's, where the binary can't be loaded

---Why a task failed.
---@alias gma2workers.kind
---| "runtime" # it raised an error
---| "upvalue" # it could not cross, because of what its function has captured
---| "transfer" # an argument or a result of it cannot cross
---| "timeout" # it took longer than `timeout`, and was stopped
---| "cancelled" # `job:cancel()` stopped it, or it never began
---| "memory" # it took more than `memoryLimit`, or more than there is
---| "lost" # it did not stop within a second after it was told to: its thread was given up and replaced

---Where a job stands.
---@alias gma2workers.status
---| "running"
---| "done"
---| "cancelled"

---One function with its arguments.
---@class (exact) gma2workers.task
---@field func function|table The function, or a table that can be called. Its code crosses, with the Lua functions it uses; data it has captured does not, see `upvalues`.
---@field args? table The arguments, copied: `{ 1, "two", { 3 } }`. Inner nils pass; `n` is honoured, as `table.pack` sets it. Other keys are refused. At most 100,000.
---@field name? string What traces and messages call it.

---The options of `RunSync`. An option that is unknown or wrong is refused before anything starts, by an error at the caller's line that names it.
---@class (exact) gma2workers.options
---@field tasks gma2workers.task[] They start in this order. The list is read once, at the call.
---@field onComplete? fun(response: gma2workers.response) Called once, on the host. `RunSync` calls it just before it returns, `RunAsync` requires it.
---@field mode? gma2workers.mode Default: `"timer"`.
---@field workers? integer|string How many tasks run at the same time: 1 to 256, also as text. Default: the usable cores; with the cooperative backend, all tasks.
---@field upvalues? gma2workers.upvalues Default: `"error"`.
---@field globals? string[] Names of globals of the host that are copied into each state before a task runs.
---@field timeout? number Seconds, above 0, that each task may take by the wall clock, without its host calls. Refused by the cooperative backend.
---@field memoryLimit? number Whole bytes, above 0, that each state may take. Default: 2 GiB, 512 MiB on 32 bit. Refused by the cooperative backend.
---@field sandbox? boolean Whether tasks get no files, no modules and nothing of the system. Default: false. `true` is refused by the cooperative backend.
---@field trace? string Path of a file that gets the job's timeline, in the trace event format of Chrome, before `onComplete` is called.
---@field onProgress? fun(done: integer, total: integer) Called on the host, at most about 20 times a second, never backwards, and last with done == total.
---@field progress? string The title of a progress bar, which the engine shows while the job runs. Without an engine's: a bar on the terminal.

---The options of `RunAsync`: those of `RunSync`, but `onComplete` is required.
---@class (exact) gma2workers.async_options: gma2workers.options
---@field onComplete fun(response: gma2workers.response) Called once with the response, on the host, always after `RunAsync` has returned.

---What becomes of the failures of a `Map`.
---@alias gma2workers.on_error
---| "raise" # the first one of the list is raised
---| "collect" # each is its item's record

---The options of `Map`.
---@class (exact) gma2workers.map_options
---@field chunk? integer How many items a task gets. Default: 1 with a `timeout`, else up to 128, so that all workers have several tasks.
---@field onError? gma2workers.on_error Default: `"raise"`.
---@field onComplete? fun(results?: table, problem?: string) Called once, on the host, always after `Map` has returned a job: with the results, or with nil and the text of the first failure.
---@field mode? gma2workers.mode Default: `"timer"`.
---@field workers? integer|string How many tasks run at the same time: 1 to 256, also as text. Default: the usable cores; with the cooperative backend, all tasks.
---@field upvalues? gma2workers.upvalues Default: `"error"`.
---@field globals? string[] Names of globals of the host that are copied into each state before a task runs.
---@field timeout? number Seconds, above 0, that each item may take, or with `chunk` each chunk. Refused by the cooperative backend.
---@field memoryLimit? number Whole bytes, above 0, that each state may take. Default: 2 GiB, 512 MiB on 32 bit. Refused by the cooperative backend.
---@field sandbox? boolean Whether tasks get no files, no modules and nothing of the system. Default: false. `true` is refused by the cooperative backend.
---@field onProgress? fun(done: integer, total: integer) Called on the host with numbers of items, at most about 20 times a second, never backwards, and last with done == total.
---@field trace? string Path of a file that gets the job's timeline, a slice for each chunk.
---@field progress? string The title of a progress bar, which the engine shows while the job runs. Without an engine's: a bar on the terminal.

---The options of a `Map` that returns a job: `onComplete` is required.
---@class (exact) gma2workers.map_async_options: gma2workers.map_options
---@field onComplete fun(results?: table, problem?: string) Called once, on the host, always after `Map` has returned: with the results, or with nil and the text of the first failure.

---What became of one task.
---@class (exact) gma2workers.result
---@field success boolean Whether it ended without an error.
---@field data? any The first value that it returned; if it failed, `"Error: "` and the error's text.
---@field returns? table All values that it returned, where there are several, with their number `n`.
---@field kind? gma2workers.kind Why it failed.
---@field error? any What it raised, where that was no text and can cross.
---@field traceback? string Where it failed, or was when it was stopped.

---What became of a job.
---@class (exact) gma2workers.response
---@field result gma2workers.result[] One for each task, in the order of `tasks`.
---@field duration number Wall seconds, from the call until the last result was merged.
---@field workerCount integer How many workers it had.
---@field jobId string Unique in the process: `"Job_1"`.
---@field cancelled? true Where `job:cancel()` was called.

---A job that `RunAsync` started. Dropping it changes nothing.
---@class gma2workers.job
---@field id string The response's `jobId`.
local job = {}

---Where the job stands.
---@return gma2workers.status status
---@return integer done How many tasks are done.
---@return integer total How many there are.
function job:status() end

---Pumps the job until it is over, and lets the engine go on meanwhile.
---@param seconds? number How long at most; without it, as long as it takes.
---@return gma2workers.response? response nil when the time is over. A `Map`'s job gives its results instead, and raises its first failure.
function job:wait(seconds) end

---Stops the job: tasks that run are stopped, those that wait never begin. The response still comes, with `cancelled = true`.
---@return boolean cancelled false where the response has come already.
function job:cancel() end

---What this is.
---@class (exact) gma2workers.info
---@field name "gma2workers"
---@field version string
---@field backend gma2workers.backend
---@field threads integer How many threads the pool has: 0 before the first job. Those beyond the number of cores end when they had nothing to do.
---@field lost integer How many of them are held by a task that could not be stopped.

---Runs tasks of a plugin in parallel, each in a Lua state of its own on a pool of threads.
---@class gma2workers
---@field info gma2workers.info
local gma2workers = {}

---Runs the tasks and blocks until all have ended, letting the engine go on meanwhile. A failed task raises nothing: see its entry in `result`. Raises what is wrong with the options, and what `onProgress` or `onComplete` raised.
---@param options gma2workers.options
---@return gma2workers.response response
function gma2workers.RunSync(options) end

---The name that `RunSync` once had.
---@param options gma2workers.options
---@return gma2workers.response response
function gma2workers.Dispatch(options) end

---Starts the tasks and returns. `onComplete` is called with the response when all have ended. Raises what is wrong with the options; what a callback raises is shown by `gma.echo`.
---@param options gma2workers.async_options
---@return gma2workers.job job
function gma2workers.RunAsync(options) end

---Calls `func(item, index)` in workers for each item of the list, several items a task, and gives the first values that it returned, in the list's order; `n` says how many where some are nil. The first failure is raised at the caller's line; with `onError = "collect"` each item gets a record, as a response has them.
---@overload fun(func: function|table, list: table, options: gma2workers.map_async_options): gma2workers.job
---@param func fun(item: any, index: integer): any The function, or a table that can be called. Its code crosses as a task's does.
---@param list table The items, copied. They are read once, at the call. With `n`, as `table.pack` sets it, they may be nil.
---@param options? gma2workers.map_options
---@return table results
function gma2workers.Map(func, list, options) end

---Turns all running jobs once, without waiting: for a host without an engine.
---@return integer running How many jobs still run.
function gma2workers.Poll() end

---Wall seconds since some moment, the same in all tasks: `local clock = gma2workers.clock` crosses.
---@return number seconds
function gma2workers.clock() end

return gma2workers
