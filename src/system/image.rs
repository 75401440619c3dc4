//! Pages that are restored in proportion to how many of them were written.
//!
//! The contents are moved to a file in memory, and mapped privately in place of the pages: reading uses the file's own page,
//! and the first write to a page gives the process a copy of it. The system tells which pages are such copies
//! (`/proc/self/pagemap`). Restoring overwrites only those.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub use linux::{Image, Written, page};
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub use other::{Image, Written, page};

/// Fewer bytes are copied faster than the system is asked.
pub const LEAST: usize = 64 << 10;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod linux {
    use std::ffi::{c_int, c_void};
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::{AsRawFd, FromRawFd};
    use std::os::unix::fs::FileExt;
    use std::sync::LazyLock;

    use memmap2::{Mmap, MmapMut, MmapOptions};

    pub use crate::system::pages::page;

    /// Tells which pages of this process were written. A forked process needs its own.
    pub struct Written {
        pagemap: File,
        entries: Box<[u8; 8 * AT_ONCE]>,
    }

    /// The most pages that the system is asked about in one call.
    const AT_ONCE: usize = 2048;

    /// The pages of a range, and their contents at the time of a snapshot.
    pub struct Image {
        start: *mut u8,
        contents: Mmap,
        copies: Copies,
    }

    /// Decides when the process gives up its own copies of pages that were written once. Restoring overwrites such a page each
    /// time, whether or not it was written again. Giving it up makes the next write take about as long as [`Copies::PATIENCE`] of
    /// these.
    struct Copies {
        /// How many pages were overwritten since copies were last given up.
        overwritten: usize,
        /// How many copies were given up at the last restore.
        given_up: usize,
        /// How often all pages are overwritten before their copies are given up.
        patience: usize,
    }

    /// Bits of an entry of `/proc/self/pagemap`.
    const PRESENT: u64 = 1 << 63;
    const SWAPPED: u64 = 1 << 62;
    const OF_FILE: u64 = 1 << 61;

    /// Whether the system tells written pages from others.
    static IS_SUPPORTED: LazyLock<bool> = LazyLock::new(|| check().unwrap_or(false));

    impl Copies {
        const PATIENCE: usize = 24;
        const MOST_PATIENCE: usize = 64 * Self::PATIENCE;

        /// So few are always overwritten.
        const FEW: usize = 16;

        fn new() -> Copies {
            Copies { overwritten: 0, given_up: 0, patience: Self::PATIENCE }
        }

        /// Whether to give up the copies of so many pages, which have just been overwritten.
        fn are_to_go(&mut self, pages: usize) -> bool {
            if self.given_up > 0 {
                // Where each task writes to the same pages, giving them up gained nothing.
                let are_back = 2 * pages > self.given_up;
                self.patience =
                    if are_back { 2 * self.patience } else { 0 }.clamp(Self::PATIENCE, Self::MOST_PATIENCE);
                self.given_up = 0;
            }
            self.overwritten += pages;
            let are_to_go = pages > Self::FEW && self.overwritten >= self.patience * pages;
            if are_to_go {
                (self.overwritten, self.given_up) = (0, pages);
            }
            are_to_go
        }
    }

    impl Written {
        /// None if this system does not tell.
        pub fn open() -> Option<Written> {
            if *IS_SUPPORTED { Written::new() } else { None }
        }

        fn new() -> Option<Written> {
            let entries = vec![0; 8 * AT_ONCE].into_boxed_slice().try_into().ok()?;
            Some(Written { pagemap: File::open("/proc/self/pagemap").ok()?, entries })
        }

        /// Calls `each` with the offset and the length of each run of written pages.
        fn runs(&mut self, start: *const u8, length: usize, mut each: impl FnMut(usize, usize)) {
            let (page, first_page) = (page(), start.addr() / page());
            for first in (0..length / page).step_by(AT_ONCE) {
                let count = (length / page - first).min(AT_ONCE);
                let entries = &mut self.entries[..8 * count];
                if self.pagemap.read_exact_at(entries, 8 * (first_page + first) as u64).is_err() {
                    // All may have been written.
                    each(first * page, count * page);
                    continue;
                }
                let mut entries = entries.chunks_exact(8).map(|entry| is_written(u64_of(entry)));
                let mut at = 0;
                while let Some(unwritten) = entries.position(|is_written| is_written) {
                    let run = 1 + entries.by_ref().take_while(|is_written| *is_written).count();
                    each((first + at + unwritten) * page, run * page);
                    // The page after the run was looked at, too.
                    at += unwritten + run + 1;
                }
            }
        }
    }

    fn u64_of(entry: &[u8]) -> u64 {
        u64::from_ne_bytes(entry.try_into().unwrap_or([0xff; 8]))
    }

    /// Whether an entry of `/proc/self/pagemap` shows a copy of the process's own.
    fn is_written(entry: u64) -> bool {
        entry & (PRESENT | SWAPPED) != 0 && entry & (PRESENT | OF_FILE) != PRESENT | OF_FILE
    }

    impl Image {
        /// Keeps the contents of these pages, and maps them in their place. None if the system can't; then nothing has changed.
        /// The caller knows from [`Written::open`] that the system tells which pages were written.
        ///
        /// # Safety
        /// The range consists of whole pages of the caller's, and nothing uses it during the call.
        pub unsafe fn take(start: *mut u8, length: usize) -> Option<Image> {
            // SAFETY: the name is a text, and the new descriptor is owned by the file alone.
            let mut file = unsafe {
                // By number, since older C libraries have no function for it.
                let name = c"gma2workers".as_ptr();
                let descriptor = libc::syscall(libc::SYS_memfd_create, name, libc::MFD_CLOEXEC);
                File::from_raw_fd(c_int::try_from(descriptor).ok().filter(|descriptor| *descriptor >= 0)?)
            };
            // SAFETY: the caller promises that the range is there to be read.
            file.write_all(unsafe { std::slice::from_raw_parts(start, length) }).ok()?;
            // SAFETY: nothing else has the file, so its contents don't change.
            let contents = unsafe { MmapOptions::new().len(length).map(&file) }.ok()?;
            let (access, kind) = (
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_NORESERVE,
            );
            // SAFETY: the caller owns the range, and gets the same contents there.
            let mapped = unsafe { libc::mmap(start.cast(), length, access, kind, file.as_raw_fd(), 0) };
            let image = Image { start, contents, copies: Copies::new() };
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

        pub fn start(&self) -> *mut u8 {
            self.start
        }

        pub fn len(&self) -> usize {
            self.contents.len()
        }

        /// Calls `each` with the start and the length of each run of pages that were written.
        pub fn written(&self, written: &mut Written, mut each: impl FnMut(*mut u8, usize)) {
            let start = self.start;
            written.runs(start, self.len(), |offset, length| {
                // SAFETY: the offset is within the range.
                each(unsafe { start.add(offset) }, length);
            });
        }

        /// Overwrites the pages that were written with their former contents.
        ///
        /// # Safety
        /// The image is still mapped at its range, and nothing uses the range.
        pub unsafe fn restore(&mut self, written: &mut Written) {
            let mut pages = 0;
            written.runs(self.start, self.len(), |offset, length| {
                // SAFETY: as promised by the caller; the run is within both.
                unsafe {
                    let from = self.contents.as_ptr().add(offset);
                    self.start.add(offset).copy_from_nonoverlapping(from, length);
                }
                pages += length / page();
            });
            if self.copies.are_to_go(pages) {
                // SAFETY: without its copies, the process sees the file's pages again, which have the same contents. If the system
                // refuses, the copies stay.
                unsafe { libc::madvise(self.start.cast(), self.len(), libc::MADV_DONTNEED) };
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
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
            );
            let start: *mut c_void = self.start.cast();
            // SAFETY: as promised by the caller.
            unsafe { libc::mmap(start, self.contents.len(), access, kind, -1, 0) != libc::MAP_FAILED }
        }
    }

    /// Tries it out on three pages: one is written, one only read, and one not touched.
    fn check() -> Option<bool> {
        let page = page();
        let mut pages = MmapMut::map_anon(3 * page).ok()?;
        pages.fill(1);
        let start = pages.as_mut_ptr();
        // SAFETY: these are whole pages of an anonymous mapping, and only this function uses them.
        unsafe {
            let (mut image, mut written) = (Image::take(start, 3 * page)?, Written::new()?);
            start.write_volatile(2);
            let read = start.add(page).read_volatile();
            let mut entries = [0; 24];
            written.pagemap.read_exact_at(&mut entries, 8 * (start.addr() / page) as u64).ok()?;
            let entry = |n: usize| u64_of(&entries[8 * n..8 * n + 8]);
            let tells = entry(0) & (PRESENT | OF_FILE) == PRESENT
                && entry(1) & (PRESENT | OF_FILE) == PRESENT | OF_FILE;
            image.restore(&mut written);
            let is_restored = std::slice::from_raw_parts(start, 3 * page).iter().all(|byte| *byte == 1);
            Some(tells && read == 1 && is_restored)
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn written_pages_get_their_contents_back_again_and_again() {
            const PAGES: usize = 2500;
            let Some(mut written) = Written::open() else {
                eprintln!("skipped: this system does not tell which pages were written");
                return;
            };
            let length = PAGES * page();
            let mut pages = MmapMut::map_anon(length).expect("memory");
            let original = |n: usize| vec![(n / 7) as u8; page()];
            for (n, page) in pages.chunks_exact_mut(page()).enumerate() {
                page.copy_from_slice(&original(n));
            }
            let start = pages.as_mut_ptr();
            // SAFETY: these are whole pages, and only this function uses them.
            let mut image = unsafe { Image::take(start, length) }.expect("an image");
            let are_as_before =
                |pages: &MmapMut| pages.chunks_exact(page()).enumerate().all(|(n, page)| page == original(n));
            assert!(are_as_before(&pages));
            for round in 0..15 {
                // Sometimes nearly all, and sometimes only the first and the last one.
                let step = if round % 13 == 0 { PAGES - 1 } else { 1 + round * round % 57 };
                let touched: Vec<usize> =
                    (0..PAGES).filter(|n| n % step == 0 || n % 100 > 90 - round).collect();
                touched.iter().for_each(|n| pages[n * page() + round * 100] ^= 0x55);
                let mut found = Vec::new();
                image.written(&mut written, |run, length| {
                    let first = (run.addr() - start.addr()) / page();
                    found.extend(first..first + length / page());
                });
                assert!(touched.iter().all(|n| found.binary_search(n).is_ok()), "round {round}");
                assert!(round > 0 || found == touched, "a page that was only read counts as written");
                // SAFETY: as above.
                unsafe { image.restore(&mut written) };
                assert!(are_as_before(&pages), "round {round}");
            }
            // SAFETY: as above.
            unsafe { image.release() };
            assert!(pages.iter().all(|byte| *byte == 0));
            pages.fill(3);
        }

        #[test]
        fn copies_of_pages_that_are_no_longer_written_are_given_up() {
            let Some(mut written) = Written::open() else { return };
            let length = 100 * page();
            let mut pages = MmapMut::map_anon(length).expect("memory");
            // SAFETY: as above.
            let mut image = unsafe { Image::take(pages.as_mut_ptr(), length) }.expect("an image");
            pages.fill(1);
            for _ in 0..Copies::PATIENCE {
                let mut count = 0;
                image.written(&mut written, |_, length| count += length / page());
                assert_eq!(count, 100);
                // SAFETY: as above.
                unsafe { image.restore(&mut written) };
            }
            image.written(&mut written, |_, _| panic!("a copy was kept"));
            assert!(pages.iter().all(|byte| *byte == 0));
        }

        #[test]
        fn copies_of_pages_that_each_task_writes_are_given_up_ever_more_seldom() {
            let times =
                |copies: &mut Copies, pages, tasks| (0..tasks).filter(|_| copies.are_to_go(pages)).count();
            let mut copies = Copies::new();
            assert_eq!(times(&mut copies, Copies::FEW, 100_000), 0);
            let mut copies = Copies::new();
            assert_eq!(times(&mut copies, 500, Copies::PATIENCE - 1), 0);
            assert_eq!(times(&mut copies, 500, 1), 1);
            assert!((4..12).contains(&times(&mut copies, 500, 5000)));
            // Once others run, it is as at first.
            copies.given_up = 500;
            assert_eq!(times(&mut copies, 20, Copies::PATIENCE), 1);
        }
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod other {
    /// There is none on this system.
    pub enum Image {}

    /// There is none on this system.
    pub enum Written {}

    pub fn page() -> usize {
        4096
    }

    impl Written {
        pub fn open() -> Option<Written> {
            None
        }
    }

    impl Image {
        pub unsafe fn take(_: *mut u8, _: usize) -> Option<Image> {
            None
        }

        pub fn start(&self) -> *mut u8 {
            match *self {}
        }

        pub fn len(&self) -> usize {
            match *self {}
        }

        pub fn written(&self, _: &mut Written, _: impl FnMut(*mut u8, usize)) {
            match *self {}
        }

        pub unsafe fn restore(&mut self, _: &mut Written) {
            match *self {}
        }

        pub unsafe fn release(self) {
            match self {}
        }
    }
}
