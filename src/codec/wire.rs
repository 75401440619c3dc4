//! The wire: how values are laid out in a message between two states.
//!
//! A message is one flat run of bytes, so it is plain `Send` data and dropping it is one `free`, however
//! deep the values were. [`crate::codec::encode`] writes it, [`crate::codec::decode`] reads it; both iterate, never
//! recurse. Layout:
//!
//! ```text
//! message  = flags:u8 count:u32 value*count
//! value    = NIL | FALSE | TRUE
//!          | INTEGER i64 | FLOAT u64 (the bits) | LIGHT u64
//!          | STRING length bytes          a short text
//!          | TEXT length bytes            a long one
//!          | TEXT_AGAIN id                the id-th TEXT of the message, from 0
//!          | TABLE array:u32 record:u32 value*array (value value)*record
//!          | FUNCTION size:u32 bytecode upvalues:u8 upvalue*upvalues
//!          | NAMED length name            a thing that both sides have, by its name
//!          | NEW_KEY length bytes         a text, and its number as a key, from 0
//!          | KEY number:u8                that text again
//!          | REFERENCE id                 the id-th table or function of the message, from 0
//!          | GLOBALS                      the state's own, among the fields of an environment
//! upvalue  = GLOBALS                      the state's own globals
//!          | ENVIRONMENT value            a table that looks up in them what it lacks
//!          | JOINED id index:u8           the same variable as that function's upvalue
//!          | value
//! ```
//!
//! Numbers are little-endian; `length` and `id` are LEB128. A table, function or long text that something refers
//! back to has [`SHARED`] set in its tag, so only those are remembered while decoding. Tables and functions are
//! counted together, long texts by themselves.

use crate::error::Error;

pub const NIL: u8 = 0;
pub const FALSE: u8 = 1;
pub const TRUE: u8 = 2;
pub const INTEGER: u8 = 3;
pub const FLOAT: u8 = 4;
pub const LIGHT: u8 = 5;
pub const STRING: u8 = 6;
pub const TABLE: u8 = 7;
pub const FUNCTION: u8 = 8;
pub const NAMED: u8 = 9;
pub const REFERENCE: u8 = 10;
pub const GLOBALS: u8 = 11;
pub const JOINED: u8 = 12;
pub const NEW_KEY: u8 = 13;
pub const KEY: u8 = 14;
pub const TEXT: u8 = 15;
pub const TEXT_AGAIN: u8 = 16;
pub const ENVIRONMENT: u8 = 17;

/// The most bytes of a short text. Of a longer one Lua 5.3 may have several, each with an identity of its own; a short one
/// it has once, in whatever state (`LUAI_MAXSHORTLEN`).
pub const SHORT_TEXT: usize = 40;

/// Set in the tag of a table, function or long text that is referred to again.
pub const SHARED: u8 = 0x80;

/// Set in a message's flags when any of its tags has [`SHARED`].
pub const HAS_SHARED: u8 = 1;

/// The bytes of a message before its first value.
pub const HEADER: usize = 5;

/// The path that begins the name of everything under the host's `gma` table.
pub const GMA: &str = "gma";

/// What separates the keys in such a name. A key that holds one has no name.
pub const SEPARATOR: char = '\0';

/// The bytecode of a message that is one function.
pub fn bytecode(message: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(message);
    reader.slice(HEADER)?;
    reader.byte().filter(|tag| tag & !SHARED == FUNCTION)?;
    let size = reader.u32()?;
    reader.slice(size as usize)
}

/// Appends a LEB128 number.
pub fn put_length(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a tag, and a value of eight bytes.
pub fn put_eight(out: &mut Vec<u8>, tag: u8, value: u64) {
    let mut bytes = [tag; 9];
    bytes[1..].copy_from_slice(&value.to_le_bytes());
    out.extend_from_slice(&bytes);
}

/// The error of a message that is shorter than it says.
pub fn ends_early() -> Error {
    Error::Corrupt("it ends early")
}

/// A cursor over a message. What it reads is none where the bytes end early.
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    #[inline]
    pub fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*array)
    }

    #[inline]
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    #[inline]
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// As wide as an address, and in the machine's own order, as Lua dumps it.
    pub fn word(&mut self) -> Option<usize> {
        self.array().map(usize::from_ne_bytes)
    }

    #[inline]
    pub fn length(&mut self) -> Option<usize> {
        let mut value = 0_usize;
        for shift in (0..usize::BITS).step_by(7) {
            let byte = self.byte()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    #[inline]
    pub fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (slice, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(slice)
    }

    /// A length and that many bytes.
    #[inline]
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.slice(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_come_back() {
        for value in [0, 1, 127, 128, 300, 1 << 20, usize::MAX] {
            let mut out = Vec::new();
            put_length(&mut out, value);
            assert_eq!(Reader::new(&out).length(), Some(value));
        }
    }

    #[test]
    fn what_ends_early_is_none_and_not_a_panic() {
        assert!(Reader::new(&[]).byte().is_none());
        assert!(Reader::new(&[1, 2]).u32().is_none());
        assert!(Reader::new(&[0x80; 12]).length().is_none());
        assert!(Reader::new(&[5, 1]).bytes().is_none());
    }
}
