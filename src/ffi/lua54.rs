//! What is different in the C API of Lua 5.4.

use std::ffi::{CStr, c_int};

use mlua::ffi as lua;

/// The version, as `LUA_VERSION_NUM` has it.
pub const VERSION: u32 = 504;

/// Passes lists of functions on to a macro, with the functions that only this Lua has.
#[cfg(all(feature = "module", any(windows, all(target_os = "linux", target_arch = "x86_64"))))]
macro_rules! with_own_functions {
    ($then:ident; every_lua: $($every:ident)*; not_every_lua: $($some:ident)*;) => {
        $then! { every_lua: $($every)*; not_every_lua: $($some)* lua_newuserdatauv lua_resetthread; }
    };
}
#[cfg(all(feature = "module", any(windows, all(target_os = "linux", target_arch = "x86_64"))))]
pub(super) use with_own_functions;

/// What a Lua of another version is told.
#[cfg(all(feature = "module", target_os = "linux", target_arch = "x86_64"))]
pub const NEEDS_THIS: &CStr = c"gma2workers needs Lua 5.4, this is another one";

/// What a Lua with other numbers is told, before its own words.
pub const NEEDS_NUMBERS: &CStr =
    c"gma2workers needs Lua 5.4 with integers and floats of 64 bits, this is another one: ";

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
