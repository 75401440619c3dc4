//! Encodes texts.

use super::common::{find_text, put_reference};
use crate::codec::buffer::MessageBuffer;
use crate::codec::common::CommonIndex;
use crate::codec::identity_map::{Entry, IdentityMap};
use crate::codec::wire::{self, SHORT_TEXT, mark_shared, put_length};
use crate::error::Result;

/// Writes a string. If the message, which begins at `start`, already has this long string, by address, writes its number.
#[inline(always)] // Strings are the most frequent values.
pub(super) fn put_text(
    out: &mut MessageBuffer,
    texts: &mut IdentityMap,
    common: Option<&CommonIndex>,
    start: usize,
    bytes: &[u8],
) -> Result<()> {
    if bytes.len() <= SHORT_TEXT {
        return put_bytes(out, wire::STRING, bytes);
    }
    put_long_text(out, texts, common, start, bytes)
}

#[inline(never)] // So that the common case stays small.
fn put_long_text(
    out: &mut MessageBuffer,
    texts: &mut IdentityMap,
    common: Option<&CommonIndex>,
    start: usize,
    bytes: &[u8],
) -> Result<()> {
    if let Some(number) = find_text(common, bytes) {
        return put_reference(out, number);
    }
    match texts.get_or_insert(bytes.as_ptr() as usize, out.len())? {
        None => put_bytes(out, wire::TEXT, bytes),
        Some(Entry { id, tag }) => {
            out.ensure_room(0)?;
            mark_shared(out, start, tag);
            out.push(wire::TEXT_AGAIN);
            put_length(out, id as usize);
            Ok(())
        }
    }
}

#[inline(always)]
pub(super) fn put_bytes(out: &mut MessageBuffer, tag: u8, bytes: &[u8]) -> Result<()> {
    out.ensure_room(bytes.len())?;
    out.push(tag);
    put_length(out, bytes.len());
    out.extend_from_slice(bytes);
    Ok(())
}
