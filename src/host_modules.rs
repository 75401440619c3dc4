//! What a job takes along from the host's modules: their names, their plain data, and the functions that the host has added to
//! the standard libraries.
//!
//! Host side. Access is raw.

use std::ffi::c_int;

use rustc_hash::FxHashSet;

use crate::codec::{Encoder, Functions, Names, Path, Policy, encode};
use crate::environment::{Addition, HostModules};
use crate::error::{Error, Result};
use crate::ffi::{Protected, Stack, Type};
use crate::host::{self, HostNames};
use crate::names;

/// Reads the names of the modules that the host has loaded. `addresses` is for their addresses.
pub fn read_loaded(stack: &Protected, loaded: &mut Vec<String>, addresses: &mut Vec<usize>) {
    let top = stack.top();
    if names::push_loaded(stack) == Type::Table {
        let table = stack.table(top + 1);
        stack.push_nil();
        while table.next() {
            let is_object = matches!(stack.kind(-1), Type::Table | Type::Function);
            if is_object && names::is_name_part(stack, -2) && stack.with_bytes(-2, host::is_module_key) {
                loaded.push(stack.text(-2));
                addresses.push(stack.pointer(-1));
            }
            stack.pop(1);
        }
    }
    loaded.sort_unstable();
    stack.set_top(top);
}

/// The libraries that hosts add functions to: all but `package`, whose functions find the host's modules.
fn extended() -> impl Iterator<Item = &'static &'static str> {
    names::LIBRARIES.iter().filter(|library| **library != "package")
}

/// Reads the functions that the host has added to the standard libraries. One that can't cross is left out, and in a sandbox
/// one that needs a module. Returns the names of the modules that they need.
pub fn read_additions(
    stack: &Stack,
    names: &HostNames,
    functions: Functions,
    is_sandbox: bool,
    modules: &mut HostModules,
) -> Result<Vec<String>> {
    let mut used = Vec::new();
    let mut found = Vec::new();
    let (top, list) = (stack.top(), &mut found);
    stack.protected(0, |stack| find_additions(stack, list))?;
    let place = |_, path: &Path| path.to_string();
    let policy = Policy { names, functions, place: &place };
    for ((library, name), slot) in found.into_iter().zip(top + 1..) {
        let mut function = Vec::new();
        stack.push_value(slot);
        let encoded = encode(stack, 1, &mut function, &policy);
        let required = names.take_required();
        match encoded {
            Ok(()) if is_sandbox && !required.is_empty() => {}
            Ok(()) => {
                used.extend(required.into_iter().map(|module| module.name));
                modules.additions.push(Addition { library, name, function });
            }
            Err(error) if error.is_a_hooks() => return Err(error),
            Err(_) => {}
        }
    }
    stack.set_top(top);
    Ok(used)
}

/// Pushes the Lua functions in the standard libraries, and lists their libraries and names in the same order. A function that
/// has taken the place of an original one is among them.
fn find_additions(stack: &Protected, found: &mut Vec<(&'static str, String)>) -> Result<()> {
    let is_there = names::push_loaded(stack) == Type::Table;
    for library in extended().filter(|_| is_there) {
        if stack.raw_get_text(1, library) != Type::Table || !has_additions(stack) {
            stack.pop(1);
            continue;
        }
        stack.push_nil();
        // The stack is `package.loaded`, functions, library, key.
        while stack.next(stack.top() - 1) {
            if is_addition(stack) && names::is_name_part(stack, -2) && stack.check(8) {
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

/// Whether the library on top has a Lua function. Every job looks, so this does little else.
fn has_additions(stack: &Protected) -> bool {
    let library = stack.table(stack.top());
    stack.push_nil();
    while library.next() {
        if is_addition(stack) {
            stack.set_top(library.index());
            return true;
        }
        stack.pop(1);
    }
    false
}

/// Whether the field on top is a Lua function. Nearly all are native, so that is looked at first.
fn is_addition(stack: &Stack) -> bool {
    !stack.is_native(-1) && stack.kind(-1) == Type::Function
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
        let is_own = self.host.known_module_of(stack).map(|module| module == self.module);
        let is_left_out = is_own.map_or_else(|| is_left_out(stack, self.host), |is_own| !is_own);
        Ok(is_left_out.then(String::new))
    }

    fn class_name(&self, stack: &Protected) -> Result<Option<String>> {
        self.host.class_name(stack)
    }
}

/// The most bytes of a module's data that are sent without knowing whether the job's modules use that module.
const SMALL: usize = 16 << 10;

/// Reads the plain data of the loaded modules. Of those with much data, only the ones that the job's modules use, as far as
/// their tables and functions show. The job's modules are the required ones and those in `used`.
pub fn read_data(
    stack: &Stack,
    names: &HostNames,
    used: Vec<String>,
    modules: &mut HostModules,
) -> Result<()> {
    let mut large = Vec::new();
    for module in &modules.loaded {
        match encode_data(stack, names, module, SMALL) {
            Ok(Some(data)) => modules.data.push((module.clone(), data)),
            Ok(None) => {}
            Err(Error::Memory) => large.push(module),
            Err(error) => return Err(error),
        }
    }
    if large.is_empty() {
        return Ok(());
    }
    let mut used = Used { modules: used, ..Used::default() };
    used.modules.extend(modules.required.iter().map(|module| module.name.clone()));
    let walk = &mut used;
    stack.protected(0, |stack| walk.read(stack, names))?;
    for module in large.into_iter().filter(|module| used.modules.contains(module)) {
        if let Some(data) = encode_data(stack, names, module, usize::MAX)? {
            modules.data.push((module.clone(), data));
        }
    }
    Ok(())
}

/// A message with the plain data of a module; none if the module is no table.
fn encode_data(stack: &Stack, names: &HostNames, module: &str, limit: usize) -> Result<Option<Vec<u8>>> {
    let is_table = stack.protected(0, |stack| {
        names.modules(stack)?;
        push_module(stack, module);
        Ok(stack.kind(1) == Type::Table)
    })?;
    // A module with several names is under one of them.
    let owner = names.known_module_of(stack).filter(|_| is_table);
    let Some(owner) = owner else {
        stack.pop(1);
        return Ok(None);
    };
    let place = |_, path: &Path| path.to_string();
    let data_names = DataNames { host: names, module: owner };
    let policy = Policy { names: &data_names, functions: Functions::Data, place: &place };
    let mut message = Vec::new();
    let mut encoder = Encoder::with_limit(limit, &mut message, &policy);
    let encoded = {
        let encoder = &mut encoder;
        stack.protected(1, |stack| {
            encoder.message(stack, 1, 1)?;
            stack.set_top(0);
            Ok(())
        })
    };
    encoder.resume_collector(stack)?;
    encoded.map(|()| Some(message))
}

/// Pushes a loaded module.
fn push_module(stack: &Protected, module: &str) {
    names::push_loaded(stack);
    stack.raw_get_text(-1, module);
    stack.remove(-2);
}

/// Finds the modules that others use: all that their tables and the upvalues of their functions lead to.
#[derive(Default)]
struct Used {
    modules: Vec<String>,
    seen: FxHashSet<usize>,
}

impl Used {
    /// Adds the modules that the listed ones use.
    fn read(&mut self, stack: &Protected, names: &HostNames) -> Result<()> {
        let mut next = 0;
        while let Some(module) = self.modules.get(next) {
            // The objects still to be read are on the stack.
            stack.set_top(0);
            push_module(stack, module);
            next += 1;
            let mut at = 1;
            while at <= stack.top() && stack.check(10) {
                match stack.kind(at) {
                    Type::Table => self.read_table(stack, names, at)?,
                    Type::Function if !stack.is_native(at) => {
                        for n in 1..=stack.upvalue_count(at) {
                            stack.push_upvalue_of(at, n);
                            self.keep(stack, names)?;
                        }
                    }
                    _ => {}
                }
                at += 1;
            }
        }
        stack.set_top(0);
        Ok(())
    }

    fn read_table(&mut self, stack: &Protected, names: &HostNames, table: c_int) -> Result<()> {
        if stack.metatable(table) {
            self.keep(stack, names)?;
        }
        stack.push_nil();
        while stack.next(table) && stack.check(10) {
            if self.keep(stack, names)? {
                // The key stays on top for the next step.
                stack.insert(-2);
            }
        }
        Ok(())
    }

    /// Keeps the value on top if it must be read, or else pops it.
    fn keep(&mut self, stack: &Protected, names: &HostNames) -> Result<bool> {
        let kind = stack.kind(-1);
        self.seen.try_reserve(1)?;
        let is_new = matches!(kind, Type::Table | Type::Function) && self.seen.insert(stack.pointer(-1));
        let is_read = is_new && !is_left_out(stack, names);
        if !is_read {
            stack.pop(1);
            return Ok(false);
        }
        if let Some(module) = names.known_module_of(stack)
            && !self.modules.iter().any(|known| known == module)
        {
            self.modules.push(module.to_owned());
        }
        Ok(true)
    }
}

/// Whether the value on top belongs to no module: the globals, `package.loaded`, a library, or something under `gma`.
fn is_left_out(stack: &Protected, names: &HostNames) -> bool {
    names::push_loaded(stack);
    stack.push_globals();
    let is_left_out = stack.raw_equal(-1, -3) || stack.raw_equal(-2, -3);
    stack.pop(2);
    is_left_out || names.known_module_of(stack).is_none() && names.name_of(stack).is_some()
}
