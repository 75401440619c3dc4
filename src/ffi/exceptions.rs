//! Refuses a Lua that a GNU compiler compiled as C++ for 32-bit Windows. Its exceptions end the process at a frame of another
//! library, such as this one. So nothing can be tried out, and not even the refusal can be raised from here.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::Ordering;

use mlua::ffi as lua;
use windows_sys::Win32::Foundation::HMODULE;
use windows_sys::Win32::System::Diagnostics::Debug::ReadProcessMemory;
use windows_sys::Win32::System::LibraryLoader::{
    GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT, GetModuleHandleExW,
};
use windows_sys::Win32::System::ProcessStatus::{K32GetModuleInformation, MODULEINFO};
use windows_sys::Win32::System::Threading::GetCurrentProcess;

use super::engine::EXCEPTIONS;
use super::host_lua::LUA_ERROR;

/// The name of the type that Lua throws, as such compilers write it. A program that throws it has the name in it.
const THROWN: &[u8] = b"P11lua_longjmp\0";

/// Pushes the reason and gives 1 if the host's Lua is such a one, else gives 0. The entry raises it, once no frame of this
/// library is left.
///
/// # Safety
/// `l` is a live state of this thread.
pub unsafe extern "C-unwind" fn refuse_exceptions(l: *mut lua::lua_State) -> c_int {
    let is_thrown = holds(LUA_ERROR.load(Ordering::Acquire), THROWN);
    if is_thrown {
        // SAFETY: as promised by the caller.
        unsafe { lua::lua_pushstring(l, EXCEPTIONS.as_ptr()) };
    }
    is_thrown.into()
}

/// Whether the program or library around an address contains these bytes.
fn holds(address: *const c_void, bytes: &[u8]) -> bool {
    const PART: usize = 64 << 10;
    let mut module: HMODULE = ptr::null_mut();
    let mut info = MODULEINFO { lpBaseOfDll: ptr::null_mut(), SizeOfImage: 0, EntryPoint: ptr::null_mut() };
    let flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT;
    // SAFETY: all pointers are to locals, except the address, which is only looked up.
    let is_known = unsafe {
        GetModuleHandleExW(flags, address.cast(), &mut module) != 0
            && K32GetModuleInformation(GetCurrentProcess(), module, &mut info, size_of_val(&info) as u32) != 0
    };
    let size = if is_known { info.SizeOfImage as usize } else { 0 };
    let mut part = vec![0; PART + bytes.len()];
    (0..size).step_by(PART).any(|start| {
        let length = part.len().min(size - start);
        let mut read = 0;
        // SAFETY: there is room for so many bytes. The system copies them, or says that they can't be read.
        unsafe {
            ReadProcessMemory(
                GetCurrentProcess(),
                info.lpBaseOfDll.cast::<u8>().add(start).cast(),
                part.as_mut_ptr().cast(),
                length,
                &mut read,
            )
        };
        part[..read.min(length)].windows(bytes.len()).any(|window| window == bytes)
    })
}
