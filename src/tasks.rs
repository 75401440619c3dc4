//! The list of tasks: read once, checked, and put into messages.
//!
//! Host side, raw: no metamethod runs. Functions are dumped once each; a task whose function or arguments
//! can't cross is refused alone, a list that is wrong is refused whole.

use std::ffi::c_int;

use rustc_hash::FxHashMap;

use crate::codec::{Encoder, Functions, Policy, Upvalues, encode};
use crate::config;
use crate::error::{Error, Result};
use crate::ffi::{Protected, Stack, Type};
use crate::host::HostNames;
use crate::job::Tasks;
use crate::value::Value;

/// The most arguments that a task may have.
const ARGUMENT_LIMIT: i64 = 100_000;

/// Reads the list of tasks into messages.
pub struct TaskReader<'a> {
    names: &'a HostNames,
    upvalues: Upvalues,
    /// Functions by identity, and which of the job's they are: each is dumped once.
    seen: FxHashMap<usize, Result<u32>>,
    /// The Lua function that was met last, by identity, and which of the job's it is.
    last: Option<(usize, u32)>,
    pub functions: Vec<Vec<u8>>,
    pub tasks: Tasks,
}

/// Where the list of tasks stands, and above it the names of a task's fields.
const LIST: c_int = 1;
const FIELDS: [&str; 3] = ["func", "args", "name"];
const NAMES: c_int = 2;

/// Where the task stands, and above it what it holds.
const TASK: c_int = 5;

/// Where the values of a task's fields stand; [`ABSENT`] for one that it does not have.
#[derive(Clone, Copy)]
struct Fields {
    func: c_int,
    args: c_int,
    name: c_int,
}

const ABSENT: c_int = 0;

/// What a small function takes as a message, and what a few numbers do: a buffer that has to grow costs more than either.
const FUNCTION_SIZE: usize = 512;
const ARGUMENTS_SIZE: usize = 32;

/// As many slots as the list, a task, its fields and a few arguments take, and more.
const SLOTS: c_int = 40;

impl<'a> TaskReader<'a> {
    pub fn new(names: &'a HostNames, upvalues: Upvalues) -> TaskReader<'a> {
        TaskReader {
            names,
            upvalues,
            seen: FxHashMap::default(),
            last: None,
            functions: Vec::new(),
            tasks: Tasks::default(),
        }
    }

    /// Reads the list on top of the stack, and pops it.
    pub fn read(&mut self, stack: &Stack) -> Result<()> {
        let count = stack.protected(1, |stack| count_tasks(stack, LIST))?;
        self.tasks.reserve(count as usize)?;
        let mut name = None;
        let mut arguments = std::mem::take(&mut self.tasks.arguments);
        arguments.try_reserve(ARGUMENTS_SIZE * count as usize)?;
        let names = self.names;
        let place = |n: usize, path: &str| format!("args[{n}]{path}");
        let functions = Functions::Carry(self.upvalues);
        let policy = Policy { names, functions, place: &place };
        let encoder = &mut Encoder::new(&mut arguments, &policy);
        let read = |stack: &Protected| {
            if !stack.check(SLOTS) {
                return Err(Error::Memory);
            }
            for field in FIELDS {
                stack.push_bytes(field.as_bytes());
            }
            for index in 1..=count {
                stack.set_top(NAMES + 2);
                if stack.raw_get_i(LIST, index) != Type::Table {
                    let got = stack.kind(-1).name();
                    let example = "a task { func = f, args = { ... } }";
                    return Err(bad_task(index, "", format!("must be {example}, got a {got}")));
                }
                let fields = read_fields(stack, index)?;
                self.read_task(stack, index, fields, encoder, &mut name)?;
            }
            stack.set_top(0);
            Ok(())
        };
        let read = stack.protected(1, read);
        encoder.finish_deep(stack)?;
        read?;
        self.tasks.arguments = arguments;
        Ok(())
    }

    /// Reads the task whose fields stand on the stack.
    fn read_task(
        &mut self,
        stack: &Protected,
        index: i64,
        fields: Fields,
        encoder: &mut Encoder,
        name: &mut Option<Box<str>>,
    ) -> Result<()> {
        *name = match fields.name {
            ABSENT => None,
            slot => match stack.kind(slot) {
                Type::String => Some(String::from_utf8_lossy(stack.bytes(slot)).into()),
                kind => {
                    return Err(bad_task(index, ".name", format!("must be a string, got a {}", kind.name())));
                }
            },
        };
        let arguments = match fields.args {
            ABSENT => Arguments::Few { first: 1, count: 0 },
            slot => match stack.kind(slot) {
                Type::Table => count_arguments(stack, slot, index)?,
                kind => {
                    let example = "write args = { value, ... }";
                    let problem = format!("must be a table, got a {}: {example}", kind.name());
                    return Err(bad_task(index, ".args", problem));
                }
            },
        };
        let encoded = self.encode_task(stack, index, fields.func, encoder, arguments)?;
        match encoded {
            Ok(function) => self.tasks.push(function, encoder.length(), name.take()),
            // Not the task's own.
            Err(error) if error.is_a_hooks() => return Err(error),
            Err(error) => self.tasks.refuse(error),
        }
        *name = None;
        Ok(())
    }

    /// Puts the task's function and arguments into messages, and gives which of the job's functions it is; the inner error is
    /// the task's own.
    fn encode_task(
        &mut self,
        stack: &Protected,
        index: i64,
        func: c_int,
        encoder: &mut Encoder,
        arguments: Arguments,
    ) -> Result<Result<u32>> {
        let known = self.last.filter(|(last, _)| func != ABSENT && stack.pointer(func) == *last);
        let (callable, function) = match known {
            Some((_, function)) => (false, function),
            None => {
                if func == ABSENT {
                    stack.push_nil()
                } else {
                    stack.push_value(func)
                }
                let callable = push_callable(stack, index)?;
                match self.function(stack) {
                    Ok(function) => (callable, function),
                    Err(error) => return Ok(Err(error)),
                }
            }
        };
        Ok(encode_arguments(stack, encoder, callable, arguments).map(|()| function))
    }

    /// Which of the job's functions the one on top is. It is dumped where it is met first.
    fn function(&mut self, stack: &Stack) -> Result<u32> {
        let pointer = stack.pointer(-1);
        let function = match self.seen.get(&pointer) {
            Some(known) => known.clone(),
            None => {
                let function = self.dump(stack);
                self.seen.insert(pointer, function.clone());
                function
            }
        };
        self.last = function.as_ref().ok().map(|function| (pointer, *function));
        function
    }

    fn dump(&mut self, stack: &Stack) -> Result<u32> {
        let mut message = Vec::new();
        message.try_reserve(FUNCTION_SIZE)?;
        let place = |_, path: &str| format!("func{path}");
        let policy = Policy { names: self.names, functions: Functions::Carry(self.upvalues), place: &place };
        stack.push_value(-1);
        encode(stack, 1, &mut message, &policy)?;
        self.functions.push(message);
        Ok(self.functions.len() as u32 - 1)
    }
}

fn bad_task(index: i64, field: &str, problem: String) -> Error {
    Error::BadConfig { place: format!("tasks[{index}]{field}"), problem }
}

/// How many tasks the list has. It must be a list without holes.
fn count_tasks(stack: &Protected, list: c_int) -> Result<i64> {
    let (mut count, mut last) = (0, 0);
    let table = stack.table(list);
    stack.push_nil();
    while table.next() {
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
        while stack.raw_get_i(list, hole) != Type::Nil {
            stack.pop(1);
            hole += 1;
        }
        let problem = format!("is missing: the list has a hole (tasks[{last}] is there)");
        return Err(bad_task(hole, "", problem));
    }
    Ok(count)
}

/// Leaves the values of the fields of the task on top on the stack. Refuses a field that looks like a slip of one of
/// ours; others are the caller's own.
fn read_fields(stack: &Protected, index: i64) -> Result<Fields> {
    let mut fields = Fields { func: ABSENT, args: ABSENT, name: ABSENT };
    let mut value = TASK + 2;
    let task = stack.table(TASK);
    stack.push_nil();
    while task.next() {
        // Two texts that are equal are one, if they are as short as these.
        let is = |field: c_int| stack.raw_equal(-2, NAMES + field);
        if is(0) {
            fields.func = value;
        } else if is(1) {
            fields.args = value;
        } else if is(2) {
            fields.name = value;
        } else {
            check_field(stack, index)?;
            stack.pop(1);
            continue;
        }
        // The value stays where it is, below the key for the next step.
        stack.push_value(-2);
        value += 2;
    }
    Ok(fields)
}

fn check_field(stack: &Stack, index: i64) -> Result<()> {
    if stack.kind(-2) != Type::String {
        return Ok(());
    }
    let name = String::from_utf8_lossy(stack.bytes(-2)).into_owned();
    match config::misnamed(&name, &FIELDS) {
        Some(problem) => Err(bad_task(index, "", format!("has a field '{name}'{problem}"))),
        None => Ok(()),
    }
}

/// A task's arguments.
#[derive(Clone, Copy)]
enum Arguments {
    /// So many, which stand on the stack from there up.
    Few { first: c_int, count: c_int },
    /// So many, in the table at that index.
    Many { list: c_int, count: c_int },
}

/// More than these are read one by one.
const FEW: c_int = 8;

/// Finds out how many arguments the table holds: its `n`, or its last whole-numbered key.
fn count_arguments(stack: &Protected, list: c_int, index: i64) -> Result<Arguments> {
    let base = stack.top();
    let mut count = 0;
    let table = stack.table(list);
    stack.push_nil();
    while table.next() {
        // All that a plain list has comes in the order 1, 2, 3…. The length of a table says nothing of its other keys.
        if count == FEW || stack.whole(-2) != Some(i64::from(count) + 1) {
            stack.set_top(base);
            return count_any_arguments(stack, list, index);
        }
        count += 1;
        // The value stays, below the key for the next step.
        stack.insert(-2);
    }
    Ok(Arguments::Few { first: base + 1, count })
}

/// As [`count_arguments`], of any table. What is no argument would be lost, and is refused.
fn count_any_arguments(stack: &Protected, list: c_int, index: i64) -> Result<Arguments> {
    let (mut last, mut n) = (0, None);
    let table = stack.table(list);
    stack.push_nil();
    while table.next() {
        if let Some(key) = stack.whole(-2).filter(|key| *key >= 1) {
            last = last.max(key);
        } else if stack.kind(-2) != Type::String {
            let key = Value::at(stack, -2).describe();
            let problem =
                format!("has a value at [{key}], which would be lost: arguments are numbered from 1");
            return Err(bad_task(index, ".args", problem));
        } else if stack.bytes(-2) == b"n" {
            match stack.integer(-1).filter(|_| stack.kind(-1) == Type::Number) {
                Some(count) => n = Some(count),
                None => return Err(bad_count(stack, index)),
            }
        } else {
            let name = String::from_utf8_lossy(stack.bytes(-2));
            let advice = "arguments have no names, so pass a table that has it, args = { { name = value } }";
            let problem = format!("has a field '{name}', which would be lost: {advice}");
            return Err(bad_task(index, ".args", problem));
        }
        stack.pop(1);
    }
    match n.unwrap_or(last) {
        count @ 0..=ARGUMENT_LIMIT => Ok(Arguments::Many { list, count: count as c_int }),
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
fn push_callable(stack: &Protected, index: i64) -> Result<bool> {
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
        kind => format!(
            "must be a function or a callable table, got a {}: write func = f, not \"f\" or f()",
            kind.name()
        ),
    };
    Err(bad_task(index, ".func", problem))
}

/// Appends the message of a task's arguments. A callable table, below the top, is the first of them. *Raises.*
fn encode_arguments(
    stack: &Protected,
    encoder: &mut Encoder,
    callable: bool,
    arguments: Arguments,
) -> Result<()> {
    let count = match arguments {
        Arguments::Few { first, count } if !callable => {
            if (first..first + count).all(|index| stack.kind(index).is_plain()) {
                return encoder.plain_message(stack, first, count);
            }
            count
        }
        Arguments::Few { count, .. } | Arguments::Many { count, .. } => count,
    };
    encoder.begin(count as usize + usize::from(callable));
    if callable {
        stack.push_value(-2);
        encoder.extra_value(stack)?;
    }
    for n in 1..=count {
        match arguments {
            Arguments::Few { first, .. } => stack.push_value(first + n - 1),
            Arguments::Many { list, .. } => {
                stack.raw_get_i(list, n.into());
            }
        }
        encoder.next_value(stack)?;
    }
    Ok(())
}
