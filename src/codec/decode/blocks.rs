//! Decodes a message that comes in blocks, as [`crate::codec::encode::blocks`] writes them.
//!
//! Between two blocks, the values so far are on the stack of a coroutine, which has nothing else on it: first the table of shared
//! objects and the keys, then the complete values, then the open tables, each above its key if it has one.

use std::ffi::c_int;

use super::{BELOW, Decoder, Destination, LEVEL, Partial, Pinned, Resolve, Unfinished};
use crate::codec::wire::{HAS_MORE, IS_REST, Reader, truncated};
use crate::error::{Error, Result};
use crate::fault;
use crate::ffi::{Protected, Stack};

/// A message whose blocks have not all been decoded: the parts that are not on the coroutine's stack.
#[derive(Debug, Default)]
pub struct Begun {
    has_begun: bool,
    unfinished: Vec<Unfinished>,
    next_id: i64,
    texts: i64,
    keys: i64,
    has_keys: bool,
    unannounced: u64,
    /// How many values have not begun.
    left: u32,
}

/// Decodes the next block of a message on the stack of its coroutine. After the last one, returns the count of the message's values,
/// which are then on top. After an error, the stack is empty, and the message has to be decoded from its start.
pub fn feed(stack: &Stack, begun: &mut Begun, block: &[u8], names: &dyn Resolve) -> Result<Option<c_int>> {
    feed_with(stack, begun, block, names, None)
}

/// Like [`feed`], for the arguments of a task, which may be pinned texts. After the last block, nothing but them is on the stack.
pub fn feed_arguments(
    stack: &Stack,
    begun: &mut Begun,
    block: &[u8],
    names: &dyn Resolve,
    pinned: Option<&Pinned>,
) -> Result<Option<c_int>> {
    let count = feed_with(stack, begun, block, names, pinned)?;
    if count.is_some() {
        stack.remove_range(1, BELOW);
    }
    Ok(count)
}

fn feed_with(
    stack: &Stack,
    begun: &mut Begun,
    block: &[u8],
    names: &dyn Resolve,
    pinned: Option<&Pinned>,
) -> Result<Option<c_int>> {
    let mut decoder = Decoder::new(names);
    decoder.pinned = pinned;
    decoder.in_blocks = true;
    decoder.has_shared = true;
    decoder.shared_slot = 1;
    decoder.unfinished = std::mem::take(&mut begun.unfinished);
    (decoder.next_id, decoder.texts) = (begun.next_id, begun.texts);
    (decoder.keys, decoder.has_keys) = (begun.keys, begun.has_keys);
    decoder.unannounced = begun.unannounced.saturating_add(block.len() as u64);
    decoder.reader = Reader::new(block);
    let (building, unfinished) = (&mut decoder, &mut *begun);
    let has_more = stack.protected(stack.top(), |stack| building.block(stack, unfinished))?;
    *begun = Begun {
        has_begun: true,
        left: begun.left,
        unfinished: std::mem::take(&mut decoder.paused),
        next_id: decoder.next_id,
        texts: decoder.texts,
        keys: decoder.keys,
        has_keys: decoder.has_keys,
        unannounced: decoder.unannounced,
    };
    Ok((!has_more).then(|| stack.top() - BELOW))
}

impl Decoder<'_> {
    /// Decodes a block. Returns whether another one follows.
    fn block(&mut self, here: &Protected, begun: &mut Begun) -> Result<bool> {
        let flags = self.reader.byte().ok_or_else(truncated)?;
        let count = self.reader.u32().ok_or_else(truncated)?;
        if (flags & IS_REST != 0) != begun.has_begun {
            return Err(Error::Corrupt("a block out of order"));
        }
        if !here.check(BELOW + LEVEL) {
            return Err(Error::Memory);
        }
        if begun.has_begun {
            self.resume_all(count)?;
            self.build(here, 0)?;
        } else {
            fault::point("decode")?;
            here.create_table(0, 0);
            // Reserves the slots for the keys.
            here.set_top(BELOW);
            begun.left = count;
        }
        while self.paused.is_empty() && begun.left > 0 {
            begun.left -= 1;
            if !here.check(LEVEL) {
                return Err(Error::Memory);
            }
            self.value(here, Destination::Top)?;
            self.build(here, 0)?;
        }
        let has_more = flags & HAS_MORE != 0;
        if has_more == self.paused.is_empty() {
            return Err(Error::Corrupt("a block that does not end where it says"));
        }
        Ok(has_more)
    }

    /// Reads the counts of the open tables in this block.
    fn resume_all(&mut self, count: u32) -> Result<()> {
        if self.unfinished.len() != count as usize {
            return Err(Error::Corrupt("a block with other tables open"));
        }
        for unfinished in &mut self.unfinished {
            let Partial::Table(table) = &mut unfinished.value else {
                return Err(Error::Corrupt("a block that ends in a function"));
            };
            let array = self.reader.u32().ok_or_else(truncated)?;
            let record = self.reader.u32().ok_or_else(truncated)?;
            let items = array.checked_sub(table.array_size).ok_or(Error::Corrupt("a table that shrinks"))?;
            let announced = u64::from(items) + 2 * u64::from(record);
            let left = self.unannounced.checked_sub(announced);
            self.unannounced = left.ok_or(Error::Corrupt("tables larger than their message"))?;
            c_int::try_from(array).map_err(|_| Error::Corrupt("a table too large"))?;
            table.array_size = array;
            let record = table.record_left.checked_add(record);
            table.record_left = record.ok_or(Error::Corrupt("a table too large"))?;
        }
        Ok(())
    }

    /// Sets the unfinished tables aside at the end of a block, which is in the place of a key.
    #[cold]
    pub(super) fn pause_all(&mut self, destination: Destination) -> Result<()> {
        match self.unfinished.last_mut() {
            Some(Unfinished { value: Partial::Table(table), .. })
                if self.in_blocks
                    && self.extra_stacks == 0
                    && destination == Destination::Top
                    && table.has_key =>
            {
                table.has_key = false;
                table.record_left -= 1;
            }
            _ => return Err(Error::Corrupt("a stray end of a block")),
        }
        self.paused = std::mem::take(&mut self.unfinished);
        Ok(())
    }
}
