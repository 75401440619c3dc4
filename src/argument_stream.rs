//! The arguments of a task that reach a worker in blocks, while the host still encodes the rest.
//!
//! Plain data; `W` is the work that the worker gets once the host has read the whole list of tasks. That has all blocks, so that the
//! worker can begin again. Together they are not larger than the message. This module knows no Lua, so that `tests/loom` can check
//! it.

use std::collections::TryReserveError;

use crate::sync::{Arc, Condvar, Mutex, PoisonError, lock};

/// The blocks of one task's arguments, except the last one.
#[derive(Debug)]
pub struct ArgumentStream<W> {
    state: Mutex<State<W>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<W> {
    blocks: Vec<Block>,
    end: End<W>,
}

pub type Block = Arc<Vec<u8>>;

#[derive(Debug)]
enum End<W> {
    /// The host still reads the list.
    Open,
    /// The host has read the list, and the worker has not taken its work.
    Ready(W),
    /// The worker has its work, or gets none.
    Over,
}

/// What comes next for the worker.
#[derive(Debug)]
#[cfg_attr(test, derive(PartialEq, Eq))]
pub enum Next<W> {
    Block(Block),
    /// No more blocks come. The work has those that are left.
    Work(W),
    /// The list was refused, or the task goes another way.
    Nothing,
}

impl<W> Default for ArgumentStream<W> {
    fn default() -> ArgumentStream<W> {
        ArgumentStream {
            state: Mutex::new(State { blocks: Vec::new(), end: End::Open }),
            changed: Condvar::new(),
        }
    }
}

impl<W> ArgumentStream<W> {
    /// Adds a block. Called by the host.
    pub fn put(&self, block: Vec<u8>) -> Result<(), TryReserveError> {
        let mut state = lock(&self.state);
        state.blocks.try_reserve(1)?;
        state.blocks.push(Arc::new(block));
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Gives the worker its work. Called by the host, after the last block.
    pub fn begin(&self, work: W) {
        lock(&self.state).end = End::Ready(work);
        self.changed.notify_one();
    }

    /// Ends the worker's wait without work. Called by the host, unless it calls [`ArgumentStream::begin`].
    pub fn close(&self) {
        lock(&self.state).end = End::Over;
        self.changed.notify_one();
    }

    /// Waits for the block with this number, counted from 0, or the end. Called by the worker.
    pub fn next(&self, number: usize) -> Next<W> {
        let mut state = lock(&self.state);
        loop {
            match std::mem::replace(&mut state.end, End::Over) {
                End::Ready(work) => return Next::Work(work),
                End::Over => return Next::Nothing,
                End::Open => state.end = End::Open,
            }
            if let Some(block) = state.blocks.get(number) {
                return Next::Block(Arc::clone(block));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// All blocks so far.
    pub fn blocks(&self) -> Result<Vec<Block>, TryReserveError> {
        let state = lock(&self.state);
        let mut blocks = Vec::new();
        blocks.try_reserve_exact(state.blocks.len())?;
        blocks.extend(state.blocks.iter().map(Arc::clone));
        Ok(blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(blocks: &[&str]) -> ArgumentStream<u32> {
        let stream = ArgumentStream::default();
        blocks.iter().for_each(|block| stream.put(block.as_bytes().into()).expect("memory"));
        stream
    }

    #[test]
    fn blocks_come_in_order_and_stay_there() {
        let stream = filled(&["one", "two"]);
        for _ in 0..2 {
            assert_eq!(stream.next(0), Next::Block(Arc::new(b"one".into())));
            assert_eq!(stream.next(1), Next::Block(Arc::new(b"two".into())));
        }
        stream.begin(7);
        assert_eq!(stream.next(1), Next::Work(7), "work comes before the blocks that are left");
        assert_eq!(stream.next(1), Next::Nothing, "the work is given once");
        assert_eq!(stream.blocks(), Ok(vec![Arc::new(b"one".into()), Arc::new(b"two".into())]));
    }

    #[test]
    fn a_closed_stream_gives_nothing() {
        let stream = filled(&["one"]);
        stream.close();
        assert_eq!(stream.next(0), Next::Nothing);
    }
}
