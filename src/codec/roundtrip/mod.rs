//! Property tests of encoding and decoding, with random values and messages.
//!
//! - `values`: any graph of values arrives equal: scalars bit for bit with their subtype, tables with the same entries, and
//!   shared tables shared. Metatables stay behind, except those with a name (`objects`). This holds for each value of a message
//!   and each message of a buffer. Only memory limits the depth of a value, even on a thread with a small stack.
//! - `texts`: a long text that is used several times is written once.
//! - `functions`: Lua functions that share variables still share them when they arrive.
//! - `blocks`: a message that leaves in blocks of any size is the same values.
//! - `malformed`: malformed bytes are an error. They cause no crash and no panic, and the memory used is proportional to their
//!   number.
//!
//! `graph` makes the random values.
//!
//! These tests own Rust values across calls in which Lua may raise. It raises only if memory runs out, which ends the test
//! anyway.

mod blocks;
mod functions;
mod graph;
mod malformed;
mod objects;
mod texts;
mod values;

use std::ffi::c_int;

use proptest::prelude::*;

use crate::codec::decode::Resolve;
use crate::codec::encode::calls::encode;
use crate::codec::policy::{Functions, Names, Policy, Upvalues};
use crate::error::{Error, Result};
use crate::ffi::{OwnState, Protected, Stack};

/// A state in which nothing has a name.
struct NoNames;

impl Resolve for NoNames {
    fn push_named(&self, _: &Protected, name: &str) -> Result<()> {
        Err(Error::Absent { name: name.to_owned() })
    }
}

impl Names for NoNames {
    fn name_of(&self, _: &Protected) -> Option<String> {
        None
    }
}

fn state() -> OwnState {
    OwnState::new(usize::MAX).expect("a state")
}

/// Encodes the top `count` values and pops them.
fn encoded(stack: &Stack, count: c_int) -> Vec<u8> {
    let functions = Functions::Carry(Upvalues::Private);
    let policy = Policy { names: &NoNames, functions, place: &|n, path| format!("{n}{path}") };
    let mut message = Vec::new();
    encode(stack, count, &mut message, &policy).expect("it can cross");
    message
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}
