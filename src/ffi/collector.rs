//! When the collector of a state runs, and when it doesn't.
//!
//! Lua's collector goes by a debt: memory that is taken adds to it, and above zero the collector works. Stopping the
//! collector and starting it again forgives the debt, so doing that around each large value would let memory grow without
//! end. Here a step of a negative size moves the debt out of reach, and a step of the opposite size brings it back, with
//! all that was taken meanwhile.

use std::ffi::c_int;

use mlua::ffi as lua;

use super::protected::Protected;
use super::stack::Stack;
use crate::error::Result;
use crate::system::LARGE;

/// More than any value takes, in KiB.
const FAR: c_int = if usize::BITS > 32 { 1 << 30 } else { 1 << 20 };

/// Values of smaller messages are built with the collector running: they are not deep, and it has little to walk.
const SMALL: usize = 16 << 10;

impl Stack<'_> {
    pub fn run_collector(&self, on: bool) {
        // SAFETY: `l` is live. This only sets the debt and a flag.
        unsafe { lua::lua_gc(self.l, if on { lua::LUA_GCRESTART } else { lua::LUA_GCSTOP }, 0) };
    }

    /// Keeps the collector from running until [`Stack::unpause_collector`]. It would only walk the value that is being
    /// built, and a finalizer has no room to run while a deep value fills the stack. False if it does not run anyway.
    pub fn pause_collector(&self) -> bool {
        // SAFETY: `l` is live. This only reads a flag.
        let runs = unsafe { lua::lua_gc(self.l, lua::LUA_GCISRUNNING, 0) } != 0;
        if runs {
            // SAFETY: `l` is live. No debt is so large that the collector would step now, and a finalizer raise.
            unsafe { lua::lua_gc(self.l, lua::LUA_GCSTEP, -FAR) };
        }
        runs
    }

    /// As [`Stack::pause_collector`], for the values of a message of so many bytes; false, too, if they are few.
    pub fn pause_collector_for(&self, size: usize) -> bool {
        size >= SMALL && self.pause_collector()
    }

    /// Lets the collector run again; it steps at once if its debt calls for that. An error of a finalizer is dropped, any
    /// other (a hook's, say) is returned.
    pub fn unpause_collector(&self) -> Result<()> {
        let unpaused = self.protected(0, |stack| {
            // SAFETY: `l` is live. An error of a finalizer ends in this protected call.
            unsafe { lua::lua_gc(stack.l, lua::LUA_GCSTEP, FAR) };
            Ok(())
        });
        if unpaused.is_err() {
            // The debt may not be back yet.
            self.run_collector(true);
        }
        match unpaused {
            Err(error) if error.is_a_hooks() => Err(error),
            _ => Ok(()),
        }
    }

    /// A protected call with the collector paused. `body` builds the values of a message of so many bytes.
    pub fn with_collector_paused<R, F>(&self, size: usize, arguments: c_int, body: F) -> Result<R>
    where
        F: FnOnce(&Protected) -> Result<R>,
    {
        let is_paused = size >= SMALL && self.pause_collector();
        let outcome = self.protected(arguments, body);
        if is_paused {
            self.unpause_collector()?;
        }
        outcome
    }

    /// As [`Stack::with_collector_paused`], for a host's state, whose allocator does not ask for huge pages itself.
    pub fn with_collector_paused_on_host<R, F>(&self, size: usize, arguments: c_int, body: F) -> Result<R>
    where
        F: FnOnce(&Protected) -> Result<R>,
    {
        let is_paused = self.pause_collector_for(size);
        let outcome = self.with_large_blocks(size, arguments, body);
        if is_paused {
            self.unpause_collector()?;
        }
        outcome
    }

    /// A protected call in a host's state that builds the values of a message of so many bytes. The collector is paused already.
    pub fn with_large_blocks<R, F>(&self, size: usize, arguments: c_int, body: F) -> Result<R>
    where
        F: FnOnce(&Protected) -> Result<R>,
    {
        if size < LARGE { self.protected(arguments, body) } else { self.with_huge_pages(arguments, body) }
    }

    /// As [`Stack::with_collector_paused`], for values that a state gets before its code runs: the collector then waits
    /// until as much again was built. Only for the first values of a state, or its memory would grow without end.
    pub fn with_collector_postponed<R, F>(&self, size: usize, arguments: c_int, body: F) -> Result<R>
    where
        F: FnOnce(&Protected) -> Result<R>,
    {
        let is_paused = size >= SMALL && self.pause_collector();
        let outcome = self.protected(arguments, body);
        if is_paused {
            self.run_collector_late();
        }
        outcome
    }

    /// Lets the collector run again once as much was built as there is now.
    pub fn run_collector_late(&self) {
        self.run_collector(true);
        // SAFETY: `l` is live. This only reads a number.
        let kib = unsafe { lua::lua_gc(self.l, lua::LUA_GCCOUNT, 0) };
        // SAFETY: `l` is live. Restarted, the collector has no debt, so it does not step now.
        unsafe { lua::lua_gc(self.l, lua::LUA_GCSTEP, -kib.max(1)) };
    }
}
