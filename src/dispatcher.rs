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
    let mut has_gma = false;
    let mut reader = TaskReader::new(&names, config.upvalues);
    ffi::with_stack(lua, &config.tasks, |stack| {
        has_gma = read_paths(stack, &mut environment);
        reader.read(stack)
    })?;
    if has_gma {
        environment.gma = Some(read_gma(lua, &names)?);
    }
    if !config.globals.is_empty() {
        environment.globals = Some(read_globals(lua, &names, &config)?);
    }

    let TaskReader { functions, tasks, .. } = reader;
    environment.functions = functions;
    let workers = config.workers.min(tasks.len());
    let Config { mode, upvalues, timeout, .. } = config;
    let parts = Parts { mode, upvalues, environment, tasks, started, timeout };
    let job = Arc::new(Job::new(parts, workers));
    if workers == 0 {
        job.mailbox.finish();
    } else {
        if timeout.is_some() {
            watchdog::watch(&job)?;
        }
        executor::start(&job, workers)?;
    }
    registry::insert(&job);
    Ok(job)
}

/// Stops a job's tasks: those that run, and those that have not begun.
pub fn cancel(job: &Arc<Job>) -> Result<()> {
    job.cancel();
    watchdog::watch(job)
}

/// Reads the host's module paths, and whether it has a `gma`. *Raises.*
fn read_paths(stack: &Stack, environment: &mut Environment) -> bool {
    let top = stack.top();
    stack.push_globals();
    let has_gma = stack.raw_get_text(top + 1, GMA) == Type::Table;
    if stack.raw_get_text(top + 1, "package") == Type::Table {
        stack.raw_get_text(top + 3, "path");
        stack.raw_get_text(top + 3, "cpath");
        environment.path.extend_from_slice(stack.bytes(top + 4));
        environment.cpath.extend_from_slice(stack.bytes(top + 5));
    }
    stack.set_top(top);
    has_gma
}

/// The shape of the host's `gma`, in one message.
fn read_gma(lua: &Lua, names: &HostNames) -> Result<Vec<u8>> {
    let gma: Value = lua.globals().raw_get(GMA).map_err(|cause| Error::Internal(cause.to_string()))?;
    let mut shape = Vec::new();
    let place = |_, path: &str| format!("{GMA}{path}");
    let policy = Policy { names, functions: Functions::Shape, place: &place };
    ffi::with_stack(lua, gma, |stack| encode(stack, 1, &mut shape, &policy))?;
    Ok(shape)
}

/// The host's globals that the job asks for, as one table in one message.
fn read_globals(lua: &Lua, names: &HostNames, config: &Config) -> Result<Vec<u8>> {
    let internal = |cause: mlua::Error| Error::Internal(cause.to_string());
    let copies = lua.create_table().map_err(internal)?;
    for (index, name) in config.globals.iter().enumerate() {
        let value: Value = lua.globals().raw_get(name.as_str()).map_err(internal)?;
        if value.is_nil() {
            let place = format!("option 'globals'[{}]", index + 1);
            return Err(Error::BadConfig {
                place,
                problem: format!("names no global of the host: '{name}'"),
            });
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
