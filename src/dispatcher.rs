//! Starts a job: from the options to workers that run.
//!
//! Host side. An error means that nothing was started.

use std::sync::Arc;
use std::time::Instant;

use mlua::{Lua, Table, Value};

use crate::codec::GMA;
use crate::config::{self, Config};
use crate::encode::encode;
use crate::error::{Error, Result};
use crate::executor;
use crate::fault;
use crate::ffi::{self, Stack, Type};
use crate::host::HostNames;
use crate::job::{Job, Parts};
use crate::names::NameMap;
use crate::policy::{Functions, Policy};
use crate::pool;
use crate::registry;
use crate::state::Environment;
use crate::tasks::TaskReader;
use crate::trace::Trace;
use crate::watchdog;

/// Reads and checks everything, then starts the job's workers.
pub fn start(lua: &Lua, standard: &NameMap, options: &Table, is_async: bool) -> Result<Arc<Job>> {
    if pool::is_forked() {
        return Err(Error::Forked);
    }
    fault::point("start")?;
    let started = Instant::now();
    let config = config::read(lua, options, is_async)?;
    let names = HostNames::new(standard);
    let mut environment =
        Environment { sandbox: config.sandbox, memory_limit: config.memory_limit, ..Environment::default() };
    let mut reader = TaskReader::new(&names, config.upvalues);
    ffi::with_stack(lua, &config.tasks, |stack| {
        read_host(stack, &names, &mut environment)?;
        reader.read(stack)
    })?;
    if !config.globals.is_empty() {
        environment.globals = Some(read_globals(lua, &names, &config)?);
    }

    let TaskReader { functions, tasks, .. } = reader;
    environment.functions = functions;
    let workers = config.workers.min(tasks.len());
    let trace = config.trace.as_deref().map(|path| create_trace(path, started)).transpose()?;
    let Config { mode, upvalues, timeout, .. } = config;
    let parts = Parts { mode, upvalues, environment, tasks, started, timeout, trace };
    let job = Arc::new(Job::new(parts, workers));
    if workers == 0 {
        job.mailbox.finish();
    } else {
        // What this thread keeps for itself takes memory, which tasks may have taken soon.
        ffi::forget_message();
        watchdog::start()?;
        if timeout.is_some() {
            watchdog::watch(&job);
        }
        executor::start(&job, workers)?;
        watchdog::watch_threads();
    }
    registry::insert(&job);
    Ok(job)
}

/// The timeline of a job, whose tasks were read since it was started.
fn create_trace(path: &str, started: Instant) -> Result<Arc<Trace>> {
    let trace = Trace::create(path, started).map_err(|cause| {
        Error::option("trace", format!("names a file that can't be written, \"{path}\": {cause}"))
    })?;
    trace.host_did("read tasks");
    Ok(Arc::new(trace))
}

/// Stops a job's tasks: those that run, and those that have not begun. Those that don't stop are given up.
pub fn cancel(job: &Arc<Job>) {
    job.cancel();
    watchdog::watch(job);
}

/// Reads what all of the host's jobs have in common: its module paths, and the shape of its `gma`. *Raises.*
fn read_host(stack: &Stack, names: &HostNames, environment: &mut Environment) -> Result<()> {
    let top = stack.top();
    stack.push_globals();
    if stack.raw_get_text(top + 1, "package") == Type::Table {
        stack.raw_get_text(top + 2, "path");
        stack.raw_get_text(top + 2, "cpath");
        environment.path.extend_from_slice(stack.bytes(top + 3));
        environment.cpath.extend_from_slice(stack.bytes(top + 4));
    }
    stack.set_top(top + 1);
    if stack.raw_get_text(top + 1, GMA) == Type::Table {
        let place = |_, path: &str| format!("{GMA}{path}");
        let policy = Policy { names, functions: Functions::Shape, place: &place };
        encode(stack, 1, environment.gma.get_or_insert_default(), &policy)?;
    }
    stack.set_top(top);
    Ok(())
}

/// The host's global that a name looks like a slip of.
fn nearest_global(lua: &Lua, name: &str) -> Option<String> {
    let table = lua.globals();
    let names = table.pairs::<Value, Value>().filter_map(|pair| match pair.ok()?.0 {
        Value::String(global) => Some(global.to_str().ok()?.to_owned()),
        _ => None,
    });
    let globals: Vec<String> = names.collect();
    let known: Vec<&str> = globals.iter().map(String::as_str).collect();
    config::nearest(name, &known).map(str::to_owned)
}

/// The host's globals that the job asks for, as one table in one message.
fn read_globals(lua: &Lua, names: &HostNames, config: &Config) -> Result<Vec<u8>> {
    let internal = |cause: mlua::Error| Error::Internal(cause.to_string());
    let copies = lua.create_table().map_err(internal)?;
    for (index, name) in config.globals.iter().enumerate() {
        let value: Value = lua.globals().raw_get(name.as_str()).map_err(internal)?;
        if value.is_nil() {
            let place = format!("option 'globals'[{}]", index + 1);
            let advice = match nearest_global(lua, name) {
                Some(meant) => format!("did you mean '{meant}'?"),
                None => "a local is passed in args".to_owned(),
            };
            let problem = format!("names no global of the host: '{name}': {advice}");
            return Err(Error::BadConfig { place, problem });
        }
        copies.raw_set(name.as_str(), value).map_err(internal)?;
    }
    let mut message = Vec::new();
    let place = |_, path: &str| format!("globals{path}");
    let policy = Policy { names, functions: Functions::Carry(config.upvalues), place: &place };
    ffi::with_stack(lua, copies, |stack| encode(stack, 1, &mut message, &policy))
        .map_err(|cause| Error::option("globals", format!("holds what cannot cross: {cause}")))?;
    Ok(message)
}
