//! The encoder's position in a value: a frame for each open table and function. The path in an error and the name of a
//! function under `gma` are made from the frames.

use std::ffi::c_int;
use std::fmt;

use crate::codec::identity_map::Entry;
use crate::codec::wire::SEPARATOR;
use crate::error::{Error, Refusal, Remedy};
use crate::ffi::{Stack, Type};

pub struct TableFrame {
    /// The slot of the table; its current key is in the slot above.
    pub slot: c_int,
    pub header: usize,
    pub array: u32,
    pub record: u32,
    /// All keys so far were 1, 2, 3…, which `next` returns first.
    pub in_array: bool,
    /// The key is being written; its value is on the stack.
    pub in_key: bool,
    pub role: Role,
}

/// What a table is to the functions of its message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Value,
    /// The `_ENV` of a function.
    Environment,
    /// The value of a captured variable, by its number.
    Captured(u32),
    /// Like [`Role::Captured`], in a message that will be refused: only functions among the fields matter.
    Refused(u32),
}

pub struct FunctionFrame {
    pub slot: c_int,
    pub entry: Entry,
    /// Its position among the functions of the message.
    pub position: usize,
    /// The upvalue that is being written, from 1.
    pub upvalue: c_int,
    pub count: c_int,
}

pub enum Frame {
    Table(TableFrame),
    Function(FunctionFrame),
}

/// The name of the upvalue that holds a function's globals.
pub const ENVIRONMENT: &str = "_ENV";

impl FunctionFrame {
    /// The refusal of the current upvalue, which is of a kind that can't cross.
    pub fn refusal(&self, here: &Stack, kind: Type) -> Refusal {
        let (holds, remedy) = match kind {
            Type::Function => ("a C function", Remedy::CallOrRequire),
            Type::Userdata => ("a userdata", Remedy::MakeOrPass),
            Type::Thread => ("a coroutine", Remedy::Make),
            Type::Nil => ("nil", Remedy::PassOrCopy),
            Type::Number => ("a number", Remedy::PassOrCopy),
            Type::String => ("a string", Remedy::PassOrCopy),
            Type::Boolean => ("a boolean", Remedy::PassOrCopy),
            Type::Table => ("a table", Remedy::PassOrCopy),
            _ => ("a light userdata", Remedy::PassOrCopy),
        };
        let name = here.upvalue_name(self.slot, self.upvalue);
        // An environment can't be passed as an argument.
        let remedy = if name == ENVIRONMENT && kind == Type::Table { Remedy::Copy } else { remedy };
        Refusal { name, holds: holds.into(), function: here.place_of(self.slot), remedy }
    }

    /// The refusal of an environment whose metatable has effects that a copy would lack.
    pub fn environment_refusal(&self, here: &Stack) -> Refusal {
        Refusal {
            name: ENVIRONMENT.to_owned(),
            holds: "a table with a metatable".into(),
            function: here.place_of(self.slot),
            remedy: Remedy::PlainEnvironment,
        }
    }
}

/// The same error with other advice.
fn advise(mut error: Error, remedy: impl Fn(&Refusal) -> Remedy) -> Error {
    if let Error::Upvalues(refusals) = &mut error {
        for refusal in refusals.named_mut() {
            refusal.remedy = remedy(refusal);
        }
    }
    error
}

/// The same error without advice about arguments and results, for a function that gets none from a task.
pub fn without_arguments(error: Error) -> Error {
    advise(error, |refusal| match refusal.remedy {
        Remedy::PassOrCopy => Remedy::Copy,
        Remedy::Return => Remedy::Private,
        remedy => remedy,
    })
}

/// The same error without advice about results and caches, for `init`, whose variables no task sees.
pub fn of_init(error: Error) -> Error {
    advise(error, |refusal| match refusal.remedy {
        Remedy::Return => Remedy::SetGlobal,
        remedy => remedy,
    })
}

/// The same error with advice about captured tables that have the name of one of these globals.
pub fn hiding(error: Error, globals: &[Option<&str>]) -> Error {
    advise(error, |Refusal { name, holds, remedy, .. }| {
        let hides = holds == "a table" && globals.contains(&Some(name));
        if hides { Remedy::Rename } else { *remedy }
    })
}

/// The path to a part of a value, for an error: `.deep[1]`.
#[derive(Clone, Default)]
pub struct Path {
    /// The position in a list that is the first step, if it is one.
    item: Option<i64>,
    steps: Vec<String>,
}

impl Path {
    /// Appends the path through these frames, which must all be on this stack.
    pub fn push(&mut self, frames: &[Frame], stack: &Stack) {
        for frame in frames {
            if self.steps.is_empty()
                && let Frame::Table(table) = frame
                && !table.in_key
            {
                self.item = stack.whole(table.slot + 1);
            }
            self.steps.push(step(frame, stack));
        }
    }

    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Drops all steps but the first `length`.
    pub fn truncate(&mut self, length: usize) {
        self.steps.truncate(length);
        if length == 0 {
            self.item = None;
        }
    }

    /// If the first step is a position in a list, returns it and the rest of the path.
    pub fn split_item(&self) -> Option<(i64, String)> {
        Some((self.item?, self.steps[1..].concat()))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| f.write_str(step))
    }
}

/// The step from a table or function into the part of it that is being written.
fn step(frame: &Frame, stack: &Stack) -> String {
    match frame {
        Frame::Table(table) if table.in_key => ", in a key".to_owned(),
        Frame::Table(table) => key(stack, table.slot + 1),
        Frame::Function(function) => {
            let name = stack.upvalue_name(function.slot, function.upvalue);
            let place = stack.place_of(function.slot);
            format!(", in upvalue '{name}' of the function at {place}")
        }
    }
}

/// Appends the keys of these frames, which must all be on this stack, to a name. False if a key can't be part of a name.
pub fn push_name(name: &mut String, frames: &[Frame], stack: &Stack) -> bool {
    frames.iter().all(|frame| {
        let Frame::Table(table) = frame else { return false };
        name.push(SEPARATOR);
        stack.with_bytes(table.slot + 1, |key| {
            let key = std::str::from_utf8(key).ok().filter(|key| !key.is_empty() && !key.contains(SEPARATOR));
            name.push_str(key.unwrap_or_default());
            key.is_some()
        })
    })
}

/// A key as a step of a path: `.key`, `[1]` or `["a key"]`.
fn key(stack: &Stack, index: c_int) -> String {
    match stack.kind(index) {
        Type::String => {
            let key = stack.text(index);
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
