//! Memory by the page: images, large blocks that are about to be filled, and stacks that are not used.

#[cfg(target_os = "linux")]
use std::ffi::c_void;
#[cfg(target_os = "linux")]
use std::mem::MaybeUninit;
use std::ptr;
#[cfg(target_os = "linux")]
use std::sync::LazyLock;

use memmap2::MmapMut;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
use super::blocks::{cache_pages, drop_cached_pages};
use super::headroom;

/// Two of the pages that processors call huge.
pub const LARGE: usize = 4 << 20;

/// The size of a page, a power of two: 4 KiB on x86, up to 64 KiB on 64-bit Arm.
#[cfg(target_os = "linux")]
fn page() -> usize {
    static PAGE: LazyLock<usize> = LazyLock::new(|| {
        // SAFETY: it only asks.
        usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(64 << 10)
    });
    *PAGE
}

/// The start and the length of the whole pages between two addresses. Parts of a page stay out: they belong to others, too.
#[cfg(target_os = "linux")]
fn whole_pages(start: usize, end: usize, page: usize) -> (usize, usize) {
    let first = start.next_multiple_of(page);
    (first, (end / page * page).saturating_sub(first))
}

/// Bytes that are filled one part after another, in pages of their own: these are given back whole, while what is freed
/// to an allocator it keeps.
pub struct Bytes {
    pub pages: MmapMut,
    filled: usize,
}

impl Bytes {
    /// Room for so many, for a state that holds `held`, in pages that were used before where they suffice; none where
    /// memory has run out.
    pub fn with_room(size: usize, held: usize, used: Option<MmapMut>) -> Option<Bytes> {
        let used = used.filter(|pages| pages.len() >= size);
        let pages = used.or_else(|| headroom::ask(held, size, || MmapMut::map_anon(size.max(1)).ok()))?;
        Some(Bytes { pages, filled: 0 })
    }

    /// # Safety
    /// There are so many bytes to read, and room for them.
    pub unsafe fn append(&mut self, part: *const u8, length: usize) {
        // SAFETY: as promised by the caller. What of a part was never written may be any bytes: they are only ever
        // copied back.
        unsafe { ptr::copy_nonoverlapping(part, self.pages.as_mut_ptr().add(self.filled), length) };
        self.filled += length;
    }
}

/// Advises the system on the whole pages between two addresses.
///
/// # Safety
/// The memory there may be treated as the advice says.
#[cfg(target_os = "linux")]
unsafe fn advise(start: usize, end: usize, advice: libc::c_int) {
    let (first, length) = whole_pages(start, end, page());
    // SAFETY: as promised by the caller. A kernel that does not take the advice says so, which does no harm.
    unsafe { libc::madvise(first as *mut c_void, length, advice) };
}

/// Gives back the part of this thread's stack that nothing is on: it stays as large as it has ever been, otherwise.
#[cfg(target_os = "linux")]
pub fn release_stack() {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let (mut start, mut size) = (ptr::null_mut(), 0);
    // SAFETY: the attributes are filled before they are read, and destroyed once; all pointers are to locals.
    let is_known = unsafe {
        libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) == 0 && {
            let known = libc::pthread_attr_getstack(attributes.as_ptr(), &mut start, &mut size) == 0;
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
            known
        }
    };
    let here = ptr::from_ref(&attributes) as usize;
    if is_known && (start as usize..start as usize + size).contains(&here) {
        // SAFETY: a stack grows downwards, so below this frame, and what it calls, nobody has anything. What it calls is on
        // the page that is kept.
        unsafe { advise(start as usize, here.saturating_sub(page()), libc::MADV_DONTNEED) };
    }
}

#[cfg(not(target_os = "linux"))]
pub fn release_stack() {}

/// Makes the allocator give back what it keeps for later. That takes a while where there is much.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn trim_allocator() {
    cache_pages(false);
    drop_cached_pages();
    // SAFETY: it may be called at any time, on any thread.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn trim_allocator() {}

/// Asks for huge pages where a large block lies that is about to be filled: it then comes in a few large pieces, each
/// with one interruption, and not in thousands of small ones. Changes nothing but that.
#[cfg(target_os = "linux")]
pub fn expect_filling(start: *const u8, size: usize) {
    if size < LARGE {
        return;
    }
    // SAFETY: the range is a block of the caller's, and advice of this kind changes nothing in it.
    unsafe { advise(start as usize, start as usize + size, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
pub fn expect_filling(_: *const u8, _: usize) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn advice_leaves_out_parts_of_a_page_whatever_its_size() {
        assert_eq!(whole_pages(0x1_0000, 0x3_0000, 0x1000), (0x1_0000, 0x2_0000));
        assert_eq!(whole_pages(0x1_0001, 0x2_ffff, 0x1000), (0x1_1000, 0x1_e000));
        assert_eq!(whole_pages(0x1_1000, 0x3_f000, 0x1_0000), (0x2_0000, 0x1_0000));
        assert_eq!(whole_pages(0x1_1000, 0x1_f000, 0x1_0000).1, 0);
        assert!(page() >= 0x1000 && page().is_power_of_two(), "a page has {} bytes", page());
    }
}
