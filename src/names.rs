//! The names of things that both sides have: the standard library, and what stands under `gma`.
//!
//! A function that captured `local sin = math.sin` crosses with the name `math.sin` in its place, and
//! finds the other state's own. Names under `gma` are its keys behind `gma`, separated by zeros; a
//! table's ends with one.
//!
//! A state keeps names in tables of its registry, by the things themselves. A table holds its keys, so no thing that has
//! a name is ever collected and its address given to another one.

use std::ffi::c_int;

use crate::codec::{GMA, SEPARATOR};
use crate::error::{Error, Result};
use crate::ffi::{Key, NativeFunction, Protected, Stack, Type};

/// In the registry of a host's state: its standard library as it was when the module was loaded, names by things and things
/// by names.
static STANDARD: Key = Key::new();

/// In the registry: the names of what stands under `gma`.
static UNDER_GMA: Key = Key::new();

/// The base library's functions: its table is the globals, which hold what others put there too.
const BASE: [&str; 23] = [
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
];

/// `bit32` where Lua was built with it.
const LIBRARIES: [&str; 10] =
    ["bit32", "coroutine", "debug", "io", "math", "os", "package", "string", "table", "utf8"];

/// The name of the globals, which are no library.
pub const GLOBALS: &str = "_G";

/// What is in all states beside the standard library: functions of our own, by their names.
pub type Own<'a> = &'a [(&'static str, NativeFunction)];

/// Calls `body` with each thing of the standard library that crosses by its name on top of the stack, and with its library
/// and its name there, until it says that this is the one. Gives its library, and leaves its name there on the stack; nil
/// for the library itself, and where there is none. A function written in Lua is somebody's replacement, and crosses as code.
/// *Raises.*
fn find_standard<'a>(
    stack: &Protected,
    own: Own<'a>,
    body: &mut dyn FnMut(&Protected, &str, &[u8]) -> bool,
) -> Option<&'a str> {
    let field = stack.top() + 1;
    stack.push_nil();
    for (name, function) in own {
        stack.push_native(*function);
        let is_found = body(stack, name, b"");
        stack.set_top(field);
        if is_found {
            return Some(name);
        }
    }
    stack.push_globals();
    for name in &BASE {
        stack.raw_get_text(field + 1, name);
        let is_found = is_named(stack) && body(stack, name, b"");
        stack.set_top(field + 1);
        if is_found {
            stack.set_top(field);
            return Some(name);
        }
    }
    for library in &LIBRARIES {
        if push_library(stack, library) == Type::Table {
            let mut is_found = body(stack, library, b"");
            let table = stack.top();
            stack.push_nil();
            while !is_found && stack.next(table) {
                let has_text = stack.kind(-2) == Type::String && std::str::from_utf8(stack.bytes(-2)).is_ok();
                is_found = has_text && is_named(stack) && body(stack, library, stack.bytes(-2));
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

/// Pushes a library's table, also where a sandbox has no global of that name: what `package.loaded` has. *Raises.*
fn push_library(stack: &Protected, library: &str) -> Type {
    stack.push_registry();
    stack.raw_get_text(-1, "_LOADED");
    let kind = stack.raw_get_text(-1, library);
    stack.remove(-2);
    stack.remove(-2);
    kind
}

/// Pushes the globals of our own Lua files, their `_ENV`: the standard ones as they are now. *Raises.*
///
/// All plugins of a console share the host's, and each may set `debug`, `type` or `string.format` to something else; some of
/// our files are not even compiled before a job needs them. So they get copies, of the libraries' fields too, and read
/// plain names. What is meant to be the host's of then is read from its own table, which is `_G` here. A method of a text
/// would be looked up in the host's `string`, so our files write `string.format(text)`.
pub fn push_own_globals(stack: &Protected) {
    stack.create_table(0, 48);
    let own = stack.top();
    stack.push_globals();
    let globals = stack.top();
    stack.push_value(globals);
    stack.raw_set_text(own, GLOBALS);
    for name in BASE.into_iter().chain(["_VERSION"]) {
        stack.raw_get_text(globals, name);
        stack.raw_set_text(own, name);
    }
    for library in LIBRARIES {
        // A host may have entered a library in one of the two places alone.
        if push_library(stack, library) != Type::Table {
            stack.raw_get_text(globals, library);
        }
        // The fields of `package` say how things are by then.
        if stack.kind(-1) == Type::Table && library != "package" {
            push_copy(stack);
        }
        stack.raw_set_text(own, library);
        stack.set_top(globals);
    }
    stack.set_top(own);
    // Where our own code crosses, these are the task's globals.
    stack.push_value(own);
    stack.push_bytes(GLOBALS.as_bytes());
    add_standard(stack);
}

/// Pushes a copy of the table on top. *Raises.*
fn push_copy(stack: &Protected) {
    let table = stack.top();
    stack.create_table(0, 32);
    stack.push_nil();
    while stack.next(table) {
        stack.push_value(-2);
        stack.insert(-2);
        stack.raw_set(table + 1);
    }
}

/// Whether the value on top is one that crosses by its name.
fn is_named(stack: &Stack) -> bool {
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

/// Reads a host's standard library, as it is now: the names of its things, and the things by their names, which
/// [`push_kept`] finds whatever the host's globals are by then. *Raises.*
pub fn read_standard(stack: &Protected, own: Own) {
    stack.create_table(0, 400);
    let known = stack.top();
    find_standard(stack, own, &mut |stack, library, name| {
        let thing = stack.top();
        stack.push_bytes(library.as_bytes());
        if !name.is_empty() {
            stack.push_bytes(b".");
            stack.push_bytes(name);
            stack.concat(3);
        }
        enter(stack, known, thing);
        false
    });
    stack.pop(1);
    stack.registry_set(&STANDARD);
}

/// Enters a thing under the name on top, and pops that. *Raises.*
fn enter(stack: &Protected, known: c_int, thing: c_int) {
    stack.push_value(thing);
    stack.push_value(-2);
    stack.raw_set(known);
    stack.push_value(thing);
    stack.raw_set(known);
}

/// Pushes a thing of the host's standard library by its name, as it was when it was read; its kind. *Raises.*
pub fn push_kept(stack: &Protected, name: &str) -> Type {
    if stack.registry_get(&STANDARD) == Type::Table {
        stack.raw_get_text(-1, name);
        stack.remove(-2);
    }
    stack.kind(-1)
}

/// Gives the function or table below the top the text on top as its name, unless it has one. Pops both. *Raises.*
pub fn add_standard(stack: &Protected) {
    let text = stack.top();
    let names = text + 1;
    if stack.registry_get(&STANDARD) == Type::Table {
        stack.push_value(text - 1);
        if stack.raw_get(names) == Type::Nil {
            stack.push_value(text - 1);
            stack.push_value(text);
            stack.raw_set(names);
        }
    }
    stack.set_top(text - 2);
}

/// The name that a host has for the thing on top, if it is of its standard library.
pub fn host_standard_name(stack: &Stack) -> Option<String> {
    find_name(stack, &STANDARD)
}

/// The name of the thing on top, if it stood under `gma` when that was last read.
pub fn gma_name(stack: &Stack) -> Option<String> {
    find_name(stack, &UNDER_GMA)
}

/// The name of the thing on top in a table of the registry.
fn find_name(stack: &Stack, names: &'static Key) -> Option<String> {
    let thing = stack.top();
    let mut name = None;
    if stack.registry_get(names) == Type::Table {
        stack.push_value(thing);
        stack.raw_get(thing + 1);
        name = std::str::from_utf8(stack.bytes(-1)).ok().filter(|name| !name.is_empty()).map(str::to_owned);
    }
    stack.set_top(thing);
    name
}

/// The name of the thing on top in a worker's state, if it is of the standard library. For where that is seldom asked: it
/// is looked for. *Raises.*
pub fn standard_name(stack: &Protected, own: Own) -> Option<String> {
    let pointer = stack.pointer(-1);
    let library = find_standard(stack, own, &mut |stack, _, _| stack.pointer(-1) == pointer);
    let name = library.map(|library| join(library, stack.bytes(-1)));
    stack.pop(1);
    name
}

/// Pushes a thing of the standard library by its name: the state's own. *Raises.*
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

/// Reads the names of all functions and tables under the `gma` table on top of the stack, and pops it. With anything else
/// there, nothing has a name. *Raises.*
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

/// Enters the functions and tables under the `gma` table on top into a table of names, and pops it. *Raises.*
fn name_fields(stack: &Protected, names: c_int) {
    let base = stack.top();
    stack.push_bytes(GMA.as_bytes());
    stack.push_bytes(&[SEPARATOR as u8]);
    stack.concat(2);
    stack.push_value(base);
    stack.push_value(base + 1);
    stack.raw_set(names);
    // The tables still to be read stand on the stack from `base` up, each below its own name.
    let mut table = base;
    while table < stack.top() && stack.check(10) {
        let name = table + 1;
        stack.push_nil();
        while stack.next(table) {
            let key = stack.top() - 1;
            let value = stack.top();
            let kind = stack.kind(value);
            if !is_part(stack, key) || !matches!(kind, Type::Function | Type::Table) || has_name(stack, names)
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
                // key, value, value, name: two of each, and the key goes on top for the next step.
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

/// Whether a key can be a part of a name.
fn is_part(stack: &Stack, key: c_int) -> bool {
    stack.kind(key) == Type::String
        && std::str::from_utf8(stack.bytes(key)).is_ok_and(|key| !key.is_empty() && !key.contains(SEPARATOR))
}

/// Whether the value on top has a name already.
fn has_name(stack: &Stack, names: c_int) -> bool {
    stack.push_value(-1);
    let has_name = stack.raw_get(names) != Type::Nil;
    stack.pop(1);
    has_name
}

/// Walks from the table on top along the keys of a name under `gma`, and puts what it finds in its place;
/// nil where the way ends early. *Raises.*
pub fn follow(stack: &Protected, name: &str) -> Type {
    for key in name.split(SEPARATOR).skip(1).filter(|key| !key.is_empty()) {
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

/// A name under `gma` as people write it: `gma.show.getobj`.
pub fn display(name: &str) -> String {
    name.trim_end_matches(SEPARATOR).replace(SEPARATOR, ".")
}
