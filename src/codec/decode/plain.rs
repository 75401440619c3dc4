//! Decodes plain values: numbers, texts and the like, which have no frame.

use std::ffi::c_int;

use super::{Decoder, STACKED_KEYS};
use crate::codec::wire::{self, truncated};
use crate::error::{Error, Result};
use crate::fault;
use crate::ffi::{Protected, Stack};
use crate::pinned::Taken;

impl Decoder<'_> {
    /// Pushes a value that is complete at once. False if the tag stands for another kind of value.
    #[inline(always)] // Plain values are the most frequent ones.
    pub(super) fn push_plain(&mut self, here: &Protected, tag: u8) -> Option<bool> {
        match tag {
            wire::NIL => here.push_nil(),
            wire::FALSE => here.push_boolean(false),
            wire::TRUE => here.push_boolean(true),
            wire::INTEGER => here.push_integer(self.reader.u64()?.cast_signed()),
            wire::FLOAT => here.push_number(f64::from_bits(self.reader.u64()?)),
            wire::LIGHT => here.push_light(self.reader.u64()? as usize),
            wire::STRING => here.push_bytes(self.reader.bytes()?),
            wire::TEXT => {
                here.push_bytes(self.reader.bytes()?);
                self.texts += 1;
            }
            wire::NEW_KEY => {
                here.push_bytes(self.reader.bytes()?);
                self.number_key(here);
            }
            wire::KEY => {
                let number = self.reader.byte().map(i64::from).filter(|number| *number < self.keys)?;
                if number < i64::from(STACKED_KEYS) {
                    here.push_value(self.shared_slot + 2 + number as c_int);
                } else {
                    here.raw_get_i(self.shared_slot + 1, number + 1);
                }
            }
            _ => return Some(false),
        }
        Some(true)
    }

    /// Assigns the next number to the key on top.
    pub(super) fn number_key(&mut self, here: &Protected) {
        here.push_value(-1);
        if self.keys < i64::from(STACKED_KEYS) {
            here.replace(self.shared_slot + 2 + self.keys as c_int);
            self.keys += 1;
            return;
        }
        self.make_keys(here);
        self.keys += 1;
        here.raw_set_i(self.shared_slot + 1, self.keys);
    }

    /// Creates the table of keys, unless it exists.
    pub(super) fn make_keys(&mut self, here: &Protected) {
        if !self.has_keys {
            here.create_table(0, 0);
            here.replace(self.shared_slot + 1);
            self.has_keys = true;
        }
    }

    /// Reads the number of a pinned text, and pushes the text, in its own protected call: an error must not jump over the end
    /// of its use.
    #[cold]
    pub(super) fn push_pinned(&mut self, here: &Stack) -> Result<()> {
        let number = self.reader.length().ok_or_else(truncated)?;
        let push = |bytes: &[u8]| {
            fault::point("pinned")?;
            here.protected(0, |here| {
                here.push_bytes(bytes);
                Ok(())
            })
        };
        match self.pinned.map_or(Taken::Unknown, |pinned| pinned.take(number)) {
            Taken::Pinned(bytes) => push(&bytes),
            Taken::Kept(bytes) => push(&bytes),
            Taken::LackedMemory => Err(Error::Memory),
            Taken::Unknown => Err(Error::Corrupt("a pinned text that is not there")),
        }
    }
}
