//! Any bytes decode to values or to an error, in every kind of state, and leave the state sound.

use std::cell::RefCell;
use std::ffi::c_int;
use std::sync::Arc;

use super::digest::digest;
use super::{ESC, assert_expected, expand, mix};
use crate::codec::wire::{self, put_length};
use crate::codec::{
    Common, Decoder, Functions, Names, Policy, Resolve, Upvalues, decode as decode_message, decode_common,
    encode,
};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::ffi::{OwnState, Protected, Stack, Type};
use crate::gma;
use crate::state::{Reuse, State};

/// Flag of an input: decode it on a full stack, too. That is slow, since Lua reallocates a large stack now and then.
const FULL: u8 = 64;

/// Decodes an input in every kind of state.
pub fn decode(input: &[u8]) {
    let message = expand(input);
    let state = new_state();
    let before = state.memory();
    let (outcome, seen) = decode_and_check(&state.stack(), &message);
    // Nothing has been collected yet. One byte may announce a field, which takes up to two nodes of 32 bytes; loading a
    // function takes a buffer and some tables.
    let functions = message.iter().filter(|byte| **byte & !wire::SHARED == wire::FUNCTION).count();
    // Lua 5.4 may have given back a part of what it had before.
    let taken = state.memory().saturating_sub(before);
    assert!(taken <= 8192 + 100 * message.len() + 2048 * functions, "{taken} bytes of memory");
    collect(&state.stack());
    check_reencoding(&state.stack(), &outcome, seen);
    assert_nothing_ran(&state);
    in_little_memory(&message, &outcome, mix(input) % (taken + 1));
    if message.first().is_some_and(|flags| flags & FULL != 0) {
        in_a_full_stack(&message, &outcome, seen, mix(input) % (2 * taken + 1));
    }
    in_a_worker(&message);
    with_common_values(&message);
}

/// Collects the garbage. The message may have made finalizers, which may fail.
fn collect(stack: &Stack) {
    let _ = stack.protected(0, |stack| {
        stack.collect();
        Ok(())
    });
}

/// The only name in these states: a class. No message may run its metamethods.
struct OneClass;

const CLASS: &str = "require\0m";

fn new_state() -> OwnState {
    const CODE: &[u8] = b"local function run() ran = true end
        Class = { true, __index = run, __newindex = run, __len = run, __pairs = run, __eq = run, __call = run, __concat = run }";
    let state = OwnState::new(usize::MAX).expect("a state");
    let stack = state.unprotected();
    stack.load(CODE, c"=class").expect("it is Lua");
    stack.call(0, 0);
    state
}

fn assert_nothing_ran(state: &OwnState) {
    let stack = state.unprotected();
    stack.push_globals();
    assert_eq!(stack.raw_get_text(-1, "ran"), Type::Nil, "a metamethod ran");
    stack.pop(2);
}

impl Resolve for OneClass {
    fn push_named(&self, stack: &Protected, name: &str) -> Result<()> {
        if name != CLASS {
            return Err(Error::Absent { name: name.to_owned() });
        }
        stack.push_globals();
        stack.raw_get_text(-1, "Class");
        stack.remove(-2);
        Ok(())
    }
}

impl Names for OneClass {
    fn name_of(&self, _: &Protected) -> Option<String> {
        None
    }

    fn has_modules(&self, _: &Protected) -> Result<bool> {
        Ok(true)
    }

    fn name_in_module(&self, stack: &Protected) -> Result<Option<String>> {
        stack.push_globals();
        stack.raw_get_text(-1, "Class");
        let is_class = stack.raw_equal(-1, -3);
        stack.pop(2);
        Ok(is_class.then(|| CLASS.to_owned()))
    }
}

/// Decodes a message onto a stack, and gives the digest of the values.
fn decode_and_check(stack: &Stack, message: &[u8]) -> (Result<c_int>, u64) {
    let top = stack.top();
    let outcome = decode_message(stack, message, &OneClass);
    assert_expected(&outcome);
    assert_eq!(stack.top(), top + *outcome.as_ref().unwrap_or(&0));
    assert_ne!(outcome, Err(Error::Memory));
    (outcome, digest(stack, top + 1))
}

/// The decoded values can be encoded again.
fn check_reencoding(stack: &Stack, outcome: &Result<c_int>, seen: u64) {
    let Ok(count) = *outcome else { return };
    let message = encoded(stack, count).expect("decoded values can be sent");
    assert_eq!(decode_and_check(stack, &message), (Ok(count), seen));
}

fn encoded(stack: &Stack, count: c_int) -> Result<Vec<u8>> {
    let functions = Functions::Carry(Upvalues::Private);
    let policy = Policy { names: &OneClass, functions, place: &|n, path| format!("{n}{path}") };
    let mut message = Vec::new();
    encode(stack, count, &mut message, &policy).map(|()| message)
}

/// Some allocation fails: that is the error, or it has no effect. Afterwards there is memory again.
fn in_little_memory(message: &[u8], outcome: &Result<c_int>, bytes: usize) {
    let state = new_state();
    let stack = state.stack();
    state.set_limit(state.memory() + bytes);
    let here = decode_message(&stack, message, &OneClass);
    assert!(here == *outcome || here == Err(Error::Memory), "{here:?} and not {outcome:?}");
    assert_eq!(stack.top(), *here.as_ref().unwrap_or(&0));
    stack.set_top(0);
    state.set_limit(usize::MAX);
    assert_eq!(decode_message(&stack, message, &OneClass), *outcome);
}

/// This many values leave room for a few levels; deeper ones continue in coroutines.
const NEARLY_FULL: c_int = 1_000_000 - 40;

/// The full stack alone takes 16 MB.
const COLLECT_ABOVE: usize = 64 << 20;

/// Decodes on the stack of a coroutine, as a task does; memory may run out in the coroutines that continue it.
fn in_a_full_stack(message: &[u8], outcome: &Result<c_int>, seen: u64, bytes: usize) {
    thread_local! {
        static STATE: OwnState = {
            let state = new_state();
            let main = state.unprotected();
            let coroutine = main.new_thread();
            assert!(coroutine.check(NEARLY_FULL));
            coroutine.set_top(NEARLY_FULL);
            // The collector would walk the full stack again and again.
            state.stack().run_collector(false);
            state
        };
    }
    STATE.with(|state| {
        let stack = state.thread(1).expect("the coroutine");
        for limit in [usize::MAX, state.memory() + bytes] {
            state.set_limit(limit);
            let mut decoder = Decoder::new(&OneClass);
            let here = {
                let decoder = &mut decoder;
                stack.protected(0, |stack| {
                    // A value is below the message's, as in a host call.
                    stack.push_boolean(true);
                    decoder.message(stack, message)
                })
            };
            assert!(here == *outcome || here.as_ref().is_err_and(is_full), "{here:?} and not {outcome:?}");
            assert_eq!(stack.top(), NEARLY_FULL + here.as_ref().map_or(0, |count| count + 1));
            if let Ok(count) = here {
                match encoded(&stack, count) {
                    Ok(message) => {
                        let state = new_state();
                        assert_eq!(decode_and_check(&state.stack(), &message), (here, seen));
                    }
                    Err(error) => assert!(is_full(&error), "{error}"),
                }
            }
            state.set_limit(usize::MAX);
            assert!(stack.top() >= NEARLY_FULL);
            stack.set_top(NEARLY_FULL);
        }
        if state.memory() > COLLECT_ABOVE {
            collect(&state.stack());
        }
    });
}

/// Whether there was no room to begin: the error is ours, or Lua's if it could not even make a call.
fn is_full(error: &Error) -> bool {
    matches!(error, Error::Memory) || *error == Error::Lua(b"stack overflow".to_vec())
}

/// Decodes with a worker's names in a worker's state; state and decoder are used again and again.
fn in_a_worker(message: &[u8]) {
    thread_local! {
        static WORKER: RefCell<Option<(State, Arc<Environment>)>> = const { RefCell::new(None) };
    }
    WORKER.with_borrow_mut(|kept| {
        let is_ready = kept.as_mut().is_some_and(|(state, environment)| {
            state.restore();
            state.is_restorable() && state.prepare(environment).expect("memory enough")
        });
        if !is_ready {
            let environment = Arc::new(environment());
            let state = State::new(&environment, Reuse::Pooled).expect("a state");
            *kept = Some((state, environment));
        }
        let Some((state, _)) = kept else { return };
        let (stack, _) = state.coroutine().expect("a coroutine");
        let names = gma::WorkerNames;
        let (mut decoder, known) = (Decoder::new(&names), known_message());
        {
            let decoder = &mut decoder;
            let outcome = stack.protected(0, |stack| decoder.message(stack, message));
            assert_expected(&outcome);
            assert_eq!(stack.top(), *outcome.as_ref().unwrap_or(&0));
            if let Ok(count) = outcome {
                let functions = Functions::Carry(Upvalues::Private);
                let policy = Policy { names: &names, functions, place: &|n, path| format!("{n}{path}") };
                let mut message = Vec::new();
                let sent = encode(&stack, count, &mut message, &policy);
                assert_expected(&sent);
                assert_ne!(sent, Err(Error::Memory));
                if sent.is_ok() {
                    assert_eq!(decode_message(&stack, &message, &names), Ok(count));
                }
            }
        }
        stack.set_top(0);
        let (decoder, known) = (&mut decoder, known.as_slice());
        assert_eq!(stack.protected(0, |stack| decoder.message(stack, known)), Ok(3));
        assert!(stack.raw_equal(1, 2), "a decoder remembers what it read before");
        assert!(stack.has_bytes(3, b"gma"));
        stack.set_top(0);
    });
}

/// Decodes a message that may refer to common values: a function with two variables, a table, and the message itself.
fn with_common_values(message: &[u8]) {
    let state = new_state();
    let stack = state.stack();
    let table = [0, 1, 0, 0, 0, wire::TABLE, 0, 0, 0, 0, 0, 0, 0, 0];
    let function = [0, 1, 0, 0, 0, wire::FUNCTION, ESC, 3, 2, wire::TRUE, wire::FALSE];
    let common = Common::of_messages(&[&expand(&function), &table, message, message]);
    let refuse = &mut |_, error| assert_expected::<()>(&Err(error));
    assert_eq!(decode_common(&stack, &common, &OneClass, refuse), Ok(()));
    assert_eq!(stack.top(), 0);
    let (outcome, seen) = decode_and_check(&stack, message);
    check_reencoding(&stack, &outcome, seen);
    assert_nothing_ran(&state);
    state.unprotected().collect();
}

/// The message of `t, t, "gma"`.
fn known_message() -> Vec<u8> {
    let mut message = vec![wire::HAS_SHARED, 3, 0, 0, 0, wire::TABLE | wire::SHARED];
    message.extend([0; 8]);
    message.extend([wire::REFERENCE, 0, wire::STRING, 3]);
    message.extend(b"gma");
    message
}

/// The environment of a job on a host with `gma.echo` and `gma.show`.
fn environment() -> Environment {
    let mut shape = vec![0, 1, 0, 0, 0, wire::TABLE, 0, 0, 0, 0, 2, 0, 0, 0];
    for key in ["echo", "show"] {
        let name = format!("gma\0{key}");
        for (tag, text) in [(wire::STRING, key), (wire::NAMED, &name)] {
            shape.push(tag);
            put_length(&mut shape, text.len());
            shape.extend(text.as_bytes());
        }
    }
    Environment { gma: Some(shape), memory_limit: usize::MAX, ..Environment::default() }
}
