//! The `debug` library of a worker's state.
//!
//! A task has all of it but `sethook`, which would undo a stop, the registry, and `debug.debug`, which reads standard input.
//! What a task changes is undone with its state.
//!
//! Lua trusts the callers of this library, and crashes if C code then finds a value of another type than it left. So a task
//! can't change, nor see, what belongs to C code:
//!
//! - The upvalues of native functions. Ours also keep Lua's originals there, such as a `load` that takes bytecode.
//! - The locals of native functions, and what a Lua function has on the stack without a name.
//! - A userdata's metatable, which tells C code the type of its memory. Light userdata share one.
//! - A userdata's user value. That of a file is free.

use std::ffi::c_int;

use crate::ffi::{Exit, NativeResult, Protected, Stack, Type, native};
use crate::stdlib::{self, keep_only, replace, wrap};

/// The functions that tasks have.
const FUNCTIONS: [&str; 14] = [
    "gethook",
    "getinfo",
    "getlocal",
    "getmetatable",
    "getupvalue",
    "getuservalue",
    "setcstacklimit",
    "setlocal",
    "setmetatable",
    "setupvalue",
    "setuservalue",
    "traceback",
    "upvalueid",
    "upvaluejoin",
];

/// Removes and replaces functions of the library.
pub fn install(stack: &Protected) {
    stack.push_globals();
    if stack.raw_get_text(-1, "debug") == Type::Table {
        keep_only(stack, &FUNCTIONS);
        replace(stack, "gethook", native(get_hook));
        replace(stack, "setcstacklimit", native(set_c_stack_limit));
        wrap(stack, "getinfo", native(get_info));
        wrap(stack, "getlocal", native(get_local));
        wrap(stack, "setlocal", native(set_local));
        wrap(stack, "getupvalue", native(upvalue));
        wrap(stack, "setupvalue", native(upvalue));
        wrap(stack, "upvaluejoin", native(join_upvalues));
        wrap(stack, "setmetatable", native(set_metatable));
        wrap(stack, "getuservalue", native(get_user_value));
        wrap(stack, "setuservalue", native(set_user_value));
    }
    stack.pop(2);
}

/// Changes nothing, and gives the limit, as since Lua 5.4.3: a worker's stack has room for so many calls.
fn set_c_stack_limit(stack: &Protected) -> NativeResult {
    stack.push_integer(200);
    Ok(1)
}

/// Says that a hook is there which is not Lua's, as Lua itself does. Libraries that set hooks of their own then leave it alone.
fn get_hook(stack: &Protected) -> NativeResult {
    stack.push_bytes(b"external hook");
    stack.push_bytes(b"");
    stack.push_integer(0);
    Ok(3)
}

/// The result of a function that finds no such thing.
fn nothing(stack: &Stack) -> NativeResult {
    stack.push_nil();
    Ok(1)
}

/// The coroutine that a function is asked about, and the index before its other arguments.
fn subject<'a>(stack: &'a Protected<'a>) -> (Option<Stack<'a>>, c_int) {
    let coroutine = stack.thread(1);
    let before = c_int::from(coroutine.is_some());
    (coroutine, before)
}

fn get_info(stack: &Protected) -> NativeResult {
    let (_, before) = subject(stack);
    let options = before + 2;
    // Lua 5.3 would take a value off the stack that is asked about.
    if stack.with_bytes(options, |text| text.contains(&b'>')) {
        return Err(Exit::BadArgument(options, "invalid option".into()));
    }
    Err(Exit::TailCallOriginal)
}

/// The level and the number of a local variable, converted as C converts them; none if the original function has to report a
/// wrong argument, or is asked about a function.
fn level_and_number(stack: &Stack, before: c_int) -> Option<(c_int, c_int)> {
    if stack.kind(before + 1) == Type::Function {
        return None;
    }
    Some((stack.integer(before + 1)? as c_int, stack.integer(before + 2)? as c_int))
}

fn get_local(stack: &Protected) -> NativeResult {
    let (coroutine, before) = subject(stack);
    let of = coroutine.unwrap_or(**stack);
    match level_and_number(stack, before) {
        // Lua negates the number, which overflows for the smallest.
        Some((level, n)) if n == c_int::MIN || of.is_native_level(level) => nothing(stack),
        _ => Err(Exit::TailCallOriginal),
    }
}

fn set_local(stack: &Protected) -> NativeResult {
    let (coroutine, before) = subject(stack);
    let of = coroutine.unwrap_or(**stack);
    match level_and_number(stack, before) {
        Some((level, n)) if of.has_level(level) && !of.is_named_local(level, n) => nothing(stack),
        _ => Err(Exit::TailCallOriginal),
    }
}

fn upvalue(stack: &Protected) -> NativeResult {
    if stack.is_native(1) { nothing(stack) } else { Err(Exit::TailCallOriginal) }
}

/// Before 5.3.6, Lua frees a variable that is joined with itself.
fn join_upvalues(stack: &Protected) -> NativeResult {
    let number = |n| stack.integer(n).map(|number| number as c_int);
    match (number(2), number(4)) {
        (Some(n), Some(m)) if stack.is_same_upvalue(1, n, 3, m) => Ok(0),
        _ => Err(Exit::TailCallOriginal),
    }
}

fn set_metatable(stack: &Protected) -> NativeResult {
    if matches!(stack.kind(1), Type::Userdata | Type::LightUserdata) {
        let why = "a task can't set the metatable of a userdata: C code relies on it";
        return Err(Exit::BadArgument(1, why.into()));
    }
    stdlib::set_metatable(stack)
}

fn is_of_c_code(stack: &Protected) -> bool {
    stack.kind(1) == Type::Userdata && !stack.is_file(1)
}

fn get_user_value(stack: &Protected) -> NativeResult {
    if is_of_c_code(stack) { nothing(stack) } else { Err(Exit::TailCallOriginal) }
}

fn set_user_value(stack: &Protected) -> NativeResult {
    if is_of_c_code(stack) {
        let why = "a task can't set the user value of a userdata: C code relies on it";
        return Err(Exit::BadArgument(1, why.into()));
    }
    Err(Exit::TailCallOriginal)
}
