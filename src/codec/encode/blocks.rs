//! Encodes a long message in blocks, so that the receiver can decode the first ones while the rest is written.
//!
//! A block ends before an entry of a table. Nothing in a block that was sent can be changed any more, so everything that a later
//! block may refer to is marked as shared. A message with a function is written to its end in the block that has it: its functions
//! are judged as a whole.

use std::ffi::c_int;

use super::{Encoder, encode_with};
use crate::codec::buffer::SCALAR;
use crate::codec::frame::Frame;
use crate::codec::policy::Policy;
use crate::codec::wire::{self, HAS_MORE, HAS_SHARED, IS_REST, SHARED};
use crate::error::Result;
use crate::fault;
use crate::ffi::Stack;

/// Takes the blocks of a message, except the last one.
#[derive(Clone, Copy)]
pub struct Blocks<'a> {
    /// The size in bytes from which on a block is sent.
    pub size: usize,
    pub send: &'a dyn Fn(Vec<u8>),
}

/// The most levels of open tables at the end of a block.
const MOST_OPEN: usize = 64;

/// Like [`encode_counted`](super::encode_counted). A long message leaves in blocks: `out` gets the last one. After an error, the
/// blocks that were sent are void. They are void as well if the message in `out` is whole.
pub fn encode_in_blocks(
    stack: &Stack,
    count: c_int,
    out: &mut Vec<u8>,
    policy: &Policy,
    blocks: Blocks,
) -> Result<()> {
    debug_assert!(out.is_empty(), "a block has one message");
    let mut encoder = Encoder::with_limit(stack.memory_left(), out, policy);
    encoder.out.set_block(blocks.size);
    encoder.blocks = Some(blocks);
    encode_with(&mut encoder, stack, count)
}

impl Encoder<'_> {
    /// Makes room for the next entry of the innermost table, and may send what is written. Takes how far the table is, and gives
    /// how many of its fields are in the block.
    #[cold]
    pub(super) fn make_room(&mut self, array: u32, record: u32, in_array: bool) -> Result<u32> {
        let mut here = record;
        if let Some(blocks) = self.blocks
            && self.out.len() + 2 * SCALAR >= blocks.size
            && self.suspended == 0
            && self.frames.len() <= MOST_OPEN
            && self.captures.is_empty()
        {
            self.save_progress(array, record, in_array, false);
            self.send_block(blocks)?;
            here = 0;
        }
        self.out.ensure_room(0).map(|()| here)
    }

    fn send_block(&mut self, blocks: Blocks) -> Result<()> {
        fault::point("block")?;
        let mut next = Vec::new();
        next.try_reserve_exact(blocks.size.saturating_add(wire::HEADER + self.frames.len() * COUNTS + SCALAR))?;
        let innermost = self.frames.len() - 1;
        for (level, frame) in self.frames.iter_mut().enumerate() {
            let Frame::Table(table) = frame else { continue };
            // The decoder looks for one more field in the innermost table, and finds the end of the block.
            let record = table.record + u32::from(level == innermost);
            wire::set_counts(&mut self.out, table.header, table.array, record);
            table.header = wire::HEADER + level * COUNTS - 1;
            table.record = 0;
        }
        for map in [&mut self.identities, &mut self.texts] {
            map.send(|tag| self.out[tag] |= SHARED);
        }
        self.last_class = None;
        self.out.push(wire::BLOCK_END);
        self.out[self.start] |= HAS_SHARED | HAS_MORE;
        next.push(HAS_SHARED | IS_REST);
        next.extend_from_slice(&(self.frames.len() as u32).to_le_bytes());
        next.resize(next.len() + self.frames.len() * COUNTS, 0);
        self.start = 0;
        (blocks.send)(self.out.replace(next));
        Ok(())
    }
}

/// The size of a table's counts in bytes.
const COUNTS: usize = 2 * size_of::<u32>();
