//! Which coroutine runs on a worker's thread, and how another thread interrupts it.
//!
//! `interrupt` has the hook, and says on which thread it is set. `tests/loom` runs this file with coroutines that are no Lua, and with
//! a thread for each version of Lua.

use std::ptr;

use super::stack::Stack;
use super::version::Thread;
use crate::bit_lock::BitLock;
use crate::sync::atomic::{AtomicBool, Ordering};

/// Which coroutine runs on a worker's thread, so that another thread can interrupt it.
#[derive(Debug, Default)]
pub struct Running {
    /// The address of its `lua_State`, 0 for none. States are aligned, so the lowest bit is free.
    coroutine: BitLock,
    thread: Thread,
    /// An interruption is on its way to the thread. Only one is at a time: signals that come faster than the thread can handle
    /// them would keep it from ever reaching its next instruction. A signal that comes without this is not from here.
    pub(super) is_underway: AtomicBool,
}

impl Running {
    /// Makes the calling thread the worker's. It has to call [`Running::leave`] before this is dropped.
    pub fn enter(&self) {
        // SAFETY: `leave` will be called: by the guard of `current::enter`, which keeps the worker alive.
        unsafe { self.thread.enter(ptr::from_ref(self).cast()) }
    }

    /// Ends that.
    pub fn leave(&self) {
        self.thread.leave();
    }

    /// Runs `body` on the worker's thread, and notes that the coroutine runs meanwhile; after that, the one before runs
    /// again. No hook is set in the coroutine once this has returned, so it may be freed.
    pub fn during<R>(&self, coroutine: &Stack, body: impl FnOnce() -> R) -> R {
        struct Before<'a> {
            running: &'a Running,
            coroutine: usize,
        }
        impl Drop for Before<'_> {
            fn drop(&mut self) {
                self.running.coroutine.replace(self.coroutine);
            }
        }
        let _before = Before { running: self, coroutine: self.coroutine.replace(coroutine.address()) };
        body()
    }

    /// Notes that no coroutine runs. No interruption is on its way once this has returned: it would disturb what the next task
    /// asks of the system.
    pub fn clear(&self) {
        self.coroutine.replace(0);
        // Relaxed: other threads set it only while they hold the word, which `replace` has just got back.
        if self.is_underway.load(Ordering::Relaxed) {
            self.thread.settle();
            self.is_underway.store(false, Ordering::Relaxed);
        }
    }

    /// Stops the coroutine that runs, from any thread, if it is `still_wanted`. That is asked while the coroutine is held:
    /// the worker can't leave it before this returns.
    pub fn interrupt(&self, still_wanted: impl FnOnce() -> bool) {
        self.coroutine.hold(|_| {
            // AcqRel: the thread may read it at once, and may just have cleared it.
            if still_wanted() && !self.is_underway.swap(true, Ordering::AcqRel) {
                // SAFETY: a coroutine runs, so the worker's thread has entered, and can't leave while it is held.
                let is_sent = unsafe { self.thread.interrupt(set_hook, ptr::from_ref(self).cast()) };
                if !is_sent {
                    self.is_underway.store(false, Ordering::Release);
                }
            }
        });
    }
}

/// Sets the hook in the coroutine that runs. Does nothing that a signal's handler may not do.
///
/// # Safety
/// The data is a [`Running`]. This is its worker's thread, which may be in the middle of anything; or another one that holds the
/// coroutine, while the worker's thread stands still if this Lua needs that.
pub(super) unsafe fn set_hook(data: *const ()) {
    // SAFETY: as promised by the caller.
    let running = unsafe { &*data.cast::<Running>() };
    if !running.is_underway.load(Ordering::Acquire) {
        return;
    }
    let coroutine = running.coroutine.owned();
    if coroutine != 0 {
        // SAFETY: the worker is in this coroutine, so it is alive. The rest is promised by the caller.
        unsafe { Stack::interrupt_at(coroutine) };
    }
    running.is_underway.store(false, Ordering::Release);
}
