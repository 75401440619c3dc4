//! Starts a job, carries its host calls, and merges its outcomes into the response.
//!
//! Host side: touches the host's state and the job's plain data, no worker's state. Nothing here blocks
//! for long and nothing calls into the engine or a user's callback: those may yield, so they are called
//! by the Lua side (`lua/pump.lua`).

use std::ffi::c_int;
use std::sync::Arc;
use std::time::Instant;

use mlua::{Lua, Table, Value};
use rustc_hash::FxHashMap;

use crate::codec::GMA;
use crate::config::{self, Config};
use crate::decode::{Decoder, Resolve, without_collector};
use crate::encode::{Encoder, Functions, Names, Policy, Upvalues};
use crate::error::{Error, Result};
use crate::executor;
use crate::ffi::{self, Stack, Type};
use crate::hostcall::Answer;
use crate::names::{self, NameMap};
use crate::registry::{self, Failure, Job, Parts, Task};
use crate::state::Environment;

/// The names of the things in the host's state.
pub struct HostNames<'a> {
    standard: &'a NameMap,
    gma: NameMap,
}

impl<'a> HostNames<'a> {
    /// The standard library as it was when the module was loaded.
    pub fn new(standard: &'a NameMap) -> HostNames<'a> {
        HostNames { standard, gma: NameMap::default() }
    }
}

impl Names for HostNames<'_> {
    fn name_of(&self, pointer: usize) -> Option<&str> {
        self.standard.name_of(pointer).or_else(|| self.gma.name_of(pointer))
    }
}

impl Resolve for HostNames<'_> {
    fn push_named(&self, stack: &Stack, name: &str) -> Result<()> {
        if !name.starts_with(GMA) {
            return names::push_standard(stack, name);
        }
        if push_host_function(stack, name) == Type::Nil {
            stack.pop(1);
            return Err(Error::NoHostFunction { name: names::display(name) });
        }
        Ok(())
    }
}

/// Pushes what stands under a name of `gma` on the host now. *Raises.*
fn push_host_function(stack: &Stack, name: &str) -> Type {
    stack.push_globals();
    stack.raw_get_text(-1, GMA);
    stack.remove(-2);
    names::follow(stack, name)
}

/// The most arguments that a task may have.
const ARGUMENT_LIMIT: i64 = 100_000;

/// Reads and checks everything, then starts the job's workers. An error means that nothing was started.
pub fn start(lua: &Lua, standard: &NameMap, options: &Table) -> Result<Arc<Job>> {
    let started = Instant::now();
    let config = config::read(lua, options)?;
    let mut names = HostNames::new(standard);
    let environment = read_environment(lua, &mut names, &config)?;

    let mut reader = TaskReader {
        names: &names,
        upvalues: config.upvalues,
        seen: FxHashMap::default(),
        functions: Vec::new(),
        arguments: Vec::new(),
        tasks: Vec::new(),
    };
    ffi::with_stack(lua, &config.tasks, |stack| reader.read(stack))?;

    let TaskReader { functions, arguments, tasks, .. } = reader;
    let workers = config.workers.min(tasks.len());
    let parts = Parts { mode: config.mode, environment, functions, arguments, tasks, started };
    let job = Arc::new(Job::new(parts, workers));
    if workers == 0 {
        job.mailbox.finish();
    } else {
        executor::start(&job, workers)?;
    }
    registry::insert(&job);
    Ok(job)
}

/// What the job's states have in common: the module paths, `gma`, and the globals asked for.
fn read_environment(lua: &Lua, names: &mut HostNames, config: &Config) -> Result<Environment> {
    let mut environment = Environment::default();
    let internal = |cause: mlua::Error| Error::Internal(cause.to_string());
    if let Value::Table(package) = lua.globals().raw_get("package").map_err(internal)? {
        let text = |key| match package.raw_get(key) {
            Ok(Value::String(text)) => text.as_bytes().to_vec(),
            _ => Vec::new(),
        };
        environment.path = text("path");
        environment.cpath = text("cpath");
    }
    if let gma @ Value::Table(_) = lua.globals().raw_get(GMA).map_err(internal)? {
        let mut shape = Vec::new();
        ffi::with_stack(lua, gma, |stack| {
            stack.push_value(1);
            names::read_gma(stack, &mut names.gma);
            let root = |_| GMA.to_owned();
            let policy = Policy { names: &*names, functions: Functions::Drop, root: &root };
            let encoder = &mut Encoder::new(&mut shape, &policy);
            stack.protected(1, |stack| encoder.message(stack, 1, 1))
        })?;
        environment.gma = Some(shape);
    }
    if !config.globals.is_empty() {
        environment.globals = Some(read_globals(lua, names, config)?);
    }
    Ok(environment)
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
    let root = |_| "globals".to_owned();
    let policy = Policy { names, functions: Functions::Carry(config.upvalues), root: &root };
    let encoder = &mut Encoder::new(&mut message, &policy);
    ffi::with_stack(lua, copies, |stack| stack.protected(1, |stack| encoder.message(stack, 1, 1)))
        .map_err(|cause| Error::option("globals", format!("holds what cannot cross: {cause}")))?;
    Ok(message)
}

/// Reads the list of tasks into messages.
struct TaskReader<'a> {
    names: &'a HostNames<'a>,
    upvalues: Upvalues,
    /// Functions by identity, and which of the job's they are: each is dumped once.
    seen: FxHashMap<usize, std::result::Result<usize, Error>>,
    functions: Vec<Vec<u8>>,
    arguments: Vec<u8>,
    tasks: Vec<Task>,
}

/// Where the list of tasks stands, and above it the names of a task's fields.
const LIST: c_int = 1;
const FUNC: c_int = 2;
const ARGS: c_int = 3;
const NAME: c_int = 4;

impl TaskReader<'_> {
    fn read(&mut self, stack: &Stack) -> Result<()> {
        let count = count_tasks(stack)?;
        let mut name = None;
        let mut arguments = std::mem::take(&mut self.arguments);
        let names = self.names;
        let root = |n: usize| format!("args[{n}]");
        let functions = Functions::Carry(self.upvalues);
        let policy = Policy { names, functions, root: &root };
        let encoder = &mut Encoder::new(&mut arguments, &policy);
        stack.protected(1, |stack| {
            for field in ["func", "args", "name"] {
                stack.push_bytes(field.as_bytes());
            }
            for index in 1..=count {
                if stack.raw_get_i(LIST, index) != Type::Table {
                    let got = stack.kind(-1).name();
                    return Err(bad_task(
                        index,
                        "",
                        format!("must be a task {{ func = f, args = {{ ... }} }}, got a {got}"),
                    ));
                }
                self.read_task(stack, index, encoder, &mut name)?;
                stack.set_top(NAME);
            }
            stack.set_top(0);
            Ok(())
        })?;
        self.arguments = arguments;
        Ok(())
    }

    /// Reads the task on top of the stack.
    fn read_task(
        &mut self,
        stack: &Stack,
        index: i64,
        encoder: &mut Encoder,
        name: &mut Option<Box<str>>,
    ) -> Result<()> {
        let task = stack.top();
        check_fields(stack, task, index)?;
        stack.push_value(NAME);
        *name = match stack.raw_get(task) {
            Type::Nil => None,
            Type::String => Some(String::from_utf8_lossy(stack.bytes(-1)).into()),
            kind => return Err(bad_task(index, ".name", format!("must be a string, got a {}", kind.name()))),
        };
        stack.push_value(ARGS);
        let count = match stack.raw_get(task) {
            Type::Nil => 0,
            Type::Table => count_arguments(stack, index)?,
            kind => {
                let example = "write args = { value, ... }";
                return Err(bad_task(
                    index,
                    ".args",
                    format!("must be a table, got a {}: {example}", kind.name()),
                ));
            }
        };
        let list = stack.top();
        stack.push_value(FUNC);
        stack.raw_get(task);
        let callable = push_callable(stack, index)?;
        let entry = match self.function(stack) {
            Err(error) => Task::Refused(error),
            Ok(function) => {
                let start = encoder.length();
                match encode_arguments(stack, encoder, callable, list, count) {
                    Ok(()) => Task::Ready { function, arguments: start..encoder.length(), name: name.take() },
                    Err(error) => Task::Refused(error),
                }
            }
        };
        self.tasks.push(entry);
        Ok(())
    }

    /// Which of the job's functions the one on top is. It is dumped where it is met first.
    fn function(&mut self, stack: &Stack) -> Result<usize> {
        if let Some(known) = self.seen.get(&stack.pointer(-1)) {
            return known.clone();
        }
        let pointer = stack.pointer(-1);
        let mut message = Vec::new();
        let root = |_| "func".to_owned();
        let policy = Policy { names: self.names, functions: Functions::Carry(self.upvalues), root: &root };
        let encoder = &mut Encoder::new(&mut message, &policy);
        stack.push_value(-1);
        let encoded = stack.protected(1, |stack| {
            encoder.message(stack, 1, 1)?;
            stack.set_top(0);
            Ok(())
        });
        let function = encoded.map(|()| {
            self.functions.push(message);
            self.functions.len() - 1
        });
        self.seen.insert(pointer, function.clone());
        function
    }
}

fn bad_task(index: i64, field: &str, problem: String) -> Error {
    Error::BadConfig { place: format!("tasks[{index}]{field}"), problem }
}

/// How many tasks the list has. It must be a list without holes.
fn count_tasks(stack: &Stack) -> Result<i64> {
    let (mut count, mut last) = (0, 0);
    stack.push_nil();
    while stack.next(LIST) {
        match stack.kind(-2) {
            Type::Number if stack.is_integer(-2) => {
                let index = stack.integer(-2).unwrap_or(0);
                if index < 1 {
                    return Err(Error::option(
                        "tasks",
                        format!("must be a list that starts at 1, but has [{index}]"),
                    ));
                }
                count += 1;
                last = last.max(index);
            }
            Type::String if stack.bytes(-2) == b"n" => {}
            Type::String => {
                let name = String::from_utf8_lossy(stack.bytes(-2)).into_owned();
                let advice = "write tasks = { { func = f, args = { ... } }, ... }";
                return Err(Error::option(
                    "tasks",
                    format!("must be a list, but has a field '{name}': {advice}"),
                ));
            }
            kind => {
                return Err(Error::option(
                    "tasks",
                    format!("must be a list, but has a {} as a key", kind.name()),
                ));
            }
        }
        stack.pop(1);
    }
    if count != last {
        let mut hole = 1;
        while stack.raw_get_i(LIST, hole) != Type::Nil {
            stack.pop(1);
            hole += 1;
        }
        let problem = format!("is missing: the list has a hole (tasks[{last}] is there)");
        return Err(bad_task(hole, "", problem));
    }
    Ok(count)
}

/// Refuses a field that looks like a slip of one of ours; others are the caller's own.
fn check_fields(stack: &Stack, task: c_int, index: i64) -> Result<()> {
    const FIELDS: [&str; 3] = ["func", "args", "name"];
    stack.push_nil();
    while stack.next(task) {
        if stack.kind(-2) == Type::String && !FIELDS.iter().any(|field| field.as_bytes() == stack.bytes(-2)) {
            let name = String::from_utf8_lossy(stack.bytes(-2)).into_owned();
            if let Some(meant) = config::nearest(&name, &FIELDS) {
                let problem = format!("has a field '{name}': did you mean '{meant}'?");
                return Err(bad_task(index, "", problem));
            }
        }
        stack.pop(1);
    }
    Ok(())
}

/// How many arguments the list on top holds: its `n`, or its last whole-numbered key.
fn count_arguments(stack: &Stack, index: i64) -> Result<c_int> {
    let list = stack.top();
    let (mut last, mut n) = (0, None);
    stack.push_nil();
    while stack.next(list) {
        if stack.kind(-2) == Type::Number && stack.is_integer(-2) {
            last = last.max(stack.integer(-2).unwrap_or(0));
        } else if stack.kind(-2) == Type::String && stack.bytes(-2) == b"n" {
            n = Some(if stack.kind(-1) == Type::Number { stack.integer(-1).unwrap_or(-1) } else { -1 });
        }
        stack.pop(1);
    }
    match n.unwrap_or(last) {
        count @ 0..=ARGUMENT_LIMIT => Ok(count as c_int),
        count => Err(bad_task(
            index,
            ".args",
            format!(
                "must hold 0 to {ARGUMENT_LIMIT} arguments, got {count}: pass one table with them instead"
            ),
        )),
    }
}

/// Makes what stands on top the function to run; true where the callable table it came from is to be its
/// first argument, and stands below it. *Raises.*
fn push_callable(stack: &Stack, index: i64) -> Result<bool> {
    let kind = stack.kind(-1);
    if kind == Type::Function {
        return Ok(false);
    }
    if kind == Type::Table && stack.metatable(-1) {
        if stack.raw_get_text(-1, "__call") == Type::Function {
            stack.remove(-2);
            return Ok(true);
        }
        stack.pop(2);
    }
    let problem = match kind {
        Type::Nil => "is missing: write { func = f, args = { ... } }".to_owned(),
        kind => format!("must be a function or a callable table, got a {}", kind.name()),
    };
    Err(bad_task(index, ".func", problem))
}

/// Appends the message of a task's arguments. *Raises.*
fn encode_arguments(
    stack: &Stack,
    encoder: &mut Encoder,
    callable: bool,
    list: c_int,
    count: c_int,
) -> Result<()> {
    encoder.begin(count as usize + usize::from(callable));
    if callable {
        stack.push_value(-2);
        encoder.extra_value(stack)?;
    }
    for n in 1..=count {
        stack.raw_get_i(list, n.into());
        encoder.next_value(stack)?;
    }
    Ok(())
}

/// Takes the next host call of a job and pushes what it takes to carry it out: its ticket (false where
/// nobody waits for the answer), its function, its name for messages, and its arguments. Pushes nothing
/// when there is none.
pub fn next_call(stack: &Stack, job: &Job, names: &HostNames) -> Result<c_int> {
    while let Some((request, ticket)) = job.mailbox.take() {
        let display = names::display(&request.name);
        let mut decoder = Decoder::new(names);
        let pushed = without_collector(stack, || {
            stack.protected(0, |stack| {
                match ticket {
                    Some(ticket) => stack.push_integer(ticket as i64),
                    None => stack.push_boolean(false),
                }
                if push_host_function(stack, &request.name) != Type::Function {
                    stack.set_top(0);
                    return Ok(0);
                }
                stack.push_bytes(display.as_bytes());
                decoder.message(stack, &request.arguments)?;
                Ok(stack.top())
            })
        });
        let error = match pushed {
            Ok(0) => Error::NoHostFunction { name: display },
            Ok(count) => return Ok(count),
            Err(error) => error,
        };
        if let Some(ticket) = ticket {
            job.mailbox.answer(ticket, Answer::Failed(error));
        }
    }
    Ok(0)
}

/// Answers a host call with the values from index `first` up: its results, or what it raised.
pub fn answer(
    stack: &Stack,
    job: &Job,
    names: &HostNames,
    ticket: u64,
    name: &str,
    returned: bool,
    first: c_int,
) {
    let count = stack.top() - first + 1;
    let root = |n: usize| format!("returns[{n}] of {name}");
    let policy = Policy { names, functions: Functions::Carry(Upvalues::Error), root: &root };
    let mut message = Vec::new();
    let mut encoder = Encoder::new(&mut message, &policy);
    let encoded = stack.protected(count, |stack| {
        if !returned {
            stack.set_top(1);
        }
        let sent = encoder.message(stack, 1, stack.top());
        if sent.is_err() && !returned {
            // What it raised can't cross; its text can.
            stack.push_text_of(1);
            encoder.message(stack, stack.top(), 1)?;
        } else {
            sent?;
        }
        stack.set_top(0);
        Ok(())
    });
    let answer = match encoded {
        Ok(()) if returned => Answer::Returned(message),
        Ok(()) => Answer::Raised(message),
        Err(cause) => Answer::Failed(Error::HostAnswer { name: name.to_owned(), cause: Box::new(cause) }),
    };
    job.mailbox.answer(ticket, answer);
}

/// Where `collect` keeps what it fills, and the field names it needs for each entry.
const RESPONSE: c_int = 1;
const RESULT: c_int = 2;
const FAILED: c_int = 3;
const SUCCESS: c_int = 4;
const DATA: c_int = 5;

/// Pushes the response of a finished job, and the list of the failed tasks' indices.
pub fn collect(stack: &Stack, job: &Job, names: &HostNames) -> Result<()> {
    let lanes = job.take_outcomes();
    let mut decoder = Decoder::new(names);
    let id = format!("Job_{}", job.id);
    let mut unsendable = Vec::new();
    without_collector(stack, || {
        stack.protected(0, |stack| {
            stack.create_table(0, 4);
            stack.create_table(job.tasks.len().try_into().unwrap_or(0), 0);
            stack.create_table(0, 0);
            stack.push_bytes(b"success");
            stack.push_bytes(b"data");
            let mut failures = 0;
            for lane in &lanes {
                for (index, outcome) in lane.outcomes() {
                    let failed = match outcome {
                        Ok(message) => match push_success(stack, &mut decoder, message) {
                            Ok(()) => None,
                            Err(error) => {
                                stack.set_top(DATA);
                                unsendable.push(Failure::from(error));
                                unsendable.last()
                            }
                        },
                        Err(failure) => Some(failure),
                    };
                    if let Some(failure) = failed {
                        push_failure(stack, failure);
                    }
                    if let Err(Failure { value: Some(value), .. }) = outcome {
                        push_error_value(stack, &mut decoder, value);
                    }
                    let failed = failed.is_some();
                    stack.raw_set_i(RESULT, index as i64 + 1);
                    if failed {
                        failures += 1;
                        stack.push_integer(index as i64 + 1);
                        stack.raw_set_i(FAILED, failures);
                    }
                }
            }
            stack.push_value(RESULT);
            stack.raw_set_text(RESPONSE, "result");
            stack.push_integer(job.workers() as i64);
            stack.raw_set_text(RESPONSE, "workerCount");
            stack.push_bytes(id.as_bytes());
            stack.raw_set_text(RESPONSE, "jobId");
            stack.push_number(job.started.elapsed().as_secs_f64());
            stack.raw_set_text(RESPONSE, "duration");
            stack.set_top(FAILED);
            stack.remove(RESULT);
            Ok(())
        })
    })
}

/// Pushes the entry of a task that ended well. *Raises.*
fn push_success<'a>(stack: &Stack, decoder: &mut Decoder<'a>, message: &'a [u8]) -> Result<()> {
    stack.create_table(0, 2);
    let entry = stack.top();
    stack.push_value(SUCCESS);
    stack.push_boolean(true);
    stack.raw_set(entry);
    let count = decoder.message(stack, message)?;
    if count > 0 {
        stack.push_value(DATA);
        stack.push_value(entry + 1);
        stack.raw_set(entry);
    }
    if count > 1 {
        stack.create_table(count, 1);
        for n in 1..=count {
            stack.push_value(entry + n);
            stack.raw_set_i(-2, n.into());
        }
        stack.push_integer(count.into());
        stack.raw_set_text(-2, "n");
        stack.raw_set_text(entry, "returns");
    }
    stack.set_top(entry);
    Ok(())
}

/// Pushes the entry of a task that failed. *Raises.*
fn push_failure(stack: &Stack, failure: &Failure) {
    stack.create_table(0, 5);
    let entry = stack.top();
    stack.push_value(SUCCESS);
    stack.push_boolean(false);
    stack.raw_set(entry);
    stack.push_value(DATA);
    stack.push_bytes(b"Error: ");
    stack.push_bytes(&failure.message);
    stack.concat(2);
    stack.raw_set(entry);
    stack.push_bytes(failure.kind.name().as_bytes());
    stack.raw_set_text(entry, "kind");
    if !failure.traceback.is_empty() {
        stack.push_bytes(&failure.traceback);
        stack.raw_set_text(entry, "traceback");
    }
}

/// Adds to the entry on top the value that the task raised. *Raises.*
fn push_error_value<'a>(stack: &Stack, decoder: &mut Decoder<'a>, message: &'a [u8]) {
    let entry = stack.top();
    // What crossed out of the worker and means nothing here is left out: its text is in `data`.
    if let Ok(1) = decoder.message(stack, message) {
        stack.raw_set_text(entry, "error");
    }
    stack.set_top(entry);
}
