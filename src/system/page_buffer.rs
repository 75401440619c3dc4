//! Bytes in pages of their own.

use std::ptr;

use memmap2::MmapMut;

use super::headroom;

/// Bytes that are filled part by part, in pages of their own: the system gets those back, while an allocator keeps what is
/// freed.
pub struct PageBuffer {
    pub pages: MmapMut,
    filled: usize,
}

impl PageBuffer {
    /// Room for `size` bytes, for a state that holds `held` bytes. Reuses the `used` pages if they suffice. None if memory
    /// has run out.
    pub fn with_room(size: usize, held: usize, used: Option<MmapMut>) -> Option<PageBuffer> {
        let used = used.filter(|pages| pages.len() >= size);
        let pages = used.or_else(|| headroom::ask(held, size, || MmapMut::map_anon(size.max(1)).ok()))?;
        Some(PageBuffer { pages, filled: 0 })
    }

    /// # Safety
    /// `part` has that many bytes to read, and there is room for them.
    pub unsafe fn append(&mut self, part: *const u8, length: usize) {
        // SAFETY: as promised by the caller. Bytes that were never written may be anything, since they are only ever
        // copied back.
        unsafe { ptr::copy_nonoverlapping(part, self.pages.as_mut_ptr().add(self.filled), length) };
        self.filled += length;
    }
}
