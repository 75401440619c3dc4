//! What a job takes along of the host's modules: their names, their plain data, and the functions that the host has added to
//! the standard libraries.
//!
//! Host side. Access is raw.

use std::ffi::c_int;

use crate::codec::{Functions, Names, Path, Policy, encode};
use crate::environment::{Addition, HostModules};
use crate::error::Result;
use crate::ffi::{Protected, Stack, Type};
use crate::host::{self, HostNames};
use crate::names;

/// Reads the names of the modules that the host has loaded.
pub fn read_loaded(stack: &Protected, loaded: &mut Vec<String>) {
    let top = stack.top();
    if names::push_loaded(stack) == Type::Table {
        read_names(stack, loaded);
    }
    stack.set_top(top);
}

/// Reads the names of the modules in the table on top. Raises nothing.
fn read_names(stack: &Stack, names: &mut Vec<String>) {
    let loaded = stack.top();
    stack.push_nil();
    while stack.next(loaded) {
        let is_object = matches!(stack.kind(-1), Type::Table | Type::Function);
        if is_object && names::is_name_part(stack, -2) {
            let name = stack.text(-2);
            if host::is_module(&name) {
                names.push(name);
            }
        }
        stack.pop(1);
    }
    names.sort_unstable();
}

/// The libraries that hosts add functions to.
const EXTENDED: [&str; 9] = ["bit32", "coroutine", "debug", "io", "math", "os", "string", "table", "utf8"];

/// Reads the functions that the host has added to the standard libraries. One that can't cross is left out, and in a sandbox
/// one that needs a module. True if one of them needs a module.
pub fn read_additions(
    stack: &Stack,
    names: &HostNames,
    functions: Functions,
    is_sandbox: bool,
    modules: &mut HostModules,
) -> Result<bool> {
    let mut needs_modules = false;
    let mut found = Vec::new();
    let (top, list) = (stack.top(), &mut found);
    stack.protected(0, |stack| find_additions(stack, list))?;
    let place = |_, path: &Path| path.to_string();
    let policy = Policy { names, functions, place: &place };
    for ((library, name), slot) in found.into_iter().zip(top + 1..) {
        let mut function = Vec::new();
        stack.push_value(slot);
        let encoded = encode(stack, 1, &mut function, &policy);
        let needs_module = !names.take_required().is_empty();
        match encoded {
            Ok(()) if needs_module && is_sandbox => {}
            Ok(()) => {
                needs_modules |= needs_module;
                modules.additions.push(Addition { library, name, function });
            }
            Err(error) if error.is_a_hooks() => return Err(error),
            Err(_) => {}
        }
    }
    stack.set_top(top);
    Ok(needs_modules)
}

/// Pushes the Lua functions in the standard libraries, and lists their libraries and names in the same order. A function that
/// has taken the place of an original one is among them.
fn find_additions(stack: &Protected, found: &mut Vec<(&'static str, String)>) -> Result<()> {
    let is_there = names::push_loaded(stack) == Type::Table;
    for library in EXTENDED.iter().filter(|_| is_there) {
        if stack.raw_get_text(1, library) != Type::Table {
            stack.pop(1);
            continue;
        }
        stack.push_nil();
        // The stack is `package.loaded`, functions, library, key.
        while stack.next(stack.top() - 1) {
            let is_added = stack.kind(-1) == Type::Function && !stack.is_native(-1);
            if is_added && names::is_name_part(stack, -2) && stack.check(8) {
                found.push((library, stack.text(-2)));
                stack.insert(found.len() as c_int + 1);
            } else {
                stack.pop(1);
            }
        }
        stack.pop(1);
    }
    stack.remove(1);
    Ok(())
}

/// The names in a module's plain data: all that is not the module's own has one, and is left out.
struct DataNames<'a> {
    host: &'a HostNames,
    module: &'a str,
}

impl Names for DataNames<'_> {
    fn name_of(&self, stack: &Protected) -> Option<String> {
        self.host.name_of(stack)
    }

    fn has_modules(&self, stack: &Protected) -> Result<bool> {
        self.host.has_modules(stack)
    }

    fn name_in_module(&self, stack: &Protected) -> Result<Option<String>> {
        names::push_loaded(stack);
        stack.push_globals();
        let is_left_out = stack.raw_equal(-1, -3) || stack.raw_equal(-2, -3);
        stack.pop(2);
        if is_left_out {
            return Ok(Some(names::GLOBALS.to_owned()));
        }
        Ok(match self.host.known_module_of(stack) {
            Some(module) => (module != self.module).then(|| module.to_owned()),
            None => self.host.name_of(stack),
        })
    }

    fn class_name(&self, stack: &Protected) -> Result<Option<String>> {
        self.host.class_name(stack)
    }
}

/// Reads the plain data of all loaded modules.
pub fn read_data(stack: &Stack, names: &HostNames, modules: &mut HostModules) -> Result<()> {
    let place = |_, path: &Path| path.to_string();
    for module in &modules.loaded {
        let is_table = stack.protected(0, |stack| {
            names.modules(stack)?;
            names::push_loaded(stack);
            stack.raw_get_text(-1, module);
            stack.remove(1);
            Ok(stack.kind(1) == Type::Table)
        })?;
        // A module with several names is under one of them.
        let owner = names.known_module_of(stack).filter(|_| is_table);
        let Some(owner) = owner else {
            stack.pop(1);
            continue;
        };
        let data_names = DataNames { host: names, module: owner };
        let policy = Policy { names: &data_names, functions: Functions::Data, place: &place };
        let mut message = Vec::new();
        encode(stack, 1, &mut message, &policy)?;
        modules.data.push((module.clone(), message));
    }
    Ok(())
}
