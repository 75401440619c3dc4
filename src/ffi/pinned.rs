//! Texts of a state whose bytes other threads read.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::ops::Deref;
use std::sync::Arc;

use mlua::ffi as lua;
use rustc_hash::FxHashMap;

use super::stack::Stack;
use super::types::Type;
use crate::error::Result;
use crate::pinned::{PinnedTexts, Uses};

/// The bytes of a pinned text. [`Stack::with_pins`] ends only after each was dropped.
#[derive(Debug)]
pub struct PinnedBytes {
    start: *const u8,
    length: usize,
    uses: Arc<Uses>,
}

// SAFETY: the bytes of a string never change, so any thread may read them.
unsafe impl Send for PinnedBytes {}
// SAFETY: as above.
unsafe impl Sync for PinnedBytes {}

impl Deref for PinnedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `Pins::pin` found a string of this length there, which Lua does not move. The registry keeps it
        // until `Pins` is dropped, which waits for this value's drop. The state lives at least as long.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }
}

impl Drop for PinnedBytes {
    fn drop(&mut self) {
        self.uses.remove();
    }
}

/// Pins texts of one state.
pub struct Pins<'s> {
    stack: Stack<'s>,
    /// None until the first text is pinned.
    pinned: RefCell<Option<Pinned>>,
    /// The tasks whose messages are being written can't begin at once.
    are_late: Cell<bool>,
}

struct Pinned {
    texts: Arc<PinnedTexts<PinnedBytes>>,
    uses: Arc<Uses>,
    /// The number of each text, by its address.
    numbers: FxHashMap<usize, usize>,
}

impl Stack<'_> {
    /// Calls `body`, which may pin texts of this state. Returns once no thread can read their bytes any more. No stack is
    /// [`Send`], so `body` has only the one it gets, whose methods don't raise: no error passes by the end of the pins.
    pub fn with_pins<R>(&self, body: impl FnOnce(&Stack, &Pins) -> R + Send) -> R {
        let pins = Pins { stack: *self, pinned: RefCell::default(), are_late: Cell::new(false) };
        body(self, &pins)
    }
}

impl Pins<'_> {
    /// Pins the text at an index of a stack of this state, unless it is pinned, and returns its number. One message will refer
    /// to it.
    pub fn pin(&self, stack: &Stack, index: c_int) -> Result<usize> {
        self.stack.assert_same_state(stack);
        assert!(stack.kind(index) == Type::String, "only a string can be pinned");
        let mut length = 0;
        // SAFETY: `l` is live, and the value is a string: nothing is converted, so nothing raised.
        let start = unsafe { lua::lua_tolstring(stack.l, index, &mut length) }.cast::<u8>();
        let mut pinned = self.pinned.borrow_mut();
        let Pinned { texts, uses, numbers } = pinned.get_or_insert_with(|| Pinned {
            texts: Arc::default(),
            uses: Arc::default(),
            numbers: FxHashMap::default(),
        });
        if let Some(number) = numbers.get(&(start as usize)) {
            texts.add_message(*number, self.are_late.get());
            return Ok(*number);
        }
        numbers.try_reserve(1)?;
        anchor(stack, index, key(uses), numbers.len())?;
        uses.add();
        let bytes = PinnedBytes { start, length, uses: Arc::clone(uses) };
        let number = texts.add(bytes, self.are_late.get())?;
        numbers.insert(start as usize, number);
        Ok(number)
    }

    /// Notes that from now on, the messages are those of tasks that can't begin at once.
    pub fn begin_late(&self) {
        self.are_late.set(true);
    }

    /// The texts that were pinned, for those that will read them.
    pub fn texts(&self) -> Option<Arc<PinnedTexts<PinnedBytes>>> {
        self.pinned.borrow().as_ref().map(|pinned| Arc::clone(&pinned.texts))
    }

    /// Waits until tasks that can begin at once have read their texts, for about as long as copying them takes.
    pub fn wait(&self) {
        if let Some(Pinned { texts, uses, .. }) = &*self.pinned.borrow() {
            texts.keep_late();
            uses.wait_for(texts.patience());
        }
    }
}

impl Drop for Pins<'_> {
    fn drop(&mut self) {
        let Some(Pinned { texts, uses, .. }) = self.pinned.take() else { return };
        if Arc::strong_count(&texts) > 1 {
            texts.keep_all();
        }
        drop(texts);
        uses.wait();
        let (l, key) = (self.stack.l, key(&uses));
        if self.stack.check(1) {
            // SAFETY: `l` is live and has room for a value; the registry is a table. If it has the key, setting its value takes
            // no memory and raises nothing.
            unsafe {
                let is_there = lua::lua_rawgetp(l, lua::LUA_REGISTRYINDEX, key) == lua::LUA_TTABLE;
                self.stack.pop(1);
                if is_there {
                    self.stack.push_nil();
                    lua::lua_rawsetp(l, lua::LUA_REGISTRYINDEX, key);
                }
            }
        }
    }
}

/// The key, in the registry, of the table of the texts. Nothing else of the process has this address meanwhile.
fn key(uses: &Arc<Uses>) -> *const c_void {
    Arc::as_ptr(uses).cast()
}

/// Puts the text at an index into the table in the registry that has this key and so many texts.
fn anchor(stack: &Stack, index: c_int, key: *const c_void, count: usize) -> Result<()> {
    stack.push_value(index);
    stack.protected(1, |stack| {
        // SAFETY: `l` is live and has room for the value; the registry is a table.
        if unsafe { lua::lua_rawgetp(stack.l, lua::LUA_REGISTRYINDEX, key) } != lua::LUA_TTABLE {
            stack.pop(1);
            stack.create_table(1, 0);
            stack.push_value(-1);
            // SAFETY: `l` is live; the registry is a table, and a value is on top.
            unsafe { lua::lua_rawsetp(stack.l, lua::LUA_REGISTRYINDEX, key) };
        }
        stack.push_value(1);
        stack.raw_set_i(2, count as i64 + 1);
        stack.set_top(0);
        Ok(())
    })
}
