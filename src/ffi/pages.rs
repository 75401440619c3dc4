//! Large blocks of memory, about to be filled.

#[cfg(target_os = "linux")]
const PAGE: usize = 4096;

/// The whole pages in a block: where they begin, and how many bytes they are.
#[cfg(target_os = "linux")]
fn pages(start: *const u8, size: usize) -> (*mut libc::c_void, usize) {
    let first = (start as usize).next_multiple_of(PAGE);
    let end = (start as usize + size) / PAGE * PAGE;
    (first as *mut libc::c_void, end.saturating_sub(first))
}

/// Gives the memory of a block back that is about to be freed. Allocators keep that of small ones.
///
/// # Safety
/// Nobody reads the block any more.
#[cfg(target_os = "linux")]
pub unsafe fn discard(start: *mut u8, size: usize) {
    let (first, length) = pages(start, size);
    // SAFETY: these pages lie within the block, whose bytes nobody needs, as the caller promises; they read as zeros
    // from now on.
    unsafe { libc::madvise(first, length, libc::MADV_DONTNEED) };
}

/// Asks for huge pages where a large block lies that is about to be filled: it then comes in a few large pieces, each
/// with one interruption, and not in thousands of small ones. Changes nothing but that.
#[cfg(target_os = "linux")]
pub fn expect_filling(start: *const u8, size: usize) {
    // Two of the pages that processors call huge.
    const LARGE: usize = 4 << 20;
    if size < LARGE {
        return;
    }
    let (first, length) = pages(start, size);
    // SAFETY: the range lies within a block of the caller's, and advice of this kind changes nothing in it. A kernel
    // that does not take it says so, which does no harm.
    unsafe { libc::madvise(first, length, libc::MADV_HUGEPAGE) };
}

/// # Safety
/// None is needed.
#[cfg(not(target_os = "linux"))]
pub unsafe fn discard(_: *mut u8, _: usize) {}

#[cfg(not(target_os = "linux"))]
pub fn expect_filling(_: *const u8, _: usize) {}
