//! Snapshots of an arena's memory.

use std::ptr;

use super::{Arena, CLASSES, Cursor, Large, give_back};
use crate::system::image::{self, Image, Written, page};
use crate::system::page_buffer::PageBuffer;

/// The most images of a state. A process may have 65,530 mappings, and an image takes two.
const MOST_IMAGES: usize = 256;

pub struct Snapshot {
    cursor: Cursor,
    /// The images that this snapshot adds to those of the earlier ones.
    pub images: Vec<Image>,
    /// The start and length of each part that is copied: what no image has, and the pages of earlier images that were written
    /// before this snapshot was taken.
    parts: Vec<(*mut u8, usize)>,
    /// The contents of the parts.
    bytes: PageBuffer,
}

#[cfg(test)]
impl Snapshot {
    /// How many bytes are copied whether or not they were written.
    pub fn copied(&self) -> usize {
        self.parts.iter().map(|(_, length)| length).sum()
    }
}

/// The length of the whole pages that an image may have of a range. The rest of a region's last page is still to be cut. A large
/// block has all of its last page.
pub(super) fn end_of_pages(length: usize, is_region: bool, page: usize) -> usize {
    if is_region { length / page * page } else { length.next_multiple_of(page) }
}

impl Arena {
    /// Takes a snapshot of all blocks. Earlier snapshots stay. False if there is no memory for it.
    pub fn take_snapshot(&mut self) -> bool {
        let images = self.take_images();
        if !images.is_empty() {
            // A task that takes a free block from an image's page writes to that page.
            self.cursor.free = [ptr::null_mut(); CLASSES];
        }
        let (Some(parts), Ok(())) = (self.parts(&images), self.snapshots.try_reserve(1)) else {
            return false;
        };
        let size = parts.iter().map(|(_, length)| length).sum();
        let Some(mut bytes) = PageBuffer::with_room(size, self.held, self.spare.take()) else { return false };
        for (start, length) in &parts {
            // SAFETY: a part has that many bytes, which were counted.
            unsafe { bytes.append(*start, *length) };
        }
        let level = self.snapshots.len() + 1;
        for large in self.large.iter_mut().filter(|large| large.snapshot == 0) {
            large.snapshot = level;
        }
        self.snapshots.push(Snapshot { cursor: self.cursor, images, parts, bytes });
        true
    }

    /// The start and length of the used part of each region, and of each large block.
    fn ranges(&self) -> impl Iterator<Item = (*mut u8, usize)> {
        let Cursor { region: last, cut, .. } = self.cursor;
        let regions = self.regions.iter().take(last + 1).enumerate();
        let used = regions.map(move |(at, region)| (region.start, if at == last { cut } else { region.cut }));
        used.chain(self.large.iter().map(|large| (large.start, large.size)))
    }

    /// How many bytes of this range images have. They have its beginning.
    fn imaged<'a>(
        &'a self,
        images: &'a [Image],
        (start, length): (*mut u8, usize),
    ) -> impl Iterator<Item = usize> {
        let earlier = self.snapshots.iter().flat_map(|snapshot| &snapshot.images);
        let within = move |image: &&Image| image.start().addr().wrapping_sub(start.addr()) < length;
        earlier.chain(images).filter(within).map(Image::len)
    }

    /// Takes images of the large parts that no earlier image has.
    fn take_images(&mut self) -> Vec<Image> {
        let mut images = Vec::new();
        if self.ranges().all(|(_, length)| length < image::LEAST) {
            return images;
        }
        self.written = self.written.take().or_else(Written::open);
        let most = match self.written {
            Some(_) => {
                MOST_IMAGES - self.snapshots.iter().map(|snapshot| snapshot.images.len()).sum::<usize>()
            }
            None => 0,
        };
        for (at, (start, length)) in self.ranges().enumerate() {
            let kept = self.imaged(&[], (start, length)).sum::<usize>();
            let is_region = at <= self.cursor.region;
            let end = end_of_pages(length, is_region, page());
            if end >= kept + image::LEAST && images.len() < most && images.try_reserve(1).is_ok() {
                // SAFETY: these are whole pages of a block, and no code of the state runs now.
                images.extend(unsafe { Image::take(start.add(kept), end - kept) });
            }
        }
        images
    }

    /// The parts that are to be copied beside these images and those of the snapshots. None if there is no memory for the list.
    fn parts(&mut self, images: &[Image]) -> Option<Vec<(*mut u8, usize)>> {
        let mut parts = Vec::new();
        for (start, length) in self.ranges() {
            let kept = self.imaged(images, (start, length)).sum::<usize>();
            if kept < length {
                parts.try_reserve(1).ok()?;
                // SAFETY: it is shorter.
                parts.push((unsafe { start.add(kept) }, length - kept));
            }
        }
        let Some(written) = &mut self.written else { return Some(parts) };
        let mut has_room = true;
        for image in self.snapshots.iter().flat_map(|snapshot| &snapshot.images) {
            image.written(written, |start, length| {
                has_room &= parts.try_reserve(1).is_ok();
                if has_room {
                    parts.push((start, length));
                }
            });
        }
        has_room.then_some(parts)
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
            // SAFETY: the blocks are of this arena. What an earlier snapshot has of these pages, it copies back.
            images.into_iter().for_each(|image| unsafe { image.release() });
        }
        let level = self.snapshots.len();
        if level == 0 {
            return;
        }
        while let Some(Large { start, size, .. }) =
            self.large.pop_if(|large| large.snapshot == 0 || large.snapshot > level)
        {
            self.held -= size;
            // SAFETY: the arena owns the block, and the state that used it is being replaced.
            unsafe { give_back(start, size) };
        }
        if let Some(written) = &mut self.written {
            for image in self.snapshots.iter_mut().flat_map(|snapshot| &mut snapshot.images) {
                // SAFETY: the image is mapped at its range, and the caller promises that nothing uses the blocks now.
                unsafe { image.restore(written) };
            }
        }
        let Some(snapshot) = self.snapshots.last() else { return };
        self.cursor = snapshot.cursor;
        let mut from = snapshot.bytes.pages.as_ptr();
        for (start, length) in &snapshot.parts {
            // SAFETY: the snapshot holds the bytes of its parts in their order; as above.
            unsafe {
                ptr::copy_nonoverlapping(from, *start, *length);
                from = from.add(*length);
            }
        }
    }

    /// Drops all snapshots. The blocks stay as they are.
    pub fn forget_snapshots(&mut self) {
        self.snapshots.clear();
        (self.spare, self.written) = (None, None);
        self.large.iter_mut().for_each(|large| large.snapshot = 0);
    }
}
