//! Loads the host's modules into a worker's state, before its first task.
//!
//! Worker side. Loading runs the modules' own code, as a task's code runs: it may call the host, and can be stopped.

use std::ffi::c_int;

use crate::codec::{Resolve, decode_initial};
use crate::environment::{Addition, Environment, HostModules};
use crate::error::{Error, Result};
use crate::ffi::{Key, Protected, Stack, Type};
use crate::gma::{self, WorkerNames};
use crate::lane::Failure;
use crate::module_lookup;
use crate::names;

/// Runs the function on the coroutine, with that many arguments.
pub type Run<'a> = &'a dyn Fn(c_int) -> std::result::Result<(), Failure>;

type Loaded = std::result::Result<(), Failure>;

/// The key, in the registry, of a list of all objects that have a name in a module. So none is freed, and no other object can get
/// its address.
static NAMED: Key = Key::new();

/// Loads everything that the job needs, and notes the names of what is there then.
pub fn load(stack: &Stack, coroutine: &Stack, environment: &Environment, run: Run) -> Loaded {
    let modules = &environment.modules;
    let top = stack.top();
    // The modules may replace globals, so the functions for later are taken now.
    stack.protected(0, push_primitives)?;
    for addition in &modules.additions {
        // One that can't be loaded is not there, as on a host that lacks it.
        while let Err(Error::NotLoaded { module }) = add(stack, addition) {
            require(coroutine, &module, true, run)?;
            if !is_loaded(stack, &module)? {
                break;
            }
        }
    }
    for module in &modules.required {
        require(coroutine, &module.name, !module.is_needed, run)
            .map_err(|failure| in_module(&module.name, failure))?;
    }
    for name in modules.required.iter().flat_map(|module| &module.named) {
        load_named(stack, coroutine, name, run)?;
    }
    update(stack, coroutine, modules, run)?;
    stack.set_top(top);
    set_globals(stack, environment.globals.as_deref())?;
    stack.protected(0, |stack| {
        let count = gma::push_modules(stack)?;
        let first = stack.top() - count + 1;
        stack.create_table(count, 0);
        for n in 1..=count {
            stack.push_value(first + n - 1);
            stack.raw_set_i(-2, n.into());
        }
        stack.registry_set(&NAMED);
        stack.set_top(0);
        Ok(())
    })?;
    Ok(())
}

/// Adds the host's functions to the libraries, in a job that needs no modules.
pub fn add_to_libraries(stack: &Stack, modules: &HostModules) -> Result<()> {
    for addition in &modules.additions {
        match add(stack, addition) {
            Err(Error::Memory) => return Err(Error::Memory),
            // One that can't be loaded is not there.
            _ => continue,
        }
    }
    Ok(())
}

/// Adds a function to a library, unless the library has its own of that name.
fn add(stack: &Stack, addition: &Addition) -> Result<()> {
    decode_initial(stack, &addition.function, &WorkerNames)?;
    stack.protected(1, |stack| {
        if names::push_library(stack, addition.library) == Type::Table
            && stack.raw_get_text(2, &addition.name) == Type::Nil
        {
            stack.push_value(1);
            stack.raw_set_text(2, &addition.name);
        }
        stack.set_top(0);
        Ok(())
    })
}

/// Loads modules until one has the thing with this name.
fn load_named(stack: &Stack, coroutine: &Stack, name: &str, run: Run) -> Loaded {
    for module in module_lookup::modules_in(name) {
        if is_there(stack, name)? {
            return Ok(());
        }
        require(coroutine, module, true, run)?;
    }
    if is_there(stack, name)? {
        return Ok(());
    }
    for module in module_lookup::modules_in(name) {
        if !is_loaded(stack, module)? {
            // This fails again, and gives the reason.
            require(coroutine, module, false, run).map_err(|failure| in_module(module, failure))?;
        }
    }
    Ok(())
}

fn is_there(stack: &Stack, name: &str) -> Result<bool> {
    stack.protected(0, |stack| Ok(module_lookup::is_there(stack, name)))
}

fn is_loaded(stack: &Stack, module: &str) -> Result<bool> {
    stack.protected(0, |stack| {
        names::push_loaded(stack);
        let is_loaded = stack.raw_get_text(1, module) != Type::Nil;
        stack.set_top(0);
        Ok(is_loaded)
    })
}

/// Requires a module. If it is optional, an error has no effect.
fn require(coroutine: &Stack, module: &str, is_optional: bool, run: Run) -> Loaded {
    coroutine.protected(0, |stack| {
        stack.push_globals();
        if is_optional {
            stack.raw_get_text(1, "pcall");
        }
        stack.raw_get_text(1, "require");
        stack.push_bytes(module.as_bytes());
        stack.remove(1);
        Ok(())
    })?;
    run(coroutine.top() - 1)?;
    coroutine.set_top(0);
    Ok(())
}

/// The failure of a module that the job needs.
fn in_module(module: &str, mut failure: Failure) -> Failure {
    if failure.message.starts_with(format!("module '{module}' not found:").as_bytes()) {
        let text = std::mem::take(&mut failure.message);
        failure.message = Error::NotRequirable { module: module.to_owned(), text }.text();
    }
    failure.inside(&format!("module '{module}', which the job needs"))
}

/// The functions that the update of modules uses.
const PRIMITIVES: [&str; 5] = ["next", "rawequal", "rawget", "rawset", "type"];

/// Pushes the `_ENV` of the code that updates modules.
fn push_primitives(stack: &Protected) -> Result<()> {
    stack.create_table(0, PRIMITIVES.len() as c_int);
    stack.push_globals();
    for name in PRIMITIVES {
        stack.raw_get_text(2, name);
        stack.raw_set_text(1, name);
    }
    stack.pop(1);
    Ok(())
}

/// The names in the plain data of modules: those of objects' classes. A class that a task's module lacks stays behind, like any
/// other metatable.
struct DataNames;

impl Resolve for DataNames {
    fn push_named(&self, stack: &Protected, name: &str) -> Result<()> {
        match WorkerNames.push_named(stack, name) {
            Err(Error::NotInModule { .. }) => {}
            pushed => return pushed,
        }
        stack.create_table(0, 0);
        Ok(())
    }
}

/// Brings the plain data of the loaded modules up to date. The `_ENV` of the code for it is on top of the stack.
fn update(stack: &Stack, coroutine: &Stack, modules: &HostModules, run: Run) -> Loaded {
    let environment = stack.top();
    stack.load(include_bytes!("../lua/module_data.lua"), c"@gma2workers/module_data.lua")?;
    stack.push_value(environment);
    stack.set_upvalue(-2, 1);
    stack.protected(0, |stack| {
        stack.create_table(2 * modules.data.len() as c_int, 0);
        Ok(())
    })?;
    let updates = stack.top();
    let mut count = 0;
    for (module, data) in &modules.data {
        if !is_loaded(stack, module)? {
            continue;
        }
        while let Err(error) = decode_initial(stack, data, &DataNames) {
            match error {
                // An object in the data has a class of another module.
                Error::NotLoaded { module } => require(coroutine, &module, false, run)?,
                error => return Err(error.into()),
            }
        }
        stack.push_value(updates);
        stack.insert(-2);
        stack.protected(2, |stack| {
            names::push_loaded(stack);
            stack.raw_get_text(3, module);
            stack.raw_set_i(1, count + 1);
            stack.set_top(2);
            stack.raw_set_i(1, count + 2);
            stack.set_top(0);
            Ok(())
        })?;
        count += 2;
    }
    stack.protected(0, |stack| {
        stack.push_globals();
        names::push_loaded(stack);
        Ok(())
    })?;
    if !coroutine.check(8) {
        return Err(Error::Memory.into());
    }
    stack.move_to(coroutine, 4);
    run(3)?;
    coroutine.set_top(0);
    Ok(())
}

/// Sets the globals, and the fields of libraries, from a message with both. A sandbox may lack a library.
pub fn set_globals(stack: &Stack, globals: Option<&[u8]>) -> Result<()> {
    const FIELDS: c_int = 2;
    const LIBRARY_NAME: c_int = 4;
    const LIBRARY: c_int = 6;
    let Some(globals) = globals else { return Ok(()) };
    decode_initial(stack, globals, &WorkerNames)?;
    stack.protected(FIELDS, |stack| {
        stack.push_globals();
        set_fields(stack, 1, FIELDS + 1);
        stack.set_top(FIELDS);
        names::push_loaded(stack);
        stack.push_nil();
        while stack.next(FIELDS) {
            stack.push_value(LIBRARY_NAME);
            if stack.raw_get(FIELDS + 1) == Type::Table {
                set_fields(stack, LIBRARY_NAME + 1, LIBRARY);
            }
            stack.set_top(LIBRARY_NAME);
        }
        stack.set_top(0);
        Ok(())
    })
}

/// Sets in the table at `to` all fields of the table at `from`.
fn set_fields(stack: &Protected, from: c_int, to: c_int) {
    stack.push_nil();
    while stack.next(from) {
        stack.push_value(-2);
        stack.insert(-2);
        stack.raw_set(to);
    }
}
