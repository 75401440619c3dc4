//! The tasks of a job, encoded.

use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::argument_stream::Block;
use crate::codec::Common;
use crate::error::Error;
use crate::ffi::PinnedBytes;
use crate::pinned::PinnedTexts;

/// The tasks of a job, encoded.
#[derive(Debug, Default)]
pub struct Tasks {
    list: Vec<Listed>,
    names: FxHashMap<usize, Box<str>>,
    /// The time limits of the tasks that have their own; none for an endless one.
    timeouts: FxHashMap<usize, Option<Duration>>,
    /// The shortest of these limits, and the longest: the largest number for an endless one.
    shortest_timeout: Option<Duration>,
    longest_timeout: Duration,
    /// The tasks that can't cross. The error is the task's outcome.
    refused: FxHashMap<usize, Error>,
    /// The messages with the arguments of all tasks, one after another.
    pub arguments: Vec<u8>,
    /// The arguments that several tasks have.
    pub common: Arc<Common>,
    /// The long texts that workers copy from the host's state, if there are any.
    pub pinned: Option<Arc<PinnedTexts<PinnedBytes>>>,
    /// The task whose arguments left in blocks while the host encoded them, if there is one.
    pub streamed: Option<Streamed>,
    /// The number of items in each task of a `Map`.
    pub chunk: Option<i64>,
}

/// A task whose arguments left in blocks. The last block is where the message of another task would be.
#[derive(Debug)]
pub struct Streamed {
    /// Its index, from 0.
    pub task: usize,
    pub blocks: Vec<Block>,
}

/// The fields that every task has. Kept small, because there may be millions of tasks.
#[derive(Clone, Copy, Debug)]
struct Listed {
    /// The index of the function in the environment; [`REFUSED`] for none.
    function: u32,
    /// The end of the message with its arguments. The message begins at the end of the previous one.
    end: usize,
}

const REFUSED: u32 = u32::MAX;

/// The fields that few tasks have.
#[derive(Debug, Default)]
pub struct Extras {
    pub name: Option<Box<str>>,
    /// The task's own time limit; the inner `None` is an endless one.
    pub timeout: Option<Option<Duration>>,
}

/// One encoded task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Task<'a> {
    /// The index of the function in the environment.
    pub function: usize,
    /// The message with its arguments, or the last block.
    pub arguments: &'a [u8],
    /// The other blocks, if it left in blocks.
    pub blocks: &'a [Block],
    pub name: Option<&'a str>,
}

impl Tasks {
    /// Reserves room for more tasks, without their arguments.
    pub fn reserve(&mut self, count: usize) -> Result<(), Error> {
        Ok(self.list.try_reserve_exact(count)?)
    }

    /// Adds a task whose arguments end at `end` in [`Tasks::arguments`].
    pub fn push(&mut self, function: u32, end: usize, extras: &mut Extras) {
        if let Some(name) = extras.name.take() {
            self.names.insert(self.list.len(), name);
        }
        if let Some(timeout) = extras.timeout {
            self.timeouts.insert(self.list.len(), timeout);
            self.shortest_timeout = self.shortest_timeout.into_iter().chain(timeout).min();
            self.longest_timeout = self.longest_timeout.max(timeout.unwrap_or(Duration::MAX));
        }
        self.list.push(Listed { function, end });
    }

    /// Adds a task that can't cross.
    pub fn refuse(&mut self, error: Error) {
        self.refused.insert(self.list.len(), error);
        let end = self.list.last().map_or(0, |last| last.end);
        self.list.push(Listed { function: REFUSED, end });
    }

    /// The index of the task that the worker runs first which has got its arguments in blocks.
    pub fn reserved(&self) -> Option<usize> {
        self.streamed.as_ref().map(|streamed| streamed.task)
    }

    /// Whether a task has its own time limit.
    fn has_timeouts(&self) -> bool {
        !self.timeouts.is_empty()
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The first item of a `Map`'s task, counted from 1. The task's index is counted from 0.
    pub fn first_item(&self, index: usize) -> Option<i64> {
        self.chunk.map(|chunk| (index as i64).saturating_mul(chunk) + 1)
    }

    /// The task at an index, from 0, or the reason why it can't cross.
    pub fn get(&self, index: usize) -> Result<Task<'_>, Error> {
        let Listed { function, end } = self.list[index];
        if let (REFUSED, Some(error)) = (function, self.refused.get(&index)) {
            return Err(error.clone());
        }
        let start = if index == 0 { 0 } else { self.list[index - 1].end };
        Ok(Task {
            function: function as usize,
            arguments: &self.arguments[start..end],
            blocks: match &self.streamed {
                Some(streamed) if streamed.task == index => &streamed.blocks,
                _ => &[],
            },
            name: self.name(index),
        })
    }

    /// The index of a task's function in the environment; one that no environment has for a task that can't cross.
    pub fn function_of(&self, index: usize) -> usize {
        self.list[index].function as usize
    }

    /// The name of a task, if it has one.
    pub fn name(&self, index: usize) -> Option<&str> {
        // Without names, which is common, there is nothing to look up.
        if self.names.is_empty() { None } else { self.names.get(&index).map(|name| &**name) }
    }

    /// The time limit of a task, which is `usual` unless it has its own; none if it is endless.
    pub fn timeout_of(&self, index: usize, usual: Option<Duration>) -> Option<Duration> {
        match self.has_timeouts() {
            true => self.timeouts.get(&index).copied().unwrap_or(usual),
            false => usual,
        }
    }

    /// A task's own time limit, if it has one; the inner `None` is an endless one.
    pub fn own_timeout(&self, index: usize) -> Option<Option<Duration>> {
        self.timeouts.get(&index).copied()
    }

    /// The longest time limit of a task, which is `usual` unless it has its own; none if one is endless.
    pub fn longest_timeout(&self, usual: Option<Duration>) -> Option<Duration> {
        let has_others = self.timeouts.len() < self.list.len();
        let usual = if has_others { usual.unwrap_or(Duration::MAX) } else { Duration::ZERO };
        Some(usual.max(self.longest_timeout)).filter(|limit| *limit < Duration::MAX)
    }

    /// The shortest of the tasks' own time limits, if there are any.
    pub fn shortest_timeout(&self) -> Option<Duration> {
        self.shortest_timeout
    }
}
