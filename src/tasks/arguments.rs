//! Counts the arguments of a task, and encodes them.

use std::ffi::c_int;

use super::bad_task;
use crate::codec::{Blocks, Encoder, identity};
use crate::error::{Error, Problem, Result};
use crate::ffi::{Protected, Stack, Type};
use crate::value::Value;

/// The most arguments that a task may have.
const MAX_ARGUMENTS: i64 = 100_000;

/// A task's arguments.
#[derive(Clone, Copy)]
pub enum Arguments {
    /// On the stack, from this slot up.
    OnStack { first: c_int, count: c_int },
    /// In the table at this slot.
    InTable { list: c_int, count: c_int },
}

/// The most arguments that are read onto the stack at once. More are read from the table one by one.
const MAX_ON_STACK: c_int = 8;

/// Counts the arguments in the table: its `n`, or its largest whole-number key.
pub fn count_arguments(stack: &Protected, list: c_int, index: i64) -> Result<Arguments> {
    let base = stack.top();
    let mut count = 0;
    let table = stack.table(list);
    stack.push_nil();
    while table.next() {
        // The keys of a plain list come in the order 1, 2, 3…. The length operator would miss other keys.
        if count == MAX_ON_STACK || stack.whole(-2) != Some(i64::from(count) + 1) {
            stack.set_top(base);
            return count_any_arguments(stack, list, index);
        }
        count += 1;
        // The value stays below the key, for the next step.
        stack.insert(-2);
    }
    Ok(Arguments::OnStack { first: base + 1, count })
}

/// Like [`count_arguments`], for any table. Refuses values that are not arguments, because they would be lost.
fn count_any_arguments(stack: &Protected, list: c_int, index: i64) -> Result<Arguments> {
    let (mut last, mut n) = (0, None);
    let table = stack.table(list);
    stack.push_nil();
    while table.next() {
        if let Some(key) = stack.whole(-2).filter(|key| *key >= 1) {
            last = last.max(key);
        } else if stack.kind(-2) != Type::String {
            let key = Value::at(stack, -2).describe();
            return Err(bad_task(index, ".args", Problem::LostValue { key }));
        } else if stack.has_bytes(-2, b"n") {
            match stack.integer(-1).filter(|_| stack.kind(-1) == Type::Number) {
                Some(count) => n = Some(count),
                None => return Err(bad_count(stack, index)),
            }
        } else {
            let name = stack.text(-2);
            return Err(bad_task(index, ".args", Problem::LostField { name }));
        }
        stack.pop(1);
    }
    match n.unwrap_or(last) {
        count @ 0..=MAX_ARGUMENTS => Ok(Arguments::InTable { list, count: count as c_int }),
        got => Err(bad_task(index, ".args", Problem::TooMany { limit: MAX_ARGUMENTS, got })),
    }
}

/// The error of an `n`, on top of the stack, that is not a whole number.
fn bad_count(stack: &Stack, index: i64) -> Error {
    let got = match stack.kind(-1) {
        Type::String => format!("\"{}\"", stack.text(-1)),
        Type::Number => stack.number(-1).unwrap_or(f64::NAN).to_string(),
        kind => format!("a {}", kind.name()),
    };
    let expected = "a whole number of arguments".into();
    bad_task(index, ".args.n", Problem::Unexpected { expected, got, advice: "" })
}

/// The contents of a task's arguments.
#[derive(Clone, Copy, PartialEq)]
pub enum Contents {
    /// Only plain values, and no long text.
    Small,
    /// Only plain values.
    Plain,
    Other,
}

impl Contents {
    pub fn of(stack: &Stack, callable: bool, arguments: Arguments) -> Contents {
        let Arguments::OnStack { first, count } = arguments else { return Contents::Other };
        let mut contents = if callable { Contents::Other } else { Contents::Small };
        for index in first..first + count {
            match stack.kind(index) {
                Type::String if contents == Contents::Small && identity(stack, index).is_some() => {
                    contents = Contents::Plain;
                }
                kind if kind.is_plain() => {}
                _ => contents = Contents::Other,
            }
        }
        contents
    }
}

/// Appends the message of a task's arguments, which may leave in blocks. A callable table, below the top, is the first argument.
pub fn encode_arguments<'a>(
    stack: &Protected,
    encoder: &mut Encoder<'a>,
    callable: bool,
    arguments: Arguments,
    is_plain: bool,
    blocks: Option<Blocks<'a>>,
) -> Result<()> {
    match arguments {
        Arguments::OnStack { first, count } if is_plain => encoder.plain_message(stack, first, count),
        _ => match blocks {
            Some(blocks) => encode_in_blocks(stack, encoder, callable, arguments, blocks),
            None => encode_whole(stack, encoder, callable, arguments),
        },
    }
}

fn encode_in_blocks<'a>(
    stack: &Protected,
    encoder: &mut Encoder<'a>,
    callable: bool,
    arguments: Arguments,
    blocks: Blocks<'a>,
) -> Result<()> {
    let top = stack.top();
    encoder.send_in_blocks(blocks);
    let encoded = encode_whole(stack, encoder, callable, arguments);
    match encoder.end_blocks(encoded) {
        Err(Error::BlockSent) => {}
        encoded => return encoded,
    }
    stack.set_top(top);
    encode_whole(stack, encoder, callable, arguments)
}

fn encode_whole(
    stack: &Protected,
    encoder: &mut Encoder,
    callable: bool,
    arguments: Arguments,
) -> Result<()> {
    let (Arguments::OnStack { count, .. } | Arguments::InTable { count, .. }) = arguments;
    encoder.begin(count as usize + usize::from(callable));
    if callable {
        stack.push_value(-2);
        encoder.uncounted_value(stack)?;
    }
    for n in 1..=count {
        match arguments {
            Arguments::OnStack { first, .. } => stack.push_value(first + n - 1),
            Arguments::InTable { list, .. } => {
                stack.raw_get_i(list, n.into());
            }
        }
        encoder.next_value(stack)?;
    }
    Ok(())
}
