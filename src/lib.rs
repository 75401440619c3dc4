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
//! | `lib` | exports the function that `require` calls | host |
//! | `api` | makes the module table from the embedded Lua files and the native functions under them | host |
//! | `callbacks` | native functions that call a Lua function, such as a host function or a user's callback | host |
//! | `dispatcher` | starts and cancels jobs | host |
//! | `tasks` | reads the list of tasks, and encodes functions and arguments | host |
//! | `response` | decodes the outcomes of tasks into the response | host |
//! | `host` | names the host's functions, and carries out host calls | host |
//! | `watchdog` | stops tasks at their deadline, gives up tasks that don't stop, and ends idle threads | its own |
//! | `executor` | runs a job's tasks on a thread of the pool | worker |
//! | `state` | makes a worker's Lua state, prepares it for a job, and restores it between tasks | worker |
//! | `modules` | `require` in a task | worker |
//! | `gma` | the `gma` table in a task | worker |
//! | `stdlib`, `coroutine`, `locale` | the parts of Lua's standard library that are different in a task | worker |
//! | `hostcall` | makes a task's host calls | worker |
//! | `current` | the job and the task that a thread works on | worker |
//! | `bytecode` | tells from bytecode that a function has no side effects | worker |
//! | `registry` | finds running jobs by their number | host |
//! | `job` | the data of a job, shared by its threads | both |
//! | `environment` | what a job's tasks find in their states: globals, modules, the shape of `gma` | both |
//! | `lane` | the outcomes of one worker's tasks | both |
//! | `seat` | a worker's current task: its deadline, and how it is stopped | both |
//! | `mailbox` | the queue of host calls and their answers, and the wake-ups of both sides | both |
//! | `trace` | records a job's timeline and writes its file | both |
//! | `config` | reads and checks the options | host |
//! | `value` | a Lua value as options and messages need it | host |
//! | `names` | the names by which library functions and `gma` functions cross | both |
//! | `codec` | encodes values and functions into messages, and decodes them | both |
//! | `pool`, `idle_queue` | the pool of threads, and where idle ones look for work; they know no Lua | both |
//! | `ffi` | wraps the Lua C API; unsafe code | both |
//! | `system` | memory and process facilities of the operating system; unsafe code | both |
//! | `bit_lock` | an atomic word that another thread can hold in place | both |
//! | `sync` | locks, atomics, and short waits | both |
//! | `fault` | failpoints for tests | both |
//! | `error` | all errors, and their texts | both |
//!
//! `waiting.md` tells what each thread may see when, and why no wake-up is lost.

mod api;
mod bit_lock;
mod bytecode;
mod callbacks;
mod codec;
mod config;
mod coroutine;
mod current;
mod dispatcher;
mod environment;
mod error;
mod executor;
mod fault;
#[allow(unsafe_code, reason = "the fence")]
mod ffi;
#[cfg(fuzzing)]
#[doc(hidden)]
#[path = "../tests/fuzz/checks/mod.rs"]
pub mod fuzzing;
mod gma;
mod host;
mod hostcall;
mod idle_queue;
mod job;
mod lane;
mod locale;
mod mailbox;
mod modules;
mod names;
mod pool;
mod registry;
mod response;
mod seat;
mod state;
mod stdlib;
mod sync;
#[allow(unsafe_code, reason = "the other fence")]
mod system;
mod tasks;
mod trace;
mod value;
mod watchdog;

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

/// The function that `require("gma2workers")` calls. On 32-bit Windows, the error for some hosts can only be raised by a jump
/// out of this function, with no frame of ours on the stack.
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
