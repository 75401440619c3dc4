//! What a job is: plain `Send` data that the host, the workers and the watchdog share.
//!
//! Its tasks with their arguments as messages, a cursor that hands out tasks, a seat and a lane of outcomes for
//! each worker, a mailbox for host calls.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;
use rustc_hash::FxHashMap;

use crate::codec::Upvalues;
use crate::config::Mode;
use crate::environment::Environment;
use crate::error::Error;
use crate::lane::{Failure, Lane};
use crate::mailbox::Mailbox;
use crate::seat::{Reason, Seat};
use crate::trace::{Row, Trace};

/// The tasks, as they cross.
#[derive(Debug, Default)]
pub struct Tasks {
    list: Vec<Listed>,
    names: FxHashMap<usize, Box<str>>,
    /// Those that could not cross: that is their outcome.
    refused: FxHashMap<usize, Error>,
    /// The messages of their arguments, one after another.
    pub arguments: Vec<u8>,
}

/// What every task has. Kept small, since there may be millions.
#[derive(Clone, Copy, Debug)]
struct Listed {
    /// Which of the environment's functions; [`REFUSED`] for none.
    function: u32,
    /// Where the message with its arguments ends. It begins where the one before ends.
    end: usize,
}

const REFUSED: u32 = u32::MAX;

/// One task, as it crosses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Task<'a> {
    /// Which of the environment's functions.
    pub function: usize,
    /// A message.
    pub arguments: &'a [u8],
    pub name: Option<&'a str>,
}

impl Tasks {
    /// Makes room for so many more. What they hold is not counted.
    pub fn reserve(&mut self, count: usize) -> Result<(), Error> {
        Ok(self.list.try_reserve_exact(count)?)
    }

    /// Enters a task whose arguments end at `end` of all tasks'.
    pub fn push(&mut self, function: u32, end: usize, name: Option<Box<str>>) {
        if let Some(name) = name {
            self.names.insert(self.list.len(), name);
        }
        self.list.push(Listed { function, end });
    }

    /// Enters a task that can't cross.
    pub fn refuse(&mut self, error: Error) {
        self.refused.insert(self.list.len(), error);
        let end = self.list.last().map_or(0, |last| last.end);
        self.list.push(Listed { function: REFUSED, end });
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The task with that index, from 0; or why it could not cross.
    pub fn get(&self, index: usize) -> Result<Task<'_>, Error> {
        let Listed { function, end } = self.list[index];
        if let (REFUSED, Some(error)) = (function, self.refused.get(&index)) {
            return Err(error.clone());
        }
        let start = if index == 0 { 0 } else { self.list[index - 1].end };
        Ok(Task {
            function: function as usize,
            arguments: &self.arguments[start..end],
            name: if self.names.is_empty() { None } else { self.names.get(&index).map(|name| &**name) },
        })
    }
}

/// One worker of a job: its seat, and its lane.
#[derive(Debug, Default)]
pub struct Worker {
    /// Its row in a trace, from 1.
    pub row: Row,
    pub seat: Seat,
    lane: Mutex<Lane>,
    /// How many outcomes the lane has had.
    done: AtomicUsize,
}

/// One `RunSync` or `RunAsync` call.
#[derive(Debug)]
pub struct Job {
    pub id: u64,
    pub mode: Mode,
    /// What becomes of data that functions have captured, on the way there and back.
    pub upvalues: Upvalues,
    pub environment: Arc<Environment>,
    pub tasks: Tasks,
    pub mailbox: Mailbox,
    pub started: Instant,
    /// How long a task may take.
    pub timeout: Option<Duration>,
    pub trace: Option<Arc<Trace>>,
    pub progress: Progress,
}

/// How far a job is, which nothing but the job itself reads and writes.
#[derive(Debug)]
pub struct Progress {
    /// All that there ever were: one that was given up has a successor.
    workers: Mutex<Vec<Arc<Worker>>>,
    /// On a cache line of its own, since all workers write it all the time.
    cursor: CachePadded<AtomicUsize>,
    /// How many workers have not left.
    active: AtomicUsize,
    seats: AtomicUsize,
    /// No task begins any more.
    cancelled: AtomicBool,
}

impl Progress {
    /// That of a job for at most so many workers, none of which has started.
    pub fn new(workers: usize) -> Progress {
        Progress {
            workers: Mutex::default(),
            cursor: CachePadded::new(AtomicUsize::new(0)),
            active: AtomicUsize::new(workers),
            seats: AtomicUsize::new(workers),
            cancelled: AtomicBool::new(false),
        }
    }
}

/// A number that no job of the process has had.
pub fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Job {
    /// A job for tests of other things.
    #[cfg(test)]
    pub fn without_tasks() -> Job {
        Job {
            id: next_id(),
            mode: Mode::Timer,
            upvalues: Upvalues::Error,
            environment: Arc::default(),
            tasks: Tasks::default(),
            mailbox: Mailbox::default(),
            started: Instant::now(),
            timeout: None,
            trace: None,
            progress: Progress::new(1),
        }
    }

    /// A further worker.
    pub fn add_worker(&self) -> Arc<Worker> {
        let mut workers = self.lock_workers();
        let worker = Arc::new(Worker { row: workers.len() + 1, ..Worker::default() });
        workers.push(Arc::clone(&worker));
        worker
    }

    fn lock_workers(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Worker>>> {
        self.progress.workers.lock().unwrap_or_else(PoisonError::into_inner)
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
        let index = self.progress.cursor.fetch_add(1, Ordering::Relaxed);
        (index < self.tasks.len()).then_some(index)
    }

    /// Puts a task's outcome, its results or its failure, into its worker's lane.
    pub fn put(&self, worker: &Worker, index: usize, outcome: Result<&mut Vec<u8>, Failure>) {
        if let Some(trace) = &self.trace {
            trace.end_task(worker.row, outcome.is_ok());
        }
        let offers = {
            let mut lane = worker.lane.lock().unwrap_or_else(PoisonError::into_inner);
            lane.put(index, outcome);
            // Only who holds the lane counts.
            worker.done.store(worker.done.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            lane.offers()
        };
        if offers {
            self.mailbox.offer_results();
        }
    }

    /// How many tasks have their outcome.
    pub fn done(&self) -> usize {
        self.lock_workers().iter().map(|worker| worker.done.load(Ordering::Relaxed)).sum()
    }

    /// How many tasks the job runs, or ran, at the same time.
    pub fn worker_count(&self) -> usize {
        self.progress.seats.load(Ordering::Relaxed)
    }

    /// Whether the last worker has left.
    pub fn is_over(&self) -> bool {
        self.progress.active.load(Ordering::Relaxed) == 0
    }

    /// Fewer workers were had than asked for: the others leave before they came.
    pub fn release_workers(&self, workers: usize) {
        self.progress.seats.fetch_sub(workers, Ordering::Relaxed);
        for _ in 0..workers {
            self.worker_left();
        }
    }

    /// A worker has no more to do. The last one ends the job and rings the host's bell.
    pub fn worker_left(&self) {
        if self.progress.active.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.fail_unstarted();
            self.mailbox.finish();
        }
    }

    /// Gives an outcome to the tasks that nobody will begin.
    fn fail_unstarted(&self) {
        let rest = self.progress.cursor.swap(self.tasks.len(), Ordering::Relaxed)..self.tasks.len();
        if !rest.is_empty() {
            let error = || if self.is_cancelled() { Error::Cancelled } else { Error::NeverBegun };
            let nobody = self.add_worker();
            rest.for_each(|index| self.put(&nobody, index, Err(error().into())));
        }
    }

    /// Takes the outcomes that all lanes have by now.
    pub fn take_outcomes(&self) -> Vec<Lane> {
        self.mailbox.take_results();
        let take = |worker: &Arc<Worker>| {
            std::mem::take(&mut *worker.lane.lock().unwrap_or_else(PoisonError::into_inner))
        };
        self.lock_workers().iter().map(take).collect()
    }

    /// Has outcomes that were taken, but could not be merged, be there again.
    pub fn give_back_outcomes(&self, lanes: Vec<Lane>) {
        for (worker, lane) in self.lock_workers().iter().zip(lanes) {
            worker.lane.lock().unwrap_or_else(PoisonError::into_inner).prepend(lane);
        }
        self.mailbox.offer_results();
    }

    /// Writes the file of its timeline, if it has one that was not written.
    pub fn write_trace(&self) -> std::io::Result<()> {
        let Some(trace) = &self.trace else { return Ok(()) };
        let title = format!("gma2workers Job_{}", self.id);
        trace.write(&title, |index| self.tasks.names.get(&index).map(|name| &**name))
    }

    /// The error of a task that was stopped.
    pub fn stopped(&self, reason: Reason) -> Error {
        match reason {
            Reason::TimedOut => Error::TimedOut(self.timeout.unwrap_or_default().as_secs_f64()),
            Reason::Cancelled => Error::Cancelled,
        }
    }

    pub fn is_cancelled(&self) -> bool {
        self.progress.cancelled.load(Ordering::SeqCst)
    }

    /// Tasks that have not begun never do, those that wait for the host are released, and those that run
    /// are stopped.
    pub fn cancel(&self) {
        self.progress.cancelled.store(true, Ordering::SeqCst);
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
        is_plain::<Worker>();
    }
}
