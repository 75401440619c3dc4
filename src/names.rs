//! The names of things that both sides have: the standard library, and what stands under `gma`.
//!
//! A function that captured `local sin = math.sin` crosses with the name `math.sin` in its place, and
//! finds the other state's own. Names under `gma` are its keys behind `gma`, separated by zeros; a
//! table's ends with one.

use std::borrow::Cow;
use std::ffi::c_int;

use rustc_hash::FxHashMap;

use crate::codec::{GMA, SEPARATOR};
use crate::error::{Error, Result};
use crate::ffi::{Key, NativeFunction, Stack, Type};
use crate::policy::Names;

/// Things by identity.
pub type NameMap = FxHashMap<usize, Box<str>>;

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

/// The registry's table of the standard library by name, as it was when it was read.
static BY_NAME: Key = Key::new();

/// Notes the standard library of a state by name in its registry, and with it our `clock`, which is in all states. A
/// function written in Lua is somebody's replacement, and crosses as code. *Raises.*
pub fn note_standard(stack: &Stack, clock: NativeFunction) {
    stack.create_table(0, 192);
    let by_name = stack.top();
    stack.push_globals();
    let globals = stack.top();
    for name in BASE {
        stack.raw_get_text(globals, name);
        note(stack, by_name, name);
    }
    // What `package.loaded` is, also where a sandbox has no `package`.
    stack.push_registry();
    stack.raw_get_text(-1, "_LOADED");
    let loaded = stack.top();
    for library in LIBRARIES {
        if stack.raw_get_text(loaded, library) == Type::Table {
            note_library(stack, by_name, library);
        }
        stack.pop(1);
    }
    stack.set_top(by_name);
    stack.push_native(clock, 0);
    note(stack, by_name, "gma2workers.clock");
    stack.registry_set(&BY_NAME);
}

fn note_library(stack: &Stack, by_name: c_int, library: &str) {
    let table = stack.top();
    stack.push_nil();
    while stack.next(table) {
        // On this frame nothing may be owned while Lua may raise, so the name is put together in Lua.
        stack.push_bytes(library.as_bytes());
        stack.push_bytes(b".");
        stack.push_value(-4);
        if stack.kind(-1) == Type::String {
            stack.concat(3);
            stack.insert(-2);
            if is_named(stack) {
                stack.raw_set(by_name);
            } else {
                stack.pop(2);
            }
        } else {
            stack.pop(4);
        }
    }
    stack.push_value(table);
    note(stack, by_name, library);
}

/// Whether the value on top is one that crosses by its name.
fn is_named(stack: &Stack) -> bool {
    match stack.kind(-1) {
        Type::Function => stack.is_native(-1),
        kind => kind == Type::Table,
    }
}

/// Notes the value on top, if it is one to name, and pops it.
fn note(stack: &Stack, by_name: c_int, name: &str) {
    if is_named(stack) {
        stack.raw_set_text(by_name, name);
    } else {
        stack.pop(1);
    }
}

/// Calls `body` with each thing that was noted, by identity, and its name, until it gives something.
fn find_standard<R>(stack: &Stack, mut body: impl FnMut(usize, &str) -> Option<R>) -> Option<R> {
    let base = stack.top();
    stack.registry_get(&BY_NAME);
    stack.push_nil();
    let mut found = None;
    while found.is_none() && stack.next(base + 1) {
        found = body(stack.pointer(-1), std::str::from_utf8(stack.bytes(-2)).unwrap_or_default());
        stack.pop(1);
    }
    stack.set_top(base);
    found
}

/// The standard library that was noted, by identity.
pub fn read_standard(stack: &Stack) -> NameMap {
    let mut names = NameMap::default();
    find_standard(stack, |pointer, name| {
        names.insert(pointer, name.into());
        None::<()>
    });
    names
}

/// The name of one thing of the standard library that was noted. For where that is seldom asked: it is looked for.
pub fn standard_name(stack: &Stack, pointer: usize) -> Option<String> {
    find_standard(stack, |known, name| (known == pointer).then(|| name.to_owned()))
}

/// Pushes a thing of the standard library by its name. *Raises.*
pub fn push_standard(stack: &Stack, name: &str) -> Result<()> {
    stack.registry_get(&BY_NAME);
    if stack.raw_get_text(-1, name) == Type::Nil {
        stack.pop(2);
        return Err(Error::Absent { name: name.to_owned() });
    }
    stack.remove(-2);
    Ok(())
}

/// Names all functions and tables under the `gma` table on top of the stack, and pops it.
pub fn read_gma(stack: &Stack, names: &mut NameMap) {
    let base = stack.top();
    let mut paths = vec![format!("{GMA}{SEPARATOR}")];
    names.insert(stack.pointer(-1), paths[0].as_str().into());
    let mut next = 0;
    // The tables still to be read stand on the stack from `base` up, one for each path.
    while next < paths.len() {
        let table = base + next as c_int;
        let path = paths[next].clone();
        next += 1;
        if !stack.check(4) {
            break;
        }
        stack.push_nil();
        while stack.next(table) {
            let key =
                (stack.kind(-2) == Type::String).then(|| std::str::from_utf8(stack.bytes(-2)).ok()).flatten();
            let key = key
                .filter(|key| !key.is_empty() && !key.contains(SEPARATOR))
                .map(|key| format!("{path}{key}"));
            let kind = stack.kind(-1);
            let pointer = stack.pointer(-1);
            match (key, kind) {
                (Some(key), Type::Function) => {
                    names.entry(pointer).or_insert(key.into());
                    stack.pop(1);
                }
                (Some(key), Type::Table) if !names.contains_key(&pointer) => {
                    paths.push(format!("{key}{SEPARATOR}"));
                    names.insert(pointer, paths[paths.len() - 1].as_str().into());
                    // table…, key, value: the value stays below the key, as the last of the tables.
                    stack.insert(-2);
                }
                _ => stack.pop(1),
            }
        }
    }
    stack.set_top(base - 1);
}

/// Walks from the table on top along the keys of a name under `gma`, and puts what it finds in its place;
/// nil where the way ends early. *Raises.*
pub fn follow(stack: &Stack, name: &str) -> Type {
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

impl Names for NameMap {
    fn name_of(&self, _: &Stack, pointer: usize) -> Option<Cow<'_, str>> {
        self.get(&pointer).map(|name| Cow::Borrowed(&**name))
    }
}
