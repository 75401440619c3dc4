//! A job's mailbox: host calls on their way to the host and back, and the wake-ups of both sides.
//!
//! Plain `Send` data: neither side sees the other's state. Workers post requests and wait for the answers; the host takes
//! the requests when it pumps. [`crate::hostcall`] is the task's side of a host call. `waiting.md` explains why no wake-up
//! is lost.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Arc, Condvar, Mutex, PoisonError, lock, spin};

/// The outcome of a host call.
#[derive(Debug)]
pub enum Answer {
    /// A message with its results.
    Returned(Vec<u8>),
    /// A message with the error value that it raised.
    Raised(Vec<u8>),
    /// The function was not called, or its results can't cross.
    Failed(Error),
    /// The job is closing, or the task is over.
    Gone,
}

/// The name of the request for a loader in the host's `package.preload`. Its arguments are the module's name, not a
/// message.
pub const PRELOAD: &str = "package.preload";

/// How long a thread spins before it sleeps: waking a thread takes longer than most answers.
const SPIN_TIME: Duration = Duration::from_micros(20);

/// The slot in which one worker waits for the answer to its only open call.
#[derive(Debug, Default)]
pub struct Reply {
    inner: Mutex<Slot>,
    /// Whether the answer is there. A hint, read without the lock: see `waiting.md`.
    has_answer: AtomicBool,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct Slot {
    answer: Option<Answer>,
    /// The worker sleeps and has to be woken.
    sleeps: bool,
}

impl Reply {
    /// Stores the answer and wakes the worker. A second answer is ignored.
    pub fn send(&self, answer: Answer) {
        let mut awaited = lock(&self.inner);
        awaited.answer.get_or_insert(answer);
        self.has_answer.store(true, Ordering::Relaxed);
        if awaited.sleeps {
            self.arrived.notify_one();
        }
    }

    /// Waits for the answer. Spins first if `spins`, which is for a host that will probably answer soon.
    pub fn wait(&self, spins: bool) -> Answer {
        if spins {
            spin(SPIN_TIME, || self.has_answer.load(Ordering::Relaxed));
        }
        let mut awaited = lock(&self.inner);
        loop {
            if let Some(answer) = awaited.answer.take() {
                self.has_answer.store(false, Ordering::Relaxed);
                return answer;
            }
            awaited.sleeps = true;
            awaited = self.arrived.wait(awaited).unwrap_or_else(PoisonError::into_inner);
            awaited.sleeps = false;
        }
    }
}

/// A host call that the host has not taken yet.
#[derive(Debug)]
pub struct Request {
    /// The function's name under `gma`, as [`crate::names`] writes it.
    pub name: Box<str>,
    /// A message with the arguments.
    pub arguments: Vec<u8>,
    /// The slot for the answer; none if no task waits for it.
    pub reply: Option<Arc<Reply>>,
}

#[derive(Debug, Default)]
struct Inner {
    queue: VecDeque<Request>,
    /// The size of the arguments in the queue.
    queued_bytes: usize,
    /// Calls that the host has taken but not answered, by ticket.
    open: Vec<(u64, Arc<Reply>)>,
    next_ticket: u64,
    /// No further call is accepted.
    closed: bool,
    /// There are results that the host may merge while tasks still run.
    has_results: bool,
    /// The job's last worker has left.
    finished: bool,
    /// The host sleeps and has to be woken.
    host_sleeps: bool,
    /// Wakes a host that waits for several mailboxes.
    alarm: Option<Arc<Alarm>>,
}

/// Wakes a host that waits for several mailboxes.
#[derive(Debug, Default)]
struct Alarm {
    has_rung: Mutex<bool>,
    bell: Condvar,
}

impl Alarm {
    fn ring(&self) {
        *lock(&self.has_rung) = true;
        self.bell.notify_one();
    }

    fn wait(&self, deadline: Option<Instant>) {
        let mut has_rung = lock(&self.has_rung);
        while !*has_rung {
            let left = left_until(deadline);
            if left.is_zero() {
                return;
            }
            has_rung = self.bell.wait_timeout(has_rung, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Inner {
    /// Whether there is room for another request. Its size does not count, so even one above the limit can pass.
    fn has_room(&self) -> bool {
        self.queue.len() < QUEUE_LIMIT && self.queued_bytes < QUEUE_BYTES_LIMIT
    }

    fn has_news(&self) -> bool {
        !self.queue.is_empty() || self.finished || self.has_results
    }
}

/// A job's requests, and the wake-ups of its host.
#[derive(Debug, Default)]
pub struct Mailbox {
    inner: Mutex<Inner>,
    /// Wakes the host for a request, for results, or for the end of the job.
    bell: Condvar,
    /// Whether there is something for the host. A hint, read without the lock: see `waiting.md`.
    has_news: AtomicBool,
    /// Wakes workers when there is room in the queue, or when their sleep must end.
    room: Condvar,
}

/// The number of queued requests from which on a task has to wait.
pub const QUEUE_LIMIT: usize = 1024;

/// The number of queued bytes of arguments from which on a task has to wait.
pub const QUEUE_BYTES_LIMIT: usize = 8 << 20;

/// A number of seconds as a duration: zero for negative numbers, and the maximum for numbers that are too large.
pub fn seconds(count: f64) -> Duration {
    Duration::try_from_secs_f64(count.max(0.0)).unwrap_or(Duration::MAX)
}

/// The time until a deadline. `None` is later than any clock can represent, so the time is then the maximum.
fn left_until(deadline: Option<Instant>) -> Duration {
    deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()))
}

impl Mailbox {
    /// Adds a request, waiting for room first. Returns how many requests now wait for the host; none if the mailbox is closed.
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
        if let Some(alarm) = &inner.alarm {
            alarm.ring();
        }
    }

    /// Tells the host that there are results.
    pub fn offer_results(&self) {
        let mut inner = lock(&self.inner);
        inner.has_results = true;
        self.ring(&inner);
    }

    /// Whether there are results for the host.
    pub fn has_results(&self) -> bool {
        lock(&self.inner).has_results
    }

    /// How many requests wait for the host to take them.
    pub fn queued(&self) -> usize {
        lock(&self.inner).queue.len()
    }

    /// Notes that the host takes the results.
    pub fn take_results(&self) {
        let mut inner = lock(&self.inner);
        inner.has_results = false;
        self.has_news.store(inner.has_news(), Ordering::Relaxed);
    }

    /// Takes the oldest request, with the ticket for its answer. For the host.
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

    /// Puts a request that the host took but could not carry out back at the front of the queue.
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

    /// Answers a call. If the mailbox was closed meanwhile, the answer is dropped. For the host.
    pub fn answer(&self, ticket: u64, answer: Answer) {
        let mut inner = lock(&self.inner);
        if let Some(at) = inner.open.iter().position(|(open, _)| *open == ticket) {
            let (_, reply) = inner.open.swap_remove(at);
            drop(inner);
            reply.send(answer);
        }
    }

    /// Waits for something to do, for at most `at_most`. True if there is something. For the host.
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

    /// Waits until there is something to do in one of the mailboxes, for at most `at_most`. For the host.
    pub fn wait_for_any(mailboxes: &[&Mailbox], at_most: Duration) {
        let deadline = Instant::now().checked_add(at_most);
        let alarm = Arc::new(Alarm::default());
        let has_news = mailboxes.iter().any(|mailbox| {
            let mut inner = lock(&mailbox.inner);
            inner.alarm = Some(Arc::clone(&alarm));
            inner.has_news()
        });
        if !has_news {
            alarm.wait(deadline);
        }
        for mailbox in mailboxes {
            lock(&mailbox.inner).alarm = None;
        }
    }

    /// Wakes the host for the last time and closes the mailbox, since the last worker has left. A task that was given up may
    /// still be running, and its host calls must not wait.
    pub fn finish(&self) {
        {
            let mut inner = lock(&self.inner);
            inner.finished = true;
            self.ring(&inner);
        }
        self.close();
    }

    /// Whether the last worker has left and every request was taken.
    pub fn is_finished(&self) -> bool {
        let inner = lock(&self.inner);
        inner.finished && inner.queue.is_empty()
    }

    /// Releases all waiting tasks and refuses new requests. Requests that need no answer stay for the host.
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

    /// Makes every sleeping task check whether it has to stop.
    pub fn wake_sleepers(&self) {
        // A task that has just checked and is about to sleep holds this lock until it sleeps.
        drop(lock(&self.inner));
        self.room.notify_all();
    }

    /// Sleeps on a worker's thread. Ends early when the job closes or, at the next [`Mailbox::wake_sleepers`], when the
    /// task has to stop.
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
    fn the_queue_limits_bytes_but_lets_one_large_text_pass() {
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
