//! The pool: threads that run closures. It knows no Lua.
//!
//! One pool serves the process. It is a list of rayon pools, called segments. The first has a thread for each usable core. If a
//! job needs more threads than are idle, a segment of one thread is added for each missing one, so each of these threads can
//! end by itself after it has been idle for a while. A closure only goes to a segment with an idle thread, so all closures run
//! at the same time, even if there are more of them than cores. The threads are named `gma2worker-N`, block every signal, so
//! that the host's handlers never run on them, and have stacks that hold Lua's deepest C recursion.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use once_cell::sync::OnceCell;
use rayon::{ThreadPool, ThreadPoolBuilder};
use rustc_hash::FxHashSet;

use crate::error::{Error, Result};
use crate::idle_queue::IdleQueue;
use crate::sync::usable_cores;
use crate::{fault, system};

/// Lua's deepest C recursion needs 1.7 MB, and more in debug builds.
const STACK_BYTES: usize = 8 << 20;

/// The most threads in the pool. At the limit, a job gets fewer than it asks for, but at least one.
const THREAD_LIMIT: usize = 1024;

/// One rayon pool.
struct Segment {
    threads: ThreadPool,
    /// The number of its first thread.
    first: usize,
    size: usize,
    busy: Arc<AtomicUsize>,
    idle_queue: Arc<IdleQueue<Work>>,
    /// It was idle at the last [`Pool::end_idle`] and has had no work since.
    was_idle: bool,
}

impl Segment {
    fn is_idle(&self) -> bool {
        self.busy.load(Ordering::Relaxed) == 0
    }
}

type Work = Box<dyn FnOnce() + Send>;

/// How long a thread looks for more work before it sleeps.
const SPIN_TIME: Duration = Duration::from_micros(50);

/// Looks for work in the queue for a moment. So few threads do this at once that a core is left for the host.
fn next_work(idle_queue: &IdleQueue<Work>) -> Option<Work> {
    static SPINNING: AtomicUsize = AtomicUsize::new(0);
    let others = SPINNING.fetch_add(1, Ordering::Relaxed);
    let work = if others + 1 >= usable_cores() { None } else { idle_queue.look_for_work(SPIN_TIME) };
    SPINNING.fetch_sub(1, Ordering::Relaxed);
    work
}

/// The process's threads.
pub struct Pool {
    segments: Mutex<Vec<Segment>>,
    /// Called on each thread as it starts and before it sleeps.
    on_idle: fn(),
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

/// The pool, which the first call creates. From then on the library stays loaded, because threads run its code. Each thread
/// calls `on_idle` as it starts and before it sleeps; a panic in it would abort the process.
pub fn get(on_idle: fn()) -> Result<&'static Pool> {
    POOL.get_or_try_init(|| {
        system::keep_loaded()?;
        watch_for_forks()?;
        Pool::new(on_idle)
    })
}

/// The number of threads.
pub fn threads() -> usize {
    POOL.get().map_or(0, Pool::threads)
}

/// Ends the threads beyond the number of cores that have had no work since the last call. Returns whether all other threads
/// have had none either.
pub fn end_idle() -> bool {
    POOL.get().is_none_or(Pool::end_idle)
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
    fn new(on_idle: fn()) -> Result<Pool> {
        Ok(Pool { segments: Mutex::new(vec![build(usable_cores(), 0, on_idle)?]), on_idle })
    }

    fn threads(&self) -> usize {
        self.lock().iter().map(|segment| segment.size).sum()
    }

    /// See [`end_idle`].
    fn end_idle(&self) -> bool {
        let mut segments = self.lock();
        // Work is handed out under this lock, so a thread that is idle now stays idle.
        let was_idle = |segment: &mut Segment| {
            let is_idle = segment.is_idle();
            std::mem::replace(&mut segment.was_idle, is_idle) && is_idle
        };
        let cores_were_idle = was_idle(&mut segments[0]);
        let ended: Vec<Segment> = segments.extract_if(1.., was_idle).collect();
        let all_were_idle = cores_were_idle && segments.len() == 1;
        drop(segments);
        // Dropped without the lock. This doesn't wait for the threads to end.
        drop(ended);
        all_were_idle
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Segment>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs closures from `make` on up to `wanted` threads at the same time, and returns how many it started. Each closure
    /// gets a [`Busy`] mark, and drops it when its thread may get other work. It must catch its panics: a panic would abort the
    /// process.
    pub fn spawn<F>(&self, wanted: usize, make: impl Fn() -> F) -> Result<usize>
    where
        F: FnOnce(Busy) + Send + 'static,
    {
        let mut segments = self.lock();
        let size: usize = segments.iter().map(|segment| segment.size).sum();
        let idle: usize =
            segments.iter().map(|segment| segment.size - segment.busy.load(Ordering::Relaxed)).sum();
        let missing = wanted.saturating_sub(idle);
        let allowed = missing.min(THREAD_LIMIT.saturating_sub(size)).max(usize::from(idle == 0));
        if allowed > 0 {
            self.add(&mut segments, allowed, idle == 0)?;
        }
        let mut started = 0;
        for segment in segments.iter_mut() {
            while started < wanted && segment.busy.load(Ordering::Relaxed) < segment.size {
                let busy = Busy::new(&segment.busy);
                segment.was_idle = false;
                let work = make();
                if let Err(work) = segment.idle_queue.offer(Box::new(move || work(busy))) {
                    let (idle_queue, on_idle) = (Arc::clone(&segment.idle_queue), self.on_idle);
                    segment.threads.spawn(move || {
                        let mut next = Some(work);
                        while let Some(work) = next {
                            work();
                            next = next_work(&idle_queue);
                        }
                        on_idle();
                    });
                }
                started += 1;
            }
        }
        Ok(started)
    }

    /// Adds threads, with unused numbers. Adding fewer than `count` is an error only if `is_needed` and none could be added.
    fn add(&self, segments: &mut Vec<Segment>, count: usize, is_needed: bool) -> Result<()> {
        let taken: FxHashSet<usize> =
            segments.iter().flat_map(|segment| segment.first..segment.first + segment.size).collect();
        let before = segments.len();
        for number in (0..).filter(|number| !taken.contains(number)).take(count) {
            match build(1, number, self.on_idle) {
                Ok(segment) => segments.push(segment),
                Err(error) if is_needed && segments.len() == before => return Err(error),
                Err(_) => break,
            }
        }
        Ok(())
    }
}

/// Builds `size` threads, numbered from `first`, and waits until they have started: the C library ends the process if a
/// starting thread gets no memory, and tasks may soon use up all memory.
fn build(size: usize, first: usize, on_idle: fn()) -> Result<Segment> {
    let (sender, started) = mpsc::channel();
    let builder = ThreadPoolBuilder::new()
        .num_threads(size)
        .stack_size(STACK_BYTES)
        .thread_name(move |index| format!("gma2worker-{}", first + index))
        .start_handler(move |_| {
            on_idle();
            // The receiver is gone if another thread could not be started.
            let _ = sender.send(());
        });
    fault::point("threads").map_err(|cause| Error::NoWorkers(cause.to_string()))?;
    let threads = system::with_headroom(|| {
        let threads = without_signals(|| builder.build());
        if threads.is_ok() {
            started.iter().take(size).for_each(drop);
        }
        threads
    });
    let threads = threads.map_err(|cause| Error::NoWorkers(cause.to_string()))?;
    Ok(Segment { threads, first, size, busy: Arc::default(), idle_queue: Arc::default(), was_idle: false })
}

/// Starts a thread outside the pool. A message tells when it runs.
pub fn spawn_thread(name: &str, body: fn()) -> Result<mpsc::Receiver<()>> {
    let (sender, started) = mpsc::channel();
    let builder = std::thread::Builder::new().name(name.to_owned());
    let start = move || {
        let _ = sender.send(());
        drop(sender);
        body();
    };
    system::with_headroom(|| without_signals(|| builder.spawn(start)))
        .map(|_| started)
        .map_err(|cause| Error::NoWorkers(cause.to_string()))
}

/// Runs `body` with all signals blocked. A thread inherits the mask of the thread that starts it, so a worker never takes a
/// signal.
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
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn more_closures_than_cores_run_at_the_same_time() {
        let wanted = usable_cores() * 3 + 1;
        let barrier = Arc::new(Barrier::new(wanted));
        let (sender, receiver) = mpsc::channel();
        let started = get(|| {})
            .and_then(|pool| {
                let make = || {
                    let (barrier, sender) = (Arc::clone(&barrier), sender.clone());
                    move |_busy| {
                        barrier.wait();
                        let _ = sender.send(());
                    }
                };
                pool.spawn(wanted, make)
            })
            .expect("threads can be made here");
        assert_eq!(started, wanted);
        assert_eq!(receiver.iter().take(wanted).count(), wanted);
    }

    #[test]
    fn idle_threads_beyond_the_number_of_cores_end() {
        let pool = Pool::new(|| {}).expect("threads can be made here");
        let cores = usable_cores();
        // Each closure reports that it runs, and then runs until it is told to end.
        let begin = |wanted| {
            let (sender, receiver) = mpsc::channel();
            let held = Arc::new(Mutex::new(()));
            let guard = held.lock().expect("no thread has panicked");
            let make = || {
                let (held, sender) = (Arc::clone(&held), sender.clone());
                move |busy| {
                    let name = std::thread::current().name().map(str::to_owned);
                    let _ = sender.send(name.expect("it has a name"));
                    drop(held.lock());
                    drop(busy);
                }
            };
            assert_eq!(pool.spawn(wanted, make).expect("threads can be made here"), wanted);
            let mut names: Vec<String> = receiver.iter().take(wanted).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), wanted, "two threads share a name");
            drop(guard);
            while pool.lock().iter().any(|segment| !segment.is_idle()) {
                std::thread::yield_now();
            }
        };
        begin(cores + 20);
        assert_eq!(pool.threads(), cores + 20);
        pool.end_idle();
        assert_eq!(pool.threads(), cores + 20, "they have just been busy");
        // Threads that were used meanwhile stay, and the missing ones are added.
        begin(cores + 5);
        pool.end_idle();
        assert_eq!(pool.threads(), cores + 5);
        begin(cores + 10);
        assert_eq!(pool.threads(), cores + 10);
        pool.end_idle();
        pool.end_idle();
        assert_eq!(pool.threads(), cores);
        begin(cores + 1);
    }

    #[cfg(unix)]
    #[test]
    fn workers_are_named_and_block_signals() {
        let (sender, receiver) = mpsc::channel();
        get(|| {})
            .and_then(|pool| {
                let make = || {
                    let sender = sender.clone();
                    move |_busy| {
                        let name = std::thread::current().name().map(str::to_owned);
                        let mask = nix::sys::signal::SigSet::thread_get_mask();
                        let blocks = mask.is_ok_and(|mask| mask.contains(nix::sys::signal::SIGINT));
                        let _ = sender.send((name, blocks));
                    }
                };
                pool.spawn(1, make)
            })
            .expect("threads can be made here");
        let (name, blocks) = receiver.recv().expect("the closure ran");
        assert!(name.is_some_and(|name| name.starts_with("gma2worker-")));
        assert!(blocks);
        assert!(
            !nix::sys::signal::SigSet::thread_get_mask()
                .is_ok_and(|mask| mask.contains(nix::sys::signal::SIGINT))
        );
    }
}
