//! Coroutines without Lua: all that is left of one is its hook, and whether it was freed.

use std::sync::Arc;

use crate::sync::atomic::{AtomicBool, Ordering};

#[path = "../../src/ffi/running.rs"]
mod running;
pub use running::Running;
pub use version::{is_signal_sent, receive_signal, wait_for_signals};

/// For the library's own file.
mod stack {
    pub use super::Stack;
}

#[cfg_attr(feature = "lua54", path = "thread_in_lua54.rs")]
#[cfg_attr(not(feature = "lua54"), path = "thread_in_lua53.rs")]
mod version;

/// A coroutine. Its fields are relaxed: who sees which value is up to the modules under test alone. A model keeps it until all
/// threads have ended.
#[derive(Debug, Clone, Default)]
pub struct Stack(Arc<Coroutine>);

/// Aligned, as a `lua_State` is.
#[derive(Debug, Default)]
#[repr(align(8))]
struct Coroutine {
    is_hooked: AtomicBool,
    is_freed: AtomicBool,
}

impl Stack {
    pub fn interrupt(&self) {
        self.0.interrupt();
    }

    /// # Safety
    /// The address is [`Stack::address`] of a coroutine that the model still has.
    unsafe fn interrupt_at(address: usize) {
        // SAFETY: as promised by the caller.
        unsafe { &*(address as *const Coroutine) }.interrupt();
    }

    fn address(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    pub fn is_hooked(&self) -> bool {
        self.0.is_hooked.load(Ordering::Relaxed)
    }

    /// Lua may lose a hook that is set in the middle of an instruction.
    pub fn lose_hook(&self) {
        self.0.is_hooked.store(false, Ordering::Relaxed);
    }

    /// What a worker may do with it once it has left it.
    pub fn free(&self) {
        self.0.is_freed.store(true, Ordering::Relaxed);
    }
}

impl Coroutine {
    fn interrupt(&self) {
        assert!(!self.is_freed.load(Ordering::Relaxed), "a hook is set in freed memory");
        self.is_hooked.store(true, Ordering::Relaxed);
    }
}
