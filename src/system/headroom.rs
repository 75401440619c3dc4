//! A reserve of memory that tasks can't take.
//!
//! A task may use up all memory, catch the error, and keep its memory. So some address space is reserved, and released when
//! the system runs out of memory, for the host, the C library and this library's own messages. Until it can be reserved
//! again, states that hold much memory get no more. States that hold little may still grow.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use memmap2::MmapMut;

use super::blocks::drop_cached_pages;

/// The size of the reserve. It is only address space, never written to. A 32-bit process has little of it.
const BYTES: usize = if cfg!(target_pointer_width = "64") { 32 << 20 } else { 8 << 20 };

/// The most bytes of a state that holds little, and so can't be the one that used up the memory.
pub const LITTLE: usize = 2 << 20;

/// Requests of this size and more are made one at a time.
const LARGE: usize = 1 << 20;

static RESERVE: Mutex<Option<MmapMut>> = Mutex::new(None);

/// Whether [`RESERVE`] is filled. Readable without the lock.
static IS_RESERVED: AtomicBool = AtomicBool::new(false);

/// Whether the reserve was released and could not be filled again.
static IS_RELEASED: AtomicBool = AtomicBool::new(false);

/// Whether memory has run out, as far as this library knows.
pub fn is_released() -> bool {
    IS_RELEASED.load(Ordering::Relaxed)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Fills the reserve, unless it is filled. False if the system doesn't have this memory plus `more` bytes. Without the
/// latter, the next request would fail and release the reserve again.
pub fn put_aside(more: usize) -> bool {
    IS_RESERVED.load(Ordering::Relaxed) || refill(&mut lock(&RESERVE), more)
}

fn refill(reserve: &mut Option<MmapMut>, more: usize) -> bool {
    let is_available = || MmapMut::map_anon(BYTES.saturating_add(more)).is_ok();
    if reserve.is_none() && (is_available() || drop_cached_pages() && is_available()) {
        *reserve = MmapMut::map_anon(BYTES).ok();
    }
    IS_RESERVED.store(reserve.is_some(), Ordering::Relaxed);
    IS_RELEASED.fetch_and(reserve.is_none(), Ordering::Relaxed);
    reserve.is_some()
}

fn release(reserve: &mut Option<MmapMut>) {
    IS_RESERVED.store(false, Ordering::Relaxed);
    IS_RELEASED.store(true, Ordering::Relaxed);
    *reserve = None;
}

/// Releases the reserve, unless another thread holds the lock. Called when an allocation has failed, so it neither allocates
/// nor waits.
pub fn try_release() {
    if let Ok(mut reserve) = RESERVE.try_lock() {
        release(&mut reserve);
    }
}

/// Runs `body` with the reserve released, and keeps large states from growing meanwhile. For calls in which the C library ends
/// the process if it gets no memory. `body` must not make a state.
pub fn with_headroom<R>(body: impl FnOnce() -> R) -> R {
    let mut reserve = lock(&RESERVE);
    IS_RESERVED.store(false, Ordering::Relaxed);
    *reserve = None;
    drop_cached_pages();
    body()
}

/// Makes a request to the system for `growth` bytes, for a state that holds `held` bytes. If there is no memory, only this
/// state fails.
pub fn ask<R>(held: usize, growth: usize, mut request: impl FnMut() -> Option<R>) -> Option<R> {
    let holds_little = held.saturating_add(growth) <= LITTLE;
    // Large requests hold the lock, so that none takes memory that was only just released.
    let mut alone = (growth >= LARGE).then(|| lock(&RESERVE));
    let may_ask = holds_little
        || match &mut alone {
            Some(reserve) => refill(reserve, growth),
            None => put_aside(growth),
        };
    if !may_ask {
        return None;
    }
    request().or_else(|| {
        release(&mut alone.unwrap_or_else(|| lock(&RESERVE)));
        if holds_little { request() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_state_that_asks_fails() {
        assert!(put_aside(0));
        assert_eq!(ask(0, usize::MAX, || None::<()>), None);
        // The next request succeeds at once, from any state.
        assert_eq!(ask(0, LITTLE, || Some(1)), Some(1));
        assert_eq!(ask(1 << 30, LARGE, || Some(2)), Some(2));
        assert!(IS_RESERVED.load(Ordering::Relaxed) || put_aside(0));
    }
}
