//! Stopping Lua code, from any thread and with nothing paid before.
//!
//! `lua_sethook` may be called on a state that another thread runs; its hook is called there at the next
//! instruction. The hook stops the code in the two ways that Lua code can't catch: where it may yield, the
//! coroutine yields and is never resumed; elsewhere (in a sort comparator, a metamethod, a message
//! handler) an allocation is made to fail. That error passes by every message handler, and where a `pcall`
//! catches it the hook is called again at the next instruction. So every coroutine that is stopped has the hook, also
//! one that is stopped because the coroutine it resumed was.

use std::cell::RefCell;
use std::ffi::c_int;

use mlua::ffi as lua;

use super::own_state::Account;
use super::protected::Protected;
use super::stack::Stack;
use crate::bit_lock::BitLock;

/// Which coroutine runs on a worker's thread, so that another thread can interrupt it.
#[derive(Debug, Default)]
pub struct Running {
    /// The address of its `lua_State`, 0 for none. States are aligned, so the lowest bit is free.
    coroutine: BitLock,
}

impl Running {
    /// Runs `body`, on the worker's thread, with a coroutine as the one that runs; after that it is again the one before. An
    /// interruption that is on its way is over when this returns, so the coroutine may be freed then.
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
        let _before = Before { running: self, coroutine: self.coroutine.replace(coroutine.l as usize) };
        body()
    }

    /// Says that no coroutine runs.
    pub fn clear(&self) {
        self.coroutine.replace(0);
    }

    /// Stops what runs, on any thread, if `still_wanted` says so once nothing can change any more: the
    /// coroutine stays the one that runs until this returns.
    pub fn interrupt(&self, still_wanted: impl FnOnce() -> bool) {
        self.coroutine.hold(|running| {
            if still_wanted() {
                // SAFETY: the worker can't leave this coroutine while it is held, so it is alive; and
                // `lua_sethook` is made to be called while the state runs.
                unsafe {
                    lua::lua_sethook(running as *mut lua::lua_State, Some(stop_hook), lua::LUA_MASKCOUNT, 1)
                };
            }
        });
    }
}

impl Stack<'_> {
    /// Has the code that runs here stop at its next instruction.
    pub fn interrupt(&self) {
        // SAFETY: `l` is live, and runs Lua that calls the hook with a live state.
        unsafe { lua::lua_sethook(self.l, Some(stop_hook), lua::LUA_MASKCOUNT, 1) };
    }

    /// Whether any hook is set.
    #[cfg(all(test, feature = "linked"))]
    pub fn is_hooked(&self) -> bool {
        // SAFETY: `l` is live.
        unsafe { lua::lua_gethookmask(self.l) != 0 }
    }
}

thread_local! {
    /// Where the code of this thread was when it was first stopped.
    static STOPPED_AT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The call stack of what was stopped on this thread since the last time that was asked; empty for none.
pub fn take_stopped_at() -> String {
    STOPPED_AT.take()
}

unsafe extern "C-unwind" fn stop_hook(l: *mut lua::lua_State, _: *mut lua::lua_Debug) {
    // SAFETY: Lua calls with the live state of this thread. What is raised here passes only frames of this file, which own
    // nothing then.
    let stack = unsafe { Protected::new(l) };
    // Here, since after a yield of a hook Lua no longer knows the line of a function's first instruction.
    STOPPED_AT.with_borrow_mut(|stopped_at| {
        if stopped_at.is_empty() {
            *stopped_at = stack.brief_traceback();
        }
    });
    stop(&stack);
}

/// Leaves the running function by a yield or an error, in a way that it can't catch.
pub(super) fn stop(stack: &Protected) -> c_int {
    if stack.is_yieldable() {
        // SAFETY: `l` is live, and may yield here. The callers own nothing.
        return unsafe { lua::lua_yieldk(stack.l, 0, 0, None) };
    }
    // A `pcall` may catch the error, and not every stop comes from a hook of this very coroutine.
    stack.interrupt();
    if let Some(account) = Account::of(stack) {
        account.refuse_next();
        stack.create_table(0, 0);
    }
    0
}
