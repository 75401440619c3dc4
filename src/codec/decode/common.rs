//! Decodes the values that several messages have, once for each state, and finds them for those messages.

use super::{Decoder, Resolve, shared_number};
use crate::codec::common::Common;
use crate::codec::wire::truncated;
use crate::error::{Error, Result};
use crate::ffi::{Key, Protected, Stack, Type};

/// The key, in a state's registry, of the table of common objects by number.
static COMMON: Key = Key::new();

/// Decodes the common values of a job into the state's registry. A value that can't be decoded is left out: `refuse` gets the
/// number of its first object, and the reason.
pub fn decode_common(
    stack: &Stack,
    common: &Common,
    names: &dyn Resolve,
    refuse: &mut dyn FnMut(u32, Error),
) -> Result<()> {
    let mut decoder = Decoder::new(names);
    let decoder = &mut decoder;
    stack.with_collector_postponed(common.size(), 0, |stack| {
        stack.create_table(0, 0);
        stack.registry_set(&COMMON);
        for (first, message) in common.values() {
            let decoder = &mut *decoder;
            match stack.protected(0, |stack| decoder.common_value(stack, first, message)) {
                Ok(()) => {}
                Err(Error::Memory) => return Err(Error::Memory),
                Err(error) => refuse(first, error),
            }
        }
        Ok(())
    })
}

impl<'a> Decoder<'a> {
    /// Decodes a common value, whose first object has this number. Puts it and its shared parts into the table of objects.
    fn common_value(&mut self, stack: &Protected, first: u32, message: &'a [u8]) -> Result<()> {
        let before = i64::from(first);
        if stack.registry_get(&COMMON) != Type::Table {
            return Err(Error::Internal("no table of common objects was made".into()));
        }
        let (objects, shared) = (stack.top(), stack.top() + 1);
        if self.values(stack, message)? != 1 {
            return Err(Error::Corrupt("not one common value"));
        }
        if stack.kind(-1) == Type::Nil {
            return Err(Error::Corrupt("nil as a common value"));
        }
        if self.has_shared {
            stack.push_nil();
            while stack.next(shared) {
                // Texts have negative numbers. No other message refers to those by their number.
                match stack.whole(-2).filter(|number| *number > 0) {
                    Some(number) => {
                        stack.raw_set_i(objects, before + number);
                    }
                    None => stack.pop(1),
                }
            }
        }
        // Last, because the first object of the message may be the value's class, which no other message refers to.
        stack.raw_set_i(objects, before + shared_number(0));
        stack.set_top(0);
        Ok(())
    }

    /// Reads the number of a common object, and pushes the object.
    pub(super) fn push_common(&mut self, here: &Stack) -> Result<()> {
        let number = self.reader.length().ok_or_else(truncated)?;
        let has_common = here.registry_get(&COMMON) == Type::Table;
        if !has_common || here.raw_get_i(-1, shared_number(number)) == Type::Nil {
            return Err(Error::NoCommon { number });
        }
        here.remove(-2);
        Ok(())
    }
}
