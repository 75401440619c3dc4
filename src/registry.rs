//! The running jobs. The host refers to each by its number, because a number may safely outlive its job.

use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;

use crate::job::Job;

static RUNNING: Mutex<Option<FxHashMap<u64, Arc<Job>>>> = Mutex::new(None);

fn running<R>(body: impl FnOnce(&mut FxHashMap<u64, Arc<Job>>) -> R) -> R {
    body(RUNNING.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// Adds a job.
pub fn insert(job: &Arc<Job>) {
    running(|jobs| jobs.insert(job.id, Arc::clone(job)));
}

/// The running job with this number.
pub fn get(id: u64) -> Option<Arc<Job>> {
    running(|jobs| jobs.get(&id).cloned())
}

/// Removes a job whose outcomes were collected or are no longer needed.
pub fn remove(id: u64) -> Option<Arc<Job>> {
    running(|jobs| jobs.remove(&id))
}
