//! A word with a lock in its lowest bit.
//!
//! Only one thread, the owner, replaces the word. While another thread holds the word, the owner waits before replacing it, so
//! the object that the word refers to stays alive. An uncontended replacement is one atomic exchange. See `waiting.md`.

use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::yield_now;

#[derive(Debug, Default)]
pub struct BitLock {
    word: AtomicUsize,
}

const HELD: usize = 1;

impl BitLock {
    /// Replaces the word with an even number and returns the old one, which no thread holds any more. Only the owner may
    /// call this.
    pub fn replace(&self, word: usize) -> usize {
        let mut before = self.owned();
        // SeqCst: the owner's later load of the seat's word must not come before this store. See `waiting.md`.
        while let Err(now) =
            self.word.compare_exchange_weak(before, word, Ordering::SeqCst, Ordering::Relaxed)
        {
            before = now & !HELD;
            if now & HELD != 0 {
                yield_now();
            }
        }
        before
    }

    /// The word. Only the owner may call this, or the thread that holds the word.
    pub fn owned(&self) -> usize {
        self.word.load(Ordering::Relaxed) & !HELD
    }

    /// Calls `body` with the word, unless it is 0. The word does not change until `body` returns.
    pub fn hold(&self, body: impl FnOnce(usize)) {
        // SeqCst: the caller's earlier store to the seat's word must not come after this load. See `waiting.md`.
        let mut now = self.word.load(Ordering::SeqCst);
        let word = loop {
            if now == 0 {
                return;
            }
            let word = now & !HELD;
            match self.word.compare_exchange_weak(word, word | HELD, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => break word,
                Err(other) => now = other,
            }
            if now & HELD != 0 {
                yield_now();
            }
        };
        body(word);
        // Release: the owner's next `replace` sees all that `body` wrote.
        self.word.store(word, Ordering::Release);
    }
}
