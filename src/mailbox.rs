//! A job's mailbox: host calls on their way to the host and back, and what wakes the side that waits.
//!
//! Plain `Send` data: neither side sees the other's state. Workers post requests and wait for their answers; the host
//! takes them when it pumps. [`crate::hostcall`] has the calls that a task makes with it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Arc, Condvar, Mutex, PoisonError, lock, spin};

/// What a host function gave.
#[derive(Debug)]
pub enum Answer {
    /// A message with its results.
    Returned(Vec<u8>),
    /// A message with the one value it raised.
    Raised(Vec<u8>),
    /// It was not called, or its answer can't cross.
    Failed(Error),
    /// The job is closing, or the task is over.
    Gone,
}

/// The name of the call by which a task asks for what the host may have in `package.preload`: its arguments are no message, but
/// the module's name.
pub const PRELOAD: &str = "package.preload";

/// How long who waits looks before it sleeps: waking one takes longer than most answers do.
const SPIN_TIME: Duration = Duration::from_micros(20);

/// Where one worker waits for the answer to its one open call.
#[derive(Debug, Default)]
pub struct Reply {
    inner: Mutex<Slot>,
    /// There is an answer. A hint, read without the lock: see `waiting.md`.
    is_there: AtomicBool,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct Slot {
    answer: Option<Answer>,
    /// The worker sleeps, and has to be woken.
    sleeps: bool,
}

impl Reply {
    /// Puts the answer in and wakes the worker. Of two answers the first counts.
    pub fn send(&self, answer: Answer) {
        let mut awaited = lock(&self.inner);
        awaited.answer.get_or_insert(answer);
        self.is_there.store(true, Ordering::Relaxed);
        if awaited.sleeps {
            self.arrived.notify_one();
        }
    }

    /// Waits; `spins` where the host is likely to answer soon.
    pub fn wait(&self, spins: bool) -> Answer {
        if spins {
            spin(SPIN_TIME, || self.is_there.load(Ordering::Relaxed));
        }
        let mut awaited = lock(&self.inner);
        loop {
            if let Some(answer) = awaited.answer.take() {
                self.is_there.store(false, Ordering::Relaxed);
                return answer;
            }
            awaited.sleeps = true;
            awaited = self.arrived.wait(awaited).unwrap_or_else(PoisonError::into_inner);
            awaited.sleeps = false;
        }
    }
}

/// One host call on its way.
#[derive(Debug)]
pub struct Request {
    /// The function's name under `gma`, as [`crate::names`] writes it.
    pub name: Box<str>,
    /// A message with the arguments.
    pub arguments: Vec<u8>,
    /// Where the answer goes; none for what isn't waited for.
    pub reply: Option<Arc<Reply>>,
}

#[derive(Debug, Default)]
struct Inner {
    queue: VecDeque<Request>,
    /// Those of the arguments in the queue.
    queued_bytes: usize,
    /// Calls that the host has taken out and not answered yet, by ticket.
    open: Vec<(u64, Arc<Reply>)>,
    next_ticket: u64,
    /// No call is accepted any more.
    closed: bool,
    /// There are results that the host may merge while tasks still run.
    has_results: bool,
    /// The job's last worker has left.
    finished: bool,
    /// The host sleeps, and has to be woken.
    host_sleeps: bool,
}

impl Inner {
    /// Whether another request may come, however large it is: one must be able to pass.
    fn has_room(&self) -> bool {
        self.queue.len() < QUEUE_LIMIT && self.queued_bytes < QUEUE_BYTES_LIMIT
    }

    fn has_news(&self) -> bool {
        !self.queue.is_empty() || self.finished || self.has_results
    }
}

/// A job's requests, and the host's bell.
#[derive(Debug, Default)]
pub struct Mailbox {
    inner: Mutex<Inner>,
    /// Something for the host: a request, results, or the end of the job.
    bell: Condvar,
    /// Whether there is. A hint, read without the lock: see `waiting.md`.
    has_news: AtomicBool,
    /// Room in the queue, or the end of a sleep that the job's closing cuts short.
    room: Condvar,
}

/// How many requests that nobody waits for may stand in the queue before a task has to wait.
pub const QUEUE_LIMIT: usize = 1024;

/// How many bytes of arguments may.
pub const QUEUE_BYTES_LIMIT: usize = 8 << 20;

/// A number of seconds as a time to wait: none of less than none, and for ever where no clock counts that far.
pub fn seconds(count: f64) -> Duration {
    Duration::try_from_secs_f64(count.max(0.0)).unwrap_or(Duration::MAX)
}

/// What is left of a wait until then; `None` is past the end of all clocks.
fn left_until(deadline: Option<Instant>) -> Duration {
    deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()))
}

impl Mailbox {
    /// Puts in a request, and gives how many then wait for the host; none where it takes no more.
    pub fn post(&self, request: Request) -> Option<usize> {
        let mut inner = lock(&self.inner);
        while !inner.has_room() && !inner.closed {
            inner = self.room.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        if inner.closed {
            return None;
        }
        inner.queued_bytes += request.arguments.len();
        inner.queue.push_back(request);
        self.ring(&inner);
        Some(inner.queue.len() + inner.open.len())
    }

    fn ring(&self, inner: &Inner) {
        self.has_news.store(true, Ordering::Relaxed);
        if inner.host_sleeps {
            self.bell.notify_one();
        }
    }

    /// There are results for the host.
    pub fn offer_results(&self) {
        let mut inner = lock(&self.inner);
        inner.has_results = true;
        self.ring(&inner);
    }

    /// Whether there are.
    pub fn has_results(&self) -> bool {
        lock(&self.inner).has_results
    }

    /// The host takes them.
    pub fn take_results(&self) {
        let mut inner = lock(&self.inner);
        inner.has_results = false;
        self.has_news.store(inner.has_news(), Ordering::Relaxed);
    }

    /// The host takes the oldest request, and the ticket to answer it by.
    pub fn take(&self) -> Option<(Request, Option<u64>)> {
        let mut inner = lock(&self.inner);
        let had_room = inner.has_room();
        let request = inner.queue.pop_front()?;
        inner.queued_bytes -= request.arguments.len();
        self.has_news.store(inner.has_news(), Ordering::Relaxed);
        if !had_room && inner.has_room() {
            self.room.notify_all();
        }
        let ticket = request.reply.as_ref().map(|reply| {
            inner.next_ticket += 1;
            let ticket = inner.next_ticket;
            inner.open.push((ticket, Arc::clone(reply)));
            ticket
        });
        Some((request, ticket))
    }

    /// The host could not make the call that it has taken: it is the oldest again.
    pub fn requeue(&self, request: Request, ticket: Option<u64>) {
        let mut inner = lock(&self.inner);
        if inner.closed && ticket.is_some() {
            return;
        }
        inner.open.retain(|(open, _)| Some(*open) != ticket);
        inner.queued_bytes += request.arguments.len();
        inner.queue.push_front(request);
        self.ring(&inner);
    }

    /// The host answers. An answer to a ticket that is closed already goes nowhere.
    pub fn answer(&self, ticket: u64, answer: Answer) {
        let mut inner = lock(&self.inner);
        if let Some(at) = inner.open.iter().position(|(open, _)| *open == ticket) {
            let (_, reply) = inner.open.swap_remove(at);
            drop(inner);
            reply.send(answer);
        }
    }

    /// The host waits, at most that long, for something to do: true when there is.
    pub fn wait(&self, at_most: Duration) -> bool {
        let deadline = Instant::now().checked_add(at_most);
        spin(SPIN_TIME.min(at_most), || self.has_news.load(Ordering::Relaxed));
        let mut inner = lock(&self.inner);
        loop {
            if inner.has_news() {
                return true;
            }
            let left = left_until(deadline);
            if left.is_zero() {
                return false;
            }
            inner.host_sleeps = true;
            inner = self.bell.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
            inner.host_sleeps = false;
        }
    }

    /// The last worker has left: the host need not wait any longer, and a task that was given up must not.
    pub fn finish(&self) {
        {
            let mut inner = lock(&self.inner);
            inner.finished = true;
            self.ring(&inner);
        }
        self.close();
    }

    /// True once the last worker has left and every request was taken.
    pub fn is_finished(&self) -> bool {
        let inner = lock(&self.inner);
        inner.finished && inner.queue.is_empty()
    }

    /// Releases every task that waits, and refuses what comes. What was told before is still there to take.
    pub fn close(&self) {
        let (calls, open) = {
            let mut inner = lock(&self.inner);
            inner.closed = true;
            let (calls, told) = inner.queue.drain(..).partition(|request| request.reply.is_some());
            inner.queue = told;
            inner.queued_bytes = inner.queue.iter().map(|request| request.arguments.len()).sum();
            (calls, std::mem::take(&mut inner.open))
        };
        self.room.notify_all();
        let calls: VecDeque<Request> = calls;
        let replies = calls.into_iter().filter_map(|request| request.reply);
        for reply in replies.chain(open.into_iter().map(|(_, reply)| reply)) {
            reply.send(Answer::Gone);
        }
    }

    /// Has every task that sleeps see whether it has to stop.
    pub fn wake_sleepers(&self) {
        // Taken once, so that who has looked already and is about to sleep does sleep when the bell rings.
        drop(lock(&self.inner));
        self.room.notify_all();
    }

    /// Sleeps on a worker's thread; the job's closing or the task's stop cuts it short. A stop is seen at the next
    /// [`Mailbox::wake_sleepers`].
    pub fn sleep(&self, duration: Duration, is_stopping: impl Fn() -> bool) {
        let deadline = Instant::now().checked_add(duration);
        let mut inner = lock(&self.inner);
        while !inner.closed && !is_stopping() {
            let left = left_until(deadline);
            if left.is_zero() {
                return;
            }
            inner = self.room.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_full_of_bytes_too_and_one_large_text_passes() {
        const PART: usize = QUEUE_BYTES_LIMIT / 8;
        let mailbox = Mailbox::default();
        let has_room = || lock(&mailbox.inner).has_room();
        let tell = |size| {
            assert!(has_room());
            mailbox.post(Request { name: "gma\0echo".into(), arguments: vec![0; size], reply: None });
        };
        (0..8).for_each(|_| tell(PART));
        assert!(!has_room());
        mailbox.take();
        tell(3 * QUEUE_BYTES_LIMIT);
        for _ in 0..8 {
            assert!(!has_room());
            mailbox.take();
        }
        tell(PART);
        mailbox.close();
        assert_eq!(lock(&mailbox.inner).queued_bytes, PART);
        mailbox.take();
        assert_eq!(lock(&mailbox.inner).queued_bytes, 0);
    }
}
