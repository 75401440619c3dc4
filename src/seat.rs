//! A worker's seat in a job: which task it runs, until when, and how it is stopped.
//!
//! The worker begins and ends tasks on its own thread; the watchdog and the host stop one, and give one up
//! that can't be stopped. One atomic word says which task it is and what was decided on it, so that each
//! task has exactly one end: its worker's, or that of whoever gave it up.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::ffi::{Running, Stack};

/// Why a task is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    TimedOut,
    Cancelled,
}

/// How a task's end was, for its worker.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Undisturbed,
    /// It was asked to stop. It may have come to its own end first.
    Stopped(Reason),
    /// Somebody gave it up: its outcome is known already, and its worker has no seat any more.
    GivenUp,
}

/// What the watchdog finds at a seat.
#[derive(Debug, PartialEq, Eq)]
pub enum Sight {
    /// Nothing has to happen before then; `None` where nothing is to be watched.
    Quiet(Option<Instant>),
    /// The task `index` has not ended within its grace.
    Stuck { index: usize, reason: Reason },
}

#[derive(Debug, Default)]
pub struct Seat {
    running: Running,
    /// 0 between tasks, [`GIVEN_UP`] for good, else the task's index + 1 over two bits of a [`Reason`].
    task: AtomicU64,
    /// Nanoseconds after [`origin`] at which the task has to end; 0 for never. The worker alone writes it.
    deadline: AtomicU64,
    /// The worker waits for the host, which does not count against the deadline.
    waits: AtomicBool,
    /// The watchdog's own.
    overdue: Mutex<Option<Overdue>>,
}

/// What the watchdog remembers of a task that was stopped and has not ended.
#[derive(Debug)]
struct Overdue {
    task: u64,
    looks: u32,
    /// When the next look counts.
    next: Instant,
}

/// The bits of the word below the task.
const STOP: u64 = 0b01;
const CANCELLED: u64 = 0b10;
const REASON_BITS: u32 = 2;

/// It says stop, too.
const GIVEN_UP: u64 = u64::MAX;

fn word(index: usize) -> u64 {
    (index as u64 + 1) << REASON_BITS
}

fn reason_in(word: u64) -> Reason {
    if word & CANCELLED == 0 { Reason::TimedOut } else { Reason::Cancelled }
}

/// A stop is tried again so often, should one get lost.
const RETRY: Duration = Duration::from_millis(20);

/// A task that was stopped is given up after so many tries, a second. Lua code stops at its next
/// instruction; but where the whole process gets no processor for that long, that says nothing of the task.
/// So it is tries that count, not time.
const TRIES: u32 = 50;

/// What deadlines are counted from.
fn origin() -> Instant {
    static ORIGIN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    *ORIGIN
}

fn nanoseconds(moment: Instant) -> u64 {
    let after = u64::try_from(moment.saturating_duration_since(origin()).as_nanos());
    // One more, since 0 says never. No machine runs for the five centuries that are too many.
    after.unwrap_or(u64::MAX).saturating_add(1)
}

impl Seat {
    /// The worker begins a task, which has to end in time where there is a limit.
    pub fn begin(&self, index: usize, limit: Option<Duration>) {
        self.waits.store(false, Ordering::Relaxed);
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        self.deadline.store(deadline.map_or(0, nanoseconds), Ordering::Relaxed);
        self.task.store(word(index), Ordering::SeqCst);
    }

    /// The worker has ended the task.
    pub fn end(&self) -> End {
        self.running.clear();
        match self.task.swap(0, Ordering::SeqCst) {
            GIVEN_UP => End::GivenUp,
            task if task & STOP != 0 => End::Stopped(reason_in(task)),
            _ => End::Undisturbed,
        }
    }

    /// Whether the task that runs has to stop.
    pub fn is_stopping(&self) -> bool {
        self.task.load(Ordering::SeqCst) & STOP != 0
    }

    /// Has the task that runs stop, whatever it is.
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

    /// Looks at the seat, stops its task if its time is over, and says when to look again.
    pub fn watch(&self) -> Sight {
        let task = self.task.load(Ordering::SeqCst);
        if task == GIVEN_UP || task == 0 {
            return Sight::Quiet(None);
        }
        // In this order: a wait that is over has put off the deadline before it said so.
        let now = Instant::now();
        let waits = self.waits.load(Ordering::Acquire);
        let deadline = self.deadline.load(Ordering::Relaxed);
        if task & STOP != 0 {
            return self.watch_stopped(task, now, waits);
        }
        if deadline == 0 {
            return Sight::Quiet(None);
        }
        let end = origin() + Duration::from_nanos(deadline);
        if now < end {
            return Sight::Quiet(Some(end));
        }
        if !waits {
            self.stop_task(task, Reason::TimedOut);
        }
        Sight::Quiet(Some(now + RETRY))
    }

    fn watch_stopped(&self, task: u64, now: Instant, waits: bool) -> Sight {
        let mut overdue = self.overdue.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *overdue {
            Some(seen) if seen.task == task && !waits => {
                if now >= seen.next {
                    *seen = Overdue { task, looks: seen.looks + 1, next: now + RETRY };
                }
                if seen.looks >= TRIES {
                    return Sight::Stuck {
                        index: (task >> REASON_BITS) as usize - 1,
                        reason: reason_in(task),
                    };
                }
            }
            other => *other = Some(Overdue { task, looks: 0, next: now + RETRY }),
        }
        self.interrupt(task);
        Sight::Quiet(Some(now + RETRY))
    }

    /// Gives up the stopped task `index`; false where its worker was quicker.
    pub fn give_up(&self, index: usize) -> bool {
        let task = self.task.load(Ordering::SeqCst);
        task & STOP != 0
            && task >> REASON_BITS == word(index) >> REASON_BITS
            && self.task.compare_exchange(task, GIVEN_UP, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Runs `body` without counting its time.
    fn waiting<R>(&self, body: impl FnOnce() -> R) -> R {
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

thread_local! {
    /// The seat of the worker that runs on this thread; none between jobs.
    static SEAT: RefCell<Option<Arc<Seat>>> = const { RefCell::new(None) };
}

/// Puts the worker of this thread on a seat, until what it gets is dropped.
pub fn take(seat: &Arc<Seat>) -> Seated {
    SEAT.set(Some(Arc::clone(seat)));
    Seated(())
}

/// While it lives, the worker of this thread has a seat.
pub struct Seated(());

impl Drop for Seated {
    fn drop(&mut self) {
        SEAT.set(None);
    }
}

/// Whether the task of this thread has to stop.
pub fn is_stopping() -> bool {
    SEAT.with_borrow(|seat| seat.as_ref().is_some_and(|seat| seat.is_stopping()))
}

/// Runs `body`, which waits for the host, without counting its time against the task's.
pub fn waiting<R>(body: impl FnOnce() -> R) -> R {
    match SEAT.with_borrow(Option::clone) {
        Some(seat) => seat.waiting(body),
        None => body(),
    }
}

/// Runs `body` as the code of a coroutine that can be stopped while it runs.
pub fn stoppable<R>(coroutine: &Stack, body: impl FnOnce() -> R) -> R {
    SEAT.with_borrow(|seat| match seat {
        Some(seat) => seat.running.during(coroutine, || {
            // A stop that came before this coroutine was the one that runs has not reached it.
            if seat.is_stopping() {
                coroutine.interrupt();
            }
            body()
        }),
        None => body(),
    })
}

#[cfg(all(test, feature = "linked"))]
mod tests {
    use std::cell::Cell;
    use std::sync::mpsc;

    use super::*;
    use crate::coroutine;
    use crate::ffi::{NativeResult, OwnState, Protected, Resumed, native};

    thread_local! {
        static HOOKED: Cell<bool> = const { Cell::new(false) };
    }

    fn note_hook(stack: &Protected) -> NativeResult {
        HOOKED.set(stack.is_hooked());
        Ok(0)
    }

    /// Whether code that begins now on this thread has a hook.
    fn is_hooked(state: &OwnState) -> bool {
        let stack = state.unprotected();
        let coroutine = stack.new_thread();
        coroutine.push_native(native(note_hook));
        assert_eq!(stoppable(&coroutine, || coroutine.resume(&stack, 0)), Resumed::Returned);
        HOOKED.get()
    }

    #[test]
    fn a_task_runs_without_a_hook_until_it_has_to_stop() {
        let state = OwnState::new(usize::MAX).expect("a state");
        let seat = Arc::new(Seat::default());
        let _seat = take(&seat);
        seat.begin(0, Some(Duration::from_secs(60)));
        assert!(!is_hooked(&state));
        seat.stop(Reason::Cancelled);
        assert!(is_hooked(&state));
        assert_eq!(seat.end(), End::Stopped(Reason::Cancelled));
        seat.begin(1, None);
        assert!(!is_hooked(&state));
        assert_eq!(seat.end(), End::Undisturbed);
    }

    /// `stop()`: what the host does when it drops a job, as the task comes to this point.
    fn stop_task(_: &Protected) -> NativeResult {
        SEAT.with_borrow(|seat| seat.as_ref().map(|seat| seat.stop(Reason::Cancelled)));
        Ok(0)
    }

    /// Runs a task on a thread of its own, and gives how it came back: with one stop, which nobody tries again.
    fn come_back(code: &'static str) -> Resumed {
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let state = OwnState::new(usize::MAX).expect("a state");
            let stack = state.unprotected();
            stack.open_libraries();
            coroutine::install(&stack);
            stack.push_globals();
            stack.push_native(native(stop_task));
            stack.raw_set_text(-2, "stop");
            let seat = Arc::new(Seat::default());
            let _seat = take(&seat);
            seat.begin(0, None);
            let task = stack.new_thread();
            task.load(code.as_bytes(), c"=task").expect("it is Lua");
            let _ = sender.send(stoppable(&task, || task.resume(&stack, 0)));
        });
        receiver.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| panic!("it goes on: {code}"))
    }

    #[test]
    fn one_stop_is_enough_wherever_it_meets_the_task() {
        /// Calls back from C, in ways that no coroutine may yield across.
        const CALLERS: [&str; 8] = [
            "table.sort({ 3, 2, 1 }, function() body() end)",
            "('x'):gsub('x', function() body() end)",
            "load(function() body() end)",
            "xpcall(error, function() body() end)",
            "tostring(setmetatable({}, { __tostring = function() body() return '' end }))",
            "table.concat(setmetatable({}, { __len = function() body() return 0 end, __index = type }))",
            "return setmetatable({}, { __index = function() body() end }).field",
            "for _ in pairs(setmetatable({}, { __pairs = function() body() return next, {} end })) do end",
        ];
        /// Where it is met. Only the first call of `stop` stops: the later ones show what is left of that.
        const BODIES: [&str; 4] = [
            "stop()",
            "coroutine.wrap(function() stop() while true do end end)()",
            "coroutine.wrap(function() pcall(coroutine.wrap(function() stop() while true do end end)) end)()",
            "coroutine.resume(coroutine.create(function() table.sort({ 2, 1 }, function() stop() end) end))",
        ];
        for caller in CALLERS {
            for body in BODIES {
                let code = format!(
                    "local function body() {body} end
                     local real, was_there = stop, false
                     stop = function() stop = function() end was_there = true real() end
                     repeat pcall(function() {caller} end) until not was_there"
                );
                assert_eq!(come_back(code.leak()), Resumed::Yielded, "{body} in {caller}");
            }
        }
    }

    #[test]
    fn a_task_has_one_end() {
        let seat = Seat::default();
        seat.begin(4, Some(Duration::ZERO));
        assert!(!seat.give_up(4), "it was not asked to stop");
        assert!(matches!(seat.watch(), Sight::Quiet(Some(_))));
        assert!(seat.is_stopping());
        assert!(!seat.give_up(3), "that is another task");
        assert!(seat.give_up(4));
        assert!(!seat.give_up(4), "it was given up already");
        assert_eq!(seat.end(), End::GivenUp);
    }

    #[test]
    fn a_limit_past_the_end_of_all_clocks_is_never_reached() {
        let (seat, century) = (Seat::default(), Duration::from_secs(100 * 365 * 24 * 3600));
        // The first ones are the last whose nanoseconds 64 bits count, and the next.
        for seconds in [18_446_744_073, 18_446_744_074, 100_000_000_000, 1_000_000_000_000_000_000, u64::MAX]
        {
            seat.begin(0, Some(Duration::from_secs(seconds)));
            let Sight::Quiet(until) = seat.watch() else { panic!("{seconds} s are over") };
            assert!(
                until.is_none_or(|until| until > Instant::now() + century),
                "{seconds} s end at {until:?}"
            );
            assert_eq!(seat.end(), End::Undisturbed);
        }
    }

    #[test]
    fn waiting_for_the_host_does_not_count() {
        let seat = Seat::default();
        seat.begin(0, Some(Duration::from_millis(20)));
        seat.waiting(|| {
            std::thread::sleep(Duration::from_millis(40));
            assert!(matches!(seat.watch(), Sight::Quiet(Some(_))));
        });
        assert!(matches!(seat.watch(), Sight::Quiet(Some(_))));
        assert!(!seat.is_stopping());
        assert_eq!(seat.end(), End::Undisturbed);
    }
}
