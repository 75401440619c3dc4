//! The host's Lua, looked up when this library is loaded.
//!
//! Lua's functions are called by name, and a system opens a library only if it finds all the names that this one lacks.
//! So some names are defined here: each is a jump through a slot, which is filled from the host's Lua later.
//!
//! - **On Linux**, the names that not every Lua has. So the library opens in any Lua, and says itself which one it needs. In a
//!   host that exports no Lua at all, the system refuses the library because of the other names.
//! - **On Windows**, all names. There, a name is bound to a file, and a host may have its Lua anywhere: in `lua53.dll`, in a
//!   library of another name, in its program. [`DllMain`] refuses a host that exports no Lua.
//! - **Elsewhere**, this file is left out, and the system binds all names.

#[cfg(unix)]
use std::ffi::CStr;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

#[cfg(unix)]
use libloading::os::unix::Library;
#[cfg(windows)]
use libloading::os::windows::Library;
#[cfg(unix)]
use mlua::ffi as lua;

/// The address of a function of the host's Lua; null until it was looked up.
type Slot = AtomicPtr<c_void>;

/// Defines the functions that have to be looked up: on Windows, the functions of every Lua, too.
macro_rules! functions {
    (every_lua: $($every:ident)*; not_every_lua: $($some:ident)*;) => {
        #[cfg(windows)]
        looked_up! { $($every)* $($some)* }
        #[cfg(not(windows))]
        looked_up! { $($some)* }
    };
}

/// Defines a module for each function, with its slot and the jump of its name; and the list of all slots.
macro_rules! looked_up {
    ($($name:ident)*) => {
        $(#[allow(non_snake_case, reason = "the names are Lua's")]
        mod $name {
            pub static SLOT: super::Slot = super::Slot::new(std::ptr::null_mut());
            #[cfg(target_arch = "x86_64")]
            std::arch::global_asm!(
                concat!(".globl ", stringify!($name)),
                concat!(stringify!($name), ": jmp qword ptr [rip + {slot}]"),
                slot = sym SLOT,
            );
            // x16 is free for jumps between a call and its function.
            #[cfg(target_arch = "aarch64")]
            std::arch::global_asm!(
                concat!(".globl ", stringify!($name)),
                concat!(".type ", stringify!($name), ", %function"),
                concat!(stringify!($name), ":"),
                "adrp x16, {slot}",
                "ldr x16, [x16, :lo12:{slot}]",
                "br x16",
                slot = sym SLOT,
            );
            // On this target, a C name begins with an underscore.
            #[cfg(target_arch = "x86")]
            std::arch::global_asm!(
                concat!(".globl _", stringify!($name)),
                concat!("_", stringify!($name), ": jmp dword ptr [{slot}]"),
                slot = sym SLOT,
            );
        })*
        /// Each name, with a zero after it, and its slot.
        static SLOTS: &[(&str, &Slot)] = &[$((concat!(stringify!($name), "\0"), &$name::SLOT)),*];
    };
}

// Every Lua: 5.1 to 5.5, and LuaJIT.
super::version::with_own_functions! {
    functions;
    every_lua:
        luaL_argerror luaL_checkstack luaL_openlibs luaL_ref luaL_where lua_checkstack lua_close lua_concat
        lua_createtable lua_dump lua_error lua_gc lua_getallocf lua_getinfo lua_getlocal lua_getmetatable lua_getstack lua_gettop
        lua_getupvalue lua_iscfunction lua_newstate lua_newthread lua_next lua_pushboolean lua_pushcclosure
        lua_pushinteger lua_pushlightuserdata lua_pushlstring lua_pushnil lua_pushnumber lua_pushstring
        lua_pushthread lua_pushvalue lua_rawequal lua_rawget lua_rawgeti lua_rawset lua_rawseti lua_resume
        lua_setallocf lua_setfield lua_sethook lua_setmetatable lua_settop lua_setupvalue lua_status lua_toboolean
        lua_tocfunction lua_tolstring lua_topointer lua_tothread lua_touserdata lua_type lua_typename lua_xmove;
    not_every_lua:
        luaL_checkversion_ luaL_loadbufferx luaL_loadfilex luaL_tolstring luaL_traceback lua_absindex lua_callk
        lua_copy lua_isinteger lua_isyieldable lua_pcallk lua_rawgetp lua_rawlen lua_rawsetp
        lua_rotate lua_tointegerx lua_tonumberx lua_upvalueid lua_upvaluejoin lua_yieldk;
}

/// Where `lua_error` is, for the entry.
#[cfg(all(windows, target_arch = "x86"))]
pub use lua_error::SLOT as LUA_ERROR;

/// Fills all slots from a library; false, and no slot filled, if it lacks a function.
fn fill_from(library: &Library) -> bool {
    // SAFETY: what has the name is not touched.
    let find = |name: &str| unsafe { library.get::<*mut c_void>(name.as_bytes()).map(|found| *found) };
    let mut found = [ptr::null_mut(); SLOTS.len()];
    for ((name, _), address) in SLOTS.iter().zip(&mut found) {
        match find(name) {
            Ok(function) => *address = function,
            Err(_) => return false,
        }
    }
    for ((_, slot), address) in SLOTS.iter().zip(found) {
        slot.store(address, Ordering::Release);
    }
    true
}

/// The name of the Lua that a library is, by a function that only it and newer ones have.
#[cfg(unix)]
fn name_of(library: &Library) -> &'static CStr {
    const MARKS: [(&[u8], &CStr); 5] = [
        (b"luaJIT_setmode\0", c"LuaJIT"),
        (b"lua_numbertocstring\0", c"Lua 5.5"),
        (b"lua_newuserdatauv\0", c"Lua 5.4"),
        (b"lua_isinteger\0", c"Lua 5.3"),
        (b"lua_callk\0", c"Lua 5.2"),
    ];
    // SAFETY: what has the name is not touched.
    let has = |name: &[u8]| unsafe { library.get::<*mut c_void>(name).is_ok() };
    MARKS.iter().find(|(mark, _)| has(mark)).map_or(c"Lua 5.1", |(_, name)| name)
}

/// Looks up the functions of the host's Lua. Raises if it lacks some. No other function of it may be called before.
///
/// # Safety
/// `l` is a live state of this thread, of any Lua.
#[cfg(unix)]
pub unsafe fn find(l: *mut lua::lua_State) {
    let program = Library::this();
    if !fill_from(&program) {
        // SAFETY: as promised by the caller; these functions are alike in every Lua.
        unsafe {
            lua::lua_pushstring(l, super::version::NEEDS_THIS.as_ptr());
            lua::lua_pushstring(l, name_of(&program).as_ptr());
            lua::lua_concat(l, 2);
            lua::lua_error(l);
        }
    }
}

/// Called by the system when it loads or unloads this library; 0 refuses it. Looks for Lua in the program, and then in the
/// libraries that it has loaded, in that order. Never loads a Lua: a second one would not know the values of the first.
///
/// So a host with another Lua hears only from the system that this library failed to begin. To name both versions, this library would
/// have to be loaded all the same, and then raise an error by functions of the Lua that called it. It can't tell which Lua that is:
/// the caller may be a hidden Lua beside another one that some library brought along, and a function of that one would break the
/// caller's state. The drop-in folder names what it may be, and falls back.
#[cfg(windows)]
#[unsafe(no_mangle)]
extern "system" fn DllMain(_library: usize, reason: u32, _reserved: usize) -> i32 {
    use libloading::os::windows::Library;
    use windows_sys::Win32::System::ProcessStatus::K32EnumProcessModules;
    use windows_sys::Win32::System::SystemServices::DLL_PROCESS_ATTACH;
    use windows_sys::Win32::System::Threading::GetCurrentProcess;

    /// Programs have some dozens.
    const MOST: usize = 1024;

    if reason != DLL_PROCESS_ATTACH {
        return 1;
    }
    if Library::this().is_ok_and(|program| fill_from(&program)) {
        return 1;
    }
    let mut modules = [std::ptr::null_mut(); MOST];
    let mut bytes = 0;
    // SAFETY: the system writes as many handles as there is room for, and into `bytes` how much room all take.
    let is_listed = unsafe {
        K32EnumProcessModules(
            GetCurrentProcess(),
            modules.as_mut_ptr(),
            size_of_val(&modules) as u32,
            &mut bytes,
        )
    } != 0;
    let listed = if is_listed { bytes as usize / size_of_val(&modules[0]) } else { 0 };
    let is_found = modules.iter().take(listed).any(|module| {
        // SAFETY: the library stays loaded while the system's loader runs this function. It is not ours to close.
        let library = std::mem::ManuallyDrop::new(unsafe { Library::from_raw(*module as _) });
        fill_from(&library)
    });
    i32::from(is_found)
}
