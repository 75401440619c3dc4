//! Values out of a state: from its stack into a message.
//!
//! Runs on the thread of the state it reads, with the collector stopped and inside [`Stack::protected`],
//! the [`Encoder`] owned outside of it. It walks with a list of frames and Lua's own stack, two slots a level,
//! and goes on in a fresh coroutine's stack where one is full, which is at half a million levels: so depth is
//! bounded by memory alone. Fields are read raw; no metamethod runs and, but for those coroutines, nothing is
//! allocated in Lua.

mod functions;

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustc_hash::FxHashMap;

use crate::codec::frame::{self, Frame, TableFrame};
use crate::codec::keys::{KeyCache, Met};
use crate::codec::outgoing::Outgoing;
use crate::codec::policy::{Functions, Policy};
use crate::codec::seen::{Seen, SeenSet};
use crate::codec::wire::{self, SHORT_TEXT, put_eight, put_length};
use crate::error::{Error, Result};
use crate::fault;
use crate::ffi::{Protected, Stack, Type};

/// Appends a message of the top `count` values to `out`, and pops them, in a protected call of its own.
pub fn encode(stack: &Stack, count: c_int, out: &mut Vec<u8>, policy: &Policy) -> Result<()> {
    encode_with(&mut Encoder::new(out, policy), stack, count)
}

/// As [`encode`], out of a state of ours: what its values take on their way counts for its limit.
pub fn encode_counted(stack: &Stack, count: c_int, out: &mut Vec<u8>, policy: &Policy) -> Result<()> {
    encode_with(&mut Encoder::within(stack.memory_left(), out, policy), stack, count)
}

fn encode_with(encoder: &mut Encoder, stack: &Stack, count: c_int) -> Result<()> {
    if (1..=count).all(|n| stack.kind(-n).is_plain()) {
        // Reading them allocates nothing in Lua and raises nothing, so that needs no protection.
        let first = stack.top() - count + 1;
        let written = catch_unwind(AssertUnwindSafe(|| encoder.plain_message(stack, first, count)));
        let written = written.unwrap_or_else(|payload| Err(Error::panic(payload)));
        if written.is_ok() {
            stack.pop(count);
        }
        if written != Err(Error::Memory) || !encoder.out.is_limited() {
            return written;
        }
    }
    let written = stack.protected(count, |stack| {
        match encoder.message(stack, 1, count) {
            Err(Error::Memory) if encoder.out.is_limited() => {}
            written => {
                stack.set_top(0);
                return written;
            }
        }
        // What nothing refers to does not count.
        stack.set_top(count);
        encoder.finish_deep(stack)?;
        stack.collect();
        encoder.out.set_limit(stack.memory_left());
        encoder.message(stack, 1, count)?;
        stack.set_top(0);
        Ok(())
    });
    encoder.finish_deep(stack)?;
    written
}

/// Writes one message after another into `out`.
pub struct Encoder<'a> {
    out: Outgoing<'a>,
    policy: &'a Policy<'a>,
    frames: Vec<Frame>,
    /// How many frames stand on other stacks than the innermost, and the way through them.
    elsewhere: usize,
    path: String,
    name: String,
    is_nameless: bool,
    seen: SeenSet,
    /// The long texts among the values and keys.
    texts: SeenSet,
    keys: KeyCache,
    /// Variables that functions of this message have captured: as which upvalue of which one first.
    variables: FxHashMap<usize, (Seen, c_int)>,
    start: usize,
    position: usize,
    /// The collector is held: a value goes deeper than one stack.
    holds_collector: bool,
}

/// The slots that one level of the walk may need at most.
const LEVEL: c_int = 12;

impl<'a> Encoder<'a> {
    pub fn new(out: &'a mut Vec<u8>, policy: &'a Policy<'a>) -> Encoder<'a> {
        Encoder::within(usize::MAX, out, policy)
    }

    /// As [`Encoder::new`], where all messages together may take so many bytes.
    pub fn within(at_most: usize, out: &'a mut Vec<u8>, policy: &'a Policy<'a>) -> Encoder<'a> {
        Encoder {
            out: Outgoing::new(out, at_most),
            policy,
            frames: Vec::new(),
            elsewhere: 0,
            path: String::new(),
            name: String::new(),
            is_nameless: false,
            seen: SeenSet::default(),
            texts: SeenSet::default(),
            keys: KeyCache::default(),
            variables: FxHashMap::default(),
            start: 0,
            position: 0,
            holds_collector: false,
        }
    }

    /// To be called after the protected call that values were written in.
    pub fn finish_deep(&mut self, stack: &Stack) -> Result<()> {
        if std::mem::take(&mut self.holds_collector) { stack.unpause_collector() } else { Ok(()) }
    }

    /// Appends a message of the `count` values from index `first` up. What was appended before an error
    /// is taken back. *Raises.*
    pub fn message(&mut self, stack: &Protected, first: c_int, count: c_int) -> Result<()> {
        self.begin(count as usize);
        for index in first..first + count {
            if !stack.check(LEVEL) {
                return self.give_up(Error::Memory);
            }
            stack.push_value(index);
            self.next_value(stack)?;
        }
        self.end()
    }

    /// As [`Encoder::message`], of plain values: it raises nothing.
    pub fn plain_message(&mut self, stack: &Stack, first: c_int, count: c_int) -> Result<()> {
        if count > 0 {
            fault::point("encode")?;
        }
        self.begin(count as usize);
        for index in first..first + count {
            if let Err(error) = self.plain_value(stack, index, stack.kind(index)) {
                return self.give_up(error);
            }
        }
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let checked = self.out.check();
        checked.or_else(|error| self.give_up(error))
    }

    /// Starts a message whose `count` values are then given to [`Encoder::next_value`].
    pub fn begin(&mut self, count: usize) {
        self.seen.clear();
        self.texts.clear();
        self.keys.clear();
        self.variables.clear();
        self.frames.clear();
        self.elsewhere = 0;
        self.path.clear();
        self.name.clear();
        self.is_nameless = false;
        self.start = self.out.len();
        self.position = 0;
        self.out.push(0);
        self.out.extend_from_slice(&(count as u32).to_le_bytes());
    }

    /// Appends the value on top of the stack to the message, and pops it. *Raises.*
    pub fn next_value(&mut self, stack: &Protected) -> Result<()> {
        self.position += 1;
        let written = fault::point("encode").and_then(|()| self.value(stack));
        match written.and_then(|()| self.walk(stack, 0)) {
            Ok(()) => Ok(()),
            Err(error) => self.give_up(error),
        }
    }

    /// Appends the value on top as one that an error's path does not count. *Raises.*
    pub fn extra_value(&mut self, stack: &Protected) -> Result<()> {
        let position = self.position;
        let appended = self.next_value(stack);
        self.position = position;
        appended
    }

    /// How many bytes all messages have so far.
    pub fn length(&self) -> usize {
        self.out.len()
    }

    fn give_up(&mut self, error: Error) -> Result<()> {
        self.out.truncate(self.start);
        Err(error)
    }

    /// Writes what the begun tables and functions hold, but for the first `floor`.
    fn walk(&mut self, here: &Protected, floor: usize) -> Result<()> {
        while self.frames.len() > floor {
            match self.frames.last_mut() {
                Some(Frame::Table(table)) if table.in_key => {
                    // The key is written and gone: table, key, value.
                    table.in_key = false;
                    self.value(here)?;
                }
                Some(Frame::Table(table)) => {
                    let begun = (table.array, table.record, table.in_array);
                    self.fields(here, begun)?;
                }
                Some(Frame::Function(function)) if function.upvalue == function.count => self.finish(here),
                Some(Frame::Function(function)) => {
                    function.upvalue += 1;
                    self.upvalue(here)?;
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Writes fields of the innermost table, which has its last key on top, until one needs a frame of its own or
    /// there are none left.
    fn fields(&mut self, here: &Protected, begun: (u32, u32, bool)) -> Result<()> {
        let (mut array, mut record, mut in_array) = begun;
        let only_shape = self.policy.functions == Functions::Shape;
        let table = here.table(-2);
        loop {
            if !table.next() {
                if let Some(Frame::Table(table)) = self.frames.last() {
                    let header = table.header;
                    self.out[header + 1..header + 5].copy_from_slice(&array.to_le_bytes());
                    self.out[header + 5..header + 9].copy_from_slice(&record.to_le_bytes());
                }
                self.finish(here);
                return Ok(());
            }
            in_array = in_array && here.whole(-2) == Some(i64::from(array) + 1);
            let key = if in_array { Type::Number } else { here.kind(-2) };
            if only_shape && !in_array && !key.is_scalar() {
                here.pop(1);
                continue;
            }
            if in_array {
                array += 1;
            } else {
                record += 1;
                match key {
                    Type::String => self.key(here, -2)?,
                    key if key.is_plain() => self.plain_value(here, -2, key)?,
                    _ => {
                        self.pause(array, record, in_array, true);
                        here.push_value(-2);
                        return self.value(here);
                    }
                }
            }
            let kind = here.kind(-1);
            if !kind.is_plain() {
                self.pause(array, record, in_array, false);
                return self.value(here);
            }
            self.plain_value(here, -1, kind)?;
            here.pop(1);
        }
    }

    /// Notes how far the innermost table is written.
    fn pause(&mut self, array: u32, record: u32, in_array: bool, in_key: bool) {
        if let Some(Frame::Table(table)) = self.frames.last_mut() {
            (table.array, table.record, table.in_array, table.in_key) = (array, record, in_array, in_key);
        }
    }

    /// Writes a text that is a key. Those that come again and again are written once, and by their number from then on.
    fn key(&mut self, here: &Stack, index: c_int) -> Result<()> {
        let bytes = here.bytes(index);
        if bytes.len() > SHORT_TEXT {
            return self.text(bytes);
        }
        match self.keys.meet(bytes) {
            Met::Known(number) => {
                self.out.room(0)?;
                self.out.extend_from_slice(&[wire::KEY, number]);
                Ok(())
            }
            Met::Again => self.put_text(wire::NEW_KEY, bytes),
            Met::Once => self.put_text(wire::STRING, bytes),
        }
    }

    /// Writes the value on top. A scalar is popped at once; a table or function stays, with a frame of
    /// its own, until it is finished.
    fn value(&mut self, here: &Protected) -> Result<()> {
        self.out.room(0)?;
        match here.kind(-1) {
            kind if kind.is_plain() => self.plain_value(here, -1, kind)?,
            Type::Table => {
                let pointer = here.pointer(-1);
                if !self.environments_own(here)? && !self.reference(pointer)? {
                    return self.open_table(here, pointer, false);
                }
            }
            Type::Function if self.policy.functions == Functions::Refuse => {
                return Err(self.unsendable(here, "function to the host"));
            }
            Type::Function if self.policy.functions == Functions::Shape => match self.name(here) {
                Some(name) => self.put_name(&name)?,
                None => self.out.push(wire::NIL),
            },
            Type::Function => {
                let pointer = here.pointer(-1);
                if !self.named(here)? && !self.reference(pointer)? {
                    if here.is_native(-1) {
                        return Err(self.unsendable(here, "C function"));
                    }
                    return self.open_function(here, pointer);
                }
            }
            Type::Userdata | Type::Thread if self.policy.functions == Functions::Shape => {
                self.out.push(wire::NIL);
            }
            kind => return Err(self.unsendable(here, kind.name())),
        }
        here.pop(1);
        Ok(())
    }

    /// Writes a value of a plain kind, and leaves it where it is.
    #[inline]
    fn plain_value(&mut self, here: &Stack, index: c_int, kind: Type) -> Result<()> {
        self.out.room(0)?;
        match kind {
            Type::Boolean => self.out.push(if here.boolean(index) { wire::TRUE } else { wire::FALSE }),
            Type::Number => match here.whole(index) {
                Some(value) => put_eight(&mut self.out, wire::INTEGER, value.cast_unsigned()),
                None => put_eight(&mut self.out, wire::FLOAT, here.number(index).unwrap_or(0.0).to_bits()),
            },
            Type::LightUserdata => put_eight(&mut self.out, wire::LIGHT, here.light(index) as u64),
            Type::String => self.text(here.bytes(index))?,
            _ => self.out.push(wire::NIL),
        }
        Ok(())
    }

    /// Writes a text. One that is known by where its bytes stand, and that this message holds already, is written as its
    /// number.
    #[inline(always)] // Most of what many values hold are texts.
    fn text(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.len() <= SHORT_TEXT {
            return self.put_text(wire::STRING, bytes);
        }
        match self.texts.meet(bytes.as_ptr() as usize, self.out.len())? {
            None => self.put_text(wire::TEXT, bytes),
            Some(Seen { id, tag }) => {
                self.out.room(0)?;
                self.share(tag);
                self.out.push(wire::TEXT_AGAIN);
                put_length(&mut self.out, id as usize);
                Ok(())
            }
        }
    }

    #[inline(always)]
    fn put_text(&mut self, tag: u8, bytes: &[u8]) -> Result<()> {
        self.out.room(bytes.len())?;
        self.out.push(tag);
        put_length(&mut self.out, bytes.len());
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    /// Writes the name of the thing on top, if it has one.
    fn named(&mut self, here: &Protected) -> Result<bool> {
        match self.policy.names.name_of(here) {
            Some(name) => self.put_name(&name).map(|()| true),
            None => Ok(false),
        }
    }

    fn put_name(&mut self, name: &str) -> Result<()> {
        self.put_text(wire::NAMED, name.as_bytes())
    }

    /// Writes a reference to what this message holds already, and marks that as shared.
    fn reference(&mut self, pointer: usize) -> Result<bool> {
        let Some(Seen { id, tag }) = self.seen.find(pointer)? else { return Ok(false) };
        self.share(tag);
        self.out.push(wire::REFERENCE);
        put_length(&mut self.out, id as usize);
        Ok(true)
    }

    fn share(&mut self, tag: usize) {
        self.out[tag] |= wire::SHARED;
        self.out[self.start] |= wire::HAS_SHARED;
    }

    /// Gives the table or function on top its id, and makes sure of room for its frame.
    fn remember(&mut self, pointer: usize) -> Result<Seen> {
        self.frames.try_reserve(1)?;
        self.seen.insert(pointer, self.out.len())
    }

    fn open_table(&mut self, here: &Protected, pointer: usize, is_environment: bool) -> Result<()> {
        self.remember(pointer)?;
        let header = self.out.len();
        // How many items and fields there are shows at the end.
        self.out.extend_from_slice(&[wire::TABLE, 0, 0, 0, 0, 0, 0, 0, 0]);
        self.frames.push(Frame::Table(TableFrame {
            slot: here.top(),
            header,
            array: 0,
            record: 0,
            in_array: true,
            in_key: false,
            is_environment,
        }));
        if here.check(LEVEL) {
            here.push_nil();
            Ok(())
        } else {
            self.go_on_elsewhere(here)
        }
    }

    /// The way to where the walk is, for an error: `.deep[1]`.
    fn path(&self, here: &Stack) -> String {
        let mut path = self.path.clone();
        frame::push_path(&mut path, &self.frames[self.elsewhere..], here);
        path
    }

    /// The name, by its keys, of the function that the walk is at. A key that can't be part of one leaves it without.
    fn name(&self, here: &Stack) -> Option<String> {
        let mut name = wire::GMA.to_owned() + &self.name;
        let is_name = frame::push_name(&mut name, &self.frames[self.elsewhere..], here);
        (is_name && !self.is_nameless).then_some(name)
    }

    /// Notes the way to the frame `floor`, from which the walk goes on in another stack.
    fn note_way(&mut self, here: &Stack, floor: usize) {
        let frames = &self.frames[self.elsewhere..floor];
        frame::push_path(&mut self.path, frames, here);
        self.is_nameless |= !frame::push_name(&mut self.name, frames, here);
        self.elsewhere = floor;
    }

    /// The error of a value that can't cross, with the path to it.
    fn unsendable(&self, here: &Stack, what: &'static str) -> Error {
        Error::Unsendable { what, path: (self.policy.place)(self.position, &self.path(here)) }
    }

    /// Writes the table or function on top, and pops it, in a new coroutine's stack, since this one is full. It
    /// is a protected call of its own: a coroutine that nobody resumed has none to raise into. *Raises.*
    fn go_on_elsewhere(&mut self, here: &Protected) -> Result<()> {
        let floor = self.frames.len() - 1;
        if !self.holds_collector {
            self.holds_collector = here.pause_collector();
        }
        let next = here.new_thread();
        here.push_value(-2);
        here.move_to(&next, 1);
        let (elsewhere, path, name) = (self.elsewhere, self.path.len(), self.name.len());
        let is_nameless = self.is_nameless;
        self.note_way(here, floor);
        next.protected(1, |next| {
            if !next.check(LEVEL) {
                return Err(Error::Memory);
            }
            match &mut self.frames[floor] {
                Frame::Table(table) => {
                    table.slot = 1;
                    next.push_nil();
                }
                Frame::Function(function) => function.slot = 1,
            }
            self.walk(next, floor)
        })?;
        self.elsewhere = elsewhere;
        self.path.truncate(path);
        self.name.truncate(name);
        self.is_nameless = is_nameless;
        here.pop(2);
        Ok(())
    }

    /// The table or function on top is written.
    fn finish(&mut self, here: &Stack) {
        self.frames.pop();
        here.pop(1);
    }
}
