//! The collector of a state: when it runs, and when not.
//!
//! Lua's collector goes by a debt: memory that was taken adds to it, and above zero the collector works. Stopping it and
//! starting it again forgives the debt, so whoever does that again and again with large values lets memory grow without
//! end. Here a step of a negative size moves the debt out of reach, and one of the opposite size brings it back, with
//! all that was taken meanwhile.

use std::ffi::c_int;

use mlua::ffi as lua;

use super::protected::Protected;
use super::stack::{Stack, api};
use crate::error::Result;
use crate::system::LARGE;

/// Further than what is built at once can reach, in KiB.
const FAR: c_int = if usize::BITS > 32 { 1 << 30 } else { 1 << 20 };

/// What is built of fewer bytes needs no care: it isn't deep, and the collector has little to walk.
const SMALL: usize = 16 << 10;

impl Stack<'_> {
    pub fn run_collector(&self, on: bool) {
        api!(self, lua_gc, if on { lua::LUA_GCRESTART } else { lua::LUA_GCSTOP }, 0);
    }

    /// Keeps the collector from running until [`Stack::release_collector`]: it would only walk what is being built, and a
    /// finalizer has no room to run while a deep value fills the stack. False where it does not run anyway.
    pub fn hold_collector(&self) -> bool {
        let runs = api!(self, lua_gc, lua::LUA_GCISRUNNING, 0) != 0;
        if runs {
            // Nothing owes so much that the collector would step now, and a finalizer raise.
            api!(self, lua_gc, lua::LUA_GCSTEP, -FAR);
        }
        runs
    }

    /// Lets the collector run again, at once where enough was built. What a finalizer raises is lost; what anything else
    /// raises meanwhile, a hook say, is the caller's.
    pub fn release_collector(&self) -> Result<()> {
        let released = self.protected(0, |stack| {
            api!(stack, lua_gc, lua::LUA_GCSTEP, FAR);
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
            let kib = api!(self, lua_gc, lua::LUA_GCCOUNT, 0);
            // Restarted, it owes nothing, so it does not step now.
            api!(self, lua_gc, lua::LUA_GCSTEP, -kib.max(1));
        }
        outcome
    }
}
