//! What is different in the C API of Lua 5.4.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::Write;
use std::ptr;

use mlua::ffi as lua;

/// The thread of a worker, as other threads know it. In this Lua, only that thread may set a hook, see `interrupt`.
pub use crate::system::Thread;

/// The version, as `LUA_VERSION_NUM` has it.
pub const VERSION: u32 = 504;

/// Passes lists of functions on to a macro, with the functions that only this Lua has.
#[cfg(all(
    feature = "module",
    any(windows, all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))
))]
macro_rules! with_own_functions {
    ($then:ident; every_lua: $($every:ident)*; not_every_lua: $($some:ident)*;) => {
        $then! { every_lua: $($every)*; not_every_lua: $($some)* lua_newuserdatauv lua_resetthread lua_setwarnf; }
    };
}
#[cfg(all(
    feature = "module",
    any(windows, all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))
))]
pub(super) use with_own_functions;

/// What a Lua of another version is told, before its name.
#[cfg(all(feature = "module", target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub const NEEDS_THIS: &CStr = c"gma2workers needs Lua 5.4, this is ";

/// What a Lua with other numbers is told, before its own words.
pub const NEEDS_NUMBERS: &CStr =
    c"gma2workers needs Lua 5.4 with 64-bit integers and floats, but this one was built differently: ";

/// The status of the parser for code that is nested too deep.
pub const TOO_DEEP: c_int = lua::LUA_ERRRUN;

/// The name of an argument in `...`, as `lua_getlocal` gives it.
pub const VARARG: &[u8] = b"(vararg)";

/// Whether an error that a call came back with was a finalizer's. Lua gives a warning instead.
pub fn is_finalizers(_: c_int) -> bool {
    false
}

/// Resumes a coroutine. Returns the status, and how many values on top of its stack are its results.
///
/// # Safety
/// As for `lua_resume`.
pub unsafe fn resume(l: *mut lua::lua_State, from: *mut lua::lua_State, arguments: c_int) -> (c_int, c_int) {
    let mut results = 0;
    // SAFETY: as promised by the caller.
    let status = unsafe { lua::lua_resume(l, from, arguments, &mut results) };
    (status, results)
}

/// Closes the variables of a coroutine that does not run. Returns the status: if it is an error, that is on top of the
/// coroutine's stack. This ends the coroutine.
///
/// # Safety
/// As for [`resume`]. The coroutine does not run.
pub unsafe fn close(l: *mut lua::lua_State) -> Option<c_int> {
    // SAFETY: as promised by the caller.
    Some(unsafe { lua::lua_resetthread(l) })
}

/// The warnings of the task that runs on a thread.
struct Warnings {
    are_shown: bool,
    /// The parts of a warning so far.
    parts: Option<Vec<u8>>,
}

thread_local! {
    static WARNINGS: RefCell<Warnings> = const { RefCell::new(Warnings { are_shown: false, parts: None }) };
}

/// Makes a state show its warnings as a stock interpreter does, but each in one piece, since several tasks may warn at once.
///
/// # Safety
/// `l` is a live state.
pub unsafe fn show_warnings(l: *mut lua::lua_State) {
    unsafe extern "C-unwind" fn warn(_: *mut c_void, part: *const c_char, goes_on: c_int) {
        // SAFETY: Lua gives a text that ends with a zero.
        let part = unsafe { CStr::from_ptr(part) }.to_bytes();
        WARNINGS.with_borrow_mut(|warnings| {
            match part {
                b"@on" if warnings.parts.is_none() && goes_on == 0 => warnings.are_shown = true,
                b"@off" if warnings.parts.is_none() && goes_on == 0 => warnings.are_shown = false,
                [b'@', ..] if warnings.parts.is_none() && goes_on == 0 => {}
                _ => warnings.parts.get_or_insert_with(|| b"Lua warning: ".to_vec()).extend_from_slice(part),
            }
            if goes_on == 0
                && let Some(mut line) = warnings.parts.take()
                && warnings.are_shown
            {
                line.push(b'\n');
                // Nobody could be told of a failure.
                let _ = std::io::stderr().write_all(&line);
            }
        });
    }
    // SAFETY: as promised by the caller.
    unsafe { lua::lua_setwarnf(l, Some(warn), ptr::null_mut()) }
}

/// Makes the warnings of this thread hidden again, as they are at the start of a program.
pub fn reset_warnings() {
    WARNINGS.set(Warnings { are_shown: false, parts: None });
}
