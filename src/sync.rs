//! Locks, atomics and short waits, for the modules in which threads meet.
//!
//! `tests/loom` compiles those modules with loom's types under these names, which try every order of the threads' steps.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

pub use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic};
pub use std::thread::yield_now;

/// Waits without sleeping until `is_ready` returns true, for at most `at_most`. With one core, it returns at once, because the
/// other thread needs the core.
pub fn spin(at_most: Duration, is_ready: impl Fn() -> bool) {
    // Reading the clock takes about as long as this many checks.
    const CHECKS: usize = 16;
    if usable_cores() < 2 {
        return;
    }
    let start = Instant::now();
    while start.elapsed() < at_most {
        for _ in 0..CHECKS {
            if is_ready() {
                return;
            }
            std::hint::spin_loop();
        }
    }
}

/// The number of cores that this process may use, by its affinity and quota at the first call. Kept, because finding out takes
/// as long as a small job.
pub fn usable_cores() -> usize {
    static CORES: LazyLock<usize> =
        LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));
    *CORES
}

/// Locks a mutex even if another thread has panicked: each change of the guarded data is a single step, so the data is valid.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
