//! Where a walk over a value is: a frame for each table and function that it is in. An error says so as a path.

use std::ffi::c_int;

use crate::codec::seen::Seen;
use crate::codec::wire::SEPARATOR;
use crate::error::Error;
use crate::ffi::{Stack, Type};

pub struct TableFrame {
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

const PASS_IT: &str = "pass it in args, or set upvalues = \"copy\"";
/// An argument can't be an environment.
const COPY_IT: &str = "set upvalues = \"copy\"";
const LET_IT_FALL_THROUGH: &str = "give that __index = _G and nothing else, or the function _G as its _ENV";

/// The name of the upvalue in which Lua looks up globals.
pub const ENVIRONMENT: &str = "_ENV";

impl FunctionFrame {
    /// The error of the upvalue that the walk is at: one of that kind can't cross.
    pub fn refusal(&self, here: &Stack, kind: Type) -> Error {
        let (holds, advice) = match kind {
            Type::Function => ("a C function", "call it on the host, or require its module in the task"),
            Type::Userdata => ("a userdata", "make it in the task, or pass what it holds in args"),
            Type::Thread => ("a coroutine", "make it in the task"),
            Type::Number => ("a number", PASS_IT),
            Type::String => ("a string", PASS_IT),
            Type::Boolean => ("a boolean", PASS_IT),
            Type::Table => ("a table", PASS_IT),
            _ => ("a light userdata", PASS_IT),
        };
        let name = here.upvalue_name(self.slot, self.upvalue);
        let advice = if name == ENVIRONMENT && kind == Type::Table { COPY_IT } else { advice };
        Error::Upvalue { name, holds: holds.into(), function: here.place_of(self.slot), advice }
    }

    /// The error of an environment whose metatable does something that a copy would not.
    pub fn environment_refusal(&self, here: &Stack) -> Error {
        Error::Upvalue {
            name: ENVIRONMENT.to_owned(),
            holds: "a table with a metatable".into(),
            function: here.place_of(self.slot),
            advice: LET_IT_FALL_THROUGH,
        }
    }
}

/// The error of a function that nobody calls with arguments of theirs.
pub fn without_arguments(error: Error) -> Error {
    match error {
        Error::Upvalue { name, holds, function, advice: PASS_IT } => {
            Error::Upvalue { name, holds, function, advice: COPY_IT }
        }
        error => error,
    }
}

/// Appends the way through frames, which all stand on one stack, to a path: `.deep[1]`.
pub fn push_path(path: &mut String, frames: &[Frame], stack: &Stack) {
    for frame in frames {
        match frame {
            Frame::Table(table) if table.in_key => path.push_str(", in a key"),
            Frame::Table(table) => push_key(path, stack, table.slot + 1),
            Frame::Function(function) => {
                let name = stack.upvalue_name(function.slot, function.upvalue);
                let place = stack.place_of(function.slot);
                path.push_str(&format!(", in upvalue '{name}' of the function at {place}"));
            }
        }
    }
}

/// Appends the keys on the way through frames, which all stand on one stack, to a name. False where one can't be part of one.
pub fn push_name(name: &mut String, frames: &[Frame], stack: &Stack) -> bool {
    frames.iter().all(|frame| {
        let Frame::Table(table) = frame else { return false };
        let key = std::str::from_utf8(stack.bytes(table.slot + 1)).ok();
        let key = key.filter(|key| !key.is_empty() && !key.contains(SEPARATOR));
        name.push(SEPARATOR);
        name.push_str(key.unwrap_or_default());
        key.is_some()
    })
}

/// Appends `.key`, `[1]` or `["a key"]` to a path.
fn push_key(path: &mut String, stack: &Stack, index: c_int) {
    match stack.kind(index) {
        Type::String => {
            let key = String::from_utf8_lossy(stack.bytes(index)).into_owned();
            let is_word = key.chars().next().is_some_and(|first| first == '_' || first.is_ascii_alphabetic())
                && key.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
            if is_word {
                path.push('.');
                path.push_str(&key);
            } else {
                path.push_str(&format!("[{key:?}]"));
            }
        }
        Type::Number => match stack.is_integer(index).then(|| stack.integer(index)).flatten() {
            Some(key) => path.push_str(&format!("[{key}]")),
            None => path.push_str(&format!("[{}]", stack.number(index).unwrap_or(f64::NAN))),
        },
        Type::Boolean => path.push_str(&format!("[{}]", stack.boolean(index))),
        kind => path.push_str(&format!("[a {}]", kind.name())),
    }
}
