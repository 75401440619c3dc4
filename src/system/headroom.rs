//! Memory that tasks can't take.
//!
//! A task may use up all memory, catch the error, and keep what it has. So some address space is reserved, and released
//! when the system runs out: the host, the C library and this library's own messages need it. Until it can be reserved
//! again, states that hold much memory get no more; states that hold little may still grow.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use memmap2::MmapMut;

use super::blocks::drop_cached_pages;

/// Address space alone: nothing is ever written there. A 32-bit process has little of it.
const BYTES: usize = if cfg!(target_pointer_width = "64") { 32 << 20 } else { 8 << 20 };

/// A state that holds no more than this is not the one that used up the memory.
pub const LITTLE: usize = 2 << 20;

/// Requests of this size and more are made one at a time.
const LARGE: usize = 1 << 20;

static ASIDE: Mutex<Option<MmapMut>> = Mutex::new(None);

/// Whether [`ASIDE`] is filled, readable without the lock.
static IS_ASIDE: AtomicBool = AtomicBool::new(false);

/// Whether the memory was released, and could not be reserved again.
static IS_GIVEN: AtomicBool = AtomicBool::new(false);

/// Whether memory has run out, as far as this library knows.
pub fn is_given() -> bool {
    IS_GIVEN.load(Ordering::Relaxed)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reserves the memory, unless it is reserved; false if the system doesn't have that much and `more` bytes. Without the
/// second part, a request would take the memory only to release it again.
pub fn put_aside(more: usize) -> bool {
    IS_ASIDE.load(Ordering::Relaxed) || fill(&mut lock(&ASIDE), more)
}

fn fill(aside: &mut Option<MmapMut>, more: usize) -> bool {
    let is_there = || MmapMut::map_anon(BYTES.saturating_add(more)).is_ok();
    if aside.is_none() && (is_there() || drop_cached_pages() && is_there()) {
        *aside = MmapMut::map_anon(BYTES).ok();
    }
    IS_ASIDE.store(aside.is_some(), Ordering::Relaxed);
    IS_GIVEN.fetch_and(aside.is_none(), Ordering::Relaxed);
    aside.is_some()
}

fn empty(aside: &mut Option<MmapMut>) {
    IS_ASIDE.store(false, Ordering::Relaxed);
    IS_GIVEN.store(true, Ordering::Relaxed);
    *aside = None;
}

/// Releases the memory, unless another thread holds the lock. Neither allocates nor waits: it is called where an
/// allocation has failed.
pub fn give_soon() {
    if let Ok(mut aside) = ASIDE.try_lock() {
        empty(&mut aside);
    }
}

/// Runs `body` with the memory released and with no large state growing. For calls in which the C library ends the
/// process if it gets no memory. `body` makes no state.
pub fn with_headroom<R>(body: impl FnOnce() -> R) -> R {
    let mut aside = lock(&ASIDE);
    IS_ASIDE.store(false, Ordering::Relaxed);
    *aside = None;
    drop_cached_pages();
    body()
}

/// Asks the system for `growth` bytes, for a state that holds `held` bytes. Where `request` finds no memory, the state
/// fails, and nothing else does.
pub fn ask<R>(held: usize, growth: usize, mut request: impl FnMut() -> Option<R>) -> Option<R> {
    let holds_little = held.saturating_add(growth) <= LITTLE;
    // A large request could get memory that others have released since it looked.
    let mut alone = (growth >= LARGE).then(|| lock(&ASIDE));
    let may_ask = holds_little
        || match &mut alone {
            Some(aside) => fill(aside, growth),
            None => put_aside(growth),
        };
    if !may_ask {
        return None;
    }
    request().or_else(|| {
        empty(&mut alone.unwrap_or_else(|| lock(&ASIDE)));
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
        assert!(IS_ASIDE.load(Ordering::Relaxed) || put_aside(0));
    }
}
