//! What the fuzz targets check of an input. Compiled into the library, since it uses the internals.
//!
//! Both targets take a message in the layout of [`crate::codec::wire`], so one grammar makes any value: `decode` decodes
//! it as it is, `options` into the options of a job. A fault is a panic.
//!
//! Lua does not check the bytecode that it loads, so a fuzzer's bytecode may do anything at all. Bytecode begins with
//! ESC. In a function's record, `ESC n` stands for the size and the bytecode of the n-th function of [`FUNCTIONS`];
//! elsewhere an ESC becomes a zero, so the record's bytes are loaded as source text, which is safe.

mod decoding;
mod digest;
mod options;

use std::ffi::c_int;
use std::sync::LazyLock;

use crate::codec::wire::{self, SHARED};
use crate::error::{Error, Result};
use crate::ffi::OwnState;

pub use decoding::decode;
pub use options::{options, seeds};

const ESC: u8 = 0x1b;

/// A chunk that returns functions with 0 to 5 upvalues.
const FUNCTIONS: &str = "
    local number, list = 1, {}
    local function helper(x) return x + number end
    local function again(n) return n > 0 and again(n - 1) or n end
    return function(...) return ... end,
        function() return print end,
        function(x) return helper(x) end,
        function() number = number + 1 return number, list end,
        function() return function() number = number + 1 return list, helper end end,
        again,
        function() return number, list, helper, again, _ENV end";

/// The bytecode of each function of [`FUNCTIONS`].
static BYTECODE: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let state = OwnState::new(usize::MAX).expect("a state");
    let stack = state.unprotected();
    stack.load(FUNCTIONS.as_bytes(), c"=functions").expect("it is Lua");
    stack.call(0, 7);
    let dump = |index: c_int| {
        let mut bytecode = Vec::new();
        stack.push_value(index);
        stack.dump(&mut bytecode).expect("memory");
        stack.pop(1);
        bytecode
    };
    (1..=stack.top()).map(dump).collect()
});

/// The message that an input represents.
fn expand(input: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(input.len());
    let mut bytes = input.iter().copied().peekable();
    let mut before = 0;
    while let Some(byte) = bytes.next() {
        match (byte, bytes.peek()) {
            (ESC, Some(&n)) if before & !SHARED == wire::FUNCTION => {
                bytes.next();
                let bytecode = &BYTECODE[usize::from(n) % BYTECODE.len()];
                message.extend((bytecode.len() as u32).to_le_bytes());
                message.extend(bytecode);
                before = 0;
                continue;
            }
            (ESC, _) => message.push(0),
            _ => message.push(byte),
        }
        before = byte;
    }
    message
}

/// The input that represents a message, whose functions must all be of [`FUNCTIONS`]. A short text that begins with `@`
/// becomes a name.
fn contract(message: &[u8]) -> Vec<u8> {
    let mut input = Vec::new();
    let mut rest = message;
    while let Some(&byte) = rest.first() {
        let known = BYTECODE.iter().position(|bytecode| {
            let size = (bytecode.len() as u32).to_le_bytes();
            rest.strip_prefix(&size).is_some_and(|rest| rest.starts_with(bytecode))
        });
        match known {
            Some(n) => {
                input.extend([ESC, n as u8]);
                rest = &rest[4 + BYTECODE[n].len()..];
            }
            None => match *rest {
                [wire::STRING, length @ 2..0x80, b'@', ..] => {
                    input.extend([wire::NAMED, length - 1]);
                    rest = &rest[3..];
                }
                _ => {
                    input.push(byte);
                    rest = &rest[1..];
                }
            },
        }
    }
    input
}

/// Panics on an error that no input may cause.
#[track_caller]
fn assert_expected<R>(outcome: &Result<R>) {
    if let Err(error @ (Error::Panic(_) | Error::Internal(_))) = outcome {
        panic!("{error}");
    }
}

/// A hash of an input.
fn mix(input: &[u8]) -> usize {
    use std::hash::Hasher;
    let mut hasher = rustc_hash::FxHasher::default();
    hasher.write(input);
    hasher.finish() as usize
}
