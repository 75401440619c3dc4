//! The memory of one Lua state, and snapshots of it.
//!
//! Blocks are cut from regions, and freed ones are kept in a list for each size. Lua passes a block's size when it frees it,
//! so these blocks need no header. Very large blocks come from the system and are kept in a list. A Lua state consists only of
//! its blocks: copying them makes a snapshot, and copying them back restores the state, whatever has run since. For a typical
//! state, that copies about thirty kilobytes. The large parts of a snapshot are [`Image`]s, if the system has that: it restores
//! only the pages that were written.

mod snapshot;

use std::alloc::{GlobalAlloc, Layout};
use std::ptr;

use memmap2::MmapMut;

use self::snapshot::Snapshot;
use super::blocks::{Blocks, PAGE};
use super::headroom;
use super::image::Written;
use super::pages::expect_filling;

/// Small sizes are rounded up to a multiple of this, which is also the alignment of blocks.
const STEP: usize = 16;

/// Up to this size, each step is a size class. Above it, there are four classes up to each power of two.
const SMALL: usize = 1 << SMALL_POWER;
const SMALL_POWER: usize = 10;

/// Blocks up to this size are cut from regions.
const MEDIUM: usize = 1 << MEDIUM_POWER;
const MEDIUM_POWER: usize = 18;

const CLASSES: usize = SMALL / STEP + 4 * (MEDIUM_POWER - SMALL_POWER);

/// A new state fits into the first region. Each further region is four times as large, up to [`LARGEST_REGION`]: the fewer
/// regions a state has, the faster it is restored.
const FIRST_REGION: usize = 32 << 10;
const LARGEST_REGION: usize = 8 << 20;

/// A free block: it holds the address of the next one.
struct Free {
    next: *mut Free,
}

struct Region {
    start: *mut u8,
    size: usize,
    /// The number of used bytes, unless the cursor is in this region.
    cut: usize,
}

/// The position at which the next block is cut.
#[derive(Clone, Copy)]
struct Cursor {
    region: usize,
    /// The number of used bytes of that region.
    cut: usize,
    free: [*mut Free; CLASSES],
}

/// A block that was not cut from a region. It consists of whole pages.
#[derive(Clone, Copy)]
struct Large {
    start: *mut u8,
    size: usize,
    /// The first snapshot that contains the block; 0 for none. A block in a snapshot is not freed.
    snapshot: usize,
}

pub struct Arena {
    regions: Vec<Region>,
    cursor: Cursor,
    /// The oldest first.
    large: Vec<Large>,
    /// The size of all large blocks and regions, in bytes.
    held: usize,
    snapshots: Vec<Snapshot>,
    /// The pages of a dropped snapshot, for the next one.
    spare: Option<MmapMut>,
    /// Tells which pages of images were written. None before the first image.
    written: Option<Written>,
}

/// Pages of its own, so that they return to the system when an idle state is closed.
fn layout(size: usize) -> Option<Layout> {
    Layout::from_size_align(size, PAGE).ok()
}

/// Frees a block.
///
/// # Safety
/// [`Arena::take`] returned the block for this size, and nothing uses it any more.
unsafe fn give_back(block: *mut u8, size: usize) {
    if let Some(layout) = layout(size) {
        // SAFETY: as promised by the caller.
        unsafe { Blocks.dealloc(block, layout) }
    }
}

/// The size class of a block of at most [`MEDIUM`] bytes.
fn class(size: usize) -> usize {
    if size <= SMALL {
        return size.div_ceil(STEP) - 1;
    }
    let power = (size - 1).ilog2() as usize;
    SMALL / STEP + 4 * (power - SMALL_POWER) + ((size - 1) >> (power - 2)) % 4
}

/// The size of the blocks of a class.
fn class_size(class: usize) -> usize {
    match class.checked_sub(SMALL / STEP) {
        None => (class + 1) * STEP,
        Some(above) => (5 + above % 4) << (SMALL_POWER - 2 + above / 4),
    }
}

impl Arena {
    pub fn new() -> Arena {
        Arena {
            regions: Vec::new(),
            cursor: Cursor { region: 0, cut: 0, free: [ptr::null_mut(); CLASSES] },
            large: Vec::new(),
            held: 0,
            snapshots: Vec::new(),
            spare: None,
            written: None,
        }
    }

    /// The size of all large blocks and regions, in bytes.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Takes a block from the system; null if it has no memory. States must not use up the library's spare area.
    fn take(&mut self, size: usize) -> *mut u8 {
        // SAFETY: no caller asks for zero bytes.
        let request = |layout| ptr::NonNull::new(unsafe { Blocks.alloc(layout) });
        match layout(size).and_then(|layout| headroom::ask(self.held, size, || request(layout))) {
            Some(block) => {
                self.held += size;
                expect_filling(block.as_ptr(), size);
                block.as_ptr()
            }
            None => ptr::null_mut(),
        }
    }

    /// A block of `size` bytes, at least one; null if memory has run out.
    pub fn allocate(&mut self, size: usize) -> *mut u8 {
        if size > MEDIUM {
            return self.allocate_large(size);
        }
        let class = class(size);
        let head = self.cursor.free[class];
        if head.is_null() {
            return self.cut(class_size(class));
        }
        // SAFETY: a free list holds unused blocks, and the first word of each is the address of the next one.
        self.cursor.free[class] = unsafe { (*head).next };
        head.cast()
    }

    fn cut(&mut self, size: usize) -> *mut u8 {
        loop {
            if let Some(region) = self.regions.get_mut(self.cursor.region) {
                if self.cursor.cut + size <= region.size {
                    // SAFETY: the region is that large.
                    let block = unsafe { region.start.add(self.cursor.cut) };
                    self.cursor.cut += size;
                    return block;
                }
                region.cut = self.cursor.cut;
                self.cursor.region += 1;
                self.cursor.cut = 0;
                continue;
            }
            let shift = 2 * self.regions.len().min(usize::BITS as usize / 4);
            let size = (FIRST_REGION << shift).min(LARGEST_REGION).max(size.next_power_of_two());
            let region = self.regions.try_reserve(1).ok().and_then(|()| self.take_region(size));
            let Some(region) = region else { return ptr::null_mut() };
            self.regions.push(region);
        }
    }

    fn take_region(&mut self, size: usize) -> Option<Region> {
        let start = self.take(size);
        (!start.is_null()).then_some(Region { start, size, cut: 0 })
    }

    fn allocate_large(&mut self, size: usize) -> *mut u8 {
        if self.large.try_reserve(1).is_err() {
            return ptr::null_mut();
        }
        let start = self.take(size);
        if !start.is_null() {
            self.large.push(Large { start, size, snapshot: 0 });
        }
        start
    }

    /// The position of a large block in the list, unless a snapshot has it.
    fn position_outside_of_snapshots(&self, block: *mut u8) -> Option<usize> {
        // Lua mostly resizes and frees what it allocated last.
        let found = self.large.iter().rposition(|large| large.start == block);
        found.filter(|at| self.large[*at].snapshot == 0)
    }

    /// Frees a block of this size.
    ///
    /// # Safety
    /// This arena returned the block for this size, and nothing uses it any more.
    pub unsafe fn free(&mut self, block: *mut u8, size: usize) {
        if size <= MEDIUM {
            let free = &mut self.cursor.free[class(size)];
            // SAFETY: as promised by the caller: a block holds at least one word.
            unsafe { block.cast::<Free>().write(Free { next: *free }) };
            *free = block.cast();
        } else if let Some(at) = self.position_outside_of_snapshots(block) {
            let Large { start, size, .. } = self.large.remove(at);
            self.held -= size;
            // SAFETY: as promised by the caller.
            unsafe { give_back(start, size) };
        }
    }

    /// Resizes a block, which may move. Null if memory has run out; the block is then unchanged. Lua relies on shrinking
    /// never failing, so a shrinking block that can't move stays in place.
    ///
    /// # Safety
    /// This arena returned the block for the old size. From now on, the caller uses only the returned block, unless it is null.
    pub unsafe fn resize(&mut self, block: *mut u8, old: usize, new: usize) -> *mut u8 {
        if old <= MEDIUM && new <= MEDIUM && class(old) == class(new) {
            return block;
        }
        let may_resize = old > MEDIUM && new > MEDIUM;
        let at = may_resize.then(|| self.position_outside_of_snapshots(block)).flatten();
        // SAFETY: as promised by the caller; both blocks are at least as large as the copied part.
        let moved = unsafe {
            if let Some(at) = at {
                self.resize_large(at, new)
            } else {
                let moved = self.allocate(new);
                if !moved.is_null() {
                    ptr::copy_nonoverlapping(block, moved, old.min(new));
                    self.free(block, old);
                }
                moved
            }
        };
        // A large block that shrank in place joins the smaller ones once it is freed. It also stays in the list, which frees
        // it when the arena is dropped.
        if moved.is_null() && new < old { block } else { moved }
    }

    /// # Safety
    /// The caller may use the large block at this position in the list, and no snapshot has it.
    unsafe fn resize_large(&mut self, at: usize, new: usize) -> *mut u8 {
        let Large { start, size: old, .. } = self.large[at];
        let (Some(layout), Some(_)) = (layout(old), layout(new)) else { return ptr::null_mut() };
        // SAFETY: the block has this layout, and the new size is valid for one; a `realloc` that fails leaves it unchanged.
        let request = || ptr::NonNull::new(unsafe { Blocks.realloc(start, layout, new) });
        let moved = match new.saturating_sub(old) {
            0 => request(),
            growth => headroom::ask(self.held, growth, request),
        };
        let Some(moved) = moved.map(ptr::NonNull::as_ptr) else { return ptr::null_mut() };
        self.held = self.held - old + new;
        expect_filling(moved, new);
        self.large[at] = Large { start: moved, size: new, snapshot: 0 };
        moved
    }

    /// Frees the regions after the current one, which have no block in use.
    pub fn trim(&mut self) {
        for Region { start, size, .. } in
            self.regions.drain((self.cursor.region + 1).min(self.regions.len())..)
        {
            self.held -= size;
            // SAFETY: the arena owns the region, and no block of it is in use.
            unsafe { give_back(start, size) }
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        for image in self.snapshots.drain(..).flat_map(|snapshot| snapshot.images) {
            // SAFETY: the state that used the blocks is gone.
            unsafe { image.release() }
        }
        let large = self.large.drain(..).map(|Large { start, size, .. }| (start, size));
        for (start, size) in large.chain(self.regions.drain(..).map(|region| (region.start, region.size))) {
            // SAFETY: the arena owns the block, and the state that used it is gone.
            unsafe { give_back(start, size) }
        }
    }
}

#[cfg(test)]
mod tests;
