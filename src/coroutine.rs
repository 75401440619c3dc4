//! The coroutine library of a worker's state.
//!
//! A task runs in a coroutine, and must not notice: `yield`, `running` and `isyieldable` speak as they
//! would in a main program. `resume` and `wrap` say which coroutine runs, so that it can be stopped, and
//! `wrap` keeps the call stack of what failed inside it, for the traceback of the task's failure.

use std::cell::{Cell, RefCell};
use std::ffi::c_int;

use crate::error::Error;
use crate::ffi::{Exit, NativeResult, Protected, Resumed, Stack, Type, native};
use crate::seat;
use crate::stdlib::{bad_type, replace};

thread_local! {
    /// The coroutine of the task that runs on this thread, by identity.
    static TASK: Cell<usize> = const { Cell::new(0) };
    /// The last error that left a `coroutine.wrap`, and the call stack it left behind.
    static FAILED: RefCell<Option<(Raised, Vec<u8>)>> = const { RefCell::new(None) };
}

/// Says which coroutine, by identity, is the thread's next task.
pub fn begin_task(task: usize) {
    TASK.set(task);
    FAILED.set(None);
}

/// What was raised: a text, or something by its identity.
#[derive(PartialEq)]
enum Raised {
    Text(Vec<u8>),
    Value(usize),
}

impl Raised {
    fn at(stack: &Stack, index: c_int) -> Raised {
        match stack.kind(index) {
            Type::String => Raised::Text(stack.bytes(index).to_vec()),
            _ => Raised::Value(stack.pointer(index)),
        }
    }
}

/// The call stack inside the coroutine that the error at an index came out of.
pub fn inner_traceback(stack: &Stack, index: c_int) -> Option<Vec<u8>> {
    let raised = Raised::at(stack, index);
    FAILED.with_borrow(|failed| {
        failed.as_ref().filter(|(failed, _)| *failed == raised).map(|(_, traceback)| traceback.clone())
    })
}

/// Puts the functions into the library. *Raises.*
pub fn install(stack: &Protected) {
    stack.push_globals();
    stack.raw_get_text(-1, "coroutine");
    replace(stack, "resume", native(resume));
    replace(stack, "wrap", native(wrap));
    replace(stack, "yield", native(yield_values));
    replace(stack, "running", native(running));
    replace(stack, "isyieldable", native(is_yieldable));
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
        Err(Fault::Text(text)) => Err(Error::BadCall(text.into()).into()),
        Err(Fault::Raised) => {
            note_failure(stack, &coroutine);
            Err(Exit::RaiseTop)
        }
    }
}

fn resume(stack: &Protected) -> NativeResult {
    let coroutine = stack.thread(1).ok_or_else(|| Exit::BadArgument(1, "thread expected".into()))?;
    match resume_with(stack, &coroutine, stack.top() - 1)? {
        Ok(results) => {
            stack.push_boolean(true);
            stack.insert(-results - 1);
            Ok(results + 1)
        }
        Err(fault) => {
            if let Fault::Text(text) = fault {
                stack.push_bytes(text.as_bytes());
            }
            stack.push_boolean(false);
            stack.insert(-2);
            Ok(2)
        }
    }
}

/// Why a coroutine gave no results.
enum Fault {
    /// It could not be resumed.
    Text(&'static str),
    /// What it raised is on top of the resumer's stack.
    Raised,
}

/// Resumes a coroutine with the top `arguments` values, and gives how many it left on top in their place.
/// A task that has to stop stops here, whatever came back.
fn resume_with(stack: &Stack, coroutine: &Stack, arguments: c_int) -> Result<Result<c_int, Fault>, Exit> {
    if !coroutine.check(arguments) {
        return Ok(Err(Fault::Text("too many arguments to resume")));
    }
    if coroutine.is_over() {
        return Ok(Err(Fault::Text("cannot resume dead coroutine")));
    }
    stack.move_to(coroutine, arguments);
    let resumed = seat::stoppable(coroutine, || coroutine.resume(stack, arguments));
    if seat::is_stopping() {
        return Err(Exit::Stop);
    }
    Ok(match resumed {
        Resumed::Returned | Resumed::Yielded => {
            let results = coroutine.top();
            if stack.check(results + 1) {
                coroutine.move_to(stack, results);
                Ok(results)
            } else {
                coroutine.pop(results);
                Err(Fault::Text("too many results to resume"))
            }
        }
        Resumed::Raised | Resumed::OutOfMemory => {
            coroutine.move_to(stack, 1);
            Err(Fault::Raised)
        }
    })
}

/// Puts the caller's position before a message on top, as Lua's `wrap` does, and keeps the call stack of
/// the coroutine that the error came from.
fn note_failure(stack: &Protected, coroutine: &Stack) {
    stack.push_traceback(coroutine, 0);
    stack.insert(-2);
    let is_text = stack.kind(-1) == Type::String;
    if is_text {
        stack.push_where(1);
        stack.push_value(-2);
        stack.concat(2);
    }
    // From here on nothing is raised: traceback, error, error with position.
    let original = if is_text { -2 } else { -1 };
    let mut whole = inner_traceback(stack, original).unwrap_or_default();
    if !whole.is_empty() {
        whole.push(b'\n');
    }
    whole.extend_from_slice(stack.bytes(original - 1));
    FAILED.set(Some((Raised::at(stack, -1), whole)));
}

fn is_task(stack: &Stack) -> bool {
    stack.push_self();
    let is_task = stack.pointer(-1) == TASK.get();
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
    stack.push_boolean(stack.is_yieldable() && !is_task(stack));
    Ok(1)
}
