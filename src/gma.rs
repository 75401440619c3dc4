//! `gma` as a task sees it: a table of the host's shape whose functions call the host.
//!
//! Worker side, on the worker's thread and state. The shape comes as a message in which every function
//! is a name, so installing it is decoding it. `gma.echo` and `gma.feedback` don't wait for the host, and
//! `gma.sleep` sleeps here.

use std::sync::LazyLock;

use crate::codec::{
    Functions, GMA, Names, Policy, Resolve, SEPARATOR, Upvalues, decode, encode, encode_counted,
};
use crate::error::{Error, Result};
use crate::ffi::{Exit, NativeFunction, NativeResult, Protected, Stack, Type, native};
use crate::hostcall::{self, Answer};
use crate::names;
use crate::{seat, stdlib};

/// A worker's names, for messages that leave its state and for those that come in.
pub struct WorkerNames;

impl Names for WorkerNames {
    fn name_of(&self, stack: &Protected) -> Option<String> {
        names::gma_name(stack).or_else(|| names::standard_name(stack, own()))
    }
}

impl Resolve for WorkerNames {
    fn push_named(&self, stack: &Protected, name: &str) -> Result<()> {
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

/// The functions that every state has and none of its libraries, by the names under which they cross: those of our own, and
/// those that `ipairs` and its like give.
pub fn own() -> &'static [(&'static str, NativeFunction)] {
    static OWN: LazyLock<Vec<(&str, NativeFunction)>> = LazyLock::new(|| {
        let mut own = stdlib::iterators();
        own.extend([
            ("gma2workers.clock", native(stdlib::clock)),
            ("gma2workers.check", native(check)),
            ("gma2workers.trace", native(trace)),
        ]);
        own
    });
    &OWN
}

/// `check(value, place, copies)`, in a task: see [`check_value`].
pub fn check(stack: &Protected) -> NativeResult {
    Ok(check_value(stack, &WorkerNames).map(|()| 0)?)
}

/// The error of the value at index 1, where it can't leave this state: index 2 says where it stands, index 3 whether data
/// that functions have captured is copied.
pub fn check_value(stack: &Stack, names: &dyn Names) -> Result<()> {
    let place = String::from_utf8_lossy(stack.bytes(2)).into_owned();
    let place = |_, path: &str| format!("{place}{path}");
    let upvalues = if stack.boolean(3) { Upvalues::Copy } else { Upvalues::Error };
    let policy = Policy { names, functions: Functions::Carry(upvalues), place: &place };
    stack.push_value(1);
    encode(stack, 1, &mut Vec::new(), &policy)
}

/// `trace(value)`, called with an error: a table with it, as `value`, and the `traceback`.
pub fn trace(stack: &Protected) -> NativeResult {
    stack.set_top(1);
    stack.create_table(0, 2);
    stack.insert(1);
    stack.raw_set_text(1, "value");
    stack.push_traceback(stack, 1);
    stack.raw_set_text(1, "traceback");
    Ok(1)
}

/// Makes the host's shape of `gma` out of its message: each name under `gma` becomes a host call.
struct Shape;

impl Resolve for Shape {
    fn push_named(&self, stack: &Protected, name: &str) -> Result<()> {
        if !is_gma(name) {
            return names::push_standard(stack, own(), name);
        }
        stack.push_bytes(name.as_bytes());
        let function = match name {
            "gma\0echo" | "gma\0feedback" => native(tell_host),
            "gma\0sleep" => native(sleep),
            _ => native(call_host),
        };
        stack.push_closure(function, 1);
        Ok(())
    }
}

/// Whether a name is that of a thing under `gma`.
pub fn is_gma(name: &str) -> bool {
    name.strip_prefix(GMA).is_some_and(|rest| rest.starts_with(SEPARATOR))
}

/// Sets the state's `gma` to the host's shape, unless the host has none, and names what stands in it. Called outside of any
/// protected call: it makes its own.
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

/// The name that the running stub was made with.
fn stub_name(stack: &Stack) -> String {
    stack.push_upvalue(1);
    let name = String::from_utf8_lossy(stack.bytes(-1)).into_owned();
    stack.pop(1);
    name
}

/// Puts the running stub's arguments into a message.
fn encode_arguments(stack: &Stack, name: &str) -> Result<Vec<u8>> {
    let mut message = Vec::new();
    let place = |n: usize, path: &str| format!("args[{n}]{path} of {}", names::display(name));
    let policy = Policy { names: &WorkerNames, functions: Functions::Refuse, place: &place };
    encode_counted(stack, stack.top(), &mut message, &policy)?;
    Ok(message)
}

fn call_host(stack: &Protected) -> NativeResult {
    let name = stub_name(stack);
    let arguments = encode_arguments(stack, &name)?;
    match hostcall::call(&name, arguments) {
        Answer::Returned(message) => Ok(decode(stack, &message, &WorkerNames)?),
        Answer::Raised(message) => {
            decode(stack, &message, &WorkerNames)?;
            Err(Exit::RaiseTop)
        }
        Answer::Failed(error) => Err(error.into()),
        Answer::Gone => Err(gone(&name)),
    }
}

/// There is no answer: a task that has to stop must not get to see that, it stops here.
fn gone(name: &str) -> Exit {
    if seat::is_stopping() { Exit::Stop } else { Error::HostGone { name: names::display(name) }.into() }
}

/// For what is only shown, so anything can be sent: what can't cross goes as its text.
fn tell_host(stack: &Protected) -> NativeResult {
    for index in 1..=stack.top() {
        if !matches!(stack.kind(index), Type::Nil | Type::Boolean | Type::Number | Type::String) {
            stack.push_text_of(index);
            stack.replace(index);
        }
    }
    let name = stub_name(stack);
    let arguments = encode_arguments(stack, &name)?;
    if hostcall::tell(&name, arguments) { Ok(0) } else { Err(gone(&name)) }
}

fn sleep(stack: &Protected) -> NativeResult {
    match stack.number(1) {
        Some(seconds) if !seconds.is_nan() => {
            hostcall::sleep(hostcall::seconds(seconds));
            if seat::is_stopping() { Err(Exit::Stop) } else { Ok(0) }
        }
        _ => Err(stdlib::bad_type(stack, 1, "number")),
    }
}
