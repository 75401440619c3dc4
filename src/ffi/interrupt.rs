//! Stops Lua code from any thread, at no cost to code that is never stopped.
//!
//! `lua_sethook` may be called on a state that another thread runs. Lua then calls the hook there, at the next
//! instruction. The hook stops the code in two ways that Lua code can't catch:
//!
//! - Where the coroutine may yield, it yields and is never resumed.
//! - Elsewhere (in a sort comparator, a metamethod, a message handler), an allocation is made to fail. No message handler
//!   sees that error. A `pcall` may catch it, but the hook is called again at the next instruction.
//!
//! So every stopped coroutine has the hook, also one that stops because the coroutine that it resumed was stopped.

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
    /// Runs `body` on the worker's thread, and notes that the coroutine runs meanwhile; after that, the one before runs
    /// again. No other thread interrupts the coroutine once this has returned, so it may be freed.
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

    /// Notes that no coroutine runs.
    pub fn clear(&self) {
        self.coroutine.replace(0);
    }

    /// Stops the coroutine that runs, from any thread, if it is `still_wanted`. That is asked while the coroutine is held:
    /// the worker can't leave it before this returns.
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
    /// Makes the code that runs in this coroutine stop at its next instruction.
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

/// The call stack of the code that was stopped on this thread since the last call; empty if there was none.
pub fn take_stopped_at() -> String {
    STOPPED_AT.take()
}

unsafe extern "C-unwind" fn stop_hook(l: *mut lua::lua_State, _: *mut lua::lua_Debug) {
    // SAFETY: Lua calls with the live state of this thread. An error passes only this frame and `stop`'s, which own nothing
    // then.
    let stack = unsafe { Protected::new(l) };
    // Before the yield of a hook: after it, Lua no longer knows the line of a function's first instruction.
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
