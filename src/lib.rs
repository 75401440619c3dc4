//! gma2workers: real parallelism for grandMA2 plugins, and for any program in Lua 5.3.
//!
//! A native Lua module. A **host** (the Lua state and thread that called) starts a **job**; its **tasks**
//! run in isolated states on the threads of a pool, by their **workers**; a **pump** on the host serves
//! their **host calls** and merges their outcomes into one response.
//!
//! The files, from the entry down; imports run this way only:
//!
//! | file | job | thread |
//! |---|---|---|
//! | `lib` | the entry | host |
//! | `api` | what Lua sees | host |
//! | `entry` | native calls that call back into Lua | host |
//! | `dispatcher` | starts a job, and cancels one | host |
//! | `tasks` | reads the list of tasks into messages | host |
//! | `response` | merges a job's outcomes | host |
//! | `host` | the host's own things by name, and the host calls carried out on them | host |
//! | `watchdog` | stops tasks whose time is over, gives up those that don't stop, ends idle threads | its own |
//! | `executor` | runs a job's tasks | worker |
//! | `registry` | the jobs that run | host |
//! | `job` | what a job is | both |
//! | `lane` | what became of the tasks of one worker | both |
//! | `seat` | a worker's seat in a job: its task, until when, how it is stopped | both |
//! | `config` | the options | host |
//! | `value` | a value as options and messages have it | host |
//! | `state` | makes a worker's state, fits it to a job and puts it back | worker |
//! | `bytecode` | what a function can do | worker |
//! | `modules` | what `require` finds in a task | worker |
//! | `gma` | `gma` as a task sees it | worker |
//! | `stdlib`, `coroutine`, `locale` | where a worker's standard library is not Lua's | worker |
//! | `names` | the names of things that both sides have | both |
//! | `codec` | values and functions across | both |
//! | `hostcall` | requests and replies | both |
//! | `trace` | a job's timeline, and its file | both |
//! | `pool` | threads; knows no Lua | both |
//! | `ffi` | the unsafe fence: the Lua C API | both |
//! | `system` | the other unsafe fence: memory and the process, as the operating system gives them | both |
//! | `fault` | faults on purpose, in tests | both |
//! | `error` | everything that can go wrong | both |

mod api;
mod bytecode;
mod codec;
mod config;
mod coroutine;
mod dispatcher;
mod entry;
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
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod gma;
mod host;
mod hostcall;
mod job;
mod lane;
mod locale;
mod modules;
mod names;
mod pool;
mod registry;
mod response;
mod seat;
mod state;
mod stdlib;
#[allow(unsafe_code, reason = "the other fence")]
mod system;
mod tasks;
mod trace;
mod value;
mod watchdog;

#[cfg(panic = "abort")]
compile_error!("a panic in a task must be that task's error: build with panic = \"unwind\"");

/// What `require("gma2workers")` calls.
///
/// # Safety
/// Lua calls it, with its live state.
#[cfg(not(all(feature = "module", windows, target_arch = "x86")))]
#[allow(unsafe_code, reason = "the name that Lua looks up")]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn luaopen_gma2workers(state: *mut mlua::lua_State) -> std::ffi::c_int {
    // SAFETY: as promised by Lua.
    unsafe { ffi::open(state, api::open) }
}

/// What `require("gma2workers")` calls. There, some hosts can't be refused but by a jump: no frame of ours may be left.
///
/// # Safety
/// Lua calls it, with its live state.
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
