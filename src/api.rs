//! What Lua sees: the module table, made of the embedded Lua side over a few native calls.
//!
//! The native calls, in a table that only `lua/*.lua` gets, are plain functions that don't block for
//! long and know a job by its number. `start` gives a message instead of raising, so that the Lua side raises at the
//! caller's line.

use std::ffi::{CStr, c_int};
use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::config;
use crate::dispatcher;
use crate::entry;
use crate::error::{self, Error, Result};
use crate::ffi::{Exit, NativeFunction, NativeResult, Protected, Stack, Type, native};
use crate::gma;
use crate::host::HostNames;
use crate::hostcall;
use crate::job::Job;
use crate::modules;
use crate::names;
use crate::pool;
use crate::registry;
use crate::response;
use crate::state;
use crate::stdlib;

/// The Lua side: the name of each module, its chunk's, and its code. A chunk gets the native calls and the table of all
/// modules, and returns its own table.
const MODULES: [(&str, &CStr, &str); 9] = [
    ("arguments", c"@gma2workers/arguments.lua", include_str!("../lua/arguments.lua")),
    ("async", c"@gma2workers/async.lua", include_str!("../lua/async.lua")),
    ("drivers", c"@gma2workers/drivers.lua", include_str!("../lua/drivers.lua")),
    ("gma2workers", c"@gma2workers/gma2workers.lua", include_str!("../lua/gma2workers.lua")),
    ("hints", c"@gma2workers/hints.lua", include_str!("../lua/hints.lua")),
    ("job", c"@gma2workers/job.lua", include_str!("../lua/job.lua")),
    ("map", c"@gma2workers/map.lua", include_str!("../lua/map.lua")),
    ("progress", c"@gma2workers/progress.lua", include_str!("../lua/progress.lua")),
    ("pump", c"@gma2workers/pump.lua", include_str!("../lua/pump.lua")),
];

/// Where the host's registry keeps the module table, which every name that loads it gets.
const MODULE: &str = "gma2workers.module";

/// What the module is called where a task has captured it.
const NAME: &str = "gma2workers";

/// `luaopen_gma2workers`. An error may come at any instruction of it: it is the host's, and nothing is loaded then.
pub fn open(stack: &Protected) -> NativeResult {
    if state::is_worker(stack) {
        modules::push_stand_in(stack);
        return Ok(1);
    }
    error::note_panics();
    stack.push_registry();
    let registry = stack.top();
    if stack.raw_get_text(registry, MODULE) != Type::Table {
        build(stack)?;
        // A hook may have loaded it meanwhile; there is one for all.
        if stack.raw_get_text(registry, MODULE) != Type::Table {
            stack.pop(1);
            stack.push_value(-1);
            stack.raw_set_text(registry, MODULE);
        }
    }
    Ok(1)
}

/// The native calls; beside them there are `version`, `backend`, and `entry_levels`, how many levels of the call stack an
/// [`entry::entry`] takes.
fn native_calls() -> [(&'static str, NativeFunction); 25] {
    [
        ("load", native(load)),
        ("start", native(start)),
        ("wait", native(wait)),
        ("serve", native(entry::serve)),
        ("progress", native(progress)),
        ("lists", native(lists)),
        ("merge", native(merge)),
        ("exclusively", native(entry::exclusively)),
        ("call_once", native(entry::call_once)),
        ("entry", native(entry::entry)),
        ("collect", native(collect)),
        ("collect_soon", native(collect_soon)),
        ("cancel", native(cancel)),
        ("release", native(release)),
        ("read_map", native(read_map)),
        ("is_list", native(is_list)),
        ("check", native(check)),
        ("metatable", native(metatable)),
        ("traceback", native(traceback)),
        ("is_on_terminal", native(is_on_terminal)),
        ("check_in_task", native(gma::check)),
        ("trace", native(gma::trace)),
        ("clock", native(stdlib::clock)),
        ("threads", native(threads)),
        ("lost", native(lost)),
    ]
}

/// Pushes a new module table. *Raises.*
fn build(stack: &Protected) -> std::result::Result<(), Exit> {
    names::read_standard(stack, gma::own());
    // The first module has the others compiled where they are first asked for: that takes longer than a small job does.
    load_module(stack, b"gma2workers")?;
    names::push_own_globals(stack);
    stack.set_upvalue(-2, 1);
    let calls = native_calls();
    stack.create_table(0, calls.len() as c_int + 3);
    stack.push_bytes(env!("CARGO_PKG_VERSION").as_bytes());
    stack.raw_set_text(-2, "version");
    stack.push_bytes(b"native");
    stack.raw_set_text(-2, "backend");
    stack.push_integer(1);
    stack.raw_set_text(-2, "entry_levels");
    for (name, function) in calls {
        stack.push_native(function);
        stack.raw_set_text(-2, name);
    }
    stack.create_table(0, MODULES.len() as c_int);
    stack.call(2, 1);
    name_module(stack);
    Ok(())
}

/// Names the module on top and its functions, so that a task that has captured one is told that it is not there. Its
/// `clock` has a name already, and is. *Raises.*
fn name_module(stack: &Protected) {
    let module = stack.top();
    stack.push_value(module);
    stack.push_bytes(NAME.as_bytes());
    names::add_standard(stack);
    stack.push_nil();
    while stack.next(module) {
        let key = stack.top() - 1;
        if stack.kind(-1) == Type::Function && stack.bytes(key) != b"Dispatch" {
            stack.push_bytes(NAME.as_bytes());
            stack.push_bytes(b".");
            stack.push_value(key);
            stack.concat(3);
            names::add_standard(stack);
        } else {
            stack.pop(1);
        }
    }
}

/// `load(name, globals)`: the chunk of a module of the Lua side, with these globals.
fn load(stack: &Protected) -> NativeResult {
    stack.set_top(2);
    load_module(stack, stack.bytes(1))?;
    stack.push_value(2);
    stack.set_upvalue(-2, 1);
    Ok(1)
}

/// Pushes the chunk of a module of the Lua side. *Raises.*
fn load_module(stack: &Stack, name: &[u8]) -> Result<()> {
    match MODULES.iter().find(|(known, ..)| known.as_bytes() == name) {
        Some((_, chunk, code)) => stack.load(code.as_bytes(), chunk),
        None => Err(Error::Internal(format!("there is no module '{}'", String::from_utf8_lossy(name)))),
    }
}

/// Pushes a text of ours, in a protected call.
fn push_text(stack: &Stack, text: &[u8]) -> Result<()> {
    stack.protected(0, |stack| {
        stack.push_bytes(text);
        Ok(())
    })
}

/// Runs `body`; a panic in it is its error.
fn guarded<R>(body: impl FnOnce() -> Result<R>) -> Result<R> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| Err(Error::panic(payload)))
}

/// `start(job, options, is_async)`: gives the job's table the number of the started job, as `id`, and that of its tasks,
/// as `total`; returns what is wrong where it did not start.
fn start(stack: &Protected) -> NativeResult {
    const JOB: c_int = 1;
    const OPTIONS: c_int = 2;
    const ID: c_int = 4;
    const TOTAL: c_int = 5;
    let is_async = stack.boolean(3);
    stack.set_top(3);
    // There is room for both before anything runs: from then on, nothing is raised.
    for name in ["id", "total"] {
        stack.push_bytes(name.as_bytes());
        stack.push_value(-1);
        stack.push_boolean(false);
        stack.raw_set(JOB);
    }
    match guarded(|| dispatcher::start(stack, OPTIONS, is_async)) {
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

/// `read_map(options)`: what `Map` has to know before it has a list of tasks. Returns what is wrong; or nil, `chunk` where
/// it is given, whether all failures are collected, and how many workers there are to be.
fn read_map(stack: &Protected) -> NativeResult {
    match guarded(|| config::read_map(stack, 1)) {
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

/// `is_list(table, count)`: whether all that the table has are values from 1 to that number, without a hole.
fn is_list(stack: &Protected) -> NativeResult {
    let count = stack.integer(2).unwrap_or(0);
    let mut found = 0;
    stack.push_nil();
    while stack.next(1) {
        if !stack.whole(-2).is_some_and(|key| (1..=count).contains(&key)) {
            stack.push_boolean(false);
            return Ok(1);
        }
        found += 1;
        stack.pop(1);
    }
    stack.push_boolean(found == count);
    Ok(1)
}

/// `check(value, place, copies)`: raises where the value, which stands at that place, can't cross.
fn check(stack: &Protected) -> NativeResult {
    Ok(gma::check_value(stack, &HostNames::default()).map(|()| 0)?)
}

/// `metatable(value)`: as `debug.getmetatable`, which a host may lack.
fn metatable(stack: &Protected) -> NativeResult {
    Ok(stack.metatable(1).into())
}

/// `traceback(text, level)`: as `debug.traceback`, which a host may lack.
fn traceback(stack: &Protected) -> NativeResult {
    stack.set_top(2);
    let level = stack.integer(2).and_then(|level| c_int::try_from(level).ok());
    stack.pop(1);
    stack.push_bytes(b"\n");
    stack.push_traceback(stack, level.unwrap_or(1));
    stack.concat(3);
    Ok(1)
}

/// `is_on_terminal()`: whether people see what is written to the standard error.
fn is_on_terminal(stack: &Protected) -> NativeResult {
    stack.push_boolean(std::io::stderr().is_terminal());
    Ok(1)
}

/// `wait(job, seconds)`: whether there is something to do, as soon as there is; whether that is the end: every task has
/// its outcome, and every host call was taken; and whether there are results to merge before that.
fn wait(stack: &Protected) -> NativeResult {
    let at_most = hostcall::seconds(stack.number(2).unwrap_or(0.0));
    let job = entry::job(stack)?;
    stack.push_boolean(job.as_ref().is_some_and(|job| job.mailbox.wait(at_most)));
    stack.push_boolean(job.as_ref().is_some_and(|job| job.mailbox.is_finished()));
    stack.push_boolean(job.is_some_and(|job| job.mailbox.has_results()));
    Ok(3)
}

/// `progress(job)`: how many tasks are done, and how many there are.
fn progress(stack: &Protected) -> NativeResult {
    let Some((done, total)) = entry::job(stack)?.map(|job| (job.done(), job.tasks.len())) else {
        return Ok(0);
    };
    stack.push_integer(done as i64);
    stack.push_integer(total as i64);
    Ok(2)
}

/// `lists(count)`: the list of results of so many tasks, and that of the indices of the failed ones, both empty.
fn lists(stack: &Protected) -> NativeResult {
    let count = stack.integer(1).and_then(|count| usize::try_from(count).ok());
    response::push_lists(stack, count.unwrap_or(0))?;
    Ok(2)
}

/// `merge(job, result, failed)`: fills the outcomes that there are by now into both lists. Returns why it could not, and they
/// are as they were. An error is the host's own.
fn merge(stack: &Protected) -> NativeResult {
    let Some(job) = entry::job(stack)? else { return Ok(0) };
    stack.set_top(3);
    told(stack, guarded(|| response::merge(stack, &job, &HostNames::default())))
}

/// Returns the text of an error, but for a hook's, which is raised.
fn told(stack: &Stack, outcome: Result<()>) -> NativeResult {
    match outcome {
        Ok(()) => Ok(0),
        Err(error) if error.is_a_hooks() => Err(Exit::RaiseBare(error)),
        Err(error) => {
            push_text(stack, &error.text())?;
            Ok(1)
        }
    }
}

/// `collect(job, table, result, failed)`: fills what is missing into both lists, and gives the table the response with that
/// list of results, as `response`, and why its trace could not be written, where that is so, as `problem`. The job is over
/// then, and nobody else can collect it. Returns why it could not be done. An error is the host's own, and then it can be done
/// again.
fn collect(stack: &Protected) -> NativeResult {
    const TABLE: c_int = 2;
    const RESPONSE: c_int = 3;
    const PROBLEM: c_int = 4;
    if entry::job(stack)?.is_none() {
        return Ok(0);
    }
    stack.set_top(4);
    for (name, slot) in [("response", RESPONSE), ("problem", PROBLEM)] {
        stack.push_bytes(name.as_bytes());
        stack.insert(slot);
        // It takes no memory, and so raises nothing, to set a field again.
        stack.push_value(slot);
        stack.push_boolean(false);
        stack.raw_set(TABLE);
    }
    let Some(job) = entry::job(stack)? else { return Ok(0) };
    if let Err(error) = guarded(|| response::collect(stack, &job, &HostNames::default())) {
        return told(stack, Err(error));
    }
    stack.pop(1);
    stack.push_value(RESPONSE);
    stack.insert(-2);
    stack.raw_set_existing(TABLE);
    if let Some(problem) = end(&job) {
        stack.push_value(PROBLEM);
        push_text(stack, problem.as_bytes())?;
        stack.raw_set_existing(TABLE);
    }
    Ok(0)
}

/// Takes a collected job off the list. Gives why its trace could not be written, where that is so.
fn end(job: &Job) -> Option<String> {
    registry::remove(job.id);
    let cause = job.write_trace().err()?;
    Some(format!("option 'trace': the job is done, but its timeline can't be written: {cause}"))
}

/// How long a job may take that is waited for without a pump.
const SOON: Duration = Duration::from_millis(1);

/// `collect_soon(job)`: the response of a job without a trace, and the list of its failed tasks, where it is over soon and
/// calls nothing of the host's; nothing where it is not.
fn collect_soon(stack: &Protected) -> NativeResult {
    match entry::job(stack)? {
        Some(job) if job.mailbox.wait(SOON) && job.mailbox.is_finished() => {
            stack.set_top(1);
            response::push_lists(stack, job.tasks.len())?;
            response::collect(stack, &job, &HostNames::default())?;
            end(&job);
            Ok(2)
        }
        _ => Ok(0),
    }
}

/// `cancel(job)`: its tasks are stopped, or never begin; it still ends with an outcome.
fn cancel(stack: &Protected) -> NativeResult {
    if let Some(job) = entry::job(stack)? {
        dispatcher::cancel(&job);
    }
    Ok(0)
}

/// `release(job)`: nobody wants the job's outcome any more.
fn release(stack: &Protected) -> NativeResult {
    let id = stack.integer(1).and_then(|id| u64::try_from(id).ok());
    if !pool::is_forked()
        && let Some(job) = id.and_then(registry::remove)
    {
        dispatcher::cancel(&job);
        // Nobody is there to hear that it can't be written.
        let _ = job.write_trace();
    }
    Ok(0)
}

/// `threads()`: how many the pool has.
fn threads(stack: &Protected) -> NativeResult {
    stack.push_integer(pool::threads() as i64);
    Ok(1)
}

/// `lost()`: how many of them are held by a task that was given up.
fn lost(stack: &Protected) -> NativeResult {
    stack.push_integer(pool::lost() as i64);
    Ok(1)
}

#[cfg(all(test, feature = "linked"))]
mod tests {
    use super::*;
    use crate::ffi::OwnState;

    /// Loads the module as `require` does, and says whether it is a table.
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
    fn memory_that_runs_out_at_any_allocation_leaves_nothing_loaded() {
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
