//! Builds the module table: the embedded Lua files, and the native functions that they call.
//!
//! Only `lua/*.lua` gets the table of native functions. They don't block for long, and identify a job by its number.
//! The Lua files return a refusal as nil and its text, and [`callbacks::entry`] raises it at the caller's line.

use std::ffi::{CStr, c_int};
use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::callbacks;
use crate::codec::Functions;
use crate::config;
use crate::dispatcher;
use crate::error::{self, Error, Result};
use crate::ffi::{Exit, NativeFunction, NativeResult, Protected, Stack, Type, native};
use crate::fields;
use crate::gma;
use crate::host::HostNames;
use crate::host_standard;
use crate::job::Job;
use crate::mailbox::{self, Mailbox};
use crate::modules;
use crate::pool;
use crate::registry;
use crate::response;
use crate::state;
use crate::stdlib;
use crate::value;

/// The Lua modules: name, name of the chunk, and code. A chunk gets the native functions and the table of all modules,
/// and returns its own table or function.
const MODULES: [(&str, &CStr, &str); 18] = [
    ("arguments", c"@gma2workers/arguments.lua", include_str!("../lua/arguments.lua")),
    ("async", c"@gma2workers/async.lua", include_str!("../lua/async.lua")),
    ("calls", c"@gma2workers/calls.lua", include_str!("../lua/calls.lua")),
    ("drivers", c"@gma2workers/drivers.lua", include_str!("../lua/drivers.lua")),
    ("engine", c"@gma2workers/engine.lua", include_str!("../lua/engine.lua")),
    ("failures", c"@gma2workers/failures.lua", include_str!("../lua/failures.lua")),
    ("gma2workers", c"@gma2workers/gma2workers.lua", include_str!("../lua/gma2workers.lua")),
    ("hints", c"@gma2workers/hints.lua", include_str!("../lua/hints.lua")),
    ("items", c"@gma2workers/items.lua", include_str!("../lua/items.lua")),
    ("job", c"@gma2workers/job.lua", include_str!("../lua/job.lua")),
    ("map", c"@gma2workers/map.lua", include_str!("../lua/map.lua")),
    ("map_results", c"@gma2workers/map_results.lua", include_str!("../lua/map_results.lua")),
    ("mapper", c"@gma2workers/mapper.lua", include_str!("../lua/mapper.lua")),
    ("pace", c"@gma2workers/pace.lua", include_str!("../lua/pace.lua")),
    ("progress", c"@gma2workers/progress.lua", include_str!("../lua/progress.lua")),
    ("pump", c"@gma2workers/pump.lua", include_str!("../lua/pump.lua")),
    ("report", c"@gma2workers/report.lua", include_str!("../lua/report.lua")),
    ("results", c"@gma2workers/results.lua", include_str!("../lua/results.lua")),
];

/// The key of the module table in the host's registry. All names under which the module is loaded share this table.
const MODULE: &str = "gma2workers.module";

/// The name under which the module crosses if a task has captured it.
const NAME: &str = "gma2workers";

/// `luaopen_gma2workers`. A hook may raise an error at any instruction; the host gets it, and nothing is loaded.
pub fn open(stack: &Protected) -> NativeResult {
    if state::is_worker(stack) {
        modules::push_stand_in(stack);
        return Ok(1);
    }
    error::note_panics();
    stack.push_registry();
    let registry = stack.top();
    if stack.raw_get_text(registry, MODULE) != Type::Table && !modules::push_loaded(stack) {
        build(stack)?;
        // A hook may have loaded the module meanwhile. Then all share that table.
        if stack.raw_get_text(registry, MODULE) != Type::Table {
            stack.pop(1);
            stack.push_value(-1);
            stack.raw_set_text(registry, MODULE);
        }
    }
    Ok(1)
}

/// The native functions. [`build`] adds `version` and `backend`.
fn native_calls() -> [(&'static str, NativeFunction); 31] {
    [
        ("load", native(load)),
        ("start", native(start)),
        ("wait", native(wait)),
        ("wait_for_any", native(wait_for_any)),
        ("serve", native(callbacks::serve)),
        ("progress", native(progress)),
        ("lists", native(lists)),
        ("merge", native(merge)),
        ("note_order", native(note_order)),
        ("exclusively", native(callbacks::exclusively)),
        ("call_once", native(callbacks::call_once)),
        ("call_next", native(callbacks::call_next)),
        ("entry", native(callbacks::entry)),
        ("collect", native(collect)),
        ("collect_soon", native(collect_soon)),
        ("cancel", native(cancel)),
        ("release", native(release)),
        ("read_map", native(read_map)),
        ("is_list", native(value::is_list)),
        ("check", native(check)),
        ("metatable", native(metatable)),
        ("traceback", native(traceback)),
        ("is_on_terminal", native(is_on_terminal)),
        ("check_in_task", native(gma::check)),
        ("trace", native(gma::with_traceback)),
        ("fields", native(fields::fields)),
        ("meant", native(modules::find_meant)),
        ("clock", native(stdlib::clock)),
        ("is_stopping", native(gma::is_stopping)),
        ("threads", native(threads)),
        ("lost", native(lost)),
    ]
}

/// Pushes a new module table.
fn build(stack: &Protected) -> std::result::Result<(), Exit> {
    host_standard::read(stack);
    // The first module compiles each of the others on first use: compiling all takes longer than a small job.
    load_module(stack, "gma2workers")?;
    host_standard::push_own_globals(stack);
    stack.set_upvalue(-2, 1);
    let calls = native_calls();
    stack.create_table(0, calls.len() as c_int + 2);
    stack.push_bytes(env!("CARGO_PKG_VERSION").as_bytes());
    stack.raw_set_text(-2, "version");
    stack.push_bytes(b"native");
    stack.raw_set_text(-2, "backend");
    for (name, function) in calls {
        stack.push_native(function);
        stack.raw_set_text(-2, name);
    }
    stack.create_table(0, MODULES.len() as c_int);
    stack.call(2, 1);
    name_module(stack);
    Ok(())
}

/// Names the module on top and its functions, so that a task that captured one fails with an error that says why. `clock`
/// and `isStopping` have a name already, because tasks have them too.
fn name_module(stack: &Protected) {
    let module = stack.top();
    stack.push_value(module);
    stack.push_bytes(NAME.as_bytes());
    host_standard::add(stack);
    stack.push_nil();
    while stack.next(module) {
        let key = stack.top() - 1;
        if stack.kind(-1) == Type::Function {
            stack.push_bytes(NAME.as_bytes());
            stack.push_bytes(b".");
            stack.push_value(key);
            stack.concat(3);
            host_standard::add(stack);
        } else {
            stack.pop(1);
        }
    }
}

/// `load(name, globals)`: returns the chunk of a Lua module, with these globals.
fn load(stack: &Protected) -> NativeResult {
    stack.set_top(2);
    load_module(stack, &stack.text(1))?;
    stack.push_value(2);
    stack.set_upvalue(-2, 1);
    Ok(1)
}

/// Pushes the chunk of a Lua module.
fn load_module(stack: &Stack, name: &str) -> Result<()> {
    match MODULES.iter().find(|(known, ..)| *known == name) {
        Some((_, chunk, code)) => stack.load(code.as_bytes(), chunk),
        None => Err(Error::Internal(format!("there is no module '{name}'"))),
    }
}

/// Pushes a text, in a protected call.
fn push_text(stack: &Stack, text: &[u8]) -> Result<()> {
    stack.protected(0, |stack| {
        stack.push_bytes(text);
        Ok(())
    })
}

/// Runs `body`, and returns a panic in it as an error.
fn catch_panic<R>(body: impl FnOnce() -> Result<R>) -> Result<R> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| Err(Error::panic(payload)))
}

/// `start(job, options, is_async, chunk, cancels_later)`: starts a job. Each task of a `Map` has `chunk` items. If `cancels_later`, a
/// failed task cancels those behind it in the list. Sets two fields of the
/// job's table: `id`, its number, and `total`, the number of its tasks. Returns a message if the job did not start.
fn start(stack: &Protected) -> NativeResult {
    const JOB: c_int = 1;
    const OPTIONS: c_int = 2;
    const ID: c_int = 4;
    const TOTAL: c_int = 5;
    let is_async = stack.boolean(3);
    let chunk = stack.integer(4);
    let cancels_later = stack.boolean(5);
    stack.set_top(3);
    // Both fields are created before the job starts, because setting them again allocates nothing and can't raise.
    for name in ["id", "total"] {
        stack.push_bytes(name.as_bytes());
        stack.push_value(-1);
        stack.push_boolean(false);
        stack.raw_set(JOB);
    }
    match catch_panic(|| dispatcher::start(stack, OPTIONS, is_async, chunk, cancels_later)) {
        Ok(job) => {
            for (name, value) in [(ID, job.id), (TOTAL, job.tasks.len() as u64)] {
                stack.push_value(name);
                stack.push_integer(value.cast_signed());
                stack.raw_set_existing(JOB);
            }
            Ok(0)
        }
        Err(error) => {
            push_text(stack, &error.text())?;
            Ok(1)
        }
    }
}

/// `read_map(options)`: reads the options that `Map` needs before it makes the list of tasks. Returns a message if one
/// is wrong, else nil, `chunk` or nil, whether failures are collected, and the number of workers.
fn read_map(stack: &Protected) -> NativeResult {
    match catch_panic(|| config::read_map(stack, 1)) {
        Ok(split) => {
            stack.push_nil();
            match split.chunk {
                Some(items) => stack.push_integer(items as i64),
                None => stack.push_nil(),
            }
            stack.push_boolean(split.collects);
            stack.push_integer(split.workers as i64);
            Ok(4)
        }
        Err(error) => {
            push_text(stack, &error.text())?;
            Ok(1)
        }
    }
}

/// `check(value, place, upvalues)`: see [`gma::check_with`].
fn check(stack: &Protected) -> NativeResult {
    gma::check_with(stack, &HostNames::default(), Functions::Carry)
}

/// `metatable(value)`: like `debug.getmetatable`, which a host may lack.
fn metatable(stack: &Protected) -> NativeResult {
    Ok(stack.metatable(1).into())
}

/// `traceback(text, level)`: like `debug.traceback`, which a host may lack.
fn traceback(stack: &Protected) -> NativeResult {
    stack.set_top(2);
    let level = stack.integer(2).and_then(|level| c_int::try_from(level).ok());
    stack.pop(1);
    stack.push_bytes(b"\n");
    stack.push_traceback(stack, level.unwrap_or(1));
    stack.concat(3);
    Ok(1)
}

/// `is_on_terminal()`: whether standard error is a terminal.
fn is_on_terminal(stack: &Protected) -> NativeResult {
    stack.push_boolean(std::io::stderr().is_terminal());
    Ok(1)
}

/// `wait(job, seconds)`: waits until the host has something to do for the job, for at most `seconds`. Returns three
/// booleans and a number: there is something to do; the job is finished, so every task has its outcome and every host call was
/// taken; there are results to merge; how many host calls are queued.
fn wait(stack: &Protected) -> NativeResult {
    let at_most = mailbox::seconds(stack.number(2).unwrap_or(0.0));
    let job = callbacks::job(stack)?;
    stack.push_boolean(job.as_ref().is_some_and(|job| job.mailbox.wait(at_most)));
    stack.push_boolean(job.as_ref().is_some_and(|job| job.mailbox.is_finished()));
    stack.push_boolean(job.as_ref().is_some_and(|job| job.mailbox.has_results()));
    stack.push_integer(job.map_or(0, |job| job.mailbox.queued() as i64));
    Ok(4)
}

/// `progress(job)`: returns the number of finished tasks, and of all tasks.
fn progress(stack: &Protected) -> NativeResult {
    let Some((done, total)) = callbacks::job(stack)?.map(|job| (job.done(), job.tasks.len())) else {
        return Ok(0);
    };
    stack.push_integer(done as i64);
    stack.push_integer(total as i64);
    Ok(2)
}

/// `lists(count)`: returns the two empty lists that [`merge`] fills for `count` tasks.
fn lists(stack: &Protected) -> NativeResult {
    let count = stack.integer(1).and_then(|count| usize::try_from(count).ok());
    response::push_lists(stack, count.unwrap_or(0))?;
    Ok(2)
}

/// `wait_for_any(seconds, job...)`: waits until there is something to do for one of the jobs, for at most `seconds`.
fn wait_for_any(stack: &Protected) -> NativeResult {
    let at_most = mailbox::seconds(stack.number(1).unwrap_or(0.0));
    if pool::is_forked() {
        return Err(Error::Forked.into());
    }
    let ids = (2..=stack.top()).filter_map(|index| stack.integer(index));
    let jobs: Vec<_> = ids.filter_map(|id| registry::get(id.cast_unsigned())).collect();
    let mailboxes: Vec<_> = jobs.iter().map(|job| &job.mailbox).collect();
    Mailbox::wait_for_any(&mailboxes, at_most);
    Ok(0)
}

/// `merge(job, result, failed, order, patience)`: adds the outcomes so far to the list of results and the list of failed tasks'
/// indices. May wait for so many seconds for the rest of results that come in blocks. If the job notes the order in which its tasks end, also adds those that have ended to the third list. On failure, returns a
/// message; a failed merge leaves the lists unchanged. Raises the error of a hook.
fn merge(stack: &Protected) -> NativeResult {
    let patience = mailbox::seconds(stack.number(5).unwrap_or(0.0));
    merge_with(stack, |stack, job, names| response::merge(stack, job, names, patience))
}

/// `note_order(job, result, failed, order)`: like `merge`, and from now on, the job notes the order in which its tasks end.
fn note_order(stack: &Protected) -> NativeResult {
    merge_with(stack, response::note_order)
}

fn merge_with(stack: &Protected, merge: impl Fn(&Stack, &Job, &HostNames) -> Result<()>) -> NativeResult {
    const ORDER: c_int = 2;
    let Some(job) = callbacks::job(stack)? else { return Ok(0) };
    stack.set_top(4);
    stack.insert(ORDER);
    let outcome = catch_panic(|| {
        merge(stack, &job, &HostNames::default())?;
        response::add_order(stack, &job, ORDER)
    });
    return_error(stack, outcome)
}

/// Returns the text of an error to Lua; raises the error of a hook.
fn return_error(stack: &Stack, outcome: Result<()>) -> NativeResult {
    match outcome {
        Ok(()) => Ok(0),
        Err(error) if error.is_a_hooks() => Err(Exit::RaiseBare(error)),
        Err(error) => {
            push_text(stack, &error.text())?;
            Ok(1)
        }
    }
}

/// `collect(job, table, result, failed, order)`: ends a finished job. Adds the remaining outcomes to the lists, and sets
/// `response` in the table, and `problem`, a message, if the trace could not be written. A job can't be collected twice.
/// On failure, returns a message. Raises the error of a hook; it can then be called again.
fn collect(stack: &Protected) -> NativeResult {
    const TABLE: c_int = 2;
    const RESPONSE: c_int = 3;
    const PROBLEM: c_int = 4;
    const ORDER: c_int = 5;
    if callbacks::job(stack)?.is_none() {
        return Ok(0);
    }
    stack.set_top(5);
    stack.insert(3);
    for (name, slot) in [("response", RESPONSE), ("problem", PROBLEM)] {
        stack.push_bytes(name.as_bytes());
        stack.insert(slot);
        // The field is created now, because setting an existing one allocates nothing and can't raise.
        stack.push_value(slot);
        stack.push_boolean(false);
        stack.raw_set(TABLE);
    }
    let Some(job) = callbacks::job(stack)? else { return Ok(0) };
    let collected = catch_panic(|| {
        if job.notes_order() {
            response::merge(stack, &job, &HostNames::default(), Duration::ZERO)?;
            response::add_order(stack, &job, ORDER)?;
        }
        response::collect(stack, &job, &HostNames::default())
    });
    if let Err(error) = collected {
        return return_error(stack, Err(error));
    }
    stack.pop(1);
    stack.push_value(RESPONSE);
    stack.insert(-2);
    stack.raw_set_existing(TABLE);
    if let Some(problem) = finish(&job) {
        stack.push_value(PROBLEM);
        push_text(stack, problem.as_bytes())?;
        stack.raw_set_existing(TABLE);
    }
    Ok(0)
}

/// Removes a collected job from the registry and writes its trace. Returns a message if writing failed.
fn finish(job: &Job) -> Option<String> {
    registry::remove(job.id);
    let cause = job.write_trace().err()?;
    Some(format!("option 'trace': the job is done, but its timeline can't be written: {cause}"))
}

/// How long [`collect_soon`] blocks the host.
const SOON: Duration = Duration::from_millis(1);

/// `collect_soon(job)`: if the job ends within [`SOON`] and makes no host call, returns its response and the list of its
/// failed tasks; else nothing. For jobs without a trace.
fn collect_soon(stack: &Protected) -> NativeResult {
    match callbacks::job(stack)? {
        Some(job) if job.mailbox.wait(SOON) && job.mailbox.is_finished() => {
            stack.set_top(1);
            response::push_lists(stack, job.tasks.len())?;
            response::collect(stack, &job, &HostNames::default())?;
            finish(&job);
            Ok(2)
        }
        _ => Ok(0),
    }
}

/// `cancel(job)`: stops the job's running tasks, after their grace; waiting ones never start. The job still gets a response.
fn cancel(stack: &Protected) -> NativeResult {
    if let Some(job) = callbacks::job(stack)? {
        dispatcher::cancel(&job);
    }
    Ok(0)
}

/// `release(job)`: cancels a job whose response is no longer needed.
fn release(stack: &Protected) -> NativeResult {
    let id = stack.integer(1).and_then(|id| u64::try_from(id).ok());
    if !pool::is_forked()
        && let Some(job) = id.and_then(registry::remove)
    {
        dispatcher::drop_job(&job);
        // A failure is ignored: no caller is left to get a message.
        let _ = job.write_trace();
    }
    Ok(0)
}

/// `threads()`: returns the number of the pool's threads.
fn threads(stack: &Protected) -> NativeResult {
    stack.push_integer(pool::threads() as i64);
    Ok(1)
}

/// `lost()`: returns how many threads are stuck in a task that did not stop.
fn lost(stack: &Protected) -> NativeResult {
    stack.push_integer(pool::lost() as i64);
    Ok(1)
}

#[cfg(all(test, feature = "linked"))]
mod tests {
    use super::*;
    use crate::ffi::OwnState;

    /// Loads the module as `require` does. Returns whether it is a table.
    fn load_module_table(stack: &Stack) -> Result<bool> {
        let mut is_table = false;
        let loaded = &mut is_table;
        stack.protected(0, |stack| {
            stack.push_native(native(open));
            stack.call(0, 1);
            *loaded = stack.kind(-1) == Type::Table;
            stack.set_top(0);
            Ok(())
        })?;
        Ok(is_table)
    }

    #[test]
    fn running_out_of_memory_at_any_allocation_loads_nothing() {
        for (refusals, room) in (0..).step_by(97).enumerate() {
            let state = OwnState::new(usize::MAX).expect("a state");
            let stack = state.stack();
            let opened = stack.protected(0, |stack| {
                stack.open_libraries();
                Ok(())
            });
            assert_eq!(opened, Ok(()));
            state.set_limit(state.memory() + room);
            let loaded = load_module_table(&stack);
            state.set_limit(usize::MAX);
            assert_eq!(load_module_table(&stack), Ok(true), "with {room} bytes: {loaded:?}");
            match loaded {
                Ok(is_table) => {
                    assert!(is_table && refusals > 100, "{refusals}");
                    break;
                }
                Err(error) => assert!(error.to_string().ends_with("not enough memory"), "{error}"),
            }
        }
    }
}
