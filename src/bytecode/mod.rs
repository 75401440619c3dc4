//! Reads the code of functions, to know what they do without running them.
//!
//! Works on the format of `lua_dump` and the instructions of Lua 5.3 (`ldump.c`, `lopcodes.h`). A vendor may have changed
//! either: then nothing is known about any function, see [`has_stock_opcodes`].
//!
//! | file | job |
//! |---|---|
//! | `purity` | finds functions without side effects, after which a state needs no restoring |
//! | `writes` | finds the captured variables that functions write to |
//! | `library` | the parts of the standard library that change a table or hand one on |
//! | `facts` | sets of facts about a value |
//! | `samples` | code with a known judgement, to try whether this Lua is stock Lua |
//! | `globals` | finds the globals that a line of a function reads |
//! | `dump` | reads dumped functions |
//! | `instruction` | the instructions and their operands |

pub mod dump;
mod facts;
mod globals;
pub mod instruction;
#[cfg(all(test, feature = "linked"))]
mod judgements;
mod library;
mod purity;
mod samples;
mod writes;

pub use globals::{Global, globals_of};
pub use purity::has_no_side_effects;
pub use samples::has_stock_opcodes;
pub use writes::{Carried, Held, Written, find_writes};
