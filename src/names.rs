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
use crate::ffi::{NativeFunction, Stack, Type};
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

/// The name of the globals, which are no library.
pub const GLOBALS: &str = "_G";

/// Where the host's registry keeps its standard library by name, as it was when it was read.
const STANDARD: &str = "gma2workers.standard";

/// What is in all states beside the standard library: functions of our own, by their names.
pub type Own<'a> = &'a [(&'static str, NativeFunction)];

/// Calls `body` with each thing of the standard library that crosses by its name, by identity, and with its library and
/// its name there, until it gives something. A function written in Lua is somebody's replacement, and crosses as code.
/// *Raises.*
fn find_standard<R>(
    stack: &Stack,
    own: Own,
    mut body: impl FnMut(usize, &str, &[u8]) -> Option<R>,
) -> Option<R> {
    let base = stack.top();
    let mut found = None;
    for (name, function) in own {
        if found.is_some() {
            break;
        }
        stack.push_native(*function, 0);
        found = body(stack.pointer(-1), name, b"");
        stack.pop(1);
    }
    stack.push_globals();
    for name in BASE {
        if found.is_some() {
            break;
        }
        stack.raw_get_text(base + 1, name);
        if is_named(stack) {
            found = body(stack.pointer(-1), name, b"");
        }
        stack.pop(1);
    }
    for library in LIBRARIES {
        if found.is_some() {
            break;
        }
        if push_library(stack, library) == Type::Table {
            found = body(stack.pointer(-1), library, b"");
            let table = stack.top();
            stack.push_nil();
            while found.is_none() && stack.next(table) {
                let has_text = stack.kind(-2) == Type::String && std::str::from_utf8(stack.bytes(-2)).is_ok();
                if has_text && is_named(stack) {
                    found = body(stack.pointer(-1), library, stack.bytes(-2));
                }
                stack.pop(1);
            }
        }
        stack.set_top(base + 1);
    }
    stack.set_top(base);
    found
}

/// Pushes a library's table, also where a sandbox has no global of that name: what `package.loaded` has. *Raises.*
fn push_library(stack: &Stack, library: &str) -> Type {
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
pub fn push_own_globals(stack: &Stack) {
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
}

/// Pushes a copy of the table on top. *Raises.*
fn push_copy(stack: &Stack) {
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

/// The host's standard library by identity, as it is now. It is kept, so that no address becomes another's, and so that
/// [`push_kept`] finds it whatever the host's globals are by then. *Raises.*
pub fn read_standard(stack: &Stack, own: Own, names: &mut NameMap) {
    stack.push_registry();
    stack.create_table(0, 200);
    let kept = stack.top();
    find_standard(stack, own, |pointer, library, name| {
        names.insert(pointer, join(library, name).into());
        // Setting it may raise, which drops nothing: the name is the caller's by now.
        if let Some(name) = names.get(&pointer) {
            stack.push_value(-1);
            stack.raw_set_text(kept, name);
        }
        None::<()>
    });
    stack.raw_set_text(kept - 1, STANDARD);
    stack.pop(1);
}

/// Pushes a thing of the host's standard library by its name, as it was when it was read; its kind. *Raises.*
pub fn push_kept(stack: &Stack, name: &str) -> Type {
    stack.push_registry();
    let kind = match stack.raw_get_text(-1, STANDARD) {
        Type::Table => stack.raw_get_text(-1, name),
        _ => {
            stack.push_nil();
            Type::Nil
        }
    };
    stack.replace(-3);
    stack.pop(1);
    kind
}

/// The name of one thing of the standard library. For where that is seldom asked: it is looked for. *Raises.*
pub fn standard_name(stack: &Stack, own: Own, pointer: usize) -> Option<String> {
    find_standard(stack, own, |known, library, name| (known == pointer).then(|| join(library, name)))
}

/// Pushes a thing of the standard library by its name: the state's own. *Raises.*
pub fn push_standard(stack: &Stack, own: Own, name: &str) -> Result<()> {
    let base = stack.top();
    if let Some((_, function)) = own.iter().find(|(known, _)| *known == name) {
        stack.push_native(*function, 0);
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
