//! Pages that are restored in proportion to how many of them were written.
//!
//! The contents are moved to a file in memory, and mapped privately in place of the pages: reading uses the file's own page,
//! and the first write to a page gives the process a copy of it. The system tells which pages are such copies
//! (`/proc/self/pagemap`). Restoring overwrites only those.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub use linux::Image;
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub use other::Image;

/// Fewer bytes are copied faster than the system is asked.
pub const LEAST: usize = 256 << 10;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod linux {
    use std::ffi::{c_int, c_void};
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::{AsRawFd, FromRawFd};
    use std::os::unix::fs::FileExt;
    use std::sync::LazyLock;

    use memmap2::{Mmap, MmapMut, MmapOptions};

    use crate::system::pages::page;

    /// The pages of a range, and their contents at the time of a snapshot.
    pub struct Image {
        start: *mut u8,
        contents: Mmap,
        pagemap: File,
    }

    /// Bits of an entry of `/proc/self/pagemap`.
    const PRESENT: u64 = 1 << 63;
    const SWAPPED: u64 = 1 << 62;
    const OF_FILE: u64 = 1 << 61;

    /// Whether the system tells written pages from others.
    static IS_SUPPORTED: LazyLock<bool> = LazyLock::new(|| check().unwrap_or(false));

    impl Image {
        /// Keeps the contents of these pages, and maps them in their place. None if the system can't; then nothing has changed.
        ///
        /// # Safety
        /// The range consists of whole pages of an anonymous mapping of the caller's, and nothing uses it during the call.
        pub unsafe fn take(start: *mut u8, length: usize) -> Option<Image> {
            // SAFETY: as promised by the caller.
            if *IS_SUPPORTED { unsafe { Image::map(start, length) } } else { None }
        }

        /// # Safety
        /// As for [`Image::take`].
        unsafe fn map(start: *mut u8, length: usize) -> Option<Image> {
            // SAFETY: the name is a text, and the new descriptor is owned by the file alone.
            let mut file = unsafe {
                // By number, since older C libraries have no function for it.
                let name = c"gma2workers".as_ptr();
                let descriptor = libc::syscall(libc::SYS_memfd_create, name, libc::MFD_CLOEXEC);
                File::from_raw_fd(c_int::try_from(descriptor).ok().filter(|descriptor| *descriptor >= 0)?)
            };
            // SAFETY: the caller promises that the range is there to be read.
            file.write_all(unsafe { std::slice::from_raw_parts(start, length) }).ok()?;
            let pagemap = File::open("/proc/self/pagemap").ok()?;
            // SAFETY: nothing else has the file, so its contents don't change.
            let contents = unsafe { MmapOptions::new().len(length).map(&file) }.ok()?;
            let (access, kind) = (
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_NORESERVE,
            );
            // SAFETY: the caller owns the range, and gets the same contents there.
            let mapped = unsafe { libc::mmap(start.cast(), length, access, kind, file.as_raw_fd(), 0) };
            let image = Image { start, contents, pagemap };
            if mapped == libc::MAP_FAILED {
                // The system usually fails before it unmaps the range, for example if the process has too many mappings. Then
                // nothing has changed.
                // SAFETY: this changes nothing; it fails if a part of the range is not mapped.
                let is_mapped = unsafe { libc::msync(start.cast(), length, libc::MS_ASYNC) == 0 };
                if !is_mapped {
                    // SAFETY: the range is the caller's, and gets its contents back.
                    unsafe {
                        if !image.unmap() {
                            // Lua's memory is gone, so nothing can go on.
                            std::process::abort();
                        }
                        start.copy_from_nonoverlapping(image.contents.as_ptr(), length);
                    }
                }
                return None;
            }
            Some(image)
        }

        /// Overwrites the pages that were written with their former contents.
        ///
        /// # Safety
        /// The image is still mapped at its range, and nothing uses the range.
        pub unsafe fn restore(&self) {
            const AT_ONCE: usize = 512;
            let (page, length) = (page(), self.contents.len());
            let mut entries = [0_u8; 8 * AT_ONCE];
            for first in (0..length / page).step_by(AT_ONCE) {
                let count = (length / page - first).min(AT_ONCE);
                let entries = &mut entries[..8 * count];
                let at = 8 * (self.start as usize / page + first) as u64;
                if self.pagemap.read_exact_at(entries, at).is_err() {
                    // All may have been written.
                    entries.fill(0xff);
                    entries.iter_mut().skip(7).step_by(8).for_each(|byte| *byte = (PRESENT >> 56) as u8);
                }
                for (n, entry) in entries.chunks_exact(8).enumerate() {
                    let entry = u64::from_ne_bytes(entry.try_into().unwrap_or_default());
                    let is_written =
                        entry & (PRESENT | SWAPPED) != 0 && entry & (PRESENT | OF_FILE) != PRESENT | OF_FILE;
                    if is_written {
                        let offset = (first + n) * page;
                        // SAFETY: as promised by the caller; the offset is within both.
                        unsafe {
                            let from = self.contents.as_ptr().add(offset);
                            self.start.add(offset).copy_from_nonoverlapping(from, page);
                        }
                    }
                }
            }
        }

        /// Makes the range an anonymous mapping again, whose contents are lost. If the system refuses, it stays as it is, which
        /// takes more memory.
        ///
        /// # Safety
        /// The range still belongs to the caller of [`Image::take`], and nothing uses it.
        pub unsafe fn release(self) {
            // SAFETY: as promised by the caller.
            unsafe { self.unmap() };
        }

        /// # Safety
        /// As for [`Image::release`].
        unsafe fn unmap(&self) -> bool {
            let (access, kind) = (
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
            );
            let start: *mut c_void = self.start.cast();
            // SAFETY: as promised by the caller.
            unsafe { libc::mmap(start, self.contents.len(), access, kind, -1, 0) != libc::MAP_FAILED }
        }
    }

    /// Tries it out on three pages, of which one is written, one only read, and one not touched.
    fn check() -> Option<bool> {
        let page = page();
        let mut pages = MmapMut::map_anon(3 * page).ok()?;
        pages.fill(1);
        let start = pages.as_mut_ptr();
        // SAFETY: these are whole pages of an anonymous mapping, and only this function uses them.
        unsafe {
            let image = Image::map(start, 3 * page)?;
            start.write_volatile(2);
            let read = start.add(page).read_volatile();
            let mut entries = [0_u8; 24];
            image.pagemap.read_exact_at(&mut entries, 8 * (start as usize / page) as u64).ok()?;
            let entry =
                |n: usize| u64::from_ne_bytes(entries[8 * n..8 * n + 8].try_into().unwrap_or_default());
            let tells = entry(0) & (PRESENT | OF_FILE) == PRESENT
                && entry(1) & (PRESENT | OF_FILE) == PRESENT | OF_FILE;
            image.restore();
            let is_restored = std::slice::from_raw_parts(start, 3 * page).iter().all(|byte| *byte == 1);
            Some(tells && read == 1 && is_restored)
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn written_pages_get_their_contents_back_again_and_again() {
            const PAGES: usize = 1500;
            if !*IS_SUPPORTED {
                eprintln!("skipped: this system does not tell which pages were written");
                return;
            }
            let length = PAGES * page();
            let mut pages = MmapMut::map_anon(length).expect("memory");
            for (n, byte) in pages.iter_mut().enumerate() {
                *byte = (n / 7) as u8;
            }
            let start = pages.as_mut_ptr();
            // SAFETY: these are whole pages, and only this function uses them.
            let image = unsafe { Image::take(start, length) }.expect("an image");
            let are_as_before =
                |pages: &MmapMut| pages.iter().enumerate().all(|(n, byte)| *byte == (n / 7) as u8);
            assert!(are_as_before(&pages));
            for round in 0..4 {
                for written in (round * 11..PAGES).step_by(13 + round) {
                    pages[written * page() + round * 100] ^= 0x55;
                }
                assert!(!are_as_before(&pages));
                // SAFETY: as above.
                unsafe { image.restore() };
                assert!(are_as_before(&pages), "round {round}");
            }
            // SAFETY: as above.
            unsafe { image.release() };
            assert!(pages.iter().all(|byte| *byte == 0));
            pages.fill(3);
        }
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod other {
    /// There is none on this system.
    pub enum Image {}

    impl Image {
        pub unsafe fn take(_: *mut u8, _: usize) -> Option<Image> {
            None
        }

        pub unsafe fn restore(&self) {
            match *self {}
        }

        pub unsafe fn release(self) {
            match self {}
        }
    }
}
