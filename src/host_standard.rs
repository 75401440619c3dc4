//! The host's standard library as it was when the module was loaded, whatever plugins replace later.
//!
//! All plugins of a console share the host's globals. Each may replace `debug`, `type` or `string.format`, even before one of our
//! Lua files is compiled, which happens on first use. So the module copies the libraries when it is loaded. The names of their
//! functions are taken from the copies on first use, since taking them takes longer than a small job.

use std::ffi::c_int;

use crate::ffi::{Key, Protected, Type};
use crate::names::{self, BASE_FUNCTIONS, GLOBALS, LIBRARIES, Own, is_named, is_text, push_loaded};

/// The registry key, in a host's state, of its standard library as it was when the module was loaded. The table maps
/// objects to names and names to objects. The library is added on first use: see [`push_names`].
static STANDARD: Key = Key::new();

/// The key in [`STANDARD`] of a mark that the library was added.
const IS_READ: bool = true;

/// The registry key of the `_ENV` of our own Lua files.
static OWN_GLOBALS: Key = Key::new();

/// The registry key of the host's own tables of its libraries, by name. Item 1 is a copy of `package`.
static ORIGINALS: Key = Key::new();

/// Enough stack slots for the names and for adding to them.
const SLOTS: c_int = 12;

/// The name of the library of `require`.
const PACKAGE: &str = "package";

/// Our own functions that have names, too. A function, since finding them all takes longer than a small job.
pub type FindOwn = fn() -> Own<'static>;

/// Copies the host's standard library.
pub fn read(stack: &Protected) {
    stack.create_table(0, 32);
    stack.registry_set(&STANDARD);
    copy_globals(stack);
}

/// Pushes the names of our own functions and of the library that [`read`] copied. False, and nil, if it copied none.
fn push_names(stack: &Protected, find_own: FindOwn) -> bool {
    let known = stack.top() + 1;
    if !stack.check(SLOTS) {
        stack.push_nil();
        return false;
    }
    if stack.registry_get(&STANDARD) != Type::Table {
        return false;
    }
    stack.push_boolean(IS_READ);
    let is_read = stack.raw_get(known) != Type::Nil;
    stack.set_top(known);
    if !is_read {
        for (name, function) in find_own() {
            stack.push_native(*function);
            stack.push_bytes(name.as_bytes());
            record_name(stack, known, known + 1);
            stack.set_top(known);
        }
        name_library(stack, known);
        stack.push_boolean(IS_READ);
        stack.push_boolean(true);
        stack.raw_set(known);
    }
    true
}

/// Adds the names of the standard library's objects to a table of names. A function written in Lua is a replacement of the original
/// one, and crosses as code.
fn name_library(stack: &Protected, known: c_int) {
    let (own, originals, object) = (known + 1, known + 2, known + 3);
    stack.registry_get(&OWN_GLOBALS);
    stack.registry_get(&ORIGINALS);
    for name in BASE_FUNCTIONS {
        stack.raw_get_text(own, name);
        if is_named(stack) {
            stack.push_bytes(name.as_bytes());
            record_name(stack, known, object);
        }
        stack.set_top(originals);
    }
    for library in LIBRARIES {
        if stack.raw_get_text(originals, library) == Type::Table {
            stack.push_bytes(library.as_bytes());
            record_name(stack, known, object);
            match library {
                PACKAGE => stack.raw_get_i(originals, 1),
                library => stack.raw_get_text(own, library),
            };
            stack.push_nil();
            // The stack is the object, its fields, key, value.
            while stack.next(object + 1) {
                if is_text(stack, -2) && is_named(stack) {
                    stack.push_bytes(library.as_bytes());
                    stack.push_bytes(b".");
                    stack.push_value(object + 2);
                    stack.concat(3);
                    record_name(stack, known, object + 3);
                }
                stack.set_top(object + 2);
            }
        }
        stack.set_top(originals);
    }
    stack.set_top(known);
}

/// Pushes the host's table of a library as [`read`] found it, or nil.
pub fn push_library(stack: &Protected, library: &str) -> Type {
    stack.registry_get(&ORIGINALS);
    let kind = stack.raw_get_text(-1, library);
    stack.remove(-2);
    kind
}

/// Records an object under the name on top, and pops the name.
fn record_name(stack: &Protected, known: c_int, thing: c_int) {
    stack.push_value(thing);
    stack.push_value(-2);
    stack.raw_set(known);
    stack.push_value(thing);
    stack.raw_set(known);
}

/// Pushes the `_ENV` of our own Lua files: a copy of the standard globals as they were when the module was loaded.
/// Their `_G` is the host's own table, for reading its current values. A method call on a string would use the host's `string`, so
/// our files write `string.format(text)`.
pub fn push_own_globals(stack: &Protected) {
    stack.registry_get(&OWN_GLOBALS);
}

/// Copies the standard globals for our own Lua files.
fn copy_globals(stack: &Protected) {
    stack.create_table(0, 64);
    let own = stack.top();
    stack.create_table(1, LIBRARIES.len() as c_int);
    let originals = stack.top();
    stack.push_globals();
    let globals = stack.top();
    stack.push_value(globals);
    stack.raw_set_text(own, GLOBALS);
    for name in BASE_FUNCTIONS.iter().chain(&["_VERSION"]) {
        stack.raw_get_text(globals, name);
        stack.raw_set_text(own, name);
    }
    push_loaded(stack);
    for library in LIBRARIES {
        if stack.raw_get_text(globals + 1, library) == Type::Table {
            stack.push_value(-1);
            stack.raw_set_text(originals, library);
        } else {
            // A host may have the library in only one of the two places.
            stack.raw_get_text(globals, library);
        }
        if stack.kind(-1) == Type::Table {
            push_copy(stack);
            if library == PACKAGE {
                // Our files use the table itself, because its current fields count.
                stack.raw_set_i(originals, 1);
            }
        }
        stack.raw_set_text(own, library);
        stack.set_top(globals + 1);
    }
    stack.set_top(originals);
    stack.registry_set(&ORIGINALS);
    // If our own code crosses, the task's globals take the place of this `_ENV`.
    stack.push_value(own);
    stack.push_bytes(GLOBALS.as_bytes());
    add(stack);
    stack.registry_set(&OWN_GLOBALS);
}

/// Pushes a copy of the table on top.
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

/// Pushes an object of the host's standard library by name, as it was when [`read`] copied it. Returns its kind.
pub fn push(stack: &Protected, name: &str, find_own: FindOwn) -> Type {
    if push_names(stack, find_own) {
        stack.raw_get_text(-1, name);
        stack.remove(-2);
    }
    stack.kind(-1)
}

/// Names the function or table below the top with the text on top, unless it already has a name. Pops both.
pub fn add(stack: &Protected) {
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

/// The name of the value on top, if it is in the host's standard library.
pub fn name_of(stack: &Protected, find_own: FindOwn) -> Option<String> {
    // No function of the library is written in Lua.
    if is_named(stack) {
        push_names(stack, find_own);
        stack.pop(1);
    }
    names::find_name(stack, &STANDARD)
}

#[cfg(all(test, feature = "linked"))]
mod tests {
    use super::*;
    use crate::ffi::OwnState;
    use crate::gma;

    #[test]
    fn what_a_plugin_replaces_later_keeps_its_name() {
        let state = OwnState::new(usize::MAX).expect("a state");
        let mut names = [const { None }; 5];
        let found = &mut names;
        let done = state.stack().protected(0, |stack| {
            stack.open_libraries();
            read(stack);
            // The plugin sets `string.format` to `print`, and `math` to a table of its own.
            stack.push_globals();
            stack.raw_get_text(1, "math");
            stack.raw_get_text(1, "string");
            stack.raw_get_text(3, "format");
            stack.raw_get_text(1, "print");
            stack.push_value(5);
            stack.raw_set_text(3, "format");
            stack.create_table(0, 0);
            stack.raw_set_text(1, "math");
            for (slot, name) in (1..).zip(found.iter_mut()) {
                stack.push_value(slot);
                *name = name_of(stack, gma::own);
                stack.pop(1);
            }
            assert_eq!(push(stack, "string.format", gma::own), Type::Function);
            assert!(stack.raw_equal(-1, 4));
            assert_eq!(push(stack, "package.searchpath", gma::own), Type::Function);
            assert_eq!(push(stack, "string.fromat", gma::own), Type::Nil);
            stack.set_top(0);
            Ok(())
        });
        assert_eq!(done, Ok(()));
        let names: Vec<Option<&str>> = names.iter().map(Option::as_deref).collect();
        assert_eq!(names, [None, Some("math"), Some("string"), Some("string.format"), Some("print")]);
    }
}
