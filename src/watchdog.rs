//! The watchdog: a thread that stops tasks whose time is over, and gives up those that don't stop. It also has threads end
//! that nobody needs any more.
//!
//! It is started with the first job, since any job may be cancelled or dropped later, when no thread may be had any
//! more. It sleeps until the next moment at which something may have to happen. A worker that is given up keeps its
//! thread for as long as its task holds it; its job gets another one in its place.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::job::{Job, Worker};
use crate::seat::WatchResult;
use crate::{executor, pool, system};

/// The jobs that are watched. Weak, so that a job's end is not put off until the next look: its workers hold it until
/// they have left, whoever else has dropped it.
static JOBS: Mutex<Vec<Weak<Job>>> = Mutex::new(Vec::new());

/// Rings when a job comes.
static BELL: Condvar = Condvar::new();

fn lock() -> MutexGuard<'static, Vec<Weak<Job>>> {
    JOBS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often to look for threads that had nothing to do. They end at the second look.
const IDLE: Duration = Duration::from_secs(3);

/// Threads are looked for: nobody has to say that they were given work.
static ENDS_IDLE: AtomicBool = AtomicBool::new(false);

/// When to look again at a job that is about to be over.
const SOON: Duration = Duration::from_millis(20);

/// Watches over a job until it is over.
pub fn watch(job: &Arc<Job>) {
    let mut jobs = lock();
    if !jobs.iter().any(|watched| watched.as_ptr() == Arc::as_ptr(job)) {
        jobs.push(Arc::downgrade(job));
    }
    drop(jobs);
    BELL.notify_one();
}

/// Starts the watchdog, unless it was. Without it no job may start.
pub fn start() -> Result<(), Error> {
    static STARTED: Mutex<bool> = Mutex::new(false);
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*started {
        pool::spawn_thread("gma2worker-watch", run)?;
        *started = true;
    }
    Ok(())
}

/// Looks for idle threads from now on, until all are. To be called when some were given work.
pub fn watch_threads() {
    if !ENDS_IDLE.swap(true, Ordering::Relaxed) {
        // Taken once, so that the watchdog sleeps when the bell rings, or has not looked yet.
        drop(lock());
        system::cache_pages(true);
        BELL.notify_one();
    }
}

/// Has idle threads end if it is time, and says when that is again. Once all have been idle for a while, what the
/// allocator has kept of their work is given back, too.
fn end_idle_threads(at: Option<Instant>) -> Option<Instant> {
    let now = Instant::now();
    match at {
        None if !ENDS_IDLE.load(Ordering::Relaxed) => return None,
        Some(at) if at > now => return Some(at),
        None => {}
        Some(_) => {
            // First: work that is given after the look is told of.
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

/// As [`look_after`]; a fault in it must not leave the other jobs without their watchdog.
fn look_after_safely(job: &Arc<Job>) -> Option<Instant> {
    catch_unwind(AssertUnwindSafe(|| look_after(job))).unwrap_or_else(|_| Some(Instant::now() + SOON))
}

/// Looks after a job's workers, and says when to look again.
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
    // A task that begins after this look has the whole limit before it. A cancelled job is over soon.
    let begins = job.timeout.and_then(|timeout| now.checked_add(timeout));
    let ends = job.is_cancelled().then(|| now + SOON);
    next.into_iter().chain(begins).chain(ends).min()
}

/// The task has to end without its worker, which gets a successor.
fn give_up(job: &Arc<Job>, worker: &Worker, index: usize, why: Error) {
    if !worker.seat.give_up(index) {
        return;
    }
    pool::mark_lost();
    job.put(worker, index, Err(Error::Stuck(Box::new(why)).into()));
    // A panic is no successor, either. A cancelled job needs none: no task begins any more.
    let has_successor = !job.is_cancelled()
        && matches!(catch_unwind(AssertUnwindSafe(|| executor::start(job, 1))), Ok(Ok(())));
    if !has_successor {
        job.worker_left();
    }
}
