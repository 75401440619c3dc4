//! Starts a job: reads the options and starts the workers.
//!
//! Host side. After an error, nothing has been started.

use std::ffi::c_int;
use std::sync::Arc;
use std::time::Instant;

use crate::codec::{self, Functions, GMA, HOST, Path, Policy, encode};
use crate::config::{self, Config};
use crate::environment::{Environment, HostModules, Required};
use crate::error::{Error, Place, Problem, Result};
use crate::executor;
use crate::fault;
use crate::ffi::{self, Pins, Protected, Stack, Type};
use crate::host::{self, HostNames};
use crate::host_modules;
use crate::host_standard;
use crate::job::{self, Job, OnFailure, Progress, Tasks};
use crate::mailbox::Mailbox;
use crate::names;
use crate::pool;
use crate::registry;
use crate::spelling;
use crate::tasks::{self, EarlyWorker, TaskReader};
use crate::trace::Trace;
use crate::watchdog;
use crate::watched;

/// Reads and checks all options, then starts the job's workers. `options` is the index of their table; `chunk` is the number of
/// items in each task of a `Map`. If `cancels_later`, a failed task cancels those behind it in the list.
pub fn start(
    stack: &Stack,
    options: c_int,
    is_async: bool,
    chunk: Option<i64>,
    cancels_later: bool,
) -> Result<Arc<Job>> {
    if pool::is_forked() {
        return Err(Error::Forked);
    }
    fault::point("start")?;
    stack.with_pins(|stack, pins| {
        let job = start_job(stack, pins, options, is_async, chunk, cancels_later)?;
        if !job.environment.has_code() {
            pins.wait();
        }
        Ok(job)
    })
}

/// Starts a job. Its long texts are pinned.
fn start_job(
    stack: &Stack,
    pins: &Pins,
    options: c_int,
    is_async: bool,
    chunk: Option<i64>,
    cancels_later: bool,
) -> Result<Arc<Job>> {
    let started = Instant::now();
    let config = config::read(stack, options, is_async)?;
    let (environment, tasks, early_worker) = read_job(stack, pins, &config, chunk)?;
    let trace = config.trace.as_deref().map(|path| create_trace(path, started)).transpose()?;
    // It starts while this thread goes on.
    let watchdog = if tasks.len() == 0 { None } else { Some(watchdog::start()?) };
    let workers = config.workers.of(tasks.len());
    let Config { mode, upvalues, timeout, grace, notes_order, .. } = config;
    let on_failure = match (config.stop_on_error, cancels_later) {
        (true, _) => OnFailure::CancelAll,
        (false, true) => OnFailure::CancelLater,
        (false, false) => OnFailure::Nothing,
    };
    let job = Arc::new(Job {
        id: job::next_id(),
        mode,
        upvalues,
        environment: Arc::new(environment),
        tasks,
        mailbox: Mailbox::default(),
        started,
        timeout,
        grace,
        on_failure,
        trace,
        progress: Progress::new(workers),
    });
    if notes_order {
        job.note_order()?;
    }
    match watchdog {
        None => job.mailbox.finish(),
        Some(watchdog) => start_workers(&job, workers, early_worker, watchdog)?,
    }
    registry::insert(&job);
    Ok(job)
}

/// Reads what the job's states contain, and its tasks.
fn read_job(
    stack: &Stack,
    pins: &Pins,
    config: &Config,
    chunk: Option<i64>,
) -> Result<(Environment, Tasks, Option<EarlyWorker>)> {
    let names = HostNames::default();
    let mut environment =
        Environment { sandbox: config.sandbox, memory_limit: config.memory_limit, ..Environment::default() };
    let mut addresses = Vec::new();
    let (read, modules) = (&mut environment, &mut addresses);
    stack.protected(0, |stack| {
        read_host(stack, &names, read)?;
        host::read_modules(stack, &mut read.modules);
        host_modules::read_loaded(stack, &mut read.modules.loaded, modules);
        Ok(())
    })?;
    names.set_modules(addresses);
    let mut reader = TaskReader::new(&names, config, Some(pins));
    reader.tasks.chunk = chunk;
    reader.globals = [config.host.map(|_| HOST), environment.gma.as_ref().map(|_| GMA)];
    stack.push_value(config.tasks);
    reader.read(stack)?;
    if let Some(functions) = config.host {
        environment.host = Some(host::read_functions(stack, functions)?);
    }
    if let Some(init) = config.init {
        stack.push_value(init);
        environment.init = Some(tasks::read_init(stack, &names, config)?);
    }
    if !config.globals.is_empty() {
        environment.globals = Some(read_globals(stack, &names, config)?);
    }
    read_modules(stack, &names, config, &mut environment.modules)?;

    let TaskReader { functions, tasks, early_worker, .. } = reader;
    environment.functions = functions;
    Ok((environment, tasks, early_worker))
}

/// Starts that many workers, after all threads have started: tasks may soon use up all memory.
fn start_workers(
    job: &Arc<Job>,
    workers: usize,
    early_worker: Option<EarlyWorker>,
    watchdog: watchdog::Start,
) -> Result<()> {
    // Creates this thread's message buffer now, for the same reason.
    ffi::clear_message();
    let ready = || {
        watchdog.wait();
        if job.shortest_timeout().is_some() {
            watched::watch(job);
        }
    };
    let Some(early_worker) = early_worker else {
        executor::start(job, workers, ready)?;
        watchdog::watch_threads();
        return Ok(());
    };
    ready();
    let worker = job.add_worker();
    // Without the others, this one does all.
    let others = workers - 1;
    if others > 0 && executor::start(job, others, || {}).is_err() {
        job.release_workers(others);
    }
    early_worker.begin(job, worker);
    watchdog::watch_threads();
    Ok(())
}

/// Reads what the job takes along from the host's modules. Its functions, arguments and globals have been read.
fn read_modules(stack: &Stack, names: &HostNames, config: &Config, modules: &mut HostModules) -> Result<()> {
    modules.required = names.take_required();
    if let Some(Required { name, .. }) = modules.required.first().filter(|_| config.sandbox) {
        return Err(Error::option("sandbox", Problem::KeepsOut { module: name.clone() }));
    }
    let functions = Functions::Carry(config.upvalues);
    let used = host_modules::read_additions(stack, names, functions, config.sandbox, modules)?;
    modules.are_needed = !used.is_empty() || !modules.required.is_empty();
    if modules.are_needed {
        host_modules::read_data(stack, names, used, modules)?;
    }
    Ok(())
}

/// Creates the trace of a job. Its first slice is the reading of the tasks, which has just ended.
fn create_trace(path: &str, started: Instant) -> Result<Arc<Trace>> {
    let trace = Trace::create(path, started).map_err(|cause| {
        Error::option("trace", Problem::Unwritable { path: path.to_owned(), cause: cause.to_string() })
    })?;
    trace.host_did("read tasks");
    Ok(Arc::new(trace))
}

/// Cancels a job: lets no other task begin, and tells the running ones to end, or stops them. The watchdog stops those whose grace
/// is over, and gives up tasks that don't stop.
pub fn cancel(job: &Arc<Job>) {
    job.note_cancelled_by_host();
    job.cancel();
    watched::watch(job);
}

/// Drops a job: stops its tasks, without a grace.
pub fn drop_job(job: &Arc<Job>) {
    job.stop();
    watched::watch(job);
}

/// Reads the host's module paths and the shape of its `gma`, which don't depend on the job's options.
fn read_host(stack: &Protected, names: &HostNames, environment: &mut Environment) -> Result<()> {
    let top = stack.top();
    if host_standard::push_library(stack, "package") == Type::Table {
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

/// The field that `name` probably misspells, in the table at an index: the host's globals, or a library.
fn nearest_field(stack: &Stack, table: c_int, name: &str) -> Option<String> {
    let mut known = Vec::new();
    stack.push_nil();
    while stack.next(table) {
        if stack.kind(-2) == Type::String {
            known.extend(String::from_utf8(stack.bytes(-2)));
        }
        stack.pop(1);
    }
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    spelling::nearest(name, &known).map(str::to_owned)
}

/// Encodes the host's globals for the job, as two tables: see [`collect_globals`].
fn read_globals(stack: &Stack, names: &HostNames, config: &Config) -> Result<Vec<u8>> {
    let mut message = Vec::new();
    let place = |_, path: &Path| format!("globals{path}");
    let policy = Policy { names, functions: Functions::Carry(config.upvalues), place: &place };
    stack.protected(0, |stack| collect_globals(stack, &config.globals))?;
    encode(stack, 2, &mut message, &policy).map_err(|cause| match cause.is_a_hooks() {
        true => cause,
        false => {
            let cause = Box::new(codec::without_arguments(cause));
            Error::option("globals", Problem::Unsendable(cause))
        }
    })?;
    Ok(message)
}

/// Pushes two tables: the globals of these names, and by library, the fields of libraries that a dotted name means.
fn collect_globals(stack: &Protected, names: &[String]) -> Result<()> {
    let (copies, fields, globals) = (1, 2, 3);
    stack.create_table(0, names.len() as c_int);
    stack.create_table(0, 0);
    stack.push_globals();
    for (index, name) in names.iter().enumerate() {
        let refuse = |problem| {
            Err(Error::BadConfig { place: Place::Item { option: "globals", index: index + 1 }, problem })
        };
        let kind = stack.raw_get_text(globals, name);
        match name.split_once('.') {
            None if kind == Type::Nil => {
                let nearest = nearest_field(stack, globals, name);
                return refuse(Problem::NoGlobal { name: name.clone(), nearest });
            }
            Some((library, field)) if kind == Type::Nil => {
                let owner = stack.top() + 1;
                let is_table = stack.raw_get_text(globals, library) == Type::Table;
                if is_table && !names::is_library(library) {
                    let listed = if library == names::GLOBALS { field } else { library };
                    return refuse(Problem::NoLibrary { name: name.clone(), table: listed.to_owned() });
                }
                if !is_table || stack.raw_get_text(owner, field) == Type::Nil {
                    let nearest = if is_table { nearest_field(stack, owner, field) } else { None };
                    let nearest = nearest.map(|field| format!("{library}.{field}"));
                    return refuse(Problem::NoGlobal { name: name.clone(), nearest });
                }
                if stack.raw_get_text(fields, library) != Type::Table {
                    stack.create_table(0, 1);
                    stack.push_value(-1);
                    stack.raw_set_text(fields, library);
                }
                stack.push_value(owner + 1);
                stack.raw_set_text(-2, field);
            }
            _ => stack.raw_set_text(copies, name),
        }
        stack.set_top(globals);
    }
    stack.set_top(fields);
    Ok(())
}
