//! Encodes values on a state's stack into a message.
//!
//! Runs on the state's thread, inside [`Stack::protected`]; the [`Encoder`] is owned outside that call. The walk keeps a list
//! of frames, and two slots of Lua's stack for each level. When a stack is full, at half a million levels, it continues on
//! the stack of a new coroutine, so only memory limits the depth. Fields are read raw, so no metamethod runs. Only those
//! coroutines are allocated in Lua.

pub mod blocks;
pub mod calls;
pub mod common;
mod functions;
mod names;
mod plain;
mod texts;

use std::ffi::c_int;

use crate::codec::buffer::MessageBuffer;
use crate::codec::captures::Captures;
use crate::codec::common::CommonIndex;
use crate::codec::frame::{self, Frame, Path, Role, TableFrame};
use crate::codec::identity_map::{Entry, IdentityMap};
use crate::codec::keys::KeyCache;
use crate::codec::policy::{Functions, Libraries, Policy};
use crate::codec::wire::{self, mark_again, put_length};
use crate::error::{Error, Result};
use crate::fault;
use crate::ffi::{Pins, Protected, Stack, Type};
use blocks::Blocks;
use functions::is_carried_method;

/// Writes one message after another into `out`.
pub struct Encoder<'a> {
    out: MessageBuffer<'a>,
    policy: &'a Policy<'a>,
    frames: Vec<Frame>,
    /// How many frames are on stacks other than the current one, where their keys can't be read.
    suspended: usize,
    /// The path and the name through the suspended frames, and whether one of their keys can't be part of a name.
    path: Path,
    name: String,
    has_unnamed_key: bool,
    identities: IdentityMap,
    /// The long texts among the values and keys.
    texts: IdentityMap,
    keys: KeyCache,
    captures: Captures,
    /// The values that several messages have, if there are any.
    common: Option<Box<CommonIndex>>,
    /// One of those is being written: the buffers are exchanged.
    is_in_common: bool,
    /// Pins the texts of at least `pinned_from` bytes.
    pins: Option<&'a Pins<'a>>,
    pinned_from: usize,
    /// Takes the blocks of a long message, if it may leave in blocks.
    blocks: Option<Blocks<'a>>,
    /// The tables of the standard library; none until there is a table.
    libraries: Option<Libraries>,
    /// Whether there are modules; none until that matters.
    has_modules: Option<bool>,
    /// The address and the entry of the class of the last object: a message often has many objects of one.
    last_class: Option<(usize, Entry)>,
    start: usize,
    /// Where the values of this block begin.
    first: usize,
    /// The messages before this one, if it leaves in blocks.
    earlier: Vec<u8>,
    position: usize,
    /// There is room for a level at this slot of the current stack, and at all below.
    room: c_int,
    /// The collector is paused, since a value needs more than one stack.
    holds_collector: bool,
}

/// The most stack slots that one level of the walk needs.
const LEVEL: c_int = 12;

impl<'a> Encoder<'a> {
    pub fn new(out: &'a mut Vec<u8>, policy: &'a Policy<'a>) -> Encoder<'a> {
        Encoder::with_limit(usize::MAX, out, policy)
    }

    /// Like [`Encoder::new`]; all messages together may take `limit` bytes.
    pub fn with_limit(limit: usize, out: &'a mut Vec<u8>, policy: &'a Policy<'a>) -> Encoder<'a> {
        Encoder {
            out: MessageBuffer::new(out, limit),
            policy,
            frames: Vec::new(),
            suspended: 0,
            path: Path::default(),
            name: String::new(),
            has_unnamed_key: false,
            identities: IdentityMap::default(),
            texts: IdentityMap::default(),
            keys: KeyCache::default(),
            captures: Captures::default(),
            common: None,
            is_in_common: false,
            pins: None,
            pinned_from: usize::MAX,
            blocks: None,
            libraries: None,
            has_modules: None,
            last_class: None,
            start: 0,
            first: 0,
            earlier: Vec::new(),
            position: 0,
            room: 0,
            holds_collector: false,
        }
    }

    /// Resumes the collector if it was paused. Call it after the protected call in which the values were written.
    pub fn resume_collector(&mut self, stack: &Stack) -> Result<()> {
        if std::mem::take(&mut self.holds_collector) { stack.unpause_collector() } else { Ok(()) }
    }

    /// Appends a message of the `count` values from index `first` up. After an error, the buffer holds nothing of it.
    pub fn message(&mut self, stack: &Protected, first: c_int, count: c_int) -> Result<()> {
        self.begin(count as usize);
        for index in first..first + count {
            if !stack.check(LEVEL) {
                return self.roll_back(Error::Memory);
            }
            stack.push_value(index);
            self.next_value(stack)?;
        }
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let checked = self.out.check();
        checked.or_else(|error| self.roll_back(error))
    }

    /// Starts a message of `count` values, which [`Encoder::next_value`] appends.
    pub fn begin(&mut self, count: usize) {
        self.identities.clear();
        self.texts.clear();
        self.keys.clear();
        self.captures.clear();
        self.frames.clear();
        self.suspended = 0;
        self.path.truncate(0);
        self.name.clear();
        self.has_unnamed_key = false;
        self.last_class = None;
        (self.start, self.first) = (self.out.len(), 0);
        self.position = 0;
        self.room = 0;
        self.out.push(0);
        self.out.extend_from_slice(&(count as u32).to_le_bytes());
    }

    /// Appends the value on top of the stack to the message, and pops it.
    pub fn next_value(&mut self, stack: &Protected) -> Result<()> {
        self.position += 1;
        let written = fault::point("encode").and_then(|()| self.value(stack));
        match written.and_then(|()| self.walk(stack, 0)).and_then(|()| self.judge_captures()) {
            Ok(()) => Ok(()),
            Err(error) => self.roll_back(error),
        }
    }

    /// Like [`Encoder::next_value`], for a value that is not counted when an error names a position.
    pub fn uncounted_value(&mut self, stack: &Protected) -> Result<()> {
        let position = self.position;
        let appended = self.next_value(stack);
        self.position = position;
        appended
    }

    /// The length of all messages so far, in bytes.
    pub fn length(&self) -> usize {
        self.out.len()
    }

    fn roll_back(&mut self, error: Error) -> Result<()> {
        self.out.truncate(self.start);
        Err(error)
    }

    /// Writes the contents of the open tables and functions, except the first `floor`.
    fn walk(&mut self, here: &Protected, floor: usize) -> Result<()> {
        while self.frames.len() > floor {
            match self.frames.last_mut() {
                Some(Frame::Table(table)) if table.in_key => {
                    // The key is written and popped; the stack is table, key, value.
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

    /// Writes fields of the innermost table, whose last key is on top, until one needs its own frame or none is left.
    fn fields(&mut self, here: &Protected, begun: (u32, u32, bool)) -> Result<()> {
        let (mut array, mut record, mut in_array) = begun;
        let skips_keys = self.policy.functions.skips_keys();
        let only_functions = self.is_refused_table();
        let skips = skips_keys || only_functions;
        let table = here.table(-2);
        loop {
            if !table.next() {
                if let Some(Frame::Table(table)) = self.frames.last() {
                    wire::set_counts(&mut self.out, table.header, array, record);
                }
                self.finish(here);
                return Ok(());
            }
            // For a scalar as the key and another as the value.
            if !self.out.has_room(0) {
                record = self.make_room(array, record, in_array)?;
            }
            in_array = in_array && here.whole(-2) == Some(i64::from(array) + 1);
            if skips {
                let key = here.kind(-2);
                let is_skipped = skips_keys && !in_array && !key.is_scalar()
                    || only_functions && !is_carried_method(here, key);
                if is_skipped {
                    here.pop(1);
                    continue;
                }
            }
            if in_array {
                array += 1;
            } else {
                record += 1;
                if self.put_key(here, -2)?.is_some() {
                    self.save_progress(array, record, in_array, true);
                    here.push_value(-2);
                    return self.value(here);
                }
            }
            if let Some(kind) = self.put_plain(here, -1)? {
                self.save_progress(array, record, in_array, false);
                return if kind == Type::Table { self.table(here) } else { self.value(here) };
            }
            here.pop(1);
        }
    }

    /// Saves the position in the innermost table.
    fn save_progress(&mut self, array: u32, record: u32, in_array: bool, in_key: bool) {
        if let Some(Frame::Table(table)) = self.frames.last_mut() {
            (table.array, table.record, table.in_array, table.in_key) = (array, record, in_array, in_key);
        }
    }

    /// Writes the value on top. A scalar is popped at once; a table or function gets a frame and stays until it is
    /// finished.
    fn value(&mut self, here: &Protected) -> Result<()> {
        let Some(kind) = self.plain_at(here, -1)? else {
            here.pop(1);
            return Ok(());
        };
        match kind {
            Type::Table => return self.table(here),
            Type::Function | Type::Userdata | Type::Thread if self.policy.functions == Functions::Data => {
                self.out.push(wire::GLOBALS);
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
                self.note_field(here, pointer)?;
                if !self.put_if_named(here)? && !self.put_if_seen(pointer)? {
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

    /// Writes the table on top, as [`Encoder::value`].
    fn table(&mut self, here: &Protected) -> Result<()> {
        self.out.ensure_room(0)?;
        let pointer = here.pointer(-1);
        if self.is_library(here, pointer) && self.put_if_library(here)? {
            here.pop(1);
            return Ok(());
        }
        if self.common.is_none() && !self.has_modules(here)? && !self.is_in_environment() {
            // It has no name, and one look among the message's own tables both finds and adds it.
            self.frames.try_reserve(1)?;
            return match self.identities.get_or_insert(pointer, self.out.len())? {
                None => self.begin_table(here, Role::Value),
                Some(entry) => {
                    self.put_again(entry)?;
                    here.pop(1);
                    Ok(())
                }
            };
        }
        if !self.put_if_environment_field(here)?
            && !self.put_if_modules(here)?
            && !self.put_if_seen(pointer)?
        {
            self.put_class(here)?;
            return self.open_table(here, pointer, Role::Value);
        }
        here.pop(1);
        Ok(())
    }

    /// If the message, or a common value, already has this table or function, writes a reference.
    fn put_if_seen(&mut self, pointer: usize) -> Result<bool> {
        Ok(self.put_if_in_message(pointer)? || self.put_if_common(pointer)?)
    }

    /// If the message already has this table or function, writes a reference and marks the original as shared.
    fn put_if_in_message(&mut self, pointer: usize) -> Result<bool> {
        let Some(entry) = self.identities.get(pointer)? else { return Ok(false) };
        self.put_again(entry).map(|()| true)
    }

    /// Writes a reference to a table or function of the message, which is marked as shared. There must be room for it.
    fn put_again(&mut self, Entry { id, tag }: Entry) -> Result<()> {
        mark_again(&mut self.out, self.start, tag)?;
        self.out.push(wire::REFERENCE);
        put_length(&mut self.out, id as usize);
        Ok(())
    }

    /// Assigns an id to the table or function on top, and reserves room for its frame.
    fn register(&mut self, pointer: usize) -> Result<Entry> {
        self.frames.try_reserve(1)?;
        self.identities.insert(pointer, self.out.len())
    }

    fn open_table(&mut self, here: &Protected, pointer: usize, role: Role) -> Result<()> {
        self.register(pointer)?;
        self.begin_table(here, role)
    }

    /// Writes the header of the table on top, which is registered.
    fn begin_table(&mut self, here: &Protected, role: Role) -> Result<()> {
        let header = self.out.len();
        let slot = here.top();
        // The counts are filled in once the table is complete.
        self.out.extend_from_slice(&[wire::TABLE, 0, 0, 0, 0, 0, 0, 0, 0]);
        self.frames.push(Frame::Table(TableFrame {
            slot,
            header,
            array: 0,
            record: 0,
            in_array: true,
            in_key: false,
            role,
        }));
        if self.has_room(here, slot) {
            here.push_nil();
            Ok(())
        } else {
            self.continue_on_new_stack(here)
        }
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

    /// The path to the current position, for an error: `.deep[1]`.
    fn path(&self, here: &Stack) -> Path {
        let mut path = self.path.clone();
        path.push(&self.frames[self.suspended..], here);
        path
    }

    /// The name under `gma` of the current function, made of the keys to it. None if a key can't be part of a name.
    fn name(&self, here: &Stack) -> Option<String> {
        let mut name = wire::GMA.to_owned() + &self.name;
        let is_name = frame::push_name(&mut name, &self.frames[self.suspended..], here);
        (is_name && !self.has_unnamed_key).then_some(name)
    }

    /// Saves the path to frame `floor`, whose contents are written from another stack.
    fn save_path(&mut self, here: &Stack, floor: usize) {
        let frames = &self.frames[self.suspended..floor];
        self.path.push(frames, here);
        self.has_unnamed_key |= !frame::push_name(&mut self.name, frames, here);
        self.suspended = floor;
    }

    /// The error of a value that can't cross, with the path to it.
    fn unsendable(&self, here: &Stack, what: &'static str) -> Error {
        Error::Unsendable { what, path: (self.policy.place)(self.position, &self.path(here)) }
    }

    /// Writes the table or function on top and pops it, on the stack of a new coroutine, since this one is full. It needs its
    /// own protected call: nothing else catches an error in a coroutine that was never resumed.
    fn continue_on_new_stack(&mut self, here: &Protected) -> Result<()> {
        let floor = self.frames.len() - 1;
        if !self.holds_collector {
            self.holds_collector = here.pause_collector();
        }
        let next = here.new_thread();
        here.push_value(-2);
        here.move_to(&next, 1);
        let (suspended, path, name) = (self.suspended, self.path.len(), self.name.len());
        let has_unnamed_key = self.has_unnamed_key;
        self.save_path(here, floor);
        // The other stack has room of its own.
        self.room = 0;
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
        self.room = 0;
        self.suspended = suspended;
        self.path.truncate(path);
        self.name.truncate(name);
        self.has_unnamed_key = has_unnamed_key;
        here.pop(2);
        Ok(())
    }

    /// Closes the table or function on top, which is written.
    fn finish(&mut self, here: &Stack) {
        self.frames.pop();
        here.pop(1);
    }
}
