//! Large blocks of memory, about to be filled.

/// Asks for huge pages where a large block lies that is about to be filled: it then comes in a few large pieces, each
/// with one interruption, and not in thousands of small ones. Changes nothing but that.
#[cfg(target_os = "linux")]
pub fn expect_filling(start: *const u8, size: usize) {
    // Two of the pages that processors call huge.
    const LARGE: usize = 4 << 20;
    const PAGE: usize = 4096;
    if size < LARGE {
        return;
    }
    let first = (start as usize).next_multiple_of(PAGE);
    let end = (start as usize + size) / PAGE * PAGE;
    // SAFETY: the range lies within a block of the caller's, and advice of this kind changes nothing in it. A kernel
    // that does not take it says so, which does no harm.
    unsafe { libc::madvise(first as *mut libc::c_void, end - first, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
pub fn expect_filling(_: *const u8, _: usize) {}
