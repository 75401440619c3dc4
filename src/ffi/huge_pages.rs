//! Huge pages for large values that are built in a host's state.

use std::ffi::c_int;
#[cfg(target_os = "linux")]
use std::ffi::c_void;
#[cfg(target_os = "linux")]
use std::ptr;

#[cfg(target_os = "linux")]
use mlua::ffi as lua;

use super::protected::Protected;
use super::stack::Stack;
use crate::error::Result;
#[cfg(target_os = "linux")]
use crate::system::expect_filling;

#[cfg(not(target_os = "linux"))]
impl Stack<'_> {
    /// A protected call.
    pub fn with_huge_pages<R, F>(&self, arguments: c_int, body: F) -> Result<R>
    where
        F: FnOnce(&Protected) -> Result<R>,
    {
        self.protected(arguments, body)
    }
}

/// A host's own allocator, for as long as another one is in its place.
#[cfg(target_os = "linux")]
struct Allocator<'a> {
    stack: &'a Stack<'a>,
    allocate: lua::lua_Alloc,
    data: *mut c_void,
}

#[cfg(target_os = "linux")]
impl Drop for Allocator<'_> {
    fn drop(&mut self) {
        // SAFETY: `l` is live; this is the allocator that it had.
        unsafe { lua::lua_setallocf(self.stack.l, self.allocate, self.data) };
    }
}

#[cfg(target_os = "linux")]
impl Stack<'_> {
    /// A protected call whose `body` builds a large value. The system is told of each large block that the host's allocator
    /// gives meanwhile ([`expect_filling`]).
    pub fn with_huge_pages<R, F>(&self, arguments: c_int, body: F) -> Result<R>
    where
        F: FnOnce(&Protected) -> Result<R>,
    {
        let mut data = ptr::null_mut();
        // SAFETY: `l` is live.
        let allocate = unsafe { lua::lua_getallocf(self.l, &mut data) };
        let mut own = Allocator { stack: self, allocate, data };
        // SAFETY: `l` is live. Dropping `own` takes it out again, which neither an error nor a panic passes by.
        unsafe { lua::lua_setallocf(self.l, expecting, ptr::from_mut(&mut own).cast()) };
        self.protected(arguments, body)
    }
}

/// A `lua_Alloc` over the host's own.
#[cfg(target_os = "linux")]
unsafe extern "C" fn expecting(own: *mut c_void, block: *mut c_void, old: usize, new: usize) -> *mut c_void {
    // SAFETY: `with_huge_pages` gave the allocator, which outlives its place in the state. It gets Lua's arguments
    // unchanged.
    let block = unsafe {
        let own = &*own.cast::<Allocator>();
        (own.allocate)(own.data, block, old, new)
    };
    if !block.is_null() {
        expect_filling(block.cast(), new);
    }
    block
}

#[cfg(all(test, target_os = "linux", feature = "linked"))]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::ffi::OwnState;
    use crate::system::LARGE;

    fn allocator(stack: &Stack) -> (usize, *mut c_void) {
        let mut data = ptr::null_mut();
        // SAFETY: `l` is live.
        let allocate = unsafe { lua::lua_getallocf(stack.l, &mut data) };
        (allocate as usize, data)
    }

    #[test]
    fn a_host_gets_its_own_allocator_back() {
        let state = OwnState::new(1 << 30).expect("a state can be made");
        let stack = state.stack();
        let before = allocator(&stack);
        let text = vec![b'x'; LARGE + 1];
        for fails in [false, true] {
            let outcome = stack.with_huge_pages(0, |stack| {
                assert_ne!(allocator(stack), before);
                stack.push_bytes(&text);
                if fails { Err(Error::Memory) } else { Ok(()) }
            });
            assert_eq!((outcome.is_err(), allocator(&stack)), (fails, before));
        }
        assert!(stack.has_bytes(1, &text));
    }
}
