//! gma2workers: real parallelism for grandMA2 plugins, and for any program in Lua 5.3.
//!
//! A native Lua module. The **host** is the Lua state and thread that called. It starts a **job**, whose **tasks** run in
//! isolated Lua states on the threads of a pool; each such thread is a **worker** of the job. A **pump** on the host
//! serves the tasks' **host calls** and merges their outcomes into one response.
//!
//! The files, from the top down; a file imports only from files below it:
//!
//! | file | job | thread |
//! |---|---|---|
//! | `lib` | exports the functions that `require` calls | host |
//! | `api` | builds the module table from the embedded Lua files and the native functions that they call | host |
//! | `callbacks` | native functions that call back into Lua: a host function, a user's callback | host |
//! | `dispatcher` | starts and cancels jobs | host |
//! | `tasks` | reads the list of tasks, and encodes their functions and arguments | host |
//! | `recurring` | finds the arguments that several tasks have, to encode each once | host |
//! | `response` | merges the outcomes of tasks into the response | host |
//! | `host_modules` | what a job takes along from the host's modules and libraries | host |
//! | `host` | finds the host's functions by name, takes host calls and sends their answers | host |
//! | `watchdog` | stops tasks at their deadline, gives up tasks that don't stop, and makes idle threads rest and end | its own |
//! | `executor` | runs a job's tasks on a thread of the pool | worker |
//! | `early` | decodes the arguments of a task while the host encodes the rest of them | worker |
//! | `watched` | the jobs that the watchdog watches | both |
//! | `state` | makes a worker's Lua state, prepares it for a job, and restores it between tasks | worker |
//! | `loading` | loads the host's modules into a state before its first task | worker |
//! | `modules` | `require` in a task | worker |
//! | `gma` | the `gma` table in a task | worker |
//! | `coroutine`, `debug`, `random`, `stdlib`, `locale` | the parts of Lua's standard library that are different in a task | worker |
//! | `hostcall` | makes a task's host calls and waits for their answers | worker |
//! | `current` | the job and the task that this thread is working on | worker |
//! | `registry` | finds running jobs by number | host |
//! | `job` | the data of a job, shared by its threads | both |
//! | `environment` | the contents of a job's states: globals, functions, modules, the shape of `gma` | both |
//! | `lane` | a buffer for the outcomes of one worker's tasks | both |
//! | `argument_stream` | the arguments of a task that reach a worker in blocks | both |
//! | `stream` | the results of a task that reach the host in blocks | both |
//! | `seat` | a worker's current task: its deadline, and how it is stopped | both |
//! | `mailbox` | the queue of host calls and their answers, and the wake-ups of both sides | both |
//! | `trace` | records a job's timeline and writes its file | both |
//! | `config` | reads and checks the options | host |
//! | `spelling` | finds the likely meaning of a misspelt option or field | host |
//! | `value` | a Lua value, for reading options and describing it in messages | host |
//! | `host_standard` | the host's standard library as it was when the module was loaded | host |
//! | `module_names` | the names under which modules and their code cross | both |
//! | `module_evidence` | tells objects of modules apart: where they are defined, what they have captured | both |
//! | `module_lookup` | finds the object of a module that a message names | both |
//! | `names` | the names under which library functions and `gma` functions cross | both |
//! | `codec` | encodes values and functions into messages, and decodes them | both |
//! | `pinned` | long texts that workers copy straight from the host's state | both |
//! | `missing` | finds the globals that were missing where a task failed | both |
//! | `fields` | shows the fields of an error value that is a table | both |
//! | `raised` | carries the error of a host function to the task, with its text | both |
//! | `bytecode` | reads the code of functions: what they change, what they use | both |
//! | `reader` | reads bytes from start to end | both |
//! | `pool`, `idle_queue` | the pool of threads, and the queue where idle threads of the cores look for work; they know no Lua | both |
//! | `ffi` | wraps the Lua C API; unsafe code | both |
//! | `system` | memory and process facilities of the operating system; unsafe code | both |
//! | `bit_lock` | an atomic word with a lock in its lowest bit | both |
//! | `sync` | locks, atomics and short waits; model checks replace them with loom's | both |
//! | `fault` | failpoints for tests | both |
//! | `error` | all errors and their texts | both |
//!
//! `waiting.md` explains which writes each thread may rely on seeing, and why no wake-up is lost.
//!
//! The Lua files, in `lua`. Both backends use all but the first four rows:
//!
//! | file | job |
//! |---|---|
//! | `init` | the entry of the drop-in folder: loads the binary, or else the cooperative backend |
//! | `alias` | the name `gma2_workers` with LuaRocks |
//! | `cooperative` | the cooperative backend: the native functions of `api`, in pure Lua |
//! | `annotations`, `annotations_gma` | types for editors; never loaded |
//! | `module_data` | runs in a task's state: brings the data of modules up to date |
//! | `gma2workers` | the public functions, and what a small job needs of them |
//! | `calls` | what else the public functions do |
//! | `job` | a job's handle |
//! | `pump` | serves a running job: its host calls, its progress, its outcomes |
//! | `pace` | how long a turn of the pump may block the engine, and how long the engine runs in between |
//! | `async` | pumps an asynchronous job, and calls its callbacks |
//! | `engine` | finds the engine's functions: those that the program has set, or those of `gma` |
//! | `drivers` | starts coroutines of the engine, by a timer or a command line |
//! | `map`, `items`, `mapper`, `map_results` | `Map`: splits the list, reads it, runs in the tasks, joins the results |
//! | `progress` | the progress bar |
//! | `results` | gives results as tasks end: to `onResult`, and to loops over `job:results()` |
//! | `failures` | says in the engine that tasks have failed |
//! | `hints` | adds advice to errors about what stayed on the host |
//! | `report` | shows a line of text to the user |
//! | `arguments` | checks arguments |

mod api;
mod argument_stream;
mod bit_lock;
mod bytecode;
mod callbacks;
mod codec;
mod config;
mod coroutine;
mod current;
mod debug;
mod dispatcher;
mod early;
mod environment;
mod error;
mod executor;
mod fault;
#[cfg(not(fence_tests))]
#[allow(unsafe_code, reason = "the fence")]
mod ffi;
#[cfg(fence_tests)]
#[allow(unsafe_code, reason = "the fence")]
#[doc(hidden)]
pub mod ffi;
mod fields;
#[cfg(fuzzing)]
#[doc(hidden)]
#[path = "../tests/fuzz/checks/mod.rs"]
pub mod fuzzing;
mod gma;
mod host;
mod host_modules;
mod host_standard;
mod hostcall;
mod idle_queue;
mod job;
mod lane;
mod loading;
mod locale;
mod mailbox;
mod missing;
mod module_evidence;
mod module_lookup;
mod module_names;
mod modules;
mod names;
mod pinned;
mod pool;
mod raised;
mod random;
mod reader;
mod recurring;
mod registry;
mod response;
mod seat;
mod spelling;
mod state;
mod stdlib;
mod stream;
mod sync;
#[allow(unsafe_code, reason = "the second fence")]
mod system;
mod tasks;
mod trace;
mod value;
mod watchdog;
mod watched;

#[cfg(panic = "abort")]
compile_error!("a panic in a task must be that task's error: build with panic = \"unwind\"");

/// The function that `require("gma2workers")` calls.
///
/// # Safety
/// Only Lua may call it, with a live state.
#[cfg(not(all(feature = "module", windows, target_arch = "x86")))]
#[allow(unsafe_code, reason = "the name that Lua looks up")]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn luaopen_gma2workers(state: *mut mlua::lua_State) -> std::ffi::c_int {
    // SAFETY: as promised by Lua.
    unsafe { ffi::open(state, api::open) }
}

/// The function that `require("gma2workers")` calls. On 32-bit Windows, this function must raise the error for some
/// hosts by a jump, with no Rust frame on the stack.
///
/// # Safety
/// Only Lua may call it, with a live state.
#[cfg(all(feature = "module", windows, target_arch = "x86"))]
#[allow(unsafe_code, reason = "the name that Lua looks up")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn luaopen_gma2workers(state: *mut mlua::lua_State) -> std::ffi::c_int {
    unsafe extern "C-unwind" fn open(state: *mut mlua::lua_State) -> std::ffi::c_int {
        // SAFETY: as promised by Lua.
        unsafe { ffi::open(state, api::open) }
    }
    std::arch::naked_asm!(
        "push dword ptr [esp + 4]",
        "call {refuse}",
        "add esp, 4",
        "test eax, eax",
        "jnz 2f",
        "jmp {open}",
        "2:",
        "jmp dword ptr [{raise}]",
        refuse = sym ffi::refuse_exceptions,
        open = sym open,
        raise = sym ffi::LUA_ERROR,
    )
}

/// The function that `require("gma2_workers")` calls, for a binary of that name.
///
/// # Safety
/// Only Lua may call it, with a live state.
#[cfg(not(all(feature = "module", windows, target_arch = "x86")))]
#[allow(unsafe_code, reason = "the name that Lua looks up")]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn luaopen_gma2_workers(state: *mut mlua::lua_State) -> std::ffi::c_int {
    // SAFETY: as promised by Lua.
    unsafe { luaopen_gma2workers(state) }
}

/// The function that `require("gma2_workers")` calls, for a binary of that name. A jump, like the other one.
///
/// # Safety
/// Only Lua may call it, with a live state.
#[cfg(all(feature = "module", windows, target_arch = "x86"))]
#[allow(unsafe_code, reason = "the name that Lua looks up")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn luaopen_gma2_workers(state: *mut mlua::lua_State) -> std::ffi::c_int {
    std::arch::naked_asm!("jmp {open}", open = sym luaopen_gma2workers)
}
