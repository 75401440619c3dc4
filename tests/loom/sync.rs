//! What `src/sync.rs` gives the library, of loom's.

use std::time::Duration;

pub use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
pub use loom::thread::yield_now;
pub use std::sync::PoisonError;

/// One look. The thread goes to sleep, or not, after any number of them.
pub fn spin(_: Duration, is_there: impl Fn() -> bool) {
    is_there();
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Loom takes a sequentially consistent load or store for a weaker one, but knows fences. So these atomics put a fence on both
/// sides of each such access.
pub mod atomic {
    pub use std::sync::atomic::Ordering;

    fn fence(order: Ordering) {
        if order == Ordering::SeqCst {
            loom::sync::atomic::fence(order);
        }
    }

    macro_rules! atomic {
        ($name:ident, $value:ty) => {
            #[derive(Debug, Default)]
            pub struct $name(loom::sync::atomic::$name);

            impl $name {
                pub fn new(value: $value) -> $name {
                    $name(loom::sync::atomic::$name::new(value))
                }

                pub fn load(&self, order: Ordering) -> $value {
                    fence(order);
                    let value = self.0.load(order);
                    fence(order);
                    value
                }

                pub fn store(&self, value: $value, order: Ordering) {
                    fence(order);
                    self.0.store(value, order);
                    fence(order);
                }

                pub fn swap(&self, value: $value, order: Ordering) -> $value {
                    fence(order);
                    let before = self.0.swap(value, order);
                    fence(order);
                    before
                }

                pub fn compare_exchange(
                    &self,
                    from: $value,
                    to: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    fence(success);
                    let outcome = self.0.compare_exchange(from, to, success, failure);
                    fence(if outcome.is_ok() { success } else { failure });
                    outcome
                }

                /// Without the failures that have no reason: the caller would only try again.
                pub fn compare_exchange_weak(
                    &self,
                    from: $value,
                    to: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.compare_exchange(from, to, success, failure)
                }
            }
        };
    }

    atomic!(AtomicBool, bool);
    atomic!(AtomicU64, u64);
    atomic!(AtomicUsize, usize);
}
