//! Which values may cross, and under which names.

use crate::codec::frame::Path;
use crate::error::Result;
use crate::ffi::{Protected, Type};
use crate::names::LIBRARIES;

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

/// The addresses of the tables of a state's standard library, and of its globals.
#[derive(Clone, Copy, Debug, Default)]
pub struct Libraries {
    addresses: [usize; LIBRARIES.len() + 1],
    lowest: usize,
    highest: usize,
}

impl Libraries {
    /// Reads the addresses. `push` pushes the library of a name, or anything but a table.
    pub fn read(stack: &Protected, push: fn(&Protected, &str) -> Type) -> Libraries {
        let mut libraries = Libraries { lowest: usize::MAX, ..Libraries::default() };
        for (at, name) in LIBRARIES.iter().enumerate() {
            push(stack, name);
            libraries.add(stack, at);
        }
        stack.push_globals();
        libraries.add(stack, LIBRARIES.len());
        libraries
    }

    /// Adds the address of the table on top, if it is one, and pops it.
    fn add(&mut self, stack: &Protected, at: usize) {
        if stack.kind(-1) == Type::Table {
            let address = stack.pointer(-1);
            self.addresses[at] = address;
            self.lowest = self.lowest.min(address);
            self.highest = self.highest.max(address);
        }
        stack.pop(1);
    }

    /// Whether a table's address is one of these. Most are not even near.
    #[inline]
    pub fn contains(&self, address: usize) -> bool {
        (self.lowest..=self.highest).contains(&address) && self.addresses.contains(&address)
    }
}

/// The names of functions and tables that exist on both sides.
pub trait Names {
    /// The name of the function or table on top of the stack.
    fn name_of(&self, stack: &Protected) -> Option<String>;

    /// The tables of the standard library, and the table of globals. Each message with tables asks for them.
    fn libraries(&self, _: &Protected) -> Libraries {
        Libraries::default()
    }

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
