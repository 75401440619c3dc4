//! What a message holds already, by identity: its tables and functions, or its long texts.
//!
//! Most values are trees, in which nothing comes twice. So the question whether something was met before is answered
//! by a bitmap over addresses; where it first comes true, and only then, a map is made of the list of all that was met.

use rustc_hash::FxHashMap;

use crate::error::Result;

/// One bit for so many bytes of addresses, the least that two objects lie apart.
const GRAIN: usize = 8;

const WORDS: usize = 512;

/// How many bits a page has. Objects that were made one after another mostly fall into the same one.
const BITS: usize = WORDS * u64::BITS as usize;

/// So few are looked for one by one.
const FEW: usize = 8;

/// A table, function or long text of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its number among those of its set, from 0.
    pub id: u32,
    /// Where its tag stands in the message.
    pub tag: usize,
}

#[derive(Default)]
pub struct SeenSet {
    /// All of them, by id: identity, and where the tag stands.
    list: Vec<(usize, usize)>,
    pages: Vec<Box<[u64; WORDS]>>,
    /// Which page is which.
    index: FxHashMap<usize, usize>,
    /// The page that was used last, and where it stands.
    last: Option<(usize, usize)>,
    /// Ids by identity, once something has come twice.
    ids: FxHashMap<usize, u32>,
}

impl SeenSet {
    pub fn clear(&mut self) {
        self.list.clear();
        if !self.pages.is_empty() {
            *self = SeenSet { list: std::mem::take(&mut self.list), ..SeenSet::default() };
        }
    }

    /// Enters what was not there. Its tag stands at `tag`.
    pub fn insert(&mut self, identity: usize, tag: usize) -> Result<Seen> {
        self.list.try_reserve(1)?;
        self.list.push((identity, tag));
        let id = self.list.len() as u32 - 1;
        if !self.ids.is_empty() {
            self.ids.try_reserve(1)?;
            self.ids.insert(identity, id);
        } else if self.list.len() > FEW {
            self.mark(identity)?;
        } else if self.list.len() == FEW {
            for at in 0..FEW {
                self.mark(self.list[at].0)?;
            }
        }
        Ok(Seen { id, tag })
    }

    /// Finds what is there.
    pub fn find(&mut self, identity: usize) -> Result<Option<Seen>> {
        let id = if self.list.len() < FEW {
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
        Ok(id.map(|id| Seen { id, tag: self.list[id as usize].1 }))
    }

    /// Finds what is there; enters what was not, with its tag at `tag`.
    #[inline]
    pub fn meet(&mut self, identity: usize, tag: usize) -> Result<Option<Seen>> {
        let bit = identity / GRAIN;
        if let Some((last, at)) = self.last
            && last == bit / BITS
            && self.ids.is_empty()
            && self.list.len() > FEW
            && self.list.len() < self.list.capacity()
        {
            let (word, mask) = (&mut self.pages[at][bit % BITS / 64], 1 << (bit % 64));
            if *word & mask == 0 {
                *word |= mask;
                self.list.push((identity, tag));
                return Ok(None);
            }
        }
        self.meet_slowly(identity, tag)
    }

    #[cold]
    fn meet_slowly(&mut self, identity: usize, tag: usize) -> Result<Option<Seen>> {
        let known = self.find(identity)?;
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
    fn what_is_met_is_entered_once() {
        for count in [1, FEW - 1, FEW, FEW + 1, 100_000] {
            let mut set = SeenSet::default();
            let identity = |n: usize| 0x7f00_0000_0000 + n * 72;
            for round in 0..3 {
                for n in 0..count {
                    let known = (round > 0).then_some(Seen { id: n as u32, tag: n * 3 });
                    assert_eq!(set.meet(identity(n), n * 3 + round), Ok(known));
                    assert_eq!(set.find(identity(n)).map(|seen| seen.is_some()), Ok(true));
                }
                assert_eq!(set.find(identity(count)), Ok(None));
            }
        }
    }

    #[test]
    fn what_was_entered_is_found_and_nothing_else() {
        for count in [1, FEW - 1, FEW, FEW + 1, 10_000] {
            let mut set = SeenSet::default();
            let identity = |n: usize| 0x7f00_0000_0000 + n * 56;
            for round in 0..2 {
                for n in 0..count {
                    assert_eq!(set.find(identity(n)), Ok(None));
                    assert_eq!(set.insert(identity(n), n * 3), Ok(Seen { id: n as u32, tag: n * 3 }));
                }
                assert_eq!(set.find(identity(count)), Ok(None));
                for n in (0..count).rev() {
                    assert_eq!(set.find(identity(n)), Ok(Some(Seen { id: n as u32, tag: n * 3 })), "{round}");
                }
                // After the first repeat, too.
                assert_eq!(set.find(identity(count)), Ok(None));
                assert!(set.insert(identity(count), 1).is_ok());
                assert_eq!(set.find(identity(count)), Ok(Some(Seen { id: count as u32, tag: 1 })));
                set.clear();
            }
        }
    }
}
