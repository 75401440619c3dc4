//! The native part of the engine stand-in: what stock Lua can't do for itself. For tests alone.
//!
//! A wall clock and a sleep, since stock Lua has neither; and time slices, since only a native hook may
//! yield. Written with mlua's safe interface.
#![allow(unsafe_code, reason = "the entry that mlua generates")]

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use mlua::{HookTriggers, Lua, Result, Table, Thread, VmState};

static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// `clock()`: wall seconds since some moment, never backwards.
fn clock(_: &Lua, (): ()) -> Result<f64> {
    Ok(ORIGIN.elapsed().as_secs_f64())
}

/// `sleep(seconds)`: without using the processor.
fn sleep(_: &Lua, seconds: f64) -> Result<()> {
    std::thread::sleep(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    Ok(())
}

/// `slice(coroutine, instructions)`: makes it yield whenever it has run that many; 0 ends that. A hook
/// can't yield across a C call (a sort comparator, say): there the slice goes on.
fn slice(_: &Lua, (thread, instructions): (Thread, u32)) -> Result<()> {
    if instructions == 0 {
        thread.remove_hook();
        return Ok(());
    }
    let triggers = HookTriggers::new().every_nth_instruction(instructions);
    thread.set_hook(triggers, |_, _| Ok(VmState::Yield))
}

#[mlua::lua_module]
fn consolenative(lua: &Lua) -> Result<Table> {
    let module = lua.create_table()?;
    module.set("clock", lua.create_function(clock)?)?;
    module.set("sleep", lua.create_function(sleep)?)?;
    module.set("slice", lua.create_function(slice)?)?;
    Ok(module)
}
