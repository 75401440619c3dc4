//! What may cross, and under which names.

use crate::ffi::Protected;

/// What happens to data (numbers, texts, booleans, plain tables) that a function has captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Upvalues {
    /// The function can't cross, and the error says what to do.
    #[default]
    Error,
    /// It is copied like an argument.
    Copy,
}

/// What becomes of functions in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Functions {
    Carry(Upvalues),
    /// They are refused, as arguments of host calls.
    Refuse,
    /// For a table of functions, of which only the shape crosses: each is named by its keys, behind
    /// [`crate::codec::GMA`]. What is neither function nor data is left out.
    Shape,
}

/// The names of things that both sides have.
pub trait Names {
    /// The name of the function or table on top of the stack. *Raises.*
    fn name_of(&self, stack: &Protected) -> Option<String>;
}

/// How values are read.
pub struct Policy<'a> {
    pub names: &'a dyn Names,
    pub functions: Functions,
    /// Where something stands, for an error: under which keys (`.deep.h`) of the `n`-th value, from 1.
    pub place: &'a dyn Fn(usize, &str) -> String,
}
