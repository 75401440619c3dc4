//! A word with a lock in its lowest bit.
//!
//! One thread, the owner, replaces the word. Others may hold it: while one does, the owner's replacing waits, so what the
//! word stands for stays alive. The owner pays one atomic exchange where nobody holds the word. See `waiting.md`.

use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::yield_now;

#[derive(Debug, Default)]
pub struct BitLock {
    word: AtomicUsize,
}

const HELD: usize = 1;

impl BitLock {
    /// Replaces the word by an even number, and gives the one before. Called by the owner alone. Nobody holds the word
    /// before when this returns.
    pub fn replace(&self, word: usize) -> usize {
        let mut before = self.word.load(Ordering::Relaxed) & !HELD;
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

    /// Gives `body` the word, unless it is 0. The word stays what it is until `body` returns.
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
        // Release: what `body` did to the owner's things comes before the owner's next `replace`.
        self.word.store(word, Ordering::Release);
    }
}
