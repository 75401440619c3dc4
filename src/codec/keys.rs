//! The keys that a message holds already: those that come again and again are written once, and by their number from
//! then on.

use std::ptr;

/// Texts that were met as keys, by where their bytes stand: Lua has each short text once. Each has one place here that
/// it can be in, and drives another out of it.
#[derive(Default)]
pub struct KeyCache {
    /// Empty until so many keys were met that it is worth the memory.
    places: Vec<(*const u8, Option<u8>)>,
    met: usize,
    /// How many have a number.
    numbered: u8,
}

const KEY_PLACES: usize = 64;

/// A message with fewer keys is read and written as quickly without.
const WORTH_REMEMBERING: usize = 64;

pub enum Met {
    /// For the first time, or where there are no numbers left.
    Once,
    /// For the second time: it has the next number now.
    Again,
    Known(u8),
}

impl KeyCache {
    pub fn clear(&mut self) {
        self.places.clear();
        (self.met, self.numbered) = (0, 0);
    }

    /// Notes a key, which is a short text, and says whether it was met before.
    pub fn meet(&mut self, key: &[u8]) -> Met {
        if self.places.is_empty() {
            self.met += 1;
            if self.met < WORTH_REMEMBERING || self.places.try_reserve(KEY_PLACES).is_err() {
                return Met::Once;
            }
            self.places.resize(KEY_PLACES, (ptr::null(), None));
        }
        let start = key.as_ptr();
        let place = &mut self.places[(start as usize >> 4) % KEY_PLACES];
        match place {
            (known, Some(number)) if *known == start => Met::Known(*number),
            (known, none) if *known == start && self.numbered < u8::MAX => {
                *none = Some(self.numbered);
                self.numbered += 1;
                Met::Again
            }
            _ => {
                *place = (start, None);
                Met::Once
            }
        }
    }
}
