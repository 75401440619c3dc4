//! Native calls that call back into Lua: public functions, host calls, callbacks.
//!
//! Host side. An error, such as Ctrl-C's, may come at any instruction of Lua's. So what must not be torn apart is one native
//! call: each of these does something before or after the function that it calls, which may yield.

use std::ffi::c_int;
use std::sync::Arc;

use crate::error::{self, Error, Result};
use crate::ffi::{Exit, NativeResult, Protected, Stack, Type, continuation, native};
use crate::host::{self, HostNames};
use crate::job::Job;
use crate::pool;
use crate::registry;

/// The job whose number is the first argument; none where it is over, which another pump may have seen to.
pub fn job(stack: &Stack) -> Result<Option<Arc<Job>>> {
    if pool::is_forked() {
        return Err(Error::Forked);
    }
    let id = stack.integer(1).and_then(|id| u64::try_from(id).ok());
    Ok(id.and_then(registry::get))
}

/// `serve(job)`: carries out the job's next host call; false where there is none. Nothing comes between taking the call and
/// answering it: a task whose call got lost would wait for ever.
pub fn serve(stack: &Protected) -> NativeResult {
    let Some(job) = job(stack)? else { return Ok(0) };
    stack.set_top(1);
    match host::next_call(stack, &job, &HostNames::default())? {
        Some(arguments) => Err(Exit::ProtectedCall(arguments, continuation(served))),
        None => Ok(0),
    }
}

/// Answers the call that was carried out.
fn served(stack: &Protected, has_returned: bool) -> NativeResult {
    const TICKET: c_int = 2;
    const NAME: c_int = 3;
    const FIRST: c_int = 4;
    if let (Some(job), Some(ticket)) = (job(stack)?, stack.whole(TICKET)) {
        let name = String::from_utf8_lossy(stack.bytes(NAME)).into_owned();
        let names = HostNames::default();
        host::answer(stack, &job, &names, ticket.unsigned_abs(), &name, has_returned, FIRST)?;
    }
    if !has_returned && stack.bytes(FIRST).ends_with(error::INTERRUPTED) {
        stack.set_top(FIRST);
        return Err(Exit::RaiseTop);
    }
    stack.push_boolean(true);
    Ok(1)
}

/// `exclusively(token, function, ...)`: calls the function while the token's first item is taken out; false where somebody
/// else has it.
pub fn exclusively(stack: &Protected) -> NativeResult {
    if stack.raw_get_i(1, 1) == Type::Nil {
        stack.push_boolean(false);
        return Ok(1);
    }
    // An item that was there takes no memory to set.
    stack.pop(1);
    stack.push_nil();
    stack.raw_set_i(1, 1);
    Err(Exit::ProtectedCall(stack.top() - 2, continuation(give_back)))
}

fn give_back(stack: &Protected, has_returned: bool) -> NativeResult {
    stack.push_boolean(true);
    stack.raw_set_i(1, 1);
    if has_returned {
        stack.push_boolean(true);
        return Ok(1);
    }
    Err(Exit::RaiseTop)
}

/// `call_once(list, ...)`: takes the function out that is the list's one item, and calls it, unless somebody did.
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

/// `entry(call, fail)`: a public function. It calls `call` with a new table, the job's to be, and its own arguments; where
/// that raises, `fail` with the table and the error. Nothing comes between the end of `call` and the caller, so a job that
/// was started is either handed out or ended.
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
        return Ok(stack.top() - 1);
    }
    stack.push_upvalue(2);
    stack.insert(1);
    Err(Exit::TailCall(2))
}

/// As many as a job has.
const JOB_FIELDS: c_int = 24;
