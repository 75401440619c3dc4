//! Values that several tasks of a job have as arguments. Each is encoded once, and the tasks' messages refer to it.
//!
//! Each value has a message of its own. The tables and functions of all these messages are numbered together, and a long text
//! that is a value takes a number too. A later message can refer to any of them, not just to the values themselves: so a
//! table that a task has twice, by itself and inside a common value, is one table in the task as well.

use std::ffi::c_int;

use rustc_hash::FxHashMap;

use crate::codec::identity_map::{Entry, IdentityMap};
use crate::error::Result;

/// The common values of a job: plain data, which the host writes and every worker reads.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Common {
    /// The messages of the values, one after another.
    messages: Vec<u8>,
    values: Vec<Value>,
}

#[derive(Debug, PartialEq, Eq)]
struct Value {
    /// The number of its first object, which is the value itself.
    first: u32,
    /// The start of its message.
    start: usize,
}

impl Common {
    /// Common values with these messages, each of which has one object. Tests write their own messages.
    #[cfg(any(fuzzing, all(test, feature = "linked")))]
    pub fn of_messages(messages: &[&[u8]]) -> Common {
        let start = |at: usize| messages[..at].iter().map(|message| message.len()).sum();
        let values = (0..messages.len()).map(|at| Value { first: at as u32, start: start(at) });
        Common { values: values.collect(), messages: messages.concat() }
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The size of all messages, in bytes.
    pub fn size(&self) -> usize {
        self.messages.len()
    }

    /// The number of each value's first object, and the value's message.
    pub fn values(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let ends = self.values.iter().skip(1).map(|next| next.start).chain([self.messages.len()]);
        self.values.iter().zip(ends).map(|(value, end)| (value.first, &self.messages[value.start..end]))
    }

    /// The value that this object is a part of.
    fn owner(&self, object: u32) -> Option<&Value> {
        let after = self.values.partition_point(|value| value.first <= object);
        after.checked_sub(1).map(|at| &self.values[at])
    }

    /// The number of the first object of the value that this object is a part of.
    pub fn first_of(&self, object: u32) -> Option<u32> {
        self.owner(object).map(|value| value.first)
    }
}

/// The common values while they, and the messages that refer to them, are written.
#[derive(Default)]
pub struct CommonIndex {
    common: Common,
    /// How many tables, functions and long texts the values have.
    count: u32,
    /// The number of each value, by its address. Most references are to values, so they need no search among all objects.
    values: FxHashMap<usize, u32>,
    objects: IdentityMap,
    /// The captured variables: the number of the first function that captured each, and its upvalue.
    variables: FxHashMap<usize, (u32, c_int)>,
}

/// An object of a common value.
#[derive(Clone, Copy)]
pub struct Found {
    pub number: u32,
    /// If the object is a part of the value: the start of its message and the position of its tag, which must be marked as
    /// shared.
    pub unmarked: Option<(usize, usize)>,
}

impl CommonIndex {
    /// The buffer of the values' messages.
    pub fn messages(&mut self) -> &mut Vec<u8> {
        &mut self.common.messages
    }

    pub fn finish(self) -> Common {
        self.common
    }

    /// The number that the first object of the next value gets.
    pub fn next(&self) -> u32 {
        self.count
    }

    /// Adds a value. Its message has just been written and begins at `start`.
    pub fn add(&mut self, identity: usize, start: usize, objects: &[(usize, usize)]) -> Result<()> {
        let first = self.count;
        self.common.values.try_reserve(1)?;
        self.values.try_reserve(1)?;
        for (object, tag) in objects {
            self.objects.insert(*object, *tag)?;
            self.count += 1;
        }
        self.common.values.push(Value { first, start });
        self.values.insert(identity, first);
        Ok(())
    }

    /// Adds a variable that a common function has captured.
    pub fn add_variable(&mut self, variable: usize, function: u32, upvalue: c_int) -> Result<()> {
        self.variables.try_reserve(1)?;
        self.variables.entry(variable).or_insert((function, upvalue));
        Ok(())
    }

    /// Finds a value by its address, without its parts.
    pub fn value(&self, identity: usize) -> Option<u32> {
        self.values.get(&identity).copied()
    }

    /// Finds a value or a part of one by its address.
    pub fn find(&mut self, identity: usize) -> Result<Option<Found>> {
        if let Some(number) = self.value(identity) {
            return Ok(Some(Found { number, unmarked: None }));
        }
        let Some(Entry { id, tag }) = self.objects.get(identity)? else { return Ok(None) };
        Ok(Some(self.part(id, tag)))
    }

    /// Finds the first function that captured a variable, and its upvalue.
    pub fn variable(&self, variable: usize) -> Option<(Found, c_int)> {
        let (function, upvalue) = *self.variables.get(&variable)?;
        Some((self.part(function, self.objects.objects()[function as usize].1), upvalue))
    }

    fn part(&self, number: u32, tag: usize) -> Found {
        let start = self.common.owner(number).map(|value| value.start);
        Found { number, unmarked: start.map(|start| (start, tag)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_belongs_to_the_value_with_the_nearest_smaller_number() {
        let mut index = CommonIndex::default();
        let objects: Vec<(usize, usize)> = (0..5).map(|n| (1000 + n * 64, n)).collect();
        for (start, objects) in [(0, &objects[..1]), (10, &objects[1..4]), (20, &objects[4..])] {
            index.messages().resize(start + 10, start as u8);
            index.add(objects[0].0, start, objects).expect("there is memory");
        }
        let found = index.find(objects[2].0).expect("there is memory").expect("it is known");
        assert_eq!((found.number, found.unmarked), (2, Some((10, 2))));
        assert!(index.find(7).expect("there is memory").is_none());
        let common = index.finish();
        assert_eq!((0..5).map(|n| common.first_of(n)).collect::<Vec<_>>(), [0, 1, 1, 1, 4].map(Some));
        let messages: Vec<(u32, u8, usize)> = common.values().map(|(n, m)| (n, m[0], m.len())).collect();
        assert_eq!(messages, [(0, 0, 10), (1, 10, 10), (4, 20, 10)]);
    }
}
