//! Checks that this library can serve the host's Lua, which a vendor may have built differently, and refuses it otherwise.
//!
//! The checks come before everything else: with a wrong assumption about Lua, other calls would access wrong memory or abort.
//! The checks themselves are safe in any build of Lua of this version.

use std::cell::Cell;
use std::ffi::{CStr, c_int};

use mlua::ffi as lua;

use super::protected::Protected;
use super::types::Type;
use super::version;

/// How an error leaves C functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errors {
    /// It runs no destructors: a `longjmp`, also on 64-bit Windows, where it unwinds the stack but skips the
    /// destructors of a GNU compiler's code, such as ours; or an exception of Microsoft's compiler.
    Jump,
    /// It runs destructors, and their code may catch it: an exception of C++.
    Unwind,
}

/// Why a Lua with exceptions is refused: Rust catches only panics, and ends the process at any other exception.
pub const EXCEPTIONS: &CStr =
    c"gma2workers needs a Lua that raises errors by longjmp, but this one was compiled as C++ and throws exceptions";

/// How far a checked call came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    NotCalled,
    Called,
    Returned,
    Refused,
    Unwound,
}

thread_local! {
    static STEP: Cell<Step> = const { Cell::new(Step::NotCalled) };
}

/// Checks that this library can serve the host's Lua, and tells how its errors leave C functions. Raises the reason if it
/// can't, as a text that begins with "gma2workers needs" (the drop-in folder expects that); or an error of a host's hook.
///
/// # Safety
/// `l` is a live state of this thread, of a Lua that has all the functions that this library calls.
pub unsafe fn check(l: *mut lua::lua_State) -> Errors {
    // SAFETY: as promised by the caller; a C function has room for twenty values.
    unsafe {
        check_numbers(l);
        check_indices(l);
        check_depth(l);
        check_libraries(&Protected::new(l));
        find_errors(l)
    }
}

/// Raises the text.
///
/// # Safety
/// `l` is a live state of this thread, of any Lua. No frame of Rust above owns anything.
pub unsafe fn refuse(l: *mut lua::lua_State, text: &CStr) -> ! {
    // SAFETY: as promised by the caller; both functions are alike in every Lua.
    unsafe {
        lua::lua_pushstring(l, text.as_ptr());
        lua::lua_error(l)
    }
}

/// Calls a function that notes its steps, and gives the last step if it raised. Raises an error that came before the call or
/// after it: a hook raised that.
///
/// # Safety
/// As for [`check`].
unsafe fn call(l: *mut lua::lua_State, function: lua::lua_CFunction) -> Option<Step> {
    STEP.set(Step::NotCalled);
    // SAFETY: as promised by the caller.
    unsafe {
        lua::lua_pushcclosure(l, function, 0);
        if lua::lua_pcallk(l, 0, 0, 0, 0, None) == lua::LUA_OK {
            return None;
        }
        match STEP.get() {
            Step::NotCalled | Step::Returned | Step::Refused => lua::lua_error(l),
            step => Some(step),
        }
    }
}

/// Checks the version, and the sizes of integers and floats.
unsafe fn check_numbers(l: *mut lua::lua_State) {
    unsafe extern "C-unwind" fn check_version(l: *mut lua::lua_State) -> c_int {
        const SIZES: usize = size_of::<lua::lua_Integer>() * 16 + size_of::<lua::lua_Number>();
        STEP.set(Step::Called);
        // SAFETY: Lua calls with its live state. Where a float has another size, the version is passed wrongly, and the
        // sizes are looked at first.
        unsafe { lua::luaL_checkversion_(l, version::VERSION.into(), SIZES) };
        STEP.set(Step::Returned);
        0
    }
    // SAFETY: as promised by `check`'s caller.
    unsafe {
        if call(l, check_version).is_some() {
            lua::lua_pushstring(l, version::NEEDS_NUMBERS.as_ptr());
            lua::lua_rotate(l, -2, 1);
            lua::lua_concat(l, 2);
            lua::lua_error(l);
        }
    }
}

/// Checks the index of the registry, which depends on the limit of a stack. Lua tells such indices from others by arithmetic,
/// and reads nothing there.
unsafe fn check_indices(l: *mut lua::lua_State) {
    const REGISTRY: c_int = lua::LUA_REGISTRYINDEX;
    // SAFETY: as promised by `check`'s caller.
    unsafe {
        if lua::lua_absindex(l, REGISTRY) != REGISTRY || lua::lua_absindex(l, REGISTRY + 1) == REGISTRY + 1 {
            refuse(l, c"gma2workers needs a Lua with the usual stack limit (LUAI_MAXSTACK), but this one has another limit");
        }
    }
}

/// Checks how deep calls of C functions may nest: a worker's stack has room for 2.5 times the usual depth. The parser has the
/// same limit for brackets, and needs little stack for each.
unsafe fn check_depth(l: *mut lua::lua_State) {
    const DEPTH: usize = 500;
    const CODE: [u8; 2 * DEPTH + 8] = {
        let mut code = [b' '; 2 * DEPTH + 8];
        let mut at = 0;
        while at < DEPTH {
            code[7 + at] = b'(';
            code[8 + DEPTH + at] = b')';
            at += 1;
        }
        let (head, _) = code.split_at_mut(7);
        head.copy_from_slice(b"return ");
        code[7 + DEPTH] = b'0';
        code
    };
    unsafe extern "C-unwind" fn parse(l: *mut lua::lua_State) -> c_int {
        // SAFETY: Lua calls with its live state.
        let status = unsafe {
            lua::luaL_loadbufferx(l, CODE.as_ptr().cast(), CODE.len(), c"=depth".as_ptr(), c"t".as_ptr())
        };
        match status {
            lua::LUA_OK => STEP.set(Step::Returned),
            version::TOO_DEEP => STEP.set(Step::Refused),
            // SAFETY: the error is on top.
            _ => unsafe { lua::lua_error(l) },
        }
        0
    }
    // SAFETY: as promised by `check`'s caller. In a call of its own: Lua 5.4 shows this error to the message handler of the
    // code that loads this library.
    unsafe {
        call(l, parse);
        if STEP.get() != Step::Refused {
            refuse(
                l,
                c"gma2workers needs a Lua with at most 500 nested C calls (LUAI_MAXCCALLS), but this one allows more",
            );
        }
    }
}

/// Checks for the libraries that the Lua side needs. One of the two places is enough: a plugin may have set the global to
/// something else, or removed the library from `package.loaded`.
fn check_libraries(stack: &Protected) {
    let needed: [(&str, &CStr); 5] = [
        ("_G", c"gma2workers needs Lua's base library, but this host was built without it"),
        ("coroutine", c"gma2workers needs Lua's library 'coroutine', but this host was built without it"),
        ("math", c"gma2workers needs Lua's library 'math', but this host was built without it"),
        ("string", c"gma2workers needs Lua's library 'string', but this host was built without it"),
        ("table", c"gma2workers needs Lua's library 'table', but this host was built without it"),
    ];
    let top = stack.top();
    stack.push_globals();
    stack.push_registry();
    stack.raw_get_text(-1, "_LOADED");
    for (name, refusal) in needed {
        let is_loaded = stack.raw_get_text(top + 3, name) == Type::Table;
        if !is_loaded && stack.raw_get_text(top + 1, name) != Type::Table {
            // SAFETY: the state is live, and no frame above owns anything.
            unsafe { refuse(stack.l, refusal) }
        }
        stack.set_top(top + 3);
    }
    stack.set_top(top);
}

/// Raises an error past a destructor, and checks whether that was run.
unsafe fn find_errors(l: *mut lua::lua_State) -> Errors {
    struct Noting;
    impl Drop for Noting {
        fn drop(&mut self) {
            STEP.set(Step::Unwound);
        }
    }
    unsafe extern "C-unwind" fn raise(l: *mut lua::lua_State) -> c_int {
        STEP.set(Step::Called);
        let _noting = Noting;
        // SAFETY: Lua calls with its live state. A jump may skip the destructor, which only notes that it ran.
        unsafe {
            lua::lua_pushnil(l);
            lua::lua_error(l)
        }
    }
    // SAFETY: as promised by `check`'s caller.
    unsafe {
        let step = call(l, raise);
        lua::lua_settop(l, -2);
        if step == Some(Step::Unwound) { Errors::Unwind } else { Errors::Jump }
    }
}
