//! Reads the list of tasks, checks it, and encodes it into messages.
//!
//! Host side. Access is raw: no metamethod runs. Each function is dumped once. If a function or an argument can't cross, only
//! its task fails; a malformed list is refused as a whole.

mod arguments;
mod early_worker;
#[cfg(all(test, feature = "linked"))]
mod tests;

use std::cell::Cell;
use std::ffi::c_int;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::codec::{self, Blocks, Encoder, Functions, Names, Path, Policy, Upvalues, encode};
use crate::config::{self, Config, WorkerCount};
use crate::environment::Init;
use crate::error::{Error, Place, Problem, Result};
use crate::ffi::{Pins, Protected, Stack, Type, native};
use crate::gma;
use crate::host::HostNames;
use crate::job::{Extras, Streamed, Tasks};
use crate::recurring::{Recurring, Slots};
use crate::value::Value;
use arguments::{Arguments, Contents, count_arguments, encode_arguments};
pub use early_worker::EarlyWorker;
use early_worker::Sender;

/// Reads the list of tasks into messages.
pub struct TaskReader<'a> {
    names: &'a HostNames,
    upvalues: Upvalues,
    /// The index in `functions`, or the error, of each function, by its address.
    known: FxHashMap<usize, Result<u32>>,
    /// The address and the index of the last function: tasks often have the same one.
    last: Option<(usize, u32)>,
    /// The number of tasks in the list.
    count: i64,
    /// Pins long texts among the arguments, if that is possible.
    pins: Option<&'a Pins<'a>>,
    workers: WorkerCount,
    /// None once the arguments that several tasks have were looked for.
    recurring: Option<Recurring>,
    memory_limit: usize,
    sandbox: bool,
    /// The globals of tasks that a captured local may hide.
    pub globals: [Option<&'static str>; 2],
    pub functions: Vec<Vec<u8>>,
    pub tasks: Tasks,
    /// The worker that decodes the arguments of a task already, if there is one.
    pub early_worker: Option<EarlyWorker>,
}

/// The slot of the list of tasks. The names of a task's fields are above it.
const LIST: c_int = 1;
const FIELDS: [&str; 4] = ["func", "args", "name", "timeout"];
const NAMES: c_int = 2;

/// The slot of the current task. Its keys and values are above it.
const TASK: c_int = NAMES + FIELDS.len() as c_int;

/// The slots of the values of a task's fields; [`ABSENT`] for a missing field.
#[derive(Clone, Copy)]
struct Fields {
    func: c_int,
    args: c_int,
    name: c_int,
    timeout: c_int,
}

const ABSENT: c_int = 0;

/// The positions of three arguments of a `Map`'s task: its items, the callable table that was passed to `Map`, and the arguments
/// that follow an item. See lua/map.lua.
const ITEMS: usize = 1;
const CALLABLE: usize = 2;
const EXTRA: usize = 3;

/// The sizes in bytes of the messages of a small function and of a few numbers. Reserved at once, because growing a buffer takes
/// longer than writing either.
const FUNCTION_SIZE: usize = 512;
const ARGUMENTS_SIZE: usize = 32;

/// The size in bytes from which on arguments leave in blocks.
const BLOCK: usize = 256 << 10;

/// Enough stack slots for the list, a task, its fields and a few arguments.
const SLOTS: c_int = 40;

impl<'a> TaskReader<'a> {
    pub fn new(names: &'a HostNames, config: &Config, pins: Option<&'a Pins<'a>>) -> TaskReader<'a> {
        TaskReader {
            names,
            pins,
            workers: config.workers,
            upvalues: config.upvalues,
            known: FxHashMap::default(),
            last: None,
            count: 0,
            recurring: Some(Recurring::new(config.workers, config.mode)),
            memory_limit: config.memory_limit,
            sandbox: config.sandbox,
            globals: [None; 2],
            functions: Vec::new(),
            tasks: Tasks::default(),
            early_worker: None,
        }
    }

    /// Reads the list on top of the stack, and pops it.
    pub fn read(&mut self, stack: &Stack) -> Result<()> {
        let count = stack.protected(1, |stack| count_tasks(stack, LIST))?;
        self.tasks.reserve(count as usize)?;
        self.count = count;
        let mut extras = Extras::default();
        let mut arguments = std::mem::take(&mut self.tasks.arguments);
        arguments.try_reserve(ARGUMENTS_SIZE * count as usize)?;
        // The number of tasks that can begin at once.
        let at_once = self.workers.of(count as usize) as i64;
        let names = self.names;
        let first_item = Cell::new(None);
        let place = |n: usize, path: &Path| match (first_item.get(), n, path.split_item()) {
            (Some(first), ITEMS, Some((item, path))) => format!("list[{}]{path}", first + item - 1),
            (Some(_), CALLABLE, _) => format!("func{path}"),
            (Some(_), EXTRA, _) => format!("args{path}"),
            _ => format!("args[{n}]{path}"),
        };
        let sender = Sender::new(self.memory_limit, self.sandbox);
        let (begin, send) = (|| sender.begin(), |block| sender.send(block));
        let blocks = Blocks { size: BLOCK, begin: &begin, send: &send };
        let functions = Functions::Carry(self.upvalues);
        let policy = Policy { names, functions, place: &place };
        let encoder = &mut Encoder::new(&mut arguments, &policy);
        if let Some(pins) = self.pins {
            encoder.pin_texts(pins);
        }
        let read = |stack: &Protected| {
            if !stack.check(SLOTS) {
                return Err(Error::Memory);
            }
            let mut names = FieldNames::default();
            for (name, field) in names.iter_mut().zip(&FIELDS) {
                stack.push_bytes(field.as_bytes());
                *name = address(stack, -1);
            }
            for index in 1..=count {
                stack.set_top(TASK - 1);
                first_item.set(self.tasks.first_item(index as usize - 1));
                if stack.raw_get_i(LIST, index) != Type::Table {
                    let expected = "a task { func = f, args = { ... } }";
                    return Err(unexpected(index, "", expected, stack.kind(-1), ""));
                }
                let fields = read_fields(stack, &names, index)?;
                // The worker takes it first, so all tasks before it must begin at once as well.
                let blocks = (self.pins.is_some() && index <= at_once && sender.is_free()).then_some(blocks);
                let start = encoder.length();
                self.read_task(stack, index, fields, encoder, &mut extras, blocks)?;
                if blocks.is_some()
                    && let Some(blocks) = sender.blocks()?
                {
                    if encoder.is_rest(start) {
                        self.tasks.streamed = Some(Streamed { task: index as usize - 1, blocks });
                    } else {
                        sender.void();
                    }
                }
                if index == at_once
                    && let Some(pins) = self.pins
                {
                    pins.begin_late();
                }
            }
            stack.set_top(0);
            Ok(())
        };
        let read = stack.protected(1, read);
        encoder.resume_collector(stack)?;
        read?;
        self.tasks.common = Arc::new(encoder.take_common());
        self.tasks.arguments = arguments;
        self.early_worker = sender.finish();
        self.tasks.pinned = self.pins.and_then(Pins::texts);
        Ok(())
    }

    /// Reads the task whose fields are on the stack.
    fn read_task<'e>(
        &mut self,
        stack: &Protected,
        index: i64,
        fields: Fields,
        encoder: &mut Encoder<'e>,
        extras: &mut Extras,
        blocks: Option<Blocks<'e>>,
    ) -> Result<()> {
        extras.name = match fields.name {
            ABSENT => None,
            slot => match stack.kind(slot) {
                Type::String => Some(stack.text(slot).into()),
                kind => return Err(unexpected(index, ".name", "a string", kind, "")),
            },
        };
        extras.timeout = match fields.timeout {
            ABSENT => None,
            slot => Some(read_timeout(stack, index, slot)?),
        };
        let arguments = match fields.args {
            ABSENT => Arguments::OnStack { first: 1, count: 0 },
            slot => match stack.kind(slot) {
                Type::Table => count_arguments(stack, slot, index)?,
                kind => {
                    let advice = "write args = { value, ... }";
                    return Err(unexpected(index, ".args", "a table", kind, advice));
                }
            },
        };
        let encoded = self.encode_task(stack, index, fields.func, encoder, arguments, blocks)?;
        match encoded {
            Ok(function) => self.tasks.push(function, encoder.length(), extras),
            // A hook's error is not the task's.
            Err(error) if error.is_a_hooks() => return Err(error),
            Err(error) => self.tasks.refuse(error),
        }
        *extras = Extras::default();
        Ok(())
    }

    /// Encodes the task's function and arguments, and returns the index of the function. The inner error is the task's own.
    fn encode_task<'e>(
        &mut self,
        stack: &Protected,
        index: i64,
        func: c_int,
        encoder: &mut Encoder<'e>,
        arguments: Arguments,
        blocks: Option<Blocks<'e>>,
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
                if callable && self.is_module(stack)? {
                    // Its own `__call` may have captured what can't cross.
                    stack.pop(1);
                    stack.push_native(native(gma::call));
                }
                match self.function(stack) {
                    Ok(function) => (callable, function),
                    Err(error) => return Ok(Err(error)),
                }
            }
        };
        let arguments_are = Contents::of(stack, callable, arguments);
        if arguments_are != Contents::Small && self.recurring.is_some() {
            self.find_recurring(stack, index, encoder)?;
        }
        let is_plain = arguments_are != Contents::Other;
        Ok(encode_arguments(stack, encoder, callable, arguments, is_plain, blocks).map(|()| function))
    }

    /// Encodes the arguments that several tasks have, once. No task before this one has an argument that could be one, or hold
    /// one.
    fn find_recurring(&mut self, stack: &Protected, index: i64, encoder: &mut Encoder) -> Result<()> {
        if let Some(recurring) = &mut self.recurring {
            let slots = Slots { list: LIST, func: NAMES, args: NAMES + 1 };
            recurring.encode(stack, &slots, (index, self.count), encoder)?;
        }
        self.recurring = None;
        Ok(())
    }

    /// Whether the callable table below the top crosses by name.
    fn is_module(&self, stack: &Protected) -> Result<bool> {
        if !self.names.has_modules(stack)? {
            return Ok(false);
        }
        stack.push_value(-2);
        let is_module = self.names.name_in_module(stack)?.is_some();
        stack.pop(1);
        Ok(is_module)
    }

    /// The index of the function on top. It is dumped at its first occurrence.
    fn function(&mut self, stack: &Stack) -> Result<u32> {
        let pointer = stack.pointer(-1);
        let function = match self.known.get(&pointer) {
            Some(known) => known.clone(),
            None => {
                let function = self.dump(stack);
                self.known.insert(pointer, function.clone());
                function
            }
        };
        self.last = function.as_ref().ok().map(|function| (pointer, *function));
        function
    }

    fn dump(&mut self, stack: &Stack) -> Result<u32> {
        let mut message = Vec::new();
        message.try_reserve(FUNCTION_SIZE)?;
        let place = |_, path: &Path| format!("func{path}");
        let policy = Policy { names: self.names, functions: Functions::Carry(self.upvalues), place: &place };
        stack.push_value(-1);
        encode(stack, 1, &mut message, &policy).map_err(|error| self.refusal(stack, error))?;
        self.functions.push(message);
        Ok(self.functions.len() as u32 - 1)
    }

    /// The error of the function on top, which can't cross. The function of a `Map`'s tasks is not the caller's, but has captured
    /// the function that was passed to `Map`.
    fn refusal(&self, stack: &Stack, error: Error) -> Error {
        if let Error::Upvalues(refusals) = &error
            && self.tasks.chunk.is_some()
            && let own = stack.place_of(-1)
            && let Some(refusal) = refusals.named().iter().find(|refusal| refusal.function == own)
        {
            return Error::MapFunction { holds: refusal.holds.clone() };
        }
        codec::hiding(error, &self.globals)
    }
}

/// Reads the option `init` on top of the stack, a function or a table with it, and pops it. The rules are those of a task.
pub fn read_init(stack: &Stack, names: &HostNames, config: &Config) -> Result<Init> {
    stack.protected(1, |stack| {
        if stack.kind(1) == Type::Function {
            stack.create_table(0, 1);
            stack.insert(1);
            stack.raw_set_text(1, FIELDS[0]);
        }
        stack.create_table(1, 0);
        stack.insert(1);
        stack.raw_set_i(1, 1);
        Ok(())
    })?;
    // Workers may read these at any time of the job.
    let mut reader = TaskReader::new(names, config, None);
    reader.read(stack).map_err(|error| match error {
        Error::BadConfig { place: Place::Task { field, .. }, problem } => {
            Error::BadConfig { place: Place::Init { field }, problem }
        }
        error => error,
    })?;
    let mut tasks = reader.tasks;
    if let Err(cause) = tasks.get(0) {
        let cause = match cause {
            Error::Unsendable { what, path } => Error::Unsendable { what, path: format!("init.{path}") },
            cause => codec::of_init(cause),
        };
        return Err(Error::option("init", Problem::Unsendable(Box::new(cause))));
    }
    let function = reader.functions.pop().unwrap_or_default();
    let timeout = tasks.own_timeout(0);
    Ok(Init { function, arguments: std::mem::take(&mut tasks.arguments), timeout })
}

fn bad_task(index: i64, field: &'static str, problem: Problem) -> Error {
    Error::BadConfig { place: Place::Task { index, field }, problem }
}

/// The error of a task, or its field, whose value is not of the expected kind.
fn unexpected(
    index: i64,
    field: &'static str,
    expected: &'static str,
    kind: Type,
    advice: &'static str,
) -> Error {
    let got = format!("a {}", kind.name());
    bad_task(index, field, Problem::Unexpected { expected: expected.into(), got, advice })
}

/// The number of tasks in the list, which must have no holes.
fn count_tasks(stack: &Protected, list: c_int) -> Result<i64> {
    let (mut count, mut last) = (0, 0);
    let table = stack.table(list);
    stack.push_nil();
    while table.next() {
        match stack.kind(-2) {
            Type::Number if stack.is_integer(-2) => {
                let index = stack.integer(-2).unwrap_or(0);
                if index < 1 {
                    return Err(Error::option("tasks", Problem::StartsBefore(index)));
                }
                count += 1;
                last = last.max(index);
            }
            Type::String if stack.has_bytes(-2, b"n") => {}
            Type::String => {
                let name = stack.text(-2);
                let example = "tasks = { { func = f, args = { ... } }, ... }";
                return Err(Error::option("tasks", Problem::Field { name, example }));
            }
            kind => return Err(Error::option("tasks", Problem::BadKey(kind.name()))),
        }
        stack.pop(1);
    }
    if count != last {
        let mut hole = 1;
        while stack.raw_get_i(list, hole) != Type::Nil {
            stack.pop(1);
            hole += 1;
        }
        return Err(bad_task(hole, "", Problem::Hole { last }));
    }
    Ok(count)
}

/// The addresses of the names of a task's fields. Lua interns short strings, so equal ones are identical.
type FieldNames = [usize; FIELDS.len()];

/// The address of a string's bytes; for any other value, an address that no string has.
fn address(stack: &Stack, index: c_int) -> usize {
    stack.with_bytes(index, |bytes| bytes.as_ptr() as usize)
}

/// Leaves the values of a task's fields on the stack. Refuses a field that looks like a misspelling; other fields are the
/// caller's own.
fn read_fields(stack: &Protected, names: &FieldNames, index: i64) -> Result<Fields> {
    let mut fields = Fields { func: ABSENT, args: ABSENT, name: ABSENT, timeout: ABSENT };
    let mut value = TASK + 2;
    let task = stack.table(TASK);
    stack.push_nil();
    while task.next() {
        let name = address(stack, -2);
        match names.iter().position(|known| *known == name) {
            Some(0) => fields.func = value,
            Some(1) => fields.args = value,
            Some(2) => fields.name = value,
            Some(_) => fields.timeout = value,
            None => {
                check_field(stack, index)?;
                stack.pop(1);
                continue;
            }
        }
        // The value stays below a copy of the key, for the next step.
        stack.push_value(-2);
        value += 2;
    }
    Ok(fields)
}

fn check_field(stack: &Stack, index: i64) -> Result<()> {
    if stack.kind(-2) != Type::String {
        return Ok(());
    }
    let name = stack.text(-2);
    match config::misnamed(&name, &FIELDS) {
        Some(meant) => Err(bad_task(index, "", Problem::Misnamed { name, meant })),
        None => Ok(()),
    }
}

/// The task's own time limit, at a slot; none if it is endless.
fn read_timeout(stack: &Stack, index: i64, slot: c_int) -> Result<Option<Duration>> {
    let value = Value::at(stack, slot);
    config::timeout(&value).ok_or_else(|| {
        let problem =
            Problem::Unexpected { expected: config::TIMEOUT.into(), got: value.describe(), advice: "" };
        bad_task(index, ".timeout", problem)
    })
}

/// Replaces the value on top with the function to run. True if it was a callable table, which stays below the function and must
/// be its first argument.
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
    Err(match kind {
        Type::Nil => bad_task(index, ".func", Problem::Missing { example: "{ func = f, args = { ... } }" }),
        kind => {
            let advice = "write func = f, not \"f\" or f()";
            unexpected(index, ".func", "a function or a callable table", kind, advice)
        }
    })
}
