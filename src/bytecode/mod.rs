//! Reads the code of functions, to know what they do without running them.
//!
//! Works on the format of `lua_dump` and the instructions of Lua 5.3 (`ldump.c`, `lopcodes.h`). A vendor may have changed
//! either: then nothing is known about any function, see [`has_stock_opcodes`].
//!
//! | file | job |
//! |---|---|
//! | `purity` | finds functions without side effects, after which a state needs no restoring |
//! | `globals` | finds the globals that a line of a function reads |
//! | `dump` | reads dumped functions |
//! | `instruction` | the instructions and their operands |

pub mod dump;
mod globals;
pub mod instruction;
mod purity;

use std::sync::OnceLock;

use crate::error::{Error, Result};
use crate::ffi::{OwnState, Stack};

pub use globals::{Global, globals_of};
pub use purity::has_no_side_effects;

/// Whether this Lua numbers its instructions as stock Lua does. A vendor may have changed that; then some sample is judged
/// wrong.
pub fn has_stock_opcodes() -> bool {
    static HAS_STOCK_OPCODES: OnceLock<bool> = OnceLock::new();
    *HAS_STOCK_OPCODES.get_or_init(|| check_samples().unwrap_or(false))
}

fn check_samples() -> Result<bool> {
    const LIMIT: usize = 1 << 20;
    let state = OwnState::new(LIMIT).ok_or(Error::Memory)?;
    for (code, expected) in purity::SAMPLES {
        if purity::looks_side_effect_free(&dump_of(&state.stack(), code)?) != expected {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The dump of the function that a chunk returns.
fn dump_of(stack: &Stack, code: &str) -> Result<Vec<u8>> {
    let mut dump = Vec::new();
    let out = &mut dump;
    stack.protected(0, |stack| {
        stack.load(code.as_bytes(), c"=code")?;
        stack.call(0, 1);
        stack.dump(out)?;
        stack.set_top(0);
        Ok(())
    })?;
    Ok(dump)
}
