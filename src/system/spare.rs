//! Memory for this library when the system has none.
//!
//! Rust ends the process when an allocation fails. When a task has used up all memory, the library needs a little to say
//! so. It comes from here.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::blocks::Blocks;
use super::headroom;

/// The system's allocator, and a spare area for when that fails.
struct WithSpare;

#[global_allocator]
static ALLOCATOR: WithSpare = WithSpare;

/// Address space alone, until it is needed.
const BYTES: usize = 8 << 20;

/// Larger requests must be able to fail: messages, and lists with an item for each task.
const LARGEST: usize = 1 << 20;

/// Block sizes are powers of two, from this one up.
const SMALLEST: usize = 16;

const CLASSES: usize = (LARGEST / SMALLEST).ilog2() as usize + 1;

/// The alignment of the area, and of each block that is at least as large.
const PAGE: usize = 4096;

#[repr(align(4096))]
struct Area(UnsafeCell<[u8; BYTES]>);

// SAFETY: each part of it has one owner at a time.
unsafe impl Sync for Area {}

static AREA: Area = Area(UnsafeCell::new([0; BYTES]));

/// The part of the area that is not in use.
struct Rest {
    /// How many bytes of the area were handed out.
    cut: usize,
    /// Freed blocks by size; each holds the address of the next one.
    free: [*mut u8; CLASSES],
}

/// [`Rest`], for one thread at a time. A spin lock, since it is held for a few instructions.
struct Locked {
    is_taken: AtomicBool,
    rest: UnsafeCell<Rest>,
}

// SAFETY: only `with` uses what is in it, on one thread at a time.
unsafe impl Sync for Locked {}

static REST: Locked = Locked {
    is_taken: AtomicBool::new(false),
    rest: UnsafeCell::new(Rest { cut: 0, free: [ptr::null_mut(); CLASSES] }),
};

fn with<R>(body: impl FnOnce(&mut Rest) -> R) -> R {
    while REST.is_taken.swap(true, Ordering::Acquire) {
        std::thread::yield_now();
    }
    // SAFETY: this thread holds the lock until `body` returns, and `body` neither panics nor locks again.
    let outcome = body(unsafe { &mut *REST.rest.get() });
    REST.is_taken.store(false, Ordering::Release);
    outcome
}

/// The size class for a layout; none if no block is large enough.
fn class(layout: Layout) -> Option<usize> {
    let size = layout.size().max(layout.align()).max(SMALLEST).checked_next_power_of_two()?;
    (size <= LARGEST && layout.align() <= PAGE).then(|| (size / SMALLEST).ilog2() as usize)
}

fn take(layout: Layout) -> *mut u8 {
    let Some(class) = class(layout) else { return ptr::null_mut() };
    with(|rest| {
        let head = rest.free[class];
        if !head.is_null() {
            // SAFETY: a block in the list is unused, and holds the address of the next one.
            rest.free[class] = unsafe { head.cast::<*mut u8>().read() };
            return head;
        }
        let size = SMALLEST << class;
        let start = rest.cut.next_multiple_of(size.min(PAGE));
        if start + size > BYTES {
            return ptr::null_mut();
        }
        rest.cut = start + size;
        // SAFETY: it fits.
        unsafe { AREA.0.get().cast::<u8>().add(start) }
    })
}

/// # Safety
/// [`take`] returned the block for that layout, and nothing uses it any more.
unsafe fn give_back(block: *mut u8, layout: Layout) {
    let Some(class) = class(layout) else { return };
    // SAFETY: as promised by the caller; the smallest block holds an address, and is aligned for it.
    with(|rest| unsafe {
        block.cast::<*mut u8>().write(rest.free[class]);
        rest.free[class] = block;
    });
}

fn is_spare(block: *mut u8) -> bool {
    (block as usize).wrapping_sub(AREA.0.get() as usize) < BYTES
}

/// Serves a request that the system has refused. If nothing is left at all, it waits for a task to free memory: a task that
/// gets no more of it soon ends.
fn find(layout: Layout) -> *mut u8 {
    const AT_MOST: Duration = Duration::from_secs(10);
    const PAUSE: Duration = Duration::from_millis(1);
    if class(layout).is_none() {
        return ptr::null_mut();
    }
    let start = Instant::now();
    loop {
        let mut block = take(layout);
        if block.is_null() {
            headroom::give_soon();
            // SAFETY: the layout is the caller's, and not of size zero.
            block = unsafe { Blocks.alloc(layout) };
        }
        if !block.is_null() || start.elapsed() > AT_MOST {
            return block;
        }
        std::thread::sleep(PAUSE);
    }
}

// SAFETY: a block is the system's or an unshared part of the area, and its address tells which.
unsafe impl GlobalAlloc for WithSpare {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // An allocator that has run out may take a whole page for each small block.
        if headroom::is_given() {
            let block = take(layout);
            if !block.is_null() {
                return block;
            }
        }
        // SAFETY: the caller's promise is the one that is asked for.
        let block = unsafe { Blocks.alloc(layout) };
        if block.is_null() { find(layout) } else { block }
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
        // SAFETY: the caller promises that the size is one of a layout; both blocks are as large as what is
        // copied, and they are two.
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
        // One block stays in use all the time, as a task's failure does until the host takes it.
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
                // SAFETY: they were taken for that layout.
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
