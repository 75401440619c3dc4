//! Values into a state: from a message onto its stack.
//!
//! Runs on the thread of the state it fills, without the collector where the message is large, and inside a protected
//! call of its own, so a full memory is an error and leaves nothing behind. Like [`crate::codec::encode`] it iterates, one or two
//! slots of Lua's stack a level, and goes on in a coroutine's stack where one is full: that is half a million levels. A
//! message that is not one of ours is an error, never more.

mod functions;

use std::ffi::c_int;

use crate::codec::wire::{self, HAS_SHARED, Reader, SHARED, ends_early};
use crate::error::{Error, Result};
use crate::fault;
use crate::ffi::{Protected, Stack, Type};

/// Finds what a name stands for in a state.
pub trait Resolve {
    /// Pushes the thing that has this name here. *Raises.*
    fn push_named(&self, stack: &Protected, name: &str) -> Result<()>;
}

/// Pushes a message's values and gives their count, in a protected call of its own.
pub fn decode(stack: &Stack, message: &[u8], names: &dyn Resolve) -> Result<c_int> {
    if let Some(count) = decode_scalars(stack, message)? {
        return Ok(count);
    }
    let mut decoder = Decoder::new(names);
    stack.with_collector_paused(message.len(), 0, |stack| decoder.message(stack, message))
}

/// As [`decode`], for what a state is to have before its code runs.
pub fn furnish(stack: &Stack, message: &[u8], names: &dyn Resolve) -> Result<c_int> {
    if let Some(count) = decode_scalars(stack, message)? {
        return Ok(count);
    }
    let mut decoder = Decoder::new(names);
    stack.with_collector_postponed(message.len(), 0, |stack| decoder.message(stack, message))
}

/// As [`decode`], for a few values that take no memory; pushes nothing where there are others.
pub fn decode_scalars(stack: &Stack, message: &[u8]) -> Result<Option<c_int>> {
    // Lua gives a function, and a fresh coroutine, room for twenty values.
    const FEW: u32 = 8;
    let mut reader = Reader::new(message);
    let (flags, count) = (reader.byte().ok_or_else(ends_early)?, reader.u32().ok_or_else(ends_early)?);
    if flags != 0 || count > FEW || !holds_scalars(message, count) {
        return Ok(None);
    }
    fault::point("decode")?;
    for _ in 0..count {
        match reader.byte().ok_or_else(ends_early)? {
            wire::INTEGER => stack.push_integer(reader.u64().ok_or_else(ends_early)?.cast_signed()),
            wire::FLOAT => stack.push_number(f64::from_bits(reader.u64().ok_or_else(ends_early)?)),
            wire::NIL => stack.push_nil(),
            tag => stack.push_boolean(tag == wire::TRUE),
        }
    }
    Ok(Some(count as c_int))
}

/// Whether a message is so many numbers, booleans and nils, and all of them are there.
fn holds_scalars(message: &[u8], count: u32) -> bool {
    let mut reader = Reader::new(message);
    reader.slice(wire::HEADER).is_some()
        && (0..count).all(|_| match reader.byte() {
            Some(wire::INTEGER | wire::FLOAT) => reader.u64().is_some(),
            Some(wire::NIL | wire::FALSE | wire::TRUE) => true,
            _ => false,
        })
}

/// What a value is for, once it is on the stack.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It stays: a value of the message, or a key whose value follows.
    Stay,
    Item(u32),
    Field,
    Upvalue(c_int),
}

#[derive(Clone, Copy)]
struct TableFrame {
    slot: c_int,
    array: u32,
    array_size: u32,
    record_left: u32,
    has_key: bool,
}

struct FunctionFrame {
    slot: c_int,
    upvalue: c_int,
    count: c_int,
}

enum Parent {
    Table(TableFrame),
    Function(FunctionFrame),
}

struct Frame {
    parent: Parent,
    /// Whether the table or function stays on the stack when it is complete.
    stays: bool,
}

/// Reads one message after another.
pub struct Decoder<'a> {
    reader: Reader<'a>,
    names: &'a dyn Resolve,
    frames: Vec<Frame>,
    has_shared: bool,
    /// Where, in the stack that is built in, the things stand that are referred to again.
    shared_slot: c_int,
    next_id: i64,
    /// How many long texts there were. They stand there, too, under negative numbers.
    texts: i64,
    /// How many keys have a number. They stand in a table above those things, if there is one.
    keys: i64,
    has_keys: bool,
    /// How many more values the tables of the message may announce: each is a byte of it at least.
    unannounced: u64,
}

/// As many keys as most messages have.
const KEYS: c_int = 8;

/// The slots that one level may need at most.
const LEVEL: c_int = 10;

/// Under which number the thing with this id is kept. Nothing has an id so large that it would not be its own.
fn number_of(id: usize) -> i64 {
    i64::try_from(id).map_or(i64::MAX, |id| id.saturating_add(1))
}

impl<'a> Decoder<'a> {
    pub fn new(names: &'a dyn Resolve) -> Decoder<'a> {
        Decoder {
            reader: Reader::new(&[]),
            names,
            frames: Vec::new(),
            has_shared: false,
            shared_slot: 0,
            next_id: 0,
            texts: 0,
            keys: 0,
            has_keys: false,
            unannounced: 0,
        }
    }

    /// Pushes a message's values and gives their count. *Raises.*
    pub fn message(&mut self, stack: &Protected, message: &'a [u8]) -> Result<c_int> {
        fault::point("decode")?;
        self.reader = Reader::new(message);
        self.frames.clear();
        self.next_id = 0;
        self.texts = 0;
        self.keys = 0;
        self.has_keys = false;
        self.unannounced = message.len() as u64;
        self.has_shared = self.reader.byte().ok_or_else(ends_early)? & HAS_SHARED != 0;
        let count = self.reader.u32().ok_or_else(ends_early)?;
        if !stack.check(LEVEL) {
            return Err(Error::Memory);
        }
        if self.has_shared {
            stack.create_table(0, 0);
        } else {
            stack.push_nil();
        }
        self.shared_slot = stack.top();
        let base = self.shared_slot;
        // The place of the table of keys.
        stack.push_nil();
        for _ in 0..count {
            if !stack.check(LEVEL) {
                return Err(Error::Memory);
            }
            self.value(stack, Place::Stay)?;
            self.build(stack, 0)?;
        }
        stack.remove(base);
        stack.remove(base);
        Ok(stack.top() + 1 - base)
    }

    /// Completes the tables and functions that are begun, but for the first `floor`.
    fn build(&mut self, here: &Protected, floor: usize) -> Result<()> {
        while self.frames.len() > floor {
            match self.frames.last_mut().map(|frame| &mut frame.parent) {
                Some(Parent::Table(table)) => {
                    let begun = *table;
                    self.fields(here, begun)?;
                }
                Some(Parent::Function(function)) if function.upvalue < function.count => {
                    function.upvalue += 1;
                    let place = Place::Upvalue(function.upvalue);
                    self.value(here, place)?;
                }
                _ => self.finish(here),
            }
        }
        Ok(())
    }

    /// Fills the innermost table, until something needs a frame of its own or it is complete.
    fn fields(&mut self, here: &Protected, mut table: TableFrame) -> Result<()> {
        let target = here.table(table.slot);
        loop {
            let place = if table.array < table.array_size {
                table.array += 1;
                Place::Item(table.array)
            } else if table.has_key {
                table.has_key = false;
                table.record_left -= 1;
                Place::Field
            } else if table.record_left > 0 {
                table.has_key = true;
                Place::Stay
            } else {
                self.finish(here);
                return Ok(());
            };
            let tag = self.reader.byte().ok_or_else(ends_early)?;
            if !self.push_plain(here, tag).ok_or_else(ends_early)? {
                if let Some(Frame { parent: Parent::Table(paused), .. }) = self.frames.last_mut() {
                    *paused = table;
                }
                return self.tagged_value(here, tag, place);
            }
            match place {
                Place::Item(n) => target.raw_set_i(n.into()),
                Place::Field => target.raw_set(),
                _ => {}
            }
        }
    }

    /// Pushes a value that is neither table nor function; false where the tag is of another kind.
    #[inline]
    fn push_plain(&mut self, here: &Protected, tag: u8) -> Option<bool> {
        match tag {
            wire::NIL => here.push_nil(),
            wire::FALSE => here.push_boolean(false),
            wire::TRUE => here.push_boolean(true),
            wire::INTEGER => here.push_integer(self.reader.u64()?.cast_signed()),
            wire::FLOAT => here.push_number(f64::from_bits(self.reader.u64()?)),
            wire::LIGHT => here.push_light(self.reader.u64()? as usize),
            wire::STRING => here.push_bytes(self.reader.bytes()?),
            wire::TEXT => {
                here.push_bytes(self.reader.bytes()?);
                self.texts += 1;
            }
            wire::NEW_KEY => {
                here.push_bytes(self.reader.bytes()?);
                self.remember_key(here);
            }
            wire::KEY => {
                let number = self.reader.byte().map(i64::from).filter(|number| *number < self.keys)?;
                here.raw_get_i(self.shared_slot + 1, number + 1);
            }
            _ => return Some(false),
        }
        Some(true)
    }

    /// Reads one value and puts it in its place; a table or function then gets a frame.
    fn value(&mut self, here: &Protected, place: Place) -> Result<()> {
        let tag = self.reader.byte().ok_or_else(ends_early)?;
        if self.push_plain(here, tag).ok_or_else(ends_early)? {
            return self.settle(here, place);
        }
        self.tagged_value(here, tag, place)
    }

    /// As [`Decoder::value`], for what has been found to be no plain value.
    fn tagged_value(&mut self, here: &Protected, tag: u8, place: Place) -> Result<()> {
        match tag & !SHARED {
            wire::NAMED => {
                let name = self.reader.bytes().ok_or_else(ends_early)?;
                let name = std::str::from_utf8(name).map_err(|_| Error::Corrupt("a name"))?;
                if let Err(error) = self.names.push_named(here, name) {
                    return Err(self.absent(here, place, error));
                }
            }
            wire::REFERENCE => {
                let id = self.reader.length().ok_or_else(ends_early)?;
                self.push_shared(here, number_of(id))?;
            }
            wire::TEXT => {
                here.push_bytes(self.reader.bytes().ok_or_else(ends_early)?);
                self.texts += 1;
                self.remember(here, -self.texts)?;
            }
            wire::TEXT_AGAIN => {
                let id = self.reader.length().ok_or_else(ends_early)?;
                self.push_shared(here, -number_of(id))?;
            }
            wire::TABLE => return self.open_table(here, place, tag, false),
            wire::ENVIRONMENT => return self.environment(here, place),
            wire::FUNCTION => return self.open_function(here, place, tag),
            wire::GLOBALS => here.push_globals(),
            wire::JOINED => {
                let Place::Upvalue(n) = place else { return Err(Error::Corrupt("a stray upvalue")) };
                let id = self.reader.length().ok_or_else(ends_early)?;
                let index = c_int::from(self.reader.byte().ok_or_else(ends_early)?);
                return self.join(here, n, id, index);
            }
            _ => return Err(Error::Corrupt("an unknown tag")),
        }
        self.settle(here, place)
    }

    /// Makes the table of keys, if there is none yet.
    fn make_keys(&mut self, here: &Protected) {
        if !self.has_keys {
            here.create_table(KEYS, 0);
            here.replace(self.shared_slot + 1);
            self.has_keys = true;
        }
    }

    /// Gives the text on top the next number.
    fn remember_key(&mut self, here: &Protected) {
        self.make_keys(here);
        self.keys += 1;
        here.push_value(-1);
        here.raw_set_i(self.shared_slot + 1, self.keys);
    }

    /// Puts the value on top in its place.
    #[inline]
    fn settle(&self, here: &Protected, place: Place) -> Result<()> {
        match (place, self.frames.last().map(|frame| &frame.parent)) {
            (Place::Stay, _) => {}
            (Place::Item(n), Some(Parent::Table(table))) => here.raw_set_i(table.slot, n.into()),
            (Place::Field, Some(Parent::Table(table))) => here.raw_set(table.slot),
            (Place::Upvalue(n), Some(Parent::Function(function))) => here.set_upvalue(function.slot, n),
            _ => return Err(Error::Corrupt("a value without a place")),
        }
        Ok(())
    }

    /// Puts the table or function on top in its place at once, empty as it is, and keeps it on top for
    /// what it holds: so a parent never waits for its children.
    fn settle_and_keep(&mut self, here: &Protected, place: Place, tag: u8) -> Result<()> {
        if tag & SHARED != 0 {
            self.remember(here, self.next_id + 1)?;
        }
        self.next_id += 1;
        if place != Place::Stay {
            here.push_value(-1);
            if place == Place::Field {
                // table, key, child, child: the child goes below its key.
                here.insert(-3);
            }
            self.settle(here, place)?;
        }
        Ok(())
    }

    fn open_table(&mut self, here: &Protected, place: Place, tag: u8, is_environment: bool) -> Result<()> {
        let array = self.reader.u32().ok_or_else(ends_early)?;
        let record = self.reader.u32().ok_or_else(ends_early)?;
        let announced = u64::from(array) + 2 * u64::from(record);
        self.unannounced = self
            .unannounced
            .checked_sub(announced)
            .ok_or(Error::Corrupt("tables larger than their message"))?;
        let size = |count: u32| c_int::try_from(count).map_err(|_| Error::Corrupt("a table too large"));
        here.create_table(size(array)?, size(record)?);
        if is_environment {
            functions::look_up_in_globals(here);
        }
        self.settle_and_keep(here, place, tag)?;
        let table =
            TableFrame { slot: here.top(), array: 0, array_size: array, record_left: record, has_key: false };
        self.push_frame(here, Parent::Table(table), place)
    }

    /// Keeps the thing on top, under a number, for what refers to it.
    fn remember(&self, here: &Protected, number: i64) -> Result<()> {
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

    /// Begins to fill the table or function on top.
    #[inline(always)] // The frame is made where it stays.
    fn push_frame(&mut self, here: &Protected, parent: Parent, place: Place) -> Result<()> {
        self.frames.try_reserve(1)?;
        self.frames.push(Frame { parent, stays: place == Place::Stay });
        if here.check(LEVEL) { Ok(()) } else { self.go_on_elsewhere(here, place) }
    }

    /// Completes the table or function on top in a new coroutine's stack, since this one is full. It is a
    /// protected call of its own: a coroutine that nobody resumed has none to raise into.
    fn go_on_elsewhere(&mut self, here: &Protected, place: Place) -> Result<()> {
        let floor = self.frames.len() - 1;
        self.make_keys(here);
        let shared_slot = self.shared_slot;
        let next = here.new_thread();
        here.push_value(shared_slot);
        here.push_value(shared_slot + 1);
        here.push_value(-4);
        here.move_to(&next, 3);
        match &mut self.frames[floor].parent {
            Parent::Table(table) => table.slot = 3,
            Parent::Function(function) => function.slot = 3,
        }
        self.shared_slot = 1;
        next.protected(3, |next| {
            if !next.check(LEVEL) {
                return Err(Error::Memory);
            }
            self.build(next, floor)?;
            next.set_top(0);
            Ok(())
        })?;
        self.shared_slot = shared_slot;
        // The coroutine, and what was completed in it where that has found its place.
        here.pop(if place == Place::Stay { 1 } else { 2 });
        Ok(())
    }

    /// The table or function on top is complete.
    fn finish(&mut self, here: &Stack) {
        if let Some(frame) = self.frames.pop()
            && !frame.stays
        {
            here.pop(1);
        }
    }
}
