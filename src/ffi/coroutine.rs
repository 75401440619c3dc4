//! Coroutines.

use std::ffi::c_int;

use mlua::ffi as lua;

use super::activation::Activation;
use super::stack::Stack;
use super::version;

fn outcome(status: c_int, results: c_int) -> Resumed {
    match status {
        lua::LUA_OK => Resumed::Returned(results),
        lua::LUA_YIELD => Resumed::Yielded(results),
        lua::LUA_ERRMEM => Resumed::OutOfMemory,
        _ => Resumed::Raised,
    }
}

/// How a resumed coroutine came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// With so many results on top of its stack.
    Returned(c_int),
    Yielded(c_int),
    Raised,
    OutOfMemory,
}

impl Stack<'_> {
    /// The coroutine at an index, if there is one. It lives while Lua can reach it.
    pub fn thread(&self, index: c_int) -> Option<Stack<'_>> {
        self.assert_valid(index);
        // SAFETY: `l` is live; the caller names a value. Other values are no coroutine.
        let l = unsafe { lua::lua_tothread(self.l, index) };
        // SAFETY: a live coroutine of this state; the caller keeps it on the stack, or somewhere else in the state.
        (!l.is_null()).then(|| unsafe { Stack::new(l) })
    }

    /// Pushes this coroutine itself; true if it is the state's main one.
    pub fn push_self(&self) -> bool {
        // SAFETY: `l` is live; the caller has room for one more value.
        unsafe { lua::lua_pushthread(self.l) != 0 }
    }

    /// Whether the coroutine has returned: it can't be resumed, and its stack is empty.
    pub fn is_over(&self) -> bool {
        self.status() == lua::LUA_OK && self.top() == 0 && (version::VERSION < 504 || !self.has_level(0))
    }

    /// Whether both are the same coroutine.
    pub fn is_same(&self, other: &Stack) -> bool {
        self.l == other.l
    }

    fn status(&self) -> c_int {
        // SAFETY: `l` is live.
        unsafe { lua::lua_status(self.l) }
    }

    pub fn is_yieldable(&self) -> bool {
        // SAFETY: `l` is live.
        unsafe { lua::lua_isyieldable(self.l) != 0 }
    }

    /// Starts or continues the coroutine with the top `arguments` values of its stack.
    pub fn resume(&self, from: &Stack, arguments: c_int) -> Resumed {
        let function = c_int::from(self.status() == lua::LUA_OK);
        assert!((0..=self.top() - function).contains(&arguments), "there is nothing to resume");
        // SAFETY: both are live. There is a function to start, or a yield to go on from, and so many arguments. Lua refuses to
        // resume a coroutine that runs or has failed. Of `from` it reads only how deep calls are nested.
        let (status, results) = unsafe { version::resume(self.l, from.l, arguments) };
        outcome(status, results)
    }

    /// Whether the coroutine has raised an error and is dead.
    pub fn has_failed(&self) -> bool {
        !matches!(self.status(), lua::LUA_OK | lua::LUA_YIELD)
    }

    /// Whether the coroutine is suspended or dead: it neither runs nor waits for one that it has resumed.
    pub fn is_at_rest(&self) -> bool {
        self.status() != lua::LUA_OK || !self.has_level(0)
    }

    /// Closes the variables of this coroutine that wait for that, and ends it. An error of one of them, or else the one that
    /// the coroutine has raised, is on top of its stack then. None if this Lua has no such variables: nothing is done then.
    pub fn close_variables(&self) -> Option<Resumed> {
        assert!(self.is_at_rest(), "a coroutine that runs can't be closed");
        // SAFETY: `l` is live, and the coroutine does not run.
        unsafe { version::close(self.l) }.map(|status| outcome(status, 0))
    }

    /// The innermost levels of this coroutine's call stack, as text. Unlike Lua's own function it takes no longer for a
    /// deep recursion, and no memory of the state.
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
