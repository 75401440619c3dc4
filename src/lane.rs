//! A lane: a buffer for the outcomes of one worker's tasks, until the host merges them.
//!
//! Plain `Send` data. Small results share one buffer, so a small task costs no allocation.

use crate::error::{Error, Kind};
use crate::missing::Missing;
use crate::stream::Streams;

/// The contents of a failed task's entry in the response.
#[derive(Clone, Debug)]
pub struct Failure {
    pub kind: Kind,
    pub message: Vec<u8>,
    pub traceback: Vec<u8>,
    /// A message with the error value, if it was not a string and can cross.
    pub value: Option<Vec<u8>>,
    pub missing: Option<Box<Missing>>,
}

impl Failure {
    /// Adds a line to the traceback that says where the failure happened.
    pub fn inside(mut self, place: &str) -> Failure {
        self.traceback.splice(0..0, format!("in {place}\n").into_bytes());
        self
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure {
            kind: error.kind(),
            message: error.text(),
            traceback: Vec::new(),
            value: None,
            missing: None,
        }
    }
}

/// Results below this size are copied into the shared buffer; larger ones are moved.
const SHARED_BELOW: usize = 64 << 10;

/// The size of the header before each small message: the task's index and the message's length. Four bytes suffice for each,
/// because the message is small and Lua lists are shorter.
const HEAD: usize = 2 * size_of::<u32>();

#[derive(Debug)]
enum Other {
    /// A message too large to copy.
    Large(Vec<u8>),
    Failed(Box<Failure>),
}

#[derive(Debug, Default)]
pub struct Lane {
    small: Vec<u8>,
    others: Vec<(usize, Other)>,
    /// The results whose first blocks have come.
    pub streams: Streams,
    /// The host was told that there are outcomes.
    has_notified_host: bool,
}

/// From this many bytes on, the host merges a lane while its worker still runs.
const WORTH_MERGING: usize = 64 << 10;

impl Lane {
    /// Adds the outcome of a task: the message with its results, which is copied or moved, or its failure.
    pub fn put(&mut self, index: usize, outcome: Result<&mut Vec<u8>, Failure>) {
        let other = match outcome {
            Ok(message) if message.len() >= SHARED_BELOW => Some(Other::Large(std::mem::take(message))),
            Ok(message) => {
                self.put_small(index, message).err().map(|error| Other::Failed(Box::new(error.into())))
            }
            Err(failure) => Some(Other::Failed(Box::new(failure))),
        };
        self.others.extend(other.map(|other| (index, other)));
    }

    fn put_small(&mut self, index: usize, message: &[u8]) -> Result<(), Error> {
        self.small.try_reserve(HEAD + message.len())?;
        self.small.extend_from_slice(&(index as u32).to_ne_bytes());
        self.small.extend_from_slice(&(message.len() as u32).to_ne_bytes());
        self.small.extend_from_slice(message);
        Ok(())
    }

    /// Puts back outcomes that were taken out of the lane.
    pub fn prepend(&mut self, mut taken: Lane) {
        taken.small.append(&mut self.small);
        taken.others.append(&mut self.others);
        taken.streams.append(std::mem::take(&mut self.streams));
        *self = Lane { has_notified_host: true, ..taken };
    }

    /// Whether to tell the host now, while the worker still runs, that there are outcomes. True once until they are taken.
    pub fn should_notify_host(&mut self) -> bool {
        let is_large = |(_, other): &(usize, Other)| matches!(other, Other::Large(_));
        let is_worth_it = self.small.len() >= WORTH_MERGING
            || self.others.last().is_some_and(is_large)
            || self.streams.has_news();
        is_worth_it && !std::mem::replace(&mut self.has_notified_host, true)
    }

    /// The size of all messages, in bytes.
    pub fn size(&self) -> usize {
        let others = self.others.iter().map(|(_, other)| match other {
            Other::Large(message) => message.len(),
            Other::Failed(failure) => failure.message.len() + failure.traceback.len(),
        });
        self.small.len() + others.sum::<usize>()
    }

    /// The outcomes with their tasks' indices: a message with the results, or its last block, or a failure.
    pub fn outcomes(&self) -> impl Iterator<Item = (usize, Result<&[u8], &Failure>)> {
        let others = self.others.iter().map(|(index, other)| match other {
            Other::Large(message) => (*index, Ok(message.as_slice())),
            Other::Failed(failure) => (*index, Err(&**failure)),
        });
        Small(&self.small).map(|(index, message)| (index, Ok(message))).chain(others)
    }
}

/// The small messages that have not been read yet.
struct Small<'a>(&'a [u8]);

impl<'a> Iterator for Small<'a> {
    type Item = (usize, &'a [u8]);

    fn next(&mut self) -> Option<(usize, &'a [u8])> {
        let number = |rest: &mut &'a [u8]| {
            let (number, after) = rest.split_first_chunk()?;
            *rest = after;
            Some(u32::from_ne_bytes(*number) as usize)
        };
        let (index, length) = (number(&mut self.0)?, number(&mut self.0)?);
        let (message, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some((index, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_returns_the_outcomes_that_were_put_in() {
        let mut lane = Lane::default();
        let large = vec![7; SHARED_BELOW];
        for (index, message) in [(3, vec![1, 2]), (0, Vec::new()), (9, large.clone())] {
            lane.put(index, Ok(&mut message.clone()));
        }
        lane.put(1, Err(Error::Cancelled.into()));
        lane.put(2, Ok(&mut vec![5]));
        let mut found: Vec<(usize, Option<Vec<u8>>)> =
            lane.outcomes().map(|(index, outcome)| (index, outcome.ok().map(<[u8]>::to_vec))).collect();
        found.sort();
        let expected =
            [(0, Some(vec![])), (1, None), (2, Some(vec![5])), (3, Some(vec![1, 2])), (9, Some(large))];
        assert_eq!(found, expected);
    }
}
