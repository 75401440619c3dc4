//! The coroutine library of a worker's state.
//!
//! A task runs in a coroutine but must not notice: `yield`, `running` and `isyieldable` act as in a main program. `resume`
//! and `wrap` record which coroutine runs, so that it can be stopped. `wrap` also keeps the call stack of an error raised
//! inside, for the traceback of the task's failure.

use std::ffi::c_int;

use crate::current::{self, Raised, WrapFailure};
use crate::error::Error;
use crate::ffi::{Exit, NativeResult, Protected, Resumed, Stack, Type, VERSION, native};
use crate::missing;
use crate::pool::STACK_BYTES;
use crate::stdlib::{bad_type, replace};

fn raised_at(stack: &Stack, index: c_int) -> Raised {
    match stack.kind(index) {
        Type::String => Raised::Text(stack.bytes(index)),
        _ => Raised::Value(stack.pointer(index)),
    }
}

/// The failure of the coroutine that raised the error at an index.
pub fn take_failure(stack: &Stack, index: c_int) -> Option<WrapFailure> {
    let raised = raised_at(stack, index);
    current::with_notes(|notes| notes.wrap_failure.take_if(|failure| failure.raised == raised))
}

/// Replaces the library's functions.
pub fn install(stack: &Protected) {
    stack.push_globals();
    stack.raw_get_text(-1, "coroutine");
    replace(stack, "resume", native(resume));
    replace(stack, "wrap", native(wrap));
    replace(stack, "yield", native(yield_values));
    replace(stack, "running", native(running));
    replace(stack, "isyieldable", native(is_yieldable));
    replace(stack, "close", native(close));
    stack.pop(2);
}

fn wrap(stack: &Protected) -> NativeResult {
    if stack.kind(1) != Type::Function {
        return Err(bad_type(stack, 1, "function"));
    }
    let coroutine = stack.new_thread();
    stack.push_value(1);
    stack.move_to(&coroutine, 1);
    stack.push_closure(native(resume_wrapped), 1);
    Ok(1)
}

fn resume_wrapped(stack: &Protected) -> NativeResult {
    let arguments = stack.top();
    stack.push_upvalue(1);
    let coroutine = stack.thread(-1).ok_or_else(|| Error::Internal("wrap without a coroutine".into()))?;
    stack.pop(1);
    match resume_with(stack, &coroutine, arguments)? {
        Ok(results) => Ok(results),
        Err(ResumeError::Text(text)) => Err(Error::BadCall(text.into()).into()),
        Err(ResumeError::Raised) => {
            note_failure(stack, &coroutine)?;
            Err(Exit::RaiseTop)
        }
    }
}

/// The first argument, which has to be a coroutine.
fn coroutine_argument<'a>(stack: &'a Protected) -> Result<Stack<'a>, Exit> {
    let coroutine = if stack.kind(1) == Type::Thread { stack.thread(1) } else { None };
    coroutine.ok_or_else(|| match VERSION {
        ..504 => Exit::BadArgument(1, "thread expected".into()),
        _ => bad_type(stack, 1, "thread"),
    })
}

fn resume(stack: &Protected) -> NativeResult {
    let coroutine = coroutine_argument(stack)?;
    match resume_with(stack, &coroutine, stack.top() - 1)? {
        Ok(results) => {
            stack.push_boolean(true);
            stack.insert(-results - 1);
            Ok(results + 1)
        }
        Err(fault) => {
            if let ResumeError::Text(text) = fault {
                stack.push_bytes(text.as_bytes());
            }
            stack.push_boolean(false);
            stack.insert(-2);
            Ok(2)
        }
    }
}

/// Why resuming a coroutine returned no results.
enum ResumeError {
    /// It could not be resumed.
    Text(&'static str),
    /// It raised an error, which is on top of the resumer's stack.
    Raised,
}

/// Resumes a coroutine with the top `arguments` values. Returns the number of results, which replace them. A task that
/// has to stop stops here, whatever the outcome of the coroutine.
fn resume_with(
    stack: &Stack,
    coroutine: &Stack,
    arguments: c_int,
) -> Result<Result<c_int, ResumeError>, Exit> {
    if !coroutine.check(arguments) {
        return Ok(Err(ResumeError::Text("too many arguments to resume")));
    }
    if coroutine.is_over() {
        return Ok(Err(ResumeError::Text("cannot resume dead coroutine")));
    }
    if coroutine.is_same(stack) || VERSION >= 504 && !coroutine.is_at_rest() {
        return Ok(Err(ResumeError::Text("cannot resume non-suspended coroutine")));
    }
    stack.move_to(coroutine, arguments);
    let resumed = current::stoppable(coroutine, || coroutine.resume(stack, arguments));
    if current::is_stopping() {
        return Err(Exit::Stop);
    }
    Ok(match resumed {
        Resumed::Returned(results) | Resumed::Yielded(results) => {
            if stack.check(results + 1) {
                coroutine.move_to(stack, results);
                Ok(results)
            } else {
                coroutine.pop(results);
                Err(ResumeError::Text("too many results to resume"))
            }
        }
        Resumed::Raised | Resumed::OutOfMemory => {
            coroutine.move_to(stack, 1);
            Err(ResumeError::Raised)
        }
    })
}

/// Closes the variables of a coroutine that raised the error on top, after which the error may be another. Prepends the
/// caller's position to its message, as Lua's `wrap` does, and keeps the call stack of the coroutine.
fn note_failure(stack: &Protected, coroutine: &Stack) -> Result<(), Exit> {
    stack.push_traceback(coroutine, 0);
    stack.insert(-2);
    let number = keep_failure(stack, coroutine)?;
    if stack.kind(-1) == Type::String {
        stack.push_where(1);
        stack.insert(-2);
        stack.concat(2);
    }
    // A finalizer may have run meanwhile.
    let raised = raised_at(stack, -1);
    current::with_notes(|notes| match &mut notes.wrap_failure {
        Some(failure) if failure.raised == Raised::Unfinished(number) => {
            failure.raised = raised;
        }
        _ => {}
    });
    Ok(())
}

/// Keeps what is known of the error on top, which has the coroutine's traceback below it, and closes the coroutine's variables.
/// Returns the number of the failure.
fn keep_failure(stack: &Stack, coroutine: &Stack) -> Result<u64, Exit> {
    let inner = take_failure(stack, -1);
    let missing = match &inner {
        Some(_) => None,
        None => missing::find(stack, coroutine, 0, &stack.bytes(-1)),
    };
    let inner = inner.unwrap_or(WrapFailure { raised: Raised::Value(0), traceback: Vec::new(), missing });
    let (mut whole, mut missing) = (inner.traceback, inner.missing);
    if !whole.is_empty() {
        whole.push(b'\n');
    }
    stack.with_bytes(-2, |traceback| whole.extend_from_slice(traceback));
    // An error may also say that the coroutine can't be resumed now.
    if coroutine.has_failed() && close_variables(coroutine)? {
        coroutine.move_to(stack, 1);
        if !stack.raw_equal(-1, -2) {
            missing = None;
        }
        stack.remove(-2);
    }
    Ok(current::with_notes(|notes| {
        notes.wrap_failures += 1;
        let raised = Raised::Unfinished(notes.wrap_failures);
        notes.wrap_failure = Some(WrapFailure { raised, traceback: whole, missing });
        notes.wrap_failures
    }))
}

fn is_task(stack: &Stack) -> bool {
    stack.push_self();
    let is_task = stack.pointer(-1) == current::with_notes(|notes| notes.coroutine);
    stack.pop(1);
    is_task
}

fn yield_values(stack: &Protected) -> NativeResult {
    if is_task(stack) {
        return Err(Exit::RaiseBare(Error::BadCall("attempt to yield from outside a coroutine".into())));
    }
    Err(Exit::Yield(stack.top()))
}

fn running(stack: &Protected) -> NativeResult {
    let is_task = is_task(stack);
    let is_main = stack.push_self();
    stack.push_boolean(is_main || is_task);
    Ok(2)
}

fn is_yieldable(stack: &Protected) -> NativeResult {
    let is_yieldable = |stack: &Stack| stack.is_yieldable() && !is_task(stack);
    let is_given = VERSION >= 504 && stack.kind(1) != Type::None;
    let coroutine = if is_given { Some(coroutine_argument(stack)?) } else { None };
    stack.push_boolean(match coroutine {
        Some(coroutine) => coroutine.check(1) && is_yieldable(&coroutine),
        None => is_yieldable(stack),
    });
    Ok(1)
}

fn close(stack: &Protected) -> NativeResult {
    let coroutine = coroutine_argument(stack)?;
    let refuse = |state| Err(Error::BadCall(format!("cannot close a {state} coroutine")).into());
    if coroutine.is_same(stack) {
        return refuse("running");
    }
    if !coroutine.is_at_rest() {
        return refuse("normal");
    }
    let has_failed = close_variables(&coroutine)?;
    stack.push_boolean(!has_failed);
    if has_failed {
        coroutine.move_to(stack, 1);
    }
    Ok(1 + c_int::from(has_failed))
}

/// Closes the variables of a coroutine that wait for that, and ends it, on a Lua that has such variables. True if an error is
/// then on top of the coroutine's stack. A task that has to stop stops here.
fn close_variables(coroutine: &Stack) -> Result<bool, Exit> {
    match close_waiting(coroutine) {
        _ if current::is_stopping() => Err(Exit::Stop),
        Ok(closed) => Ok(matches!(closed, Some(Resumed::Raised | Resumed::OutOfMemory))),
        Err(error) => Err(error.into()),
    }
}

/// Closes the variables of a coroutine that wait for that, see [`Stack::close_variables`].
pub fn close_waiting(coroutine: &Stack) -> Result<Option<Resumed>, Error> {
    // Lua begins to count nested calls anew here. So the rest of the stack has to have room for as many as it allows.
    const MOST_USED: usize = STACK_BYTES / 4;

    if VERSION >= 504 && current::stack_used() > MOST_USED {
        return Err(Error::BadCall("C stack overflow".into()));
    }
    Ok(current::stoppable(coroutine, || coroutine.close_variables()))
}

#[cfg(all(test, feature = "linked"))]
mod tests {
    use std::sync::{Arc, mpsc};
    use std::time::Duration;

    use super::*;
    use crate::ffi::{self, OwnState};
    use crate::job::Job;
    use crate::seat::Reason;

    /// `stop()`: stops the running task, as the host does when it drops a job.
    fn stop_task(_: &Protected) -> NativeResult {
        let work = current::work().expect("a worker");
        work.worker.seat.stop(Reason::Cancelled);
        Ok(0)
    }

    /// Runs a task on a new thread, without the watchdog, which would repeat a stop. Returns how the task ended.
    fn run_task(code: &'static str) -> Resumed {
        ffi::prepare_interruptions().expect("a signal");
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let state = OwnState::new(usize::MAX).expect("a state");
            let stack = state.unprotected();
            stack.open_libraries();
            install(&stack);
            stack.push_globals();
            stack.push_native(native(stop_task));
            stack.raw_set_text(-2, "stop");
            let job = Arc::new(Job::without_tasks());
            let worker = job.add_worker();
            worker.seat.begin(0, None);
            let _entered = current::enter(job, worker);
            let task = stack.new_thread();
            task.load(code.as_bytes(), c"=task").expect("it is Lua");
            let _ = sender.send(current::stoppable(&task, || task.resume(&stack, 0)));
        });
        receiver.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| panic!("still running: {code}"))
    }

    #[test]
    fn one_stop_ends_a_task_in_any_nested_call() {
        /// Calls through C functions across which no coroutine can yield.
        const CALLERS: [&str; 8] = [
            "table.sort({ 3, 2, 1 }, function() body() end)",
            "('x'):gsub('x', function() body() end)",
            "load(function() body() end)",
            "xpcall(error, function() body() end)",
            "tostring(setmetatable({}, { __tostring = function() body() return '' end }))",
            "table.concat(setmetatable({}, { __len = function() body() return 0 end, __index = type }))",
            "return setmetatable({}, { __index = function() body() end }).field",
            "for _ in pairs(setmetatable({}, { __pairs = function() body() return next, {} end })) do end",
        ];
        /// The code that is stopped. Only the first call of `stop` stops the task. If that stop is lost, the task repeats
        /// its code forever.
        const BODIES: [&str; 4] = [
            "stop()",
            "coroutine.wrap(function() stop() while true do end end)()",
            "coroutine.wrap(function() pcall(coroutine.wrap(function() stop() while true do end end)) end)()",
            "coroutine.resume(coroutine.create(function() table.sort({ 2, 1 }, function() stop() end) end))",
        ];
        for caller in CALLERS {
            for body in BODIES {
                let code = format!(
                    "local function body() {body} end
                     local real, was_there = stop, false
                     stop = function() stop = function() end was_there = true real() end
                     repeat pcall(function() {caller} end) until not was_there"
                );
                assert_eq!(run_task(code.leak()), Resumed::Yielded(0), "{body} in {caller}");
            }
        }
    }
}
