//! Any options are either accepted or refused with an error that names the fault, as the README says.

use std::ffi::c_int;

use mlua::{Function, Lua, LuaString, Table, Value};

use super::{FUNCTIONS, assert_expected, contract, expand, mix};
use crate::codec::{Functions, Policy, Resolve, Upvalues, decode, decode_common, encode};
use crate::config;
use crate::error::{Error, Result};
use crate::ffi::{self, Protected, Type};
use crate::gma;
use crate::host::{self, HostNames};
use crate::host_standard;
use crate::job::Tasks;
use crate::names;
use crate::tasks::{self, TaskReader};

/// Flag of an input: its tables get metatables, which must have no effect.
const ARMED: u8 = 2;

/// Flag of an input: the options are for `RunAsync`.
const ASYNC: u8 = 4;

/// An input with more values is skipped.
const MAX_VALUES: i64 = 100_000;

/// Resolves the names in an input: one of `things` in `host.lua`, or a part of the standard library.
struct Things;

impl Resolve for Things {
    fn push_named(&self, stack: &Protected, name: &str) -> Result<()> {
        stack.push_globals();
        stack.raw_get_text(-1, "things");
        stack.remove(-2);
        if stack.raw_get_text(-1, name) != Type::Nil {
            stack.remove(-2);
            return Ok(());
        }
        stack.pop(2);
        names::push_standard(stack, gma::own(), name)
    }
}

struct Host {
    lua: Lua,
    arm: Function,
    judge: Function,
}

thread_local! {
    static HOST: Host = Host::new().expect("a host");
}

impl Host {
    fn new() -> mlua::Result<Host> {
        let lua = Lua::new();
        let functions = lua.load(FUNCTIONS).set_name("=functions").into_function()?;
        lua.load(include_str!("../host.lua")).set_name("@host.lua").call::<()>(functions)?;
        let read: Result<()> = ffi::with_stack(&lua, (), |stack| {
            host_standard::read(stack);
            Ok(())
        });
        read.expect("the standard library has names");
        let globals = lua.globals();
        Ok(Host { arm: globals.get("arm")?, judge: globals.get("judge")?, lua })
    }

    /// The table that is a message's first value.
    fn table(&self, message: &[u8]) -> Option<Table> {
        let decoded: Result<c_int> = ffi::with_stack(&self.lua, (), |stack| {
            stack.push_globals();
            let count = decode(stack, message, &Things)?;
            if count > 0 {
                stack.set_top(2);
                stack.raw_set_text(1, "options");
            }
            Ok(count)
        });
        assert_expected(&decoded);
        let globals = self.lua.globals();
        let options = globals.raw_get("options").ok();
        globals.raw_set("options", Value::Nil).expect("memory");
        decoded.ok().and(options)
    }
}

/// The verdict of the oracle, `judge` in `tests/fuzz/host.lua`.
type Judgement = (Vec<LuaString>, Vec<LuaString>, Vec<i64>, Vec<Value>, i64);

/// Reads an input as options. False if it has none, or too many values.
pub fn options(input: &[u8]) -> bool {
    HOST.with(|host| {
        let Some(options) = host.table(&expand(input)) else { return false };
        if host.lua.globals() == options {
            return false;
        }
        if input[0] & ARMED != 0 {
            host.arm.call::<()>(&options).expect("it can be armed");
        }
        let is_async = input[0] & ASYNC != 0;
        let judgement: Judgement = host.judge.call((&options, is_async)).expect("it can be judged");
        if judgement.4 > MAX_VALUES {
            return false;
        }
        let outcome = read(host, &options, is_async);
        match &outcome {
            Ok((_, tasks)) => check(host, tasks, &judgement),
            Err(error) => check_refusal(error, &judgement),
        }
        in_little_memory(host, &outcome, mix(input), || read(host, &options, is_async));
        let trapped: Value = host.lua.globals().raw_get("trapped").expect("memory");
        assert!(trapped.is_nil(), "the metamethod '{}' ran", trapped.to_string().unwrap_or_default());
        true
    })
}

/// A list of tasks after reading.
struct Read {
    functions: Vec<Vec<u8>>,
    tasks: Tasks,
}

type Outcome = Result<(config::Config, Read)>;

fn read(host: &Host, options: &Table, is_async: bool) -> Outcome {
    ffi::with_stack(&host.lua, options, |stack| {
        let config = config::read(stack, 1, is_async)?;
        let names = HostNames::default();
        let mut reader = TaskReader::new(&names, &config, None);
        stack.push_value(config.tasks);
        reader.read(stack)?;
        let TaskReader { functions, tasks, .. } = reader;
        if let Some(functions) = config.host {
            host::read_functions(stack, functions)?;
        }
        if let Some(init) = config.init {
            stack.push_value(init);
            tasks::read_init(stack, &names, &config)?;
        }
        Ok((config, Read { functions, tasks }))
    })
}

fn text(text: &LuaString) -> String {
    text.to_string_lossy()
}

/// An error names a place that is wrong, in one sentence.
fn check_refusal(error: &Error, (wrong, open, ..): &Judgement) {
    assert!(matches!(error, Error::BadConfig { .. } | Error::UnnamedOption { .. }), "{error}");
    let message = error.to_string();
    let tells = |place: &LuaString| message.starts_with(&text(place));
    assert!(wrong.iter().chain(open).any(tells), "{message}, but wrong is {wrong:?} {open:?}");
    assert!(!message.ends_with('.') || message.ends_with("..."), "{message}");
}

/// The accepted tasks are those that were asked for.
fn check(host: &Host, read: &Read, (wrong, _, counts, given, _): &Judgement) {
    assert!(wrong.is_empty(), "accepted, but wrong is {wrong:?}");
    assert_eq!(read.tasks.len(), counts.len());
    ffi::with_stack(&host.lua, (), |stack| {
        let refuse = &mut |object, error| panic!("common object {object} can't be read: {error}");
        decode_common(stack, &read.tasks.common, &HostNames::default(), refuse)
    })
    .expect("what was written can be read");
    let values = |message: &[u8]| {
        let outcome: Result<c_int> =
            ffi::with_stack(&host.lua, (), |stack| decode(stack, message, &HostNames::default()));
        outcome.expect("what was written can be read")
    };
    for ((index, count), given) in counts.iter().enumerate().zip(given) {
        match read.tasks.get(index) {
            Ok(task) => {
                assert_eq!(values(&read.functions[task.function]), 1);
                assert_eq!(i64::from(values(task.arguments)), *count);
                assert_eq!(task.name.map(str::to_owned), given.as_string().map(text));
            }
            Err(error) => {
                assert!(matches!(error, Error::Unsendable { .. } | Error::Upvalues(_)), "{error}");
            }
        }
    }
}

/// Some allocation of Lua's fails: that is the error, or it has no effect.
fn in_little_memory(host: &Host, outcome: &Outcome, mix: usize, read: impl FnOnce() -> Outcome) {
    let room = if mix.is_multiple_of(2) { 512 } else { 16 << 10 };
    host.lua.set_memory_limit(host.lua.used_memory() + mix / 2 % room).expect("mlua has its own allocator");
    let here = read();
    host.lua.set_memory_limit(0).expect("mlua has its own allocator");
    match (here, outcome) {
        (Ok((_, here)), Ok((_, tasks))) => {
            assert_eq!(here.tasks.len(), tasks.tasks.len());
            for index in 0..here.tasks.len() {
                match (here.tasks.get(index), tasks.tasks.get(index)) {
                    (Err(Error::Memory), _) | (Ok(_), Ok(_)) => {}
                    (Err(here), Err(error)) => assert_eq!(here, error),
                    _ => panic!("a task is another one in little memory"),
                }
            }
        }
        (Err(Error::Memory), _) => {}
        (Err(here), Err(error)) if here == *error => {}
        (Err(here), _) => panic!("{here} in little memory"),
        (Ok(_), Err(error)) => panic!("accepted in little memory, else: {error}"),
    }
}

/// The target, name and input of each seed. The code returns a list of lists: target, name, flags to set, values. It finds
/// [`FUNCTIONS`] in `f`; a text `@name` becomes a name.
pub fn seeds(code: &str) -> Vec<(String, String, Vec<u8>)> {
    HOST.with(|host| {
        let seeds: Vec<Table> = host.lua.load(code).eval().expect("it is Lua");
        let seed = |seed: Table| {
            let mut message = Vec::new();
            let policy = Policy {
                names: &HostNames::default(),
                functions: Functions::Carry(Upvalues::Private),
                place: &|n, path| format!("{n}{path}"),
            };
            let count: c_int = seed.get("n").expect("a count");
            let values: Vec<Value> = (4..=count).map(|n| seed.get(n).expect("a value")).collect();
            ffi::with_stack(&host.lua, mlua::Variadic::from_iter(values), |stack| {
                encode(stack, stack.top(), &mut message, &policy)
            })
            .expect("it can cross");
            let flags: u8 = seed.get(3).expect("flags");
            message[0] |= flags;
            (seed.get(1).expect("a target"), seed.get(2).expect("a name"), contract(&message))
        };
        seeds.into_iter().map(seed).collect()
    })
}
