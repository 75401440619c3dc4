//! Lua states of our own, and where their memory comes from.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use mlua::ffi as lua;

use super::stack::{Stack, api};

impl Stack {
    /// *Raises.* Opens the standard library, as much of it as this Lua was built with.
    pub fn open_libraries(&self) {
        api!(self, luaL_openlibs)
    }
}

/// What a state of our own has taken from the allocator, in bytes, and what it may take.
pub struct Account {
    used: Cell<usize>,
    limit: Cell<usize>,
    /// So many of the next allocations fail, whatever there is.
    refusals: Cell<u8>,
    /// Whether an allocation has failed because there was none, or because of the limit.
    exhausted: Cell<bool>,
}

/// Memory that is given back when the system has no more, so that there is some to report it with.
static RESERVE: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// The reserve is spent: no state of ours grows until it could be put aside anew.
static IS_DRY: AtomicBool = AtomicBool::new(false);

const RESERVE_BYTES: usize = 1 << 20;

/// Puts the reserve aside, unless it is there.
fn refill_reserve() {
    let mut reserve = RESERVE.lock().unwrap_or_else(PoisonError::into_inner);
    if reserve.capacity() > 0 || reserve.try_reserve_exact(RESERVE_BYTES).is_ok() {
        IS_DRY.store(false, Ordering::Relaxed);
    }
}

fn spend_reserve() {
    IS_DRY.store(true, Ordering::Relaxed);
    drop(std::mem::take(&mut *RESERVE.lock().unwrap_or_else(PoisonError::into_inner)));
}

impl Account {
    /// The account of a state of ours.
    pub(super) fn of(stack: &Stack) -> &Account {
        let mut account = ptr::null_mut();
        api!(stack, lua_getallocf, &mut account);
        // SAFETY: only states of ours are asked, and `OwnState::new` gave the account's address.
        unsafe { &*account.cast::<Account>() }
    }

    /// Makes the next allocation fail, and the one that Lua tries after a full collection.
    pub(super) fn refuse_next(&self) {
        self.refusals.set(2);
    }

    /// Whether a block may grow by so many bytes.
    fn allows(&self, growth: usize) -> bool {
        if self.refusals.get() > 0 {
            self.refusals.set(self.refusals.get() - 1);
            return false;
        }
        let fits = self.used.get().checked_add(growth).is_some_and(|used| used <= self.limit.get())
            && !IS_DRY.load(Ordering::Relaxed);
        if !fits {
            self.exhausted.set(true);
        }
        fits
    }

    /// The system had nothing to give.
    fn run_out(&self) {
        self.exhausted.set(true);
        spend_reserve();
    }
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
    /// An empty state that may take so many bytes, or none where that is not enough.
    pub fn new(limit: usize) -> Option<OwnState> {
        refill_reserve();
        let account = Box::new(Account {
            used: Cell::new(0),
            limit: Cell::new(limit),
            refusals: Cell::new(0),
            exhausted: Cell::new(false),
        });
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

    /// Sets how many bytes the state may take.
    pub fn set_limit(&self, limit: usize) {
        self.account.limit.set(limit);
    }

    /// Whether memory has ever run out in this state.
    pub fn is_exhausted(&self) -> bool {
        self.account.exhausted.get()
    }
}

impl Drop for OwnState {
    fn drop(&mut self) {
        // SAFETY: the state is ours, live, and not running: this is the one place that closes it.
        unsafe { lua::lua_close(self.l) }
        if self.account.exhausted.get() {
            refill_reserve();
        }
    }
}

/// What malloc promises on the platforms we serve, and enough for every object of Lua's.
const ALIGNMENT: usize = 16;

/// `lua_Alloc` over the system's allocator, without the spare area that this library has after it. Lua passes
/// the old size, so no block needs a header.
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
    if new > old && !account.allows(new - old) {
        return ptr::null_mut();
    }
    let result = if new == 0 {
        if old > 0 {
            // SAFETY: Lua gives back a block of ours with the size it asked for.
            unsafe { System.dealloc(block.cast(), old_layout) };
        }
        ptr::null_mut()
    } else if old == 0 {
        // SAFETY: the layout's size is not zero.
        unsafe { System.alloc(new_layout) }
    } else {
        // SAFETY: the block is ours, has this layout, and the new size is not zero.
        unsafe { System.realloc(block.cast(), old_layout, new) }
    };
    if new == 0 || !result.is_null() {
        account.used.set(account.used.get() + new - old);
    } else {
        account.run_out();
    }
    result.cast()
}
