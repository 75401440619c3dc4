//! A job: plain `Send` data that the host, the workers and the watchdog share.
//!
//! It holds the tasks, with their arguments as messages, a cursor that hands out the tasks, a mailbox for host calls, and
//! for each worker a seat and a lane of outcomes.

mod tasks;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

use crate::codec::Upvalues;
use crate::config::Mode;
use crate::environment::Environment;
use crate::error::Error;
use crate::lane::{Failure, Lane};
use crate::mailbox::Mailbox;
use crate::seat::{Reason, Seat};
use crate::stream::Streams;
use crate::trace::{Row, Trace};

pub use tasks::{Extras, Streamed, Task, Tasks};

/// One worker of a job.
#[derive(Debug, Default)]
pub struct Worker {
    /// Its row in a trace, from 1.
    pub row: Row,
    pub seat: Seat,
    lane: Mutex<Lane>,
    /// The number of outcomes that the lane has received. Written under the lane's lock. Relaxed, since only progress
    /// reports read it.
    done: AtomicUsize,
}

/// What the failure of a task does to the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    #[default]
    Nothing,
    /// Those behind it in the list never begin, or are cancelled.
    CancelLater,
    /// All that have not ended are cancelled.
    CancelAll,
}

/// One `RunSync` or `RunAsync` call.
#[derive(Debug)]
pub struct Job {
    pub id: u64,
    pub mode: Mode,
    /// Whether the upvalues of functions are copied, both ways.
    pub upvalues: Upvalues,
    pub environment: Arc<Environment>,
    pub tasks: Tasks,
    pub mailbox: Mailbox,
    pub started: Instant,
    /// The most time that a task may take, unless it has its own limit.
    pub timeout: Option<Duration>,
    /// How long a task that is cancelled or out of time may go on.
    pub grace: Duration,
    pub on_failure: OnFailure,
    pub trace: Option<Arc<Trace>>,
    pub progress: Progress,
}

/// The order in which the tasks ended, for jobs whose host wants to know it.
#[derive(Debug, Default)]
struct EndOrder {
    /// Set once. Relaxed: workers read it under the lock of their lane, and [`Job::note_order`] takes each of those locks after
    /// it has set it.
    is_noted: AtomicBool,
    /// The tasks' indices. It has room for all, so that adding one can't fail.
    list: Mutex<Vec<u32>>,
}

impl EndOrder {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u32>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The progress of a job. Only the job itself reads and writes this.
#[derive(Debug)]
pub struct Progress {
    /// All workers so far, including any that were given up.
    workers: Mutex<Vec<Arc<Worker>>>,
    /// The next task's index. It has its own cache line, since all workers keep writing it. Relaxed: it guards no data, and
    /// each index is handed out once.
    cursor: CachePadded<AtomicUsize>,
    /// The number of workers that have not left. AcqRel: the last to leave sees the others' writes, see `waiting.md`.
    active: AtomicUsize,
    seats: AtomicUsize,
    order: EndOrder,
    /// No further task begins. SeqCst: paired with the word of each seat, see `waiting.md`.
    cancelled: AtomicBool,
    /// The host has cancelled the job. Relaxed, since only the host writes and reads it.
    cancelled_by_host: AtomicBool,
    /// A worker was given up in `init`. Relaxed: it guards no data, and a worker that misses it is given up as well.
    init_is_stuck: AtomicBool,
    /// The end of the grace of a job that was cancelled.
    grace_end: Mutex<Option<Instant>>,
    /// The index from which on no task begins. SeqCst, as `cancelled`.
    limit: AtomicUsize,
}

impl Progress {
    /// The initial progress of a job for at most `workers` workers.
    pub fn new(workers: usize) -> Progress {
        Progress {
            workers: Mutex::default(),
            cursor: CachePadded::new(AtomicUsize::new(0)),
            active: AtomicUsize::new(workers),
            seats: AtomicUsize::new(workers),
            order: EndOrder::default(),
            cancelled: AtomicBool::new(false),
            cancelled_by_host: AtomicBool::new(false),
            init_is_stuck: AtomicBool::new(false),
            grace_end: Mutex::default(),
            limit: AtomicUsize::new(usize::MAX),
        }
    }
}

/// A job number that is unique in the process.
pub fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Job {
    /// A job for tests of other modules.
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
            grace: Duration::ZERO,
            on_failure: OnFailure::Nothing,
            trace: None,
            progress: Progress::new(1),
        }
    }

    /// Adds a worker.
    pub fn add_worker(&self) -> Arc<Worker> {
        let mut workers = self.lock_workers();
        let worker = Arc::new(Worker { row: workers.len() + 1, ..Worker::default() });
        workers.push(Arc::clone(&worker));
        worker
    }

    fn lock_workers(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Worker>>> {
        self.progress.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All workers so far.
    pub fn workers(&self) -> Vec<Arc<Worker>> {
        self.lock_workers().clone()
    }

    /// The index of the next task, in the order of the list.
    pub fn next_task(&self) -> Option<usize> {
        if self.is_cancelled() || self.progress.cursor.load(Ordering::Relaxed) >= self.limit() {
            return None;
        }
        let mut index = self.progress.cursor.fetch_add(1, Ordering::Relaxed);
        if self.tasks.reserved() == Some(index) {
            index = self.progress.cursor.fetch_add(1, Ordering::Relaxed);
        }
        (index < self.tasks.len()).then_some(index)
    }

    /// Puts a task's outcome, its results or its failure, into its worker's lane.
    pub fn put(&self, worker: &Worker, index: usize, outcome: Result<&mut Vec<u8>, Failure>) {
        if let Some(trace) = &self.trace {
            trace.end_task(worker.row, outcome.is_ok());
        }
        let notifies_host = {
            let mut lane = worker.lane.lock().unwrap_or_else(PoisonError::into_inner);
            lane.put(index, outcome);
            // Only the holder of the lane's lock writes this.
            worker.done.store(worker.done.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            let is_noted = self.notes_order();
            if is_noted {
                self.progress.order.lock().push(index as u32);
            }
            lane.should_notify_host() || is_noted
        };
        if notifies_host {
            self.mailbox.offer_results();
        }
    }

    /// Puts a block of a task's results, which is not the last one, into its worker's lane.
    pub fn put_block(&self, worker: &Worker, index: usize, block: Vec<u8>) {
        let notifies_host = {
            let mut lane = worker.lane.lock().unwrap_or_else(PoisonError::into_inner);
            lane.streams.put(index, block);
            lane.should_notify_host()
        };
        if notifies_host {
            self.mailbox.offer_results();
        }
    }

    /// Whether the order in which tasks end is noted, and the host notified of each outcome.
    pub fn notes_order(&self) -> bool {
        self.progress.order.is_noted.load(Ordering::Relaxed)
    }

    /// From now on, notes the order in which tasks end. Tasks that have ended before are not in it, see [`Job::note_earlier`].
    pub fn note_order(&self) -> Result<(), Error> {
        if self.notes_order() {
            return Ok(());
        }
        self.progress.order.lock().try_reserve_exact(self.tasks.len())?;
        self.progress.order.is_noted.store(true, Ordering::Relaxed);
        // A worker that has not seen this yet holds the lock of its lane.
        for worker in self.workers() {
            drop(worker.lane.lock().unwrap_or_else(PoisonError::into_inner));
        }
        Ok(())
    }

    /// Adds the tasks that had ended before the order was noted. `has_ended` says whether a task's outcome has been merged.
    pub fn note_earlier(&self, mut has_ended: impl FnMut(usize) -> bool) -> Result<(), Error> {
        let mut is_in_order = Vec::new();
        is_in_order.try_reserve_exact(self.tasks.len())?;
        is_in_order.resize(self.tasks.len(), false);
        let mut order = self.progress.order.lock();
        order.iter().for_each(|&index| is_in_order[index as usize] = true);
        let earlier = (0..self.tasks.len()).filter(|&index| !is_in_order[index] && has_ended(index));
        order.extend(earlier.map(|index| index as u32));
        Ok(())
    }

    /// The index of the task that ended in the given place, counted from 0.
    pub fn ended_at(&self, place: usize) -> Option<usize> {
        self.progress.order.lock().get(place).map(|&index| index as usize)
    }

    /// The number of tasks that have an outcome.
    pub fn done(&self) -> usize {
        self.lock_workers().iter().map(|worker| worker.done.load(Ordering::Relaxed)).sum()
    }

    /// The number of tasks that the job runs, or ran, at the same time.
    pub fn worker_count(&self) -> usize {
        self.progress.seats.load(Ordering::Relaxed)
    }

    /// Whether the last worker has left.
    pub fn is_over(&self) -> bool {
        self.progress.active.load(Ordering::Relaxed) == 0
    }

    /// Counts workers that could not be started as having left.
    pub fn release_workers(&self, workers: usize) {
        self.progress.seats.fetch_sub(workers, Ordering::Relaxed);
        for _ in 0..workers {
            self.worker_left();
        }
    }

    /// Counts a worker as having left. The last one ends the job and wakes the host.
    pub fn worker_left(&self) {
        if self.progress.active.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.fail_unstarted();
            self.mailbox.finish();
        }
    }

    /// Makes the outcomes of the tasks that never began.
    fn fail_unstarted(&self) {
        let rest = self.progress.cursor.swap(self.tasks.len(), Ordering::Relaxed)..self.tasks.len();
        if !rest.is_empty() {
            let error =
                |index| if self.keeps_from_running(index) { Error::Cancelled } else { Error::NeverBegun };
            let lane_owner = self.add_worker();
            let rest = rest.filter(|index| self.tasks.reserved() != Some(*index));
            rest.for_each(|index| self.put(&lane_owner, index, Err(error(index).into())));
        }
    }

    /// Takes all outcomes that are in the lanes.
    pub fn take_outcomes(&self) -> Vec<Lane> {
        self.mailbox.take_results();
        let take = |worker: &Arc<Worker>| {
            std::mem::take(&mut *worker.lane.lock().unwrap_or_else(PoisonError::into_inner))
        };
        self.lock_workers().iter().map(take).collect()
    }

    /// Puts back the streams of each lane. They were taken with the outcomes.
    pub fn give_back_streams(&self, taken: &mut [Streams]) {
        for (worker, taken) in self.lock_workers().iter().zip(taken) {
            if !taken.is_empty() {
                let mut lane = worker.lane.lock().unwrap_or_else(PoisonError::into_inner);
                let newer = std::mem::replace(&mut lane.streams, std::mem::take(taken));
                lane.streams.append(newer);
            }
        }
    }

    /// Puts back outcomes that were taken but could not be merged.
    pub fn give_back_outcomes(&self, lanes: Vec<Lane>) {
        for (worker, lane) in self.lock_workers().iter().zip(lanes) {
            worker.lane.lock().unwrap_or_else(PoisonError::into_inner).prepend(lane);
        }
        self.mailbox.offer_results();
    }

    /// Writes the trace, if the job has one and it has not been written.
    pub fn write_trace(&self) -> std::io::Result<()> {
        let Some(trace) = &self.trace else { return Ok(()) };
        let title = format!("gma2workers Job_{}", self.id);
        trace.write(&title, |index| self.tasks.name(index))
    }

    /// The most time that a task may take; none if it is endless.
    pub fn timeout_of(&self, index: usize) -> Option<Duration> {
        self.tasks.timeout_of(index, self.timeout)
    }

    /// The most time that `init` may take: its own limit, or else that of the task that may take longest. None if it is endless.
    pub fn init_timeout(&self) -> Option<Duration> {
        let init = self.environment.init.as_ref()?;
        init.timeout.unwrap_or_else(|| self.tasks.longest_timeout(self.timeout))
    }

    /// The shortest time limit of all tasks, and of `init`; none if all are endless.
    pub fn shortest_timeout(&self) -> Option<Duration> {
        self.tasks.shortest_timeout().into_iter().chain(self.timeout).chain(self.init_timeout()).min()
    }

    /// The error of a task that was stopped, or whose `init` was.
    pub fn stopped(&self, index: usize, reason: Reason, is_in_init: bool) -> Error {
        match (reason, self.timeout_of(index)) {
            (Reason::Cancelled, _) => Error::Cancelled,
            (Reason::TimedOut, Some(limit)) if !is_in_init => Error::TimedOut(limit.as_secs_f64()),
            _ => self.init_timed_out(),
        }
    }

    /// The error of an `init` that has taken too long.
    pub fn init_timed_out(&self) -> Error {
        Error::InitTimedOut(self.init_timeout().unwrap_or_default().as_secs_f64())
    }

    pub fn is_cancelled(&self) -> bool {
        self.progress.cancelled.load(Ordering::SeqCst)
    }

    /// Whether the host has cancelled the job.
    pub fn is_cancelled_by_host(&self) -> bool {
        self.progress.cancelled_by_host.load(Ordering::Relaxed)
    }

    fn limit(&self) -> usize {
        self.progress.limit.load(Ordering::SeqCst)
    }

    /// Whether a task must not run, because it was cancelled before it began.
    pub fn keeps_from_running(&self, index: usize) -> bool {
        self.is_cancelled() || index >= self.limit()
    }

    /// Notes that a worker was given up in `init`, so that no other one runs it.
    pub fn note_init_stuck(&self) {
        self.progress.init_is_stuck.store(true, Ordering::Relaxed);
    }

    pub fn is_init_stuck(&self) -> bool {
        self.progress.init_is_stuck.load(Ordering::Relaxed)
    }

    /// Notes that the host cancels the job.
    pub fn note_cancelled_by_host(&self) {
        self.progress.cancelled_by_host.store(true, Ordering::Relaxed);
    }

    /// Cancels the job: pending tasks never begin. Running tasks are told, and stopped when their grace is over.
    pub fn cancel(&self) {
        if self.grace.is_zero() {
            return self.stop();
        }
        self.lock_grace_end().get_or_insert_with(|| Instant::now() + self.grace);
        self.progress.cancelled.store(true, Ordering::SeqCst);
        self.cancel_running(0);
    }

    /// Cancels the job without a grace: running tasks are stopped, and tasks that wait for the host are released.
    pub fn stop(&self) {
        self.progress.cancelled.store(true, Ordering::SeqCst);
        // The stops come first: a task must not see that its host call has no answer.
        for worker in self.workers() {
            worker.seat.stop(Reason::Cancelled);
        }
        self.mailbox.close();
        self.mailbox.wake_sleepers();
    }

    fn lock_grace_end(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.progress.grace_end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The end of the grace of a job that was cancelled.
    pub fn grace_end(&self) -> Option<Instant> {
        *self.lock_grace_end()
    }

    /// Tells the running tasks from this index on to end, or stops them if there is no grace.
    fn cancel_running(&self, first: usize) {
        for worker in self.workers() {
            match self.grace.is_zero() {
                true => worker.seat.stop_from(first, Reason::Cancelled),
                false => worker.seat.tell_from(first, Reason::Cancelled),
            }
        }
        self.mailbox.wake_sleepers();
    }

    /// Cancels the tasks that must not go on after the failure of this one. True if the watchdog has to see to their end.
    pub fn cancel_after(&self, failed: usize) -> bool {
        match self.on_failure {
            OnFailure::Nothing => false,
            _ if self.is_cancelled() => false,
            OnFailure::CancelAll => {
                self.cancel();
                true
            }
            OnFailure::CancelLater => {
                let is_first = self.progress.limit.fetch_min(failed + 1, Ordering::SeqCst) > failed + 1;
                if is_first {
                    self.cancel_running(failed + 1);
                }
                is_first
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_plain_data() {
        fn is_plain<T: Send + Sync + 'static>() {}
        is_plain::<Job>();
        is_plain::<Worker>();
    }
}
