//! Runs a job's tasks on one thread of the pool.
//!
//! Worker side: uses the worker's own state and the job's plain data, and never touches the host's state. A task runs in
//! a coroutine of the worker's state, into which its function and arguments are decoded. Any result, error or panic becomes
//! the task's outcome. A worker that was given up finds out when its task ends, and then ends without an outcome.

mod early_worker;
mod outcome;

use std::cell::RefCell;
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::codec::{decode_arguments, decode_initial};
use crate::config::Mode;
use crate::early::{self, EarlyArguments, EarlyState};
use crate::environment::{Environment, Init};
use crate::error::{Error, Kind};
use crate::ffi::{self, Resumed, Stack};
use crate::job::{Job, Task, Worker};
use crate::lane::Failure;
use crate::pool::{self, Busy, Hooks, Pool};
use crate::seat::{End, Reason};
use crate::state::{Reuse, State};
use crate::{coroutine, current, fault, gma, loading, system, watched};

use outcome::{Origin, encode_results, failure, origin};

#[cfg(all(test, feature = "linked"))]
pub use early_worker::has_early_workers;
pub use early_worker::{WorkStream, start_early};

thread_local! {
    /// This thread's state, kept for the next job.
    static CACHED: RefCell<Option<State>> = const { RefCell::new(None) };
}

/// Runs tasks of the job until there are no more. `first` is the index of a task for this worker alone, with its arguments so far.
pub fn run(
    job: Arc<Job>,
    worker: Arc<Worker>,
    busy: Busy,
    mut first: Option<usize>,
    early: Option<EarlyArguments>,
) {
    let mut cache = StateCache {
        state: if job.mode == Mode::Cmd { None } else { CACHED.take() },
        early,
        ..StateCache::default()
    };
    let mut results = Vec::new();
    let _entered = current::enter(Arc::clone(&job), Arc::clone(&worker));
    let (job, worker) = (&job, &*worker);
    while let Some(index) = first.take().or_else(|| job.next_task()) {
        results.clear();
        if let Some(trace) = &job.trace {
            trace.begin_task(worker.row, index);
        }
        // The job's code runs outside of the first task's limit.
        let limit = if job.environment.has_code() { None } else { job.timeout_of(index) };
        worker.seat.begin(index, limit);
        if job.keeps_from_running(index) {
            // The task may have been cancelled before it had the seat.
            worker.seat.stop(Reason::Cancelled);
        }
        let outcome =
            catch_unwind(AssertUnwindSafe(|| run_task(job, worker, index, &mut cache, &mut results)));
        let outcome = outcome.unwrap_or_else(|payload| {
            cache.close();
            Err(Error::panic(payload).into())
        });
        // If a stop came just as the task ended, its hook is still in the coroutine. Restoring the state removes it.
        let has_ended_well = outcome.is_ok() && !worker.seat.is_stopping();
        cache.clear(job, index, has_ended_well);
        let stopped = |reason| job.stopped(index, reason, worker.seat.is_in_init());
        match (worker.seat.end(), outcome) {
            (End::GivenUp, _) => {
                pool::mark_recovered();
                return;
            }
            (End::Stopped(reason) | End::Told(reason), Err(failure)) => {
                let failure = Failure { traceback: failure.traceback, ..stopped(reason).into() };
                watched::fail(job, worker, index, failure);
            }
            (End::Told(reason), Ok(())) => {
                watched::fail(job, worker, index, stopped(reason).into());
            }
            (_, Ok(())) => job.put(worker, index, Ok(&mut results)),
            (_, Err(failure)) => watched::fail(job, worker, index, failure),
        }
    }
    // Before the job ends: the host's next job may need this thread at once.
    drop(busy);
    job.worker_left();
    if cache.state.is_some() {
        CACHED.set(cache.state);
    }
}

/// What a thread of the pool does without work.
const HOOKS: Hooks = Hooks { idle: drop_job, rest: close_state };

/// Drops the last job, and its state if that is large: a smaller one helps the next job to start, until the thread has idled for a
/// moment. Called on a thread before it sleeps, and on a new thread, to create its thread-locals before memory can run out.
fn drop_job() {
    CACHED.with_borrow_mut(|kept| kept.iter_mut().for_each(State::reset_if_large));
    current::clear();
}

/// Closes the state that was kept for the next job.
fn close_state() {
    CACHED.take();
    system::release_stack();
}

/// The state for a worker's next task.
#[derive(Default)]
struct StateCache {
    state: Option<State>,
    /// The state is fitted to the job, and was restored after the last task.
    is_prepared: bool,
    /// The failure of the job's code, which every task of this worker gets.
    failed: Option<Failure>,
    /// The reason why no state can hold the arguments that several of the job's tasks share. The other tasks run without them.
    lacks_common: Option<Error>,
    /// The arguments of the first task, which were decoded early.
    early: Option<EarlyArguments>,
    /// The state of these arguments, while that task runs.
    early_state: Option<EarlyState>,
}

impl StateCache {
    /// Makes the state for the next task of this job: the cached one if it can be used, or a new one.
    fn make(&mut self, job: &Job, worker: &Worker) -> Result<(), Failure> {
        if let Some(failure) = &self.failed {
            return Err(failure.clone());
        }
        self.prepare(job, worker)?;
        if let (Some(state), None) = (&mut self.state, &self.lacks_common)
            && let Err(error) = state.share(&job.tasks.common)
        {
            self.close();
            self.lacks_common = Some(error);
            self.prepare(job, worker)?;
        }
        Ok(())
    }

    /// Fits a state to the job, and runs the job's code in it.
    fn prepare(&mut self, job: &Job, worker: &Worker) -> Result<(), Failure> {
        self.fit(&job.environment, job.mode)?;
        if let Some(state) = &mut self.state
            && !state.is_complete()
            && let Err(failure) = run_code(job, worker, state)
        {
            // The code may have left anything in it.
            self.close();
            if !current::is_told() || worker.seat.has_timed_out() {
                self.failed = Some(failure.clone());
            }
            return Err(failure);
        }
        Ok(())
    }

    fn fit(&mut self, environment: &Arc<Environment>, mode: Mode) -> Result<(), Error> {
        if !self.is_prepared
            && let Some(mut state) = self.state.take()
            && state.prepare(environment)?
        {
            self.state = Some(state);
        }
        self.is_prepared = true;
        if self.state.is_none() {
            let reuse = if mode == Mode::Cmd { Reuse::SingleUse } else { Reuse::Pooled };
            self.state = Some(State::new(environment, reuse)?);
        }
        Ok(())
    }

    /// Closes the state. This may run the task's finalizers, which can't call the host.
    fn close(&mut self) {
        current::without_host(|| (self.state, self.early_state) = (None, None));
    }

    /// Restores the state for the next task, or closes it.
    fn clear(&mut self, job: &Job, index: usize, has_ended_well: bool) {
        if self.early_state.is_some() {
            // The other one was not used.
            return current::without_host(|| self.early_state = None);
        }
        let is_over = job.mode == Mode::Cmd || current::with_notes(|notes| notes.has_finalizers);
        if is_over || self.state.as_ref().is_some_and(|state| !state.is_restorable()) {
            self.close();
        }
        match &mut self.state {
            Some(state) if has_ended_well => state.restore_after(job.tasks.function_of(index)),
            Some(state) => state.restore(),
            None => {}
        }
    }
}

fn run_task(
    job: &Job,
    worker: &Worker,
    index: usize,
    cache: &mut StateCache,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let task = job.tasks.get(index)?;
    fault::point("task")?;
    if let Some((state, count)) = cache.early.take().and_then(|early| early.finish(job, &task)) {
        let state = cache.early_state.insert(state);
        let outcome = run_function(job, worker, index, state, &task, Decoded::Early(count), out);
        return outcome.map_err(|failure| named(&task, index, of_memory(state, failure)));
    }
    let outcome = match (cache.make(job, worker), &cache.state) {
        (Ok(()), Some(state)) => {
            if job.environment.has_code() {
                worker.seat.set_limit(job.timeout_of(index));
            }
            let lacks_common = cache.lacks_common.as_ref();
            run_function(job, worker, index, state, &task, Decoded::Not { lacks_common }, out)
                .map_err(|failure| of_memory(state, failure))
        }
        (Ok(()), None) => Err(Error::Internal("no state was made".into()).into()),
        (Err(failure), _) => Err(failure),
    };
    outcome.map_err(|failure| named(&task, index, failure))
}

/// Adds the task's name to its failure.
fn named(task: &Task, index: usize, failure: Failure) -> Failure {
    match task.name {
        Some(name) => failure.inside(&format!("task {} '{name}'", index + 1)),
        None => failure,
    }
}

/// Gives a failure for lack of memory its kind. Lua's string buffers have another text for that error: "not enough memory for
/// buffer allocation".
fn of_memory(state: &State, failure: Failure) -> Failure {
    if state.has_run_out() && String::from_utf8_lossy(&failure.message).contains("not enough memory") {
        return Failure { kind: Kind::Memory, ..failure };
    }
    failure
}

/// Runs the job's code in a state that is fitted to the job, and completes the state. The code runs as a task does: it may call the
/// host, and can be stopped.
fn run_code(job: &Job, worker: &Worker, state: &mut State) -> Result<(), Failure> {
    if job.environment.modules.are_needed {
        load_modules(job, state).map_err(|failure| of_memory(state, failure))?;
    }
    if let Some(init) = &job.environment.init {
        if job.is_init_stuck() {
            return Err(Failure::from(Error::Stuck(Box::new(job.init_timed_out()))).inside("init"));
        }
        worker.seat.begin_init(job.init_timeout());
        let mut outcome = run_init(job, state, init).map_err(|failure| of_memory(state, failure));
        if !worker.seat.end_init() {
            let traceback = outcome.err().map(|failure| failure.traceback).unwrap_or_default();
            outcome = Err(Failure { traceback, ..job.init_timed_out().into() });
        }
        outcome.map_err(|failure| failure.inside("init"))?;
    }
    Ok(state.complete()?)
}

/// Loads the host's modules into a state.
fn load_modules(job: &Job, state: &mut State) -> Result<(), Failure> {
    let (coroutine, identity) = state.coroutine()?;
    current::begin_task(identity);
    let stack = state.stack();
    loading::load(&stack, &coroutine, &job.environment, &|count| {
        resume(job, state, &coroutine, count)?;
        // The stop may have come as the code ended, and its hook may be in the coroutine.
        if current::is_stopping() { Err(Error::Cancelled.into()) } else { Ok(()) }
    })?;
    let (names, has_finalizers) = current::with_notes(|notes| (notes.modules.take(), notes.has_finalizers));
    state.set_module_names(names);
    if has_finalizers {
        state.keep_from_restoring();
    }
    Ok(())
}

fn run_init(job: &Job, state: &mut State, init: &Init) -> Result<(), Failure> {
    let (coroutine, identity) = state.coroutine()?;
    current::begin_task(identity);
    note_modules(state);
    decode_initial(&coroutine, &init.function, &gma::WorkerNames)?;
    let count = decode_initial(&coroutine, &init.arguments, &gma::WorkerNames)?;
    resume(job, state, &coroutine, count)?;
    coroutine.set_top(0);
    if current::is_told() {
        // A stop may have come as the code ended, and its hook may be in the coroutine.
        return Err(Error::Cancelled.into());
    }
    if current::with_notes(|notes| notes.has_finalizers) {
        state.keep_from_restoring();
    }
    Ok(())
}

/// Notes the names of the modules in the state, for the task that begins.
fn note_modules(state: &State) {
    if let Some(names) = state.module_names() {
        current::with_notes(|notes| notes.modules = Some(names));
    }
}

/// Whether the arguments of a task are on its coroutine.
enum Decoded<'a> {
    /// So many of them.
    Early(c_int),
    /// No. The state may lack those that several tasks share, for this reason.
    Not { lacks_common: Option<&'a Error> },
}

fn run_function(
    job: &Job,
    worker: &Worker,
    index: usize,
    state: &State,
    task: &Task,
    decoded: Decoded,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let (coroutine, identity) = state.coroutine()?;
    current::begin_task(identity);
    note_modules(state);
    let count = match decoded {
        Decoded::Early(count) => {
            state.push_function(task.function, &coroutine)?;
            coroutine.insert(1);
            count
        }
        Decoded::Not { lacks_common } => {
            push_call(job, state, &coroutine, task).map_err(|error| match (&error, lacks_common) {
                (Error::NoCommon { .. }, Some(reason)) => reason.clone(),
                _ => state.explain(error),
            })?
        }
    };
    resume(job, state, &coroutine, count)?;
    Ok(encode_results(job, worker, index, &coroutine, out)?)
}

/// Pushes a task's function and its arguments, and returns the count of the arguments.
fn push_call(job: &Job, state: &State, coroutine: &Stack, task: &Task) -> Result<c_int, Error> {
    let (pinned, names) = (job.tasks.pinned.as_deref(), &gma::WorkerNames);
    if task.blocks.is_empty() {
        state.push_function(task.function, coroutine)?;
        return decode_arguments(coroutine, task.arguments, pinned, names);
    }
    // Blocks need the whole stack.
    let count = early::decode_all(&state.stack(), coroutine, task, pinned, names)?;
    state.push_function(task.function, coroutine)?;
    coroutine.insert(1);
    Ok(count)
}

/// Runs the function on the coroutine, with the top `count` values as its arguments. Its results replace them.
fn resume(job: &Job, state: &State, coroutine: &Stack, count: c_int) -> Result<(), Failure> {
    let stack = state.stack();
    let resumed = current::stoppable(coroutine, || {
        let resumed = coroutine.resume(&stack, count);
        fault::point("returned").map(|()| resumed)
    });
    let resumed = resumed?;
    match resumed {
        Resumed::Returned(_) => Ok(()),
        // The stop may have caused the error, and would also stop the error's `__tostring`.
        _ if current::is_stopping() => Err(stopped(coroutine)),
        Resumed::Raised => {
            coroutine.move_to(&stack, 1);
            let origin = origin(&stack, coroutine);
            Err(close_and_describe(job, &stack, coroutine, resumed, origin))
        }
        Resumed::OutOfMemory => {
            coroutine.move_to(&stack, 1);
            Err(close_and_describe(job, &stack, coroutine, resumed, Origin::default()))
        }
        Resumed::Yielded(_) => Err(Error::Internal("a task yielded to its worker".into()).into()),
    }
}

/// The failure of a coroutine that has raised the error on top of the state's stack, which is popped. Closes the coroutine's
/// variables first, on a Lua that has such variables: they may change the error, or raise another in its place.
fn close_and_describe(
    job: &Job,
    stack: &Stack,
    coroutine: &Stack,
    raised: Resumed,
    origin: Origin,
) -> Failure {
    let closed = coroutine::close_waiting(coroutine).ok().flatten();
    if current::is_stopping() {
        stack.pop(1);
        return origin.stopped();
    }
    let mut origin = origin;
    if closed.is_some() {
        coroutine.move_to(stack, 1);
        if !stack.raw_equal(-1, -2) {
            origin = origin.of_closing(stack);
        }
        stack.remove(-2);
    }
    if closed.unwrap_or(raised) == Resumed::OutOfMemory {
        stack.pop(1);
        return origin.without_memory();
    }
    current::stoppable(stack, || failure(job, stack, origin))
}

/// The failure of a stopped task. Its traceback is the place where it was stopped.
fn stopped(coroutine: &Stack) -> Failure {
    let stopped_at = ffi::take_stopped_at();
    let traceback = if stopped_at.is_empty() { coroutine.brief_traceback() } else { stopped_at };
    Failure { traceback: traceback.into_bytes(), ..Error::Cancelled.into() }
}

/// The pool. From now on, the library stays loaded, and its tasks can be stopped.
fn prepared_pool() -> Result<&'static Pool, Error> {
    let pool = pool::get(HOOKS)?;
    ffi::prepare_interruptions()?;
    Ok(pool)
}

/// Starts workers on the pool. Calls `ready` once their threads have started, before they work. The job has counted them already.
pub fn start(job: &Arc<Job>, workers: usize, ready: impl FnOnce()) -> Result<(), Error> {
    let make = || {
        let (job, worker) = (Arc::clone(job), job.add_worker());
        move |busy| run(job, worker, busy, None, None)
    };
    let started = prepared_pool()?.spawn(workers, ready, make)?;
    job.release_workers(workers - started);
    Ok(())
}

#[cfg(all(test, feature = "linked"))]
mod tests {
    use super::*;

    fn kept(test: impl FnOnce(&mut State)) {
        CACHED.with_borrow_mut(|kept| test(kept.as_mut().expect("the thread's state")));
    }

    #[test]
    fn a_sleeping_thread_keeps_a_small_state_until_it_rests() {
        let environment = Environment { memory_limit: usize::MAX, ..Environment::default() };
        CACHED.set(Some(State::new(&Arc::new(environment), Reuse::Pooled).expect("a state")));
        drop_job();
        kept(|state| assert!(state.is_fitted(), "the next job has to fit it again"));
        kept(|state| {
            let large = vec![b'x'; 8 << 20];
            let filled = state.stack().protected(1, |stack| {
                stack.push_bytes(&large);
                Ok(())
            });
            filled.expect("memory");
        });
        drop_job();
        kept(|state| assert!(!state.is_fitted(), "a large state is kept"));
        close_state();
        assert!(CACHED.take().is_none());
    }
}
