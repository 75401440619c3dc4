//! The memory of one Lua state, and images that it can be put back to.
//!
//! Small blocks are cut from regions and kept by size in free lists: Lua passes the old size, so they need no
//! header. Larger ones are the system's, in a list. A Lua state is nothing but its blocks; so copying them aside
//! makes an image of it, and copying them back makes it what it was, whatever has run since. That takes as long as
//! copying some thirty kilobytes does.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr;

use memmap2::MmapMut;

use super::blocks::Blocks;
use super::headroom;
use super::pages::{Bytes, expect_filling};

/// Sizes are rounded up to this, which is also how blocks are aligned.
const STEP: usize = 16;

/// Blocks up to this size are cut from regions.
const SMALL: usize = 1024;

const CLASSES: usize = SMALL / STEP;

/// A fresh state fits into the first region; the next ones are twice as large each, up to [`LARGEST_REGION`].
const FIRST_REGION: usize = 32 << 10;
const LARGEST_REGION: usize = 8 << 20;

/// A block in a free list: it holds the next one.
struct Free {
    next: *mut Free,
}

struct Region {
    start: *mut u8,
    size: usize,
}

/// Where the next small block comes from.
#[derive(Clone, Copy)]
struct Cursor {
    region: usize,
    /// How many bytes of that region are cut already.
    cut: usize,
    free: [*mut Free; CLASSES],
}

/// Stands before each large block.
#[repr(C, align(16))]
struct Large {
    previous: *mut Large,
    next: *mut Large,
    size: usize,
    /// The first image that has the block; 0 for none. One that an image has is not given back.
    image: usize,
}

const HEADER: usize = size_of::<Large>();

struct Image {
    cursor: Cursor,
    /// The cut parts of the regions, and after them the large blocks, in the order of their list.
    bytes: Bytes,
}

pub struct Arena {
    regions: Vec<Region>,
    cursor: Cursor,
    /// The newest first.
    large: *mut Large,
    /// How many bytes all blocks and regions take.
    held: usize,
    images: Vec<Image>,
    /// Those of an image that was dropped, for the next one.
    spare: Option<MmapMut>,
}

fn layout(size: usize) -> Option<Layout> {
    Layout::from_size_align(size, STEP).ok()
}

/// Gives back a block that [`Arena::take`] gave with that size.
///
/// # Safety
/// As said, and nobody uses it any more.
unsafe fn give_back(block: *mut u8, size: usize) {
    if let Some(layout) = layout(size) {
        // SAFETY: as promised by the caller.
        unsafe { Blocks.dealloc(block, layout) }
    }
}

impl Region {
    /// # Safety
    /// Nobody uses a block of it any more.
    unsafe fn give_back(self) {
        // SAFETY: as promised by the caller.
        unsafe { give_back(self.start, self.size) }
    }
}

fn class(size: usize) -> usize {
    size.div_ceil(STEP) - 1
}

impl Arena {
    pub fn new() -> Arena {
        Arena {
            regions: Vec::new(),
            cursor: Cursor { region: 0, cut: 0, free: [ptr::null_mut(); CLASSES] },
            large: ptr::null_mut(),
            held: 0,
            images: Vec::new(),
            spare: None,
        }
    }

    /// Takes a block from the system, without the spare area that this library has after it. Null where there is
    /// none.
    fn take(&mut self, size: usize) -> *mut u8 {
        // SAFETY: nobody asks for a block of no bytes.
        let request = |layout| ptr::NonNull::new(unsafe { Blocks.alloc(layout) });
        match layout(size).and_then(|layout| headroom::ask(self.held, size, || request(layout))) {
            Some(block) => {
                self.held += size;
                block.as_ptr()
            }
            None => ptr::null_mut(),
        }
    }

    /// A block of so many bytes, at least one; null where memory has run out.
    pub fn allocate(&mut self, size: usize) -> *mut u8 {
        if size > SMALL {
            return self.allocate_large(size);
        }
        let class = class(size);
        let head = self.cursor.free[class];
        if head.is_null() {
            return self.cut((class + 1) * STEP);
        }
        // SAFETY: what a free list holds is a block of ours that nobody uses, and its first word the next one.
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
        let start = self.take(size);
        (!start.is_null()).then_some(Region { start, size })
    }

    fn allocate_large(&mut self, size: usize) -> *mut u8 {
        let header = self.take(size.saturating_add(HEADER)).cast::<Large>();
        if header.is_null() {
            return ptr::null_mut();
        }
        expect_filling(header.cast(), size);
        // SAFETY: the block has room for its header and `size` bytes; the list holds live headers alone.
        unsafe {
            header.write(Large { previous: ptr::null_mut(), next: self.large, size, image: 0 });
            self.link(header);
            header.add(1).cast()
        }
    }

    /// The headers in the list, the newest first. Each may be released once it was handed out.
    fn headers(&self) -> impl Iterator<Item = *mut Large> + use<> {
        let mut next = self.large;
        std::iter::from_fn(move || {
            let header = (!next.is_null()).then_some(next)?;
            // SAFETY: the list holds live headers alone.
            next = unsafe { (*header).next };
            Some(header)
        })
    }

    /// Has the neighbours of a header point at it.
    ///
    /// # Safety
    /// It is live, and so are its neighbours.
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

    /// Takes a header out of the list, and gives its block back.
    ///
    /// # Safety
    /// It is in the list, and nobody uses its block any more.
    unsafe fn release(&mut self, header: *mut Large) {
        // SAFETY: as promised by the caller; the list holds live headers alone.
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
            give_back(header.cast(), size + HEADER);
            self.held -= size + HEADER;
        }
    }

    /// Takes back a block of that size.
    ///
    /// # Safety
    /// This arena gave it with that size, and nobody uses it any more.
    pub unsafe fn free(&mut self, block: *mut u8, size: usize) {
        // SAFETY: as promised by the caller: a small block holds at least one word, a large one has its header.
        unsafe {
            if size <= SMALL {
                let free = &mut self.cursor.free[class(size)];
                block.cast::<Free>().write(Free { next: *free });
                *free = block.cast();
            } else {
                let header = block.cast::<Large>().sub(1);
                if (*header).image == 0 {
                    self.release(header);
                }
            }
        }
    }

    /// Gives a block another size, and maybe another place. Null, and the block as it was, where memory has run
    /// out; not for a block that shrinks, since Lua counts on that: it stays where it is then.
    ///
    /// # Safety
    /// This arena gave it with the old size, and the caller uses the new one from now on.
    pub unsafe fn resize(&mut self, block: *mut u8, old: usize, new: usize) -> *mut u8 {
        if old <= SMALL && new <= SMALL && class(old) == class(new) {
            return block;
        }
        // SAFETY: as promised by the caller; both blocks are as large as what is copied.
        let moved = unsafe {
            if old > SMALL && new > SMALL && (*block.cast::<Large>().sub(1)).image == 0 {
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
        // A large block that is given back with a small size joins the small ones, and stays in the list as well until
        // all of them go.
        if moved.is_null() && new < old { block } else { moved }
    }

    /// # Safety
    /// The header is in the list, and no image has it.
    unsafe fn resize_large(&mut self, header: *mut Large, new: usize) -> *mut u8 {
        // SAFETY: as promised by the caller; `realloc` leaves a block alone that it can't move.
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

    /// Where the cut parts of the regions stand, and how long they are.
    fn parts(&self, cursor: &Cursor) -> impl Iterator<Item = (*mut u8, usize)> {
        let (last, cut) = (cursor.region, cursor.cut);
        let parts = self.regions.iter().take(last + 1).enumerate();
        parts.map(move |(index, region)| (region.start, if index == last { cut } else { region.size }))
    }

    /// Takes an image of all blocks, above those that were taken before. False where there is no memory for it.
    pub fn take_image(&mut self) -> bool {
        let level = self.images.len() + 1;
        let mut size: usize = self.parts(&self.cursor).map(|(_, length)| length).sum();
        // SAFETY: the list holds live headers alone.
        size += self.headers().map(|header| unsafe { (*header).size }).sum::<usize>();
        let room = Bytes::with_room(size, self.held, self.spare.take());
        let (Some(mut bytes), Ok(())) = (room, self.images.try_reserve(1)) else {
            return false;
        };
        for (start, length) in self.parts(&self.cursor) {
            // SAFETY: a region is that long, and the room was counted.
            unsafe { bytes.append(start, length) };
        }
        for header in self.headers() {
            // SAFETY: the list holds live headers alone, with a block of that size behind each; the room was counted.
            unsafe {
                if (*header).image == 0 {
                    (*header).image = level;
                }
                bytes.append(header.add(1).cast(), (*header).size);
            }
        }
        self.images.push(Image { cursor: self.cursor, bytes });
        true
    }

    /// Puts all blocks back to the image taken as the `level`-th, from 1, and drops those above it.
    ///
    /// # Safety
    /// The state that uses the blocks is at rest: nothing of it is on any thread's C stack.
    pub unsafe fn put_back(&mut self, level: usize) {
        if self.images.len() > level {
            self.spare = self.images.drain(level..).next().map(|image| image.bytes.pages);
        }
        let Some(image) = self.images.pop() else { return };
        self.cursor = image.cursor;
        let mut at = image.bytes.pages.as_ptr();
        // SAFETY: the image has the bytes of these parts in this order, and the caller promises that nobody is in
        // the midst of using them; the list holds live headers alone.
        unsafe {
            for (start, length) in self.parts(&image.cursor) {
                ptr::copy_nonoverlapping(at, start, length);
                at = at.add(length);
            }
            for header in self.headers() {
                let Large { size, image, .. } = *header;
                if (1..=level).contains(&image) {
                    ptr::copy_nonoverlapping(at, header.add(1).cast(), size);
                    at = at.add(size);
                } else {
                    self.release(header);
                }
            }
        }
        self.images.push(image);
    }

    /// Forgets all images: what the blocks are now is what they stay.
    pub fn forget_images(&mut self) {
        self.images.clear();
        self.spare = None;
        for header in self.headers() {
            // SAFETY: the list holds live headers alone.
            unsafe { (*header).image = 0 };
        }
    }

    /// Gives back the regions that no block is cut from.
    pub fn trim(&mut self) {
        for region in self.regions.drain((self.cursor.region + 1).min(self.regions.len())..) {
            self.held -= region.size;
            // SAFETY: the region is ours, and no block of it is in use.
            unsafe { region.give_back() }
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        for header in self.headers() {
            // SAFETY: it is in the list, and the state that used the blocks is gone.
            unsafe { self.release(header) }
        }
        for region in self.regions.drain(..) {
            // SAFETY: the region is ours, and the state that used its blocks is gone.
            unsafe { region.give_back() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(block: *mut u8, size: usize, byte: u8) {
        // SAFETY: the block was given with that size.
        unsafe { ptr::write_bytes(block, byte, size) }
    }

    fn holds(block: *mut u8, size: usize, byte: u8) -> bool {
        // SAFETY: the block was given with that size, and filled.
        unsafe { std::slice::from_raw_parts(block, size) }.iter().all(|found| *found == byte)
    }

    #[test]
    fn blocks_keep_apart_and_keep_what_they_hold_when_they_grow() {
        let mut arena = Arena::new();
        let mut blocks: Vec<(*mut u8, usize)> = Vec::new();
        for round in 0..200_usize {
            let size = 1 + round * 37 % 3000;
            let block = arena.allocate(size);
            fill(block, size, round as u8);
            blocks.push((block, size));
        }
        for (round, (block, size)) in blocks.iter_mut().enumerate() {
            assert!(holds(*block, *size, round as u8));
            let new = 1 + (*size * 3) % 4000;
            // SAFETY: the arena gave it with that size.
            *block = unsafe { arena.resize(*block, *size, new) };
            assert!(holds(*block, new.min(*size), round as u8));
            fill(*block, new, round as u8);
            *size = new;
        }
        for (round, (block, size)) in blocks.into_iter().enumerate() {
            assert!(holds(block, size, round as u8));
            // SAFETY: the arena gave it with that size, and it is not used any more.
            unsafe { arena.free(block, size) };
        }
    }

    #[test]
    fn an_image_brings_back_what_was_changed_freed_and_moved() {
        let mut arena = Arena::new();
        let sizes = [10, 100, 1000, 2000, 50_000];
        let blocks = sizes.map(|size| arena.allocate(size));
        let fill_all = |byte| blocks.iter().zip(sizes).for_each(|(block, size)| fill(*block, size, byte));
        fill_all(1);
        assert!(arena.take_image());
        fill_all(2);
        let more = arena.allocate(3000);
        fill(more, 3000, 2);
        assert!(arena.take_image());
        fill_all(3);
        for (block, size) in blocks.iter().zip(sizes).skip(1) {
            // SAFETY: the arena gave it with that size, and has it back before it is used again.
            unsafe { arena.resize(*block, size, size * 2) };
        }
        for size in [16, 500, 100_000] {
            fill(arena.allocate(size), size, 4);
        }
        let all_hold = |byte| blocks.iter().zip(sizes).all(|(block, size)| holds(*block, size, byte));
        // SAFETY: no state uses these blocks.
        unsafe { arena.put_back(2) };
        assert!(all_hold(2) && holds(more, 3000, 2));
        fill_all(5);
        // SAFETY: as above.
        unsafe { arena.put_back(1) };
        assert!(all_hold(1));
        arena.trim();
        arena.forget_images();
        assert!(all_hold(1));
        fill_all(6);
        assert!(arena.take_image());
        fill_all(7);
        // SAFETY: as above.
        unsafe { arena.put_back(1) };
        assert!(all_hold(6));
    }
}
