//! The native part of the engine stand-in, with functions that stock Lua lacks. For tests only.
//!
//! A wall clock and a sleep, since stock Lua has neither; time slices, since only a native hook may yield;
//! and further Lua states in this process, since the engine closes its own and opens another at
//! `ReloadPlugins`. All but those states use mlua's safe interface.
#![allow(unsafe_code, reason = "the entry that mlua generates, and states of their own")]

use std::ffi::{CString, c_int};
use std::ptr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use mlua::{
    Error, HookTriggers, Lua, LuaString, Result, Table, Thread, UserData, UserDataMethods, Variadic, VmState,
    ffi,
};

static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// `clock()`: wall seconds since some moment; never goes backwards.
fn clock(_: &Lua, (): ()) -> Result<f64> {
    Ok(ORIGIN.elapsed().as_secs_f64())
}

/// `sleep(seconds)`: sleeps without using the processor.
fn sleep(_: &Lua, seconds: f64) -> Result<()> {
    std::thread::sleep(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    Ok(())
}

/// `slice(coroutine, instructions)`: makes the coroutine yield after each run of that many; 0 ends that. A
/// hook can't yield across a C call (such as a sort comparator): there the slice goes on.
fn slice(_: &Lua, (thread, instructions): (Thread, u32)) -> Result<()> {
    if instructions == 0 {
        thread.remove_hook();
        return Ok(());
    }
    let triggers = HookTriggers::new().every_nth_instruction(instructions);
    thread.set_hook(triggers, |_, _| Ok(VmState::Yield))
}

/// A Lua state beside the one that opened it; dropping this closes it. Its index 1 holds the result of the
/// file it was opened with: a function from text to text.
struct State(*mut ffi::lua_State);

impl State {
    /// `state(file, text...)`: opens a state, and runs the file with these arguments.
    fn open(_: &Lua, (path, words): (String, Variadic<LuaString>)) -> Result<Self> {
        let file = CString::new(path).map_err(Error::external)?;
        // SAFETY: creates a new state, which only this value owns. It is null if there is no memory.
        let state = unsafe {
            let state = ffi::luaL_newstate();
            if state.is_null() {
                return Err(Error::runtime("no memory for another Lua state"));
            }
            ffi::luaL_openlibs(state);
            Self(state)
        };
        // SAFETY: the state is open, the text ends in a zero byte; nothing is raised.
        let loaded = unsafe { ffi::luaL_loadfilex(state.0, file.as_ptr(), ptr::null()) };
        if loaded == ffi::LUA_OK {
            state.run(&words)?;
            return Ok(state);
        }
        Err(Error::runtime(state.text()))
    }

    /// Calls the function on top of the stack; its result or error replaces it.
    fn run(&self, words: &[LuaString]) -> Result<()> {
        let count = c_int::try_from(words.len()).map_err(Error::external)?;
        // SAFETY: the state is open, there is room for the texts, and errors of the function are caught.
        let ended = unsafe {
            if ffi::lua_checkstack(self.0, count) == 0 {
                return Err(Error::runtime("too many arguments for a Lua state"));
            }
            for word in words {
                let bytes = word.as_bytes();
                ffi::lua_pushlstring(self.0, bytes.as_ptr().cast(), bytes.len());
            }
            ffi::lua_pcall(self.0, count, 1, 0)
        };
        if ended == ffi::LUA_OK { Ok(()) } else { Err(Error::runtime(self.text())) }
    }

    /// The text on top of the stack.
    fn text(&self) -> String {
        let mut length = 0;
        // SAFETY: the state is open; the bytes stay where they are while the text lies on the stack.
        unsafe {
            let bytes = ffi::lua_tolstring(self.0, -1, &raw mut length);
            if bytes.is_null() {
                return String::new();
            }
            String::from_utf8_lossy(std::slice::from_raw_parts(bytes.cast(), length)).into_owned()
        }
    }

    /// `state:call(text)`: calls the state's function with a text.
    fn call(&mut self, word: LuaString) -> Result<String> {
        if self.0.is_null() {
            return Err(Error::runtime("the state is closed"));
        }
        // SAFETY: the state is open, and the function lies at index 1.
        unsafe {
            ffi::lua_settop(self.0, 1);
            ffi::lua_pushvalue(self.0, 1);
        }
        self.run(&[word])?;
        Ok(self.text())
    }

    /// `state:close()`: closes it as the engine closes its own, whatever runs there.
    fn close(&mut self) {
        let state = std::mem::replace(&mut self.0, ptr::null_mut());
        if !state.is_null() {
            // SAFETY: it was open, and no code of it runs, since it runs in `open` and `call` only.
            unsafe { ffi::lua_close(state) }
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.close();
    }
}

impl UserData for State {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method_mut("call", |_, state, word: LuaString| state.call(word));
        methods.add_method_mut("close", |_, state, ()| {
            state.close();
            Ok(())
        });
    }
}

#[mlua::lua_module]
fn consolenative(lua: &Lua) -> Result<Table> {
    let module = lua.create_table()?;
    module.set("clock", lua.create_function(clock)?)?;
    module.set("sleep", lua.create_function(sleep)?)?;
    module.set("slice", lua.create_function(slice)?)?;
    module.set("state", lua.create_function(State::open)?)?;
    Ok(module)
}
