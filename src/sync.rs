//! What the modules that threads meet in are made of: locks, atomics, and short waits.
//!
//! `tests/loom` compiles those modules with types of its own under these names, which try every order of the threads' steps.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

pub use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic};
pub use std::thread::yield_now;

/// Waits until `is_there` says yes, for at most that long, without sleeping. Waits for no time on a machine with one core:
/// what is waited for needs it.
pub fn spin(at_most: Duration, is_there: impl Fn() -> bool) {
    // Asking for the time takes about as long as this many looks.
    const LOOKS: usize = 16;
    if usable_cores() < 2 {
        return;
    }
    let start = Instant::now();
    while start.elapsed() < at_most {
        for _ in 0..LOOKS {
            if is_there() {
                return;
            }
            std::hint::spin_loop();
        }
    }
}

/// How many cores this process may use, minding affinity and quota, as it was when that was first asked: finding out
/// takes the time of a small job.
pub fn usable_cores() -> usize {
    static CORES: LazyLock<usize> =
        LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));
    *CORES
}

/// Locks a mutex, also after a panic elsewhere: each change of what it guards is one step, which leaves it whole.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
