//! Keeps the library loaded in its process, and notices forks.

use crate::error::{Error, Result};

/// Keeps this library mapped until the process ends, whatever the host unloads, because threads run its code.
#[cfg(unix)]
pub fn keep_loaded() -> Result<()> {
    use std::ffi::{CStr, OsString, c_void};
    use std::mem::MaybeUninit;
    use std::os::unix::ffi::OsStringExt;

    use libloading::os::unix::{Library, RTLD_LAZY};

    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    let here = keep_loaded as fn() -> Result<()> as *const c_void;
    // SAFETY: `dladdr` only reads the address and fills `info`, for which zeroes are valid.
    let name = unsafe {
        if libc::dladdr(here, info.as_mut_ptr()) == 0 {
            return Err(Error::NoWorkers("the library can't find its own file".into()));
        }
        CStr::from_ptr(info.assume_init_ref().dli_fname)
    };
    let path = std::path::PathBuf::from(OsString::from_vec(name.to_bytes().to_vec()));
    // SAFETY: RTLD_NOLOAD runs no initializer: this library is loaded already.
    let library = unsafe { Library::open(Some(path), RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE) };
    match library {
        // RTLD_NODELETE stays in effect after the handle is closed.
        Ok(library) => {
            library.close().map_err(|cause| Error::NoWorkers(format!("cannot pin the library: {cause}")))
        }
        // In unit tests this code is part of the program, which is never unloaded. musl never unloads a library; it finds one
        // only by its file, and another file may have taken that one's place.
        Err(_) if cfg!(any(test, target_env = "musl")) => Ok(()),
        Err(cause) => Err(Error::NoWorkers(format!("cannot pin the library: {cause}"))),
    }
}

/// Keeps this library mapped until the process ends, whatever the host unloads, because threads run its code.
#[cfg(windows)]
pub fn keep_loaded() -> Result<()> {
    use windows_sys::Win32::System::LibraryLoader::{
        GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, GET_MODULE_HANDLE_EX_FLAG_PIN, GetModuleHandleExW,
    };

    let here = keep_loaded as fn() -> Result<()> as *const u16;
    let mut library = std::ptr::null_mut();
    // SAFETY: the library that contains this function is loaded. With this flag, the argument is an address, not a text.
    let is_pinned = unsafe {
        GetModuleHandleExW(
            GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN,
            here,
            &mut library,
        )
    } != 0;
    if is_pinned {
        return Ok(());
    }
    let cause = std::io::Error::last_os_error();
    Err(Error::NoWorkers(format!("cannot pin the library: {cause}")))
}

/// Makes every fork of this process call `child`. [`keep_loaded`] must be called first.
#[cfg(unix)]
pub fn at_fork(child: extern "C" fn()) -> Result<()> {
    // SAFETY: the function stays mapped and only stores to an atomic, which is safe after a fork.
    match unsafe { libc::pthread_atfork(None, None, Some(child)) } {
        0 => Ok(()),
        code => Err(Error::NoWorkers(std::io::Error::from_raw_os_error(code).to_string())),
    }
}
