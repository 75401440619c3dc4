//! Starts a job: from the options to workers that run.
//!
//! Host side. An error means that nothing was started.

use std::ffi::c_int;
use std::sync::Arc;
use std::time::Instant;

use crate::codec::{Functions, GMA, Policy, encode};
use crate::config::{self, Config};
use crate::error::{Error, Result};
use crate::executor;
use crate::fault;
use crate::ffi::{self, Protected, Stack, Type};
use crate::host::{self, HostNames};
use crate::job::{Job, Parts};
use crate::modules::HostModules;
use crate::names;
use crate::pool;
use crate::registry;
use crate::state::Environment;
use crate::tasks::TaskReader;
use crate::trace::Trace;
use crate::watchdog;

/// Reads and checks everything, then starts the job's workers. The options are the table at that index.
pub fn start(stack: &Stack, options: c_int, is_async: bool) -> Result<Arc<Job>> {
    if pool::is_forked() {
        return Err(Error::Forked);
    }
    fault::point("start")?;
    let started = Instant::now();
    let config = config::read(stack, options, is_async)?;
    let names = HostNames::default();
    let mut environment =
        Environment { sandbox: config.sandbox, memory_limit: config.memory_limit, ..Environment::default() };
    let mut modules = HostModules::default();
    let (read, found) = (&mut environment, &mut modules);
    stack.protected(0, |stack| {
        read_host(stack, &names, read)?;
        host::read_modules(stack, found);
        Ok(())
    })?;
    let mut reader = TaskReader::new(&names, config.upvalues);
    stack.push_value(config.tasks);
    reader.read(stack)?;
    if !config.globals.is_empty() {
        environment.globals = Some(read_globals(stack, &names, &config)?);
    }

    let TaskReader { functions, tasks, .. } = reader;
    environment.functions = functions;
    environment.modules = Arc::new(modules);
    let workers = config.workers.min(tasks.len());
    let trace = config.trace.as_deref().map(|path| create_trace(path, started)).transpose()?;
    let Config { mode, upvalues, timeout, .. } = config;
    let parts = Parts { mode, upvalues, environment, tasks, started, timeout, trace };
    let job = Arc::new(Job::new(parts, workers));
    if workers == 0 {
        job.mailbox.finish();
    } else {
        // What this thread keeps for itself takes memory, which tasks may have taken soon.
        ffi::clear_message();
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
fn read_host(stack: &Protected, names: &HostNames, environment: &mut Environment) -> Result<()> {
    let top = stack.top();
    if names::push_kept(stack, "package") == Type::Table {
        stack.raw_get_text(top + 1, "path");
        stack.raw_get_text(top + 1, "cpath");
        environment.path.extend_from_slice(stack.bytes(top + 2));
        environment.cpath.extend_from_slice(stack.bytes(top + 3));
    }
    stack.set_top(top);
    stack.push_globals();
    if stack.raw_get_text(top + 1, GMA) == Type::Table {
        let place = |_, path: &str| format!("{GMA}{path}");
        let policy = Policy { names, functions: Functions::Shape, place: &place };
        encode(stack, 1, environment.gma.get_or_insert_default(), &policy)?;
    }
    stack.set_top(top);
    Ok(())
}

/// The host's global that a name looks like a slip of. They stand at that index.
fn nearest_global(stack: &Stack, globals: c_int, name: &str) -> Option<String> {
    let mut known = Vec::new();
    stack.push_nil();
    while stack.next(globals) {
        if stack.kind(-2) == Type::String {
            known.extend(std::str::from_utf8(stack.bytes(-2)).map(str::to_owned));
        }
        stack.pop(1);
    }
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    config::nearest(name, &known).map(str::to_owned)
}

/// The host's globals that the job asks for, as one table in one message.
fn read_globals(stack: &Stack, names: &HostNames, config: &Config) -> Result<Vec<u8>> {
    let mut message = Vec::new();
    let place = |_, path: &str| format!("globals{path}");
    let policy = Policy { names, functions: Functions::Carry(config.upvalues), place: &place };
    stack.protected(0, |stack| collect_globals(stack, &config.globals))?;
    encode(stack, 1, &mut message, &policy).map_err(|cause| match cause.is_a_hooks() {
        true => cause,
        false => Error::option("globals", format!("holds what cannot cross: {cause}")),
    })?;
    Ok(message)
}

/// Pushes a table with the globals of these names. *Raises.*
fn collect_globals(stack: &Protected, names: &[String]) -> Result<()> {
    let (copies, globals) = (1, 2);
    stack.create_table(0, names.len() as c_int);
    stack.push_globals();
    for (index, name) in names.iter().enumerate() {
        if stack.raw_get_text(globals, name) == Type::Nil {
            let place = format!("option 'globals'[{}]", index + 1);
            let advice = match nearest_global(stack, globals, name) {
                Some(meant) => format!("did you mean '{meant}'?"),
                None => "a local is passed in args".to_owned(),
            };
            let problem = format!("names no global of the host: '{name}': {advice}");
            return Err(Error::BadConfig { place, problem });
        }
        stack.raw_set_text(copies, name);
    }
    stack.set_top(copies);
    Ok(())
}
