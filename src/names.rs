//! The names of functions and tables that exist on both sides: the standard library, and everything under `gma`. Those of
//! modules are in [`crate::module_names`].
//!
//! A function that captured `local sin = math.sin` crosses with the name `math.sin` in place of that upvalue, and gets
//! the receiving state's own `math.sin`. A name under `gma` is `gma` and the keys, separated by zeros; a table's name
//! ends with a zero.
//!
//! A state's registry has tables that map functions and tables to their names. The key keeps its object alive, so no other
//! object can get the address of a named one.

use std::ffi::c_int;

use crate::codec::{GMA, SEPARATOR};
use crate::error::{Error, Result};
use crate::ffi::{Key, NativeFunction, Protected, Stack, Type, VERSION};

/// The registry key of the names of all objects under `gma`.
static UNDER_GMA: Key = Key::new();

/// The functions of the base library. They can't be listed from the globals, which also hold other things.
pub const BASE_FUNCTIONS: &[&str] = match BASE_54.split_last() {
    Some((_warn, older)) if VERSION < 504 => older,
    _ => &BASE_54,
};

const BASE_54: [&str; 24] = [
    "assert",
    "collectgarbage",
    "dofile",
    "error",
    "getmetatable",
    "ipairs",
    "load",
    "loadfile",
    "next",
    "pairs",
    "pcall",
    "print",
    "rawequal",
    "rawget",
    "rawlen",
    "rawset",
    "require",
    "select",
    "setmetatable",
    "tonumber",
    "tostring",
    "type",
    "xpcall",
    "warn",
];

/// `bit32` only exists if Lua was built with it.
pub const LIBRARIES: [&str; 10] =
    ["bit32", "coroutine", "debug", "io", "math", "os", "package", "string", "table", "utf8"];

/// The name of the table of globals.
pub const GLOBALS: &str = "_G";

/// Our own functions that exist in all states, by name.
pub type Own<'a> = &'a [(&'static str, NativeFunction)];

/// Calls `body` for each object of the standard library that crosses by name, on top of the stack, until it returns true. Returns
/// the object's library, and leaves its name in it on the stack: nil for the library itself, and if no object was found. A function
/// written in Lua is a replacement of the original one, and crosses as code.
fn find_standard<'a>(
    stack: &Protected,
    own: Own<'a>,
    body: &mut dyn FnMut(&Protected) -> bool,
) -> Option<&'a str> {
    let field = stack.top() + 1;
    stack.push_nil();
    for (name, function) in own {
        stack.push_native(*function);
        let is_found = body(stack);
        stack.set_top(field);
        if is_found {
            return Some(name);
        }
    }
    stack.push_globals();
    for name in BASE_FUNCTIONS {
        stack.raw_get_text(field + 1, name);
        let is_found = is_named(stack) && body(stack);
        stack.set_top(field + 1);
        if is_found {
            stack.set_top(field);
            return Some(name);
        }
    }
    for library in &LIBRARIES {
        if push_library(stack, library) == Type::Table {
            let mut is_found = body(stack);
            let table = stack.top();
            stack.push_nil();
            while !is_found && stack.next(table) {
                is_found = is_text(stack, -2) && is_named(stack) && body(stack);
                stack.pop(1);
            }
            if is_found {
                stack.replace(field);
                stack.set_top(field);
                return Some(library);
            }
        }
        stack.set_top(field + 1);
    }
    stack.set_top(field);
    None
}

/// Whether a key is text.
pub fn is_text(stack: &Stack, key: c_int) -> bool {
    stack.kind(key) == Type::String && stack.with_bytes(key, |key| std::str::from_utf8(key).is_ok())
}

/// Whether this is the name of a library that is a table.
pub fn is_library(name: &str) -> bool {
    LIBRARIES.contains(&name)
}

/// Pushes a library's table from `package.loaded`, because the global may be missing in a sandbox.
pub fn push_library(stack: &Protected, library: &str) -> Type {
    push_loaded(stack);
    let kind = stack.raw_get_text(-1, library);
    stack.remove(-2);
    kind
}

/// Pushes `package.loaded`. Returns its kind.
pub fn push_loaded(stack: &Protected) -> Type {
    stack.push_registry();
    let kind = stack.raw_get_text(-1, "_LOADED");
    stack.remove(-2);
    kind
}

/// Whether the value on top crosses by name.
pub fn is_named(stack: &Stack) -> bool {
    match stack.kind(-1) {
        Type::Function => stack.is_native(-1),
        kind => kind == Type::Table,
    }
}

fn join(library: &str, name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok("") | Err(_) => library.to_owned(),
        Ok(name) => format!("{library}.{name}"),
    }
}

/// The name of the value on top, if it was under `gma` when that was last read.
pub fn gma_name(stack: &Stack) -> Option<String> {
    find_name(stack, &UNDER_GMA)
}

/// The name of the value on top in a table of the registry.
pub fn find_name(stack: &Stack, names: &'static Key) -> Option<String> {
    let thing = stack.top();
    let mut name = None;
    if stack.registry_get(names) == Type::Table {
        stack.push_value(thing);
        stack.raw_get(thing + 1);
        name = String::from_utf8(stack.bytes(-1)).ok().filter(|name| !name.is_empty());
    }
    stack.set_top(thing);
    name
}

/// The name of the value on top, if it is in a worker's standard library. Searches the library each time, since this is
/// rare.
pub fn standard_name(stack: &Protected, own: Own) -> Option<String> {
    let pointer = stack.pointer(-1);
    let library = find_standard(stack, own, &mut |stack| stack.pointer(-1) == pointer);
    let name = library.map(|library| join(library, &stack.bytes(-1)));
    stack.pop(1);
    name
}

/// Pushes an object of this state's standard library by name.
pub fn push_standard(stack: &Protected, own: Own, name: &str) -> Result<()> {
    let base = stack.top();
    if let Some((_, function)) = own.iter().find(|(known, _)| *known == name) {
        stack.push_native(*function);
        return Ok(());
    }
    match name.split_once('.') {
        Some((library, field)) => {
            if push_library(stack, library) == Type::Table {
                stack.raw_get_text(-1, field);
                stack.remove(-2);
            }
        }
        None if LIBRARIES.contains(&name) => {
            push_library(stack, name);
        }
        None if name == GLOBALS => stack.push_globals(),
        None => {
            stack.push_globals();
            stack.raw_get_text(-1, name);
            stack.remove(-2);
        }
    }
    if matches!(stack.kind(-1), Type::Function | Type::Table) {
        return Ok(());
    }
    stack.set_top(base);
    Err(Error::Absent { name: name.to_owned() })
}

/// Records the names of all functions and tables under the `gma` table on top of the stack, and pops it. If the value on
/// top is not a table, records no names.
pub fn read_gma(stack: &Protected) {
    let gma = stack.top();
    stack.create_table(0, 0);
    stack.insert(gma);
    let names = gma;
    if stack.kind(-1) == Type::Table {
        name_fields(stack, names);
    } else {
        stack.pop(1);
    }
    stack.registry_set(&UNDER_GMA);
}

/// Adds the names of the functions and tables under the `gma` table on top to a table of names, and pops the former.
fn name_fields(stack: &Protected, names: c_int) {
    let base = stack.top();
    stack.push_bytes(GMA.as_bytes());
    stack.push_bytes(&[SEPARATOR as u8]);
    stack.concat(2);
    stack.push_value(base);
    stack.push_value(base + 1);
    stack.raw_set(names);
    // The tables still to be read are queued on the stack from `base` up, each below its name.
    let mut table = base;
    while table < stack.top() && stack.check(10) {
        let name = table + 1;
        stack.push_nil();
        while stack.next(table) {
            let key = stack.top() - 1;
            let value = stack.top();
            let kind = stack.kind(value);
            if !is_name_part(stack, key)
                || !matches!(kind, Type::Function | Type::Table)
                || has_name(stack, names)
            {
                stack.pop(1);
                continue;
            }
            stack.push_value(value);
            stack.push_value(name);
            stack.push_value(key);
            if kind == Type::Function {
                stack.concat(2);
                stack.raw_set(names);
                stack.pop(1);
            } else {
                stack.push_bytes(&[SEPARATOR as u8]);
                stack.concat(3);
                // The stack is key, value, value, name. Both are queued, and the key goes on top for the next step.
                stack.push_value(-2);
                stack.push_value(-2);
                stack.raw_set(names);
                stack.remove(value);
                stack.push_value(key);
                stack.remove(key);
            }
        }
        table += 2;
    }
    stack.set_top(base - 1);
}

/// Whether a key can be part of a name.
pub fn is_name_part(stack: &Stack, key: c_int) -> bool {
    stack.kind(key) == Type::String
        && stack.with_bytes(key, |key| {
            std::str::from_utf8(key).is_ok_and(|key| !key.is_empty() && !key.contains(SEPARATOR))
        })
}

/// Whether the value on top has a name.
fn has_name(stack: &Stack, names: c_int) -> bool {
    stack.push_value(-1);
    let has_name = stack.raw_get(names) != Type::Nil;
    stack.pop(1);
    has_name
}

/// Replaces the table on top, `gma` or `package.loaded`, with the object of this name under it, or with nil if there is none.
/// Returns its kind.
pub fn follow(stack: &Protected, name: &str) -> Type {
    follow_keys(stack, name.split_once(SEPARATOR).map_or("", |(_, keys)| keys))
}

/// Like [`follow`], for the keys alone.
pub fn follow_keys(stack: &Protected, keys: &str) -> Type {
    for key in keys.split(SEPARATOR).filter(|key| !key.is_empty()) {
        if stack.kind(-1) != Type::Table {
            stack.pop(1);
            stack.push_nil();
            break;
        }
        stack.raw_get_text(-1, key);
        stack.remove(-2);
    }
    stack.kind(-1)
}

/// A name under `gma` as written in source code: `gma.show.getobj`.
pub fn display(name: &str) -> String {
    name.trim_end_matches(SEPARATOR).replace(SEPARATOR, ".")
}
