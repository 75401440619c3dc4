//! The options of a job: read, checked, and refused with a message that a plugin's author can act on.
//!
//! Serde deserializes each option into a type that holds only valid values. A refusal names the expected and the actual value,
//! or the nearest known spelling.

use std::borrow::Cow;
use std::ffi::c_int;
use std::time::Duration;

use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer};

use crate::codec::Upvalues;
use crate::error::{Error, Meant, Problem, Result};
use crate::ffi::{Stack, Type};
use crate::spelling;
use crate::sync;
use crate::value::Value;

/// The largest number of workers for one job.
pub const WORKER_LIMIT: u64 = 256;

/// What happens to a worker's state between two tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It is restored and used again.
    #[default]
    Timer,
    /// It is closed, and the next task gets a new one.
    Cmd,
}

/// A number of workers: a whole number, or the text of one.
struct Workers(usize);

impl<'de> Deserialize<'de> for Workers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct WorkersVisitor;

        impl Visitor<'_> for WorkersVisitor {
            type Value = Workers;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a whole number of workers")
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> std::result::Result<Workers, E> {
                match value {
                    1..=WORKER_LIMIT => Ok(Workers(value as usize)),
                    _ => Err(E::custom("out of range")),
                }
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> std::result::Result<Workers, E> {
                self.visit_u64(u64::try_from(value).unwrap_or(0))
            }

            fn visit_f64<E: serde::de::Error>(self, value: f64) -> std::result::Result<Workers, E> {
                self.visit_u64(if value.fract() == 0.0 { value as u64 } else { 0 })
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<Workers, E> {
                self.visit_f64(text.trim().parse().unwrap_or(0.0))
            }
        }

        deserializer.deserialize_any(WorkersVisitor)
    }
}

/// How many tasks run at the same time: the number that the caller set, or else the number of usable cores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkerCount(pub Option<usize>);

impl WorkerCount {
    /// The workers for so many tasks. One task needs no cores counted, which takes as long as a small job.
    pub fn of(self, tasks: usize) -> usize {
        match self.0 {
            _ if tasks < 2 => tasks,
            Some(workers) => workers.min(tasks),
            None => sync::usable_cores().min(WORKER_LIMIT as usize).min(tasks),
        }
    }
}

/// The expected value of a `timeout`, of a job or of a task.
pub const TIMEOUT: &str = "a number of seconds above 0";

/// Reads a `timeout`, of a job or of a task. `math.huge`, or more than a clock can count, is no limit: the inner `None`. The outer
/// `None` is for values that are no time above 0.
pub fn timeout(value: &Value) -> Option<Option<Duration>> {
    let seconds = f64::deserialize(value).ok().filter(|seconds| *seconds > 0.0)?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(Duration::ZERO) => None,
        limit => Some(limit.ok()),
    }
}

/// A whole number of bytes above 0. It may be a float, since `2^30` is one.
struct Bytes(usize);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Number {
            Integer(usize),
            Float(f64),
        }
        match Number::deserialize(deserializer)? {
            Number::Integer(bytes) if bytes > 0 => Ok(Bytes(bytes)),
            Number::Float(bytes) if bytes >= 1.0 && bytes.fract() == 0.0 && bytes < usize::MAX as f64 => {
                Ok(Bytes(bytes as usize))
            }
            _ => Err(serde::de::Error::custom("out of range")),
        }
    }
}

/// A century, which every clock can count.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The default memory limit of a worker's state, in bytes: far above normal use.
const MEMORY_LIMIT: usize = if usize::BITS > 32 { 2 << 30 } else { 512 << 20 };

/// The smallest memory limit, in bytes. A state takes 20,000 to 25,000 before its first task.
const LEAST_MEMORY: usize = 16 << 10;

/// A job's options, except its callbacks, which stay in Lua.
pub struct Config {
    /// The stack index of the list of tasks.
    pub tasks: c_int,
    pub mode: Mode,
    pub workers: WorkerCount,
    pub upvalues: Upvalues,
    /// The stack index of the function, or of the table with it.
    pub init: Option<c_int>,
    /// The stack index of the table of functions by name.
    pub host: Option<c_int>,
    pub globals: Vec<String>,
    pub timeout: Option<Duration>,
    pub grace: Duration,
    pub stop_on_error: bool,
    pub memory_limit: usize,
    pub sandbox: bool,
    /// The file for the job's timeline.
    pub trace: Option<String>,
    /// Whether the host wants to know the order in which tasks end.
    pub notes_order: bool,
}

/// A call that takes options.
#[derive(Clone, Copy, PartialEq)]
enum Call {
    /// `RunSync` and `RunAsync`.
    Run,
    Map,
}

const RUN: &[Call] = &[Call::Run];
const MAP: &[Call] = &[Call::Map];
const BOTH: &[Call] = &[Call::Run, Call::Map];

/// Every option and the calls that take it, in the order in which messages list them.
const OPTIONS: [(&str, &[Call]); 21] = [
    ("tasks", RUN),
    ("chunk", MAP),
    ("onError", MAP),
    ("args", MAP),
    ("index", MAP),
    ("onComplete", BOTH),
    ("onResult", BOTH),
    ("stopOnError", BOTH),
    ("mode", BOTH),
    ("workers", BOTH),
    ("init", BOTH),
    ("host", BOTH),
    ("upvalues", BOTH),
    ("globals", BOTH),
    ("timeout", BOTH),
    ("grace", BOTH),
    ("memoryLimit", BOTH),
    ("sandbox", BOTH),
    ("onProgress", BOTH),
    ("progress", BOTH),
    ("trace", BOTH),
];

impl Call {
    /// The names of the options that the call takes.
    fn options(self) -> impl Iterator<Item = &'static str> {
        OPTIONS.into_iter().filter(move |(_, calls)| calls.contains(&self)).map(|(name, _)| name)
    }

    /// A correctly written option, for a message.
    fn example(self) -> &'static str {
        match self {
            Call::Run => "tasks = { ... }",
            Call::Map => "chunk = 10",
        }
    }
}

/// What happens to the failures of a `Map`.
#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OnError {
    /// The first failure is raised as an error.
    #[default]
    Raise,
    /// Each failure becomes the record of its item.
    Collect,
}

/// A whole number of items above 0, which may be a float.
struct Count(usize);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let number = f64::deserialize(deserializer)?;
        if number >= 1.0 && number.fract() == 0.0 && number < COUNT_LIMIT {
            Ok(Count(number as usize))
        } else {
            Err(serde::de::Error::custom("out of range"))
        }
    }
}

/// Larger than any list: floats represent all whole numbers below this.
const COUNT_LIMIT: f64 = (1_u64 << 53) as f64;

/// How a `Map` splits its list.
pub struct Split {
    pub chunk: Option<usize>,
    pub collects: bool,
    pub workers: usize,
}

/// Reads the options that only `Map` has, and refuses unknown ones. The other options are read when the job starts.
pub fn read_map(stack: &Stack, options: c_int) -> Result<Split> {
    let options = Options::read(stack, options, Call::Map)?;
    options.callback("onComplete")?;
    options.callback("onResult")?;
    let _index: Option<bool> = options.parse("index", || "true or false")?;
    if !matches!(options.get("args"), Value::Nil | Value::Table(_)) {
        return Err(unexpected("args", "a list of arguments: { value, ... }", options.get("args")));
    }
    let chunk: Option<Count> = options.parse("chunk", || "a whole number of items above 0")?;
    let on_error: Option<OnError> = options.parse("onError", || "\"raise\" or \"collect\"")?;
    Ok(Split {
        chunk: chunk.map(|Count(items)| items),
        collects: on_error.unwrap_or_default() == OnError::Collect,
        workers: options.workers()?.of(usize::MAX),
    })
}

/// Reads and checks all options of `RunSync` or, if `is_async`, of `RunAsync` from the table at index `options`. Starts nothing,
/// calls no metamethod and can't raise. Leaves options that are tables or functions on the stack.
pub fn read(stack: &Stack, options: c_int, is_async: bool) -> Result<Config> {
    let options = Options::read(stack, options, Call::Run)?;
    for name in ["onComplete", "onResult", "onProgress"] {
        match options.get(name) {
            Value::Function(_) => {}
            value if is_async && name == "onComplete" => {
                let advice = "RunAsync requires an onComplete callback";
                let got = value.describe();
                return Err(Error::option(
                    name,
                    Problem::Unexpected { expected: "a function".into(), got, advice },
                ));
            }
            _ => options.callback(name)?,
        }
    }
    match options.get("progress") {
        Value::Nil | Value::Text(_) => {}
        value => return Err(unexpected("progress", "a title as text", value)),
    }
    let tasks = match options.get("tasks") {
        Value::Table(tasks) => *tasks,
        value => {
            return Err(unexpected("tasks", "a list of tasks: { { func = f, args = { ... } }, ... }", value));
        }
    };
    let workers = options.workers()?;
    let timeout = match options.get("timeout") {
        Value::Nil => None,
        value => timeout(value).ok_or_else(|| unexpected("timeout", TIMEOUT, value))?,
    };
    let expected = "a number of seconds from 0 up";
    let grace: Option<f64> = options.parse("grace", || expected)?;
    let grace = match grace {
        None => Duration::ZERO,
        Some(seconds) if seconds >= 0.0 => {
            Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).min(LONGEST)
        }
        Some(_) => return Err(unexpected("grace", expected, options.get("grace"))),
    };
    let stop_on_error: Option<bool> = options.parse("stopOnError", || "true or false")?;
    let init = match options.get("init") {
        Value::Nil => None,
        Value::Function(init) | Value::Table(init) => Some(*init),
        value => return Err(unexpected("init", "a function or { func = f, args = { ... } }", value)),
    };
    let host = match options.get("host") {
        Value::Nil => None,
        Value::Table(host) => Some(*host),
        value => return Err(unexpected("host", "a table of functions by name: { name = f, ... }", value)),
    };
    let memory_limit: Option<Bytes> = options.parse("memoryLimit", || "a whole number of bytes above 0")?;
    if memory_limit.as_ref().is_some_and(|Bytes(bytes)| *bytes < LEAST_MEMORY) {
        let got = options.get("memoryLimit").describe();
        return Err(Error::option("memoryLimit", Problem::TooSmall { least: LEAST_MEMORY, got }));
    }
    Ok(Config {
        tasks,
        mode: options.parse("mode", || "\"timer\" or \"cmd\"")?.unwrap_or_default(),
        workers,
        init,
        host,
        upvalues: options.parse("upvalues", || "\"error\", \"copy\" or \"private\"")?.unwrap_or_default(),
        globals: names(stack, options.get("globals"))?,
        timeout,
        grace,
        stop_on_error: stop_on_error.unwrap_or_default(),
        memory_limit: memory_limit.map_or(MEMORY_LIMIT, |Bytes(bytes)| bytes),
        sandbox: options.parse("sandbox", || "true or false")?.unwrap_or_default(),
        trace: path(options.get("trace"))?,
        notes_order: !matches!(options.get("onResult"), Value::Nil),
    })
}

/// The options that the caller set, by name. All names are known ones.
struct Options(Vec<(&'static str, Value)>);

impl Options {
    fn read(stack: &Stack, options: c_int, call: Call) -> Result<Options> {
        let mut given = Vec::new();
        // Each option may be a table or a function, which stays on the stack; the iteration needs two more slots.
        if !stack.check(OPTIONS.len() as c_int + 3) {
            return Err(Error::Memory);
        }
        stack.push_nil();
        while stack.next(options) {
            if stack.kind(-2) != Type::String {
                let key = Value::at(stack, -2).describe();
                return Err(Error::UnnamedOption { key, example: call.example() });
            }
            let Some(name) = call.options().find(|known| stack.has_bytes(-2, known.as_bytes())) else {
                let name = stack.text(-2);
                let known: Vec<_> = call.options().collect();
                let nearest = spelling::option(&name, &known);
                return Err(Error::option(name, Problem::UnknownOption { nearest, known }));
            };
            if matches!(stack.kind(-1), Type::Table | Type::Function) {
                stack.insert(-2);
                given.push((name, Value::at(stack, -2)));
            } else {
                given.push((name, Value::at(stack, -1)));
                stack.pop(1);
            }
        }
        Ok(Options(given))
    }

    fn get(&self, name: &str) -> &Value {
        self.0.iter().find(|(known, _)| *known == name).map_or(&Value::Nil, |(_, value)| value)
    }

    /// Checks an option that must be a function if it is set.
    fn callback(&self, name: &'static str) -> Result<()> {
        match self.get(name) {
            Value::Nil | Value::Function(_) => Ok(()),
            value => Err(unexpected(name, "a function", value)),
        }
    }

    /// The number of tasks that run at the same time.
    fn workers(&self) -> Result<WorkerCount> {
        let expected = || format!("a whole number from 1 to {WORKER_LIMIT}");
        let workers: Option<Workers> = self.parse("workers", expected)?;
        Ok(WorkerCount(workers.map(|workers| workers.0)))
    }

    fn parse<T: DeserializeOwned, E: Into<Cow<'static, str>>>(
        &self,
        name: &'static str,
        expected: impl Fn() -> E,
    ) -> Result<Option<T>> {
        match self.get(name) {
            Value::Nil => Ok(None),
            value => T::deserialize(value).map(Some).map_err(|_| unexpected(name, expected(), value)),
        }
    }
}

/// Reads the path of a file.
fn path(value: &Value) -> Result<Option<String>> {
    match (value, value.text()) {
        (Value::Nil, _) => Ok(None),
        (_, Some(path)) if !path.is_empty() => Ok(Some(path.into_owned())),
        _ => Err(unexpected("trace", "the path of a file", value)),
    }
}

/// Reads a list of names of globals.
fn names(stack: &Stack, value: &Value) -> Result<Vec<String>> {
    let refuse = || unexpected("globals", "a list of names of globals: { \"name\", ... }", value);
    let list = match value {
        Value::Nil => return Ok(Vec::new()),
        Value::Table(list) => *list,
        _ => return Err(refuse()),
    };
    let mut names = Vec::new();
    let mut count = 0;
    stack.push_nil();
    while stack.next(list) {
        count += 1;
        stack.pop(1);
    }
    for n in 1..=count {
        stack.raw_get_i(list, n);
        let name =
            (stack.kind(-1) == Type::String).then(|| String::from_utf8(stack.bytes(-1)).ok()).flatten();
        stack.pop(1);
        names.push(name.ok_or_else(refuse)?);
    }
    Ok(names)
}

/// The likely meaning of a field that a task should not have. None if the field is the caller's own.
pub fn misnamed(name: &str, fields: &[&'static str]) -> Option<Meant> {
    spelling::misnamed(name, fields, Call::Run.options())
}

fn unexpected(name: &'static str, expected: impl Into<Cow<'static, str>>, value: &Value) -> Error {
    Error::option(name, Problem::Unexpected { expected: expected.into(), got: value.describe(), advice: "" })
}

#[cfg(all(test, feature = "linked"))]
mod tests {
    use super::*;
    use crate::ffi::OwnState;

    /// Reads the options from the code of a table.
    fn read_code(code: &str) -> Result<Config> {
        let state = OwnState::new(usize::MAX).expect("a state");
        let code = format!("return {code}");
        state.stack().protected(0, |stack| {
            stack.load(code.as_bytes(), c"=code")?;
            stack.call(0, 1);
            read(stack, 1, false)
        })
    }

    #[test]
    fn workers_may_be_a_number_or_its_text() {
        for code in ["4", "4.0", "'4'", "' 4 '"] {
            let config = read_code(&format!("{{ tasks = {{}}, workers = {code} }}"));
            assert_eq!(config.map(|config| config.workers), Ok(WorkerCount(Some(4))), "{code}");
        }
    }

    #[test]
    fn refusals_of_options_say_what_to_write() {
        let workers = "option 'workers' must be a whole number from 1 to 256, got ";
        for (code, message) in [
            ("{ tasks = {}, workers = 0 }", format!("{workers}0")),
            ("{ tasks = {}, workers = -1 }", format!("{workers}-1")),
            ("{ tasks = {}, workers = 1.5 }", format!("{workers}1.5")),
            ("{ tasks = {}, workers = 1e9 }", format!("{workers}1000000000")),
            ("{ tasks = {}, workers = 1e300 }", format!("{workers}1e300")),
            ("{ tasks = {}, workers = 'many' }", format!("{workers}\"many\"")),
            ("{ tasks = {}, workers = {} }", format!("{workers}a table")),
            (
                "{ tasks = {}, mode = 'fast' }",
                "option 'mode' must be \"timer\" or \"cmd\", got \"fast\"".into(),
            ),
            ("{ tasks = {}, worker = 4 }", "option 'worker' is unknown: did you mean 'workers'?".into()),
        ] {
            let refusal = read_code(code).err().map_or_else(String::new, |error| error.to_string());
            assert_eq!(refusal, message, "{code}");
        }
    }

    #[test]
    fn a_job_has_no_more_workers_than_tasks() {
        assert_eq!(WorkerCount(Some(5)).of(3), 3);
        assert_eq!(WorkerCount(Some(5)).of(9), 5);
        assert_eq!(WorkerCount(None).of(1), 1);
        assert_eq!(WorkerCount(None).of(0), 0);
        assert!((1..=WORKER_LIMIT as usize).contains(&WorkerCount(None).of(usize::MAX)));
    }
}
