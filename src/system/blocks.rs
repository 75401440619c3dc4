//! Blocks from the system: small ones from its allocator, large ones as pages of their own.
//!
//! glibc keeps large blocks that were freed at the end of a thread's heap, up to 64 MiB of them for each thread, and its
//! `malloc_trim` doesn't reach them. Pages go back to the system at once. Other allocators do so of themselves.

use std::alloc::{GlobalAlloc, Layout, System};

/// Blocks of this size and more are pages of their own.
pub const PAGED: usize = 4 << 20;

/// The system's allocator, as this library uses it.
pub struct Blocks;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod paged {
    use std::alloc::Layout;
    use std::ptr;

    /// No page is smaller.
    const PAGE: usize = 4096;

    pub fn is_paged(layout: Layout) -> bool {
        layout.size() >= super::PAGED && layout.align() <= PAGE
    }

    fn checked(start: *mut libc::c_void) -> *mut u8 {
        if start == libc::MAP_FAILED { ptr::null_mut() } else { start.cast() }
    }

    pub fn map(size: usize) -> *mut u8 {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, at an address that the system chooses, touches no other.
        checked(unsafe { libc::mmap(ptr::null_mut(), size, access, kind, -1, 0) })
    }

    /// # Safety
    /// [`map`] or [`resize`] gave the block with that size, and nobody uses it any more.
    pub unsafe fn unmap(block: *mut u8, size: usize) {
        // SAFETY: as promised by the caller.
        unsafe { libc::munmap(block.cast(), size) };
    }

    /// Null, and the block as it was, where memory has run out.
    ///
    /// # Safety
    /// [`map`] or [`resize`] gave the block with the old size; the caller uses the new one if there is one.
    pub unsafe fn resize(block: *mut u8, old: usize, new: usize) -> *mut u8 {
        // SAFETY: as promised by the caller.
        checked(unsafe { libc::mremap(block.cast(), old, new, libc::MREMAP_MAYMOVE) })
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
// SAFETY: whether a block is pages of its own or the allocator's follows from its layout alone, which the caller gives back
// with it.
unsafe impl GlobalAlloc for Blocks {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if paged::is_paged(layout) {
            return paged::map(layout.size());
        }
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise; a block is where its layout says.
        unsafe {
            if paged::is_paged(layout) {
                paged::unmap(block, layout.size())
            } else {
                System.dealloc(block, layout)
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the size is one of a layout.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: the caller's promise; a block is where its layout says. Where it moves from one place to the other, both
        // blocks are as large as what is copied.
        unsafe {
            match (paged::is_paged(layout), paged::is_paged(new)) {
                (true, true) => paged::resize(block, layout.size(), size),
                (false, false) => System.realloc(block, layout, size),
                _ => {
                    let moved = self.alloc(new);
                    if !moved.is_null() {
                        moved.copy_from_nonoverlapping(block, size.min(layout.size()));
                        self.dealloc(block, layout);
                    }
                    moved
                }
            }
        }
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
// SAFETY: it is the system's allocator.
unsafe impl GlobalAlloc for Blocks {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_keep_their_bytes_as_they_become_pages_and_cease_to_be() {
        let sizes = [16, PAGED - 1, PAGED, 3 * PAGED, PAGED + 1, 100, 2 * PAGED];
        let mut layout = Layout::from_size_align(64, 16).expect("it is a layout");
        // SAFETY: each block is used as large as it is, and given back once, with its layout.
        unsafe {
            let mut block = Blocks.alloc(layout);
            for (round, size) in (1..).zip(sizes) {
                block.write_bytes(round, layout.size());
                block = Blocks.realloc(block, layout, size);
                assert!(!block.is_null() && (block as usize).is_multiple_of(16));
                let kept = std::slice::from_raw_parts(block, size.min(layout.size()));
                assert!(kept.iter().all(|byte| *byte == round), "{} to {size}", layout.size());
                layout = Layout::from_size_align(size, 16).expect("it is a layout");
            }
            Blocks.dealloc(block, layout);
        }
    }

    #[test]
    fn more_than_there_is_is_refused_and_the_block_stays() {
        let most = isize::MAX as usize - 15;
        let huge = Layout::from_size_align(most, 16).expect("it is a layout");
        let layout = Layout::from_size_align(PAGED, 16).expect("it is a layout");
        // SAFETY: as above.
        unsafe {
            assert!(Blocks.alloc(huge).is_null());
            let block = Blocks.alloc(layout);
            block.write_bytes(7, PAGED);
            assert!(Blocks.realloc(block, layout, most).is_null());
            assert!(std::slice::from_raw_parts(block, PAGED).iter().all(|byte| *byte == 7));
            Blocks.dealloc(block, layout);
        }
    }
}
