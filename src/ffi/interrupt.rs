//! Stops Lua code from any thread, at no cost to code that is never stopped.
//!
//! A hook is set in the coroutine that runs. Lua then calls the hook at the next instruction. The hook stops the code in two ways
//! that Lua code can't catch:
//!
//! - Where the coroutine may yield, it yields and is never resumed.
//! - Elsewhere (in a sort comparator, a metamethod, a message handler), an allocation is made to fail. No message handler
//!   sees that error. A `pcall` may catch it, but the hook is called again at the next instruction.
//!
//! So every stopped coroutine has the hook, also one that stops because the coroutine that it resumed was stopped.
//!
//! # Where the hook is set
//!
//! The `lua_sethook` of Lua 5.3 may be called on a state that another thread runs: it writes a few plain fields. That of Lua 5.4 may
//! not. It also walks the list of calls, from `L->ci` by `previous` to the first, and writes `u.l.trap` in each call of a Lua
//! function. For another thread, any of these records may meanwhile be a call of a C function, where `u.c.old_errfunc` is in this
//! place, or be freed. So on Lua 5.4 the worker's own thread sets the hook, in a signal's handler, or it stands still meanwhile.
//! Lua's own interpreter sets a hook in a handler, too. In 5.4, that is right after any instruction of the thread, because:
//!
//! - The list is whole. A new record has its `previous` before `L->ci` or another record leads to it (`luaE_extendCI`). Records
//!   are freed only behind `L->ci` (`luaE_shrinkCI`), or after it was set to the first (`luaE_freethread`, `lua_close`); a return or
//!   an error sets `L->ci` to an earlier record before the later ones can be freed.
//! - The record of a call that just begins may still say what it was used for last. If it gets a `trap` and becomes a call
//!   of a C function, nothing has been written to `u.c` yet: that is done before it is used. If it gets none and becomes a
//!   call of a Lua function, `luaV_execute` reads `L->hookmask` at its beginning, which was set before the list was walked.
//! - `lua_sethook` reads and writes nothing else that may move or be half written: no stack, no allocation.
//! - A `trap` may get lost if the function was just about to clear it (`luaG_traceexec`). A stop is repeated until the task ends.
//! - A coroutine that is noted as running is alive as long as its thread is between the two [`BitLock::replace`] of
//!   [`Running::during`]. Outside of these none is noted, when states are closed or restored.

use std::cell::RefCell;
use std::ffi::c_int;

use mlua::ffi as lua;

use super::own_state::Account;
use super::protected::Protected;
use super::running::set_hook;
use super::stack::Stack;
use super::version::Thread;
use crate::error::Result;

/// Prepares the process for interruptions. The library must stay loaded from then on.
pub fn prepare_interruptions() -> Result<()> {
    Thread::prepare(set_hook)
}

/// Prepares the calling thread, so that [`Running::enter`] needs no memory.
pub fn prepare_to_be_interrupted() {
    Thread::prepare_here();
}

impl Stack<'_> {
    /// Makes the code that runs in this coroutine stop at its next instruction.
    pub fn interrupt(&self) {
        // SAFETY: `l` is live, and runs Lua that calls the hook with a live state.
        unsafe { lua::lua_sethook(self.l, Some(stop_hook), lua::LUA_MASKCOUNT, 1) };
    }

    /// The same for a coroutine that may be in the middle of an instruction. Does nothing that a signal's handler may not do.
    ///
    /// # Safety
    /// The address is [`Stack::address`] of a live coroutine. This is the thread that runs it, or, for this Lua, another thread may
    /// set hooks.
    pub(super) unsafe fn interrupt_at(address: usize) {
        // SAFETY: as promised by the caller; the rest is argued above.
        unsafe { lua::lua_sethook(address as *mut lua::lua_State, Some(stop_hook), lua::LUA_MASKCOUNT, 1) };
    }

    /// Where the coroutine is in memory, as an even number.
    pub(super) fn address(&self) -> usize {
        self.l as usize
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

#[cfg(all(test, unix, feature = "linked", feature = "lua54"))]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::Ordering;

    use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise};

    use super::*;
    use crate::ffi::{NativeResult, OwnState, Resumed, Running, native};

    type Body = fn(&Protected, &'static Running) -> NativeResult;

    /// Calls `body` in a coroutine, as a worker on this thread does.
    fn in_coroutine(running: &'static Running, body: Body) {
        thread_local! {
            static TEST: Cell<Option<(&'static Running, Body)>> = const { Cell::new(None) };
        }
        fn call(stack: &Protected) -> NativeResult {
            let (running, body) = TEST.get().expect("it was set");
            body(stack, running)
        }
        prepare_interruptions().expect("a signal");
        TEST.set(Some((running, body)));
        let state = OwnState::new(usize::MAX).expect("a state");
        let stack = state.unprotected();
        let coroutine = stack.new_thread();
        coroutine.push_native(native(call));
        running.enter();
        let resumed = running.during(&coroutine, || coroutine.resume(&stack, 0));
        running.clear();
        running.leave();
        assert_eq!(resumed, Resumed::Returned(0));
    }

    fn interrupt_from_another_thread(running: &'static Running) {
        std::thread::spawn(move || running.interrupt(|| true)).join().expect("it ends");
    }

    fn new_running() -> &'static Running {
        Box::leak(Box::default())
    }

    #[test]
    fn only_the_workers_own_thread_sets_the_hook() {
        in_coroutine(new_running(), |stack, running| {
            let blocked = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK);
            interrupt_from_another_thread(running);
            assert!(!stack.is_hooked(), "another thread has set the hook");
            blocked.expect("the mask before").thread_set_mask().expect("the mask before");
            assert!(stack.is_hooked());
            Ok(0)
        });
    }

    #[test]
    fn a_stop_comes_before_the_task_is_left() {
        for _ in 0..100 {
            let running = new_running();
            in_coroutine(running, |_, running| {
                interrupt_from_another_thread(running);
                Ok(0)
            });
            assert!(!running.is_underway.load(Ordering::Relaxed));
        }
    }

    #[test]
    fn a_signal_from_elsewhere_stops_nothing() {
        in_coroutine(new_running(), |stack, running| {
            raise(Signal::SIGURG).expect("this thread lives");
            assert!(!stack.is_hooked());
            interrupt_from_another_thread(running);
            assert!(stack.is_hooked());
            Ok(0)
        });
        // A thread that is no worker's ignores it.
        raise(Signal::SIGURG).expect("this thread lives");
    }
}
