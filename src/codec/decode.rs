//! Decodes a message onto a state's stack.
//!
//! Runs on the state's thread, in its own protected call, with the collector paused if the message is large. Running out of
//! memory is an error and leaves nothing on the stack. Like [`crate::codec::encode`], it keeps one or two slots of Lua's stack
//! for each level, and continues on the stack of a new coroutine when one is full. A malformed message is an error.

pub mod blocks;
mod common;
mod functions;
mod plain;
mod tables;

use std::ffi::c_int;

use crate::codec::wire::{self, HAS_PINNED, HAS_SHARED, Reader, SHARED, truncated};
use crate::error::{Error, Result};
use crate::fault;
use crate::ffi::{PinnedBytes, Protected, Stack, Type};
use crate::pinned::PinnedTexts;

use tables::Metatable;

pub use common::decode_common;

/// Finds functions and tables by name in a state.
pub trait Resolve {
    /// Pushes the function or table of this name.
    fn push_named(&self, stack: &Protected, name: &str) -> Result<()>;
}

/// Pushes a message's values and returns their count, in its own protected call.
pub fn decode(stack: &Stack, message: &[u8], names: &dyn Resolve) -> Result<c_int> {
    if let Some(count) = decode_scalars(stack, message)? {
        return Ok(count);
    }
    let mut decoder = Decoder::new(names);
    stack.with_collector_paused(message.len(), 0, |stack| decoder.message(stack, message))
}

/// Like [`decode_initial`], for the arguments of a task, which may be pinned texts.
pub fn decode_arguments(
    stack: &Stack,
    message: &[u8],
    pinned: Option<&Pinned>,
    names: &dyn Resolve,
) -> Result<c_int> {
    if let Some(count) = decode_scalars(stack, message)? {
        return Ok(count);
    }
    let mut decoder = Decoder::new(names);
    decoder.pinned = pinned;
    let has_pinned = message.first().is_some_and(|flags| flags & HAS_PINNED != 0);
    let size = if has_pinned { usize::MAX } else { message.len() };
    stack.with_collector_postponed(size, 0, |stack| decoder.message(stack, message))
}

/// The pinned texts of a job.
pub type Pinned = PinnedTexts<PinnedBytes>;

/// Like [`decode`], for values that a state gets once, before its code runs. The collector then waits until that code has
/// allocated as much again.
pub fn decode_initial(stack: &Stack, message: &[u8], names: &dyn Resolve) -> Result<c_int> {
    if let Some(count) = decode_scalars(stack, message)? {
        return Ok(count);
    }
    let mut decoder = Decoder::new(names);
    stack.with_collector_postponed(message.len(), 0, |stack| decoder.message(stack, message))
}

/// Like [`decode`], for a few values that need no allocation. Pushes nothing if the message has any other value.
pub fn decode_scalars(stack: &Stack, message: &[u8]) -> Result<Option<c_int>> {
    // Lua guarantees twenty free slots to a function and to a new coroutine.
    const FEW: u32 = 8;
    let mut reader = Reader::new(message);
    let (flags, count) = (reader.byte().ok_or_else(truncated)?, reader.u32().ok_or_else(truncated)?);
    if flags != 0 || count > FEW || !holds_scalars(message, count) {
        return Ok(None);
    }
    fault::point("decode")?;
    for _ in 0..count {
        match reader.byte().ok_or_else(truncated)? {
            wire::INTEGER => stack.push_integer(reader.u64().ok_or_else(truncated)?.cast_signed()),
            wire::FLOAT => stack.push_number(f64::from_bits(reader.u64().ok_or_else(truncated)?)),
            wire::NIL => stack.push_nil(),
            tag => stack.push_boolean(tag == wire::TRUE),
        }
    }
    Ok(Some(count as c_int))
}

/// Whether a message has exactly `count` numbers, booleans and nils, and is complete.
fn holds_scalars(message: &[u8], count: u32) -> bool {
    let mut reader = Reader::new(message);
    reader.slice(wire::HEADER).is_some()
        && (0..count).all(|_| match reader.byte() {
            Some(wire::INTEGER | wire::FLOAT) => reader.u64().is_some(),
            Some(wire::NIL | wire::FALSE | wire::TRUE) => true,
            _ => false,
        })
}

/// The destination of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Destination {
    /// The stack: a value of the message, or a key whose value follows.
    Top,
    Item(u32),
    Field,
    Upvalue(c_int),
}

/// A table whose entries are still being read.
#[derive(Clone, Copy, Debug)]
struct PartialTable {
    slot: c_int,
    /// How many array items have been read.
    array: u32,
    array_size: u32,
    record_left: u32,
    /// A key is on the stack; its value is read next.
    has_key: bool,
}

/// A function whose upvalues are still being read.
#[derive(Debug)]
struct PartialFunction {
    slot: c_int,
    /// The last upvalue that was read, from 1.
    upvalue: c_int,
    count: c_int,
}

#[derive(Debug)]
enum Partial {
    Table(PartialTable),
    Function(PartialFunction),
}

#[derive(Debug)]
struct Unfinished {
    value: Partial,
    /// Where it goes when it is complete. Until then it is on the stack, above its key if it has one.
    destination: Destination,
}

/// Reads one message after another.
pub struct Decoder<'a> {
    reader: Reader<'a>,
    names: &'a dyn Resolve,
    pinned: Option<&'a Pinned>,
    unfinished: Vec<Unfinished>,
    has_shared: bool,
    /// The slot of the table of shared objects, on the stack in use. The slot above it is for the table of keys, and those above
    /// that are for the first [`STACKED_KEYS`] keys.
    shared_slot: c_int,
    /// There is room for a level at this slot of the stack in use, and at all below.
    room: c_int,
    next_id: i64,
    /// The number of long texts read. Shared ones are in the table of shared objects too, at negative numbers.
    texts: i64,
    /// The number of numbered keys.
    keys: i64,
    has_keys: bool,
    /// How many more values the message's tables may announce. Each takes at least one byte of the message, so a forged message
    /// can't claim much memory.
    unannounced: u64,
    /// The message comes in blocks. At the end of one, the unfinished tables are in `paused`.
    in_blocks: bool,
    paused: Vec<Unfinished>,
    /// How many stacks of the coroutines that continue a full one are in use.
    extra_stacks: u32,
}

/// The number of keys that are kept on the stack, where they are found faster than in a table. Enough for most messages.
const STACKED_KEYS: c_int = 8;

/// The number of slots below a message's values.
const BELOW: c_int = 2 + STACKED_KEYS;

/// The most stack slots that one level needs.
const LEVEL: c_int = 10;

/// The number, in the table of shared objects, of the object with this id. A forged id may be too large; it then gets a number
/// that no object has.
fn shared_number(id: usize) -> i64 {
    i64::try_from(id).map_or(i64::MAX, |id| id.saturating_add(1))
}

impl<'a> Decoder<'a> {
    pub fn new(names: &'a dyn Resolve) -> Decoder<'a> {
        Decoder {
            reader: Reader::new(&[]),
            names,
            pinned: None,
            unfinished: Vec::new(),
            has_shared: false,
            shared_slot: 0,
            room: 0,
            next_id: 0,
            texts: 0,
            keys: 0,
            has_keys: false,
            unannounced: 0,
            in_blocks: false,
            paused: Vec::new(),
            extra_stacks: 0,
        }
    }

    /// Pushes a message's values and returns their count.
    pub fn message(&mut self, stack: &Protected, message: &'a [u8]) -> Result<c_int> {
        let base = stack.top() + 1;
        let count = self.values(stack, message)?;
        stack.remove_range(base, BELOW);
        Ok(count)
    }

    /// Pushes the table of shared objects, the keys, and a message's values. Returns the count of the values.
    fn values(&mut self, stack: &Protected, message: &'a [u8]) -> Result<c_int> {
        fault::point("decode")?;
        self.reader = Reader::new(message);
        self.unfinished.clear();
        self.extra_stacks = 0;
        self.next_id = 0;
        self.texts = 0;
        self.keys = 0;
        self.has_keys = false;
        self.room = 0;
        self.unannounced = message.len() as u64;
        self.has_shared = self.reader.byte().ok_or_else(truncated)? & HAS_SHARED != 0;
        let count = self.reader.u32().ok_or_else(truncated)?;
        if !stack.check(BELOW) {
            return Err(Error::Memory);
        }
        if self.has_shared {
            stack.create_table(0, 0);
        } else {
            stack.push_nil();
        }
        self.shared_slot = stack.top();
        let base = self.shared_slot;
        // Reserves the slots for the keys.
        stack.set_top(base + BELOW - 1);
        for _ in 0..count {
            if !stack.check(LEVEL) {
                return Err(Error::Memory);
            }
            self.value(stack, Destination::Top)?;
            self.build(stack, 0)?;
        }
        Ok(stack.top() - base - BELOW + 1)
    }

    /// Completes the unfinished tables and functions, except the first `floor`.
    fn build(&mut self, here: &Protected, floor: usize) -> Result<()> {
        while self.unfinished.len() > floor {
            match self.unfinished.last_mut().map(|unfinished| &mut unfinished.value) {
                Some(Partial::Table(table)) => {
                    let begun = *table;
                    self.fields(here, begun)?;
                }
                Some(Partial::Function(function)) if function.upvalue < function.count => {
                    function.upvalue += 1;
                    let destination = Destination::Upvalue(function.upvalue);
                    self.value(here, destination)?;
                }
                _ => self.finish(here)?,
            }
        }
        Ok(())
    }

    /// Reads one value and puts it into its destination; a table or function is then unfinished.
    fn value(&mut self, here: &Protected, destination: Destination) -> Result<()> {
        let tag = self.reader.byte().ok_or_else(truncated)?;
        if self.push_plain(here, tag).ok_or_else(truncated)? {
            return self.store(here, destination);
        }
        self.tagged_value(here, tag, destination)
    }

    /// Like [`Decoder::value`], after `push_plain` returned false.
    fn tagged_value(&mut self, here: &Protected, tag: u8, destination: Destination) -> Result<()> {
        match tag & !SHARED {
            wire::NAMED => {
                let name = self.reader.bytes().ok_or_else(truncated)?;
                let name = std::str::from_utf8(name).map_err(|_| Error::Corrupt("a name"))?;
                if let Err(error) = self.names.push_named(here, name) {
                    return Err(self.unresolved(here, destination, error));
                }
            }
            wire::REFERENCE => {
                let id = self.reader.length().ok_or_else(truncated)?;
                self.push_shared(here, shared_number(id))?;
            }
            wire::TEXT => {
                here.push_bytes(self.reader.bytes().ok_or_else(truncated)?);
                self.texts += 1;
                self.register(here, -self.texts)?;
            }
            wire::PINNED => {
                self.push_pinned(here)?;
                self.texts += 1;
                if tag & SHARED != 0 {
                    self.register(here, -self.texts)?;
                }
            }
            wire::TEXT_AGAIN => {
                let id = self.reader.length().ok_or_else(truncated)?;
                self.push_shared(here, -shared_number(id))?;
            }
            wire::TABLE => return self.open_table(here, destination, tag, Metatable::None),
            wire::OBJECT => return self.object(here, destination),
            wire::ENVIRONMENT => return self.environment(here, destination),
            wire::FUNCTION => return self.open_function(here, destination, tag),
            wire::GLOBALS => here.push_globals(),
            wire::COMMON => self.push_common(here)?,
            wire::BLOCK_END => return self.pause_all(destination),
            tag @ (wire::JOINED | wire::COMMON_JOINED) => {
                let Destination::Upvalue(n) = destination else {
                    return Err(Error::Corrupt("a stray upvalue"));
                };
                if tag == wire::COMMON_JOINED {
                    self.push_common(here)?;
                } else {
                    let id = self.reader.length().ok_or_else(truncated)?;
                    self.push_shared(here, shared_number(id))?;
                }
                return self.join(here, n);
            }
            _ => return Err(Error::Corrupt("an unknown tag")),
        }
        self.store(here, destination)
    }

    /// Moves the value on top to its destination.
    #[inline]
    fn store(&self, here: &Protected, destination: Destination) -> Result<()> {
        match (destination, self.unfinished.last().map(|unfinished| &unfinished.value)) {
            (Destination::Top, _) => {}
            (Destination::Item(n), Some(Partial::Table(table))) => here.raw_set_i(table.slot, n.into()),
            (Destination::Field, Some(Partial::Table(table))) => here.raw_set(table.slot),
            (Destination::Upvalue(n), Some(Partial::Function(function))) => {
                here.set_upvalue(function.slot, n)
            }
            _ => return Err(Error::Corrupt("a value without a place")),
        }
        Ok(())
    }

    /// Notes the table or function on top, which is still empty: a value in it may refer to it.
    #[inline]
    fn note_object(&mut self, here: &Protected, tag: u8) -> Result<()> {
        if tag & SHARED != 0 {
            self.register(here, self.next_id + 1)?;
        }
        self.next_id += 1;
        Ok(())
    }

    /// Puts the value on top into the table of shared objects, at this number.
    fn register(&self, here: &Protected, number: i64) -> Result<()> {
        if !self.has_shared {
            return Err(Error::Corrupt("shared without its flag"));
        }
        here.push_value(-1);
        here.raw_set_i(self.shared_slot, number);
        Ok(())
    }

    fn push_shared(&self, here: &Stack, number: i64) -> Result<()> {
        if !self.has_shared {
            return Err(Error::Corrupt("a reference without its flag"));
        }
        match here.raw_get_i(self.shared_slot, number) {
            Type::Nil => Err(Error::Corrupt("a reference to nothing")),
            _ => Ok(()),
        }
    }

    /// Begins to fill the table or function on top, which is at a slot.
    #[inline(always)] // So that the value is built in place, not moved.
    fn begin(
        &mut self,
        here: &Protected,
        slot: c_int,
        value: Partial,
        destination: Destination,
    ) -> Result<()> {
        self.unfinished.try_reserve(1)?;
        self.unfinished.push(Unfinished { value, destination });
        if self.has_room(here, slot) { Ok(()) } else { self.continue_on_new_stack(here, destination) }
    }

    /// Whether there is room for a level at a slot. Most levels are as deep as one before, for which it was made.
    #[inline]
    fn has_room(&mut self, here: &Stack, slot: c_int) -> bool {
        if slot > self.room {
            if !here.check(LEVEL) {
                return false;
            }
            self.room = slot;
        }
        true
    }

    /// Completes the table or function on top on the stack of a new coroutine, since this one is full. It needs its own
    /// protected call: nothing else catches an error in a coroutine that was never resumed.
    fn continue_on_new_stack(&mut self, here: &Protected, destination: Destination) -> Result<()> {
        let floor = self.unfinished.len() - 1;
        self.make_keys(here);
        let shared_slot = self.shared_slot;
        let next = here.new_thread();
        if !next.check(BELOW + 1) {
            return Err(Error::Memory);
        }
        let value = here.top() - 1;
        for slot in (shared_slot..shared_slot + BELOW).chain([value]) {
            here.push_value(slot);
            here.move_to(&next, 1);
        }
        let unfinished = &mut self.unfinished[floor];
        match &mut unfinished.value {
            Partial::Table(table) => table.slot = BELOW + 1,
            Partial::Function(function) => function.slot = BELOW + 1,
        }
        unfinished.destination = Destination::Top;
        self.shared_slot = 1;
        self.room = 0;
        self.extra_stacks += 1;
        let keys = self.keys;
        next.protected(BELOW + 1, |next| {
            if !next.check(LEVEL) {
                return Err(Error::Memory);
            }
            self.build(next, floor)?;
            next.set_top(BELOW);
            Ok(())
        })?;
        self.extra_stacks -= 1;
        self.shared_slot = shared_slot;
        self.room = 0;
        // The coroutine is above the completed value.
        for key in keys..self.keys.min(STACKED_KEYS.into()) {
            let slot = 2 + key as c_int;
            next.push_value(1 + slot);
            next.move_to(here, 1);
            here.replace(shared_slot + slot);
        }
        here.pop(1);
        self.store(here, destination)
    }

    /// Closes the table or function on top, which is complete, and moves it to its destination.
    #[inline]
    fn finish(&mut self, here: &Protected) -> Result<()> {
        match self.unfinished.pop() {
            Some(Unfinished { destination, .. }) => self.store(here, destination),
            None => Ok(()),
        }
    }
}
