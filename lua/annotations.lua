---@meta gma2workers

-- The types of gma2workers, for editors that support LuaLS annotations. This file is never loaded, and refuses to run.
-- `require "gma2workers"` finds the types by name; `require` of the folder finds them through its init.lua, whatever its name.

if _VERSION then
  error("annotations.lua is for editors: require gma2-workers, or gma2workers", 0)
end

---How an asynchronous job is pumped, and whether a worker's state is reused:
--- * `"timer"`: pumped by `gma.timer`; the state is restored after each task and used again
--- * `"cmd"`: pumped from the command line, `gma.cmd('LUA "..."')`; each task gets a new state, which is closed afterwards
---@alias gma2workers.mode
---| "timer" # fast
---| "cmd" # isolated

---The treatment of data that a task's function has captured.
---@alias gma2workers.upvalues
---| "error" # the task fails with an error that names all of it and says what to do
---| "copy" # each task gets its own copy; a function that writes to it is refused, because the writes would be lost
---| "private" # each task gets its own copy, and may write to it: for caches

---The backend that runs the tasks.
---@alias gma2workers.backend
---| "native" # threads, each task in its own Lua state
---| "cooperative" # coroutines of the engine, if the binary can't be loaded

---Why a task failed.
---@alias gma2workers.kind
---| "runtime" # it raised an error
---| "upvalue" # its function could not cross, because of a value that it has captured
---| "transfer" # an argument or a result cannot cross
---| "timeout" # it took longer than `timeout`, and was stopped
---| "cancelled" # `job:cancel()`, or another task's failure, stopped it or kept it from beginning
---| "memory" # it needed more than `memoryLimit`, or than the system has
---| "lost" # it did not stop within a second of being told to: its thread was given up and replaced

---The state of a job.
---@alias gma2workers.status
---| "running"
---| "done"
---| "cancelled"

---One function with its arguments.
---@class (exact) gma2workers.task
---@field func function|table The function, or a table that can be called. Its code crosses, with the Lua functions that it uses. Data that it has captured does not: see `upvalues`.
---@field args? table The arguments, copied: `{ 1, "two", { 3 } }`. Nils between arguments are kept. `n`, as `table.pack` sets it, is their number. Other keys are refused. At most 100,000 arguments.
---@field name? string Its name in traces and tracebacks.
---@field timeout? number The most wall-clock seconds that it may take, above 0, in place of the option. `math.huge` is no limit. Refused by the cooperative backend.

---A function with its arguments, which runs in each worker's state before its first task.
---@class (exact) gma2workers.init
---@field func function|table The function, or a table that can be called.
---@field args? table The arguments, copied.
---@field timeout? number The most wall-clock seconds that it may take, above 0. Default: the longest of the tasks' timeouts. `math.huge` is no limit. Refused by the cooperative backend.

---The options of `RunSync`. If an option is unknown or wrong, nothing starts, and an error at the caller's line names it.
---@class (exact) gma2workers.options
---@field tasks gma2workers.task[] They start in this order. The list is read once, at the call.
---@field onComplete? fun(response: gma2workers.response) Called once, on the host. `RunSync` calls it just before it returns; `RunAsync` requires it.
---@field onResult? fun(index: integer, record: gma2workers.result) Called on the host for each task as it ends, in the order they end, exactly once each, before `onComplete`.
---@field stopOnError? boolean Whether the first failed task cancels all that have not ended. Default: false.
---@field mode? gma2workers.mode Default: `"timer"`.
---@field workers? integer|string The number of tasks that run at the same time: 1 to 256, also as text. Default: the number of usable cores; on the cooperative backend, all tasks.
---@field init? function|gma2workers.init Runs once in each worker's state before its first task. Every task finds what it left there, as new. If it fails, the tasks fail with its error.
---@field host? table<string, function> Functions of the host that tasks may call, as `host.name(...)`.
---@field upvalues? gma2workers.upvalues Default: `"error"`.
---@field globals? string[] Names of host globals, which are copied into each state before a task runs. A dotted name, `"string.split"`, sets that field of a standard library.
---@field timeout? number The most wall-clock seconds that each task may take, above 0. Host calls don't count. `math.huge` is no limit. Refused by the cooperative backend.
---@field grace? number The seconds that a task which is cancelled or out of time may go on, to end by itself: `isStopping()` tells it. Then it is stopped. Default: 0.
---@field memoryLimit? number The most bytes that each state may take, a whole number, at least 16384: `64 << 20` for 64 MiB. Default: 2 GiB; 512 MiB on 32-bit systems. Refused by the cooperative backend.
---@field sandbox? boolean Whether tasks are kept from files, modules and the system. Default: false. `true` is refused by the cooperative backend.
---@field trace? string The path of a file for the job's timeline, in Chrome's trace event format. It is written before `onComplete` is called.
---@field onProgress? fun(done: integer, total: integer) Called on the host, at most about 20 times a second, never backwards, and last with done == total.
---@field progress? string The title of a progress bar, shown while the job runs: by the engine, or else on the terminal.

---The options of `RunAsync`: the same as of `RunSync`, but `onComplete` is required.
---@class (exact) gma2workers.async_options: gma2workers.options
---@field onComplete fun(response: gma2workers.response) Called once with the response, on the host, always after `RunAsync` has returned.

---The treatment of failures in a `Map`.
---@alias gma2workers.on_error
---| "raise" # the first failure in the list is raised
---| "collect" # each failure becomes the record of its item

---The options of `Map`.
---@class (exact) gma2workers.map_options
---@field args? table Arguments for each call of `func`, after the item and its index.
---@field index? boolean Whether `func` gets the item's index after the item. Default: false.
---@field chunk? integer The number of items per task. Default: 1 with a `timeout`; else up to 128, so that each worker gets several tasks.
---@field onError? gma2workers.on_error Default: `"raise"`.
---@field onComplete? fun(results?: table, problem?: string) Called once, on the host, always after `Map` has returned a job: with the results, or with nil and the text of the first failure.
---@field onResult? fun(index: integer, value: any) Called on the host for each item as it ends, with its result, or with its record if `onError` is `"collect"`.
---@field stopOnError? boolean Whether the first failed item cancels all that have not ended. Default: false.
---@field mode? gma2workers.mode Default: `"timer"`.
---@field workers? integer|string The number of tasks that run at the same time: 1 to 256, also as text. Default: the number of usable cores; on the cooperative backend, all tasks.
---@field init? function|gma2workers.init Runs once in each worker's state before its first item. Every chunk finds what it left there, as new. If it fails, the items fail with its error.
---@field host? table<string, function> Functions of the host that tasks may call, as `host.name(...)`.
---@field upvalues? gma2workers.upvalues Default: `"error"`.
---@field globals? string[] Names of host globals, which are copied into each state before a task runs. A dotted name, `"string.split"`, sets that field of a standard library.
---@field timeout? number The most seconds that each item, or with `chunk` each chunk, may take, above 0. `math.huge` is no limit. Refused by the cooperative backend.
---@field grace? number The seconds that a task which is cancelled or out of time may go on, to end by itself: `isStopping()` tells it. Then it is stopped. Default: 0.
---@field memoryLimit? number The most bytes that each state may take, a whole number, at least 16384: `64 << 20` for 64 MiB. Default: 2 GiB; 512 MiB on 32-bit systems. Refused by the cooperative backend.
---@field sandbox? boolean Whether tasks are kept from files, modules and the system. Default: false. `true` is refused by the cooperative backend.
---@field onProgress? fun(done: integer, total: integer) Called on the host with numbers of items, at most about 20 times a second, never backwards, and last with done == total.
---@field trace? string The path of a file for the job's timeline, with a slice for each chunk.
---@field progress? string The title of a progress bar, shown while the job runs: by the engine, or else on the terminal.

---The options of a `Map` that returns a job: `onComplete` is required.
---@class (exact) gma2workers.map_async_options: gma2workers.map_options
---@field onComplete fun(results?: table, problem?: string) Called once, on the host, always after `Map` has returned: with the results, or with nil and the text of the first failure.

---The outcome of one task.
---@class (exact) gma2workers.result
---@field success boolean Whether it ended without an error.
---@field data? any The first value that it returned. If it failed, `"Error: "` and the error's text: of a table without `__tostring`, its plain fields.
---@field returns? table All values that it returned, if there are several, with their number `n`.
---@field kind? gma2workers.kind Why it failed.
---@field error? any The error value that it raised, if it is not a text and can cross.
---@field traceback? string The place where it failed or was stopped.

---The outcome of a job.
---@class (exact) gma2workers.response
---@field result gma2workers.result[] One for each task, in the order of `tasks`.
---@field duration number Wall-clock seconds from the call until the last result was merged.
---@field workerCount integer The number of its workers.
---@field jobId string Unique in the process: `"Job_1"`.
---@field failed integer The number of failed tasks.
---@field cancelled? true Set if `job:cancel()` was called.

---Gives the index of the next task or item, and its record or value; nil after the last.
---@alias gma2workers.iterator fun(): integer?, any

---A job that `RunAsync` started. Dropping it changes nothing.
---@class gma2workers.job
---@field id string The response's `jobId`.
local job = {}

---The state of the job.
---@return gma2workers.status status
---@return integer done The number of finished tasks.
---@return integer total The number of all tasks.
function job:status() end

---Pumps the job until it is over. The engine keeps running meanwhile.
---@overload fun(self: gma2workers.job): gma2workers.response
---@param seconds? number The longest time to wait. Default: no limit.
---@return gma2workers.response? response nil if the time is over. For a `Map`'s job, the results; its first failure is raised.
function job:wait(seconds) end

---Iterates over the results in the order in which the tasks end, and waits in between: `for index, record in job:results() do`. Gives the earlier ones, too. For a `Map`'s job, over its items, with their values or records; its first failure is raised after the last value.
---@return gma2workers.iterator next
function job:results() end

---Cancels the job: running tasks are stopped, and pending ones never begin. The response still comes, with `cancelled = true`.
---@return boolean cancelled false if the job was already over.
function job:cancel() end

---A description of the library.
---@class (exact) gma2workers.info
---@field name "gma2workers"
---@field version string
---@field backend gma2workers.backend
---@field threads integer The number of threads in the pool: 0 before the first job. Threads beyond the number of cores end after some idle time.
---@field lost integer How many of them are stuck in a task that could not be stopped.

---The functions of a program's engine for progress bars. `start` returns a bar.
---@class (exact) gma2workers.bars
---@field start fun(title: string): any
---@field stop fun(bar: any)
---@field setrange? fun(bar: any, first: integer, last: integer)
---@field set? fun(bar: any, done: integer)
---@field settext? fun(bar: any, text: string)

---The functions of a program's engine, which drive jobs. `timer` and `command` need `sleep`.
---@class (exact) gma2workers.engine
---@field sleep? fun(seconds: number) Suspends the running coroutine, and lets the program run.
---@field timer? fun(func: function, seconds: number, count: integer) Calls `func` once, after `seconds`, in a coroutine that can sleep.
---@field command? fun(code: string): any Runs a line of Lua soon, in such a coroutine. Returns nothing, or why not.
---@field echo? fun(text: string) Shows a line to the user.
---@field progress? gma2workers.bars
---@field clock? fun(): number Wall-clock seconds, for the cooperative backend.

---Runs tasks of a plugin in parallel, on a pool of threads, each task in a separate Lua state.
---@class gma2workers
---@field info gma2workers.info
local gma2workers = {}

---Runs the tasks and blocks until all have ended. The engine keeps running meanwhile. A failed task raises no error: see its entry in `result`. Raises an error if an option is wrong, and any error of `onResult`, `onProgress` or `onComplete`. In an engine, a line of `gma.echo` says how many tasks failed.
---@param options gma2workers.options
---@return gma2workers.response response
function gma2workers.RunSync(options) end

---The former name of `RunSync`.
---@param options gma2workers.options
---@return gma2workers.response response
function gma2workers.Dispatch(options) end

---Starts the tasks and returns. `onComplete` is called with the response when all have ended. Raises an error if an option is wrong. An error of a callback is shown by `gma.echo`.
---@param options gma2workers.async_options
---@return gma2workers.job job
function gma2workers.RunAsync(options) end

---Calls `func(item, ...)` in workers for each item of the list, several items per task. With `index = true` the item's index follows it, then come the arguments in `args`. Returns the first value that each call returned, in the list's order; `n` is their number if some are nil. The first failure is raised at the caller's line. With `onError = "collect"`, each item gets a record instead, like those of a response.
---@overload fun(func: function|table, list: table, options: gma2workers.map_async_options): gma2workers.job
---@param func function|table The function, or a table that can be called. Its code crosses like a task's.
---@param list table The items, copied. They are read once, at the call. If `n` is set, as `table.pack` does, items may be nil.
---@param options? gma2workers.map_options
---@return table results
function gma2workers.Map(func, list, options) end

---Pumps all running jobs. For hosts without an engine.
---@param seconds? number The longest time to wait for something to do; the first thing done ends the wait. Default: 0.
---@return integer running The number of jobs that are still running.
function gma2workers.Poll(seconds) end

---The handles of all running jobs, in the order in which they were started, with those that a `RunSync` or a `Map` waits for.
---@return gma2workers.job[] jobs
function gma2workers.jobs() end

---Cancels all running jobs, for a plugin's `Cleanup`.
---@return integer cancelled The number of jobs that it cancelled.
function gma2workers.cancelAll() end

---Sets the functions of the program's engine, which drive jobs from then on in place of those of `gma`. Raises an error if one is wrong, or while a job is running.
---@param engine? gma2workers.engine nil for `gma`.
function gma2workers.setEngine(engine) end

---Whether the running task is cancelled or out of time, and should end by itself: see `grace`. False on the host. Tasks may use it: `local isStopping = gma2workers.isStopping` crosses.
---@return boolean stopping
function gma2workers.isStopping() end

---Wall-clock seconds since a fixed moment, which is the same in all tasks. Tasks may use it: `local clock = gma2workers.clock` crosses.
---@return number seconds
function gma2workers.clock() end

---In a task: the functions of the option `host`. Each call is carried out by the host, and returns its results.
---@type any
host = {}

return gma2workers
