//! The `gma` table of a task: it has the shape of the host's table, and its functions call the host.
//!
//! Worker side, on the worker's thread and state. The shape is a message in which every function is a name; decoding it
//! makes the table. Functions that return nothing ([`TOLD`]) don't wait for the host, and `gma.sleep` sleeps on the worker.

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::rc::Rc;
use std::sync::LazyLock;

use crate::codec::{
    Functions, GMA, HOST, Libraries, Names, Path, Policy, Resolve, SEPARATOR, Upvalues, decode, encode,
    encode_counted,
};
use crate::error::{Error, Result};
use crate::ffi::{Exit, NativeFunction, NativeResult, Protected, Stack, Type, native};
use crate::hostcall;
use crate::mailbox::{self, Answer};
use crate::module_lookup;
use crate::module_names::ModuleNames;
use crate::names;
use crate::{coroutine, current, fields, missing, raised, stdlib};

/// The names of things in a worker's state, for messages that leave it or enter it.
pub struct WorkerNames;

impl Names for WorkerNames {
    fn name_of(&self, stack: &Protected) -> Option<String> {
        names::gma_name(stack).or_else(|| names::standard_name(stack, own()))
    }

    fn libraries(&self, stack: &Protected) -> Libraries {
        stack.push_registry();
        let state = stack.pointer(-1);
        stack.pop(1);
        let known = LIBRARIES.get().filter(|(known, _)| *known == state);
        known.map_or_else(
            || {
                let libraries = Libraries::read(stack, names::push_library);
                LIBRARIES.set(Some((state, libraries)));
                libraries
            },
            |(_, libraries)| libraries,
        )
    }

    fn has_modules(&self, stack: &Protected) -> Result<bool> {
        if current::with_notes(|notes| notes.has_required) {
            current::with_notes(|notes| notes.modules = None);
            let top = stack.top();
            push_modules(stack)?;
            stack.set_top(top);
        }
        Ok(current::with_notes(|notes| notes.modules.is_some()))
    }

    fn name_in_module(&self, stack: &Protected) -> Result<Option<String>> {
        Ok(current::with_notes(|notes| notes.modules.as_ref()?.name_now(stack)))
    }
}

thread_local! {
    /// The libraries of the state that this thread used last, by the address of its registry.
    static LIBRARIES: Cell<Option<(usize, Libraries)>> = const { Cell::new(None) };
}

/// Forgets the libraries of a state: a new one may have a registry at the same address.
pub fn forget_libraries() {
    LIBRARIES.set(None);
}

/// Notes the names of this state's modules, as far as the host has loaded them too. Leaves all objects with a name on the stack,
/// and returns their number.
pub fn push_modules(stack: &Protected) -> Result<c_int> {
    stack.push_globals();
    stack.raw_get_text(-1, GMA);
    let gma = stack.pointer(-1);
    match names::push_loaded(stack) {
        Type::Table => note_modules(stack, gma),
        _ => Ok(0),
    }
}

/// Notes the names of the modules in the table on top. Raises nothing.
fn note_modules(stack: &Stack, gma: usize) -> Result<c_int> {
    let Some(work) = current::work() else { return Ok(0) };
    let loaded = &work.job.environment.modules.loaded;
    let is_hosts = |name: &str| loaded.binary_search_by(|known| known.as_str().cmp(name)).is_ok();
    let names = ModuleNames::read(stack, gma, is_hosts)?;
    let count = names.count() as c_int;
    current::with_notes(|notes| notes.modules = (count > 0).then(|| Rc::new(names)));
    Ok(count)
}

/// Pushes the values of a message that arrives while a task runs, and returns their count. If they need a module that is not
/// loaded, it is required first.
pub fn receive(stack: &Stack, message: &[u8]) -> Result<c_int> {
    loop {
        match decode(stack, message, &WorkerNames) {
            Err(Error::NotLoaded { module }) => require(stack, module)?,
            received => return received,
        }
    }
}

thread_local! {
    /// The modules that [`require`] is loading.
    static LOADING: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Requires a module. One that needs itself to be loaded is an error.
fn require(stack: &Stack, module: String) -> Result<()> {
    if LOADING.with_borrow(|loading| loading.contains(&module)) {
        return Err(Error::NeedsItself { module });
    }
    let name = module.as_bytes();
    LOADING.with_borrow_mut(|loading| loading.push(module.clone()));
    let required = stack.protected(0, |stack| {
        stack.push_globals();
        stack.raw_get_text(-1, "require");
        stack.push_bytes(name);
        stack.call(1, 0);
        stack.set_top(0);
        Ok(())
    });
    LOADING.with_borrow_mut(|loading| loading.pop());
    required
}

impl Resolve for WorkerNames {
    fn push_named(&self, stack: &Protected, name: &str) -> Result<()> {
        if module_lookup::is_in_module(name) {
            return module_lookup::push(stack, name);
        }
        if !is_gma(name) {
            return names::push_standard(stack, own(), name);
        }
        stack.push_globals();
        stack.raw_get_text(-1, GMA);
        stack.remove(-2);
        if names::follow(stack, name) == Type::Nil {
            stack.pop(1);
            return Err(Error::Absent { name: names::display(name) });
        }
        Ok(())
    }
}

/// The functions that every state has outside its libraries, by the names under which they cross: those of gma2workers,
/// and the iterators that `ipairs` and `utf8.codes` return.
pub fn own() -> &'static [(&'static str, NativeFunction)] {
    static OWN: LazyLock<Vec<(&str, NativeFunction)>> = LazyLock::new(|| {
        let mut own = stdlib::iterators();
        own.extend([
            ("gma2workers.call", native(call)),
            ("gma2workers.clock", native(stdlib::clock)),
            ("gma2workers.isStopping", native(is_stopping)),
            ("gma2workers.check", native(check)),
            ("gma2workers.trace", native(with_traceback)),
            ("gma2workers.fields", native(fields::fields)),
        ]);
        own
    });
    &OWN
}

/// `gma2workers.isStopping()`: whether the running task is cancelled or out of time, and should end by itself. False on the host.
pub fn is_stopping(stack: &Protected) -> NativeResult {
    stack.push_boolean(current::is_told());
    Ok(1)
}

/// `call(callable, ...)`: the function of a task whose `func` is a callable module.
pub fn call(stack: &Protected) -> NativeResult {
    Err(Exit::TailCall(stack.top() - 1))
}

/// `check(value, place, upvalues)`, in a task: see [`check_with`].
pub fn check(stack: &Protected) -> NativeResult {
    check_with(stack, &WorkerNames, Functions::Return)
}

/// If the value at index 1 can't leave this state, returns the kind and the text of the failure; otherwise nothing. Index 2
/// holds the value's place, and index 3 the option `upvalues`. Raises the error of a hook.
pub fn check_with(stack: &Stack, names: &dyn Names, functions: fn(Upvalues) -> Functions) -> NativeResult {
    let Err(error) = check_value(stack, names, functions) else { return Ok(0) };
    if error.is_a_hooks() {
        return Err(Exit::RaiseBare(error));
    }
    let (kind, text) = (error.kind().name(), error.text());
    stack.protected(0, |stack| {
        stack.push_bytes(kind.as_bytes());
        stack.push_bytes(&text);
        Ok(())
    })?;
    Ok(2)
}

fn check_value(stack: &Stack, names: &dyn Names, functions: fn(Upvalues) -> Functions) -> Result<()> {
    let place = stack.text(2);
    let place = |_, path: &Path| format!("{place}{path}");
    let upvalues = match &*stack.text(3) {
        "copy" => Upvalues::Copy,
        "private" => Upvalues::Private,
        _ => Upvalues::Error,
    };
    let policy = Policy { names, functions: functions(upvalues), place: &place };
    stack.push_value(1);
    encode(stack, 1, &mut Vec::new(), &policy)
}

/// `trace(value)`, a message handler: returns a table with the error, `value`, its `traceback`, and the globals that were
/// `missing` there.
pub fn with_traceback(stack: &Protected) -> NativeResult {
    stack.set_top(1);
    stack.create_table(0, 2);
    stack.insert(1);
    stack.raw_set_text(1, "value");
    stack.push_traceback(stack, 1);
    stack.raw_set_text(1, "traceback");
    stack.raw_get_text(1, "value");
    let missing = match coroutine::take_failure(stack, -1) {
        Some(inner) => inner.missing,
        None => missing::find(stack, stack, 1, &stack.bytes(-1)),
    };
    stack.set_top(1);
    if let Some(missing) = &missing {
        stack.protected(1, |stack| {
            missing::set(stack, missing);
            Ok(())
        })?;
    }
    Ok(1)
}

/// The functions that return nothing, besides `gma.echo` and `gma.feedback`: a task does not wait for them.
const TOLD: [&str; 4] = [
    "gma\0gui\0progress\0set",
    "gma\0gui\0progress\0settext",
    "gma\0gui\0progress\0setrange",
    "gma\0gui\0progress\0stop",
];

/// Resolves the names in the shape of the host's `gma`: each becomes a function that calls the host.
struct Shape;

impl Resolve for Shape {
    fn push_named(&self, stack: &Protected, name: &str) -> Result<()> {
        if !is_gma(name) {
            return names::push_standard(stack, own(), name);
        }
        stack.push_bytes(name.as_bytes());
        let function = match name {
            "gma\0echo" | "gma\0feedback" => native(show),
            "gma\0sleep" => native(sleep),
            name if TOLD.contains(&name) => native(tell_host),
            _ => native(call_host),
        };
        stack.push_closure(function, 1);
        Ok(())
    }
}

/// Whether a name is under `gma`.
pub fn is_gma(name: &str) -> bool {
    name.strip_prefix(GMA).is_some_and(|rest| rest.starts_with(SEPARATOR))
}

/// Gives the state a `gma` of the host's shape, if the host has one, and records the names of its functions and tables.
/// Makes its own protected calls.
pub fn install(stack: &Stack, shape: Option<&[u8]>) -> Result<()> {
    let Some(message) = shape else { return Ok(()) };
    decode(stack, message, &Shape)?;
    stack.protected(1, |stack| {
        stack.push_value(1);
        names::read_gma(stack);
        stack.push_globals();
        stack.insert(1);
        stack.raw_set_text(1, GMA);
        stack.set_top(0);
        Ok(())
    })
}

/// Gives the state a global `host` with functions of these names, each of which calls the host's function in the option `host`.
pub fn install_host(stack: &Stack, functions: &[Box<str>]) -> Result<()> {
    stack.protected(0, |stack| {
        stack.push_globals();
        stack.create_table(0, functions.len() as c_int);
        for name in functions {
            stack.push_bytes(HOST.as_bytes());
            stack.push_bytes(&[SEPARATOR as u8]);
            stack.push_bytes(name.as_bytes());
            stack.concat(3);
            stack.push_closure(native(call_host), 1);
            stack.raw_set_text(2, name);
        }
        stack.raw_set_text(1, HOST);
        stack.set_top(0);
        Ok(())
    })
}

/// The name of the running host call.
fn stub_name(stack: &Stack) -> String {
    stack.push_upvalue(1);
    let name = stack.text(-1);
    stack.pop(1);
    name
}

/// Refuses a host call whose first argument is the table that it is a field of, as by a colon. That table can't be sent in any case.
fn refuse_colon(stack: &Stack) -> Result<()> {
    if stack.kind(1) != Type::Table {
        return Ok(());
    }
    let name = stub_name(stack);
    let field = name.rsplit(SEPARATOR).next().unwrap_or_default();
    let mut has_colon = false;
    stack.push_value(1);
    stack.push_upvalue(1);
    stack.protected(2, |stack| {
        stack.raw_get_text(1, field);
        if stack.kind(-1) == Type::Function && stack.is_native(-1) {
            stack.push_upvalue_of(-1, 1);
            has_colon = stack.raw_equal(-1, 2);
        }
        stack.set_top(0);
        Ok(())
    })?;
    if has_colon { Err(Error::Colon { name: names::display(&name) }) } else { Ok(()) }
}

/// Encodes the running host call's arguments.
fn encode_arguments(stack: &Stack, name: &str) -> Result<Vec<u8>> {
    refuse_colon(stack)?;
    let mut message = Vec::new();
    let place = |n: usize, path: &Path| format!("args[{n}]{path} of {}", names::display(name));
    let policy = Policy { names: &WorkerNames, functions: Functions::Refuse, place: &place };
    encode_counted(stack, stack.top(), &mut message, &policy)?;
    Ok(message)
}

fn call_host(stack: &Protected) -> NativeResult {
    let (count, has_raised) = ask_host(stack)?;
    if !has_raised {
        return Ok(count);
    }
    raised::take_text(stack, count > 1);
    Err(Exit::RaiseTop)
}

/// Returns how many values the answer has pushed, and whether they are those of an error.
fn ask_host(stack: &Stack) -> std::result::Result<(c_int, bool), Exit> {
    let name = stub_name(stack);
    let arguments = encode_arguments(stack, &name)?;
    let (message, has_raised) = match hostcall::call(&name, arguments) {
        Answer::Returned(message) => (message, false),
        Answer::Raised(message) => (message, true),
        Answer::Failed(error) => return Err(error.into()),
        Answer::Gone => return Err(gone(&name)),
    };
    Ok((receive(stack, &message).map_err(unreceived)?, has_raised))
}

/// The error of an answer that needs a module. Loading that may have been stopped.
fn unreceived(error: Error) -> Exit {
    if current::is_stopping() { Exit::Stop } else { error.into() }
}

/// The error of a call without an answer. A task that has to stop stops here, and never sees the error.
fn gone(name: &str) -> Exit {
    if current::is_stopping() { Exit::Stop } else { Error::HostGone { name: names::display(name) }.into() }
}

/// `gma.echo` and `gma.feedback`, which only show something: values that can't cross are sent as text. `gma` alone may be meant.
fn show(stack: &Protected) -> NativeResult {
    if stack.top() > 1 {
        refuse_colon(stack)?;
    }
    for index in 1..=stack.top() {
        if !matches!(stack.kind(index), Type::Nil | Type::Boolean | Type::Number | Type::String) {
            stack.push_text_of(index);
            stack.replace(index);
        }
    }
    tell_host(stack)
}

/// Calls the host without waiting.
fn tell_host(stack: &Protected) -> NativeResult {
    let name = stub_name(stack);
    let arguments = encode_arguments(stack, &name)?;
    if hostcall::tell(&name, arguments) { Ok(0) } else { Err(gone(&name)) }
}

fn sleep(stack: &Protected) -> NativeResult {
    match stack.number(1) {
        Some(seconds) if !seconds.is_nan() => {
            hostcall::sleep(mailbox::seconds(seconds));
            if current::is_stopping() { Err(Exit::Stop) } else { Ok(0) }
        }
        Some(_) => Err(Exit::BadArgument(1, "number of seconds expected, got nan".into())),
        None => {
            refuse_colon(stack)?;
            Err(stdlib::bad_type(stack, 1, "number"))
        }
    }
}
