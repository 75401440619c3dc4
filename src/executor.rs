//! Runs a job's tasks on one thread of the pool.
//!
//! Worker side: touches the worker's own state and the job's plain data, nothing of the host. A task runs
//! in a coroutine of the state, with its own functions and arguments decoded for it; whatever happens in
//! it, a panic included, becomes that task's outcome. A worker that was given up learns so when its task
//! ends after all, and goes without a trace.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::config::Mode;
use crate::decode::decode;
use crate::encode::encode;
use crate::error::{Error, Kind};
use crate::ffi::{self, Resumed, Stack, Type};
use crate::job::{Failure, Job, Task, Worker};
use crate::policy::{Functions, Policy};
use crate::pool::{self, Busy};
use crate::seat::{self, End, Reason};
use crate::state::State;
use crate::{coroutine, fault, gma, hostcall, stdlib};

thread_local! {
    /// This thread's state, kept for its next job.
    static KEPT: RefCell<Option<State>> = const { RefCell::new(None) };
}

/// Runs tasks of the job until there are none left.
pub fn run(job: &Job, worker: &Worker, busy: Busy) {
    let mut state = if job.mode == Mode::Cmd { None } else { KEPT.take() };
    let mut results = Vec::new();
    while let Some(index) = job.next_task() {
        results.clear();
        worker.seat.begin(index, job.timeout);
        if job.is_cancelled() {
            // The cancel may have looked at this seat before the task was there.
            worker.seat.stop(Reason::Cancelled);
        }
        seat::take(Some(Arc::clone(&worker.seat)));
        let outcome = catch_unwind(AssertUnwindSafe(|| run_task(job, index, &mut state, &mut results)));
        let outcome = outcome.unwrap_or_else(|payload| {
            state = None;
            Err(Error::panic(payload).into())
        });
        let is_over = job.mode == Mode::Cmd || stdlib::is_spoiled() || seat::is_stopping();
        if is_over || state.as_ref().is_some_and(|state| !state.is_fit()) {
            // Closing it may run finalizers of the task's: that is part of its time.
            state = None;
        }
        seat::take(None);
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
    if let Some(mut state) = state
        && state.tidy()
    {
        KEPT.set(Some(state));
    }
}

fn run_task(job: &Job, index: usize, kept: &mut Option<State>, out: &mut Vec<u8>) -> Result<(), Failure> {
    let (function, arguments, name) = match &job.tasks[index] {
        Task::Ready { function, arguments, name } => (*function, arguments.clone(), name.as_deref()),
        Task::Refused(error) => return Err(error.clone().into()),
    };
    fault::point("task")?;
    let state = prepared(job, kept)?;
    let stack = state.stack();
    let outcome = {
        let _line = hostcall::connect(&job.mailbox);
        run_function(job, &stack, &job.functions[function], &job.arguments[arguments], out)
    };
    stack.set_top(0);
    let has_run_out = state.has_run_out();
    outcome.map_err(|mut failure| {
        // Lua's string buffers raise an error of their own: "not enough memory for buffer allocation".
        if has_run_out && String::from_utf8_lossy(&failure.message).contains("not enough memory") {
            failure.kind = Kind::Memory;
        }
        if let Some(name) = name {
            let head = format!("in task {} '{name}'\n", index + 1);
            failure.traceback.splice(0..0, head.into_bytes());
        }
        failure
    })
}

/// The thread's state, ready for a task of this job: the kept one where it can be made so, or a new one.
fn prepared<'a>(job: &Job, kept: &'a mut Option<State>) -> Result<&'a State, Error> {
    let is_ready = match kept {
        Some(state) => state.prepare(&job.environment)?,
        None => false,
    };
    if !is_ready {
        *kept = None;
        let mut state = State::new(&job.environment)?;
        state.prepare(&job.environment)?;
        *kept = Some(state);
    }
    kept.as_ref().ok_or_else(|| Error::Internal("no state was kept".into()))
}

fn run_function(
    job: &Job,
    stack: &Stack,
    function: &[u8],
    arguments: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    stack.protected(0, |stack| {
        stack.new_thread();
        Ok(())
    })?;
    let coroutine = stack.thread(-1).ok_or_else(|| Error::Internal("no coroutine was made".into()))?;
    stdlib::begin_task();
    ffi::take_stopped_at();
    coroutine::begin_task(stack.pointer(-1));
    let names = gma::worker_names();
    decode(&coroutine, function, &names)?;
    let count = decode(&coroutine, arguments, &names)?;
    match seat::stoppable(&coroutine, || coroutine.resume(stack, count)) {
        Resumed::Returned => Ok(encode_results(job, &coroutine, out)?),
        // What it raised may be a stop's doing, and its `__tostring` would only be stopped again.
        _ if seat::is_stopping() => Err(stopped(&coroutine)),
        Resumed::Raised => Err(seat::stoppable(stack, || failure(job, stack, &coroutine))),
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
    let names = gma::worker_names();
    let place = |n: usize, path: &str| match count {
        1 => format!("result{path}"),
        _ => format!("returns[{n}]{path}"),
    };
    let policy = Policy { names: &names, functions: Functions::Carry(job.upvalues), place: &place };
    encode(coroutine, count, out, &policy)
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
        stack.push_traceback(coroutine);
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
    let names = gma::worker_names();
    let place = |_, path: &str| format!("error{path}");
    let policy = Policy { names: &names, functions: Functions::Carry(job.upvalues), place: &place };
    stack.push_value(-1);
    encode(stack, 1, &mut message, &policy).ok().map(|()| message)
}

/// Starts that many workers of the job on the pool. The job counts on them already.
pub fn start(job: &Arc<Job>, workers: usize) -> Result<(), Error> {
    let started = pool::get()?.spawn(workers, || {
        let (job, worker) = (Arc::clone(job), job.seat());
        move |busy| run(&job, &worker, busy)
    })?;
    job.give_back(workers - started);
    Ok(())
}
