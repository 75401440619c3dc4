//! Encodes texts.

use std::ffi::c_int;

use super::Encoder;
use super::common::{find_text, put_reference};
use crate::codec::buffer::MessageBuffer;
use crate::codec::common::CommonIndex;
use crate::codec::identity_map::{Entry, IdentityMap};
use crate::codec::wire::{self, HAS_PINNED, SHORT_TEXT, mark_again, put_length};
use crate::error::{Error, Result};
use crate::ffi::{Pins, Stack};
use crate::pinned::PINNED_TEXT;

impl<'a> Encoder<'a> {
    /// Pins the long text at an index, and writes its number.
    #[cold]
    pub(super) fn pinned_text(&mut self, here: &Stack, index: c_int) -> Result<()> {
        let Some(pins) = self.pins else { return Err(Error::Internal("no text can be pinned".into())) };
        let number = pins.pin(here, index)?;
        self.out.ensure_room(0)?;
        self.out[self.start] |= HAS_PINNED;
        self.out.push(wire::PINNED);
        put_length(&mut self.out, number);
        Ok(())
    }

    /// From now on, long texts are pinned, and messages refer to them by their number.
    pub fn pin_texts(&mut self, pins: &'a Pins<'a>) {
        self.pins = Some(pins);
        self.pinned_from = PINNED_TEXT;
    }
}

/// Writes a string. If the message, which begins at `start`, already has this long string, by address, writes its number.
/// Returns false, and writes nothing, if it has `pinned_from` bytes or more, and the message does not have it yet.
#[inline(always)] // Strings are the most frequent values.
pub(super) fn put_text(
    out: &mut MessageBuffer,
    texts: &mut IdentityMap,
    common: Option<&CommonIndex>,
    start: usize,
    pinned_from: usize,
    bytes: &[u8],
) -> Result<bool> {
    if bytes.len() <= SHORT_TEXT {
        return put_bytes(out, wire::STRING, bytes).map(|()| true);
    }
    put_long_text(out, texts, common, start, pinned_from, bytes)
}

#[inline(never)] // So that the common case stays small.
fn put_long_text(
    out: &mut MessageBuffer,
    texts: &mut IdentityMap,
    common: Option<&CommonIndex>,
    start: usize,
    pinned_from: usize,
    bytes: &[u8],
) -> Result<bool> {
    if let Some(number) = find_text(common, bytes) {
        return put_reference(out, number).map(|()| true);
    }
    match texts.get_or_insert(bytes.as_ptr() as usize, out.len())? {
        None if bytes.len() >= pinned_from => return Ok(false),
        None => put_bytes(out, wire::TEXT, bytes)?,
        Some(Entry { id, tag }) => {
            out.ensure_room(0)?;
            mark_again(out, start, tag)?;
            out.push(wire::TEXT_AGAIN);
            put_length(out, id as usize);
        }
    }
    Ok(true)
}

#[inline(always)]
pub(super) fn put_bytes(out: &mut MessageBuffer, tag: u8, bytes: &[u8]) -> Result<()> {
    out.ensure_room(bytes.len())?;
    out.push(tag);
    put_length(out, bytes.len());
    out.extend_from_slice(bytes);
    Ok(())
}
