//! The results of a task that reach the host in blocks, while the task's worker still encodes the rest.
//!
//! Plain `Send` data. The worker adds blocks to its lane; the host decodes them, and keeps them until the last one has come, so
//! that it can begin again after an error.

use std::ffi::c_int;

use crate::codec::{Begun, Resolve, feed};
use crate::error::{Error, Result};
use crate::ffi::Stack;

/// The results of one task. The last block comes as the task's outcome.
#[derive(Debug)]
pub struct Stream {
    pub task: usize,
    blocks: Vec<Vec<u8>>,
    /// How many blocks have been decoded.
    decoded: usize,
    begun: Begun,
    /// Why the blocks can't be decoded.
    refused: Option<Error>,
    /// The task's outcome has been merged.
    is_over: bool,
}

/// The streams of one worker, in the order of its tasks. At most the last one gets more blocks.
#[derive(Debug, Default)]
pub struct Streams(Vec<Stream>);

impl Streams {
    /// Adds a block of a task's results.
    pub fn put(&mut self, task: usize, block: Vec<u8>) {
        match self.0.last_mut() {
            Some(stream) if stream.task == task => stream.blocks.push(block),
            _ => self.0.push(Stream {
                task,
                blocks: vec![block],
                decoded: 0,
                begun: Begun::default(),
                refused: None,
                is_over: false,
            }),
        }
    }

    /// Adds what came since these were taken.
    pub fn append(&mut self, newer: Streams) {
        for stream in newer.0 {
            match self.0.last_mut() {
                Some(last) if last.task == stream.task => last.blocks.extend(stream.blocks),
                _ => self.0.push(stream),
            }
        }
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.0.iter_mut()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there are blocks that have not been decoded.
    pub fn has_news(&self) -> bool {
        self.0.iter().any(Stream::has_news)
    }

    /// The size of all blocks, in bytes.
    pub fn size(&self) -> usize {
        self.0.iter().flat_map(|stream| &stream.blocks).map(Vec::len).sum()
    }

    /// The results of this task.
    pub fn of(&mut self, task: usize) -> Option<&mut Stream> {
        self.0.iter_mut().find(|stream| stream.task == task)
    }

    /// Drops the streams whose tasks' outcomes have been merged.
    pub fn drop_ended(&mut self) {
        self.0.retain(|stream| !stream.is_over);
    }

    /// Forgets what was decoded.
    pub fn begin_again(&mut self) {
        self.0.iter_mut().for_each(Stream::begin_again);
    }
}

impl Stream {
    /// Whether nothing has been decoded, so that a new coroutine is needed.
    pub fn is_new(&self) -> bool {
        self.decoded == 0
    }

    /// Whether there are blocks that have not been decoded.
    pub fn has_news(&self) -> bool {
        self.decoded < self.blocks.len()
    }

    pub fn end(&mut self) {
        self.is_over = true;
    }

    fn begin_again(&mut self) {
        (self.decoded, self.begun, self.refused, self.is_over) = (0, Begun::default(), None, false);
    }

    /// Decodes the blocks that have come, on the coroutine of these results. An error of the host's state is returned; one of the
    /// message itself is kept, and is the error of [`Stream::last`].
    pub fn decode(&mut self, coroutine: &Stack, names: &dyn Resolve) -> Result<()> {
        while let Some(block) = self.blocks.get(self.decoded).filter(|_| self.refused.is_none()) {
            match feed(coroutine, &mut self.begun, block, names) {
                Ok(_) => self.decoded += 1,
                Err(error) if error.is_of_state() => return Err(error),
                Err(error) => self.refused = Some(error),
            }
        }
        self.decoded = self.blocks.len();
        Ok(())
    }

    /// Decodes the last block, and returns the count of the results, which are on top of the coroutine's stack.
    pub fn last(&mut self, coroutine: &Stack, block: &[u8], names: &dyn Resolve) -> Result<c_int> {
        match self.refused.take() {
            Some(error) => Err(error),
            None => feed(coroutine, &mut self.begun, block, names)?
                .ok_or(Error::Corrupt("a last block that is not the last")),
        }
    }
}
