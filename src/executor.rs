//! Runs a job's tasks on one thread of the pool.
//!
//! Worker side: touches the worker's own state and the job's plain data, nothing of the host. A task runs
//! in a coroutine of the state, with its own functions and arguments decoded for it; whatever happens in
//! it, a panic included, becomes that task's outcome. A worker that was given up learns so when its task
//! ends after all, and goes without a trace.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::codec::{Functions, Policy, encode_counted, furnish};
use crate::config::Mode;
use crate::error::{Error, Kind};
use crate::ffi::{self, Resumed, Stack, Type};
use crate::job::{Job, Task, Worker};
use crate::lane::Failure;
use crate::pool::{self, Busy};
use crate::seat::{self, End, Reason};
use crate::state::{Environment, Life, State};
use crate::{coroutine, fault, gma, hostcall, modules, stdlib, system, trace};

thread_local! {
    /// This thread's state, kept for its next job.
    static KEPT: RefCell<Option<State>> = const { RefCell::new(None) };
}

/// Runs tasks of the job until there are none left.
pub fn run(job: &Job, worker: &Worker, busy: Busy) {
    let mut desk = Desk { state: if job.mode == Mode::Cmd { None } else { KEPT.take() }, is_prepared: false };
    let mut results = Vec::new();
    let _seat = seat::take(&worker.seat);
    let _line = hostcall::connect(&job.mailbox);
    let _followed = trace::follow(job.trace.as_ref(), worker.row);
    while let Some(index) = job.next_task() {
        results.clear();
        if let Some(trace) = &job.trace {
            trace.begin_task(worker.row, index);
        }
        worker.seat.begin(index, job.timeout);
        if job.is_cancelled() {
            // The cancel may have looked at this seat before the task was there.
            worker.seat.stop(Reason::Cancelled);
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| run_task(job, index, &mut desk, &mut results)));
        let outcome = outcome.unwrap_or_else(|payload| {
            desk.close();
            Err(Error::panic(payload).into())
        });
        // A stop that came just as the task ended has left its hook in the coroutine, for the next one.
        let has_ended_well = outcome.is_ok() && !worker.seat.is_stopping();
        desk.clear(job, index, has_ended_well);
        match (worker.seat.end(), outcome) {
            (End::GivenUp, _) => {
                pool::find();
                return;
            }
            (End::Stopped(reason), Err(failure)) => {
                let failure = Failure { traceback: failure.traceback, ..job.stopped(reason).into() };
                job.put(worker, index, Err(failure));
            }
            (_, outcome) => job.put(worker, index, outcome.map(|()| &mut results)),
        }
    }
    // The host's next job may count on this thread as soon as this one is over.
    drop(busy);
    job.leave();
    if desk.state.is_some() {
        KEPT.set(desk.state);
    }
}

/// Has a thread that goes to sleep keep nothing of its last job: its state is as it was made, and what was noted of the
/// last task is forgotten. As a thread starts, this makes what it keeps for itself, which takes memory.
fn rest() {
    KEPT.with_borrow_mut(|kept| kept.iter_mut().for_each(State::rest));
    coroutine::begin_task(0);
    stdlib::begin_task();
    ffi::take_stopped_at();
    ffi::clear_message();
    modules::set_host(&Arc::default());
    system::release_stack();
}

/// What a worker has for its next task.
struct Desk {
    state: Option<State>,
    /// The state is fitted to the job, and put back since its last task.
    is_prepared: bool,
}

impl Desk {
    /// The state for the next task of this job: the kept one where it can be made so, or a new one.
    fn state(&mut self, environment: &Arc<Environment>, life: Life) -> Result<&State, Error> {
        if !self.is_prepared
            && let Some(mut state) = self.state.take()
            && state.prepare(environment)?
        {
            self.state = Some(state);
        }
        self.is_prepared = true;
        match &mut self.state {
            Some(state) => Ok(state),
            none => Ok(none.insert(State::new(environment, life)?)),
        }
    }

    /// Closes the state. That may run finalizers of the task's, in its time; they can't ask the host for anything.
    fn close(&mut self) {
        hostcall::disconnected(|| self.state = None);
    }

    /// Has the state ready for the next task, or closes it.
    fn clear(&mut self, job: &Job, index: usize, has_ended_well: bool) {
        let is_over = job.mode == Mode::Cmd || stdlib::is_spoiled();
        if is_over || self.state.as_ref().is_some_and(|state| !state.is_fit()) {
            self.close();
        }
        match (&mut self.state, job.tasks.get(index)) {
            (Some(state), Ok(task)) if has_ended_well => state.put_back_after(task.function),
            (Some(state), _) => state.put_back(),
            (None, _) => {}
        }
    }
}

fn run_task(job: &Job, index: usize, desk: &mut Desk, out: &mut Vec<u8>) -> Result<(), Failure> {
    let task = job.tasks.get(index)?;
    fault::point("task")?;
    let life = if job.mode == Mode::Cmd { Life::Once } else { Life::Long };
    let state = desk.state(&job.environment, life)?;
    let outcome = run_function(job, state, &task, out);
    outcome.map_err(|mut failure| {
        // Lua's string buffers raise an error of their own: "not enough memory for buffer allocation".
        if state.has_run_out() && String::from_utf8_lossy(&failure.message).contains("not enough memory") {
            failure.kind = Kind::Memory;
        }
        if let Some(name) = task.name {
            let head = format!("in task {} '{name}'\n", index + 1);
            failure.traceback.splice(0..0, head.into_bytes());
        }
        failure
    })
}

fn run_function(job: &Job, state: &State, task: &Task, out: &mut Vec<u8>) -> Result<(), Failure> {
    let stack = state.stack();
    let (coroutine, identity) = state.coroutine()?;
    stdlib::begin_task();
    ffi::take_stopped_at();
    coroutine::begin_task(identity);
    state.push_function(task.function, &coroutine)?;
    let count = furnish(&coroutine, task.arguments, &gma::WorkerNames)?;
    let resumed = seat::stoppable(&coroutine, || {
        let resumed = coroutine.resume(&stack, count);
        fault::point("returned").map(|()| resumed)
    });
    match resumed? {
        Resumed::Returned => Ok(encode_results(job, &coroutine, out)?),
        // What it raised may be a stop's doing, and its `__tostring` would only be stopped again.
        _ if seat::is_stopping() => Err(stopped(&coroutine)),
        Resumed::Raised => Err(seat::stoppable(&stack, || failure(job, &stack, &coroutine))),
        Resumed::OutOfMemory => Err(Error::Memory.into()),
        Resumed::Yielded => Err(Error::Internal("a task yielded to its worker".into()).into()),
    }
}

/// What is left of a task that was stopped: where it was.
fn stopped(coroutine: &Stack) -> Failure {
    let stopped_at = ffi::take_stopped_at();
    let traceback = if stopped_at.is_empty() { coroutine.brief_traceback() } else { stopped_at };
    Failure { traceback: traceback.into_bytes(), ..Error::Cancelled.into() }
}

fn encode_results(job: &Job, coroutine: &Stack, out: &mut Vec<u8>) -> Result<(), Error> {
    let count = coroutine.top();
    let place = |n: usize, path: &str| match count {
        1 => format!("result{path}"),
        _ => format!("returns[{n}]{path}"),
    };
    let policy =
        Policy { names: &gma::WorkerNames, functions: Functions::Carry(job.upvalues), place: &place };
    encode_counted(coroutine, count, out, &policy)
}

/// What is left of a task that raised: the error value stands on top of its coroutine.
fn failure(job: &Job, stack: &Stack, coroutine: &Stack) -> Failure {
    coroutine.move_to(stack, 1);
    let value =
        (!matches!(stack.kind(-1), Type::String | Type::Nil)).then(|| encode_error(job, stack)).flatten();
    let mut message = Vec::new();
    let mut traceback = Vec::new();
    let inner = coroutine::inner_traceback(stack, -1);
    let described = stack.protected(1, |stack| {
        // The call stack first: `__tostring` may fail.
        stack.push_traceback(coroutine, 0);
        traceback.extend_from_slice(stack.bytes(-1));
        stack.push_text_of(1);
        message.extend_from_slice(stack.bytes(-1));
        stack.set_top(0);
        Ok(())
    });
    if let Err(error) = described {
        message = b"error in the error's own __tostring: ".to_vec();
        message.extend_from_slice(&error.text());
    }
    if let Some(mut inner) = inner {
        inner.push(b'\n');
        traceback.splice(0..0, inner);
    }
    Failure { kind: Kind::Runtime, message, traceback, value }
}

/// The error value on top, if it can cross.
fn encode_error(job: &Job, stack: &Stack) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    let place = |_, path: &str| format!("error{path}");
    let policy =
        Policy { names: &gma::WorkerNames, functions: Functions::Carry(job.upvalues), place: &place };
    stack.push_value(-1);
    encode_counted(stack, 1, &mut message, &policy).ok().map(|()| message)
}

/// Starts that many workers of the job on the pool. The job counts on them already.
pub fn start(job: &Arc<Job>, workers: usize) -> Result<(), Error> {
    let make = || {
        let (job, worker) = (Arc::clone(job), job.seat());
        move |busy| run(&job, &worker, busy)
    };
    let started = pool::get(rest)?.spawn(workers, make)?;
    job.give_back(workers - started);
    Ok(())
}
