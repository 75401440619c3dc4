//! The watchdog: a thread that stops tasks at their deadline and gives up tasks that don't stop. It also makes
//! idle threads rest, and ends them.
//!
//! It starts with the first job, because a job may be cancelled or dropped when no thread can be started any more. It sleeps
//! until the next check is due. A worker that is given up keeps its thread while its task runs; another worker takes its
//! place in the job.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::job::{Job, Worker};
use crate::pool::Idle;
use crate::seat::WatchResult;
use crate::{executor, pool, system, watched};

/// How often to check for idle threads. They rest at the second check.
const IDLE: Duration = Duration::from_millis(300);

/// The next check for idle threads.
#[derive(Clone, Copy)]
struct Check {
    at: Instant,
    /// All threads rest. New work makes the check come sooner.
    all_rest: bool,
}

/// The watchdog is checking for threads that could rest, so it needs no wake-up. Relaxed: see `waiting.md`.
static CHECKS_IDLE_THREADS: AtomicBool = AtomicBool::new(false);

/// How soon to check a cancelled job again.
const SOON: Duration = Duration::from_millis(20);

/// The start of the watchdog's thread.
pub struct Start(Option<mpsc::Receiver<()>>);

impl Start {
    /// Waits until the thread runs: the C library ends the process if a starting thread gets no memory.
    pub fn wait(self) {
        if let Some(started) = self.0 {
            let _ = started.recv();
        }
    }
}

/// Starts the watchdog, unless it was started. No job may start without it.
pub fn start() -> Result<Start, Error> {
    static STARTED: Mutex<bool> = Mutex::new(false);
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    let start = if *started { None } else { Some(pool::spawn_thread("gma2worker-watch", run)?) };
    *started = true;
    Ok(Start(start))
}

/// Makes the watchdog check for idle threads until all are idle. Call it after handing work to threads.
pub fn watch_threads() {
    if !CHECKS_IDLE_THREADS.swap(true, Ordering::Relaxed) {
        // The watchdog holds this lock unless it sleeps. So either it is asleep now, or it will see the flag.
        drop(watched::lock());
        system::cache_pages(true);
        watched::BELL.notify_one();
    }
}

/// Makes idle threads rest or ends them if a check is due, and returns when the next one is. Once all threads have been idle
/// for a while, it also returns the allocator's free memory to the system.
fn end_idle_threads(next: Option<Check>) -> Option<Check> {
    let now = Instant::now();
    let has_work = CHECKS_IDLE_THREADS.load(Ordering::Relaxed);
    match next {
        None if !has_work => return None,
        Some(check) if check.at > now && !(check.all_rest && has_work) => return next,
        Some(check) if check.at <= now => {
            // The flag is cleared first, so that work handed out after the check sets it again.
            CHECKS_IDLE_THREADS.store(false, Ordering::Relaxed);
            match pool::end_idle(if check.all_rest { pool::PERIODS_OF_REST } else { 1 }) {
                Idle::NotYet => CHECKS_IDLE_THREADS.store(true, Ordering::Relaxed),
                Idle::AllRest => {
                    system::trim_allocator();
                    return Some(Check { at: now + IDLE * pool::PERIODS_OF_REST, all_rest: true });
                }
                Idle::Over => {
                    system::cache_pages(false);
                    system::trim_allocator();
                    return None;
                }
            }
        }
        _ => {}
    }
    Some(Check { at: now + IDLE, all_rest: false })
}

fn run() {
    let mut idle = None;
    let mut jobs = watched::lock();
    loop {
        jobs.retain(|job| job.upgrade().is_some_and(|job| !job.is_over()));
        let next = jobs.iter().filter_map(|job| check_job_safely(&job.upgrade()?)).min();
        idle = end_idle_threads(idle);
        let next = next.into_iter().chain(idle.map(|check| check.at)).min();
        jobs = match next {
            None => watched::BELL.wait(jobs).unwrap_or_else(PoisonError::into_inner),
            Some(next) => {
                let left = next.saturating_duration_since(Instant::now());
                watched::BELL.wait_timeout(jobs, left).unwrap_or_else(PoisonError::into_inner).0
            }
        };
    }
}

/// Calls [`check_job`] and catches its panics: a panic must not leave the other jobs without a watchdog.
fn check_job_safely(job: &Arc<Job>) -> Option<Instant> {
    catch_unwind(AssertUnwindSafe(|| check_job(job))).unwrap_or_else(|_| Some(Instant::now() + SOON))
}

/// Checks a job's workers, and returns when to check again.
fn check_job(job: &Arc<Job>) -> Option<Instant> {
    let now = Instant::now();
    if job.grace_end().is_some_and(|end| now >= end) {
        job.stop();
    }
    let mut next = None;
    for worker in job.workers() {
        let check_again = match worker.seat.watch(job.grace) {
            WatchResult::CheckAgain(until) => until,
            WatchResult::Stuck { index, reason } => {
                give_up(job, &worker, index, job.stopped(index, reason, worker.seat.is_in_init()));
                // This may have cancelled a task that was checked before.
                Some(now + SOON)
            }
        };
        next = next.into_iter().chain(check_again).min();
    }
    job.mailbox.wake_sleepers();
    // A task that begins after this check has its whole timeout left. A cancelled job is over soon.
    let begins = job.shortest_timeout().and_then(|timeout| now.checked_add(timeout));
    let ends = job.is_cancelled().then(|| now + SOON);
    next.into_iter().chain(begins).chain(ends).min()
}

/// Gives up the task, sets its outcome, and starts another worker in place of the stuck one.
fn give_up(job: &Arc<Job>, worker: &Worker, index: usize, why: Error) {
    if !worker.seat.give_up(index) {
        return;
    }
    pool::mark_lost();
    if worker.seat.is_in_init() {
        job.note_init_stuck();
    }
    job.put(worker, index, Err(Error::Stuck(Box::new(why)).into()));
    // Its outcome matters only here: the watchdog watches the job already.
    job.cancel_after(index);
    // After a panic there is no other worker either. A cancelled job needs none, because no further task begins.
    let has_successor = !job.is_cancelled()
        && matches!(catch_unwind(AssertUnwindSafe(|| executor::start(job, 1, || {}))), Ok(Ok(())));
    if !has_successor {
        job.worker_left();
    }
}
