//! Any bytes are values or an error, in every kind of state, and the state is sound after it.

use std::cell::RefCell;
use std::ffi::c_int;
use std::sync::Arc;

use super::digest::digest;
use super::{assert_expected, expand, mix};
use crate::codec::{
    self, Decoder, Functions, Policy, Resolve, Upvalues, decode as decode_message, encode, put_length,
};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::ffi::{OwnState, Protected, Stack};
use crate::gma;
use crate::host::HostNames;
use crate::state::{Reuse, State};

/// Set in an input's flags: it is decoded in a full stack, too. That is slow, for Lua moves one now and then.
const FULL: u8 = 64;

/// Decodes an input everywhere.
pub fn decode(input: &[u8]) {
    let message = expand(input);
    let state = OwnState::new(usize::MAX).expect("a state");
    let before = state.memory();
    let (outcome, seen) = decode_and_check(&state.stack(), &message);
    // Nothing was collected yet. A byte may be a field, which is up to two nodes of 32 bytes; loading a
    // function takes a buffer and some tables.
    let functions = message.iter().filter(|byte| **byte & !codec::SHARED == codec::FUNCTION).count();
    let taken = state.memory() - before;
    assert!(taken <= 8192 + 100 * message.len() + 2048 * functions, "{taken} bytes of memory");
    state.unprotected().collect();
    come_back(&state.stack(), &outcome, seen);
    in_little_memory(&message, &outcome, mix(input) % (taken + 1));
    if message.first().is_some_and(|flags| flags & FULL != 0) {
        in_a_full_stack(&message, &outcome, seen, mix(input) % (2 * taken + 1));
    }
    in_a_worker(&message);
}

/// Nothing has a name here.
struct Nameless;

impl Resolve for Nameless {
    fn push_named(&self, _: &Protected, name: &str) -> Result<()> {
        Err(Error::Absent { name: name.to_owned() })
    }
}

/// Decodes a message onto a stack, and gives the digest of what came.
fn decode_and_check(stack: &Stack, message: &[u8]) -> (Result<c_int>, u64) {
    let top = stack.top();
    let outcome = decode_message(stack, message, &Nameless);
    assert_expected(&outcome);
    assert_eq!(stack.top(), top + *outcome.as_ref().unwrap_or(&0));
    assert_ne!(outcome, Err(Error::Memory));
    (outcome, digest(stack, top + 1))
}

/// What came can be sent on.
fn come_back(stack: &Stack, outcome: &Result<c_int>, seen: u64) {
    let Ok(count) = *outcome else { return };
    let message = encoded(stack, count).expect("what came can be sent");
    assert_eq!(decode_and_check(stack, &message), (Ok(count), seen));
}

fn encoded(stack: &Stack, count: c_int) -> Result<Vec<u8>> {
    let names = HostNames::default();
    let functions = Functions::Carry(Upvalues::Copy);
    let policy = Policy { names: &names, functions, place: &|n, path| format!("{n}{path}") };
    let mut message = Vec::new();
    encode(stack, count, &mut message, &policy).map(|()| message)
}

/// An allocation fails somewhere: that is the error, or nobody saw it. Then there is memory again.
fn in_little_memory(message: &[u8], outcome: &Result<c_int>, bytes: usize) {
    let state = OwnState::new(usize::MAX).expect("a state");
    let stack = state.stack();
    state.set_limit(state.memory() + bytes);
    let here = decode_message(&stack, message, &Nameless);
    assert!(here == *outcome || here == Err(Error::Memory), "{here:?} and not {outcome:?}");
    assert_eq!(stack.top(), *here.as_ref().unwrap_or(&0));
    stack.set_top(0);
    state.set_limit(usize::MAX);
    assert_eq!(decode_message(&stack, message, &Nameless), *outcome);
}

/// So many values leave room for a few levels, and the others go on in coroutines.
const NEARLY_FULL: c_int = 1_000_000 - 40;

/// The full stack itself takes 16 MB.
const WORTH_COLLECTING: usize = 64 << 20;

/// The stack is a coroutine's, as a task's is, and memory may run out in the coroutines that others go on in.
fn in_a_full_stack(message: &[u8], outcome: &Result<c_int>, seen: u64, bytes: usize) {
    thread_local! {
        static STATE: OwnState = {
            let state = OwnState::new(usize::MAX).expect("a state");
            let main = state.unprotected();
            let coroutine = main.new_thread();
            assert!(coroutine.check(NEARLY_FULL));
            coroutine.set_top(NEARLY_FULL);
            // It would walk all of them again and again.
            state.stack().run_collector(false);
            state
        };
    }
    STATE.with(|state| {
        let stack = state.thread(1).expect("the coroutine");
        for limit in [usize::MAX, state.memory() + bytes] {
            state.set_limit(limit);
            let mut decoder = Decoder::new(&Nameless);
            let here = {
                let decoder = &mut decoder;
                stack.protected(0, |stack| {
                    // Something stands below, as it does in a host call.
                    stack.push_boolean(true);
                    decoder.message(stack, message)
                })
            };
            assert!(here == *outcome || here.as_ref().is_err_and(is_full), "{here:?} and not {outcome:?}");
            assert_eq!(stack.top(), NEARLY_FULL + here.as_ref().map_or(0, |count| count + 1));
            if let Ok(count) = here {
                match encoded(&stack, count) {
                    Ok(message) => {
                        let state = OwnState::new(usize::MAX).expect("a state");
                        assert_eq!(decode_and_check(&state.stack(), &message), (here, seen));
                    }
                    Err(error) => assert!(is_full(&error), "{error}"),
                }
            }
            state.set_limit(usize::MAX);
            assert!(stack.top() >= NEARLY_FULL);
            stack.set_top(NEARLY_FULL);
        }
        if state.memory() > WORTH_COLLECTING {
            state.unprotected().collect();
        }
    });
}

/// There was no room to begin in: ours is the error, or Lua's where it has none for a call.
fn is_full(error: &Error) -> bool {
    matches!(error, Error::Memory) || *error == Error::Lua(b"stack overflow".to_vec())
}

/// The names are a worker's, and its state is used again and again, as its decoder is.
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
                let functions = Functions::Carry(Upvalues::Copy);
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
        assert_eq!(stack.bytes(3), b"gma");
        stack.set_top(0);
    });
}

/// `t, t, "gma"`.
fn known_message() -> Vec<u8> {
    let mut message = vec![codec::HAS_SHARED, 3, 0, 0, 0, codec::TABLE | codec::SHARED];
    message.extend([0; 8]);
    message.extend([codec::REFERENCE, 0, codec::STRING, 3]);
    message.extend(b"gma");
    message
}

/// A job on a host with `gma.echo` and `gma.show`.
fn environment() -> Environment {
    let mut shape = vec![0, 1, 0, 0, 0, codec::TABLE, 0, 0, 0, 0, 2, 0, 0, 0];
    for key in ["echo", "show"] {
        let name = format!("gma\0{key}");
        for (tag, text) in [(codec::STRING, key), (codec::NAMED, &name)] {
            shape.push(tag);
            put_length(&mut shape, text.len());
            shape.extend(text.as_bytes());
        }
    }
    Environment { gma: Some(shape), memory_limit: usize::MAX, ..Environment::default() }
}
