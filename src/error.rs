//! All errors, as one enum of plain values.
//!
//! An [`Error`] is made where the fault is found, and crosses threads unchanged. Only this file turns it into text for Lua: lower
//! case, no full stop, the thing and its place first, then what to do.

mod upvalues;

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

pub use upvalues::{Refusal, Refusals, Remedy};

/// The `kind` of a failed task's response entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The task raised an error, or something inside the library failed while it ran.
    Runtime,
    /// The function could not cross because of something it has captured.
    Upvalue,
    /// An argument or a returned value could not cross.
    Transfer,
    /// Memory ran out in the task's state.
    Memory,
    /// The task took longer than its timeout.
    Timeout,
    /// The task's job was cancelled.
    Cancelled,
    /// The task could not be stopped, or no worker was left to run it.
    Lost,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Runtime => "runtime",
            Kind::Upvalue => "upvalue",
            Kind::Transfer => "transfer",
            Kind::Memory => "memory",
            Kind::Timeout => "timeout",
            Kind::Cancelled => "cancelled",
            Kind::Lost => "lost",
        }
    }
}

thread_local! {
    static PANIC_PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps panics from printing on standard error, which belongs to the host. Remembers their place, for their [`Error`].
pub fn note_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|place| {
            let file = place.file().rsplit(['/', '\\']).next().unwrap_or_default();
            format!(" (at {file}:{})", place.line())
        });
        PANIC_PLACE.set(place.unwrap_or_default());
    }));
}

/// The end of the error that a stock interpreter raises at Ctrl-C, whatever code is running.
pub const INTERRUPTED: &[u8] = b"interrupted!";

/// A fault, with all that its message needs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// An option, or a part of `tasks`, is wrong.
    BadConfig { place: Place, problem: Problem },
    /// An option has no name. `key` describes its key; `example` is a named option.
    UnnamedOption { key: String, example: &'static str },
    /// The call itself is wrong. The text is Lua's own, or one that plugins may match.
    BadCall(String),
    /// A task asked for gma2workers itself.
    InWorker,
    /// A value can't cross. `what` is its kind, `path` its place.
    Unsendable { what: &'static str, path: String },
    /// Functions can't cross because of these upvalues.
    Upvalues(Refusals),
    /// The function that was passed to `Map` can't cross. `holds` is `a C function`.
    MapFunction { holds: Cow<'static, str> },
    /// The result of an item of a `Map`'s list can't cross.
    Item { index: i64, cause: Box<Error> },
    /// A worker's state lacks a part of the host's standard library.
    Absent { name: String },
    /// A module that a message needs is not loaded in the state that receives it.
    NotLoaded { module: String },
    /// The loader of a module needs the module itself.
    NeedsItself { module: String },
    /// A worker's module lacks a field that the host's has.
    NotInModule { module: String, field: String },
    /// A worker's module has another object in a field than the host's. `host` and `task` tell where both are defined.
    OtherInModule { module: String, field: String, host: String, task: String },
    /// Two names lead to one object on the host, and to two in a worker that fit as well.
    TwoInModules { first: String, second: String },
    /// The host's module lacks a field, `shapes.Box`, that a task's has.
    NotInHostsModule { name: String },
    /// The host has the module loaded, but a task's `require` does not find it. `text` is what `require` says.
    NotRequirable { module: String, text: Vec<u8> },
    /// A host call names no function of the host.
    NoHostFunction { name: String },
    /// A host call was written with a colon.
    Colon { name: String },
    /// A host call can't be made now: the task is over, or its job is closing.
    HostGone { name: String },
    /// The host function's results can't cross.
    HostAnswer { name: String, cause: Box<Error> },
    /// A task required a module whose loader, in the host's `package.preload`, can't cross.
    Preloaded { module: String, cause: Box<Error> },
    /// A Lua error, as text.
    Lua(Vec<u8>),
    /// The error of a finalizer that the collector called, as text.
    Finalizer(Vec<u8>),
    /// Memory ran out.
    Memory,
    /// A task took longer than its timeout, in seconds of wall time.
    TimedOut(f64),
    /// The option `init` took longer than its timeout, in seconds of wall time.
    InitTimedOut(f64),
    /// A task was stopped, or never began, because its job was cancelled.
    Cancelled,
    /// A stopped task did not end, so its thread was given up.
    Stuck(Box<Error>),
    /// No worker was left to begin a task.
    NeverBegun,
    /// This process is a fork of the one that has the workers.
    Forked,
    /// A message between two states is malformed.
    Corrupt(&'static str),
    /// A value that a message refers to again left in a block before. The message is encoded again, whole.
    BlockSent,
    /// A message refers to a common value that its state does not have. `number` is the object's number.
    NoCommon { number: usize },
    /// The operating system refused to start threads.
    NoWorkers(String),
    /// A panic, caught before it could leave Rust.
    Panic(String),
    /// A situation that should be impossible.
    Internal(String),
}

/// A part of a job's options.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// An option, by name.
    Option(Cow<'static, str>),
    /// An item of an option that is a list, from 1.
    Item { option: &'static str, index: usize },
    /// A field of an option that is a table with names.
    Field { option: &'static str, name: String },
    /// A task, from 1, or one of its fields: `.args.n`.
    Task { index: i64, field: &'static str },
    /// The option `init`, or one of its fields.
    Init { field: &'static str },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Option(name) => write!(f, "option '{name}'"),
            Place::Item { option, index } => write!(f, "option '{option}'[{index}]"),
            Place::Field { option, name } => write!(f, "option '{option}'['{name}']"),
            Place::Task { index, field } => write!(f, "tasks[{index}]{field}"),
            Place::Init { field } => write!(f, "init{field}"),
        }
    }
}

/// A problem with a part of a job's options.
#[derive(Clone, Debug, PartialEq)]
pub enum Problem {
    /// Its value is not the expected one. `advice` may be empty.
    Unexpected { expected: Cow<'static, str>, got: String, advice: &'static str },
    /// It is required. `example` shows how to write it.
    Missing { example: &'static str },
    /// There is no such option.
    UnknownOption { nearest: Option<&'static str>, known: Vec<&'static str> },
    /// A list has an item below index 1.
    StartsBefore(i64),
    /// A list has a key of this kind, which is not a position.
    BadKey(&'static str),
    /// A table with names has a key that is none. `example` shows a correct table.
    Unnamed { key: String, example: &'static str },
    /// A list has a named field. `example` shows a correct list.
    Field { name: String, example: &'static str },
    /// A list has no such item, but has a later one at `last`.
    Hole { last: i64 },
    /// A task has a field with a name that is probably a mistake.
    Misnamed { name: String, meant: Meant },
    /// A list of arguments has a value at a key that is not an argument's position.
    LostValue { key: String },
    /// A list of arguments has a named field.
    LostField { name: String },
    /// There are more arguments than a task may have.
    TooMany { limit: i64, got: i64 },
    /// A number of bytes is too small, and probably meant as MiB.
    TooSmall { least: usize, got: String },
    /// A file can't be written.
    Unwritable { path: String, cause: String },
    /// A value can't cross.
    Unsendable(Box<Error>),
    /// A dotted name of a global means a field of a table that is no library.
    NoLibrary { name: String, table: String },
    /// It keeps out a module that the tasks use.
    KeepsOut { module: String },
    /// The host has no such global.
    NoGlobal { name: String, nearest: Option<String> },
}

/// The likely meaning of a misnamed field of a task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Meant {
    /// A field of a task.
    Field(&'static str),
    /// An option of the job.
    Option(&'static str),
}

/// What an option or a field is measured in, in an advice that names it. Its misspelling may have had another unit.
fn unit(name: &str) -> &'static str {
    match name {
        "timeout" | "grace" => ", in seconds",
        "memoryLimit" => ", in bytes",
        _ => "",
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Unexpected { expected, got, advice: "" } => write!(f, "must be {expected}, got {got}"),
            Problem::Unexpected { expected, got, advice } => {
                write!(f, "must be {expected}, got {got}: {advice}")
            }
            Problem::Missing { example } => write!(f, "is missing: write {example}"),
            Problem::UnknownOption { nearest: Some(nearest), .. } => {
                write!(f, "is unknown: did you mean '{nearest}'{}?", unit(nearest))
            }
            Problem::UnknownOption { nearest: None, known } => {
                write!(f, "is unknown: the options are {}", known.join(", "))
            }
            Problem::StartsBefore(index) => write!(f, "must be a list that starts at 1, but has [{index}]"),
            Problem::BadKey(kind) => write!(f, "must be a list, but has a {kind} as a key"),
            Problem::Unnamed { key, example } => {
                write!(f, "must have names, but has a value at [{key}]: write {example}")
            }
            Problem::Field { name, example } => {
                write!(f, "must be a list, but has a field '{name}': write {example}")
            }
            Problem::Hole { last } => write!(f, "is missing: the list has a hole (tasks[{last}] is there)"),
            Problem::Misnamed { name, meant: Meant::Field(field) } => {
                write!(f, "has a field '{name}': did you mean '{field}'{}?", unit(field))
            }
            Problem::Misnamed { name, meant: Meant::Option(option) } => {
                let example = match *option {
                    "tasks" => "{ { func = f }, ... }".to_owned(),
                    option => format!("{{ ... }}, {option} = ..."),
                };
                let advice = format_args!("write {{ tasks = {example} }}");
                write!(f, "has a field '{name}', which is an option of the job: {advice}")
            }
            Problem::LostValue { key } => {
                write!(f, "has a value at [{key}], which would be lost: arguments are numbered from 1")
            }
            Problem::LostField { name } => {
                let advice = "arguments have no names, so pass it in a table, args = { { name = value } }";
                write!(f, "has a field '{name}', which would be lost: {advice}")
            }
            Problem::TooMany { limit, got } => {
                write!(f, "must hold 0 to {limit} arguments, got {got}: pass them in one table instead")
            }
            Problem::TooSmall { least, got } => {
                write!(f, "must be at least {least} bytes, got {got}: write {got} << 20 for {got} MiB")
            }
            Problem::Unwritable { path, cause } => {
                write!(f, "names a file that can't be written, \"{path}\": {cause}")
            }
            Problem::Unsendable(cause) => write!(f, "cannot cross: {cause}"),
            Problem::NoLibrary { name, table } => {
                write!(f, "{NO_LIBRARY}, got '{name}': list '{table}' instead")
            }
            Problem::KeepsOut { module } => {
                let advice = "leave the option out, or pass what the tasks need in args";
                write!(f, "keeps out modules, but the tasks use '{module}': {advice}")
            }
            Problem::NoGlobal { name, nearest: Some(nearest) } => {
                write!(f, "must be the name of a global, got '{name}': did you mean '{nearest}'?")
            }
            Problem::NoGlobal { name, nearest: None } => {
                write!(f, "must be the name of a global, got '{name}': pass a local in args")
            }
        }
    }
}

impl Error {
    /// Whether this is the error that a stock interpreter raises at Ctrl-C.
    pub fn is_interrupt(&self) -> bool {
        matches!(self, Error::Lua(text) if text.ends_with(INTERRUPTED))
    }

    /// Whether a hook of the host raised it, such as the one for Ctrl-C in a stock interpreter. While values are read from the
    /// host's state or built in it, only hooks and finalizers run Lua code.
    pub fn is_a_hooks(&self) -> bool {
        matches!(self, Error::Lua(_))
    }

    /// Whether the error came from the state that carried something out, whatever that was.
    pub fn is_of_state(&self) -> bool {
        matches!(self, Error::Memory | Error::Lua(_) | Error::Finalizer(_))
    }

    /// The error of an option.
    pub fn option(name: impl Into<Cow<'static, str>>, problem: Problem) -> Error {
        Error::BadConfig { place: Place::Option(name.into()), problem }
    }

    /// The error of a panic: its text and, if [`note_panics`] was called, its place.
    pub fn panic(payload: Box<dyn std::any::Any + Send>) -> Error {
        let text = match payload.downcast::<String>() {
            Ok(text) => *text,
            Err(payload) => match payload.downcast::<&'static str>() {
                Ok(text) => (*text).to_owned(),
                Err(_) => "panic without a message".to_owned(),
            },
        };
        Error::Panic(text + &PANIC_PLACE.take())
    }

    /// The `kind` of the response entry that this error becomes.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Upvalues(_) | Error::MapFunction { .. } | Error::Absent { .. } => Kind::Upvalue,
            Error::NotLoaded { .. } | Error::NotInModule { .. } => Kind::Upvalue,
            Error::OtherInModule { .. } | Error::TwoInModules { .. } => Kind::Upvalue,
            Error::NotInHostsModule { .. } => Kind::Transfer,
            Error::Unsendable { .. } | Error::Corrupt(_) | Error::BlockSent | Error::NoCommon { .. } => {
                Kind::Transfer
            }
            Error::Item { cause, .. } => cause.kind(),
            Error::Memory => Kind::Memory,
            Error::TimedOut(_) | Error::InitTimedOut(_) => Kind::Timeout,
            Error::Cancelled => Kind::Cancelled,
            Error::Stuck(_) | Error::NeverBegun => Kind::Lost,
            _ => Kind::Runtime,
        }
    }

    /// The message for Lua. It is not a `String`, because a Lua error's text may hold any bytes.
    pub fn text(&self) -> Vec<u8> {
        match self {
            Error::Lua(text) | Error::Finalizer(text) => text.clone(),
            other => other.to_string().into_bytes(),
        }
    }
}

/// The advice for a module whose loader needs the module itself, and for what a task's module lacks.
const NEEDS_ITSELF: &str = "but the function there uses the host's module: it must make a new one";
const NO_LIBRARY: &str = "must be the name of a global, or of a field of a standard library";
const NOT_IN_MODULE: &str =
    "which loads the module anew: define it in the module itself, or do not put it there on the host";
const TWO_IN_MODULES: &str = "which loads modules anew: do not put one in the other's place on the host";

/// The advice for a kind of value that can't cross.
fn instead_of(what: &str) -> &'static str {
    match what {
        "coroutine" => "send the function it runs, and make it there",
        "C function" => "call it on the host, or require its module in the task",
        "function to the host" => "call it on the host, in onComplete",
        _ => "send what it holds, or open it there",
    }
}

/// The advice for something that a worker's state lacks.
fn instead_of_absent(name: &str) -> &'static str {
    match name.strip_prefix("gma2workers") {
        Some(_) => {
            "start jobs on the host; to use clock or isStopping, make it a local: local clock = gma2workers.clock"
        }
        None => "call it on the host",
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::BadConfig { place, problem } => write!(f, "{place} {problem}"),
            Error::BadCall(text) => f.write_str(text),
            Error::InWorker => {
                f.write_str("gma2workers is not available in a worker: start jobs on the host")
            }
            Error::Unsendable { what, path } => {
                write!(f, "cannot send a {what} (at {path}): {}", instead_of(what))
            }
            Error::UnnamedOption { key, example } => {
                write!(f, "options have names, but there is a value at [{key}]: write {{ {example} }}")
            }
            Error::Upvalues(refusals) => upvalues::describe(refusals, f),
            Error::MapFunction { holds } => write!(f, "cannot send {holds} (at func)"),
            Error::Item { index, cause } => write!(f, "list[{index}]: {cause}"),
            Error::Absent { name } => {
                write!(f, "{name} is not available in a worker: {}", instead_of_absent(name))
            }
            Error::NotLoaded { module } => {
                write!(f, "module '{module}' is not loaded in the task: require it there")
            }
            Error::NeedsItself { module } => {
                write!(f, "module '{module}' is in the host's package.preload, {NEEDS_ITSELF}")
            }
            Error::NotInModule { module, field } => {
                write!(f, "module '{module}' has no '{field}' in a task, {NOT_IN_MODULE}")
            }
            Error::OtherInModule { module, field, host, task } => {
                write!(
                    f,
                    "module '{module}' has another '{field}' on the host ({host}) than in a task ({task}), {NOT_IN_MODULE}"
                )
            }
            Error::TwoInModules { first, second } => {
                write!(f, "{first} and {second} are one on the host, but two in a task, {TWO_IN_MODULES}")
            }
            Error::NotInHostsModule { name } => {
                write!(f, "the host does not have {name}, which the task returned: return what it holds")
            }
            Error::NotRequirable { module, text } => {
                write!(
                    f,
                    "module '{module}' is loaded on the host, but a task can't require it: {}",
                    format_args!(
                        "put a function that makes it into package.preload['{module}']\n{}",
                        String::from_utf8_lossy(text)
                    )
                )
            }
            Error::NoHostFunction { name } => write!(f, "no such function on the host: {name}"),
            Error::Colon { name } => write!(f, "{name} was called with a colon: write {name}(...)"),
            Error::HostGone { name } => {
                write!(f, "cannot call {name}: the task is over, or its job is closing")
            }
            Error::HostAnswer { name, cause } => write!(f, "the answer of {name} cannot cross: {cause}"),
            Error::Preloaded { module, cause } => {
                write!(f, "module '{module}' is in the host's package.preload, and cannot cross: {cause}")
            }
            Error::Lua(text) | Error::Finalizer(text) => f.write_str(&String::from_utf8_lossy(text)),
            Error::Memory => f.write_str("not enough memory"),
            Error::TimedOut(seconds) => write!(f, "timed out after {seconds} s"),
            Error::InitTimedOut(seconds) => {
                write!(
                    f,
                    "init timed out after {seconds} s (init = {{ func = f, timeout = seconds }} gives it another limit)"
                )
            }
            Error::Cancelled => f.write_str("cancelled"),
            Error::Stuck(why) => write!(f, "{why}, and could not be stopped: its thread was given up"),
            Error::NeverBegun => f.write_str("no worker was left to run it"),
            Error::Forked => {
                f.write_str("gma2workers can't be used after fork: its workers belong to the parent process")
            }
            Error::BlockSent => f.write_str("internal error: a value left in a block before"),
            Error::Corrupt(what) => write!(f, "internal error: corrupt message ({what})"),
            Error::NoCommon { number } => {
                write!(f, "internal error: corrupt message (no common object {number})")
            }
            Error::NoWorkers(cause) => write!(f, "cannot start workers: {cause}"),
            Error::Panic(text) => write!(f, "internal error: {text}"),
            Error::Internal(text) => write!(f, "internal error: {text}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<std::collections::TryReserveError> for Error {
    fn from(_: std::collections::TryReserveError) -> Error {
        Error::Memory
    }
}

pub type Result<T> = std::result::Result<T, Error>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_keeps_its_text_whatever_its_payload() {
        let text = |payload| Error::panic(payload).to_string();
        assert_eq!(text(Box::new("boom")), "internal error: boom");
        assert_eq!(text(Box::new(String::from("boom"))), "internal error: boom");
        assert_eq!(text(Box::new(5)), "internal error: panic without a message");
    }
}
