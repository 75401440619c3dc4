//! Memory for when there is none.
//!
//! Rust ends the process when an allocation fails. A task's state may have taken all that there was; what
//! the library then allocates to say so is little, and comes from here.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

/// The system's allocator, and after it a spare area of its own.
struct WithSpare;

#[global_allocator]
static ALLOCATOR: WithSpare = WithSpare;

const BYTES: usize = 1 << 20;

/// Who asks for more must be able to take a refusal.
const LARGEST: usize = 64 << 10;

#[repr(align(4096))]
struct Area(UnsafeCell<[u8; BYTES]>);

// SAFETY: each part of it is handed out once, to one owner.
unsafe impl Sync for Area {}

static AREA: Area = Area(UnsafeCell::new([0; BYTES]));

/// How many blocks of the area are out, above how many of its bytes were handed out: those that are given back
/// can be had again when all were.
static TAKEN: AtomicU64 = AtomicU64::new(0);
const ONE_BLOCK: u64 = 1 << 32;

fn take(layout: Layout) -> *mut u8 {
    let mut start = 0;
    let taken = TAKEN.fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
        start = (taken as u32 as usize).next_multiple_of(layout.align());
        let fits = layout.size() <= LARGEST && start + layout.size() <= BYTES;
        fits.then(|| (taken & !(ONE_BLOCK - 1)) + ONE_BLOCK + (start + layout.size()) as u64)
    });
    match taken {
        // SAFETY: it fits.
        Ok(_) => unsafe { AREA.0.get().cast::<u8>().add(start) },
        Err(_) => ptr::null_mut(),
    }
}

fn give_back() {
    let _ = TAKEN.fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
        let left = taken - ONE_BLOCK;
        Some(if left < ONE_BLOCK { 0 } else { left })
    });
}

fn is_spare(block: *mut u8) -> bool {
    (block as usize).wrapping_sub(AREA.0.get() as usize) < BYTES
}

// SAFETY: a block is the system's, or a part of the area that nobody else has; which one shows in its address.
unsafe impl GlobalAlloc for WithSpare {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is the one that is asked for.
        let block = unsafe { System.alloc(layout) };
        if block.is_null() { take(layout) } else { block }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_spare(block) {
            give_back();
        } else {
            // SAFETY: it is not spare, so it is the system's.
            unsafe { System.dealloc(block, layout) }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !is_spare(block) {
            // SAFETY: it is not spare, so it is the system's.
            let moved = unsafe { System.realloc(block, layout, size) };
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
