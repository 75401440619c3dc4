//! The layout of a message between two states.
//!
//! A message is one flat array of bytes. So it is plain `Send` data, and freeing it is one `free`, however deep the values
//! are. [`crate::codec::encode`] writes it and [`crate::codec::decode`] reads it, both without recursion. Layout:
//!
//! ```text
//! message  = flags:u8 count:u32 value*count
//! rest     = flags:u8 open:u32 (array:u32 record:u32)*open …    a block after the first; see below
//! value    = NIL | FALSE | TRUE
//!          | INTEGER i64 | FLOAT u64 (the bits) | LIGHT u64
//!          | STRING length bytes          a short text
//!          | TEXT length bytes            a long text
//!          | PINNED number                a long text: the pinned text of the job that has this number
//!          | TEXT_AGAIN id                the id-th TEXT or PINNED of the message, from 0
//!          | TABLE array:u32 record:u32 value*array (value value)*record
//!          | FUNCTION size:u32 bytecode upvalues:u8 upvalue*upvalues
//!          | NAMED length name            the receiver's own function or table of that name
//!          | OBJECT class TABLE…         a table with a metatable of a module; see `class`
//!          | NEW_KEY length bytes         a text that gets the next number as a key, from 0
//!          | KEY number:u8                the text that has this number
//!          | REFERENCE id                 the id-th table or function of the message, from 0
//!          | GLOBALS                      the receiver's globals, as a field of an environment
//!          | COMMON id                    the id-th object of the job's common values, which the receiver has
//! class    = CLASS length name            the receiver's own table of that name
//!          | REFERENCE id
//! upvalue  = GLOBALS                      the receiver's globals
//!          | ENVIRONMENT value            a table whose `__index` is the receiver's globals
//!          | JOINED id index:u8           the same variable as upvalue `index` of function `id`
//!          | COMMON_JOINED id index:u8    the same, of a function of the job's common values
//!          | value
//! ```
//!
//! Numbers are little-endian; `length` and `id` are LEB128. Tables, functions and classes are counted together, long texts
//! separately. A table, function, class or long text that the message refers to again has [`SHARED`] set in its tag. The decoder
//! remembers only these.
//!
//! A long message may come in blocks. Each but the last has [`HAS_MORE`], and ends with BLOCK_END in place of a key. The next
//! one goes on with the tables that are open then, from the outermost: their numbers of items so far and in this block, and of
//! fields in this block. The numbers of keys, tables and texts go on, too.

use crate::error::Error;
pub use crate::reader::Reader;

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
pub const OBJECT: u8 = 18;
pub const CLASS: u8 = 19;

pub const COMMON: u8 = 20;
pub const COMMON_JOINED: u8 = 21;

pub const PINNED: u8 = 22;

pub const BLOCK_END: u8 = 23;

/// The smallest long text, in bytes, that can be a common value. A reference to a shorter one would save nothing.
pub const COMMON_TEXT: usize = 1024;

/// The largest size of a short text in bytes (`LUAI_MAXSHORTLEN`). Lua 5.3 interns short strings. A state may have several
/// equal copies of a longer one.
pub const SHORT_TEXT: usize = 40;

/// Set in the tag of a table, function or long text that the message refers to again.
pub const SHARED: u8 = 0x80;

/// Set in a message's flags if any tag has [`SHARED`].
pub const HAS_SHARED: u8 = 1;

/// Set in a message's flags if it has a [`PINNED`] text. So it is larger than its bytes say.
pub const HAS_PINNED: u8 = 2;

/// Set in a block's flags if another block of the same message follows.
pub const HAS_MORE: u8 = 4;

/// Set in a block's flags if it is not the first of its message.
pub const IS_REST: u8 = 8;

/// The size in bytes of a message's flags and count.
pub const HEADER: usize = 5;

/// The first part of the name of everything in the host's `gma` table.
pub const GMA: &str = "gma";

/// The first part of the names of the functions in the option `host`, and the task's global that has them.
pub const HOST: &str = "host";

/// The first part of the name of everything in a module. The module's name and the keys to the object follow.
pub const MODULE: &str = "require";

/// Separates the keys in a name under `gma` or in a module. A key that contains it can't be part of a name.
pub const SEPARATOR: char = '\0';

/// The bytecode of a message's first value, if that is a function.
pub fn bytecode(message: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(message);
    reader.slice(HEADER)?;
    reader.byte().filter(|tag| tag & !SHARED == FUNCTION)?;
    let size = reader.u32()?;
    reader.slice(size as usize)
}

/// Whether a message is the rest of one whose first blocks came before.
pub fn is_rest(message: &[u8]) -> bool {
    message.first().is_some_and(|flags| flags & IS_REST != 0)
}

/// Sets the counts of the table whose tag is at `tag`.
pub fn set_counts(out: &mut [u8], tag: usize, array: u32, record: u32) {
    out[tag + 1..tag + 5].copy_from_slice(&array.to_le_bytes());
    out[tag + 5..tag + 9].copy_from_slice(&record.to_le_bytes());
}

/// Appends a LEB128 number.
pub fn put_length(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a tag and eight bytes.
pub fn put_eight(out: &mut Vec<u8>, tag: u8, value: u64) {
    let mut bytes = [tag; 9];
    bytes[1..].copy_from_slice(&value.to_le_bytes());
    out.extend_from_slice(&bytes);
}

/// Notes that the message, which begins at `start`, refers again to the value with the tag at `tag`.
pub fn mark_shared(out: &mut [u8], start: usize, tag: usize) {
    out[tag] |= SHARED;
    out[start] |= HAS_SHARED;
}

/// Like [`mark_shared`]. The value may be in a block that was sent; then it must have been marked before.
#[inline]
pub fn mark_again(out: &mut [u8], start: usize, tag: usize) -> Result<(), Error> {
    match out.get_mut(tag) {
        Some(tag) => *tag |= SHARED,
        None if tag == SENT => {}
        None => return Err(Error::BlockSent),
    }
    out[start] |= HAS_SHARED;
    Ok(())
}

/// The position of the tag of a value whose block was sent, if the value is marked as shared, and if it is not.
pub const SENT: usize = usize::MAX;
pub const SENT_UNMARKED: usize = usize::MAX - 1;

/// The error of a message that ends too early.
pub fn truncated() -> Error {
    Error::Corrupt("it ends early")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_as_they_were_written() {
        for value in [0, 1, 127, 128, 300, 1 << 20, usize::MAX] {
            let mut out = Vec::new();
            put_length(&mut out, value);
            assert_eq!(Reader::new(&out).length(), Some(value));
        }
    }
}
