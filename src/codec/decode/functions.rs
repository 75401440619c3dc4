//! Decodes functions: their code and their upvalues.

use std::ffi::c_int;

use super::tables::{Metatable, look_up_in_globals};
use super::{Decoder, Destination, Partial, PartialFunction, shared_number};
use crate::codec::wire::{self, SHARED, truncated};
use crate::error::{Error, Refusal, Remedy, Result};
use crate::ffi::{Protected, Stack, Type};

impl Decoder<'_> {
    /// Reads an environment: a table whose `__index` is the globals.
    pub(super) fn environment(&mut self, here: &Protected, destination: Destination) -> Result<()> {
        if !matches!(destination, Destination::Upvalue(_)) {
            return Err(Error::Corrupt("a stray environment"));
        }
        let tag = self.reader.byte().ok_or_else(truncated)?;
        if tag & !SHARED == wire::TABLE {
            return self.open_table(here, destination, tag, Metatable::Globals);
        }
        if tag == wire::COMMON {
            self.push_common(here)?;
        } else {
            let id = self.reader.length().filter(|_| tag == wire::REFERENCE);
            self.push_shared(here, shared_number(id.ok_or(Error::Corrupt("no environment"))?))?;
        }
        if here.kind(-1) != Type::Table {
            return Err(Error::Corrupt("an environment that is no table"));
        }
        look_up_in_globals(here);
        self.store(here, destination)
    }

    pub(super) fn open_function(
        &mut self,
        here: &Protected,
        destination: Destination,
        tag: u8,
    ) -> Result<()> {
        let size = self.reader.u32().ok_or_else(truncated)? as usize;
        let bytecode = self.reader.slice(size).ok_or_else(truncated)?;
        let count = c_int::from(self.reader.byte().ok_or_else(truncated)?);
        here.load(bytecode, c"=task")?;
        if here.upvalue_count(-1) != count {
            return Err(Error::Corrupt("a function with other upvalues"));
        }
        self.note_object(here, tag)?;
        let slot = here.top();
        let function = PartialFunction { slot, upvalue: 0, count };
        self.begin(here, slot, Partial::Function(function), destination)
    }

    /// The error of a name that this state lacks. It tells which upvalue has the name, if one does.
    pub(super) fn unresolved(&self, here: &Stack, destination: Destination, error: Error) -> Error {
        match (destination, self.unfinished.last().map(|unfinished| &unfinished.value), error) {
            (Destination::Upvalue(n), Some(Partial::Function(function)), Error::Absent { name }) => {
                let refusal = Refusal {
                    name: here.upvalue_name(function.slot, n),
                    remedy: Remedy::Absent,
                    holds: name.into(),
                    function: here.place_of(function.slot),
                };
                Error::Upvalues(vec![refusal].into())
            }
            (_, _, error) => error,
        }
    }

    /// Joins upvalue `n` of the unfinished function with an upvalue of the function on top, and pops that.
    pub(super) fn join(&mut self, here: &Stack, n: c_int) -> Result<()> {
        let index = c_int::from(self.reader.byte().ok_or_else(truncated)?);
        let Some(Partial::Function(function)) = self.unfinished.last().map(|unfinished| &unfinished.value)
        else {
            return Err(Error::Corrupt("an upvalue without its function"));
        };
        let is_function = here.kind(-1) == Type::Function && !here.is_native(-1);
        if !is_function || !(1..=here.upvalue_count(-1)).contains(&index) {
            return Err(Error::Corrupt("an upvalue of nothing"));
        }
        here.upvalue_join(function.slot, n, -1, index);
        here.pop(1);
        Ok(())
    }
}
