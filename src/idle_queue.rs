//! A queue in which threads that have finished their work look for more before they sleep: waking a thread takes longer
//! than a small job.
//!
//! The queue never holds more work than there are threads looking, so accepted work is never lost and never waits for a
//! sleeping thread. See `waiting.md`.

use std::collections::VecDeque;
use std::time::Duration;

use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, lock, spin};

pub struct IdleQueue<W> {
    inner: Mutex<Inner<W>>,
    /// The length of the queue. A hint, read without the lock: see the ordering of hints in `waiting.md`.
    offered: AtomicUsize,
}

struct Inner<W> {
    /// The number of threads looking for work here.
    threads: usize,
    work: VecDeque<W>,
}

impl<W> Default for IdleQueue<W> {
    fn default() -> IdleQueue<W> {
        let inner = Inner { threads: 0, work: VecDeque::new() };
        IdleQueue { inner: Mutex::new(inner), offered: AtomicUsize::new(0) }
    }
}

impl<W> IdleQueue<W> {
    /// Hands work to a thread that is looking. If none is, returns the work.
    pub fn offer(&self, work: W) -> Result<(), W> {
        let mut inner = lock(&self.inner);
        if inner.work.len() == inner.threads {
            return Err(work);
        }
        inner.work.push_back(work);
        self.offered.store(inner.work.len(), Ordering::Relaxed);
        Ok(())
    }

    /// Looks for work, for at most `at_most`.
    pub fn look_for_work(&self, at_most: Duration) -> Option<W> {
        lock(&self.inner).threads += 1;
        spin(at_most, || self.offered.load(Ordering::Relaxed) > 0);
        let mut inner = lock(&self.inner);
        inner.threads -= 1;
        let work = inner.work.pop_front();
        self.offered.store(inner.work.len(), Ordering::Relaxed);
        work
    }
}
