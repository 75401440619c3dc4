//! Encodes the top values of a stack, in a protected call of its own.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Encoder;
use super::blocks::Blocks;
use crate::codec::policy::Policy;
use crate::error::{Error, Result};
use crate::ffi::Stack;

/// Appends a message of the top `count` values to `out` and pops them, in its own protected call.
pub fn encode(stack: &Stack, count: c_int, out: &mut Vec<u8>, policy: &Policy) -> Result<()> {
    encode_with(&mut Encoder::new(out, policy), stack, count)
}

/// Like [`encode`], from a worker's state: the message counts toward the state's memory limit.
pub fn encode_counted(stack: &Stack, count: c_int, out: &mut Vec<u8>, policy: &Policy) -> Result<()> {
    encode_with(&mut Encoder::with_limit(stack.memory_left(), out, policy), stack, count)
}

/// Like [`encode_counted`]. A long message leaves in blocks: `out` gets the last one. After an error, the blocks that were sent are
/// void. They are void as well if the message in `out` is whole.
pub fn encode_in_blocks(
    stack: &Stack,
    count: c_int,
    out: &mut Vec<u8>,
    policy: &Policy,
    blocks: Blocks,
) -> Result<()> {
    debug_assert!(out.is_empty(), "a block has one message");
    let mut encoder = Encoder::with_limit(stack.memory_left(), out, policy);
    encoder.send_in_blocks(blocks);
    encode_with(&mut encoder, stack, count)
}

fn encode_with(encoder: &mut Encoder, stack: &Stack, count: c_int) -> Result<()> {
    if (1..=count).all(|n| stack.kind(-n).is_plain()) {
        // Reading plain values allocates nothing in Lua and raises nothing, so it needs no protected call.
        let first = stack.top() - count + 1;
        let written = catch_unwind(AssertUnwindSafe(|| encoder.plain_message(stack, first, count)));
        let written = written.unwrap_or_else(|payload| Err(Error::panic(payload)));
        if written.is_ok() {
            stack.pop(count);
        }
        if written != Err(Error::Memory) || !encoder.out.is_limited() {
            return written;
        }
    }
    let written = stack.protected(count, |stack| {
        let lacks_memory = match encoder.message(stack, 1, count) {
            Err(Error::Memory) if encoder.out.is_limited() => true,
            Err(Error::BlockSent) => false,
            written => {
                stack.set_top(0);
                return written;
            }
        };
        stack.set_top(count);
        encoder.resume_collector(stack)?;
        if lacks_memory {
            // Garbage does not count toward the limit, so try again without it.
            stack.collect();
        }
        encoder.out.set_limit(stack.memory_left());
        encoder.blocks = None;
        encoder.message(stack, 1, count)?;
        stack.set_top(0);
        Ok(())
    });
    encoder.resume_collector(stack)?;
    written
}
