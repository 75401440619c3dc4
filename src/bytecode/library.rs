//! The parts of the standard library that change a table or hand one on.

/// A part of the standard library with a known effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Known {
    /// The globals.
    Globals,
    /// The library `table`.
    Table,
    /// A function that changes its first argument, and returns something out of it or nothing: `table.insert`, `remove`, `sort`.
    Change,
    /// A function that changes its first argument and returns it: `rawset`, `setmetatable`.
    ChangeAndReturn,
    /// `table.move`, which changes its fifth argument, or else its first.
    Move,
    /// A function that returns things out of its first argument: `next`, `rawget`, `table.unpack`.
    Take,
    /// `pairs`, `ipairs`: returns an iterator, and its first argument.
    Iterate,
    /// `assert`, which returns its arguments.
    Assert,
    /// `select`, which returns its arguments from some position up.
    Select,
    /// A function that calls its first argument with those after the first `n`: `pcall`, `xpcall`.
    Call(u8),
}

/// The part of the standard library of this name, if it matters.
pub fn named(name: &str) -> Option<Known> {
    Some(match name {
        "_G" => Known::Globals,
        "table" => Known::Table,
        "table.insert" | "table.remove" | "table.sort" => Known::Change,
        "rawset" | "setmetatable" => Known::ChangeAndReturn,
        "table.move" => Known::Move,
        "next" | "rawget" | "table.unpack" => Known::Take,
        "pairs" | "ipairs" => Known::Iterate,
        "assert" => Known::Assert,
        "select" => Known::Select,
        "pcall" => Known::Call(1),
        "xpcall" => Known::Call(2),
        _ => return None,
    })
}

impl Known {
    /// The field of this table.
    pub fn field(self, key: &[u8]) -> Option<Known> {
        let key = std::str::from_utf8(key).ok()?;
        match self {
            Known::Globals => named(key),
            Known::Table => named(&format!("table.{key}")),
            _ => None,
        }
    }
}
