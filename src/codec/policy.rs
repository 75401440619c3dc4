//! Which values may cross, and under which names.

use crate::codec::frame::Path;
use crate::error::Result;
use crate::ffi::Protected;

/// The treatment of data (numbers, texts, booleans, plain tables) in a function's upvalues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Upvalues {
    /// The function is refused. The error says what to do.
    #[default]
    Error,
    /// The data is copied like an argument. A function that writes to it is refused, because the writes would be lost.
    Copy,
    /// The data is copied like an argument. Each task has its own.
    Private,
}

/// The treatment of functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Functions {
    /// Their code and upvalues cross, to a task.
    Carry(Upvalues),
    /// Their code and upvalues cross, from a task. What they have written to these comes along, so nothing is lost.
    Return(Upvalues),
    /// They are refused: a task can't pass one to a host call.
    Refuse,
    /// Only the shape of the `gma` table crosses: each function becomes a name, made of [`crate::codec::GMA`] and its keys.
    /// Values that are neither functions nor data are left out.
    Shape,
    /// Only plain data crosses. In place of each function, userdata, coroutine and table with a name stands the table of
    /// globals; fields whose keys are not scalars are left out.
    Data,
}

impl Functions {
    /// Whether only fields with scalar keys cross.
    pub fn skips_keys(self) -> bool {
        matches!(self, Functions::Shape | Functions::Data)
    }
}

/// The names of functions and tables that exist on both sides.
pub trait Names {
    /// The name of the function or table on top of the stack.
    fn name_of(&self, stack: &Protected) -> Option<String>;

    /// Whether there are modules. Otherwise the encoder does not call the next two methods.
    fn has_modules(&self, _: &Protected) -> Result<bool> {
        Ok(false)
    }

    /// The name of the function or table on top of the stack, if it is a module or a part of one.
    fn name_in_module(&self, _: &Protected) -> Result<Option<String>> {
        Ok(None)
    }

    /// The name of the table on top of the stack, which is a metatable, if it is a module or a part of one.
    fn class_name(&self, stack: &Protected) -> Result<Option<String>> {
        self.name_in_module(stack)
    }
}

/// How the encoder treats the values of a message.
pub struct Policy<'a> {
    pub names: &'a dyn Names,
    pub functions: Functions,
    /// Describes the place of an error, from the value's position, from 1, and the path in it (`.deep.h`).
    pub place: &'a dyn Fn(usize, &Path) -> String,
}
