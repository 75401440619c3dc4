//! Sets of facts about a value, numbered, so that states are small and quick to compare.

use rustc_hash::FxHashMap;

use super::library::Known;

/// Something that a register may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fact {
    /// The value of a captured variable.
    Variable(u32),
    /// A value taken out of the table in a captured variable, at any depth.
    Inside(u32),
    /// A function whose code is at hand.
    Function(u32),
    /// A part of the standard library.
    Library(Known),
}

/// The number of a set of facts. Equal sets have equal numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Facts(u32);

impl Facts {
    /// The set of nothing: the register holds something else.
    pub const NONE: Facts = Facts(0);
}

/// All sets that were made.
pub struct FactSets {
    sets: Vec<Vec<Fact>>,
    numbers: FxHashMap<Vec<Fact>, Facts>,
    unions: FxHashMap<(Facts, Facts), Facts>,
}

impl FactSets {
    pub fn new() -> FactSets {
        FactSets {
            sets: vec![Vec::new()],
            numbers: FxHashMap::from_iter([(Vec::new(), Facts::NONE)]),
            unions: FxHashMap::default(),
        }
    }

    pub fn of(&self, facts: Facts) -> &[Fact] {
        &self.sets[facts.0 as usize]
    }

    pub fn make(&mut self, mut set: Vec<Fact>) -> Facts {
        set.sort_unstable();
        set.dedup();
        if let Some(known) = self.numbers.get(&set) {
            return *known;
        }
        let facts = Facts(self.sets.len() as u32);
        self.sets.push(set.clone());
        self.numbers.insert(set, facts);
        facts
    }

    pub fn union(&mut self, a: Facts, b: Facts) -> Facts {
        if a == b || b == Facts::NONE {
            return a;
        } else if a == Facts::NONE {
            return b;
        }
        if let Some(known) = self.unions.get(&(a, b)) {
            return *known;
        }
        let union = self.make([self.of(a), self.of(b)].concat());
        self.unions.insert((a, b), union);
        union
    }
}
