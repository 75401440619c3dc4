//! The options of a job: read, checked, and refused with a message a plugin's author can act on.
//!
//! Each option is deserialized by serde into the type that says what it may be; what it was expected to
//! be, what was found instead and the nearest right spelling make up the message.

use std::ffi::c_int;
use std::time::Duration;

use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer};

use crate::codec::Upvalues;
use crate::error::{Error, Result};
use crate::ffi::{Stack, Type};
use crate::sync;
use crate::value::Value;

/// The most workers that one job may ask for.
pub const WORKER_LIMIT: u64 = 256;

/// What becomes of a worker's state between two tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It is put back to what it was, and used again.
    #[default]
    Timer,
    /// It is closed, and the next task gets a new one.
    Cmd,
}

/// A number of workers, as a whole number or as text that is one.
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

/// A time in seconds, above 0.
struct Seconds(Duration);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        let duration = if seconds > 0.0 { Duration::try_from_secs_f64(seconds) } else { Ok(Duration::ZERO) };
        match duration {
            Ok(duration) if !duration.is_zero() => Ok(Seconds(duration)),
            _ => Err(serde::de::Error::custom("out of range")),
        }
    }
}

/// A number of bytes above 0, which may be a float that is whole: `2^30` is one.
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

/// How many bytes a worker's state may take if nothing else was said: far above normal use.
const MEMORY_LIMIT: usize = if usize::BITS > 32 { 2 << 30 } else { 512 << 20 };

/// A job's options, but for its callbacks, which stay in Lua.
pub struct Config {
    /// Where the list of tasks stands on the stack.
    pub tasks: c_int,
    pub mode: Mode,
    pub workers: usize,
    pub upvalues: Upvalues,
    pub globals: Vec<String>,
    pub timeout: Option<Duration>,
    pub memory_limit: usize,
    pub sandbox: bool,
    /// The file for the job's timeline.
    pub trace: Option<String>,
}

/// Every option there is, for messages.
const OPTIONS: [&str; 12] = [
    "tasks",
    "onComplete",
    "mode",
    "workers",
    "upvalues",
    "globals",
    "timeout",
    "memoryLimit",
    "sandbox",
    "onProgress",
    "trace",
    "progress",
];

/// Every option of `Map`, for messages.
const MAP_OPTIONS: [&str; 13] = [
    "chunk",
    "onError",
    "onComplete",
    "mode",
    "workers",
    "upvalues",
    "globals",
    "timeout",
    "memoryLimit",
    "sandbox",
    "onProgress",
    "progress",
    "trace",
];

/// What becomes of the failures of a `Map`.
#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OnError {
    /// The first one is raised.
    #[default]
    Raise,
    /// Each is its item's record.
    Collect,
}

/// A number of items above 0, which may be a float that is whole.
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

/// More items than any list has.
const COUNT_LIMIT: f64 = (1_u64 << 53) as f64;

/// How a `Map` splits its list.
pub struct Split {
    pub chunk: Option<usize>,
    pub collects: bool,
    pub workers: usize,
}

/// Reads those options of `Map` that are not the job's, and refuses unknown ones. The job's are read when it starts.
pub fn read_map(stack: &Stack, options: c_int) -> Result<Split> {
    let options = Options::read(stack, options, &MAP_OPTIONS)?;
    options.callback("onComplete")?;
    let chunk: Option<Count> = options.parse("chunk", || "a whole number of items above 0")?;
    let on_error: Option<OnError> = options.parse("onError", || "\"raise\" or \"collect\"")?;
    Ok(Split {
        chunk: chunk.map(|Count(items)| items),
        collects: on_error.unwrap_or_default() == OnError::Collect,
        workers: options.workers()?,
    })
}

/// Reads and checks all options of `RunSync` or, where nobody waits for the job, of `RunAsync`: the table at that index.
/// Nothing is started, no metamethod of the table runs, and nothing is raised. Leaves the tables among the options on the
/// stack.
pub fn read(stack: &Stack, options: c_int, is_async: bool) -> Result<Config> {
    let options = Options::read(stack, options, &OPTIONS)?;
    for name in ["onComplete", "onProgress"] {
        match options.get(name) {
            Value::Function => {}
            value if is_async && name == "onComplete" => {
                let got = value.describe();
                let problem =
                    format!("must be a function, got {got}: RunAsync requires an onComplete callback");
                return Err(Error::option(name, problem));
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
    let timeout: Option<Seconds> = options.parse("timeout", || "a number of seconds above 0")?;
    let memory_limit: Option<Bytes> = options.parse("memoryLimit", || "a whole number of bytes above 0")?;
    Ok(Config {
        tasks,
        mode: options.parse("mode", || "\"timer\" or \"cmd\"")?.unwrap_or_default(),
        workers,
        upvalues: options.parse("upvalues", || "\"error\" or \"copy\"")?.unwrap_or_default(),
        globals: names(stack, options.get("globals"))?,
        timeout: timeout.map(|Seconds(timeout)| timeout),
        memory_limit: memory_limit.map_or(MEMORY_LIMIT, |Bytes(bytes)| bytes),
        sandbox: options.parse("sandbox", || "true or false")?.unwrap_or_default(),
        trace: path(options.get("trace"))?,
    })
}

/// The options that are given, by name. Each has a known one.
struct Options(Vec<(&'static str, Value)>);

impl Options {
    fn read(stack: &Stack, options: c_int, known: &[&'static str]) -> Result<Options> {
        let mut given = Vec::new();
        // Each option may be a table, which stays; and there are a key and a value.
        if !stack.check(known.len() as c_int + 3) {
            return Err(Error::Memory);
        }
        stack.push_nil();
        while stack.next(options) {
            if stack.kind(-2) != Type::String {
                let example = if known == MAP_OPTIONS { "chunk = 10" } else { "tasks = { ... }" };
                return Err(Error::BadCall(format!(
                    "options have names, but there is one at [{}]: write {{ {example} }}",
                    Value::at(stack, -2).describe()
                )));
            }
            let name = stack.bytes(-2);
            let Some(name) = known.iter().find(|known| name == known.as_bytes()) else {
                let name = String::from_utf8_lossy(name);
                return Err(Error::option(&name, format!("is unknown: {}", advice(&name, known))));
            };
            if stack.kind(-1) == Type::Table {
                stack.insert(-2);
                given.push((*name, Value::at(stack, -2)));
            } else {
                given.push((*name, Value::at(stack, -1)));
                stack.pop(1);
            }
        }
        Ok(Options(given))
    }

    fn get(&self, name: &str) -> &Value {
        self.0.iter().find(|(known, _)| *known == name).map_or(&Value::Nil, |(_, value)| value)
    }

    /// Checks an option that is a function, if it is given.
    fn callback(&self, name: &str) -> Result<()> {
        match self.get(name) {
            Value::Nil | Value::Function => Ok(()),
            value => Err(unexpected(name, "a function", value)),
        }
    }

    /// How many tasks may run at the same time.
    fn workers(&self) -> Result<usize> {
        let expected = || format!("a whole number from 1 to {WORKER_LIMIT}");
        let workers: Option<Workers> = self.parse("workers", expected)?;
        Ok(workers.map_or_else(|| sync::usable_cores().min(WORKER_LIMIT as usize), |workers| workers.0))
    }

    fn parse<T: DeserializeOwned, E: AsRef<str>>(
        &self,
        name: &str,
        expected: impl Fn() -> E,
    ) -> Result<Option<T>> {
        match self.get(name) {
            Value::Nil => Ok(None),
            value => {
                T::deserialize(value).map(Some).map_err(|_| unexpected(name, expected().as_ref(), value))
            }
        }
    }
}

/// The path of a file.
fn path(value: &Value) -> Result<Option<String>> {
    match (value, value.text()) {
        (Value::Nil, _) => Ok(None),
        (_, Some(path)) if !path.is_empty() => Ok(Some(path.into_owned())),
        _ => Err(unexpected("trace", "the path of a file", value)),
    }
}

/// The list of names of globals.
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
        let name = (stack.kind(-1) == Type::String)
            .then(|| std::str::from_utf8(stack.bytes(-1)).ok().map(str::to_owned))
            .flatten();
        stack.pop(1);
        names.push(name.ok_or_else(refuse)?);
    }
    Ok(names)
}

/// What somebody who wrote `name` may have meant.
pub fn advice(name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(nearest) => format!("did you mean '{nearest}'?"),
        None => format!("there are {}", known.join(", ")),
    }
}

/// The known name that `name` looks like a slip of.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = |other: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &other.to_lowercase());
    known
        .iter()
        .copied()
        .map(|known| (distance(known), known))
        .min()
        .filter(|(distance, _)| *distance <= 2)
        .map(|(_, known)| known)
}

/// What people call a field of a task that has another name.
const SYNONYMS: [(&str, &str); 10] = [
    ("arg", "args"),
    ("argument", "args"),
    ("arguments", "args"),
    ("param", "args"),
    ("params", "args"),
    ("parameters", "args"),
    ("callback", "func"),
    ("fn", "func"),
    ("fun", "func"),
    ("function", "func"),
];

/// Words that are one letter away from a field of a task, and as likely the caller's own.
const WORDS: [&str; 16] = [
    "arcs", "ares", "arms", "arts", "came", "dame", "fame", "fund", "funk", "game", "lame", "named", "names",
    "nave", "same", "tame",
];

/// What is wrong with a task's field of this name, which is none of `fields`: a slip of one, a synonym, or an option of
/// the job; none where it is the caller's own.
pub fn misnamed(name: &str, fields: &[&str]) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    if let Some(option) = OPTIONS.iter().find(|option| option.to_ascii_lowercase() == lower) {
        let advice = format!("write {{ tasks = {{ ... }}, {option} = ... }}");
        return Some(format!(", which is an option of the job: {advice}"));
    }
    let synonym = SYNONYMS.iter().find(|(synonym, _)| *synonym == lower).map(|(_, field)| *field);
    let is_slip = |field: &str| {
        lower.len().abs_diff(field.len()) <= 1
            && strsim::generic_damerau_levenshtein(lower.as_bytes(), field.as_bytes()) <= 1
    };
    let slip = || fields.iter().copied().find(|field| !WORDS.contains(&name) && is_slip(field));
    let meant = synonym.or_else(slip)?;
    Some(format!(": did you mean '{meant}'?"))
}

fn unexpected(name: &str, expected: &str, value: &Value) -> Error {
    Error::option(name, format!("must be {expected}, got {}", value.describe()))
}

#[cfg(all(test, feature = "linked"))]
mod tests {
    use super::*;
    use crate::ffi::OwnState;

    /// Reads the options that a piece of code is.
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
            assert_eq!(config.map(|config| config.workers), Ok(4), "{code}");
        }
    }

    #[test]
    fn a_field_of_a_task_is_a_slip_or_the_callers_own() {
        const FIELDS: [&str; 3] = ["func", "args", "name"];
        for own in [
            "id", "note", "label", "data", "date", "game", "names", "node", "tags", "size", "area", "unit",
            "kind", "type", "index", "value", "fixture", "x", "", "n", "chunk", "title", "arms", "fund",
            "time",
        ] {
            assert_eq!(misnamed(own, &FIELDS), None, "{own}");
        }
        for (slip, meant) in [
            ("fucn", "func"),
            ("Func", "func"),
            ("fnc", "func"),
            ("funcc", "func"),
            ("fumc", "func"),
            ("fn", "func"),
            ("agrs", "args"),
            ("ARGS", "args"),
            ("arg", "args"),
            ("Arguments", "args"),
            ("params", "args"),
            ("nmae", "name"),
            ("Name", "name"),
            ("nam", "name"),
            ("nsme", "name"),
            ("callback", "func"),
        ] {
            assert_eq!(misnamed(slip, &FIELDS), Some(format!(": did you mean '{meant}'?")), "{slip}");
        }
        for option in OPTIONS {
            assert!(
                misnamed(option, &FIELDS).is_some_and(|problem| problem.contains(" of the job: ")),
                "{option}"
            );
        }
    }

    #[test]
    fn wrong_options_say_what_to_write() {
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
}
