//! A reserve of memory that tasks can't take.
//!
//! A task may use up all memory, catch the error, and keep its memory. So some address space is reserved, and released when
//! the system runs out of memory, for the host, the C library and this library's own messages. Until it can be reserved
//! again, states that hold much memory get no more. States that hold little may still grow.
//!
//! The host may ask for memory just when a task has taken the last of it, and nobody has noticed yet. So the reserve is
//! released a little earlier, when only the margin is left.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use memmap2::MmapMut;

use super::blocks::drop_cached_pages;

/// The size of the reserve. It is only address space, never written to. A 32-bit process has little of it.
const BYTES: usize = if cfg!(target_pointer_width = "64") { 32 << 20 } else { 8 << 20 };

/// How much memory beside the reserve is left when it is released.
const MARGIN: usize = BYTES / 8;

/// How much memory no state takes, so that it is left for the host.
const HOSTS: usize = BYTES / 32;

/// The most bytes of a state that holds little, and so can't be the one that used up the memory.
pub const LITTLE: usize = 2 << 20;

/// Requests of this size and more are made one at a time.
const LARGE: usize = 1 << 20;

static RESERVE: Mutex<Option<MmapMut>> = Mutex::new(None);

/// Whether [`RESERVE`] is filled. Readable without the lock.
static IS_RESERVED: AtomicBool = AtomicBool::new(false);

/// Whether the reserve was released and could not be filled again.
static IS_RELEASED: AtomicBool = AtomicBool::new(false);

/// How many bytes states have asked for since the margin was last seen.
static UNSEEN: AtomicUsize = AtomicUsize::new(0);

/// Whether memory has run out, as far as this library knows.
pub fn is_released() -> bool {
    IS_RELEASED.load(Ordering::Relaxed)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_available(bytes: usize) -> bool {
    MmapMut::map_anon(bytes).is_ok() || drop_cached_pages() && MmapMut::map_anon(bytes).is_ok()
}

/// Whether the system still has the margin after a request for `growth` bytes. Looking takes microseconds, so that a series of
/// small requests is counted as one.
fn leaves_margin(growth: usize) -> bool {
    let unseen = UNSEEN.fetch_add(growth, Ordering::Relaxed).saturating_add(growth);
    if unseen <= MARGIN / 2 {
        return true;
    }
    UNSEEN.store(0, Ordering::Relaxed);
    is_available(growth.saturating_add(MARGIN))
}

/// Fills the reserve, unless it is filled. False if the system doesn't have this memory plus the margin and `more` bytes.
/// Without these, the next request would release the reserve again.
pub fn put_aside(more: usize) -> bool {
    IS_RESERVED.load(Ordering::Relaxed) || refill(&mut lock(&RESERVE), more)
}

fn refill(reserve: &mut Option<MmapMut>, more: usize) -> bool {
    if reserve.is_none() && is_available(more.saturating_add(BYTES + MARGIN)) {
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
    let mut is_reserved = match &mut alone {
        _ if holds_little => IS_RESERVED.load(Ordering::Relaxed),
        Some(reserve) => refill(reserve, growth),
        None => put_aside(growth),
    };
    if is_reserved && !leaves_margin(growth) {
        release(&mut alone.take().unwrap_or_else(|| lock(&RESERVE)));
        is_reserved = false;
    }
    let may_grow = || holds_little && is_available(growth.saturating_add(HOSTS));
    if !is_reserved && !may_grow() {
        return None;
    }
    request().or_else(|| {
        release(&mut alone.unwrap_or_else(|| lock(&RESERVE)));
        if may_grow() { request() } else { None }
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
