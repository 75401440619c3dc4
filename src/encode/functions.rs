//! Functions out of a state: their code, and what they have captured.

use super::{Encoder, LEVEL};
use crate::codec::{self, put_length};
use crate::error::{Error, Result};
use crate::ffi::{Stack, Type};
use crate::frame::{Frame, FunctionFrame};
use crate::policy::{Functions, Upvalues};

impl Encoder<'_> {
    pub(super) fn open_function(&mut self, here: &Stack, pointer: usize) -> Result<()> {
        let seen = self.remember(pointer)?;
        self.out.push(codec::FUNCTION);
        let length = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        here.dump(&mut self.out)?;
        self.out.room(0)?;
        let size = (self.out.len() - length - 4) as u32;
        self.out[length..length + 4].copy_from_slice(&size.to_le_bytes());
        let count = here.upvalue_count(-1);
        self.out.push(count as u8);
        self.frames.push(Frame::Function(FunctionFrame {
            stack: *here,
            slot: here.top(),
            seen,
            upvalue: 0,
            count,
        }));
        if here.check(LEVEL) { Ok(()) } else { self.go_on_elsewhere(here) }
    }

    /// Writes the next upvalue of the function on top.
    pub(super) fn upvalue(&mut self, here: &Stack) -> Result<()> {
        let Some(Frame::Function(function)) = self.frames.last() else { return Ok(()) };
        let (slot, n, owner) = (function.slot, function.upvalue, function.seen);
        self.out.room(0)?;
        self.variables.try_reserve(1)?;
        here.push_upvalue_of(slot, n);
        let kind = here.kind(-1);
        if let Some(&(first, index)) = self.variables.get(&here.upvalue_id(slot, n)) {
            self.share(first.tag);
            self.out.push(codec::JOINED);
            put_length(&mut self.out, first.id as usize);
            self.out.push(index as u8);
            here.pop(1);
            return Ok(());
        }
        self.variables.insert(here.upvalue_id(slot, n), (owner, n));
        if kind == Type::Table && self.is_globals(here) {
            self.out.push(codec::GLOBALS);
            here.pop(1);
            return Ok(());
        }
        if matches!(kind, Type::Table | Type::Function) && self.named(here, here.pointer(-1))? {
            here.pop(1);
            return Ok(());
        }
        match kind {
            Type::Nil | Type::None => self.value(here),
            Type::Function if !here.is_native(-1) => self.value(here),
            Type::Function | Type::Userdata | Type::Thread => Err(self.captured(here, kind)),
            _ if self.policy.functions == Functions::Carry(Upvalues::Copy) => self.value(here),
            _ => Err(self.captured(here, kind)),
        }
    }

    fn is_globals(&self, here: &Stack) -> bool {
        here.push_globals();
        let same = here.raw_equal(-1, -2);
        here.pop(1);
        same
    }

    /// The error of an upvalue that can't cross.
    fn captured(&self, here: &Stack, kind: Type) -> Error {
        match self.frames.last() {
            Some(Frame::Function(function)) => function.refusal(here, kind),
            _ => Error::Internal("an upvalue without its function".into()),
        }
    }
}
