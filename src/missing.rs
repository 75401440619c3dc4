//! Finds the globals that were missing where a task failed.
//!
//! Lua's errors name a global that is nil only if the failing instruction itself read it, but not in `ipairs(LIST)` or
//! `x < LIMIT`. The code at that line tells which globals it reads. Only the host knows which of them it has:
//! `lua/hints.lua` adds the advice.

use std::ffi::c_int;

use crate::bytecode::{self, Global};
use crate::error::Result;
use crate::ffi::{Protected, Stack, Type};

/// The globals that a line of code reads and that its state lacks.
#[derive(Clone, Debug)]
pub struct Missing {
    /// `plugin.lua:12`
    pub place: String,
    pub names: Vec<String>,
}

/// The most levels of the call stack that are searched.
const LEVELS: c_int = 10;

/// The globals that were missing where a coroutine raised an error with this message, searched from a level of its call stack
/// outwards. The coroutine may be dead; `stack` is of the same state and is not.
pub fn find(stack: &Stack, coroutine: &Stack, level: c_int, message: &[u8]) -> Option<Box<Missing>> {
    /// Lua's own errors are shorter.
    const LONGEST: usize = 2000;
    if message.len() > LONGEST {
        return None;
    }
    let message = String::from_utf8_lossy(message);
    if !concerns_nil(&message) {
        return None;
    }
    let mut cause = None;
    for level in (level..level + LEVELS).take_while(|level| coroutine.has_level(*level)) {
        let Some((chunk, line)) = coroutine.push_function_at(level) else { continue };
        let parts = match cause {
            None => {
                cause = cause_of(&message, &format!("{chunk}:{line}"), coroutine);
                cause.map_or(&[][..], |cause| match cause {
                    Cause::Here => &[Part::Line, Part::Function],
                    Cause::Local => &[Part::Function],
                    Cause::Argument => &[],
                })
            }
            // A caller, which may have passed the nil.
            Some(_) => &[Part::Line],
        };
        let found = parts.iter().find_map(|part| search(stack, coroutine, &chunk, line, *part));
        coroutine.pop(1);
        if found.is_some() || matches!(cause, None | Some(Cause::Local)) {
            return found.map(Box::new);
        }
    }
    None
}

/// Where the nil of an error comes from.
#[derive(Clone, Copy)]
enum Cause {
    /// The line, or what the function has read before, or its arguments.
    Here,
    /// A local variable of the function.
    Local,
    /// An argument of the function.
    Argument,
}

/// What is searched of a function.
#[derive(Clone, Copy)]
enum Part {
    /// The line that runs.
    Line,
    Function,
}

/// Whether a part of the message can say that a value was nil.
fn concerns_nil(message: &str) -> bool {
    const PARTS: [&str; 9] = [
        "a nil value",
        "nil with ",
        " with nil",
        "two nil values",
        "got nil)",
        "got no value)",
        " must be a number",
        "index is nil",
        "assertion failed!",
    ];
    PARTS.iter().any(|part| message.contains(part))
}

/// Where the nil of an error may come from, if it is one of Lua's, raised at the place in the function on top. The errors of C
/// functions may have no place.
fn cause_of(message: &str, place: &str, coroutine: &Stack) -> Option<Cause> {
    const BEGINNINGS: [&str; 6] =
        ["attempt to ", "bad argument #", "'for' ", "bad 'for' ", "table index is nil", "assertion failed!"];
    let text = message.strip_prefix(place).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(message);
    if !BEGINNINGS.iter().any(|start| text.starts_with(start)) {
        return None;
    }
    let Some((_, variable)) = text.split_once("a nil value (") else { return Some(Cause::Here) };
    match variable.trim_end_matches("')").split_once(" '")? {
        ("local", name) if coroutine.has_parameter(name) => Some(Cause::Argument),
        ("local", _) => Some(Cause::Local),
        ("field", "?") => Some(Cause::Here),
        // A global is named already. A field, a method or an upvalue is no global.
        _ => None,
    }
}

/// Searches the function on top, which runs that line, for globals that are nil.
fn search(stack: &Stack, coroutine: &Stack, chunk: &str, line: u32, part: Part) -> Option<Missing> {
    let only = matches!(part, Part::Line).then_some(line);
    let found = missing_in(stack, coroutine, only).ok()?;
    let line = only.or(found.first().map(|global| global.line))?;
    let names: Vec<String> = found.into_iter().map(|global| global.name).collect();
    (!names.is_empty()).then(|| Missing { place: format!("{chunk}:{line}"), names })
}

/// The globals that the function on top of the coroutine's stack reads, or only a line of it, and that are nil.
fn missing_in(stack: &Stack, coroutine: &Stack, only: Option<u32>) -> Result<Vec<Global>> {
    let mut dump = Vec::new();
    coroutine.dump(&mut dump)?;
    let mut globals = bytecode::globals_of(&dump, only);
    globals.retain(|global| has_globals(coroutine, global.upvalue));
    let mut are_nil = vec![false; globals.len()];
    let (read, is_nil) = (&globals, &mut are_nil);
    stack.protected(0, |stack| {
        stack.push_globals();
        for (global, is_nil) in read.iter().zip(is_nil) {
            *is_nil = stack.raw_get_text(-1, &global.name) == Type::Nil;
            stack.pop(1);
        }
        stack.pop(1);
        Ok(())
    })?;
    let missing = globals.into_iter().zip(are_nil).filter(|(_, is_nil)| *is_nil);
    Ok(missing.map(|(global, _)| global).collect())
}

/// Whether upvalue `n` of the function on top is the table of globals.
fn has_globals(coroutine: &Stack, n: c_int) -> bool {
    if !coroutine.check(2) {
        return false;
    }
    coroutine.push_upvalue_of(-1, n);
    coroutine.push_globals();
    let is_same = coroutine.raw_equal(-1, -2);
    coroutine.pop(2);
    is_same
}

/// Sets the field `missing` of the table on top.
pub fn set(stack: &Protected, missing: &Missing) {
    stack.create_table(missing.names.len() as c_int, 1);
    stack.push_bytes(missing.place.as_bytes());
    stack.raw_set_text(-2, "place");
    for (n, name) in missing.names.iter().enumerate() {
        stack.push_bytes(name.as_bytes());
        stack.raw_set_i(stack.top() - 1, n as i64 + 1);
    }
    stack.raw_set_text(-2, "missing");
}
