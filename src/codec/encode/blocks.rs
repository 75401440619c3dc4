//! Encodes a long message in blocks, so that the receiver can decode the first ones while the rest is written.
//!
//! A block ends before an entry of a table. Nothing in a block that was sent can be changed any more, so what later blocks are likely
//! to refer to is marked as shared: the open tables, and everything if something has repeated before. If they do refer to something
//! else, the message is encoded again, whole. A message with a function is written to its end in the block that has it: its functions
//! are judged as a whole.

use super::Encoder;
use crate::codec::buffer::SCALAR;
use crate::codec::frame::Frame;
use crate::codec::wire::{self, HAS_MORE, HAS_SHARED, IS_REST, SHARED};
use crate::error::Result;
use crate::fault;

/// Takes the blocks of a message, except the last one.
#[derive(Clone, Copy)]
pub struct Blocks<'a> {
    /// The size in bytes from which on a block is sent.
    pub size: usize,
    pub send: &'a dyn Fn(Vec<u8>),
}

/// The most levels of open tables at the end of a block.
const MOST_OPEN: usize = 64;

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
        next.try_reserve_exact(
            blocks.size.saturating_add(wire::HEADER + self.frames.len() * COUNTS + SCALAR),
        )?;
        let innermost = self.frames.len() - 1;
        for (level, frame) in self.frames.iter_mut().enumerate() {
            let Frame::Table(table) = frame else { continue };
            // The decoder looks for one more field in the innermost table, and finds the end of the block.
            let record = table.record + u32::from(level == innermost);
            wire::set_counts(&mut self.out, table.header, table.array, record);
            if table.header >= self.first {
                self.out[table.header] |= SHARED;
            }
            table.header = wire::HEADER + level * COUNTS - 1;
            table.record = 0;
        }
        self.identities.send(&mut self.out);
        self.texts.send(&mut self.out);
        self.last_class = None;
        self.out.push(wire::BLOCK_END);
        self.out[self.start] |= HAS_SHARED | HAS_MORE;
        next.push(IS_REST);
        next.extend_from_slice(&(self.frames.len() as u32).to_le_bytes());
        next.resize(next.len() + self.frames.len() * COUNTS, 0);
        (self.start, self.first) = (0, next.len());
        (blocks.send)(self.out.replace(next));
        Ok(())
    }
}

/// The size of a table's counts in bytes.
const COUNTS: usize = 2 * size_of::<u32>();
