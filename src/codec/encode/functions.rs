//! Encodes functions: their code and their upvalues.

use super::{Encoder, LEVEL, mark_shared};
use crate::codec::frame::{self, Frame, FunctionFrame};
use crate::codec::policy::{Functions, Upvalues};
use crate::codec::wire::{self, put_length};
use crate::error::{Error, Result};
use crate::ffi::{Protected, Stack, Type};

/// The place in which a table looks up missing fields.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lookup {
    Nowhere,
    Globals,
    /// Elsewhere, or its metatable has other effects.
    Unknown,
}

impl Encoder<'_> {
    pub(super) fn open_function(&mut self, here: &Protected, pointer: usize) -> Result<()> {
        let entry = self.register(pointer)?;
        self.out.push(wire::FUNCTION);
        let length = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        here.dump(&mut self.out)?;
        self.out.ensure_room(0)?;
        let size = (self.out.len() - length - 4) as u32;
        self.out[length..length + 4].copy_from_slice(&size.to_le_bytes());
        let count = here.upvalue_count(-1);
        self.out.push(count as u8);
        self.frames.push(Frame::Function(FunctionFrame { slot: here.top(), entry, upvalue: 0, count }));
        if here.check(LEVEL) { Ok(()) } else { self.continue_on_new_stack(here) }
    }

    /// Writes the next upvalue of the function on top.
    pub(super) fn upvalue(&mut self, here: &Protected) -> Result<()> {
        let Some(Frame::Function(function)) = self.frames.last() else { return Ok(()) };
        let (slot, n, owner) = (function.slot, function.upvalue, function.entry);
        self.out.ensure_room(0)?;
        self.variables.try_reserve(1)?;
        here.push_upvalue_of(slot, n);
        let kind = here.kind(-1);
        if let Some(&(first, index)) = self.variables.get(&here.upvalue_id(slot, n)) {
            mark_shared(&mut self.out, self.start, first.tag);
            self.out.push(wire::JOINED);
            put_length(&mut self.out, first.id as usize);
            self.out.push(index as u8);
            here.pop(1);
            return Ok(());
        }
        if self.put_if_common_variable(here.upvalue_id(slot, n))? {
            here.pop(1);
            return Ok(());
        }
        self.variables.insert(here.upvalue_id(slot, n), (owner, n));
        if kind == Type::Table && self.is_globals(here) {
            self.out.push(wire::GLOBALS);
            here.pop(1);
            return Ok(());
        }
        if matches!(kind, Type::Table | Type::Function) && self.put_if_named(here)? {
            here.pop(1);
            return Ok(());
        }
        match kind {
            Type::Nil | Type::None => self.value(here),
            Type::Function if !here.is_native(-1) => self.value(here),
            Type::Function | Type::Userdata | Type::Thread => Err(self.upvalue_error(here, kind)),
            Type::Table if here.upvalue_name(slot, n) == frame::ENVIRONMENT => self.environment(here),
            _ if self.policy.functions == Functions::Carry(Upvalues::Copy) => self.value(here),
            _ => Err(self.upvalue_error(here, kind)),
        }
    }

    /// Writes the table on top, which is a function's `_ENV`. An empty table that looks up everything in the globals does not
    /// count as data.
    fn environment(&mut self, here: &Protected) -> Result<()> {
        let lookup = self.lookup(here);
        here.push_nil();
        let is_empty = !here.next(-2);
        if !is_empty {
            here.pop(2);
        }
        let is_data = lookup != Lookup::Globals || !is_empty;
        if lookup == Lookup::Unknown {
            let Some(Frame::Function(function)) = self.frames.last() else { return Ok(()) };
            return Err(function.environment_refusal(here));
        } else if is_data && self.policy.functions != Functions::Carry(Upvalues::Copy) {
            return Err(self.upvalue_error(here, Type::Table));
        }
        if lookup == Lookup::Globals {
            self.out.push(wire::ENVIRONMENT);
        }
        let pointer = here.pointer(-1);
        if self.put_if_seen(pointer)? {
            here.pop(1);
            return Ok(());
        }
        self.open_table(here, pointer, true)
    }

    /// The place in which the table on top looks up missing fields.
    fn lookup(&self, here: &Protected) -> Lookup {
        if !here.metatable(-1) {
            return Lookup::Nowhere;
        }
        let metatable = here.top();
        let mut lookup = Lookup::Nowhere;
        here.push_nil();
        while here.next(metatable) {
            let is_globals = self.is_globals(here);
            lookup = here.with_bytes(-2, |key| match key {
                b"__index" if is_globals => Lookup::Globals,
                // These fields only name or hide the metatable.
                b"__metatable" | b"__name" => lookup,
                key if key.starts_with(b"__") => Lookup::Unknown,
                _ => lookup,
            });
            here.pop(1);
            if lookup == Lookup::Unknown {
                here.pop(1);
                break;
            }
        }
        here.pop(1);
        lookup
    }

    /// Writes the table on top by name if it is a field of an environment and has a name, as the globals do. An environment
    /// often holds the libraries that its functions may use.
    pub(super) fn put_if_environment_field(&mut self, here: &Protected) -> Result<bool> {
        if !matches!(self.frames.last(), Some(Frame::Table(table)) if table.is_environment) {
            return Ok(false);
        }
        if self.is_globals(here) {
            self.out.push(wire::GLOBALS);
            return Ok(true);
        }
        self.put_if_named(here)
    }

    fn is_globals(&self, here: &Stack) -> bool {
        here.push_globals();
        let same = here.raw_equal(-1, -2);
        here.pop(1);
        same
    }

    /// The error of the current upvalue, which can't cross.
    fn upvalue_error(&self, here: &Stack, kind: Type) -> Error {
        match self.frames.last() {
            Some(Frame::Function(function)) => function.refusal(here, kind),
            _ => Error::Internal("an upvalue without its function".into()),
        }
    }
}
