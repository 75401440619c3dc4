//! Lua states of our own, and where their memory comes from.

use std::cell::{Cell, UnsafeCell};
use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::ptr;

use mlua::ffi as lua;

#[cfg(any(fuzzing, all(test, feature = "linked")))]
use super::protected::Protected;
use super::stack::Stack;
use super::version;
use crate::error::{Error, Result};
use crate::system::{self, Arena};

impl Stack<'_> {
    /// How many more bytes a state of ours may use. No limit is known for other states.
    pub fn memory_left(&self) -> usize {
        let left = |account: &Account| account.limit.get().saturating_sub(account.used.get());
        Account::of(self).map_or(usize::MAX, left)
    }
}

/// How many bytes a state of our own uses, and how many it may use.
pub struct Account {
    used: Cell<usize>,
    limit: Cell<usize>,
    /// How many of the next allocations fail, however much memory there is.
    refusals: Cell<u8>,
    /// Whether an allocation has failed, for lack of memory or because of the limit.
    exhausted: Cell<bool>,
}

/// The memory of a state of our own.
struct Heap {
    account: Account,
    /// Used by the allocator while Lua runs, and by [`OwnState`] between calls into Lua.
    arena: UnsafeCell<Arena>,
}

impl Account {
    /// The account of a state of ours. Other states have other allocators.
    pub(super) fn of<'a>(stack: &'a Stack) -> Option<&'a Account> {
        let mut heap = ptr::null_mut();
        // SAFETY: `l` is live.
        let allocator = unsafe { lua::lua_getallocf(stack.l, &mut heap) };
        // SAFETY: the state has our allocator, so `OwnState::new` gave the heap's address, and it outlives the state.
        (allocator as usize == ALLOCATE as usize).then(|| unsafe { &(*heap.cast::<Heap>()).account })
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
        let fits = self.used.get().checked_add(growth).is_some_and(|used| used <= self.limit.get());
        if !fits {
            self.exhausted.set(true);
        }
        fits
    }
}

/// A Lua state of our own, with an allocator that accounts for its memory, and snapshots that it can be restored to.
///
/// It is `!Send`: made, used and closed (by its drop) on one thread.
pub struct OwnState {
    l: *mut lua::lua_State,
    /// Boxed: the allocator holds its address for as long as the state lives.
    heap: Box<Heap>,
    /// The bytes in use in each snapshot.
    snapshots: Vec<usize>,
    _not_send: PhantomData<*mut ()>,
}

impl OwnState {
    /// An empty state that may use so many bytes; none if they are too few.
    pub fn new(limit: usize) -> Option<OwnState> {
        system::put_aside(system::LITTLE);
        let account = Account {
            used: Cell::new(0),
            limit: Cell::new(limit),
            refusals: Cell::new(0),
            exhausted: Cell::new(false),
        };
        let heap = Box::new(Heap { account, arena: UnsafeCell::new(Arena::new()) });
        // SAFETY: `allocate` keeps to `lua_Alloc`'s contract, and its heap outlives the state.
        let l = unsafe { lua::lua_newstate(ALLOCATE, ptr::from_ref(&*heap).cast_mut().cast()) };
        if !l.is_null() {
            // SAFETY: the state is new and live.
            unsafe { version::show_warnings(l) };
        }
        (!l.is_null()).then(|| OwnState { l, heap, snapshots: Vec::new(), _not_send: PhantomData })
    }

    pub fn stack(&self) -> Stack<'_> {
        // SAFETY: the state lives until `self` is dropped, and `self` can't leave this thread.
        unsafe { Stack::new(self.l) }
    }

    /// The state outside of any protected call, for tests: an error that is raised there ends the process.
    #[cfg(any(fuzzing, all(test, feature = "linked")))]
    pub fn unprotected(&self) -> Protected<'_> {
        // SAFETY: as above; without a protected call to jump to, Lua aborts.
        unsafe { Protected::new(self.l) }
    }

    /// The coroutine at an index of the state's stack. It has to stay there.
    pub fn thread(&self, index: c_int) -> Option<Stack<'_>> {
        // SAFETY: as above, of the coroutine, too.
        self.stack().thread(index).map(|stack| unsafe { Stack::new(stack.l) })
    }

    /// Takes a snapshot of the whole state, above those that were taken before.
    pub fn snapshot(&mut self) -> Result<()> {
        self.snapshots.try_reserve(1)?;
        if !self.heap.arena.get_mut().take_snapshot() {
            return Err(Error::Memory);
        }
        self.snapshots.push(self.memory());
        Ok(())
    }

    /// Restores the `level`-th snapshot, from 1, and drops those above it. Without such a snapshot the state stays as it is:
    /// no code has run since it would have been taken. Effects outside of the state's memory stay, too: opened files, loaded
    /// libraries.
    pub fn restore(&mut self, level: usize) {
        if level > self.snapshots.len() {
            return;
        }
        // SAFETY: nothing else uses the state: each `Stack` borrows it, and a coroutine that another thread interrupts is one
        // that a `Stack` runs.
        unsafe { self.heap.arena.get_mut().restore(level) };
        self.snapshots.truncate(level);
        self.heap.account.used.set(self.snapshots.last().copied().unwrap_or(0));
    }

    /// How many more bytes are in use than in the last snapshot.
    pub fn growth(&self) -> usize {
        self.memory().saturating_sub(self.snapshots.last().copied().unwrap_or(0))
    }

    /// Forgets all snapshots, and frees the memory that the state does not use.
    pub fn forget_snapshots(&mut self) {
        let arena = self.heap.arena.get_mut();
        arena.forget_snapshots();
        arena.trim();
        self.snapshots.clear();
    }

    /// The bytes that the state holds, in use or not, besides its snapshots.
    pub fn held(&mut self) -> usize {
        self.heap.arena.get_mut().held()
    }

    /// Bytes in use.
    pub fn memory(&self) -> usize {
        self.heap.account.used.get()
    }

    /// Sets how many bytes the state may use.
    pub fn set_limit(&self, limit: usize) {
        self.heap.account.limit.set(limit);
    }

    /// Whether memory has ever run out in this state.
    pub fn is_exhausted(&self) -> bool {
        self.heap.account.exhausted.get()
    }
}

impl Drop for OwnState {
    fn drop(&mut self) {
        // SAFETY: the state is live and not running, since nothing borrows it. Only this closes it.
        unsafe { lua::lua_close(self.l) }
    }
}

/// The one address of the allocator that tells our states from others.
static ALLOCATE: lua::lua_Alloc = allocate;

/// `lua_Alloc` over the state's arena.
unsafe extern "C" fn allocate(heap: *mut c_void, block: *mut c_void, old: usize, new: usize) -> *mut c_void {
    // SAFETY: `OwnState::new` gave the heap's address, and the heap outlives its state; Lua calls from the state's
    // thread alone, one call at a time, while nothing else uses the arena.
    let (account, arena) = unsafe {
        let heap = heap.cast::<Heap>();
        (&(*heap).account, &mut *(*heap).arena.get())
    };
    let old = if block.is_null() { 0 } else { old };
    if new > old && !account.allows(new - old) {
        return ptr::null_mut();
    }
    // SAFETY: Lua gives back a block of ours with the size it asked for.
    let result = unsafe {
        match (old, new) {
            (0, 0) => ptr::null_mut(),
            (0, new) => arena.allocate(new),
            (old, 0) => {
                arena.free(block.cast(), old);
                ptr::null_mut()
            }
            (old, new) => arena.resize(block.cast(), old, new),
        }
    };
    if new == 0 || !result.is_null() {
        account.used.set(account.used.get() + new - old);
    } else {
        account.exhausted.set(true);
    }
    result.cast()
}
