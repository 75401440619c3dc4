//! The system's allocator for small blocks, and separate pages for large ones, and for those aligned to [`PAGE`].
//!
//! glibc keeps freed memory at the end of a thread's heap, up to 64 MiB for each thread, and `malloc_trim` can't release it.
//! Pages can be returned to the system at any time. While jobs run, freed pages are cached, because new pages cost more time
//! than most uses of them. Other systems' allocators return large blocks by themselves.

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, with large blocks in separate pages.
pub struct Blocks;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub use paged::{PAGE, cache_pages, drop_cached_pages};

/// A block of this alignment has pages of its own on some systems.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub const PAGE: usize = 16;

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn cache_pages(_: bool) {}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn drop_cached_pages() -> bool {
    false
}

/// Returns the pages that are kept for later to the system. That takes a while where there are many.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn trim_allocator() {
    drop_cached_pages();
    // SAFETY: it may be called at any time, on any thread.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn trim_allocator() {}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod paged {
    use std::alloc::Layout;
    use std::ptr;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use crate::system::pages::expect_filling;

    /// Blocks of at least this size are pages.
    pub const PAGED: usize = 1 << 20;

    /// The smallest size of a page on any system. A block of this alignment has pages of its own, whatever its size.
    pub const PAGE: usize = 4096;

    /// The most blocks that are cached, the most if a small one is to be added, and the most bytes. A task may keep a hundred texts
    /// of a megabyte and replace them all before its collector frees the old ones.
    const COUNT: usize = 1024;
    const COUNT_FOR_SMALL: usize = 4;
    const BYTES: usize = if cfg!(target_pointer_width = "64") { 256 << 20 } else { 16 << 20 };

    /// Smaller blocks are the regions of small states, of which there may be many.
    const SMALL: usize = 256 << 10;

    pub fn is_paged(layout: Layout) -> bool {
        layout.align() == PAGE || layout.size() >= PAGED && layout.align() < PAGE
    }

    /// The size of the pages for a block. Blocks of similar size get the same, so that they can reuse each other's pages.
    pub fn rounded(size: usize) -> usize {
        size.checked_next_power_of_two().map_or(size, |power| size.next_multiple_of(power / 16))
    }

    /// Unused pages.
    struct Cache {
        /// The first `count` are filled, the oldest first.
        blocks: [(*mut u8, usize); COUNT],
        count: usize,
        bytes: usize,
    }

    // SAFETY: the blocks are unused, so any thread may take them.
    unsafe impl Send for Cache {}

    /// No thread waits for the lock, because in a forked process it may stay locked forever.
    static CACHE: Mutex<Cache> =
        Mutex::new(Cache { blocks: [(ptr::null_mut(), 0); COUNT], count: 0, bytes: 0 });

    static IS_CACHING: AtomicBool = AtomicBool::new(false);

    impl Cache {
        fn remove(&mut self, at: usize) -> (*mut u8, usize) {
            let block = self.blocks[at];
            self.blocks.copy_within(at + 1..self.count, at);
            self.count -= 1;
            self.bytes -= block.1;
            block
        }
    }

    /// A cached block of this size; null if there is none.
    pub fn take_cached(size: usize) -> *mut u8 {
        let Ok(mut cache) = CACHE.try_lock() else { return ptr::null_mut() };
        let found = cache.blocks[..cache.count].iter().rposition(|block| block.1 == size);
        found.map_or(ptr::null_mut(), |at| cache.remove(at).0)
    }

    /// Sets whether freed pages are cached from now on.
    pub fn cache_pages(caches: bool) {
        IS_CACHING.store(caches, Ordering::Relaxed);
    }

    /// Returns the cached pages to the system. False if there were none.
    pub fn drop_cached_pages() -> bool {
        let Ok(mut cache) = CACHE.try_lock() else { return false };
        let had_any = cache.count > 0;
        while cache.count > 0 {
            let (block, size) = cache.remove(0);
            // SAFETY: the block is unused.
            unsafe { libc::munmap(block.cast(), size) };
        }
        had_any
    }

    /// Runs `request`. If the system refuses, drops the cached pages and runs it again.
    fn ask(request: impl Fn() -> *mut libc::c_void) -> *mut u8 {
        let mut start = request();
        if start == libc::MAP_FAILED && drop_cached_pages() {
            start = request();
        }
        if start == libc::MAP_FAILED { ptr::null_mut() } else { start.cast() }
    }

    /// Pages of this size; null if memory has run out.
    pub fn map(size: usize) -> *mut u8 {
        let cached = take_cached(size);
        if !cached.is_null() {
            return cached;
        }
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping at an address that the system chooses affects no other.
        let block = ask(|| unsafe { libc::mmap(ptr::null_mut(), size, access, kind, -1, 0) });
        if !block.is_null() {
            // The advice must cover the whole block: otherwise the system splits the mapping in two, and can't resize it.
            expect_filling(block, size);
        }
        block
    }

    /// # Safety
    /// The block consists of pages of this size, and nothing uses it any more.
    pub unsafe fn unmap(block: *mut u8, size: usize) {
        if IS_CACHING.load(Ordering::Relaxed)
            && let Ok(mut cache) = CACHE.try_lock()
            && (size >= SMALL || cache.count < COUNT_FOR_SMALL)
            && size <= BYTES
        {
            // The oldest ones may be of sizes that nobody asks for any more.
            while cache.count == COUNT || cache.bytes + size > BYTES {
                let (oldest, size) = cache.remove(0);
                // SAFETY: the block is unused.
                unsafe { libc::munmap(oldest.cast(), size) };
            }
            let at = cache.count;
            cache.blocks[at] = (block, size);
            cache.count += 1;
            cache.bytes += size;
            return;
        }
        // SAFETY: as promised by the caller.
        unsafe { libc::munmap(block.cast(), size) };
    }

    /// Resizes a block, which may move. Null if memory has run out; the block is then unchanged.
    ///
    /// # Safety
    /// The block consists of pages of the old size. If a new block is returned, the caller no longer uses the old one.
    pub unsafe fn resize(block: *mut u8, old: usize, new: usize) -> *mut u8 {
        if old == new {
            return block;
        }
        let cached = take_cached(new);
        if !cached.is_null() {
            // SAFETY: the blocks are distinct, and both are at least as large as the copied part. The caller owns the old one.
            unsafe {
                cached.copy_from_nonoverlapping(block, old.min(new));
                unmap(block, old);
            }
            return cached;
        }
        // SAFETY: as promised by the caller.
        let resized = ask(|| unsafe { libc::mremap(block.cast(), old, new, libc::MREMAP_MAYMOVE) });
        if !resized.is_null() {
            expect_filling(resized, new);
            return resized;
        }
        // The system resizes only whole mappings. Images may have split the block's into several, and a cached block stays so.
        let moved = map(new);
        if !moved.is_null() {
            // SAFETY: as above.
            unsafe {
                moved.copy_from_nonoverlapping(block, old.min(new));
                libc::munmap(block.cast(), old);
            }
        }
        moved
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
// SAFETY: a block's layout alone decides whether it is pages or the allocator's, and the caller passes it again to free it.
unsafe impl GlobalAlloc for Blocks {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if paged::is_paged(layout) {
            return paged::map(paged::rounded(layout.size()));
        }
        // SAFETY: the caller makes the promise that is required.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise; the layout decides where a block is.
        unsafe {
            if paged::is_paged(layout) {
                paged::unmap(block, paged::rounded(layout.size()));
            } else {
                System.dealloc(block, layout);
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the size is valid for a layout.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: the caller's promise; the layout decides where a block is. If it moves between the two, both blocks are at
        // least as large as the copied part.
        unsafe {
            match (paged::is_paged(layout), paged::is_paged(new)) {
                (true, true) => paged::resize(block, paged::rounded(layout.size()), paged::rounded(size)),
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
// SAFETY: this only calls the system's allocator.
unsafe impl GlobalAlloc for Blocks {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller makes the promise that is required.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller makes the promise that is required.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller makes the promise that is required.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::paged::{PAGED, rounded};
    use super::*;
    use crate::system::image::Image;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 16).expect("it is a layout")
    }

    #[test]
    fn blocks_keep_their_bytes_when_they_become_pages_or_stop_being_pages() {
        for is_caching in [false, true, true, false] {
            cache_pages(is_caching);
            let mut size = 64;
            // SAFETY: each block is used within its size and freed once, with its layout.
            unsafe {
                let mut block = Blocks.alloc(layout(size));
                for (round, new) in (1..).zip([16, PAGED - 1, PAGED, 3 * PAGED, PAGED + 1, 100, 2 * PAGED]) {
                    block.write_bytes(round, size);
                    block = Blocks.realloc(block, layout(size), new);
                    assert!(!block.is_null() && (block as usize).is_multiple_of(16));
                    let kept = std::slice::from_raw_parts(block, new.min(size));
                    assert!(kept.iter().all(|byte| *byte == round), "{size} to {new}");
                    size = new;
                }
                Blocks.dealloc(block, layout(size));
            }
        }
        drop_cached_pages();
    }

    #[test]
    fn a_block_of_several_mappings_grows() {
        let size = 8 << 20;
        // SAFETY: as above; an image covers whole pages of the block.
        unsafe {
            let block = Blocks.alloc(layout(size));
            block.write_bytes(7, size);
            if let Some(image) = Image::take(block.add(16 * PAGE), size / 2) {
                // This stays mapped, as if the system had refused to release it.
                drop(image);
            }
            let grown = Blocks.realloc(block, layout(size), 3 * size);
            assert!(!grown.is_null());
            assert!(std::slice::from_raw_parts(grown, size).iter().all(|byte| *byte == 7));
            Blocks.dealloc(grown, layout(3 * size));
        }
    }

    #[test]
    fn an_impossible_size_is_refused_and_the_block_stays() {
        let most = isize::MAX as usize - 15;
        // SAFETY: as above.
        unsafe {
            assert!(Blocks.alloc(layout(most)).is_null());
            let block = Blocks.alloc(layout(PAGED));
            block.write_bytes(7, PAGED);
            assert!(Blocks.realloc(block, layout(PAGED), most).is_null());
            assert!(std::slice::from_raw_parts(block, PAGED).iter().all(|byte| *byte == 7));
            Blocks.dealloc(block, layout(PAGED));
        }
    }

    #[test]
    fn pages_are_at_most_an_eighth_larger_than_their_block() {
        for size in [PAGED, PAGED + 1, 3 * PAGED, (64 << 20) - 1, isize::MAX as usize] {
            let pages = rounded(size);
            assert!(
                pages >= size && pages - size <= size / 8 && pages.is_multiple_of(4096),
                "{size}: {pages}"
            );
        }
    }
}
