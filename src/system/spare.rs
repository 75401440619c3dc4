//! The global allocator of this library, with a spare area for when the system has no memory.
//!
//! Rust ends the process when an allocation fails. When a task has used up all memory, the library still needs a little, to
//! report that. It comes from the spare area.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::blocks::Blocks;
use super::headroom;

/// The system's allocator, with a spare area for when it fails.
struct WithSpare;

#[global_allocator]
static ALLOCATOR: WithSpare = WithSpare;

/// The size of the area. Only address space until it is used.
const BYTES: usize = 8 << 20;

/// The largest block. Larger requests, such as messages and lists of tasks, are able to fail.
const LARGEST: usize = 1 << 20;

/// Block sizes are powers of two, from this one up.
const SMALLEST: usize = 16;

const CLASSES: usize = (LARGEST / SMALLEST).ilog2() as usize + 1;

/// The alignment of the area, and of each block of at least this size.
const PAGE: usize = 4096;

#[repr(align(4096))]
struct Area(UnsafeCell<[u8; BYTES]>);

// SAFETY: each part of the area has one owner at a time.
unsafe impl Sync for Area {}

static AREA: Area = Area(UnsafeCell::new([0; BYTES]));

/// The unused part of the area.
struct Unused {
    /// How many bytes of the area were handed out.
    cut: usize,
    /// Freed blocks by size class. Each holds the address of the next one.
    free: [*mut u8; CLASSES],
}

/// A spin lock around [`Unused`]. It is only held for a few instructions.
struct Locked {
    is_taken: AtomicBool,
    unused: UnsafeCell<Unused>,
}

// SAFETY: only `with_unused` uses the contents, on one thread at a time.
unsafe impl Sync for Locked {}

static UNUSED: Locked = Locked {
    is_taken: AtomicBool::new(false),
    unused: UnsafeCell::new(Unused { cut: 0, free: [ptr::null_mut(); CLASSES] }),
};

fn with_unused<R>(body: impl FnOnce(&mut Unused) -> R) -> R {
    while UNUSED.is_taken.swap(true, Ordering::Acquire) {
        std::thread::yield_now();
    }
    // SAFETY: this thread holds the lock until `body` returns, and `body` neither panics nor locks again.
    let outcome = body(unsafe { &mut *UNUSED.unused.get() });
    UNUSED.is_taken.store(false, Ordering::Release);
    outcome
}

/// The size class for a layout; none if no block is large enough.
fn class(layout: Layout) -> Option<usize> {
    let size = layout.size().max(layout.align()).max(SMALLEST).checked_next_power_of_two()?;
    (size <= LARGEST && layout.align() <= PAGE).then(|| (size / SMALLEST).ilog2() as usize)
}

fn take(layout: Layout) -> *mut u8 {
    let Some(class) = class(layout) else { return ptr::null_mut() };
    with_unused(|unused| {
        let head = unused.free[class];
        if !head.is_null() {
            // SAFETY: a block in the list is unused, and holds the address of the next one.
            unused.free[class] = unsafe { head.cast::<*mut u8>().read() };
            return head;
        }
        let size = SMALLEST << class;
        let start = unused.cut.next_multiple_of(size.min(PAGE));
        if start + size > BYTES {
            return ptr::null_mut();
        }
        unused.cut = start + size;
        // SAFETY: it fits.
        unsafe { AREA.0.get().cast::<u8>().add(start) }
    })
}

/// # Safety
/// [`take`] returned the block for that layout, and nothing uses it any more.
unsafe fn give_back(block: *mut u8, layout: Layout) {
    let Some(class) = class(layout) else { return };
    // SAFETY: as promised by the caller; the smallest block holds an address, and is aligned for it.
    with_unused(|unused| unsafe {
        block.cast::<*mut u8>().write(unused.free[class]);
        unused.free[class] = block;
    });
}

fn is_spare(block: *mut u8) -> bool {
    (block as usize).wrapping_sub(AREA.0.get() as usize) < BYTES
}

/// Serves a request that the system has refused. If the area is used up too, waits for a task to free memory: a task that gets
/// no more memory soon ends.
fn allocate_or_wait(layout: Layout) -> *mut u8 {
    const AT_MOST: Duration = Duration::from_secs(10);
    const PAUSE: Duration = Duration::from_millis(1);
    if class(layout).is_none() {
        return ptr::null_mut();
    }
    let start = Instant::now();
    loop {
        let mut block = take(layout);
        if block.is_null() {
            headroom::try_release();
            // SAFETY: the layout is the caller's, and not of size zero.
            block = unsafe { Blocks.alloc(layout) };
        }
        if !block.is_null() || start.elapsed() > AT_MOST {
            return block;
        }
        std::thread::sleep(PAUSE);
    }
}

// SAFETY: a block is either the system's or an unshared part of the area, and its address tells which.
unsafe impl GlobalAlloc for WithSpare {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Once memory has run out, the system's allocator may take a whole page for each small block.
        if headroom::is_released() {
            let block = take(layout);
            if !block.is_null() {
                return block;
            }
        }
        // SAFETY: the caller makes the promise that is required.
        let block = unsafe { Blocks.alloc(layout) };
        if block.is_null() { allocate_or_wait(layout) } else { block }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise; a block outside the area is the system's.
        unsafe { if is_spare(block) { give_back(block, layout) } else { Blocks.dealloc(block, layout) } }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !is_spare(block) {
            // SAFETY: the block is outside the area, so it is the system's.
            let moved = unsafe { Blocks.realloc(block, layout, size) };
            if !moved.is_null() {
                return moved;
            }
        }
        // SAFETY: the caller promises that the size is valid for a layout. The blocks are distinct, and both are at least
        // as large as the copied part.
        unsafe {
            let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !moved.is_null() {
                ptr::copy_nonoverlapping(block, moved, size.min(layout.size()));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_blocks_are_used_again() {
        let layouts = [(1, 1), (24, 8), (100, 64), (5000, 16), (LARGEST, PAGE)]
            .map(|(size, align)| Layout::from_size_align(size, align).expect("it is a layout"));
        // One block stays in use throughout, like a task's failure that the host has not taken yet.
        let kept = take(layouts[2]);
        for _ in 0..1000 {
            for layout in layouts {
                let (first, second) = (take(layout), take(layout));
                for block in [first, second] {
                    assert!(is_spare(block) && (block as usize).is_multiple_of(layout.align()), "{layout:?}");
                    // SAFETY: the block is that large, and unshared.
                    unsafe { block.write_bytes(7, layout.size()) };
                }
                assert_ne!(first, second);
                // SAFETY: they were taken for this layout.
                unsafe {
                    give_back(first, layout);
                    give_back(second, layout);
                }
            }
        }
        let too_large = Layout::from_size_align(LARGEST + 1, 1).expect("it is a layout");
        assert!(take(too_large).is_null());
        // SAFETY: as above.
        unsafe { give_back(kept, layouts[2]) };
    }
}
