//! What is different in the C API of Lua 5.3.

use std::ffi::{CStr, c_int};

use mlua::ffi as lua;

use crate::error::Result;

/// The version, as `LUA_VERSION_NUM` has it.
pub const VERSION: u32 = 503;

/// Passes lists of functions on to a macro, with the functions that only this Lua has.
#[cfg(all(
    feature = "module",
    any(windows, all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))
))]
macro_rules! with_own_functions {
    ($then:ident; every_lua: $($every:ident)*; not_every_lua: $($some:ident)*;) => {
        $then! { every_lua: $($every)*; not_every_lua: $($some)* lua_newuserdata; }
    };
}
#[cfg(all(
    feature = "module",
    any(windows, all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))
))]
pub(super) use with_own_functions;

/// What a Lua of another version is told, before its name.
#[cfg(all(feature = "module", target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub const NEEDS_THIS: &CStr = c"gma2workers needs Lua 5.3, this is ";

/// What a Lua with other numbers is told, before its own words.
pub const NEEDS_NUMBERS: &CStr =
    c"gma2workers needs Lua 5.3 with 64-bit integers and floats, but this one was built differently: ";

/// The status of the parser for code that is nested too deep.
pub const TOO_DEEP: c_int = lua::LUA_ERRSYNTAX;

/// The name of an argument in `...`, as `lua_getlocal` gives it.
pub const VARARG: &[u8] = b"(*vararg)";

/// Whether an error that a call came back with was a finalizer's, which may run in any code.
pub fn is_finalizers(status: c_int) -> bool {
    status == lua::LUA_ERRGCMM
}

/// Resumes a coroutine. Returns the status, and how many values on top of its stack are its results.
///
/// # Safety
/// As for `lua_resume`.
pub unsafe fn resume(l: *mut lua::lua_State, from: *mut lua::lua_State, arguments: c_int) -> (c_int, c_int) {
    // SAFETY: as promised by the caller.
    unsafe { (lua::lua_resume_(l, from, arguments), lua::lua_gettop(l)) }
}

/// Closes the variables of a coroutine that does not run. None, since this Lua has no variables to be closed.
///
/// # Safety
/// As for [`resume`].
pub unsafe fn close(_: *mut lua::lua_State) -> Option<c_int> {
    None
}

/// This Lua has no warnings.
///
/// # Safety
/// `l` is a live state.
pub unsafe fn show_warnings(_: *mut lua::lua_State) {}

/// This Lua has no warnings.
pub fn reset_warnings() {}

/// The thread of a worker, as other threads know it. Any thread may set a hook in this Lua: `lua_sethook` writes only fields of the
/// coroutine itself, and reads the record of the running call for a field that only line hooks use. So nothing has to be done
/// on the worker's thread.
#[derive(Debug, Default)]
pub struct Thread;

impl Thread {
    /// Nothing has to be prepared.
    pub fn prepare(_: unsafe fn(*const ())) -> Result<()> {
        Ok(())
    }

    /// Nothing has to be prepared.
    pub fn prepare_here() {}

    /// Every thread can be interrupted.
    ///
    /// # Safety
    /// None is needed for this Lua.
    pub unsafe fn enter(&self, _: *const ()) {}

    /// Does nothing.
    pub fn leave(&self) {}

    /// Calls the action, and returns true.
    ///
    /// # Safety
    /// The data is the action's.
    pub unsafe fn interrupt(&self, action: unsafe fn(*const ()), data: *const ()) -> bool {
        // SAFETY: as promised by the caller.
        unsafe { action(data) };
        true
    }

    /// No interruption is ever on its way.
    pub fn settle(&self) {}
}
