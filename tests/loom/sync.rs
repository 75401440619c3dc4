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

/// Loom takes a sequentially consistent access for an acquire or a release, but knows fences. So each such store is followed by
/// a fence here, as processors with a strong order have it: then no later load of the thread comes before the store.
///
/// Before each access, the thread may receive a signal.
pub mod atomic {
    pub use std::sync::atomic::Ordering;

    use crate::ffi::receive_signal;

    fn fence_after_store(order: Ordering) {
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
                    receive_signal();
                    self.0.load(order)
                }

                pub fn store(&self, value: $value, order: Ordering) {
                    receive_signal();
                    self.0.store(value, order);
                    fence_after_store(order);
                }

                pub fn swap(&self, value: $value, order: Ordering) -> $value {
                    receive_signal();
                    let before = self.0.swap(value, order);
                    fence_after_store(order);
                    before
                }

                pub fn compare_exchange(
                    &self,
                    from: $value,
                    to: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    receive_signal();
                    let outcome = self.0.compare_exchange(from, to, success, failure);
                    if outcome.is_ok() {
                        fence_after_store(success);
                    }
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
