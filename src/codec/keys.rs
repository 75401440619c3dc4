//! Numbers the keys that repeat in a message, so that later occurrences are written as one byte.

/// A direct-mapped cache of short keys, by address: Lua interns short strings, so equal keys have equal addresses. Each key
/// can occupy only one slot, from which it evicts another key.
#[derive(Default)]
pub struct KeyCache {
    /// Empty until the message has [`MIN_KEYS`] keys.
    slots: Vec<(usize, Option<u8>)>,
    /// The number of keys recorded before the slots were created.
    count: usize,
    /// The number of numbered keys.
    numbered: u8,
}

const SLOTS: usize = 64;

/// With fewer keys, the cache saves no time.
const MIN_KEYS: usize = 64;

/// How often the cache has seen a key.
pub enum Occurrence {
    /// For the first time, or the cache has no number left for it.
    First,
    /// For the second time: the key just got the next number.
    Second,
    /// More often: the key has this number.
    Numbered(u8),
}

impl KeyCache {
    pub fn clear(&mut self) {
        self.slots.clear();
        (self.count, self.numbered) = (0, 0);
    }

    /// Records a key, which must be a short string.
    pub fn record(&mut self, key: &[u8]) -> Occurrence {
        if self.slots.is_empty() {
            self.count += 1;
            if self.count < MIN_KEYS || self.slots.try_reserve(SLOTS).is_err() {
                return Occurrence::First;
            }
            self.slots.resize(SLOTS, (0, None));
        }
        let start = key.as_ptr() as usize;
        let slot = &mut self.slots[(start >> 4) % SLOTS];
        match slot {
            (known, Some(number)) if *known == start => Occurrence::Numbered(*number),
            (known, none) if *known == start && self.numbered < u8::MAX => {
                *none = Some(self.numbered);
                self.numbered += 1;
                Occurrence::Second
            }
            _ => {
                *slot = (start, None);
                Occurrence::First
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records a key. Returns a letter for the occurrence, and the key's number.
    fn record(cache: &mut KeyCache, key: &[u8]) -> (char, u8) {
        match cache.record(key) {
            Occurrence::First => ('f', 0),
            Occurrence::Second => ('s', 0),
            Occurrence::Numbered(number) => ('n', number),
        }
    }

    #[test]
    fn a_key_gets_a_number_at_its_second_occurrence() {
        let mut cache = KeyCache::default();
        // Sixteen bytes apart, so each has a slot of its own.
        let keys = [[0_u8; 16]; 4];
        for round in 0..2 {
            for _ in 1..MIN_KEYS {
                assert_eq!(record(&mut cache, &keys[3]), ('f', 0), "the cache does not record yet");
            }
            for expected in [|_| ('f', 0), |_| ('s', 0), |n| ('n', n)] {
                for (key, n) in keys[..3].iter().zip(0..) {
                    assert_eq!(record(&mut cache, key), expected(n), "key {n} in round {round}");
                }
            }
            cache.clear();
        }
    }

    #[test]
    fn a_key_for_which_no_number_is_left_is_always_new() {
        let mut cache = KeyCache::default();
        let keys = vec![[0_u8; 16]; 300];
        for _ in 1..MIN_KEYS {
            cache.record(&keys[0]);
        }
        for (n, key) in keys.iter().enumerate() {
            assert_eq!(record(&mut cache, key), ('f', 0));
            let expected = if n < usize::from(u8::MAX) { 's' } else { 'f' };
            assert_eq!(record(&mut cache, key).0, expected, "key {n}");
        }
    }
}
