//! Encodes the values that several messages have, and refers to them.

use std::ffi::c_int;

use super::Encoder;
use crate::codec::buffer::MessageBuffer;
use crate::codec::common::{Common, CommonIndex, Found};
use crate::codec::wire::{self, COMMON_TEXT, HEADER, mark_shared, put_length};
use crate::error::Result;
use crate::ffi::{Protected, Stack, Type};
use crate::pinned::PINNED_TEXT;

/// The identity of a value that can be common to several messages: a table or a long text.
pub fn identity(stack: &Stack, index: c_int) -> Option<usize> {
    match stack.kind(index) {
        Type::Table => Some(stack.pointer(index)),
        Type::String => stack.with_bytes(index, identity_of_text),
        _ => None,
    }
}

fn identity_of_text(bytes: &[u8]) -> Option<usize> {
    (bytes.len() >= COMMON_TEXT).then_some(bytes.as_ptr() as usize)
}

/// The number of a long text that is a common value.
pub(super) fn find_text(common: Option<&CommonIndex>, bytes: &[u8]) -> Option<u32> {
    common?.value(identity_of_text(bytes)?)
}

pub(super) fn put_reference(out: &mut MessageBuffer, number: u32) -> Result<()> {
    out.ensure_room(0)?;
    out.push(wire::COMMON);
    put_length(out, number as usize);
    Ok(())
}

impl Encoder<'_> {
    /// Encodes the value on top, which several of the next messages have, and pops it. If it can't cross, nothing is encoded:
    /// each message that has it then gets the error, with its own place. Returns the size of what was encoded, in bytes.
    ///
    /// The collector is paused until [`Encoder::resume_collector`], so that no other object gets the address of a common one.
    pub fn common_value(&mut self, here: &Protected) -> Result<usize> {
        self.hold_collector(here);
        let below = here.top() - 1;
        let encoded = match identity(here, -1) {
            Some(identity) => self.encode_common(here, identity),
            None => Ok(0),
        };
        here.set_top(below);
        encoded
    }

    /// Keeps the collector from running until [`Encoder::resume_collector`].
    pub fn hold_collector(&mut self, here: &Stack) {
        if !self.holds_collector {
            self.holds_collector = here.pause_collector();
        }
    }

    /// The common values of all messages so far. The next messages have no common values.
    pub fn take_common(&mut self) -> Common {
        self.common.take().map(|index| index.finish()).unwrap_or_default()
    }

    fn encode_common(&mut self, here: &Protected, identity: usize) -> Result<usize> {
        if self.common.get_or_insert_default().find(identity)?.is_some() {
            // It is a part of another common value.
            return Ok(0);
        }
        self.exchange_buffers(true);
        let written = self.out.ensure_room(0).and_then(|()| {
            self.begin(1);
            self.next_value(here)
        });
        let added = if written.is_ok() { self.add_common(identity) } else { Ok(()) };
        let size = self.out.len() - self.start;
        self.exchange_buffers(false);
        match written {
            Err(error) if error.is_a_hooks() => Err(error),
            _ => added.map(|()| size),
        }
    }

    /// Swaps the messages' buffer with the common values' buffer.
    fn exchange_buffers(&mut self, is_in_common: bool) {
        if let Some(common) = &mut self.common {
            std::mem::swap::<Vec<u8>>(&mut self.out, common.messages());
            self.is_in_common = is_in_common;
            // Workers may read a common value at any time of the job.
            self.pinned_from = if is_in_common || self.pins.is_none() { usize::MAX } else { PINNED_TEXT };
        }
    }

    /// Adds the value that has just been written to the common ones.
    fn add_common(&mut self, identity: usize) -> Result<()> {
        let Some(common) = &mut self.common else { return Ok(()) };
        let first = common.next();
        let text = [(identity, self.start + HEADER)];
        let has_text = self.out[self.start + HEADER] == wire::TEXT;
        let objects = if has_text { &text } else { self.identities.objects() };
        // The class of an object comes before the object.
        if !objects.iter().take(2).any(|(object, _)| *object == identity) {
            // It crosses by name.
            self.out.truncate(self.start);
            return Ok(());
        }
        common.add(identity, self.start, objects)?;
        for (identity, variable) in self.captures.variables() {
            common.add_variable(identity, first + variable.first.id, variable.upvalue)?;
        }
        Ok(())
    }

    /// If a common value is or has this table or function, writes a reference.
    #[inline]
    pub(super) fn put_if_common(&mut self, pointer: usize) -> Result<bool> {
        let Some(common) = &mut self.common else { return Ok(false) };
        let Some(found) = common.find(pointer)? else { return Ok(false) };
        self.mark_found(found);
        put_reference(&mut self.out, found.number).map(|()| true)
    }

    /// If a function of a common value has captured this variable, writes a reference.
    pub(super) fn put_if_common_variable(&mut self, variable: usize) -> Result<bool> {
        let found = self.common.as_ref().and_then(|common| common.variable(variable));
        let Some((found, upvalue)) = found else { return Ok(false) };
        self.mark_found(found);
        self.out.ensure_room(0)?;
        self.out.push(wire::COMMON_JOINED);
        put_length(&mut self.out, found.number as usize);
        self.out.push(upvalue as u8);
        Ok(true)
    }

    /// Notes, in the message of a common value, that another message refers to a part of it.
    fn mark_found(&mut self, found: Found) {
        if let (Some((start, tag)), Some(common)) = (found.unmarked, &mut self.common) {
            let messages = if self.is_in_common { &mut self.out } else { common.messages() };
            mark_shared(messages, start, tag);
        }
    }
}
