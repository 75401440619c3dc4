//! Encodes plain values, which refer to no others.

use std::ffi::c_int;

use super::Encoder;
use super::texts::{put_bytes, put_text};
use crate::codec::keys::Occurrence;
use crate::codec::wire::{self, SHORT_TEXT, put_eight};
use crate::error::Result;
use crate::ffi::{Plain, Stack, Type};

impl Encoder<'_> {
    /// Like [`Encoder::put_plain`], which need not be inlined twice.
    pub(super) fn plain_at(&mut self, here: &Stack, index: c_int) -> Result<Option<Type>> {
        self.out.ensure_room(0)?;
        self.put_plain(here, index)
    }

    /// Writes a plain value, and leaves it on the stack. Of another value, it writes nothing and returns the type. There must be
    /// room for a scalar.
    #[inline(always)] // Plain values are the most frequent ones.
    pub(super) fn put_plain(&mut self, here: &Stack, index: c_int) -> Result<Option<Type>> {
        let (out, texts, start) = (&mut self.out, &mut self.texts, self.start);
        let common = self.common.as_deref();
        let value = here.plain(index, |bytes| put_text(out, texts, common, start, bytes));
        self.put_scalar(value)
    }

    /// Like [`Encoder::put_plain`], for a key: one that repeats is written as its number.
    #[inline(always)] // As above.
    pub(super) fn put_key(&mut self, here: &Stack, index: c_int) -> Result<Option<Type>> {
        let (out, texts, keys, start) = (&mut self.out, &mut self.texts, &mut self.keys, self.start);
        let common = self.common.as_deref();
        let key = here.plain(index, |bytes| {
            if bytes.len() > SHORT_TEXT {
                return put_text(out, texts, common, start, bytes);
            }
            match keys.record(bytes) {
                Occurrence::Numbered(number) => {
                    out.extend_from_slice(&[wire::KEY, number]);
                    Ok(())
                }
                Occurrence::Second => put_bytes(out, wire::NEW_KEY, bytes),
                Occurrence::First => put_bytes(out, wire::STRING, bytes),
            }
        });
        self.put_scalar(key)
    }

    /// Writes a scalar that was read, for which there must be room. A text has been written. Returns the type of another value.
    #[inline(always)] // As above.
    fn put_scalar(&mut self, value: Plain<Result<()>>) -> Result<Option<Type>> {
        let out: &mut Vec<u8> = &mut self.out;
        match value {
            Plain::Text(written) => written?,
            Plain::Integer(value) => put_eight(out, wire::INTEGER, value.cast_unsigned()),
            Plain::Float(value) => put_eight(out, wire::FLOAT, value.to_bits()),
            Plain::Boolean(value) => out.push(if value { wire::TRUE } else { wire::FALSE }),
            Plain::Light(value) => put_eight(out, wire::LIGHT, value as u64),
            Plain::Nil => out.push(wire::NIL),
            Plain::Other(kind) => return Ok(Some(kind)),
        }
        Ok(None)
    }
}
