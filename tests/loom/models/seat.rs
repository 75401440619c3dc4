//! A task at a seat has one end, and a stop reaches the task that it was meant for and no other.

use std::time::Duration;

use loom::thread;

use gma2workers::ffi::{Stack, is_signal_sent, wait_for_signals};
use gma2workers::seat::{End, Reason, Seat};
use gma2workers::sync::Arc;
use gma2workers::sync::atomic::{AtomicBool, Ordering};

/// A limit that is over at once.
const NO_TIME: Option<Duration> = Some(Duration::ZERO);

/// A grace that is not over.
const GRACE: Duration = Duration::from_secs(1000);

/// Runs a model. Its first thread is the worker of the seat.
fn model(body: impl Fn(&Arc<Seat>) + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    if cfg!(feature = "lua54") {
        // The system is one thread more, and all orders of the steps are too many.
        builder.preemption_bound = Some(3);
    }
    builder.check(move || {
        let seat = Arc::new(Seat::default());
        seat.enter();
        body(&seat);
        seat.leave();
    });
}

fn spawn<R: 'static>(seat: &Arc<Seat>, body: impl FnOnce(&Seat) -> R + 'static) -> thread::JoinHandle<R> {
    let seat = Arc::clone(seat);
    thread::spawn(move || body(&seat))
}

/// What a worker knows of a coroutine that it has left.
struct Left {
    coroutine: Stack,
    sees_hook: bool,
    sees_stop: bool,
}

impl Left {
    /// To be called when no thread can set a hook any more.
    fn check(&self) {
        let is_hooked = self.coroutine.is_hooked();
        assert_eq!(self.sees_hook, is_hooked, "the hook was written behind the worker's back");
        // A worker that saw no stop does not look for a hook.
        assert!(self.sees_stop || !is_hooked, "a hook without a stop stays for the next task");
    }
}

/// Runs a task's code in a coroutine that is freed afterwards, as a worker does.
fn run(seat: &Seat) -> Left {
    let coroutine = Stack::default();
    seat.stoppable(&coroutine, || {});
    let (sees_hook, sees_stop) = (coroutine.is_hooked(), seat.is_stopping());
    coroutine.free();
    Left { coroutine, sees_hook, sees_stop }
}

#[test]
fn a_time_out_reaches_its_task_and_not_the_next() {
    model(|seat| {
        seat.begin(0, NO_TIME);
        let watchdog = spawn(seat, |seat| drop(seat.watch(Duration::ZERO)));
        let first = run(seat);
        assert!(matches!(seat.end(), End::NotStopped | End::Stopped(Reason::TimedOut)));
        seat.begin(1, None);
        let second = run(seat);
        watchdog.join().unwrap();
        first.check();
        second.check();
        assert!(!second.sees_stop);
        assert_eq!(seat.end(), End::NotStopped);
    });
}

#[test]
fn no_signal_of_a_task_is_left_for_the_next() {
    model(|seat| {
        seat.begin(0, NO_TIME);
        let watchdog = spawn(seat, |seat| drop(seat.watch(Duration::ZERO)));
        let left = run(seat);
        seat.end();
        assert!(!is_signal_sent(), "a signal comes after the end of its task");
        watchdog.join().unwrap();
        assert!(!is_signal_sent(), "a signal was sent after the end of its task");
        left.check();
    });
}

#[test]
fn one_stop_reaches_a_coroutine_that_goes_on_forever() {
    model(|seat| {
        seat.begin(0, None);
        let canceller = spawn(seat, |seat| seat.stop(Reason::Cancelled));
        let coroutine = Stack::default();
        seat.stoppable(&coroutine, || {
            canceller.join().unwrap();
            wait_for_signals();
            assert!(coroutine.is_hooked(), "the coroutine goes on");
        });
    });
}

#[test]
fn a_stop_is_repeated() {
    model(|seat| {
        seat.begin(0, None);
        seat.stop(Reason::Cancelled);
        let coroutine = Stack::default();
        seat.stoppable(&coroutine, || {
            for _ in 0..2 {
                coroutine.lose_hook();
                spawn(seat, |seat| drop(seat.watch(Duration::ZERO))).join().unwrap();
                wait_for_signals();
                assert!(coroutine.is_hooked(), "the coroutine goes on");
            }
        });
    });
}

#[test]
fn one_stop_reaches_a_task_that_has_just_left_a_coroutine() {
    model(|seat| {
        seat.begin(0, None);
        let canceller = spawn(seat, |seat| seat.stop(Reason::Cancelled));
        let outer = Stack::default();
        seat.stoppable(&outer, || {
            // As `resume` and `wrap` do in a task.
            let inner = run(seat);
            canceller.join().unwrap();
            wait_for_signals();
            inner.check();
            assert!(inner.sees_stop || outer.is_hooked(), "the task goes on");
        });
    });
}

#[test]
fn a_job_that_is_cancelled_as_a_task_begins_stops_it() {
    model(|seat| {
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let canceller = {
            let is_cancelled = Arc::clone(&is_cancelled);
            spawn(seat, move |seat| {
                is_cancelled.store(true, Ordering::SeqCst);
                seat.stop(Reason::Cancelled);
            })
        };
        seat.begin(0, None);
        if is_cancelled.load(Ordering::SeqCst) {
            seat.stop(Reason::Cancelled);
        }
        canceller.join().unwrap();
        assert!(seat.is_stopping(), "neither has stopped the task");
    });
}

#[test]
fn a_task_that_is_stopped_twice_has_one_reason() {
    model(|seat| {
        seat.begin(0, NO_TIME);
        let watchdog = spawn(seat, |seat| drop(seat.watch(Duration::ZERO)));
        let canceller = spawn(seat, |seat| seat.stop(Reason::Cancelled));
        let end = seat.end();
        watchdog.join().unwrap();
        canceller.join().unwrap();
        assert!(matches!(end, End::NotStopped | End::Stopped(_)));
        assert!(!seat.is_stopping(), "a stop is left for the next task");
    });
}

#[test]
fn a_stop_is_not_lost_when_the_task_is_told_meanwhile() {
    model(|seat| {
        seat.begin(0, None);
        let watchdog = spawn(seat, |seat| seat.tell_from(0, Reason::TimedOut));
        let canceller = spawn(seat, |seat| seat.stop(Reason::Cancelled));
        watchdog.join().unwrap();
        canceller.join().unwrap();
        assert!(seat.is_stopping(), "the task goes on");
        assert!(matches!(seat.end(), End::Told(Reason::TimedOut) | End::Stopped(Reason::Cancelled)));
    });
}

#[test]
fn a_task_that_is_told_has_no_hook_and_the_next_is_not_told() {
    model(|seat| {
        seat.begin(0, NO_TIME);
        let watchdog = spawn(seat, |seat| drop(seat.watch(GRACE)));
        let first = run(seat);
        assert!(matches!(seat.end(), End::NotStopped | End::Told(Reason::TimedOut)));
        seat.begin(1, None);
        let second = run(seat);
        watchdog.join().unwrap();
        assert!(!first.coroutine.is_hooked() && !second.coroutine.is_hooked());
        assert!(!seat.is_told());
        assert_eq!(seat.end(), End::NotStopped);
    });
}

#[test]
fn a_grace_ends_with_a_stop_of_its_task_and_not_of_the_next() {
    model(|seat| {
        seat.begin(0, None);
        seat.tell_from(0, Reason::Cancelled);
        // The grace is over at the second look.
        drop(seat.watch(Duration::ZERO));
        let watchdog = spawn(seat, |seat| drop(seat.watch(Duration::ZERO)));
        let first = run(seat);
        assert_eq!(seat.end(), End::Told(Reason::Cancelled));
        seat.begin(1, None);
        let second = run(seat);
        watchdog.join().unwrap();
        first.check();
        second.check();
        assert!(!second.sees_stop);
        assert_eq!(seat.end(), End::NotStopped);
    });
}

#[test]
fn a_failure_stops_only_the_tasks_behind_it() {
    model(|seat| {
        seat.begin(0, None);
        let failing = spawn(seat, |seat| seat.stop_from(1, Reason::Cancelled));
        assert_eq!(seat.end(), End::NotStopped);
        seat.begin(2, None);
        failing.join().unwrap();
        assert!(matches!(seat.end(), End::NotStopped | End::Stopped(Reason::Cancelled)));
    });
}

#[test]
fn a_task_is_given_up_or_ends_but_not_both() {
    model(|seat| {
        seat.begin(0, None);
        seat.stop(Reason::Cancelled);
        let watchdog = spawn(seat, |seat| seat.give_up(0));
        let end = seat.end();
        let is_given_up = watchdog.join().unwrap();
        assert_eq!(end, if is_given_up { End::GivenUp } else { End::Stopped(Reason::Cancelled) });
    });
}

#[test]
fn the_task_after_the_one_to_be_given_up_goes_on() {
    model(|seat| {
        seat.begin(0, None);
        seat.stop(Reason::Cancelled);
        let watchdog = spawn(seat, |seat| seat.give_up(0));
        if seat.end() == End::GivenUp {
            // The worker has no seat any more.
            assert!(watchdog.join().unwrap());
            return;
        }
        seat.begin(1, None);
        assert!(!watchdog.join().unwrap());
        assert_eq!(seat.end(), End::NotStopped);
    });
}
