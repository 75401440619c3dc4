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
use crate::error::{Error, Result};
use crate::fault;

/// Takes the blocks of a message, except the last one.
#[derive(Clone, Copy)]
pub struct Blocks<'a> {
    /// The size in bytes from which on a block is sent.
    pub size: usize,
    /// Called before the first block. If it returns false, the message is not sent in blocks.
    pub begin: &'a dyn Fn() -> bool,
    pub send: &'a dyn Fn(Vec<u8>) -> Result<()>,
}

/// The most levels of open tables at the end of a block.
const MOST_OPEN: usize = 64;

impl<'a> Encoder<'a> {
    /// Makes room for the next entry of the innermost table, and may send what is written. Takes how far the table is, and gives
    /// how many of its fields are in the block.
    #[cold]
    pub(super) fn make_room(&mut self, array: u32, record: u32, in_array: bool) -> Result<u32> {
        let mut more = 0;
        if let Some(blocks) = self.blocks
            && self.out.len() - self.start + 2 * SCALAR >= blocks.size
        {
            if self.suspended > 0 || self.frames.len() > MOST_OPEN || !self.captures.is_empty() {
                // It grows by more than an entry at a time.
                more = blocks.size / 8;
            } else if self.has_sent() || (blocks.begin)() {
                self.save_progress(array, record, in_array, false);
                self.send_block(blocks)?;
                return self.out.ensure_room(0).map(|()| 0);
            } else {
                self.keep_whole();
            }
        }
        self.out.ensure_room(more).map(|()| record)
    }

    /// From now on, the messages may leave in blocks.
    pub fn send_in_blocks(&mut self, blocks: Blocks<'a>) {
        self.out.set_block(self.out.len().saturating_add(blocks.size));
        self.blocks = Some(blocks);
    }

    /// From now on, the messages are whole.
    fn keep_whole(&mut self) {
        self.out.set_block(usize::MAX);
        self.blocks = None;
    }

    /// Whether a block of this message was sent.
    fn has_sent(&self) -> bool {
        self.out[self.start] & IS_REST != 0
    }

    /// Whether what is written from `start` on is the last block of a message.
    pub fn is_rest(&self, start: usize) -> bool {
        wire::is_rest(&self.out[start..])
    }

    /// Ends a message that may have left in blocks, with this outcome. The next messages are whole.
    pub fn end_blocks(&mut self, written: Result<()>) -> Result<()> {
        let joined = self.join_earlier();
        self.keep_whole();
        written.and(joined)
    }

    /// Joins the last block of a message, or nothing after an error, with the messages before it.
    fn join_earlier(&mut self) -> Result<()> {
        if self.earlier.is_empty() {
            return Ok(());
        }
        let mut all = std::mem::take(&mut self.earlier);
        let joined = all.try_reserve(self.out.len());
        if joined.is_ok() {
            all.extend_from_slice(&self.out);
        }
        self.start = all.len() - if joined.is_ok() { self.out.len() } else { 0 };
        self.out.replace(all);
        joined.map_err(Error::from)
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
        let start = self.start;
        (self.start, self.first) = (0, next.len());
        self.out.set_block(blocks.size);
        let mut block = self.out.replace(next);
        if start > 0 {
            let mut first = Vec::new();
            let has_room = first.try_reserve_exact(block.len() - start);
            if has_room.is_ok() {
                first.extend_from_slice(&block[start..]);
            }
            block.truncate(start);
            self.earlier = std::mem::replace(&mut block, first);
            has_room?;
        }
        (blocks.send)(block)
    }
}

/// The size of a table's counts in bytes.
const COUNTS: usize = 2 * size_of::<u32>();
