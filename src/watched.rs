//! The jobs that the watchdog watches.
//!
//! A job is added by the thread that stops its tasks: the host's, or a worker's whose task has failed.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use crate::job::{Job, Worker};
use crate::lane::Failure;

/// The watched jobs. Weak, so that a dropped job is freed when its last worker leaves it, not at the next check.
static JOBS: Mutex<Vec<Weak<Job>>> = Mutex::new(Vec::new());

/// Wakes the watchdog when a job is added.
pub static BELL: Condvar = Condvar::new();

pub fn lock() -> MutexGuard<'static, Vec<Weak<Job>>> {
    JOBS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Watches a job until it is over.
pub fn watch(job: &Arc<Job>) {
    let mut jobs = lock();
    if !jobs.iter().any(|watched| watched.as_ptr() == Arc::as_ptr(job)) {
        jobs.push(Arc::downgrade(job));
    }
    drop(jobs);
    BELL.notify_one();
}

/// Sets the failure of a task, and cancels the tasks that must not go on after it.
pub fn fail(job: &Arc<Job>, worker: &Worker, index: usize, failure: Failure) {
    job.put(worker, index, Err(failure));
    if job.cancel_after(index) {
        watch(job);
    }
}
