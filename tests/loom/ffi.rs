//! Coroutines without Lua: all that is left of one is its hook, and whether it was freed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::bit_lock::BitLock;
use crate::sync::atomic::{AtomicBool, Ordering};

/// A coroutine. Its fields are relaxed: who sees which value is up to the modules under test alone.
#[derive(Debug, Clone, Default)]
pub struct Stack(Arc<Coroutine>);

#[derive(Debug, Default)]
struct Coroutine {
    is_hooked: AtomicBool,
    is_freed: AtomicBool,
}

impl Stack {
    pub fn interrupt(&self) {
        assert!(!self.0.is_freed.load(Ordering::Relaxed), "a hook is set in freed memory");
        self.0.is_hooked.store(true, Ordering::Relaxed);
    }

    pub fn is_hooked(&self) -> bool {
        self.0.is_hooked.load(Ordering::Relaxed)
    }

    /// What a worker may do with it once it has left it.
    pub fn free(&self) {
        self.0.is_freed.store(true, Ordering::Relaxed);
    }

    /// Aligned, as a `lua_State` is.
    fn address(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }
}

/// As the library's, which is a [`BitLock`] over addresses. The table behind an address is not part of the model.
#[derive(Debug, Default)]
pub struct Running {
    coroutine: BitLock,
    by_address: Mutex<HashMap<usize, Stack>>,
}

impl Running {
    pub fn enter(&self) {}

    pub fn leave(&self) {}

    pub fn during<R>(&self, coroutine: &Stack, body: impl FnOnce() -> R) -> R {
        self.by_address.lock().unwrap().insert(coroutine.address(), coroutine.clone());
        let before = self.coroutine.replace(coroutine.address());
        let outcome = body();
        self.coroutine.replace(before);
        outcome
    }

    pub fn clear(&self) {
        self.coroutine.replace(0);
    }

    pub fn interrupt(&self, still_wanted: impl FnOnce() -> bool) {
        self.coroutine.hold(|running| {
            if still_wanted() {
                let coroutine = self.by_address.lock().unwrap().get(&running).cloned();
                coroutine.expect("it runs").interrupt();
            }
        });
    }
}
