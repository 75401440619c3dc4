//! Memory that tasks leave to all others.
//!
//! A task may want all the memory that there is, catch the refusal, and keep what it has. So some is put aside, and given
//! to the system when that has no more: for the host, for the C library, and for what this library has to say. Until it
//! could be put aside anew, states that hold much get nothing; those that hold little may still grow.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use memmap2::MmapMut;

use super::blocks::drop_cached_pages;

/// Addresses alone: nothing is ever written there. In 32 bits they are few.
const BYTES: usize = if cfg!(target_pointer_width = "64") { 32 << 20 } else { 8 << 20 };

/// A state that holds no more than this has not taken the others' memory.
pub const LITTLE: usize = 2 << 20;

/// Requests from this size up are made one at a time.
const LARGE: usize = 1 << 20;

static ASIDE: Mutex<Option<MmapMut>> = Mutex::new(None);

/// Whether there is something in it, to be read without the lock.
static IS_ASIDE: AtomicBool = AtomicBool::new(false);

/// Whether it was given to the system, and could not be put aside anew.
static IS_GIVEN: AtomicBool = AtomicBool::new(false);

/// Whether memory has run out, as far as is known.
pub fn is_given() -> bool {
    IS_GIVEN.load(Ordering::Relaxed)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts the memory aside, unless it is; false where there is not so much, and so many bytes more. Without these it would
/// be taken from the others for a moment, only to be given back.
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

/// Gives it to the system, unless somebody is at it. Allocates nothing and waits for nobody, since it is called where an
/// allocation fails.
pub fn give_soon() {
    if let Ok(mut aside) = ASIDE.try_lock() {
        empty(&mut aside);
    }
}

/// Runs `body` with that memory given to the system, and with no state growing that holds much: for what the C library
/// ends the process for, should it get none. `body` makes no state.
pub fn with_headroom<R>(body: impl FnOnce() -> R) -> R {
    let mut aside = lock(&ASIDE);
    IS_ASIDE.store(false, Ordering::Relaxed);
    *aside = None;
    drop_cached_pages();
    body()
}

/// Asks the system for so many bytes more, for a state that holds so many of its. `request` gives none where the system
/// has none: then that is the state's failure, and nobody else's.
pub fn ask<R>(held: usize, growth: usize, mut request: impl FnMut() -> Option<R>) -> Option<R> {
    let holds_little = held.saturating_add(growth) <= LITTLE;
    // A large request could get what others have given to the system since its look.
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
    fn what_the_system_refuses_is_one_states_failure() {
        assert!(put_aside(0));
        assert_eq!(ask(0, usize::MAX, || None::<()>), None);
        // At once, whoever asks.
        assert_eq!(ask(0, LITTLE, || Some(1)), Some(1));
        assert_eq!(ask(1 << 30, LARGE, || Some(2)), Some(2));
        assert!(IS_ASIDE.load(Ordering::Relaxed) || put_aside(0));
    }
}
