//! A worker's seat in a job: the task that it runs, its deadline, and how it is stopped.
//!
//! The worker begins and ends tasks on its own thread. The watchdog and the host stop a task; the watchdog gives up a task
//! that doesn't stop. One atomic word holds the running task and whether it is stopped or given up, so each task ends exactly
//! once: its worker ends it, or it is given up. `waiting.md` explains the orderings.

use std::time::{Duration, Instant};

use crate::ffi::{Running, Stack};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, lock};

/// Why a task is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    TimedOut,
    Cancelled,
}

/// How a task ended, for its worker.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    NotStopped,
    /// It was told to stop. It may have ended by itself before it noticed.
    Stopped(Reason),
    /// It was given up: it already has an outcome, and its worker has lost the seat.
    GivenUp,
}

/// The result of the watchdog's check of a seat.
#[derive(Debug, PartialEq, Eq)]
pub enum WatchResult {
    /// The next check is due at this time. `None` if there is nothing to watch.
    CheckAgain(Option<Instant>),
    /// The stopped task `index` has not ended in time.
    Stuck { index: usize, reason: Reason },
}

#[derive(Debug, Default)]
pub struct Seat {
    running: Running,
    /// 0 between tasks; [`GIVEN_UP`], which is final; else the task's index + 1, shifted above the bits [`STOP`] and
    /// [`CANCELLED`]. Always SeqCst: see `waiting.md`.
    task: AtomicU64,
    /// The task's deadline, in nanoseconds after [`origin`]; 0 for none. Only the worker writes it. Relaxed: `task` and `waits`
    /// order it.
    deadline: AtomicU64,
    /// The worker is waiting for the host, which does not count against the deadline. Cleared with release, after the new
    /// deadline is stored.
    waits: AtomicBool,
    /// Only the watchdog uses it.
    overdue: Mutex<Option<Overdue>>,
}

/// The watchdog's record of a task that was stopped and has not ended.
#[derive(Debug)]
struct Overdue {
    task: u64,
    checks: u32,
    /// The earliest time of the next check that counts.
    next: Instant,
}

/// The bits of the word below the task's index.
const STOP: u64 = 0b01;
const CANCELLED: u64 = 0b10;
const REASON_BITS: u32 = 2;

/// Includes [`STOP`], so a task that was given up also counts as stopped.
const GIVEN_UP: u64 = u64::MAX;

fn word(index: usize) -> u64 {
    (index as u64 + 1) << REASON_BITS
}

fn reason_in(word: u64) -> Reason {
    if word & CANCELLED == 0 { Reason::TimedOut } else { Reason::Cancelled }
}

/// The interval at which a stop is repeated, in case one got lost.
const RETRY: Duration = Duration::from_millis(20);

/// A stopped task is given up after this many tries, which take a second. Lua code stops at its next instruction. Tries are
/// counted, not time, because the whole process may get no processor for a second.
const TRIES: u32 = 50;

/// The moment from which deadlines count.
fn origin() -> Instant {
    static ORIGIN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    *ORIGIN
}

fn nanoseconds(moment: Instant) -> u64 {
    let after = u64::try_from(moment.saturating_duration_since(origin()).as_nanos());
    // Plus one, since 0 means no deadline. The addition can only overflow after five centuries.
    after.unwrap_or(u64::MAX).saturating_add(1)
}

impl Seat {
    /// Begins a task, which must end within the limit if there is one. For the worker.
    pub fn begin(&self, index: usize, limit: Option<Duration>) {
        self.waits.store(false, Ordering::Relaxed);
        self.set_limit(limit);
        self.task.store(word(index), Ordering::SeqCst);
    }

    /// Sets the time from now in which the task must end. For the worker, before the task has called the host.
    pub fn set_limit(&self, limit: Option<Duration>) {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        self.deadline.store(deadline.map_or(0, nanoseconds), Ordering::Relaxed);
    }

    /// Ends the task. For the worker.
    pub fn end(&self) -> End {
        self.running.clear();
        match self.task.swap(0, Ordering::SeqCst) {
            GIVEN_UP => End::GivenUp,
            task if task & STOP != 0 => End::Stopped(reason_in(task)),
            _ => End::NotStopped,
        }
    }

    /// Whether the running task has to stop.
    pub fn is_stopping(&self) -> bool {
        self.task.load(Ordering::SeqCst) & STOP != 0
    }

    /// Stops the running task, if one runs.
    pub fn stop(&self, reason: Reason) {
        let task = self.task.load(Ordering::SeqCst);
        if task != 0 && task & STOP == 0 {
            self.stop_task(task, reason);
        }
    }

    fn stop_task(&self, task: u64, reason: Reason) {
        let stopped = match reason {
            Reason::TimedOut => task | STOP,
            Reason::Cancelled => task | STOP | CANCELLED,
        };
        if self.task.compare_exchange(task, stopped, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            self.interrupt(stopped);
        }
    }

    fn interrupt(&self, task: u64) {
        self.running.interrupt(|| self.task.load(Ordering::SeqCst) == task);
    }

    /// Stops the task if its deadline has passed, and repeats a stop until the task ends or is stuck. For the watchdog.
    pub fn watch(&self) -> WatchResult {
        let task = self.task.load(Ordering::SeqCst);
        if task == GIVEN_UP || task == 0 {
            return WatchResult::CheckAgain(None);
        }
        // The order matters: at the end of a wait the worker stores the new deadline before it clears `waits`.
        let now = Instant::now();
        let waits = self.waits.load(Ordering::Acquire);
        let deadline = self.deadline.load(Ordering::Relaxed);
        if task & STOP != 0 {
            return self.watch_stopped(task, now, waits);
        }
        if deadline == 0 {
            return WatchResult::CheckAgain(None);
        }
        let end = origin() + Duration::from_nanos(deadline);
        if now < end {
            return WatchResult::CheckAgain(Some(end));
        }
        if !waits {
            self.stop_task(task, Reason::TimedOut);
        }
        WatchResult::CheckAgain(Some(now + RETRY))
    }

    fn watch_stopped(&self, task: u64, now: Instant, waits: bool) -> WatchResult {
        let mut overdue = lock(&self.overdue);
        match &mut *overdue {
            Some(seen) if seen.task == task && !waits => {
                if now >= seen.next {
                    *seen = Overdue { task, checks: seen.checks + 1, next: now + RETRY };
                }
                if seen.checks >= TRIES {
                    return WatchResult::Stuck {
                        index: (task >> REASON_BITS) as usize - 1,
                        reason: reason_in(task),
                    };
                }
            }
            other => *other = Some(Overdue { task, checks: 0, next: now + RETRY }),
        }
        self.interrupt(task);
        WatchResult::CheckAgain(Some(now + RETRY))
    }

    /// Gives up the stopped task `index`. False if its worker has ended it first.
    pub fn give_up(&self, index: usize) -> bool {
        let task = self.task.load(Ordering::SeqCst);
        task & STOP != 0
            && task >> REASON_BITS == word(index) >> REASON_BITS
            && self.task.compare_exchange(task, GIVEN_UP, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Runs `body` as the code of a coroutine that can be stopped meanwhile. When this returns, no stop can reach the coroutine
    /// any more.
    pub fn stoppable<R>(&self, coroutine: &Stack, body: impl FnOnce() -> R) -> R {
        self.running.during(coroutine, || {
            // A stop that came before the coroutine was entered has not reached it.
            if self.is_stopping() {
                coroutine.interrupt();
            }
            body()
        })
    }

    /// Runs `body`, which waits for the host. This time does not count against the deadline.
    pub fn waiting<R>(&self, body: impl FnOnce() -> R) -> R {
        let deadline = self.deadline.load(Ordering::Relaxed);
        if deadline == 0 {
            return body();
        }
        let began = Instant::now();
        self.waits.store(true, Ordering::Relaxed);
        let outcome = body();
        let waited = began.elapsed().as_nanos() as u64;
        self.deadline.store(deadline.saturating_add(waited), Ordering::Relaxed);
        self.waits.store(false, Ordering::Release);
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_ends_exactly_once() {
        let seat = Seat::default();
        seat.begin(4, Some(Duration::ZERO));
        assert!(!seat.give_up(4), "it was not told to stop");
        assert!(matches!(seat.watch(), WatchResult::CheckAgain(Some(_))));
        assert!(seat.is_stopping());
        assert!(!seat.give_up(3), "that is another task");
        assert!(seat.give_up(4));
        assert!(!seat.give_up(4), "it was given up already");
        assert_eq!(seat.end(), End::GivenUp);
    }

    #[test]
    fn a_limit_beyond_the_range_of_the_clock_is_never_reached() {
        let (seat, century) = (Seat::default(), Duration::from_secs(100 * 365 * 24 * 3600));
        // The first is the largest number of seconds whose nanoseconds fit into 64 bits.
        for seconds in [18_446_744_073, 18_446_744_074, 100_000_000_000, 1_000_000_000_000_000_000, u64::MAX]
        {
            seat.begin(0, Some(Duration::from_secs(seconds)));
            let WatchResult::CheckAgain(until) = seat.watch() else { panic!("{seconds} s are over") };
            assert!(
                until.is_none_or(|until| until > Instant::now() + century),
                "{seconds} s end at {until:?}"
            );
            assert_eq!(seat.end(), End::NotStopped);
        }
    }

    #[test]
    fn waiting_for_the_host_does_not_count_against_the_deadline() {
        let seat = Seat::default();
        seat.begin(0, Some(Duration::from_millis(20)));
        seat.waiting(|| {
            std::thread::sleep(Duration::from_millis(40));
            assert!(matches!(seat.watch(), WatchResult::CheckAgain(Some(_))));
        });
        assert!(matches!(seat.watch(), WatchResult::CheckAgain(Some(_))));
        assert!(!seat.is_stopping());
        assert_eq!(seat.end(), End::NotStopped);
    }
}
