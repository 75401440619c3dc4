//! Coroutines.

use std::ffi::c_int;

use mlua::ffi as lua;

use super::activation::Activation;
use super::stack::{Stack, api};

/// How a resumed coroutine came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    Returned,
    Yielded,
    Raised,
    OutOfMemory,
}

impl Stack<'_> {
    /// The coroutine at an index.
    pub fn thread(&self, index: c_int) -> Option<Stack<'_>> {
        let l = api!(self, lua_tothread, index);
        // SAFETY: a coroutine of this state, alive while it stands on this stack.
        (!l.is_null()).then(|| unsafe { Stack::new(l) })
    }

    /// Pushes the coroutine that this stack is; true for the state's main one.
    pub fn push_self(&self) -> bool {
        api!(self, lua_pushthread) != 0
    }

    /// Whether the coroutine has returned: it can't be resumed, and holds nothing.
    pub fn is_over(&self) -> bool {
        api!(self, lua_status) == lua::LUA_OK && self.top() == 0
    }

    pub fn is_yieldable(&self) -> bool {
        api!(self, lua_isyieldable) != 0
    }

    /// Runs the coroutine on, with that many arguments from the top of its stack.
    pub fn resume(&self, from: &Stack, arguments: c_int) -> Resumed {
        match api!(self, lua_resume_, from.l, arguments) {
            lua::LUA_OK => Resumed::Returned,
            lua::LUA_YIELD => Resumed::Yielded,
            lua::LUA_ERRMEM => Resumed::OutOfMemory,
            _ => Resumed::Raised,
        }
    }

    /// The innermost levels of this coroutine's call stack, as text. Unlike Lua's own it takes no longer for a
    /// deep recursion, and nothing of Lua's memory.
    pub fn brief_traceback(&self) -> String {
        const LEVELS: c_int = 20;
        let mut text = String::from("stack traceback:");
        let mut activation = Activation::new();
        for level in 0.. {
            if !activation.ask_level(self, level, c"nSl") {
                break;
            }
            if level == LEVELS {
                text.push_str("\n\t...");
                break;
            }
            let (chunk, line) = (activation.chunk(), activation.line());
            text.push_str(&format!("\n\t{chunk}:"));
            if line > 0 {
                text.push_str(&format!("{line}:"));
            }
            text.push_str(&match (activation.name(), activation.kind()) {
                (Some(name), _) => format!(" in function '{name}'"),
                (None, b"main") => " in main chunk".to_owned(),
                (None, b"C") => " in ?".to_owned(),
                (None, _) => format!(" in function <{chunk}:{}>", activation.first_line()),
            });
        }
        text
    }
}
