//! Advice to the system about pages: huge pages for large blocks, and the release of unused stack.

#[cfg(target_os = "linux")]
use std::ffi::c_void;
#[cfg(target_os = "linux")]
use std::mem::MaybeUninit;
#[cfg(target_os = "linux")]
use std::ptr;
#[cfg(target_os = "linux")]
use std::sync::LazyLock;

/// Blocks of this size or more get huge pages. It is the size of two such pages.
pub const LARGE: usize = 4 << 20;

/// The size of a page, a power of two: 4 KiB on x86, up to 64 KiB on 64-bit Arm.
#[cfg(target_os = "linux")]
pub fn page() -> usize {
    static PAGE: LazyLock<usize> = LazyLock::new(|| {
        // SAFETY: this only reads a setting.
        usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(64 << 10)
    });
    *PAGE
}

/// The start and the length of the whole pages between two addresses. Partial pages are left out, because other data shares
/// them.
#[cfg(target_os = "linux")]
fn whole_pages(start: usize, end: usize, page: usize) -> (usize, usize) {
    let first = start.next_multiple_of(page);
    (first, (end / page * page).saturating_sub(first))
}

/// Advises the system on the whole pages between two addresses.
///
/// # Safety
/// The memory there may be treated as the advice says.
#[cfg(target_os = "linux")]
unsafe fn advise(start: usize, end: usize, advice: libc::c_int) {
    let (first, length) = whole_pages(start, end, page());
    // SAFETY: as promised by the caller. If the kernel refuses the advice, nothing happens.
    unsafe { libc::madvise(first as *mut c_void, length, advice) };
}

/// More bytes of stack than the frames of [`release_stack`] and its callees take.
#[cfg(target_os = "linux")]
const FRAMES: usize = 1 << 10;

/// Returns the unused part of this thread's stack to the system. Otherwise a stack keeps its largest size.
#[cfg(target_os = "linux")]
pub fn release_stack() {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let (mut start, mut size) = (ptr::null_mut(), 0);
    // SAFETY: the attributes are filled before they are read, and destroyed once. All pointers are to locals.
    let is_known = unsafe {
        libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) == 0 && {
            let known = libc::pthread_attr_getstack(attributes.as_ptr(), &mut start, &mut size) == 0;
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
            known
        }
    };
    let here = ptr::from_ref(&attributes) as usize;
    if is_known && (start as usize..start as usize + size).contains(&here) {
        // SAFETY: a stack grows downwards, so nothing is in use below this frame and its callees, which are kept.
        unsafe { advise(start as usize, here.saturating_sub(FRAMES), libc::MADV_DONTNEED) };
    }
}

#[cfg(not(target_os = "linux"))]
pub fn release_stack() {}

/// Asks for huge pages for a large block that is about to be filled, so that it takes a few page faults and not thousands.
/// Has no other effect.
#[cfg(target_os = "linux")]
pub fn expect_filling(start: *const u8, size: usize) {
    if size < LARGE {
        return;
    }
    // SAFETY: this advice does not change the contents of the memory.
    unsafe { advise(start as usize, start as usize + size, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
pub fn expect_filling(_: *const u8, _: usize) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn advice_covers_only_whole_pages_of_any_size() {
        assert_eq!(whole_pages(0x1_0000, 0x3_0000, 0x1000), (0x1_0000, 0x2_0000));
        assert_eq!(whole_pages(0x1_0001, 0x2_ffff, 0x1000), (0x1_1000, 0x1_e000));
        assert_eq!(whole_pages(0x1_1000, 0x3_f000, 0x1_0000), (0x2_0000, 0x1_0000));
        assert_eq!(whole_pages(0x1_1000, 0x1_f000, 0x1_0000).1, 0);
        assert!(page() >= 0x1000 && page().is_power_of_two(), "a page has {} bytes", page());
    }
}
