//! The wire: how values are laid out in a message between two states.
//!
//! A message is one flat run of bytes, so it is plain `Send` data and dropping it is one `free`, however
//! deep the values were. [`crate::encode`] writes it, [`crate::decode`] reads it; both iterate, never
//! recurse. Layout:
//!
//! ```text
//! message  = flags:u8 count:u32 value*count
//! value    = NIL | FALSE | TRUE
//!          | INTEGER i64 | FLOAT u64 (the bits) | LIGHT u64
//!          | STRING length bytes
//!          | TABLE array:u32 record:u32 value*array (value value)*record
//!          | FUNCTION size:u32 bytecode upvalues:u8 upvalue*upvalues
//!          | NAMED length name            a thing that both sides have, by its name
//!          | REFERENCE id                 the id-th table or function of the message, from 0
//! upvalue  = GLOBALS                      the state's own globals
//!          | JOINED id index:u8           the same variable as that function's upvalue
//!          | value
//! ```
//!
//! Numbers are little-endian; `length` and `id` are LEB128. A table or function that something refers
//! back to has [`SHARED`] set in its tag, so only those are remembered while decoding.

use crate::error::{Error, Result};

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

/// Set in the tag of a table or function that is referred to again.
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
    let is_function =
        reader.slice(HEADER).is_ok() && reader.byte().is_ok_and(|tag| tag & !SHARED == FUNCTION);
    let size = reader.u32().ok().filter(|_| is_function)?;
    reader.slice(size as usize).ok()
}

/// Appends a LEB128 number.
pub fn put_length(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A cursor over a message. Every read says where the bytes end early.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    pub fn byte(&mut self) -> Result<u8> {
        let byte = *self.bytes.get(self.at).ok_or(Error::Corrupt("it ends early"))?;
        self.at += 1;
        Ok(byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let slice = self.slice(N)?;
        slice.try_into().map_err(|_| Error::Corrupt("it ends early"))
    }

    pub fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// As wide as an address, and in the machine's own order, as Lua dumps it.
    pub fn word(&mut self) -> Result<usize> {
        self.array().map(usize::from_ne_bytes)
    }

    pub fn length(&mut self) -> Result<usize> {
        let mut value = 0_usize;
        for shift in (0..usize::BITS).step_by(7) {
            let byte = self.byte()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Error::Corrupt("a length without end"))
    }

    pub fn slice(&mut self, length: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(length).ok_or(Error::Corrupt("a length past its end"))?;
        let slice = self.bytes.get(self.at..end).ok_or(Error::Corrupt("it ends early"))?;
        self.at = end;
        Ok(slice)
    }

    /// A length and that many bytes.
    pub fn bytes(&mut self) -> Result<&'a [u8]> {
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
            assert_eq!(Reader::new(&out).length(), Ok(value));
        }
    }

    #[test]
    fn what_ends_early_is_an_error_and_not_a_panic() {
        assert!(Reader::new(&[]).byte().is_err());
        assert!(Reader::new(&[1, 2]).u32().is_err());
        assert!(Reader::new(&[0x80; 12]).length().is_err());
        assert!(Reader::new(&[5, 1]).bytes().is_err());
    }
}
