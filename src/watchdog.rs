//! The watchdog: a thread that stops tasks whose time is over, and gives up tasks that don't stop. It also ends threads
//! that nobody needs any more.
//!
//! It starts with the first job, because any job may be cancelled or dropped later, when no thread can be started any
//! more. It sleeps until the next moment at which something may have to happen. A worker that is given up keeps its
//! thread as long as its task runs; the job gets another worker in its place.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::job::{Job, Worker};
use crate::seat::WatchResult;
use crate::{executor, pool, system};

/// The watched jobs. Weak, so that a dropped job ends when its last worker has left it, not at the next check.
static JOBS: Mutex<Vec<Weak<Job>>> = Mutex::new(Vec::new());

/// Wakes the watchdog when a job is added.
static BELL: Condvar = Condvar::new();

fn lock() -> MutexGuard<'static, Vec<Weak<Job>>> {
    JOBS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often to check for idle threads. They end at the second check.
const IDLE: Duration = Duration::from_secs(3);

/// The watchdog checks for idle threads already: nobody has to wake it. Relaxed: see `waiting.md`.
static ENDS_IDLE: AtomicBool = AtomicBool::new(false);

/// When to check a cancelled job again: it will be over soon.
const SOON: Duration = Duration::from_millis(20);

/// Watches a job until it is over.
pub fn watch(job: &Arc<Job>) {
    let mut jobs = lock();
    if !jobs.iter().any(|watched| watched.as_ptr() == Arc::as_ptr(job)) {
        jobs.push(Arc::downgrade(job));
    }
    drop(jobs);
    BELL.notify_one();
}

/// Starts the watchdog, unless it runs already. No job may start without it.
pub fn start() -> Result<(), Error> {
    static STARTED: Mutex<bool> = Mutex::new(false);
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*started {
        pool::spawn_thread("gma2worker-watch", run)?;
        *started = true;
    }
    Ok(())
}

/// Makes the watchdog check for idle threads until all are idle. To be called after threads were given work.
pub fn watch_threads() {
    if !ENDS_IDLE.swap(true, Ordering::Relaxed) {
        // The watchdog holds this lock unless it sleeps: either it sleeps now, or it will see the flag.
        drop(lock());
        system::cache_pages(true);
        BELL.notify_one();
    }
}

/// Ends idle threads if it is time, and says when to check again. When all have been idle for a while, the allocator's
/// free memory is given back, too.
fn end_idle_threads(at: Option<Instant>) -> Option<Instant> {
    let now = Instant::now();
    match at {
        None if !ENDS_IDLE.load(Ordering::Relaxed) => return None,
        Some(at) if at > now => return Some(at),
        None => {}
        Some(_) => {
            // The flag is cleared first, so work that is given after the check sets it again.
            ENDS_IDLE.store(false, Ordering::Relaxed);
            if pool::end_idle() {
                system::trim_allocator();
                return None;
            }
            ENDS_IDLE.store(true, Ordering::Relaxed);
        }
    }
    Some(now + IDLE)
}

fn run() {
    let mut idle = None;
    let mut jobs = lock();
    loop {
        jobs.retain(|job| job.upgrade().is_some_and(|job| !job.is_over()));
        let next = jobs.iter().filter_map(|job| look_after_safely(&job.upgrade()?)).min();
        idle = end_idle_threads(idle);
        let next = next.into_iter().chain(idle).min();
        jobs = match next {
            None => BELL.wait(jobs).unwrap_or_else(PoisonError::into_inner),
            Some(next) => {
                let left = next.saturating_duration_since(Instant::now());
                BELL.wait_timeout(jobs, left).unwrap_or_else(PoisonError::into_inner).0
            }
        };
    }
}

/// Calls [`look_after`], and catches its panics: a panic must not leave the other jobs without a watchdog.
fn look_after_safely(job: &Arc<Job>) -> Option<Instant> {
    catch_unwind(AssertUnwindSafe(|| look_after(job))).unwrap_or_else(|_| Some(Instant::now() + SOON))
}

/// Checks a job's workers, and says when to check again.
fn look_after(job: &Arc<Job>) -> Option<Instant> {
    let now = Instant::now();
    let mut next = None;
    for worker in job.workers() {
        let check_again = match worker.seat.watch() {
            WatchResult::CheckAgain(until) => until,
            WatchResult::Stuck { index, reason } => {
                give_up(job, &worker, index, job.stopped(reason));
                None
            }
        };
        next = next.into_iter().chain(check_again).min();
    }
    job.mailbox.wake_sleepers();
    // A task that begins after this check has its whole limit left. A cancelled job is over soon.
    let begins = job.timeout.and_then(|timeout| now.checked_add(timeout));
    let ends = job.is_cancelled().then(|| now + SOON);
    next.into_iter().chain(begins).chain(ends).min()
}

/// Ends the task without its worker, and starts another worker in its place.
fn give_up(job: &Arc<Job>, worker: &Worker, index: usize, why: Error) {
    if !worker.seat.give_up(index) {
        return;
    }
    pool::mark_lost();
    job.put(worker, index, Err(Error::Stuck(Box::new(why)).into()));
    // A panic means that there is no other worker, either. A cancelled job needs none: no further task begins.
    let has_successor = !job.is_cancelled()
        && matches!(catch_unwind(AssertUnwindSafe(|| executor::start(job, 1))), Ok(Ok(())));
    if !has_successor {
        job.worker_left();
    }
}
