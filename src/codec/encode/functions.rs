//! Encodes functions: their code and their upvalues.

use super::Encoder;
use crate::codec::captures::{Content, Judgement};
use crate::codec::frame::{self, Frame, FunctionFrame, Role, TableFrame};
use crate::codec::policy::{Functions, Upvalues};
use crate::codec::wire::{self, mark_shared, put_length};
use crate::error::Result;
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
        let code = length + 4..self.out.len();
        self.out[length..length + 4].copy_from_slice(&(code.len() as u32).to_le_bytes());
        let count = here.upvalue_count(-1);
        self.out.push(count as u8);
        let position = self.captures.add_function(pointer, code, count)?;
        self.frames.push(Frame::Function(FunctionFrame {
            slot: here.top(),
            entry,
            position,
            upvalue: 0,
            count,
        }));
        if self.has_room(here, here.top()) { Ok(()) } else { self.continue_on_new_stack(here) }
    }

    /// Writes the next upvalue of the function on top.
    pub(super) fn upvalue(&mut self, here: &Protected) -> Result<()> {
        let Some(Frame::Function(function)) = self.frames.last() else { return Ok(()) };
        let FunctionFrame { slot, entry, position, upvalue, .. } = *function;
        self.out.ensure_room(0)?;
        here.push_upvalue_of(slot, upvalue);
        let id = here.upvalue_id(slot, upvalue);
        if let Some(variable) = self.captures.capture(id, entry, position, upvalue)? {
            mark_shared(&mut self.out, self.start, variable.first.tag);
            self.out.push(wire::JOINED);
            put_length(&mut self.out, variable.first.id as usize);
            self.out.push(variable.upvalue as u8);
            here.pop(1);
            return Ok(());
        }
        if self.put_if_common_variable(id)? {
            here.pop(1);
            return Ok(());
        }
        let kind = here.kind(-1);
        if kind == Type::Table && self.is_globals(here) {
            self.captures.set_content(Content::Globals);
            self.out.push(wire::GLOBALS);
            here.pop(1);
            return Ok(());
        }
        let start = self.out.len();
        if matches!(kind, Type::Table | Type::Function) && self.put_if_named(here)? {
            self.captures.set_content(Content::Named(start));
            here.pop(1);
            return Ok(());
        }
        match kind {
            Type::Nil | Type::None => {
                // Nothing is lost unless the task sets the variable.
                if matches!(self.policy.functions, Functions::Carry(Upvalues::Error | Upvalues::Copy)) {
                    let number = self.captures.set_content(Content::Other);
                    self.note_upvalue(here, Type::Nil, Some(number))?;
                }
                self.value(here)
            }
            Type::Function if !here.is_native(-1) => {
                self.captures.set_content(Content::Function(here.pointer(-1)));
                self.value(here)
            }
            Type::Function | Type::Userdata | Type::Thread => {
                self.note_upvalue(here, kind, None)?;
                self.put_nothing(here)
            }
            Type::Table if here.upvalue_name(slot, upvalue) == frame::ENVIRONMENT => self.environment(here),
            _ => self.data(here, kind),
        }
    }

    /// Writes the data on top, which the current function has captured.
    fn data(&mut self, here: &Protected, kind: Type) -> Result<()> {
        let number = self.captures.set_content(Content::Other);
        let is_copied = self.copies_data();
        if !is_copied || self.policy.functions == Functions::Carry(Upvalues::Copy) {
            self.note_upvalue(here, kind, Some(number))?;
        }
        let role = match (kind, is_copied) {
            (Type::Table, true) => Role::Captured(number),
            (Type::Table, false) => Role::Refused(number),
            (_, true) => return self.value(here),
            (_, false) => return self.put_nothing(here),
        };
        let pointer = here.pointer(-1);
        if self.put_if_seen(pointer)? {
            here.pop(1);
            return Ok(());
        }
        if is_copied {
            self.put_class(here)?;
        }
        self.open_table(here, pointer, role)
    }

    /// Whether data in upvalues is copied.
    fn copies_data(&self) -> bool {
        !matches!(
            self.policy.functions,
            Functions::Carry(Upvalues::Error) | Functions::Return(Upvalues::Error)
        )
    }

    /// Writes nil in place of the value on top, in a message that will be refused.
    fn put_nothing(&mut self, here: &Stack) -> Result<()> {
        self.out.push(wire::NIL);
        here.pop(1);
        Ok(())
    }

    /// Notes the current upvalue. `number` is its variable's number, if it holds data.
    fn note_upvalue(&mut self, here: &Stack, kind: Type, number: Option<u32>) -> Result<()> {
        let Some(Frame::Function(function)) = self.frames.last() else { return Ok(()) };
        self.captures.note(function.refusal(here, kind), number.map(|number| (number, kind)))
    }

    /// Fails if an upvalue was noted that keeps its function from crossing.
    pub(super) fn judge_captures(&mut self) -> Result<()> {
        let judgement = match self.policy.functions {
            Functions::Carry(Upvalues::Copy) => Judgement::RefuseWritten,
            Functions::Return(_) => Judgement::AdviseCopy,
            _ => Judgement::Refuse,
        };
        self.captures.judge(&self.out, judgement)
    }

    /// Notes that the function on top is a field of a captured table: the table's own functions may write to it.
    pub(super) fn note_field(&mut self, here: &Stack, pointer: usize) -> Result<()> {
        match self.frames.last() {
            Some(Frame::Table(TableFrame {
                slot,
                role: Role::Captured(number) | Role::Refused(number),
                in_key: false,
                ..
            })) if here.kind(slot + 1) == Type::String => {
                let captures = &mut self.captures;
                here.with_bytes(slot + 1, |key| captures.add_field(*number, key, pointer))
            }
            _ => Ok(()),
        }
    }

    /// Whether the innermost table is refused, so that only its functions matter.
    pub(super) fn is_refused_table(&self) -> bool {
        matches!(self.frames.last(), Some(Frame::Table(TableFrame { role: Role::Refused(_), .. })))
    }

    /// Writes the table on top, which is a function's `_ENV`. An empty table that looks up everything in the globals does not
    /// count as data.
    fn environment(&mut self, here: &Protected) -> Result<()> {
        self.captures.set_content(Content::Globals);
        let lookup = self.lookup(here);
        here.push_nil();
        let is_empty = !here.next(-2);
        if !is_empty {
            here.pop(2);
        }
        let is_data = lookup != Lookup::Globals || !is_empty;
        if lookup == Lookup::Unknown {
            let Some(Frame::Function(function)) = self.frames.last() else { return Ok(()) };
            self.captures.note(function.environment_refusal(here), None)?;
            return self.put_nothing(here);
        } else if is_data && !self.copies_data() {
            self.note_upvalue(here, Type::Table, None)?;
            return self.put_nothing(here);
        }
        if lookup == Lookup::Globals {
            self.out.push(wire::ENVIRONMENT);
        }
        let pointer = here.pointer(-1);
        if self.put_if_seen(pointer)? {
            here.pop(1);
            return Ok(());
        }
        self.open_table(here, pointer, Role::Environment)
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
        if !self.is_in_environment() {
            return Ok(false);
        }
        if self.is_globals(here) {
            self.out.push(wire::GLOBALS);
            return Ok(true);
        }
        self.put_if_named(here)
    }

    /// Whether the innermost table is an environment.
    pub(super) fn is_in_environment(&self) -> bool {
        matches!(self.frames.last(), Some(Frame::Table(table)) if table.role == Role::Environment)
    }

    pub(super) fn is_globals(&self, here: &Stack) -> bool {
        here.push_globals();
        let same = here.raw_equal(-1, -2);
        here.pop(1);
        same
    }
}

/// Whether a field, on top, is a method of its table: a Lua function with a text as its key.
pub(super) fn is_carried_method(here: &Stack, key: Type) -> bool {
    key == Type::String && here.kind(-1) == Type::Function && !here.is_native(-1)
}
