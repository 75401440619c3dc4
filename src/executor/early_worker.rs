//! Starts a worker that decodes arguments before it has a job.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{prepared_pool, run};
use crate::argument_stream::{ArgumentStream, Next};
use crate::early::EarlyArguments;
use crate::error::Error;
use crate::job::{Job, Worker};
use crate::pool::Busy;
use crate::sync::usable_cores;

/// Arguments on their way to a worker, and then its job.
pub type WorkStream = ArgumentStream<(Arc<Job>, Arc<Worker>)>;

/// How many workers decode arguments before they have a job. Relaxed, since it guards no data.
static EARLY: AtomicUsize = AtomicUsize::new(0);

/// Starts a worker that decodes arguments while they come, before there is its job. Calls `ready` as [`start`] does.
pub fn start_early(
    stream: &Arc<WorkStream>,
    memory_limit: usize,
    sandbox: bool,
    ready: impl FnOnce(),
) -> Result<(), Error> {
    let make = || {
        let stream = Arc::clone(stream);
        move |busy| decode_early(&stream, memory_limit, sandbox, busy)
    };
    // The host needs a core, and one refused list after another must not add threads.
    let most = usable_cores() - 1;
    let started = match EARLY.fetch_add(1, Ordering::Relaxed) {
        early if early < most => prepared_pool().and_then(|pool| pool.spawn(1, ready, make)),
        _ => Ok(0),
    };
    if !matches!(started, Ok(1..)) {
        EARLY.fetch_sub(1, Ordering::Relaxed);
    }
    match started? {
        0 => Err(Error::NoWorkers("no thread is idle".into())),
        _ => Ok(()),
    }
}

#[cfg(all(test, feature = "linked"))]
pub fn has_early_workers() -> bool {
    EARLY.load(Ordering::Relaxed) > 0
}

fn decode_early(stream: &Arc<WorkStream>, memory_limit: usize, sandbox: bool, busy: Busy) {
    let mut early = EarlyArguments::new(memory_limit, sandbox);
    let mut number = 0;
    let work = loop {
        match stream.next(number) {
            Next::Block(block) => early = early.and_then(|early| early.feed(&block)),
            Next::Work(work) => break Some(work),
            Next::Nothing => break None,
        }
        number += 1;
    };
    let Some((job, worker)) = work else {
        drop(early);
        // The next early worker gets this thread.
        drop(busy);
        EARLY.fetch_sub(1, Ordering::Relaxed);
        return;
    };
    EARLY.fetch_sub(1, Ordering::Relaxed);
    let first = job.tasks.reserved();
    run(job, worker, busy, first, early);
}
