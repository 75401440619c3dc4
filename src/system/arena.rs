//! The memory of one Lua state, and snapshots of it.
//!
//! Small blocks are cut from regions, and freed ones are kept in a list for each size. Lua passes a block's size when
//! it frees it, so small blocks need no header. Larger blocks come from the system and are kept in a list. A Lua state
//! consists only of its blocks: copying them makes a snapshot, and copying them back restores the state, whatever has run
//! since. For a typical state, that copies about thirty kilobytes. Large regions get an [`Image`] instead, if the system has
//! that: it restores only the pages that were written.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr;

use memmap2::MmapMut;

use super::blocks::{self, Blocks};
use super::headroom;
use super::image::{self, Image};
use super::page_buffer::PageBuffer;
use super::pages::expect_filling;

/// The alignment of blocks. Sizes of small blocks are rounded up to a multiple of it.
const STEP: usize = 16;

/// Blocks up to this size are cut from regions. A new state has none that is larger, so all its memory goes back to the system
/// when it is closed.
const SMALL: usize = 2048;

/// Small sizes are rounded up to a multiple of [`STEP`] up to 256 bytes, of 64 up to 1024, and of 256 beyond. Few classes keep a
/// snapshot's lists short. The first class of the second and the third range, and the number of classes:
const SECOND: usize = 256 / STEP;
const THIRD: usize = SECOND + (1024 - 256) / 64;
const CLASSES: usize = THIRD + (SMALL - 1024) / 256;

/// A new state fits into the first region. Each further region is twice as large, up to [`LARGEST_REGION`].
const FIRST_REGION: usize = 32 << 10;
const LARGEST_REGION: usize = 8 << 20;

/// A free block: it holds the address of the next one.
struct Free {
    next: *mut Free,
}

struct Region {
    start: *mut u8,
    size: usize,
}

/// The position at which the next small block is cut.
#[derive(Clone, Copy)]
struct Cursor {
    region: usize,
    /// The number of used bytes of that region.
    cut: usize,
    free: [*mut Free; CLASSES],
}

/// The header before each large block.
#[repr(C, align(16))]
struct Large {
    previous: *mut Large,
    next: *mut Large,
    size: usize,
    /// The first snapshot that contains the block; 0 for none. A block in a snapshot is not freed.
    snapshot: usize,
}

const HEADER: usize = size_of::<Large>();

struct Snapshot {
    cursor: Cursor,
    /// The used parts of the regions, then the large blocks in the order of their list. Without what the images have.
    bytes: PageBuffer,
    /// The images of regions, by their number, each with the length of what it has. They begin where their region does.
    images: Vec<(usize, usize, Image)>,
}

pub struct Arena {
    regions: Vec<Region>,
    cursor: Cursor,
    /// The list of large blocks, the newest first.
    large: *mut Large,
    /// The size of all large blocks and regions, in bytes.
    held: usize,
    snapshots: Vec<Snapshot>,
    /// The pages of a dropped snapshot, for the next one.
    spare: Option<MmapMut>,
}

fn layout(size: usize) -> Option<Layout> {
    Layout::from_size_align(size, STEP).ok()
}

/// Frees a block.
///
/// # Safety
/// [`Arena::take`] returned the block for this layout, and nothing uses it any more.
unsafe fn give_back(block: *mut u8, layout: Option<Layout>) {
    if let Some(layout) = layout {
        // SAFETY: as promised by the caller.
        unsafe { Blocks.dealloc(block, layout) }
    }
}

/// The layout of a region. The first one has pages of its own, so that closing an idle state returns them to the system.
fn layout_of_region(size: usize) -> Option<Layout> {
    Layout::from_size_align(size, if size == FIRST_REGION { blocks::PAGE } else { STEP }).ok()
}

impl Region {
    /// # Safety
    /// Nothing uses a block of the region any more.
    unsafe fn give_back(self) {
        // SAFETY: as promised by the caller.
        unsafe { give_back(self.start, layout_of_region(self.size)) }
    }
}

/// The class of the blocks for a small size.
fn class(size: usize) -> usize {
    match size {
        ..=256 => size.div_ceil(STEP) - 1,
        257..=1024 => SECOND + (size - 257) / 64,
        _ => THIRD + (size - 1025) / 256,
    }
}

/// The size of the blocks of a class.
fn size_of_class(class: usize) -> usize {
    match class {
        ..SECOND => (class + 1) * STEP,
        SECOND..THIRD => 256 + (class + 1 - SECOND) * 64,
        _ => 1024 + (class + 1 - THIRD) * 256,
    }
}

impl Arena {
    pub fn new() -> Arena {
        Arena {
            regions: Vec::new(),
            cursor: Cursor { region: 0, cut: 0, free: [ptr::null_mut(); CLASSES] },
            large: ptr::null_mut(),
            held: 0,
            snapshots: Vec::new(),
            spare: None,
        }
    }

    /// Takes a block from the system; null if it has no memory. States must not use up the library's spare area.
    fn take(&mut self, layout: Option<Layout>) -> *mut u8 {
        let size = layout.map_or(0, |layout| layout.size());
        // SAFETY: no caller asks for zero bytes.
        let request = |layout| ptr::NonNull::new(unsafe { Blocks.alloc(layout) });
        match layout.and_then(|layout| headroom::ask(self.held, size, || request(layout))) {
            Some(block) => {
                self.held += size;
                block.as_ptr()
            }
            None => ptr::null_mut(),
        }
    }

    /// A block of `size` bytes, at least one; null if memory has run out.
    pub fn allocate(&mut self, size: usize) -> *mut u8 {
        if size > SMALL {
            return self.allocate_large(size);
        }
        let class = class(size);
        let head = self.cursor.free[class];
        if head.is_null() {
            return self.cut(size_of_class(class));
        }
        // SAFETY: a free list holds unused blocks, and the first word of each is the address of the next one.
        self.cursor.free[class] = unsafe { (*head).next };
        head.cast()
    }

    fn cut(&mut self, size: usize) -> *mut u8 {
        loop {
            if let Some(region) = self.regions.get(self.cursor.region) {
                if self.cursor.cut + size <= region.size {
                    // SAFETY: the region is that large.
                    let block = unsafe { region.start.add(self.cursor.cut) };
                    self.cursor.cut += size;
                    return block;
                }
                self.cursor.region += 1;
                self.cursor.cut = 0;
                continue;
            }
            let size = (FIRST_REGION << self.regions.len().min(usize::BITS as usize / 2)).min(LARGEST_REGION);
            let region = self.regions.try_reserve(1).ok().and_then(|()| self.take_region(size));
            let Some(region) = region else { return ptr::null_mut() };
            expect_filling(region.start, size);
            self.regions.push(region);
        }
    }

    fn take_region(&mut self, size: usize) -> Option<Region> {
        let start = self.take(layout_of_region(size));
        (!start.is_null()).then_some(Region { start, size })
    }

    fn allocate_large(&mut self, size: usize) -> *mut u8 {
        let header = self.take(layout(size.saturating_add(HEADER))).cast::<Large>();
        if header.is_null() {
            return ptr::null_mut();
        }
        expect_filling(header.cast(), size);
        // SAFETY: the block has room for its header and `size` bytes; the list holds only live headers.
        unsafe {
            header.write(Large { previous: ptr::null_mut(), next: self.large, size, snapshot: 0 });
            self.link(header);
            header.add(1).cast()
        }
    }

    /// The headers in the list, the newest first. The caller may release each one.
    fn headers(&self) -> impl Iterator<Item = *mut Large> + use<> {
        let mut next = self.large;
        std::iter::from_fn(move || {
            let header = (!next.is_null()).then_some(next)?;
            // SAFETY: the list holds only live headers.
            next = unsafe { (*header).next };
            Some(header)
        })
    }

    /// Makes the neighbours of a header point at it.
    ///
    /// # Safety
    /// The header and its neighbours are live.
    unsafe fn link(&mut self, header: *mut Large) {
        // SAFETY: as promised by the caller.
        unsafe {
            let Large { previous, next, .. } = *header;
            if previous.is_null() {
                self.large = header;
            } else {
                (*previous).next = header;
            }
            if !next.is_null() {
                (*next).previous = header;
            }
        }
    }

    /// Takes a header out of the list and frees its block.
    ///
    /// # Safety
    /// The header is in the list, and nothing uses its block any more.
    unsafe fn release(&mut self, header: *mut Large) {
        // SAFETY: as promised by the caller; the list holds only live headers.
        unsafe {
            let Large { previous, next, size, .. } = *header;
            if previous.is_null() {
                self.large = next;
            } else {
                (*previous).next = next;
            }
            if !next.is_null() {
                (*next).previous = previous;
            }
            give_back(header.cast(), layout(size + HEADER));
            self.held -= size + HEADER;
        }
    }

    /// Frees a block of this size.
    ///
    /// # Safety
    /// This arena returned the block for this size, and nothing uses it any more.
    pub unsafe fn free(&mut self, block: *mut u8, size: usize) {
        // SAFETY: as promised by the caller: a small block holds at least one word, a large one has its header.
        unsafe {
            if size <= SMALL {
                let free = &mut self.cursor.free[class(size)];
                block.cast::<Free>().write(Free { next: *free });
                *free = block.cast();
            } else {
                let header = block.cast::<Large>().sub(1);
                if (*header).snapshot == 0 {
                    self.release(header);
                }
            }
        }
    }

    /// Resizes a block, which may move. Null if memory has run out; the block is then unchanged. Lua relies on shrinking
    /// never failing, so a shrinking block that can't move stays in place.
    ///
    /// # Safety
    /// This arena returned the block for the old size. From now on, the caller uses only the returned block, unless it is null.
    pub unsafe fn resize(&mut self, block: *mut u8, old: usize, new: usize) -> *mut u8 {
        if old <= SMALL && new <= SMALL && class(old) == class(new) {
            return block;
        }
        // SAFETY: as promised by the caller; both blocks are at least as large as the copied part.
        let moved = unsafe {
            if old > SMALL && new > SMALL && (*block.cast::<Large>().sub(1)).snapshot == 0 {
                self.resize_large(block.cast::<Large>().sub(1), new)
            } else {
                let moved = self.allocate(new);
                if !moved.is_null() {
                    ptr::copy_nonoverlapping(block, moved, old.min(new));
                    self.free(block, old);
                }
                moved
            }
        };
        // A large block that shrank in place joins the small ones once it is freed. It also stays in the list, which frees
        // it when the arena is dropped.
        if moved.is_null() && new < old { block } else { moved }
    }

    /// # Safety
    /// The header is in the list, and no snapshot has it.
    unsafe fn resize_large(&mut self, header: *mut Large, new: usize) -> *mut u8 {
        // SAFETY: as promised by the caller; a `realloc` that fails leaves the block unchanged.
        unsafe {
            let (Some(layout), Some(size)) = (layout((*header).size + HEADER), new.checked_add(HEADER))
            else {
                return ptr::null_mut();
            };
            let request = || ptr::NonNull::new(Blocks.realloc(header.cast(), layout, size).cast::<Large>());
            let moved = match size.saturating_sub(layout.size()) {
                0 => request(),
                growth => headroom::ask(self.held, growth, request),
            };
            let Some(moved) = moved.map(ptr::NonNull::as_ptr) else { return ptr::null_mut() };
            self.held = self.held - layout.size() + size;
            (*moved).size = new;
            expect_filling(moved.cast(), new);
            self.link(moved);
            moved.add(1).cast()
        }
    }

    /// The start and length of the used part of each region, without what the images have.
    fn parts(
        &self,
        cursor: &Cursor,
        images: &[(usize, usize, Image)],
    ) -> impl Iterator<Item = (*mut u8, usize)> {
        let (last, cut) = (cursor.region, cursor.cut);
        let parts = self.regions.iter().take(last + 1).enumerate();
        parts.map(move |(index, region)| {
            let kept = images.iter().find(|image| image.0 == index).map_or(0, |image| image.1);
            let length = if index == last { cut } else { region.size };
            // SAFETY: an image has at most the used part of its region.
            (unsafe { region.start.add(kept) }, length - kept)
        })
    }

    /// Takes a snapshot of all blocks. Earlier snapshots stay. False if there is no memory for it.
    pub fn take_snapshot(&mut self) -> bool {
        let level = self.snapshots.len() + 1;
        let images = self.take_images();
        let mut size: usize = self.parts(&self.cursor, &images).map(|(_, length)| length).sum();
        // SAFETY: the list holds only live headers.
        size += self.headers().map(|header| unsafe { (*header).size }).sum::<usize>();
        let room = PageBuffer::with_room(size, self.held, self.spare.take());
        // Most states have two. Growing the list step by step would leave its earlier block with the thread.
        if self.snapshots.len() == self.snapshots.capacity() && self.snapshots.try_reserve_exact(2).is_err() {
            return false;
        }
        let Some(mut bytes) = room else { return false };
        for (start, length) in self.parts(&self.cursor, &images) {
            // SAFETY: a region is that long, and its length was counted.
            unsafe { bytes.append(start, length) };
        }
        for header in self.headers() {
            // SAFETY: the list holds only live headers, each followed by a block of that size, which was counted.
            unsafe {
                if (*header).snapshot == 0 {
                    (*header).snapshot = level;
                }
                bytes.append(header.add(1).cast(), (*header).size);
            }
        }
        self.snapshots.push(Snapshot { cursor: self.cursor, bytes, images });
        true
    }

    /// Takes images of the large regions that no earlier snapshot has a part of.
    fn take_images(&self) -> Vec<(usize, usize, Image)> {
        let first = self.snapshots.last().map_or(0, |snapshot| snapshot.cursor.region + 1);
        let mut images = Vec::new();
        for (index, (start, length)) in self.parts(&self.cursor, &[]).enumerate().skip(first) {
            let length = blocks::whole_pages(self.regions[index].size, length);
            if length >= image::LEAST && images.try_reserve(1).is_ok() {
                // SAFETY: the region consists of pages of its own, and no code of the state runs now.
                images.extend(unsafe { Image::take(start, length) }.map(|image| (index, length, image)));
            }
        }
        images
    }

    /// Restores all blocks from snapshot number `level`, from 1, and drops later snapshots.
    ///
    /// # Safety
    /// The state that uses the blocks is not running: none of its code is on any thread's C stack.
    pub unsafe fn restore(&mut self, level: usize) {
        for (count, Snapshot { bytes, images, .. }) in
            self.snapshots.drain(level.min(self.snapshots.len())..).enumerate()
        {
            if count == 0 {
                self.spare = Some(bytes.pages);
            }
            // SAFETY: the regions are of this arena, and the snapshots that stay have no part of them.
            images.into_iter().for_each(|(_, _, image)| unsafe { image.release() });
        }
        let Some(snapshot) = self.snapshots.pop() else { return };
        self.cursor = snapshot.cursor;
        let mut at = snapshot.bytes.pages.as_ptr();
        // SAFETY: the snapshot holds the bytes of these parts in this order, and the caller promises that nothing uses the
        // blocks now; the list holds only live headers.
        unsafe {
            snapshot.images.iter().for_each(|(_, _, image)| image.restore());
            for (start, length) in self.parts(&snapshot.cursor, &snapshot.images) {
                ptr::copy_nonoverlapping(at, start, length);
                at = at.add(length);
            }
            for header in self.headers() {
                let Large { size, snapshot, .. } = *header;
                if (1..=level).contains(&snapshot) {
                    ptr::copy_nonoverlapping(at, header.add(1).cast(), size);
                    at = at.add(size);
                } else {
                    self.release(header);
                }
            }
        }
        self.snapshots.push(snapshot);
    }

    /// Drops all snapshots. The blocks stay as they are.
    pub fn forget_snapshots(&mut self) {
        self.snapshots.clear();
        self.spare = None;
        for header in self.headers() {
            // SAFETY: the list holds only live headers.
            unsafe { (*header).snapshot = 0 };
        }
    }

    /// Frees the regions after the current one, which have no block in use.
    pub fn trim(&mut self) {
        for region in self.regions.drain((self.cursor.region + 1).min(self.regions.len())..) {
            self.held -= region.size;
            // SAFETY: the arena owns the region, and no block of it is in use.
            unsafe { region.give_back() }
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        for (_, _, image) in self.snapshots.drain(..).flat_map(|snapshot| snapshot.images) {
            // SAFETY: the state that used the regions is gone.
            unsafe { image.release() }
        }
        for header in self.headers() {
            // SAFETY: the header is in the list, and the state that used the blocks is gone.
            unsafe { self.release(header) }
        }
        for region in self.regions.drain(..) {
            // SAFETY: the arena owns the region, and the state that used its blocks is gone.
            unsafe { region.give_back() }
        }
    }
}

#[cfg(test)]
mod tests;
