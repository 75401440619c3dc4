//! The list of tasks: read once, checked, and put into messages.
//!
//! Host side, raw: no metamethod runs. Functions are dumped once each; a task whose function or arguments
//! can't cross is refused alone, a list that is wrong is refused whole.

use std::ffi::c_int;

use rustc_hash::FxHashMap;

use crate::config;
use crate::encode::{Encoder, encode};
use crate::error::{Error, Result};
use crate::ffi::{Stack, Type};
use crate::host::HostNames;
use crate::job::Task;
use crate::policy::{Functions, Policy, Upvalues};

/// The most arguments that a task may have.
const ARGUMENT_LIMIT: i64 = 100_000;

/// Reads the list of tasks into messages.
pub struct TaskReader<'a> {
    names: &'a HostNames<'a>,
    upvalues: Upvalues,
    /// Functions by identity, and which of the job's they are: each is dumped once.
    seen: FxHashMap<usize, std::result::Result<usize, Error>>,
    pub functions: Vec<Vec<u8>>,
    pub arguments: Vec<u8>,
    pub tasks: Vec<Task>,
}

/// Where the list of tasks stands, and above it the names of a task's fields.
const LIST: c_int = 1;
const FUNC: c_int = 2;
const ARGS: c_int = 3;
const NAME: c_int = 4;

impl<'a> TaskReader<'a> {
    pub fn new(names: &'a HostNames<'a>, upvalues: Upvalues) -> TaskReader<'a> {
        TaskReader {
            names,
            upvalues,
            seen: FxHashMap::default(),
            functions: Vec::new(),
            arguments: Vec::new(),
            tasks: Vec::new(),
        }
    }

    /// Reads the list on top of the stack.
    pub fn read(&mut self, stack: &Stack) -> Result<()> {
        let count = count_tasks(stack)?;
        let mut name = None;
        let mut arguments = std::mem::take(&mut self.arguments);
        let names = self.names;
        let place = |n: usize, path: &str| format!("args[{n}]{path}");
        let functions = Functions::Carry(self.upvalues);
        let policy = Policy { names, functions, place: &place };
        let encoder = &mut Encoder::new(&mut arguments, &policy);
        let read = |stack: &Stack| {
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
        };
        stack.without_collector(|| stack.protected(1, read))?;
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
        let place = |_, path: &str| format!("func{path}");
        let policy = Policy { names: self.names, functions: Functions::Carry(self.upvalues), place: &place };
        stack.push_value(-1);
        let encoded = encode(stack, 1, &mut message, &policy);
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
            match stack.integer(-1).filter(|_| stack.kind(-1) == Type::Number) {
                Some(count) => n = Some(count),
                None => return Err(bad_count(stack, index)),
            }
        }
        stack.pop(1);
    }
    match n.unwrap_or(last) {
        count @ 0..=ARGUMENT_LIMIT => Ok(count as c_int),
        count => {
            let advice = "pass one table with them instead";
            let problem = format!("must hold 0 to {ARGUMENT_LIMIT} arguments, got {count}: {advice}");
            Err(bad_task(index, ".args", problem))
        }
    }
}

/// The error of an `n`, on top of the stack, that counts nothing.
fn bad_count(stack: &Stack, index: i64) -> Error {
    let got = match stack.kind(-1) {
        Type::String => format!("\"{}\"", String::from_utf8_lossy(stack.bytes(-1))),
        Type::Number => stack.number(-1).unwrap_or(f64::NAN).to_string(),
        kind => format!("a {}", kind.name()),
    };
    bad_task(index, ".args.n", format!("must be a whole number of arguments, got {got}"))
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
