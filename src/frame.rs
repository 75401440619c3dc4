//! Where a walk over a value is: a frame for each table and function that it is in. An error says so as a path.

use std::ffi::c_int;
use std::fmt;

use crate::codec::{self, SEPARATOR};
use crate::error::{Error, Remedy};
use crate::ffi::{Stack, Type};
use crate::seen::Seen;

pub struct TableFrame {
    pub stack: Stack,
    /// Where the table stands; its current key is in the slot above.
    pub slot: c_int,
    pub header: usize,
    pub array: u32,
    pub record: u32,
    /// The walk is still in 1, 2, 3…, which `next` gives first.
    pub in_array: bool,
    /// The key is being written, and its value waits on the stack.
    pub in_key: bool,
    /// It is the `_ENV` of a function.
    pub is_environment: bool,
}

pub struct FunctionFrame {
    pub stack: Stack,
    pub slot: c_int,
    pub seen: Seen,
    /// The upvalue being written, from 1.
    pub upvalue: c_int,
    pub count: c_int,
}

pub enum Frame {
    Table(TableFrame),
    Function(FunctionFrame),
}

/// The name of the upvalue in which Lua looks up globals.
pub const ENVIRONMENT: &str = "_ENV";

impl FunctionFrame {
    /// The error of the upvalue that the walk is at: one of that kind can't cross.
    pub fn refusal(&self, here: &Stack, kind: Type) -> Error {
        let (holds, remedy) = match kind {
            Type::Function => ("a C function", Remedy::CallOrRequire),
            Type::Userdata => ("a userdata", Remedy::MakeOrPass),
            Type::Thread => ("a coroutine", Remedy::Make),
            Type::Number => ("a number", Remedy::PassOrCopy),
            Type::String => ("a string", Remedy::PassOrCopy),
            Type::Boolean => ("a boolean", Remedy::PassOrCopy),
            Type::Table => ("a table", Remedy::PassOrCopy),
            _ => ("a light userdata", Remedy::PassOrCopy),
        };
        let name = here.upvalue_name(self.slot, self.upvalue);
        // An argument can't be an environment.
        let remedy = if name == ENVIRONMENT && kind == Type::Table { Remedy::Copy } else { remedy };
        Error::Upvalue { name, holds: holds.into(), function: here.place_of(self.slot), remedy }
    }

    /// The error of an environment whose metatable does something that a copy would not.
    pub fn environment_refusal(&self, here: &Stack) -> Error {
        Error::Upvalue {
            name: ENVIRONMENT.to_owned(),
            holds: "a table with a metatable".into(),
            function: here.place_of(self.slot),
            remedy: Remedy::PlainEnvironment,
        }
    }
}

/// The error of a function that nobody calls with arguments of theirs.
pub fn without_arguments(error: Error) -> Error {
    match error {
        Error::Upvalue { name, holds, function, remedy: Remedy::PassOrCopy } => {
            Error::Upvalue { name, holds, function, remedy: Remedy::Copy }
        }
        error => error,
    }
}

/// The way to a part of a value, for an error: `.deep[1]`.
pub struct Path {
    /// The position in the list that the value is, if the way begins with one.
    item: Option<i64>,
    /// Each step's text.
    steps: Vec<String>,
}

impl Path {
    /// The way to where the walk is.
    pub fn to(frames: &[Frame]) -> Path {
        let item = match frames.first() {
            Some(Frame::Table(table)) if !table.in_key => table.stack.whole(table.slot + 1),
            _ => None,
        };
        Path { item, steps: frames.iter().map(step).collect() }
    }

    /// The position in the list that the value is, and the way from there, if the way begins with one.
    pub fn split_item(&self) -> Option<(i64, String)> {
        Some((self.item?, self.steps[1..].concat()))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| f.write_str(step))
    }
}

/// The way from what a frame is in to what it holds.
fn step(frame: &Frame) -> String {
    match frame {
        Frame::Table(table) if table.in_key => ", in a key".to_owned(),
        Frame::Table(table) => key(&table.stack, table.slot + 1),
        Frame::Function(function) => {
            let name = function.stack.upvalue_name(function.slot, function.upvalue);
            let place = function.stack.place_of(function.slot);
            format!(", in upvalue '{name}' of the function at {place}")
        }
    }
}

/// The name, by its keys, of the function that the walk is at. A key that can't be part of one leaves it without.
pub fn name(frames: &[Frame]) -> Option<String> {
    let mut name = codec::GMA.to_owned();
    for frame in frames {
        let Frame::Table(table) = frame else { return None };
        let key = table.stack.bytes(table.slot + 1);
        let key = std::str::from_utf8(key).ok().filter(|key| !key.is_empty() && !key.contains(SEPARATOR));
        name.push(SEPARATOR);
        name.push_str(key?);
    }
    Some(name)
}

/// A key as a step of a path: `.key`, `[1]` or `["a key"]`.
fn key(stack: &Stack, index: c_int) -> String {
    match stack.kind(index) {
        Type::String => {
            let key = String::from_utf8_lossy(stack.bytes(index)).into_owned();
            let is_word = key.chars().next().is_some_and(|first| first == '_' || first.is_ascii_alphabetic())
                && key.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
            if is_word { format!(".{key}") } else { format!("[{key:?}]") }
        }
        Type::Number => match stack.whole(index) {
            Some(key) => format!("[{key}]"),
            None => format!("[{}]", stack.number(index).unwrap_or(f64::NAN)),
        },
        Type::Boolean => format!("[{}]", stack.boolean(index)),
        kind => format!("[a {}]", kind.name()),
    }
}
