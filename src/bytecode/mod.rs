//! Reads the code of functions, to know what they do without running them.
//!
//! Works on the format of `lua_dump` and the instructions of stock Lua. A vendor may have changed either: then nothing is
//! known about any function.
//!
//! | file | job |
//! |---|---|
//! | `samples` | code with a known judgement, to try whether this Lua is stock Lua |
//! | `purity` | finds functions without side effects, after which a state needs no restoring |
//! | `writes` | finds the captured variables that functions write to |
//! | `library` | the parts of the standard library that change a table or hand one on |
//! | `facts` | sets of facts about a value |
//! | `globals` | finds the globals that a line of a function reads |
//! | `dump` | makes and reads dumped functions |
//! | `instruction` | what instructions do |
//! | `lua53`, `lua54` | the instructions of one version of Lua, and its format of a dump |
//! | `judgements` | tests of `writes` |

pub mod dump;
mod facts;
mod globals;
pub mod instruction;
#[cfg(all(test, feature = "linked"))]
mod judgements;
mod library;
mod purity;
mod samples;
#[cfg_attr(feature = "lua54", path = "lua54.rs")]
#[cfg_attr(not(feature = "lua54"), path = "lua53.rs")]
mod version;
mod writes;

pub use globals::Global;
pub use writes::{Carried, Held, Written};

/// Whether a dumped function is known to have no side effects, see [`purity::has_no_side_effects`].
pub fn has_no_side_effects(dump: &[u8]) -> bool {
    // Few functions are without side effects. The samples take longer than all that a job of one task does.
    purity::has_no_side_effects(dump) && samples::has_stock_opcodes_for_purity()
}

/// Judges each variable that functions have captured. What is not known to be written counts as not written.
pub fn find_writes(carried: &[Carried], held: &[Held]) -> Vec<Written> {
    let written = if samples::has_stock_opcodes() { writes::find(carried, held) } else { None };
    written.unwrap_or_else(|| vec![Written::default(); held.len()])
}

/// The globals that a dumped function is known to read, see [`globals::globals_of`].
pub fn globals_of(dump: &[u8], only: Option<u32>) -> Vec<Global> {
    if samples::has_stock_opcodes() { globals::globals_of(dump, only) } else { Vec::new() }
}
