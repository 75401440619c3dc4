//! Starts a job: reads the options and starts the workers.
//!
//! Host side. After an error, nothing has been started.

use std::ffi::c_int;
use std::sync::Arc;
use std::time::Instant;

use crate::codec::{Functions, GMA, Path, Policy, encode};
use crate::config::{self, Config};
use crate::environment::Environment;
use crate::error::{Error, Place, Problem, Result};
use crate::executor;
use crate::fault;
use crate::ffi::{self, Protected, Stack, Type};
use crate::host::{self, HostNames};
use crate::job::{self, Job, Progress};
use crate::mailbox::Mailbox;
use crate::names;
use crate::pool;
use crate::registry;
use crate::tasks::TaskReader;
use crate::trace::Trace;
use crate::watchdog;

/// Reads and checks all options, then starts the job's workers. `options` is the index of their table; `chunk` is the number of
/// items in each task of a `Map`.
pub fn start(stack: &Stack, options: c_int, is_async: bool, chunk: Option<i64>) -> Result<Arc<Job>> {
    if pool::is_forked() {
        return Err(Error::Forked);
    }
    fault::point("start")?;
    let started = Instant::now();
    let config = config::read(stack, options, is_async)?;
    let names = HostNames::default();
    let mut environment =
        Environment { sandbox: config.sandbox, memory_limit: config.memory_limit, ..Environment::default() };
    let read = &mut environment;
    stack.protected(0, |stack| {
        read_host(stack, &names, read)?;
        host::read_modules(stack, &mut read.modules);
        Ok(())
    })?;
    let mut reader = TaskReader::new(&names, config.upvalues);
    reader.tasks.chunk = chunk;
    stack.push_value(config.tasks);
    reader.read(stack)?;
    if !config.globals.is_empty() {
        environment.globals = Some(read_globals(stack, &names, &config)?);
    }

    let TaskReader { functions, tasks, .. } = reader;
    environment.functions = functions;
    let workers = config.workers.min(tasks.len());
    let trace = config.trace.as_deref().map(|path| create_trace(path, started)).transpose()?;
    let Config { mode, upvalues, timeout, notes_order, .. } = config;
    let job = Arc::new(Job {
        id: job::next_id(),
        mode,
        upvalues,
        environment: Arc::new(environment),
        tasks,
        mailbox: Mailbox::default(),
        started,
        timeout,
        trace,
        progress: Progress::new(workers),
    });
    if notes_order {
        job.note_order()?;
    }
    if workers == 0 {
        job.mailbox.finish();
    } else {
        // Creates this thread's message buffer now, because tasks may soon use up all memory.
        ffi::clear_message();
        watchdog::start()?;
        if job.shortest_timeout().is_some() {
            watchdog::watch(&job);
        }
        executor::start(&job, workers)?;
        watchdog::watch_threads();
    }
    registry::insert(&job);
    Ok(job)
}

/// Creates the trace of a job. Its first slice is the reading of the tasks, which has just ended.
fn create_trace(path: &str, started: Instant) -> Result<Arc<Trace>> {
    let trace = Trace::create(path, started).map_err(|cause| {
        Error::option("trace", Problem::Unwritable { path: path.to_owned(), cause: cause.to_string() })
    })?;
    trace.host_did("read tasks");
    Ok(Arc::new(trace))
}

/// Stops a job's running tasks, and lets no other task begin. The watchdog gives up tasks that don't stop.
pub fn cancel(job: &Arc<Job>) {
    job.cancel();
    watchdog::watch(job);
}

/// Reads the host's module paths and the shape of its `gma`, which don't depend on the job's options.
fn read_host(stack: &Protected, names: &HostNames, environment: &mut Environment) -> Result<()> {
    let top = stack.top();
    if names::push_host_standard(stack, "package") == Type::Table {
        stack.raw_get_text(top + 1, "path");
        stack.raw_get_text(top + 1, "cpath");
        environment.path = stack.bytes(top + 2);
        environment.cpath = stack.bytes(top + 3);
    }
    stack.set_top(top);
    stack.push_globals();
    if stack.raw_get_text(top + 1, GMA) == Type::Table {
        let place = |_, path: &Path| format!("{GMA}{path}");
        let policy = Policy { names, functions: Functions::Shape, place: &place };
        encode(stack, 1, environment.gma.get_or_insert_default(), &policy)?;
    }
    stack.set_top(top);
    Ok(())
}

/// The host's global of which `name` is probably a misspelling. `globals` is the index of their table.
fn nearest_global(stack: &Stack, globals: c_int, name: &str) -> Option<String> {
    let mut known = Vec::new();
    stack.push_nil();
    while stack.next(globals) {
        if stack.kind(-2) == Type::String {
            known.extend(String::from_utf8(stack.bytes(-2)));
        }
        stack.pop(1);
    }
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    config::nearest(name, &known).map(str::to_owned)
}

/// Encodes the host's globals for the job, as one table.
fn read_globals(stack: &Stack, names: &HostNames, config: &Config) -> Result<Vec<u8>> {
    let mut message = Vec::new();
    let place = |_, path: &Path| format!("globals{path}");
    let policy = Policy { names, functions: Functions::Carry(config.upvalues), place: &place };
    stack.protected(0, |stack| collect_globals(stack, &config.globals))?;
    encode(stack, 1, &mut message, &policy).map_err(|cause| match cause.is_a_hooks() {
        true => cause,
        false => Error::option("globals", Problem::Unsendable(Box::new(cause))),
    })?;
    Ok(message)
}

/// Pushes a table with the globals of these names.
fn collect_globals(stack: &Protected, names: &[String]) -> Result<()> {
    let (copies, globals) = (1, 2);
    stack.create_table(0, names.len() as c_int);
    stack.push_globals();
    for (index, name) in names.iter().enumerate() {
        if stack.raw_get_text(globals, name) == Type::Nil {
            let place = Place::Item { option: "globals", index: index + 1 };
            let nearest = nearest_global(stack, globals, name);
            return Err(Error::BadConfig {
                place,
                problem: Problem::NoGlobal { name: name.clone(), nearest },
            });
        }
        stack.raw_set_text(copies, name);
    }
    stack.set_top(copies);
    Ok(())
}
