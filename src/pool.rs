//! The pool: threads that run closures. It knows no Lua.
//!
//! One pool serves the process. It is a list of segments, empty at first. If the first job can use all cores, the first segment is
//! a rayon pool with a thread for each of them. Otherwise, and whenever a job needs more threads than are idle, a segment of one
//! thread is added for each missing one: a small job waits for no threads that it can't use. Of these threads, those beyond the
//! number of cores end after they have been idle for a while. They are not rayon's: a rayon pool of one thread takes 12 KiB. A closure
//! only goes to a segment with an idle thread, so all closures run at the same time, even if there are more of them than cores.
//! The threads are named `gma2worker-N`, block the host's signals, so that its handlers never run on them, and have stacks that
//! hold Lua's deepest C recursion. A thread that is idle for a moment rests: it releases what it has kept for the next job.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use once_cell::sync::OnceCell;
use rayon::{ThreadPool, ThreadPoolBuilder};
use rustc_hash::FxHashSet;

use crate::error::{Error, Result};
use crate::idle_queue::IdleQueue;
use crate::sync::{spin, usable_cores};
use crate::{fault, system};

/// The stack of a thread. Lua's deepest C recursion needs 1.7 MB, and more in debug builds.
pub const STACK_BYTES: usize = 8 << 20;

/// The most threads in the pool. At the limit, a job gets fewer than it asks for, but at least one.
const THREAD_LIMIT: usize = 1024;

/// What a thread calls when it has no work. A panic there would end the process.
#[derive(Clone, Copy)]
pub struct Hooks {
    /// Called as the thread starts, and each time its work is done.
    pub idle: fn(),
    /// Called once it has been idle for [`AWAKE`] or, on rayon's threads, for longer.
    pub rest: fn(),
}

struct Segment {
    threads: Threads,
    /// The number of its first thread.
    first: usize,
    size: usize,
    busy: Arc<AtomicUsize>,
    /// How many of the last calls of [`Pool::end_idle`] have found it idle, without any work in between.
    idle_checks: u32,
}

enum Threads {
    Cores {
        pool: ThreadPool,
        idle_queue: Arc<IdleQueue<Work>>,
    },
    /// One thread, which ends when this is dropped. The channel holds one piece of work: the thread has taken the last one
    /// before it counts as idle.
    One(mpsc::SyncSender<Work>),
}

impl Segment {
    fn is_one(&self) -> bool {
        matches!(self.threads, Threads::One(_))
    }

    fn is_idle(&self) -> bool {
        self.busy.load(Ordering::Relaxed) == 0
    }

    /// The number of threads without work.
    fn idle(&self) -> usize {
        self.size - self.busy.load(Ordering::Relaxed)
    }

    /// Gives work to an idle thread. False if its thread has ended, which only a panic in [`Hooks`] could cause.
    fn give(&self, work: Work, hooks: Hooks) -> bool {
        match &self.threads {
            Threads::One(inbox) => inbox.try_send(work).is_ok(),
            Threads::Cores { pool, idle_queue } => {
                if let Err(work) = idle_queue.offer(work) {
                    let idle_queue = Arc::clone(idle_queue);
                    pool.spawn(move || {
                        run_all(Some(work), |at_most| idle_queue.look_for_work(at_most));
                        (hooks.idle)();
                    });
                }
                true
            }
        }
    }

    /// Makes the idle threads of the cores rest. Other threads do so by themselves.
    fn rest(&self, hooks: Hooks) {
        if let Threads::Cores { pool, .. } = &self.threads {
            pool.spawn_broadcast(move |_| (hooks.rest)());
        }
    }
}

/// The number of threads without work.
fn idle(segments: &[Segment]) -> usize {
    segments.iter().map(Segment::idle).sum()
}

type Work = Box<dyn FnOnce() + Send>;

/// How long a thread looks for more work before it sleeps.
const SPIN_TIME: Duration = Duration::from_micros(50);

/// How long a thread keeps what helps the next job to start.
const AWAKE: Duration = Duration::from_millis(100);

/// How many calls of [`end_idle`] find the threads of the cores idle before they rest, and any other thread before it ends.
const RESTS_AT: u32 = 2;
const ENDS_AT: u32 = 10;

/// What [`end_idle`] has found.
#[derive(Debug, PartialEq, Eq)]
pub enum Idle {
    /// Some threads have worked a moment ago, or are about to rest or to end.
    NotYet,
    /// All threads rest since the last call.
    AllRest,
    /// Nothing is left to do until there is new work.
    Over,
}

/// Runs work, and what comes next in a moment. So few threads look for more at once that a core is left for the host.
fn run_all(mut next: Option<Work>, look_for_work: impl Fn(Duration) -> Option<Work>) {
    static SPINNING: AtomicUsize = AtomicUsize::new(0);
    while let Some(work) = next {
        work();
        let others = SPINNING.fetch_add(1, Ordering::Relaxed);
        next = if others + 1 >= usable_cores() { None } else { look_for_work(SPIN_TIME) };
        SPINNING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The work of a thread that is a segment of its own.
fn serve(inbox: &mpsc::Receiver<Work>, hooks: Hooks) {
    let look_for_work = |at_most| {
        let found = Cell::new(None);
        spin(at_most, || {
            found.set(inbox.try_recv().ok());
            let work = found.take();
            let is_found = work.is_some();
            found.set(work);
            is_found
        });
        found.take()
    };
    loop {
        let work = inbox.recv_timeout(AWAKE).or_else(|_| {
            (hooks.rest)();
            inbox.recv()
        });
        let Ok(work) = work else { return };
        run_all(Some(work), look_for_work);
        (hooks.idle)();
    }
}

/// The process's threads.
pub struct Pool {
    segments: Mutex<Vec<Segment>>,
    hooks: Hooks,
}

/// Marks a thread as taken until it is dropped.
pub struct Busy(Arc<AtomicUsize>);

impl Busy {
    fn new(count: &Arc<AtomicUsize>) -> Busy {
        // Relaxed, like all accesses of this count: it guards no data. See `waiting.md`.
        count.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(count))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

static POOL: OnceCell<Pool> = OnceCell::new();

/// Set in a fork of the process that has the threads.
static FORKED: AtomicBool = AtomicBool::new(false);

/// Whether this process is a fork of the one that has the threads. A fork has no threads, and locks that they held stay locked.
pub fn is_forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

#[cfg(unix)]
fn watch_for_forks() -> Result<()> {
    extern "C" fn forked() {
        FORKED.store(true, Ordering::Relaxed);
    }
    system::at_fork(forked)
}

#[cfg(not(unix))]
fn watch_for_forks() -> Result<()> {
    Ok(())
}

/// The pool, which the first call creates. From then on the library stays loaded, because threads run its code.
pub fn get(hooks: Hooks) -> Result<&'static Pool> {
    POOL.get_or_try_init(|| {
        system::keep_loaded()?;
        watch_for_forks()?;
        Ok(Pool::new(hooks))
    })
}

/// The number of threads.
pub fn threads() -> usize {
    POOL.get().map_or(0, Pool::threads)
}

/// Once all threads rest, the next call of [`end_idle`] that matters comes after so many periods.
pub const PERIODS_OF_REST: u32 = ENDS_AT - RESTS_AT - 1;

/// Makes threads that have had no work for several calls rest, and ends those beyond the number of cores. To be called once in each
/// period; a call after several periods counts as so many.
pub fn end_idle(periods: u32) -> Idle {
    POOL.get().map_or(Idle::Over, |pool| pool.end_idle(periods))
}

static LOST: AtomicUsize = AtomicUsize::new(0);

/// Counts a thread whose task was given up. The thread stays busy until the task ends, if ever.
pub fn mark_lost() {
    LOST.fetch_add(1, Ordering::Relaxed);
}

/// Uncounts a lost thread whose task has ended.
pub fn mark_recovered() {
    LOST.fetch_sub(1, Ordering::Relaxed);
}

/// The number of lost threads.
pub fn lost() -> usize {
    LOST.load(Ordering::Relaxed)
}

impl Pool {
    fn new(hooks: Hooks) -> Pool {
        Pool { segments: Mutex::default(), hooks }
    }

    fn threads(&self) -> usize {
        self.lock().iter().map(|segment| segment.size).sum()
    }

    /// See [`end_idle`].
    fn end_idle(&self, periods: u32) -> Idle {
        let mut segments = self.lock();
        // Work is handed out under this lock, so a thread that is idle now stays idle.
        for segment in segments.iter_mut() {
            segment.idle_checks = match segment.idle_checks {
                _ if !segment.is_idle() => 0,
                // It may have had work in any of the periods.
                0 => 1,
                checks => checks.saturating_add(periods),
            };
        }
        segments
            .iter()
            .filter(|segment| segment.idle_checks == RESTS_AT)
            .for_each(|idle| idle.rest(self.hooks));
        let size: usize = segments.iter().map(|segment| segment.size).sum();
        let mut beyond_cores = size.saturating_sub(usable_cores());
        let ended: Vec<Segment> = segments
            .extract_if(.., |segment| {
                let ends = segment.idle_checks >= ENDS_AT && segment.size <= beyond_cores && segment.is_one();
                beyond_cores -= usize::from(ends);
                ends
            })
            .collect();
        let least = segments.iter().map(|segment| segment.idle_checks).min();
        let is_over = least.is_none_or(|least| least >= ENDS_AT);
        drop(segments);
        // Dropped without the lock. This doesn't wait for the threads to end.
        drop(ended);
        match least {
            _ if is_over => Idle::Over,
            Some(least) if least == RESTS_AT + 1 => Idle::AllRest,
            _ => Idle::NotYet,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Segment>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs closures from `make` on up to `wanted` threads at the same time, and returns how many it started. Calls `ready` once all
    /// these threads have started, before any has work. Each closure gets a [`Busy`] mark, and drops it when its thread may get
    /// other work. It must catch its panics: a panic would abort the process.
    pub fn spawn<F>(&self, wanted: usize, ready: impl FnOnce(), make: impl Fn() -> F) -> Result<usize>
    where
        F: FnOnce(Busy) + Send + 'static,
    {
        let before = self.grow(&mut self.lock(), wanted)?;
        // Without the lock: the watchdog has one of its own when it asks for this one.
        ready();
        let mut segments = self.lock();
        // Meanwhile, another host may have got some of the threads, or they have ended.
        if idle(&segments) < before.min(wanted) {
            self.grow(&mut segments, wanted)?;
        }
        let mut started = 0;
        for segment in segments.iter_mut() {
            // Counted once: a thread that has soon done its work must not count as two.
            for _ in 0..segment.idle().min(wanted - started) {
                let busy = Busy::new(&segment.busy);
                segment.idle_checks = 0;
                let work = make();
                if !segment.give(Box::new(move || work(busy)), self.hooks) {
                    break;
                }
                started += 1;
            }
        }
        Ok(started)
    }

    /// Adds the threads that are missing for `wanted` closures to run at the same time, and waits until they have started. Returns
    /// how many threads are idle then.
    fn grow(&self, segments: &mut Vec<Segment>, wanted: usize) -> Result<usize> {
        // Counting the cores takes as long as a small job, so it is not done for one closure.
        if segments.is_empty() && wanted > 1 && wanted >= usable_cores() {
            segments.push(build_cores(self.hooks)?);
        }
        let size: usize = segments.iter().map(|segment| segment.size).sum();
        let before = idle(segments);
        let missing = wanted.saturating_sub(before);
        let allowed = missing.min(THREAD_LIMIT.saturating_sub(size)).max(usize::from(before == 0));
        if allowed > 0 {
            self.add(segments, allowed, before == 0)?;
        }
        Ok(idle(segments))
    }

    /// Adds threads, with unused numbers. Adding fewer than `count` is an error only if `is_needed` and none could be added.
    fn add(&self, segments: &mut Vec<Segment>, count: usize, is_needed: bool) -> Result<()> {
        let taken: FxHashSet<usize> =
            segments.iter().flat_map(|segment| segment.first..segment.first + segment.size).collect();
        let before = segments.len();
        for number in (0..).filter(|number| !taken.contains(number)).take(count) {
            match build_one(number, self.hooks) {
                Ok(segment) => segments.push(segment),
                Err(error) if is_needed && segments.len() == before => return Err(error),
                Err(_) => break,
            }
        }
        Ok(())
    }
}

/// Builds a thread for each core, and waits until they have started: the C library ends the process if a starting thread gets
/// no memory, and tasks may soon use up all memory.
fn build_cores(hooks: Hooks) -> Result<Segment> {
    let size = usable_cores();
    let (sender, started) = mpsc::channel();
    let builder =
        ThreadPoolBuilder::new().num_threads(size).stack_size(STACK_BYTES).thread_name(name).start_handler(
            move |_| {
                (hooks.idle)();
                // The receiver is gone if another thread could not be started.
                let _ = sender.send(());
            },
        );
    fault::point("threads").map_err(|cause| Error::NoWorkers(cause.to_string()))?;
    let pool = system::with_headroom(|| {
        let pool = without_signals(|| builder.build());
        if pool.is_ok() {
            started.iter().take(size).for_each(drop);
        }
        pool
    });
    let pool = pool.map_err(|cause| Error::NoWorkers(cause.to_string()))?;
    let threads = Threads::Cores { pool, idle_queue: Arc::default() };
    Ok(Segment { threads, first: 0, size, busy: Arc::default(), idle_checks: 0 })
}

/// Builds one more thread, and waits until it has started.
fn build_one(number: usize, hooks: Hooks) -> Result<Segment> {
    let (inbox, work) = mpsc::sync_channel(1);
    fault::point("threads").map_err(|cause| Error::NoWorkers(cause.to_string()))?;
    let builder = std::thread::Builder::new().name(name(number)).stack_size(STACK_BYTES);
    system::with_headroom(|| {
        start(builder, hooks.idle, move || serve(&work, hooks)).map(|started| started.recv().is_ok())
    })?;
    Ok(Segment { threads: Threads::One(inbox), first: number, size: 1, busy: Arc::default(), idle_checks: 0 })
}

fn name(number: usize) -> String {
    format!("gma2worker-{number}")
}

/// Starts a thread outside the pool. A message tells when it runs.
pub fn spawn_thread(name: &str, body: fn()) -> Result<mpsc::Receiver<()>> {
    system::with_headroom(|| start(std::thread::Builder::new().name(name.to_owned()), || {}, body))
}

/// Starts a thread that runs `first` and then `body`. A message tells when `first` is over; the thread waits until it is received.
fn start(
    builder: std::thread::Builder,
    first: impl FnOnce() + Send + 'static,
    body: impl FnOnce() + Send + 'static,
) -> Result<mpsc::Receiver<()>> {
    // Without capacity the channel is small. The thread frees it, and the allocator keeps what a thread frees for that thread.
    let (sender, started) = mpsc::sync_channel(0);
    let run = move || {
        first();
        let _ = sender.send(());
        drop(sender);
        body();
    };
    without_signals(|| builder.spawn(run)).map_err(|cause| Error::NoWorkers(cause.to_string()))?;
    Ok(started)
}

/// Runs `body` with all signals blocked. A thread inherits the mask of the thread that starts it, so a worker never takes a
/// signal, but for that of `system::Thread`.
#[cfg(unix)]
fn without_signals<R>(body: impl FnOnce() -> R) -> R {
    use nix::sys::signal::{SigSet, SigmaskHow};
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK);
    let outcome = body();
    if let Ok(before) = before {
        // This can't fail: the mask was this thread's own a moment ago.
        let _ = before.thread_set_mask();
    }
    outcome
}

#[cfg(not(unix))]
fn without_signals<R>(body: impl FnOnce() -> R) -> R {
    body()
}

#[cfg(test)]
mod tests;
