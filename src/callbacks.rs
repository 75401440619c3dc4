//! Native functions that call a Lua function: a public function, a host function, a user's callback.
//!
//! Host side. A hook, such as the one for Ctrl-C, may raise an error at any instruction of Lua code. So steps that must not be
//! separated are one native function here. It acts before or after the function that it calls, which may yield.

use std::ffi::c_int;
use std::sync::Arc;

use crate::error::{self, Error, Result};
use crate::ffi::{Exit, NativeResult, Protected, Stack, Type, continuation, native};
use crate::host::{self, HostNames};
use crate::job::Job;
use crate::pool;
use crate::registry;

/// The job whose number is the first argument; none if another pump has already ended it.
pub fn job(stack: &Stack) -> Result<Option<Arc<Job>>> {
    if pool::is_forked() {
        return Err(Error::Forked);
    }
    let id = stack.integer(1).and_then(|id| u64::try_from(id).ok());
    Ok(id.and_then(registry::get))
}

/// `serve(job, host)`: carries out the job's next host call. `host` is the job's option of that name. Returns true and
/// whether a task waited for the answer, or nothing if there is no call. No error can interrupt it between taking the call and answering it, because a task whose call is lost waits
/// forever.
pub fn serve(stack: &Protected) -> NativeResult {
    let Some(job) = job(stack)? else { return Ok(0) };
    stack.set_top(2);
    match host::next_call(stack, &job, &HostNames::default())? {
        Some(arguments) => Err(Exit::ProtectedCall(arguments, continuation(served))),
        None => Ok(0),
    }
}

/// Answers the host call.
fn served(stack: &Protected, has_returned: bool) -> NativeResult {
    const TICKET: c_int = 3;
    const NAME: c_int = 4;
    const FIRST: c_int = 5;
    if let (Some(job), Some(ticket)) = (job(stack)?, stack.whole(TICKET)) {
        let name = stack.text(NAME);
        let names = HostNames::default();
        host::answer(stack, &job, &names, ticket.unsigned_abs(), &name, has_returned, FIRST)?;
    }
    if !has_returned && stack.with_bytes(FIRST, |text| text.ends_with(error::INTERRUPTED)) {
        stack.set_top(FIRST);
        return Err(Exit::RaiseTop);
    }
    stack.push_boolean(true);
    stack.push_boolean(stack.whole(TICKET).is_some());
    Ok(2)
}

/// `exclusively(token, function, ...)`: calls the function while it holds the token, a lock whose first item is nil while it
/// is held. Returns false, without a call, if the token is held already. An error releases the token.
pub fn exclusively(stack: &Protected) -> NativeResult {
    if stack.raw_get_i(1, 1) == Type::Nil {
        stack.push_boolean(false);
        return Ok(1);
    }
    // Setting an existing item allocates nothing, so it can't raise.
    stack.pop(1);
    stack.push_nil();
    stack.raw_set_i(1, 1);
    Err(Exit::ProtectedCall(stack.top() - 2, continuation(release)))
}

fn release(stack: &Protected, has_returned: bool) -> NativeResult {
    stack.push_boolean(true);
    stack.raw_set_i(1, 1);
    if has_returned {
        stack.push_boolean(true);
        return Ok(1);
    }
    Err(Exit::RaiseTop)
}

/// `call_once(list, ...)`: removes the list's only item, a function, and calls it. Does nothing if it is gone already.
pub fn call_once(stack: &Protected) -> NativeResult {
    let arguments = stack.top() - 1;
    if stack.raw_get_i(1, 1) != Type::Function {
        return Ok(0);
    }
    stack.insert(2);
    stack.push_nil();
    stack.raw_set_i(1, 1);
    Err(Exit::TailCall(arguments))
}

/// `call_next(cursor, position, function, ...)`: moves the cursor, a list of one number, on from this position, and calls the
/// function, if there is one. Does nothing if the cursor is elsewhere.
pub fn call_next(stack: &Protected) -> NativeResult {
    let position = stack.integer(2);
    stack.raw_get_i(1, 1);
    if stack.whole(-1) != position {
        return Ok(0);
    }
    stack.pop(1);
    stack.push_integer(position.unwrap_or(0) + 1);
    stack.raw_set_i(1, 1);
    if stack.kind(3) != Type::Function {
        return Ok(0);
    }
    Err(Exit::TailCall(stack.top() - 3))
}

/// `entry(call, fail)`: makes a public function. It calls `call` with a new table for the job and its own arguments. If that
/// raises an error, it calls `fail` with the table and the error. Either may return nil and a refusal, which is raised at the
/// caller's line. No error can come between the end of `call` and the caller, so a started job is either returned or ended.
pub fn entry(stack: &Protected) -> NativeResult {
    stack.set_top(2);
    stack.push_closure(native(enter), 2);
    Ok(1)
}

fn enter(stack: &Protected) -> NativeResult {
    let arguments = stack.top();
    stack.create_table(0, JOB_FIELDS);
    stack.insert(1);
    stack.push_upvalue(1);
    stack.insert(2);
    stack.push_value(1);
    stack.insert(3);
    Err(Exit::ProtectedCall(arguments + 1, continuation(entered)))
}

fn entered(stack: &Protected, has_returned: bool) -> NativeResult {
    if has_returned {
        return accepted(stack, 2);
    }
    stack.push_upvalue(2);
    stack.insert(1);
    Err(Exit::ProtectedCall(2, continuation(failed)))
}

fn failed(stack: &Protected, has_returned: bool) -> NativeResult {
    if has_returned { accepted(stack, 1) } else { Err(Exit::RaiseTop) }
}

/// Returns the values from index `first` up, unless they are nil and a refusal.
fn accepted(stack: &Stack, first: c_int) -> NativeResult {
    let refusal = first + 1;
    if stack.kind(first) != Type::Nil || stack.top() < refusal {
        return Ok(stack.top() - first + 1);
    }
    stack.set_top(refusal);
    match stack.kind(refusal) {
        Type::String => Err(Exit::Raise(Error::Lua(stack.bytes(refusal)))),
        _ => Err(Exit::RaiseTop),
    }
}

/// Room for the fields of a job's table.
const JOB_FIELDS: c_int = 32;
