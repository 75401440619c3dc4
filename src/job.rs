//! What a job is: plain `Send` data that the host, the workers and the watchdog share.
//!
//! Arguments as messages, a cursor that hands out tasks, a seat and a lane of outcomes for
//! each worker, a mailbox for host calls.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Mode;
use crate::error::{Error, Kind};
use crate::hostcall::Mailbox;
use crate::policy::Upvalues;
use crate::seat::{Reason, Seat};
use crate::state::Environment;

/// One task, as it crosses.
#[derive(Debug)]
pub enum Task {
    Ready {
        /// Which of the environment's functions.
        function: usize,
        /// Where its arguments' message stands in the job's arguments.
        arguments: Range<usize>,
        name: Option<Box<str>>,
    },
    /// It could not cross: this is its outcome.
    Refused(Error),
}

/// What a failed task's response entry is made of.
#[derive(Debug)]
pub struct Failure {
    pub kind: Kind,
    pub message: Vec<u8>,
    pub traceback: Vec<u8>,
    /// A message with the error value, if that was no string and can cross.
    pub value: Option<Vec<u8>>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { kind: error.kind(), message: error.text(), traceback: Vec::new(), value: None }
    }
}

/// How a task ended.
#[derive(Debug)]
pub enum Outcome {
    /// Where the message with its results stands in the lane.
    Success(Range<usize>),
    /// A message too large to copy into the lane.
    Large(Vec<u8>),
    Failure(Box<Failure>),
}

/// Results up to this size share one buffer a lane, so that a small task costs no allocation.
const SHARED_BELOW: usize = 64 << 10;

/// One worker's outcomes, in the order in which it had them.
#[derive(Debug, Default)]
pub struct Lane {
    messages: Vec<u8>,
    outcomes: Vec<(usize, Outcome)>,
}

impl Lane {
    /// Each outcome with its task's index: the message of its results, or its failure.
    pub fn outcomes(&self) -> impl Iterator<Item = (usize, Result<&[u8], &Failure>)> {
        self.outcomes.iter().map(|(index, outcome)| {
            let outcome = match outcome {
                Outcome::Success(range) => Ok(&self.messages[range.clone()]),
                Outcome::Large(message) => Ok(message.as_slice()),
                Outcome::Failure(failure) => Err(&**failure),
            };
            (*index, outcome)
        })
    }
}

/// One worker of a job: its seat, and its lane.
#[derive(Debug, Default)]
pub struct Worker {
    pub seat: Arc<Seat>,
    lane: Mutex<Lane>,
}

/// One `RunSync` or `RunAsync` call.
#[derive(Debug)]
pub struct Job {
    pub id: u64,
    pub mode: Mode,
    /// What becomes of data that functions have captured, on the way there and back.
    pub upvalues: Upvalues,
    pub environment: Arc<Environment>,
    pub arguments: Vec<u8>,
    pub tasks: Vec<Task>,
    pub mailbox: Arc<Mailbox>,
    pub started: Instant,
    /// How long a task may take.
    pub timeout: Option<Duration>,
    /// All that there ever were: one that was given up has a successor.
    workers: Mutex<Vec<Arc<Worker>>>,
    cursor: AtomicUsize,
    done: AtomicUsize,
    /// How many workers have not left.
    active: AtomicUsize,
    seats: AtomicUsize,
    /// No task begins any more.
    cancelled: AtomicBool,
}

/// What a job is made from.
pub struct Parts {
    pub mode: Mode,
    pub upvalues: Upvalues,
    pub environment: Environment,
    pub arguments: Vec<u8>,
    pub tasks: Vec<Task>,
    pub started: Instant,
    pub timeout: Option<Duration>,
}

impl Job {
    /// A job for at most so many workers, none of which has started.
    pub fn new(parts: Parts, workers: usize) -> Job {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        Job {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            mode: parts.mode,
            upvalues: parts.upvalues,
            environment: Arc::new(parts.environment),
            arguments: parts.arguments,
            tasks: parts.tasks,
            mailbox: Arc::default(),
            started: parts.started,
            timeout: parts.timeout,
            workers: Mutex::default(),
            cursor: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            active: AtomicUsize::new(workers),
            seats: AtomicUsize::new(workers),
            cancelled: AtomicBool::new(false),
        }
    }

    /// A further worker.
    pub fn seat(&self) -> Arc<Worker> {
        let worker = Arc::new(Worker::default());
        self.lock_workers().push(Arc::clone(&worker));
        worker
    }

    fn lock_workers(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Worker>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All workers that there are by now.
    pub fn workers(&self) -> Vec<Arc<Worker>> {
        self.lock_workers().clone()
    }

    /// The next task that nobody has taken, in the order of the list.
    pub fn next_task(&self) -> Option<usize> {
        if self.is_cancelled() {
            return None;
        }
        let index = self.cursor.fetch_add(1, Ordering::Relaxed);
        (index < self.tasks.len()).then_some(index)
    }

    /// Puts a task's outcome, its results or its failure, into its worker's lane.
    pub fn put(&self, worker: &Worker, index: usize, outcome: Result<&mut Vec<u8>, Failure>) {
        let mut lane = worker.lane.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = match outcome {
            Ok(message) if message.len() < SHARED_BELOW => {
                let start = lane.messages.len();
                lane.messages.extend_from_slice(message);
                Outcome::Success(start..lane.messages.len())
            }
            Ok(message) => Outcome::Large(std::mem::take(message)),
            Err(failure) => Outcome::Failure(Box::new(failure)),
        };
        lane.outcomes.push((index, outcome));
        drop(lane);
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    pub fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// How many tasks the job runs, or ran, at the same time.
    pub fn worker_count(&self) -> usize {
        self.seats.load(Ordering::Relaxed)
    }

    /// Whether the last worker has left.
    pub fn is_over(&self) -> bool {
        self.active.load(Ordering::Acquire) == 0
    }

    /// Fewer workers were had than asked for: the others leave before they came.
    pub fn give_back(&self, workers: usize) {
        self.seats.fetch_sub(workers, Ordering::Relaxed);
        for _ in 0..workers {
            self.leave();
        }
    }

    /// A worker has no more to do. The last one ends the job and rings the host's bell.
    pub fn leave(&self) {
        if self.active.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.fail_the_rest();
            self.mailbox.finish();
        }
    }

    /// Gives an outcome to the tasks that nobody will begin.
    fn fail_the_rest(&self) {
        let rest = self.cursor.swap(self.tasks.len(), Ordering::Relaxed)..self.tasks.len();
        if !rest.is_empty() {
            let error = || if self.is_cancelled() { Error::Cancelled } else { Error::NeverBegun };
            let nobody = self.seat();
            rest.for_each(|index| self.put(&nobody, index, Err(error().into())));
        }
    }

    /// Takes the outcomes of all lanes.
    pub fn take_outcomes(&self) -> Vec<Lane> {
        let take = |worker: &Arc<Worker>| {
            std::mem::take(&mut *worker.lane.lock().unwrap_or_else(PoisonError::into_inner))
        };
        self.lock_workers().iter().map(take).collect()
    }

    /// The error of a task that was stopped.
    pub fn stopped(&self, reason: Reason) -> Error {
        match reason {
            Reason::TimedOut => Error::TimedOut(self.timeout.unwrap_or_default().as_secs_f64()),
            Reason::Cancelled => Error::Cancelled,
        }
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// Tasks that have not begun never do, those that wait for the host are released, and those that run
    /// are stopped.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        // First of all: a task that is told that its host call has no answer must not get to see it.
        for worker in self.workers() {
            worker.seat.stop(Reason::Cancelled);
        }
        self.mailbox.close();
        self.mailbox.wake_sleepers();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_holds_nothing_of_a_state() {
        fn is_plain<T: Send + Sync + 'static>() {}
        is_plain::<Job>();
        is_plain::<Parts>();
        is_plain::<Worker>();
    }
}
