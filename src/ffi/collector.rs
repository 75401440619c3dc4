//! The collector of a state: when it runs, and when not.
//!
//! Lua's collector goes by a debt: memory that was taken adds to it, and above zero the collector works. Stopping it and
//! starting it again forgives the debt, so whoever does that again and again with large values lets memory grow without
//! end. Here a step of a negative size moves the debt out of reach, and one of the opposite size brings it back, with
//! all that was taken meanwhile.

use std::ffi::c_int;

use mlua::ffi as lua;

use super::protected::Protected;
use super::stack::Stack;
use crate::error::Result;
use crate::system::LARGE;

/// Further than what is built at once can reach, in KiB.
const FAR: c_int = if usize::BITS > 32 { 1 << 30 } else { 1 << 20 };

/// What is built of fewer bytes needs no care: it isn't deep, and the collector has little to walk.
const SMALL: usize = 16 << 10;

impl Stack<'_> {
    pub fn run_collector(&self, on: bool) {
        // SAFETY: `l` is live. It only sets what the collector goes by.
        unsafe { lua::lua_gc(self.l, if on { lua::LUA_GCRESTART } else { lua::LUA_GCSTOP }, 0) };
    }

    /// Keeps the collector from running until [`Stack::release_collector`]: it would only walk what is being built, and a
    /// finalizer has no room to run while a deep value fills the stack. False where it does not run anyway.
    pub fn hold_collector(&self) -> bool {
        // SAFETY: `l` is live. It only reads a flag.
        let runs = unsafe { lua::lua_gc(self.l, lua::LUA_GCISRUNNING, 0) } != 0;
        if runs {
            // SAFETY: `l` is live. No debt is so large that the collector would step now, in which a finalizer could raise.
            unsafe { lua::lua_gc(self.l, lua::LUA_GCSTEP, -FAR) };
        }
        runs
    }

    /// Lets the collector run again, at once where enough was built. What a finalizer raises is lost; what anything else
    /// raises meanwhile, a hook say, is the caller's.
    pub fn release_collector(&self) -> Result<()> {
        let released = self.protected(0, |stack| {
            // SAFETY: `l` is live. What a finalizer raises ends in this protected call.
            unsafe { lua::lua_gc(stack.l, lua::LUA_GCSTEP, FAR) };
            Ok(())
        });
        if released.is_err() {
            // The debt may not be back yet.
            self.run_collector(true);
        }
        match released {
            Err(error) if error.is_a_hooks() => Err(error),
            _ => Ok(()),
        }
    }

    /// A protected call whose `body` builds what so many bytes of a message say, without the collector.
    pub fn building<R, F>(&self, size: usize, arguments: c_int, body: F) -> Result<R>
    where
        F: FnOnce(&Protected) -> Result<R>,
    {
        let is_held = size >= SMALL && self.hold_collector();
        let outcome = self.protected(arguments, body);
        if is_held {
            self.release_collector()?;
        }
        outcome
    }

    /// As [`Stack::building`], on a host, whose allocator knows nothing of what is to come.
    pub fn building_on_host<R, F>(&self, size: usize, arguments: c_int, body: F) -> Result<R>
    where
        F: FnOnce(&Protected) -> Result<R>,
    {
        if size < LARGE {
            return self.building(size, arguments, body);
        }
        let is_held = self.hold_collector();
        let outcome = self.with_huge_pages(arguments, body);
        if is_held {
            self.release_collector()?;
        }
        outcome
    }

    /// As [`Stack::building`], for what a state gets before its code runs: the collector leaves it alone until as much
    /// again was built. To be done once for a state, or memory grows without end.
    pub fn furnishing<R, F>(&self, size: usize, arguments: c_int, body: F) -> Result<R>
    where
        F: FnOnce(&Protected) -> Result<R>,
    {
        let is_held = size >= SMALL && self.hold_collector();
        let outcome = self.protected(arguments, body);
        if is_held {
            self.run_collector(true);
            // SAFETY: `l` is live. It only reads a number.
            let kib = unsafe { lua::lua_gc(self.l, lua::LUA_GCCOUNT, 0) };
            // SAFETY: `l` is live. Restarted, the collector has no debt, so it does not step now.
            unsafe { lua::lua_gc(self.l, lua::LUA_GCSTEP, -kib.max(1)) };
        }
        outcome
    }
}
