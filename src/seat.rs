//! A worker's seat in a job: the task that it runs, its deadline, and how it is stopped.
//!
//! The worker begins and ends tasks on its own thread. The watchdog and the host stop a task; the watchdog gives up a task
//! that doesn't stop. One atomic word holds the running task and whether it is stopped or given up, so each task ends exactly
//! once: its worker ends it, or it is given up. `waiting.md` explains the orderings.

use std::time::{Duration, Instant};

use crate::ffi::{Running, Stack};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, lock};
use crate::system::ThreadState;

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
    /// It was stopped. It may have ended by itself before it noticed.
    Stopped(Reason),
    /// It was told to end by itself, and has, or was stopped when its grace was over.
    Told(Reason),
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
    /// Set before the first task.
    thread: ThreadState,
    /// 0 between tasks; [`GIVEN_UP`], which is final; else the task's index + 1, shifted above the bits [`STOP`],
    /// [`CANCELLED`] and [`TOLD`]. Always SeqCst: see `waiting.md`.
    task: AtomicU64,
    /// The task's deadline, in nanoseconds after [`origin`]; 0 for none. Only the worker writes it. Relaxed: `task` and `waits`
    /// order it.
    deadline: AtomicU64,
    /// The worker is waiting for the host, which does not count against the deadline, and is no reason to give it up. Cleared
    /// with release, after the new deadline is stored.
    waits: AtomicBool,
    /// The task's `init` is running: then its limit counts. Only the worker writes it. Relaxed: it only chooses a message.
    is_in_init: AtomicBool,
    /// Only the watchdog uses it.
    overdue: Mutex<Option<Overdue>>,
}

/// The watchdog's record of a task that was told to end or stopped, and has not ended.
#[derive(Debug)]
struct Overdue {
    task: u64,
    /// How many checks have counted.
    checks: u32,
    /// The time of the worker's thread when one has counted last.
    ran: Option<u64>,
    /// The earliest time of the next check that counts; for a task that was told, the end of its grace.
    next: Instant,
}

/// The bits of the word below the task's index.
const STOP: u64 = 0b001;
const CANCELLED: u64 = 0b010;
/// The task has a grace, in which it should end by itself. It is not stopped before [`STOP`] is set, too.
const TOLD: u64 = 0b100;
const REASON_BITS: u32 = 3;

/// Includes [`STOP`], so a task that was given up also counts as stopped.
const GIVEN_UP: u64 = u64::MAX;

fn word(index: usize) -> u64 {
    (index as u64 + 1) << REASON_BITS
}

fn index_in(word: u64) -> usize {
    (word >> REASON_BITS) as usize - 1
}

fn bit_of(reason: Reason) -> u64 {
    match reason {
        Reason::TimedOut => 0,
        Reason::Cancelled => CANCELLED,
    }
}

fn reason_in(word: u64) -> Reason {
    if word & CANCELLED == 0 { Reason::TimedOut } else { Reason::Cancelled }
}

/// The interval at which a stop is repeated, in case one got lost.
const RETRY: Duration = Duration::from_millis(20);

/// A stopped task is given up after this many tries, which take a second. Lua code stops at its next instruction. On a busy machine, a
/// thread may get no processor for a second: a try counts only if it has run since the last one, or waits for something else.
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
    /// Makes the calling thread the seat's, whose tasks can be stopped. For the worker, before its first task.
    pub fn enter(&self) {
        self.running.enter();
        self.thread.enter();
    }

    /// Ends that. For the worker.
    pub fn leave(&self) {
        self.running.leave();
    }

    /// Begins a task, which must end within the limit if there is one. For the worker.
    pub fn begin(&self, index: usize, limit: Option<Duration>) {
        self.waits.store(false, Ordering::Relaxed);
        self.is_in_init.store(false, Ordering::Relaxed);
        self.set_limit(limit);
        self.task.store(word(index), Ordering::SeqCst);
    }

    /// Sets the time from now in which the task must end. For the worker, before the task has called the host.
    pub fn set_limit(&self, limit: Option<Duration>) {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        self.deadline.store(deadline.map_or(0, nanoseconds), Ordering::Relaxed);
    }

    /// Begins the task's `init`, which must end within its own limit. For the worker.
    pub fn begin_init(&self, limit: Option<Duration>) {
        self.is_in_init.store(true, Ordering::Relaxed);
        self.set_limit(limit);
    }

    /// Ends it. The task has no limit until that is set. False if `init` has timed out. For the worker.
    pub fn end_init(&self) -> bool {
        self.set_limit(None);
        let has_ended = !self.has_timed_out();
        if has_ended {
            self.is_in_init.store(false, Ordering::Relaxed);
        }
        has_ended
    }

    /// Whether the task's `init` is running, or did when the task was stopped.
    pub fn is_in_init(&self) -> bool {
        self.is_in_init.load(Ordering::Relaxed)
    }

    /// Whether the running task is out of time.
    pub fn has_timed_out(&self) -> bool {
        let task = self.task.load(Ordering::SeqCst);
        task & (STOP | TOLD) != 0 && reason_in(task) == Reason::TimedOut
    }

    /// Ends the task. For the worker.
    pub fn end(&self) -> End {
        self.running.clear();
        match self.task.swap(0, Ordering::SeqCst) {
            GIVEN_UP => End::GivenUp,
            task if task & TOLD != 0 => End::Told(reason_in(task)),
            task if task & STOP != 0 => End::Stopped(reason_in(task)),
            _ => End::NotStopped,
        }
    }

    /// Whether the running task has to stop.
    pub fn is_stopping(&self) -> bool {
        self.task.load(Ordering::SeqCst) & STOP != 0
    }

    /// Whether the running task should end by itself, or has to stop.
    pub fn is_told(&self) -> bool {
        self.task.load(Ordering::SeqCst) & (STOP | TOLD) != 0
    }

    /// Stops the running task, if one runs.
    pub fn stop(&self, reason: Reason) {
        self.stop_from(0, reason);
    }

    /// Stops the running task if its index is at least `first`.
    pub fn stop_from(&self, first: usize, reason: Reason) {
        let mut task = self.task.load(Ordering::SeqCst);
        while task != 0 && task & STOP == 0 && index_in(task) >= first {
            match self.stop_task(task, reason) {
                // It was told meanwhile.
                Err(now) if now >> REASON_BITS == task >> REASON_BITS => task = now,
                _ => return,
            }
        }
    }

    /// Stops the task with this word. Returns the present word if it is another one by now.
    fn stop_task(&self, task: u64, reason: Reason) -> Result<(), u64> {
        let reason = if task & TOLD == 0 { bit_of(reason) } else { 0 };
        let stopped = task | STOP | reason;
        self.task.compare_exchange(task, stopped, Ordering::SeqCst, Ordering::SeqCst)?;
        self.interrupt(stopped);
        Ok(())
    }

    /// Tells the running task to end by itself, if its index is at least `first`. The watchdog stops it when its grace is over.
    pub fn tell_from(&self, first: usize, reason: Reason) {
        let task = self.task.load(Ordering::SeqCst);
        if task != 0 && task & (STOP | TOLD) == 0 && index_in(task) >= first {
            // If this fails, the task was told or stopped meanwhile, or has ended.
            let _ = self.tell_task(task, reason);
        }
    }

    /// Tells the task with this word, and returns its new word; or the present word if it is another one by now.
    fn tell_task(&self, task: u64, reason: Reason) -> Result<u64, u64> {
        let told = task | TOLD | bit_of(reason);
        self.task.compare_exchange(task, told, Ordering::SeqCst, Ordering::SeqCst).map(|_| told)
    }

    fn interrupt(&self, task: u64) {
        self.running.interrupt(|| self.task.load(Ordering::SeqCst) == task);
    }

    /// Stops the task if its deadline has passed, or tells it if it has a grace and stops it after that. Repeats a stop until the
    /// task ends or is stuck. For the watchdog.
    pub fn watch(&self, grace: Duration) -> WatchResult {
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
        if task & TOLD != 0 {
            return self.watch_told(task, now, waits, grace);
        }
        if deadline == 0 {
            return WatchResult::CheckAgain(None);
        }
        let end = origin() + Duration::from_nanos(deadline);
        if now < end {
            return WatchResult::CheckAgain(Some(end));
        }
        if !waits && grace.is_zero() {
            // If this fails, the task was stopped meanwhile, or has ended.
            let _ = self.stop_task(task, Reason::TimedOut);
        } else if !waits && let Ok(told) = self.tell_task(task, Reason::TimedOut) {
            return self.watch_told(told, now, waits, grace);
        }
        WatchResult::CheckAgain(Some(now + RETRY))
    }

    /// Stops the told task when its grace is over.
    fn watch_told(&self, task: u64, now: Instant, waits: bool, grace: Duration) -> WatchResult {
        let mut overdue = lock(&self.overdue);
        let end = match &*overdue {
            Some(seen) if seen.task == task => seen.next,
            _ => {
                let next = now + grace;
                *overdue = Some(Overdue { task, checks: 0, ran: None, next });
                next
            }
        };
        drop(overdue);
        if now < end {
            return WatchResult::CheckAgain(Some(end));
        }
        if !waits || reason_in(task) == Reason::Cancelled {
            let _ = self.stop_task(task, reason_in(task));
        }
        WatchResult::CheckAgain(Some(now + RETRY))
    }

    fn watch_stopped(&self, task: u64, now: Instant, waits: bool) -> WatchResult {
        let mut overdue = lock(&self.overdue);
        match &mut *overdue {
            Some(seen) if seen.task == task && !waits => {
                if now >= seen.next {
                    let time = self.thread.runnable_time();
                    seen.checks += u32::from(time.is_none() || time != seen.ran);
                    (seen.ran, seen.next) = (time.or(seen.ran), now + RETRY);
                }
                if seen.checks >= TRIES {
                    return WatchResult::Stuck { index: index_in(task), reason: reason_in(task) };
                }
            }
            other => {
                let ran = self.thread.runnable_time();
                *other = Some(Overdue { task, checks: 0, ran, next: now + RETRY });
            }
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
        self.waits.store(true, Ordering::Relaxed);
        let began = (deadline != 0).then(Instant::now);
        let outcome = body();
        if let Some(began) = began {
            let waited = began.elapsed().as_nanos() as u64;
            self.deadline.store(deadline.saturating_add(waited), Ordering::Relaxed);
        }
        self.waits.store(false, Ordering::Release);
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_os = "linux")]
    use crate::system::{Share, share_one_processor};

    #[test]
    fn a_task_ends_exactly_once() {
        let seat = Seat::default();
        seat.begin(4, Some(Duration::ZERO));
        assert!(!seat.give_up(4), "it was not told to stop");
        assert!(matches!(seat.watch(Duration::ZERO), WatchResult::CheckAgain(Some(_))));
        assert!(seat.is_stopping());
        assert!(!seat.give_up(3), "that is another task");
        assert!(seat.give_up(4));
        assert!(!seat.give_up(4), "it was given up already");
        assert_eq!(seat.end(), End::GivenUp);
    }

    #[test]
    fn a_task_with_a_grace_is_told_first_and_stopped_after_it() {
        let seat = Seat::default();
        let century = Duration::from_secs(100 * 365 * 24 * 3600);
        seat.begin(4, Some(Duration::ZERO));
        let WatchResult::CheckAgain(Some(end)) = seat.watch(century) else { panic!("nothing to watch") };
        assert!(end > Instant::now() + century / 2);
        assert!(seat.is_told() && !seat.is_stopping());
        seat.watch(Duration::ZERO);
        assert!(!seat.is_stopping(), "its grace is not over");
        assert_eq!(seat.end(), End::Told(Reason::TimedOut));

        seat.begin(5, Some(Duration::ZERO));
        assert!(!seat.is_told());
        let short = Duration::from_nanos(1);
        seat.watch(short);
        assert!(seat.is_told() && !seat.is_stopping());
        std::thread::sleep(short);
        seat.watch(short);
        assert!(seat.is_stopping());
        assert_eq!(seat.end(), End::Told(Reason::TimedOut));
    }

    #[test]
    fn a_stopped_task_that_waits_for_the_host_is_not_given_up() {
        let seat = Seat::default();
        seat.begin(0, None);
        seat.stop(Reason::Cancelled);
        seat.waiting(|| {
            for _ in 0..=TRIES + 1 {
                std::thread::sleep(RETRY);
                assert!(matches!(seat.watch(Duration::ZERO), WatchResult::CheckAgain(Some(_))));
            }
        });
        assert_eq!(seat.end(), End::Stopped(Reason::Cancelled));
    }

    /// Whether a task that can't be stopped is given up. It runs on a thread of its own.
    #[cfg(target_os = "linux")]
    fn is_given_up(body: impl Fn(&AtomicBool) + Sync) -> bool {
        let (seat, is_over) = (Seat::default(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                seat.enter();
                seat.begin(0, None);
                body(&is_over);
            });
            while seat.task.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            seat.stop(Reason::Cancelled);
            let is_stuck = (0..2 * TRIES)
                .map(|_| std::thread::sleep(RETRY))
                .any(|()| matches!(seat.watch(Duration::ZERO), WatchResult::Stuck { .. }));
            is_over.store(true, Ordering::Relaxed);
            is_stuck
        })
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_stopped_task_is_given_up_if_it_waits_but_not_if_it_gets_no_processor() {
        let (is_over, runs) =
            (AtomicBool::new(false), |is_over: &AtomicBool| !is_over.load(Ordering::Relaxed));
        assert!(is_given_up(|is_over| while runs(is_over) {
            std::thread::sleep(Duration::from_secs(1));
        }));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                share_one_processor(Share::All);
                while runs(&is_over) {}
            });
            let is_stuck = is_given_up(|is_over| {
                share_one_processor(Share::Rest);
                while runs(is_over) {}
            });
            is_over.store(true, Ordering::Relaxed);
            assert!(!is_stuck);
        });
    }

    #[test]
    fn a_task_keeps_the_first_reason_for_which_it_was_told() {
        let seat = Seat::default();
        seat.begin(4, None);
        seat.tell_from(5, Reason::Cancelled);
        seat.stop_from(5, Reason::Cancelled);
        assert!(!seat.is_told(), "only later tasks were meant");
        seat.tell_from(4, Reason::TimedOut);
        seat.tell_from(0, Reason::Cancelled);
        seat.stop(Reason::Cancelled);
        assert!(seat.is_stopping());
        assert_eq!(seat.end(), End::Told(Reason::TimedOut));
    }

    #[test]
    fn a_limit_beyond_the_range_of_the_clock_is_never_reached() {
        let (seat, century) = (Seat::default(), Duration::from_secs(100 * 365 * 24 * 3600));
        // The first is the largest number of seconds whose nanoseconds fit into 64 bits.
        for seconds in [18_446_744_073, 18_446_744_074, 100_000_000_000, 1_000_000_000_000_000_000, u64::MAX]
        {
            seat.begin(0, Some(Duration::from_secs(seconds)));
            let WatchResult::CheckAgain(until) = seat.watch(Duration::ZERO) else {
                panic!("{seconds} s are over")
            };
            assert!(
                until.is_none_or(|until| until > Instant::now() + century),
                "{seconds} s end at {until:?}"
            );
            assert_eq!(seat.end(), End::NotStopped);
        }
    }

    #[test]
    fn waiting_for_the_host_does_not_count_against_the_deadline() {
        // On a busy machine this thread may pause for longer than a short limit: then a longer one is tried.
        let is_stopped = |limit: Duration| {
            let seat = Seat::default();
            seat.begin(0, Some(limit));
            seat.waiting(|| {
                std::thread::sleep(2 * limit);
                assert!(matches!(seat.watch(Duration::ZERO), WatchResult::CheckAgain(Some(_))));
                assert!(!seat.is_stopping());
            });
            assert!(matches!(seat.watch(Duration::ZERO), WatchResult::CheckAgain(Some(_))));
            seat.is_stopping() || seat.end() != End::NotStopped
        };
        assert!(![20, 200, 4000].map(Duration::from_millis).into_iter().all(is_stopped));
    }
}
