//! The host's side of host calls, and the names of the host's functions in messages.
//!
//! Host side. Nothing here calls a host function, because it may yield: [`crate::callbacks`] does.

use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::c_int;

use crate::codec::{
    self, Decoder, Functions, GMA, HOST, Libraries, Names, Path, Policy, Resolve, SEPARATOR, encode,
};
use crate::environment::{HostModules, Required};
use crate::error::{Error, Place, Problem, Result};
use crate::fault;
use crate::ffi::{Protected, Stack, Type};
use crate::gma;
use crate::host_standard;
use crate::job::Job;
use crate::mailbox::{self, Answer};
use crate::module_lookup;
use crate::module_names::{ModuleNames, ModuleObjects, is_small_and_plain};
use crate::modules::OWN_NAMES;
use crate::names;
use crate::raised;
use crate::value::Value;

/// The names of things in the host's state. Valid for one native call.
#[derive(Default)]
pub struct HostNames {
    /// The names under `gma` have been read. That happens when the first unknown value is met.
    has_read_gma: Cell<bool>,
    /// The addresses of the modules, sorted; read when the first table or unknown function is met.
    values: OnceCell<Vec<usize>>,
    /// The names in modules, read when something is met that may be in one.
    modules: OnceCell<ModuleNames>,
    /// What may have a name in a module; none if that can't be told. Read before the names, which most jobs don't need.
    objects: OnceCell<Option<ModuleObjects>>,
    /// How often that was asked.
    looks: Cell<usize>,
    /// The modules that were met.
    required: RefCell<Vec<Required>>,
}

impl HostNames {
    /// The names of the host's modules.
    pub fn modules(&self, stack: &Protected) -> Result<&ModuleNames> {
        if self.modules.get().is_none() {
            let top = stack.top();
            push_gma(stack);
            let gma = stack.pointer(-1);
            if names::push_loaded(stack) == Type::Table {
                let read = ModuleNames::read(stack, gma, is_module);
                let _ = self.modules.set(read?);
            }
            stack.set_top(top);
        }
        Ok(self.modules.get_or_init(ModuleNames::default))
    }

    /// Whether the object with this address may be a module or a part of one. False only if it is none.
    fn may_be_in_module(&self, stack: &Protected, address: usize) -> bool {
        // More looks take longer than reading the names.
        const FEW: usize = 64;
        self.looks.set(self.looks.get() + 1);
        if self.modules.get().is_some() || self.looks.get() > FEW {
            return true;
        }
        if self.objects.get().is_none() {
            let top = stack.top();
            push_gma(stack);
            let gma = stack.pointer(-1);
            if names::push_loaded(stack) == Type::Table {
                let _ = self.objects.set(ModuleObjects::read(stack, gma, is_module_key));
            }
            stack.set_top(top);
        }
        self.objects.get().and_then(Option::as_ref).is_none_or(|objects| objects.may_name(address))
    }

    /// Notes the addresses of the modules that the host has loaded.
    pub fn set_modules(&self, mut values: Vec<usize>) {
        values.sort_unstable();
        let _ = self.values.set(values);
    }

    /// The module of the function or code table on top, if the modules were read.
    pub fn known_module_of(&self, stack: &Stack) -> Option<&str> {
        self.modules.get()?.module_of(stack.pointer(-1)).map(|(module, _)| module)
    }

    /// The name of the function or table on top, if it is a module or a part of one. Notes that its module was met.
    fn known_name(&self, stack: &Protected) -> Result<Option<String>> {
        let address = stack.pointer(-1);
        if !self.may_be_in_module(stack, address) {
            return Ok(None);
        }
        let names = self.modules(stack)?;
        let Some(((module, module_address), name)) = names.module_of(address).zip(names.name_of(stack))
        else {
            return Ok(None);
        };
        let mut required = self.required.borrow_mut();
        let at = required.iter().position(|known| known.name == module).unwrap_or_else(|| {
            required.push(Required {
                name: module.to_owned(),
                address: module_address,
                ..Required::default()
            });
            required.len() - 1
        });
        if !module_lookup::has_several(&name) {
            required[at].is_needed = true;
        } else if !required[at].named.contains(&name) {
            required[at].named.push(name.clone());
        }
        Ok(Some(name))
    }

    /// Takes the modules that were met so far.
    pub fn take_required(&self) -> Vec<Required> {
        self.required.take()
    }
}

/// Whether this is the name of a module that crosses by name.
pub fn is_module(name: &str) -> bool {
    !names::LIBRARIES.contains(&name) && name != names::GLOBALS && !OWN_NAMES.contains(&name)
}

/// Whether a key of `package.loaded` is the name of a module that crosses by name.
pub fn is_module_key(key: &[u8]) -> bool {
    std::str::from_utf8(key).is_ok_and(is_module)
}

impl Names for HostNames {
    fn name_of(&self, stack: &Protected) -> Option<String> {
        host_standard::name_of(stack, gma::own).or_else(|| {
            if !self.has_read_gma.get() {
                push_gma(stack);
                names::read_gma(stack);
                self.has_read_gma.set(true);
            }
            names::gma_name(stack)
        })
    }

    fn libraries(&self, stack: &Protected) -> Libraries {
        Libraries::read(stack, host_standard::push_library)
    }

    fn has_modules(&self, stack: &Protected) -> Result<bool> {
        if let Some(values) = self.values.get() {
            return Ok(!values.is_empty());
        }
        let top = stack.top();
        if names::push_loaded(stack) == Type::Table {
            let _ = self.values.set(module_values(stack));
        }
        stack.set_top(top);
        Ok(!self.values.get_or_init(Vec::new).is_empty())
    }

    fn name_in_module(&self, stack: &Protected) -> Result<Option<String>> {
        let address = stack.pointer(-1);
        let is_read = self.modules.get().is_some();
        let is_module = || self.values.get().is_some_and(|values| values.binary_search(&address).is_ok());
        if !is_read && is_small_and_plain(stack) && !is_module() {
            return Ok(None);
        }
        self.known_name(stack)
    }

    fn class_name(&self, stack: &Protected) -> Result<Option<String>> {
        self.known_name(stack)
    }
}

/// The addresses of the modules in the table on top, sorted. Raises nothing.
fn module_values(stack: &Stack) -> Vec<usize> {
    let loaded = stack.top();
    let mut values = Vec::new();
    stack.push_nil();
    while stack.next(loaded) {
        let is_object = matches!(stack.kind(-1), Type::Table | Type::Function);
        if is_object && stack.kind(-2) == Type::String && stack.with_bytes(-2, is_module_key) {
            values.push(stack.pointer(-1));
        }
        stack.pop(1);
    }
    values.sort_unstable();
    values
}

impl Resolve for HostNames {
    fn push_named(&self, stack: &Protected, name: &str) -> Result<()> {
        if module_lookup::is_in_module(name) {
            let shown = || module_lookup::display(name);
            return module_lookup::push(stack, name)
                .map_err(|error| match error {
                    Error::OtherInModule { host: place, .. } => format!("{} of {place}", shown()),
                    _ => shown(),
                })
                .map_err(|name| Error::NotInHostsModule { name });
        }
        if !gma::is_gma(name) {
            return match host_standard::push(stack, name, gma::own) {
                Type::Nil => {
                    stack.pop(1);
                    Err(Error::Absent { name: name.to_owned() })
                }
                _ => Ok(()),
            };
        }
        if push_host_function(stack, name) == Type::Nil {
            stack.pop(1);
            return Err(Error::NoHostFunction { name: names::display(name) });
        }
        Ok(())
    }
}

/// Pushes the host's `gma`.
fn push_gma(stack: &Protected) {
    stack.push_globals();
    stack.raw_get_text(-1, GMA);
    stack.remove(-2);
}

/// Reads the names of the functions in the option `host`, a table at this index, in their order.
pub fn read_functions(stack: &Stack, functions: c_int) -> Result<Vec<Box<str>>> {
    let mut names = Vec::new();
    if !stack.check(3) {
        return Err(Error::Memory);
    }
    stack.push_nil();
    while stack.next(functions) {
        if !names::is_name_part(stack, stack.top() - 1) {
            let (key, example) = (Value::at(stack, -2).describe(), "host = { name = f, ... }");
            return Err(Error::option("host", Problem::Unnamed { key, example }));
        }
        let name = stack.text(-2);
        if stack.kind(-1) != Type::Function {
            let got = Value::at(stack, -1).describe();
            let problem = Problem::Unexpected { expected: "a function".into(), got, advice: "" };
            return Err(Error::BadConfig { place: Place::Field { option: "host", name }, problem });
        }
        names.push(name.into());
        stack.pop(1);
    }
    names.sort_unstable();
    Ok(names)
}

/// Pushes the function that a task calls by this name: one of the option `host`, a table at index 1, or one under `gma`. Returns its
/// kind.
fn push_called(stack: &Protected, name: &str) -> Type {
    match name.split_once(SEPARATOR) {
        Some((HOST, name)) => {
            if stack.kind(1) != Type::Table {
                stack.push_nil();
                return Type::Nil;
            }
            stack.raw_get_text(1, name)
        }
        _ => push_host_function(stack, name),
    }
}

/// Pushes the host's value of this name under `gma`. Returns its kind.
fn push_host_function(stack: &Protected, name: &str) -> Type {
    push_gma(stack);
    names::follow(stack, name)
}

/// Pushes `package.preload` from the registry. Returns its kind.
fn push_preload(stack: &Protected) -> Type {
    stack.push_registry();
    let kind = stack.raw_get_text(-1, "_PRELOAD");
    stack.remove(-2);
    kind
}

/// Finds out whether the host's `require` can find modules other than files.
pub fn read_modules(stack: &Protected, modules: &mut HostModules) {
    const STANDARD: i64 = 4;
    let top = stack.top();
    if push_preload(stack) == Type::Table {
        stack.push_nil();
        while stack.next(top + 1) {
            let is_own = |name: &str| stack.has_bytes(-2, name.as_bytes());
            if stack.kind(-2) == Type::String && !OWN_NAMES.into_iter().any(is_own) {
                modules.preloaded.push(stack.bytes(-2));
            }
            stack.pop(1);
        }
    }
    stack.set_top(top);
    stack.push_globals();
    if stack.raw_get_text(-1, "package") == Type::Table && stack.raw_get_text(-1, "searchers") == Type::Table
    {
        let searchers = stack.top();
        let is_other = |n| {
            let kind = stack.raw_get_i(searchers, n);
            kind != Type::Nil && (n > STANDARD || !stack.is_native(-1))
        };
        modules.has_other_searchers = (1..=STANDARD + 1).any(is_other);
    }
    stack.set_top(top);
}

/// Answers a task that requires a module, with the loader from the host's `package.preload` or with nil. Returns only errors
/// of hooks; the task then still waits for its answer.
fn answer_preload(
    stack: &Stack,
    job: &Job,
    names: &HostNames,
    ticket: Option<u64>,
    module: &[u8],
) -> Result<()> {
    let module_name = || String::from_utf8_lossy(module).into_owned();
    let place = |_, path: &Path| format!("package.preload[{:?}]{path}", module_name());
    let policy = Policy { names, functions: Functions::Carry(job.upvalues), place: &place };
    let mut message = Vec::new();
    let pushed = stack.protected(0, |stack| {
        if push_preload(stack) == Type::Table {
            stack.push_bytes(module);
            stack.raw_get(1);
        }
        if stack.kind(-1) != Type::Function {
            stack.push_nil();
        }
        stack.insert(1);
        stack.set_top(1);
        Ok(())
    });
    let answer = match pushed.and_then(|()| encode(stack, 1, &mut message, &policy)) {
        Ok(()) => Answer::Returned(message),
        Err(error) if error.is_a_hooks() => return Err(error),
        Err(cause) => {
            let cause = Box::new(codec::without_arguments(cause));
            Answer::Failed(Error::Preloaded { module: module_name(), cause })
        }
    };
    if let Some(trace) = &job.trace {
        trace.end_call();
    }
    if let Some(ticket) = ticket {
        job.mailbox.answer(ticket, answer);
    }
    Ok(())
}

/// Takes a job's next host call. The value on top is the job's option `host`, or nil. Pushes the call's ticket (false if no task
/// waits for the answer), its name for messages, its function and its arguments. Returns the number of arguments, or none if
/// there is no call.
pub fn next_call(stack: &Stack, job: &Job, names: &HostNames) -> Result<Option<c_int>> {
    if let Some(trace) = &job.trace {
        trace.end_call();
    }
    let top = stack.top();
    while let Some((request, ticket)) = job.mailbox.take() {
        if fault::point("call").is_err() {
            job.mailbox.close();
        }
        let display = names::display(&request.name);
        if let Some(trace) = &job.trace {
            trace.begin_call(&display);
        }
        if &*request.name == mailbox::PRELOAD {
            if let Err(error) = answer_preload(stack, job, names, ticket, &request.arguments) {
                job.mailbox.requeue(request, ticket);
                return Err(error);
            }
            stack.set_top(top);
            continue;
        }
        let mut decoder = Decoder::new(names);
        stack.push_value(top);
        let pushed = stack.with_collector_paused_on_host(request.arguments.len(), 1, |stack| {
            match ticket {
                Some(ticket) => stack.push_integer(ticket as i64),
                None => stack.push_boolean(false),
            }
            stack.push_bytes(display.as_bytes());
            if push_called(stack, &request.name) != Type::Function {
                return Ok(None);
            }
            let count = decoder.message(stack, &request.arguments)?;
            stack.remove(1);
            Ok(Some(count))
        });
        let error = match pushed {
            Ok(None) => Error::NoHostFunction { name: display },
            Ok(count) => return Ok(count),
            // A hook's error has nothing to do with the call, which must still be made.
            Err(error) if error.is_a_hooks() => {
                job.mailbox.requeue(request, ticket);
                return Err(error);
            }
            Err(error) => error,
        };
        stack.set_top(top);
        if let Some(ticket) = ticket {
            job.mailbox.answer(ticket, Answer::Failed(error));
        }
    }
    Ok(None)
}

/// Answers a host call with the values from index `first` up: its results, or the error that it raised. Returns only errors
/// of hooks, such as the one for Ctrl-C, which ran meanwhile.
pub fn answer(
    stack: &Stack,
    job: &Job,
    names: &HostNames,
    ticket: u64,
    name: &str,
    returned: bool,
    first: c_int,
) -> Result<()> {
    let place = |n: usize, path: &Path| format!("returns[{n}]{path} of {name}");
    let policy = Policy { names, functions: Functions::Carry(job.upvalues), place: &place };
    let mut message = Vec::new();
    let failed =
        |cause| Error::HostAnswer { name: name.to_owned(), cause: Box::new(codec::without_arguments(cause)) };
    let last = stack.top();
    let mut encode_answer = || {
        if !stack.check(last) {
            return Err(Error::Memory);
        }
        (first..=last).for_each(|index| stack.push_value(index));
        if returned {
            encode(stack, last - first + 1, &mut message, &policy)
        } else {
            stack.set_top(last + 1);
            raised::encode_error(stack, &mut message, &policy, failed)
        }
    };
    let mut encoded = encode_answer();
    let hooks = encoded.as_ref().err().filter(|error| error.is_a_hooks()).cloned();
    if hooks.is_some() {
        // The host function has run, so its answer must not be lost.
        stack.set_top(last);
        encoded = encode_answer();
    }
    let answer = match encoded {
        Ok(()) if returned => Answer::Returned(message),
        Ok(()) => Answer::Raised(message),
        Err(error @ Error::HostAnswer { .. }) => Answer::Failed(error),
        Err(cause) => Answer::Failed(failed(cause)),
    };
    if let Some(trace) = &job.trace {
        trace.end_call();
    }
    job.mailbox.answer(ticket, answer);
    hooks.map_or(Ok(()), Err)
}
