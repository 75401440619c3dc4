//! Lua states of our own, and where their memory comes from.

use std::alloc::{Layout, alloc, dealloc, realloc};
use std::cell::Cell;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr;

use mlua::ffi as lua;

use super::stack::{Stack, api};

impl Stack {
    /// *Raises.* Opens the standard library, as much of it as this Lua was built with.
    pub fn open_libraries(&self) {
        api!(self, luaL_openlibs)
    }
}

/// What a state of our own has taken from the allocator, in bytes.
pub struct Account {
    used: Cell<usize>,
}

/// A Lua state of our own, with an allocator that keeps its account. Closed when dropped.
///
/// `!Send`: made, used and closed on one thread.
pub struct OwnState {
    l: *mut lua::lua_State,
    /// Boxed: the allocator holds its address for as long as the state lives.
    account: Box<Account>,
    _not_send: PhantomData<*mut ()>,
}

impl OwnState {
    /// An empty state, or none where memory ran out.
    pub fn new() -> Option<OwnState> {
        let account = Box::new(Account { used: Cell::new(0) });
        // SAFETY: `allocate` keeps to `lua_Alloc`'s contract, and its account outlives the state.
        let l = unsafe { lua::lua_newstate(allocate, ptr::from_ref(&*account).cast_mut().cast()) };
        (!l.is_null()).then(|| OwnState { l, account, _not_send: PhantomData })
    }

    pub fn stack(&self) -> Stack {
        // SAFETY: the state lives until `self` is dropped, and `self` can't leave this thread.
        unsafe { Stack::new(self.l) }
    }

    /// Bytes in use, from the allocator's own account.
    pub fn memory(&self) -> usize {
        self.account.used.get()
    }
}

impl Drop for OwnState {
    fn drop(&mut self) {
        // SAFETY: the state is ours, live, and not running: this is the one place that closes it.
        unsafe { lua::lua_close(self.l) }
    }
}

/// What malloc promises on the platforms we serve, and enough for every object of Lua's.
const ALIGNMENT: usize = 16;

/// `lua_Alloc` over Rust's allocator: Lua passes the old size, so no block needs a header.
unsafe extern "C" fn allocate(
    account: *mut c_void,
    block: *mut c_void,
    old: usize,
    new: usize,
) -> *mut c_void {
    // SAFETY: `OwnState::new` gave the account's address, and the account outlives its state.
    let account = unsafe { &*account.cast::<Account>() };
    let old = if block.is_null() { 0 } else { old };
    let layout = |size| Layout::from_size_align(size, ALIGNMENT);
    let (Ok(old_layout), Ok(new_layout)) = (layout(old), layout(new)) else {
        return ptr::null_mut();
    };
    let result = if new == 0 {
        if old > 0 {
            // SAFETY: Lua gives back a block of ours with the size it asked for.
            unsafe { dealloc(block.cast(), old_layout) };
        }
        ptr::null_mut()
    } else if old == 0 {
        // SAFETY: the layout's size is not zero.
        unsafe { alloc(new_layout) }
    } else {
        // SAFETY: the block is ours, has this layout, and the new size is not zero.
        unsafe { realloc(block.cast(), old_layout, new) }
    };
    if new == 0 || !result.is_null() {
        account.used.set(account.used.get() + new - old);
    }
    result.cast()
}
