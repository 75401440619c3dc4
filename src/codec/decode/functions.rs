//! Functions into a state: their code, and what they have captured there.

use std::ffi::c_int;

use super::{Decoder, FunctionFrame, Parent, Place, number_of};
use crate::codec::wire::{self, SHARED, ends_early};
use crate::error::{self, Error, Result};
use crate::ffi::{Protected, Stack, Type};

impl Decoder<'_> {
    /// Reads a table that looks up in the globals what it lacks.
    pub(super) fn environment(&mut self, here: &Protected, place: Place) -> Result<()> {
        if !matches!(place, Place::Upvalue(_)) {
            return Err(Error::Corrupt("a stray environment"));
        }
        let tag = self.reader.byte().ok_or_else(ends_early)?;
        if tag & !SHARED == wire::TABLE {
            return self.open_table(here, place, tag, true);
        }
        let id = self.reader.length().filter(|_| tag == wire::REFERENCE);
        self.push_shared(here, number_of(id.ok_or(Error::Corrupt("no environment"))?))?;
        if here.kind(-1) != Type::Table {
            return Err(Error::Corrupt("an environment that is no table"));
        }
        look_up_in_globals(here);
        self.settle(here, place)
    }

    pub(super) fn open_function(&mut self, here: &Protected, place: Place, tag: u8) -> Result<()> {
        let size = self.reader.u32().ok_or_else(ends_early)? as usize;
        let bytecode = self.reader.slice(size).ok_or_else(ends_early)?;
        let count = c_int::from(self.reader.byte().ok_or_else(ends_early)?);
        here.load(bytecode, c"=task")?;
        if here.upvalue_count(-1) != count {
            return Err(Error::Corrupt("a function with other upvalues"));
        }
        self.settle_and_keep(here, place, tag)?;
        let function = FunctionFrame { slot: here.top(), upvalue: 0, count };
        self.push_frame(here, Parent::Function(function), place)
    }

    /// The error of a name that means nothing here: it tells which upvalue asked for it.
    pub(super) fn absent(&self, here: &Stack, place: Place, error: Error) -> Error {
        match (place, self.frames.last().map(|frame| &frame.parent), error) {
            (Place::Upvalue(n), Some(Parent::Function(function)), Error::Absent { name }) => Error::Upvalue {
                name: here.upvalue_name(function.slot, n),
                advice: error::instead_of_absent(&name),
                holds: name.into(),
                function: here.place_of(function.slot),
            },
            (_, _, error) => error,
        }
    }

    /// Makes upvalue `n` of the function being built the same variable as another function's.
    pub(super) fn join(&self, here: &Stack, n: c_int, id: usize, index: c_int) -> Result<()> {
        let Some(Parent::Function(function)) = self.frames.last().map(|frame| &frame.parent) else {
            return Err(Error::Corrupt("an upvalue without its function"));
        };
        self.push_shared(here, number_of(id))?;
        let is_function = here.kind(-1) == Type::Function && !here.is_native(-1);
        if !is_function || !(1..=here.upvalue_count(-1)).contains(&index) {
            return Err(Error::Corrupt("an upvalue of nothing"));
        }
        here.upvalue_join(function.slot, n, -1, index);
        here.pop(1);
        Ok(())
    }
}

/// Has the table on top look up in the state's globals what it lacks. *Raises.*
pub(super) fn look_up_in_globals(stack: &Protected) {
    stack.create_table(0, 1);
    stack.push_globals();
    stack.raw_set_text(-2, "__index");
    stack.set_metatable(-2);
}
