//! What Lua sees: the module table, made of the embedded Lua side over a few native calls.
//!
//! The native calls, in a table that only `lua/*.lua` gets, are plain functions that don't block for
//! long and know a job by its number. `start` gives a message instead of raising, so that the Lua side raises at the
//! caller's line.

use std::ffi::CStr;
use std::io::IsTerminal;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mlua::{Function, Lua, LuaString, Table, Value};

use crate::config;
use crate::dispatcher;
use crate::error::{self, Error, Result};
use crate::ffi::{self, Returns, Stack};
use crate::gma;
use crate::host::{self, HostNames};
use crate::job::Job;
use crate::modules;
use crate::names::{self, NameMap};
use crate::pool;
use crate::registry;
use crate::response;
use crate::state;
use crate::stdlib;

/// The host's standard library by identity, as it was when the module was loaded.
struct Standard(Rc<NameMap>);

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

/// `luaopen_gma2workers`.
pub fn open(stack: &Stack) -> Returns {
    if state::is_worker(stack) {
        modules::push_stand_in(stack);
        return Ok(1);
    }
    error::note_panics();
    let lua = stack.mlua();
    if let Err(cause) = build(lua) {
        return Err(Error::Internal(cause.to_string()).into());
    }
    stack.push_registry();
    stack.raw_get_text(-1, MODULE);
    Ok(1)
}

/// Builds the module table, once for a host's state.
fn build(lua: &Lua) -> mlua::Result<()> {
    if lua.named_registry_value::<Value>(MODULE)?.is_table() {
        return Ok(());
    }
    let mut standard = NameMap::default();
    let _: Result<()> = ffi::with_stack(lua, (), |stack| {
        names::read_standard(stack, gma::own(), &mut standard);
        Ok(())
    });
    let core = lua.create_table()?;
    core.raw_set("version", env!("CARGO_PKG_VERSION"))?;
    core.raw_set("backend", "native")?;
    core.raw_set("load", ffi::function(lua, load)?)?;
    core.raw_set("start", lua.create_function(start)?)?;
    core.raw_set("wait", ffi::function(lua, wait)?)?;
    core.raw_set("next_call", ffi::function(lua, next_call)?)?;
    core.raw_set("answer", ffi::function(lua, answer)?)?;
    core.raw_set("progress", ffi::function(lua, progress)?)?;
    core.raw_set("lists", ffi::function(lua, lists)?)?;
    core.raw_set("merge", ffi::function(lua, merge)?)?;
    core.raw_set("collect", ffi::function(lua, collect)?)?;
    core.raw_set("collect_soon", ffi::function(lua, collect_soon)?)?;
    core.raw_set("cancel", ffi::function(lua, cancel)?)?;
    core.raw_set("release", ffi::function(lua, release)?)?;
    core.raw_set("read_map", lua.create_function(read_map)?)?;
    core.raw_set("check", ffi::function(lua, check)?)?;
    core.raw_set("is_on_terminal", ffi::function(lua, is_on_terminal)?)?;
    core.raw_set("check_in_task", ffi::function(lua, gma::check)?)?;
    core.raw_set("trace", ffi::function(lua, gma::trace)?)?;
    core.raw_set("clock", ffi::function(lua, stdlib::clock)?)?;
    core.raw_set("threads", ffi::function(lua, threads)?)?;
    core.raw_set("lost", ffi::function(lua, lost)?)?;

    // The first module has the others compiled where they are first asked for: that takes longer than a small job does.
    let modules = lua.create_table()?;
    let entry: Function = core.raw_get::<Function>("load")?.call("gma2workers")?;
    let module: Table = entry.call((core, modules))?;
    name_module(&module, &mut standard)?;
    lua.set_app_data(Standard(Rc::new(standard)));
    lua.set_named_registry_value(MODULE, module)
}

/// Names the module and its functions, so that a task that has captured one is told that it is not there. Its `clock` has a
/// name already, and is.
fn name_module(module: &Table, names: &mut NameMap) -> mlua::Result<()> {
    names.insert(module.to_pointer() as usize, NAME.into());
    for pair in module.pairs::<String, Value>() {
        let (key, value) = pair?;
        if value.is_function() && key != "Dispatch" {
            names.entry(value.to_pointer() as usize).or_insert_with(|| format!("{NAME}.{key}").into());
        }
    }
    Ok(())
}

/// `load(name)`: the chunk of a module of the Lua side.
fn load(stack: &Stack) -> Returns {
    let name = stack.bytes(1);
    if let Some((_, chunk, code)) = MODULES.iter().find(|(known, ..)| known.as_bytes() == name) {
        stack.load(code.as_bytes(), chunk)?;
        return Ok(1);
    }
    Err(Error::Internal(format!("there is no module '{}'", String::from_utf8_lossy(name))).into())
}

/// `start(job, options, is_async)`: gives the job's table the number of the started job, as `id`, and that of its tasks,
/// as `total`; returns what is wrong where it did not start.
fn start(lua: &Lua, (table, options, is_async): (Table, Table, bool)) -> mlua::Result<Option<LuaString>> {
    // There is room for both before anything runs.
    table.raw_set("id", false)?;
    table.raw_set("total", false)?;
    let standard = lua.app_data_ref::<Standard>().map(|standard| Rc::clone(&standard.0)).unwrap_or_default();
    let started = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        dispatcher::start(lua, &standard, &options, is_async)
    }));
    match started.unwrap_or_else(|payload| Err(Error::panic(payload))) {
        Ok(job) => {
            table.raw_set("id", job.id)?;
            table.raw_set("total", job.tasks.len())?;
            Ok(None)
        }
        Err(error) => Ok(Some(lua.create_string(error.text())?)),
    }
}

/// What `read_map` gives: what is wrong; or nothing, and `chunk` where it is given, whether all failures are collected, and
/// how many workers there are to be.
type MapOptions = (Option<LuaString>, Option<usize>, bool, usize);

/// `read_map(options)`: what `Map` has to know before it has a list of tasks.
fn read_map(lua: &Lua, options: Table) -> mlua::Result<MapOptions> {
    match config::read_map(lua, &options) {
        Ok(split) => Ok((None, split.chunk, split.collects, split.workers)),
        Err(error) => Ok((Some(lua.create_string(error.text())?), None, false, 0)),
    }
}

/// `check(value, place, copies)`: raises where the value, which stands at that place, can't cross.
fn check(stack: &Stack) -> Returns {
    Ok(with_names(stack, |names| gma::check_value(stack, names)).map(|()| 0)?)
}

/// `is_on_terminal()`: whether people see what is written to the standard error.
fn is_on_terminal(stack: &Stack) -> Returns {
    stack.push_boolean(std::io::stderr().is_terminal());
    Ok(1)
}

/// The job whose number is the first argument; none where it is over, which another pump may have seen to.
fn job(stack: &Stack) -> Result<Option<Arc<Job>>> {
    if pool::is_forked() {
        return Err(Error::Forked);
    }
    let id = stack.integer(1).and_then(|id| u64::try_from(id).ok());
    Ok(id.and_then(registry::get))
}

/// Runs `body` with the names of the host's things.
fn with_names<R>(stack: &Stack, body: impl FnOnce(&HostNames) -> R) -> R {
    let standard = stack.mlua().app_data_ref::<Standard>().map(|standard| Rc::clone(&standard.0));
    body(&HostNames::new(&standard.unwrap_or_default()))
}

/// `wait(job, seconds)`: whether there is something to do, as soon as there is; whether that is the end: every task has
/// its outcome, and every host call was taken; and whether there are results to merge before that.
fn wait(stack: &Stack) -> Returns {
    let seconds = stack.number(2).unwrap_or(0.0);
    let at_most = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let job = job(stack)?;
    stack.push_boolean(job.as_ref().is_some_and(|job| job.mailbox.wait(at_most)));
    stack.push_boolean(job.as_ref().is_some_and(|job| job.mailbox.is_finished()));
    stack.push_boolean(job.is_some_and(|job| job.mailbox.has_results()));
    Ok(3)
}

/// `next_call(job)`: ticket, function, name, arguments of the next host call, or nothing.
fn next_call(stack: &Stack) -> Returns {
    let Some(job) = job(stack)? else { return Ok(0) };
    Ok(with_names(stack, |names| host::next_call(stack, &job, names))?)
}

/// `answer(job, ticket, name, returned, ...)`.
fn answer(stack: &Stack) -> Returns {
    let Some(job) = job(stack)? else { return Ok(0) };
    let ticket = stack.integer(2).unwrap_or(0).unsigned_abs();
    let name = String::from_utf8_lossy(stack.bytes(3)).into_owned();
    let returned = stack.boolean(4);
    with_names(stack, |names| host::answer(stack, &job, names, ticket, &name, returned, 5))?;
    Ok(0)
}

/// `progress(job)`: how many tasks are done, and how many there are.
fn progress(stack: &Stack) -> Returns {
    let Some((done, total)) = job(stack)?.map(|job| (job.done(), job.tasks.len())) else { return Ok(0) };
    stack.push_integer(done as i64);
    stack.push_integer(total as i64);
    Ok(2)
}

/// `lists(count)`: the list of results of so many tasks, and that of the indices of the failed ones, both empty.
fn lists(stack: &Stack) -> Returns {
    let count = stack.integer(1).and_then(|count| usize::try_from(count).ok());
    response::push_lists(stack, count.unwrap_or(0))?;
    Ok(2)
}

/// `merge(job, result, failed)`: fills the outcomes that there are by now into both lists.
fn merge(stack: &Stack) -> Returns {
    let Some(job) = job(stack)? else { return Ok(0) };
    stack.set_top(3);
    with_names(stack, |names| response::merge(stack, &job, names))?;
    Ok(0)
}

/// `collect(job, result, failed)`: the response with that list of results, when what is missing was filled into it, and
/// the other list; and why its trace could not be written, where that is so. The job is over then, and nobody else can
/// collect it.
fn collect(stack: &Stack) -> Returns {
    let Some(job) = job(stack)? else { return Ok(0) };
    registry::remove(job.id);
    stack.set_top(3);
    with_names(stack, |names| response::collect(stack, &job, names))?;
    if let Err(cause) = job.write_trace() {
        let text = format!("option 'trace': the job is done, but its timeline can't be written: {cause}");
        stack.protected(0, |stack| {
            stack.push_bytes(text.as_bytes());
            Ok(())
        })?;
        return Ok(3);
    }
    Ok(2)
}

/// How long a job may take that is waited for without a pump.
const SOON: Duration = Duration::from_millis(1);

/// `collect_soon(job)`: as `collect`, into new lists, where the job is over soon and calls nothing of the host's; nothing
/// where it is not.
fn collect_soon(stack: &Stack) -> Returns {
    match job(stack)? {
        Some(job) if job.mailbox.wait(SOON) && job.mailbox.is_finished() => {
            stack.set_top(1);
            response::push_lists(stack, job.tasks.len())?;
            collect(stack)
        }
        _ => Ok(0),
    }
}

/// `cancel(job)`: its tasks are stopped, or never begin; it still ends with an outcome.
fn cancel(stack: &Stack) -> Returns {
    if let Some(job) = job(stack)? {
        dispatcher::cancel(&job)?;
    }
    Ok(0)
}

/// `release(job)`: nobody wants the job's outcome any more.
fn release(stack: &Stack) -> Returns {
    let id = stack.integer(1).and_then(|id| u64::try_from(id).ok());
    if !pool::is_forked()
        && let Some(job) = id.and_then(registry::remove)
    {
        job.cancel();
        // Nobody is there to hear that it can't be written.
        let _ = job.write_trace();
    }
    Ok(0)
}

/// `threads()`: how many the pool has.
fn threads(stack: &Stack) -> Returns {
    stack.push_integer(pool::threads() as i64);
    Ok(1)
}

/// `lost()`: how many of them are held by a task that was given up.
fn lost(stack: &Stack) -> Returns {
    stack.push_integer(pool::lost() as i64);
    Ok(1)
}
