//! Maps the identity of a table, function or long text to its number in the message.
//!
//! Most values are trees, in which no object repeats. So a bitmap over addresses tells whether an object is in the map. A
//! hash map is built from the list of all objects only when one repeats for the first time.

use rustc_hash::FxHashMap;

use crate::codec::wire::{CLASS, SENT, SENT_UNMARKED, SHARED};
use crate::error::Result;

/// The bytes of address space for each bit. Two objects are at least this far apart.
const GRAIN: usize = 8;

const WORDS: usize = 512;

/// The bits of a page. Objects allocated one after another are mostly in the same page.
const BITS: usize = WORDS * u64::BITS as usize;

/// With fewer entries, a linear search is faster than the bitmap.
const LINEAR_LIMIT: usize = 8;

/// A table, function or long text of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number in the map, from 0.
    pub id: u32,
    /// The position of its tag in the message.
    pub tag: usize,
}

#[derive(Default)]
pub struct IdentityMap {
    /// The identity and the position of the tag of each entry, by id.
    list: Vec<(usize, usize)>,
    pages: Vec<Box<[u64; WORDS]>>,
    /// The position in `pages` of each page, by its number.
    index: FxHashMap<usize, usize>,
    /// The number of the last page used, and its position in `pages`.
    last: Option<(usize, usize)>,
    /// Ids by identity; empty until an object repeats.
    ids: FxHashMap<usize, u32>,
    /// How many objects are in blocks that were sent.
    sent: usize,
}

impl IdentityMap {
    pub fn clear(&mut self) {
        self.list.clear();
        self.sent = 0;
        if !self.pages.is_empty() {
            *self = IdentityMap { list: std::mem::take(&mut self.list), ..IdentityMap::default() };
        }
    }

    /// Adds an object that is not in the map. Its tag is at position `tag`.
    pub fn insert(&mut self, identity: usize, tag: usize) -> Result<Entry> {
        self.list.try_reserve(1)?;
        self.list.push((identity, tag));
        let id = self.list.len() as u32 - 1;
        if !self.ids.is_empty() {
            self.ids.try_reserve(1)?;
            self.ids.insert(identity, id);
        } else if self.list.len() > LINEAR_LIMIT {
            self.mark(identity)?;
        } else if self.list.len() == LINEAR_LIMIT {
            for at in 0..LINEAR_LIMIT {
                self.mark(self.list[at].0)?;
            }
        }
        Ok(Entry { id, tag })
    }

    /// The identity and the position of the tag of each object, by id.
    pub fn objects(&self) -> &[(usize, usize)] {
        &self.list
    }

    /// Notes that `block`, which has the tags of all objects so far, is sent. If an object repeated before, others may do so in later
    /// blocks, so all are marked as shared.
    pub fn send(&mut self, block: &mut [u8]) {
        let has_repeated = !self.ids.is_empty();
        for (_, tag) in &mut self.list[self.sent..] {
            let byte = &mut block[*tag];
            if has_repeated || *byte == CLASS {
                *byte |= SHARED;
            }
            *tag = if *byte & SHARED == 0 { SENT_UNMARKED } else { SENT };
        }
        self.sent = self.list.len();
    }

    /// Finds an object.
    pub fn get(&mut self, identity: usize) -> Result<Option<Entry>> {
        let id = if self.list.len() < LINEAR_LIMIT {
            self.list.iter().position(|(known, _)| *known == identity).map(|at| at as u32)
        } else if !self.ids.is_empty() {
            self.ids.get(&identity).copied()
        } else if self.is_marked(identity) {
            self.ids.try_reserve(self.list.len())?;
            self.ids.extend(self.list.iter().zip(0..).map(|((identity, _), id)| (*identity, id)));
            self.ids.get(&identity).copied()
        } else {
            None
        };
        Ok(id.map(|id| Entry { id, tag: self.list[id as usize].1 }))
    }

    /// Finds an object. If it is not in the map, adds it and returns none.
    #[inline]
    pub fn get_or_insert(&mut self, identity: usize, tag: usize) -> Result<Option<Entry>> {
        let bit = identity / GRAIN;
        if let Some((last, at)) = self.last
            && last == bit / BITS
            && self.ids.is_empty()
            && self.list.len() > LINEAR_LIMIT
            && self.list.len() < self.list.capacity()
        {
            let (word, mask) = (&mut self.pages[at][bit % BITS / 64], 1 << (bit % 64));
            if *word & mask == 0 {
                *word |= mask;
                self.list.push((identity, tag));
                return Ok(None);
            }
        }
        self.get_or_insert_slow(identity, tag)
    }

    #[cold]
    fn get_or_insert_slow(&mut self, identity: usize, tag: usize) -> Result<Option<Entry>> {
        let known = self.get(identity)?;
        if known.is_none() {
            self.insert(identity, tag)?;
        }
        Ok(known)
    }

    fn page(&mut self, number: usize) -> Option<usize> {
        if let Some((_, at)) = self.last.filter(|(last, _)| *last == number) {
            return Some(at);
        }
        let at = *self.index.get(&number)?;
        self.last = Some((number, at));
        Some(at)
    }

    fn is_marked(&mut self, identity: usize) -> bool {
        let bit = identity / GRAIN;
        self.page(bit / BITS).is_some_and(|at| self.pages[at][bit % BITS / 64] >> (bit % 64) & 1 == 1)
    }

    fn mark(&mut self, identity: usize) -> Result<()> {
        let bit = identity / GRAIN;
        let at = match self.page(bit / BITS) {
            Some(at) => at,
            None => {
                self.pages.try_reserve(1)?;
                self.index.try_reserve(1)?;
                self.pages.push(Box::new([0; WORDS]));
                self.index.insert(bit / BITS, self.pages.len() - 1);
                self.pages.len() - 1
            }
        };
        self.pages[at][bit % BITS / 64] |= 1 << (bit % 64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_added_once() {
        for count in [1, LINEAR_LIMIT - 1, LINEAR_LIMIT, LINEAR_LIMIT + 1, 100_000] {
            let mut map = IdentityMap::default();
            let identity = |n: usize| 0x7f00_0000_0000 + n * 72;
            for round in 0..3 {
                for n in 0..count {
                    let known = (round > 0).then_some(Entry { id: n as u32, tag: n * 3 });
                    assert_eq!(map.get_or_insert(identity(n), n * 3 + round), Ok(known));
                    assert_eq!(map.get(identity(n)).map(|entry| entry.is_some()), Ok(true));
                }
                assert_eq!(map.get(identity(count)), Ok(None));
            }
        }
    }

    #[test]
    fn only_objects_that_were_added_are_found() {
        for count in [1, LINEAR_LIMIT - 1, LINEAR_LIMIT, LINEAR_LIMIT + 1, 10_000] {
            let mut map = IdentityMap::default();
            let identity = |n: usize| 0x7f00_0000_0000 + n * 56;
            for round in 0..2 {
                for n in 0..count {
                    assert_eq!(map.get(identity(n)), Ok(None));
                    assert_eq!(map.insert(identity(n), n * 3), Ok(Entry { id: n as u32, tag: n * 3 }));
                }
                assert_eq!(map.get(identity(count)), Ok(None));
                for n in (0..count).rev() {
                    assert_eq!(map.get(identity(n)), Ok(Some(Entry { id: n as u32, tag: n * 3 })), "{round}");
                }
                // The hash map exists from here on.
                assert_eq!(map.get(identity(count)), Ok(None));
                assert!(map.insert(identity(count), 1).is_ok());
                assert_eq!(map.get(identity(count)), Ok(Some(Entry { id: count as u32, tag: 1 })));
                map.clear();
            }
        }
    }
}
