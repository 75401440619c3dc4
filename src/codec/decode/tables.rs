//! Decodes tables: their entries and their metatables.

use std::ffi::c_int;

use super::{Decoder, Destination, Partial, PartialTable, Unfinished, shared_number};
use crate::codec::wire::{self, SHARED, truncated};
use crate::error::{Error, Result};
use crate::ffi::{Protected, Type};

/// The metatable of a table that is read.
#[derive(Clone, Copy)]
pub(super) enum Metatable {
    None,
    /// One that looks up everything in the globals.
    Globals,
    /// The one below the table on the stack.
    Below,
}

impl Decoder<'_> {
    pub(super) fn open_table(
        &mut self,
        here: &Protected,
        destination: Destination,
        tag: u8,
        metatable: Metatable,
    ) -> Result<()> {
        let array = self.reader.u32().ok_or_else(truncated)?;
        let record = self.reader.u32().ok_or_else(truncated)?;
        let announced = u64::from(array) + 2 * u64::from(record);
        self.unannounced = self
            .unannounced
            .checked_sub(announced)
            .ok_or(Error::Corrupt("tables larger than their message"))?;
        let size = |count: u32| c_int::try_from(count).map_err(|_| Error::Corrupt("a table too large"));
        here.create_table(size(array)?, size(record)?);
        match metatable {
            Metatable::None => {}
            Metatable::Globals => look_up_in_globals(here),
            Metatable::Below => {
                here.insert(-2);
                set_class(here);
            }
        }
        self.note_object(here, tag)?;
        let slot = here.top();
        let table = PartialTable { slot, array: 0, array_size: array, record_left: record, has_key: false };
        self.begin(here, slot, Partial::Table(table), destination)
    }

    /// Reads a table with a metatable of a module.
    pub(super) fn object(&mut self, here: &Protected, destination: Destination) -> Result<()> {
        let tag = self.reader.byte().ok_or_else(truncated)?;
        match tag & !SHARED {
            wire::CLASS => {
                let name = self.reader.bytes().ok_or_else(truncated)?;
                let name = std::str::from_utf8(name).map_err(|_| Error::Corrupt("a name"))?;
                self.names.push_named(here, name)?;
                if tag & SHARED != 0 {
                    self.register(here, self.next_id + 1)?;
                }
                self.next_id += 1;
            }
            wire::REFERENCE => {
                let id = self.reader.length().ok_or_else(truncated)?;
                self.push_shared(here, shared_number(id))?;
            }
            _ => return Err(Error::Corrupt("no class")),
        }
        if here.kind(-1) != Type::Table {
            return Err(Error::Corrupt("a class that is no table"));
        }
        let tag = self.reader.byte().filter(|tag| tag & !SHARED == wire::TABLE);
        let tag = tag.ok_or(Error::Corrupt("an object that is no table"))?;
        self.open_table(here, destination, tag, Metatable::Below)
    }

    /// Fills the innermost table, until one of its values must be built first or it is complete.
    pub(super) fn fields(&mut self, here: &Protected, mut table: PartialTable) -> Result<()> {
        let target = here.table(table.slot);
        while table.array < table.array_size {
            table.array += 1;
            let tag = self.reader.byte().ok_or_else(truncated)?;
            if !self.push_plain(here, tag).ok_or_else(truncated)? {
                return self.pause(here, table, tag, Destination::Item(table.array));
            }
            target.raw_set_i(table.array.into());
        }
        while table.has_key || table.record_left > 0 {
            if !table.has_key {
                table.has_key = true;
                let tag = self.reader.byte().ok_or_else(truncated)?;
                if !self.push_plain(here, tag).ok_or_else(truncated)? {
                    return self.pause(here, table, tag, Destination::Top);
                }
            }
            table.has_key = false;
            table.record_left -= 1;
            let tag = self.reader.byte().ok_or_else(truncated)?;
            if !self.push_plain(here, tag).ok_or_else(truncated)? {
                return self.pause(here, table, tag, Destination::Field);
            }
            target.raw_set();
        }
        self.finish(here)
    }

    /// Leaves the innermost table, one of whose values needs more than a push.
    #[inline]
    fn pause(
        &mut self,
        here: &Protected,
        table: PartialTable,
        tag: u8,
        destination: Destination,
    ) -> Result<()> {
        if let Some(Unfinished { value: Partial::Table(paused), .. }) = self.unfinished.last_mut() {
            *paused = table;
        }
        self.tagged_value(here, tag, destination)
    }
}

/// Makes the table on top the metatable of the one below it, and pops it. What a finalizer would release belongs to the original,
/// so the copy gets none: Lua looks for `__gc` as the metatable is set.
fn set_class(stack: &Protected) {
    if stack.raw_get_text(-1, "__gc") == Type::Nil {
        stack.pop(1);
        return stack.set_metatable(-2);
    }
    stack.push_nil();
    stack.raw_set_text(-3, "__gc");
    stack.push_value(-2);
    stack.set_metatable(-4);
    stack.raw_set_text(-2, "__gc");
    stack.pop(1);
}

/// Sets a metatable whose `__index` is the globals on the table on top.
pub(super) fn look_up_in_globals(stack: &Protected) {
    stack.create_table(0, 1);
    stack.push_globals();
    stack.raw_set_text(-2, "__index");
    stack.set_metatable(-2);
}
