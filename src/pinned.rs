//! Long texts of the host that workers copy straight from its state, instead of from a message.
//!
//! - A message has the number of such a text, not its bytes. The text is pinned: it is not collected, and Lua moves no text.
//! - Texts are pinned only while the host is inside the native call that starts the job ([`crate::ffi::Pins`]). So
//!   the host's state can't be closed meanwhile, whether or not it would run our finalizers, and a pin depends on no
//!   finalizer and on nothing that a program can do to the registry later.
//! - Before that call ends, the host copies the texts that tasks have yet to read ([`PinnedTexts::keep_all`]). Texts
//!   of tasks that can't begin yet are copied at once, the others when no worker has read them for about the time that copying
//!   takes. So the call takes at most about twice as long as if every text were copied, and as a rule half as long.
//! - A worker takes the text (the host's bytes or the kept copy) out of the list as an owned value, and pushes it in a
//!   protected call, so running out of memory skips no destructor. Nothing runs between taking and dropping it but Lua's
//!   copying, with the collector paused.
//! - The end of that call waits until every value with the host's bytes was dropped ([`Uses`]): one that was never
//!   dropped would make the host wait, but no worker reads freed memory.
//! - The host may be short of memory for a copy. The tasks that have not read the text then fail for lack of memory.
//!
//! This module knows no Lua, so that `tests/loom` can check it.

use std::collections::TryReserveError;
use std::ops::Deref;
use std::time::{Duration, Instant};

use crate::fault;
use crate::sync::{Arc, Condvar, Mutex, PoisonError, lock};

/// The smallest text that is pinned, in bytes. A smaller one is copied before a worker wakes.
pub const PINNED_TEXT: usize = 256 << 10;

/// Counts the values that have bytes of the host's.
#[derive(Debug, Default)]
pub struct Uses {
    count: Mutex<usize>,
    none_left: Condvar,
}

impl Uses {
    pub fn add(&self) {
        *lock(&self.count) += 1;
    }

    pub fn remove(&self) {
        let mut count = lock(&self.count);
        *count -= 1;
        if *count == 0 {
            // Under the lock, since the host may drop this as soon as it sees that.
            self.none_left.notify_all();
        }
    }

    /// Waits until there are none.
    pub fn wait(&self) {
        let mut count = lock(&self.count);
        while *count > 0 {
            count = self.none_left.wait(count).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until there are none, for at most `at_most`.
    pub fn wait_for(&self, at_most: Duration) {
        let start = Instant::now();
        let mut count = lock(&self.count);
        while *count > 0 {
            let left = at_most.saturating_sub(start.elapsed());
            if left.is_zero() {
                return;
            }
            count = self.none_left.wait_timeout(count, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The bytes of a text.
#[derive(Debug)]
enum Source<B> {
    /// The host's own.
    Pinned(Arc<B>),
    /// A copy.
    Kept(Arc<Vec<u8>>),
    /// All messages were read, or there was no memory for a copy.
    Gone,
}

#[derive(Debug)]
struct Text<B> {
    source: Source<B>,
    /// How many messages with its number are still to be read.
    unread: usize,
    /// Whether a task has it that can't begin at once.
    is_late: bool,
}

/// The pinned texts of a job. `B` has the host's bytes.
#[derive(Debug)]
pub struct PinnedTexts<B> {
    list: Mutex<Vec<Text<B>>>,
}

impl<B> Default for PinnedTexts<B> {
    fn default() -> PinnedTexts<B> {
        PinnedTexts { list: Mutex::new(Vec::new()) }
    }
}

/// A text as a worker takes it.
#[derive(Debug)]
pub enum Taken<B> {
    Pinned(Arc<B>),
    Kept(Arc<Vec<u8>>),
    /// The host had no memory for a copy.
    LackedMemory,
    /// No message may refer to it.
    Unknown,
}

/// Nanoseconds of a byte's copying, when memory is slow.
const SLOW_COPY: f64 = 0.25;

/// How long a thread may take to begin.
const LEAST_PATIENCE: Duration = Duration::from_micros(200);

impl<B: Deref<Target = [u8]>> PinnedTexts<B> {
    /// Adds a text, which one message will refer to. `is_late` if that message's task can't begin at once. Returns its number.
    pub fn add(&self, bytes: B, is_late: bool) -> Result<usize, TryReserveError> {
        let mut texts = lock(&self.list);
        texts.try_reserve(1)?;
        texts.push(Text { source: Source::Pinned(Arc::new(bytes)), unread: 1, is_late });
        Ok(texts.len() - 1)
    }

    /// Notes that one more message will refer to the text with this number.
    pub fn add_message(&self, number: usize, is_late: bool) {
        if let Some(text) = lock(&self.list).get_mut(number) {
            text.unread += 1;
            text.is_late |= is_late;
        }
    }

    /// Takes the text for a message that refers to it.
    pub fn take(&self, number: usize) -> Taken<B> {
        let mut texts = lock(&self.list);
        let Some(text) = texts.get_mut(number).filter(|text| text.unread > 0) else {
            return Taken::Unknown;
        };
        text.unread -= 1;
        let taken = match &text.source {
            Source::Pinned(bytes) => Taken::Pinned(Arc::clone(bytes)),
            Source::Kept(copy) => Taken::Kept(Arc::clone(copy)),
            Source::Gone => Taken::LackedMemory,
        };
        if text.unread == 0 {
            text.source = Source::Gone;
        }
        taken
    }

    /// Replaces each text of a task that can't begin at once by a copy.
    pub fn keep_late(&self) {
        self.keep(true);
    }

    /// Replaces each text that is still to be read by a copy.
    pub fn keep_all(&self) {
        self.keep(false);
    }

    /// From the last back, since workers read from the first on.
    fn keep(&self, only_late: bool) {
        let count = lock(&self.list).len();
        (0..count).rev().for_each(|number| self.keep_text(number, only_late));
    }

    /// How long to wait for tasks that can begin at once: about as long as copying their texts takes.
    pub fn patience(&self) -> Duration {
        let size = |text: &Text<B>| match &text.source {
            Source::Pinned(bytes) => bytes.len() as f64,
            _ => 0.0,
        };
        let bytes: f64 = lock(&self.list).iter().map(size).sum();
        LEAST_PATIENCE.max(Duration::from_secs_f64(bytes * SLOW_COPY * 1e-9))
    }

    /// Replaces a text by a copy, unless it was read.
    fn keep_text(&self, number: usize, only_late: bool) {
        let bytes = match &lock(&self.list)[number] {
            Text { source: Source::Pinned(bytes), is_late, .. } if *is_late || !only_late => {
                Arc::clone(bytes)
            }
            _ => return,
        };
        // Without the lock, so that workers go on. One of them may read the host's bytes meanwhile.
        let mut copy = Vec::new();
        let has_room = fault::point("keep").is_ok() && copy.try_reserve_exact(bytes.len()).is_ok();
        if has_room {
            copy.extend_from_slice(&bytes);
        }
        let mut texts = lock(&self.list);
        let text = &mut texts[number];
        if text.unread > 0 {
            text.source = if has_room { Source::Kept(Arc::new(copy)) } else { Source::Gone };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Texts = PinnedTexts<Vec<u8>>;

    fn bytes(taken: Taken<Vec<u8>>) -> (Vec<u8>, bool) {
        match taken {
            Taken::Pinned(bytes) => (bytes.to_vec(), true),
            Taken::Kept(bytes) => (bytes.to_vec(), false),
            taken => panic!("{taken:?}"),
        }
    }

    #[test]
    fn a_text_is_taken_once_for_each_message() {
        let texts = Texts::default();
        assert_eq!(texts.add(b"one".into(), false), Ok(0));
        assert_eq!(texts.add(b"two".into(), false), Ok(1));
        texts.add_message(1, false);
        assert_eq!(bytes(texts.take(1)), (b"two".into(), true));
        assert_eq!(bytes(texts.take(0)), (b"one".into(), true));
        assert!(matches!(texts.take(0), Taken::Unknown));
        texts.keep_all();
        assert_eq!(bytes(texts.take(1)), (b"two".into(), false));
        assert!(matches!((texts.take(1), texts.take(2)), (Taken::Unknown, Taken::Unknown)));
    }

    #[test]
    fn texts_of_tasks_that_begin_later_are_kept_first() {
        let texts = Texts::default();
        assert_eq!(texts.add(b"early".into(), false), Ok(0));
        assert_eq!(texts.add(b"both".into(), false), Ok(1));
        assert_eq!(texts.add(b"late".into(), true), Ok(2));
        texts.add_message(1, true);
        texts.keep_late();
        for (number, text, is_pinned) in [(0, "early", true), (1, "both", false), (2, "late", false)] {
            assert_eq!(bytes(texts.take(number)), (text.into(), is_pinned));
        }
    }

    #[test]
    fn the_hosts_bytes_are_dropped_with_the_last_message_or_when_they_are_copied() {
        let texts = PinnedTexts::<Counted>::default();
        let uses = Arc::<Uses>::default();
        for _ in 0..2 {
            uses.add();
            texts.add(Counted(Arc::clone(&uses)), false).expect("there is memory");
        }
        drop(texts.take(0));
        assert_eq!(*lock(&uses.count), 1);
        texts.keep_all();
        uses.wait();
    }

    struct Counted(Arc<Uses>);

    impl Deref for Counted {
        type Target = [u8];

        fn deref(&self) -> &[u8] {
            b"text"
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.remove();
        }
    }
}
