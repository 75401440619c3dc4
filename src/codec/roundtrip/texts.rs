//! A long text that is used several times is written once.

use std::collections::BTreeSet;
use std::ffi::c_int;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::{NoNames, config, encoded, state};
use crate::codec::decode::{decode, decode_arguments};
use crate::codec::encode::Encoder;
use crate::codec::policy::{Functions, Policy};
use crate::codec::wire;
use crate::error::Error;
use crate::ffi::Stack;
use crate::pinned::PINNED_TEXT;

/// The addresses of the texts at these indices.
fn addresses(stack: &Stack, texts: impl Iterator<Item = c_int>) -> Vec<usize> {
    texts.map(|index| stack.with_bytes(index, |bytes| bytes.as_ptr() as usize)).collect()
}

/// For each address, the index of the first equal one.
fn classes(addresses: &[usize]) -> Vec<Option<usize>> {
    addresses.iter().map(|address| addresses.iter().position(|other| other == address)).collect()
}

proptest! {
    #![proptest_config(config(300))]

    // Texts of any length, some equal but not identical. Each is used any number of times: alone, or as an item, value or key.
    #[test]
    fn a_repeated_text_is_written_once_and_arrives_as_one_text(
        lengths in vec(prop_oneof![0..90_usize, Just(40), Just(41), Just(5000)], 1..40),
        names in vec((any::<Index>(), 0..4_u8), 0..200),
    ) {
        let (from, to) = (state(), state());
        let stack = from.unprotected();
        let count = lengths.len() as c_int;
        assert!(stack.check(count + names.len() as c_int + 8));
        for length in &lengths {
            stack.push_bytes(&vec![b'x'; *length]);
        }
        let named: Vec<c_int> = names.iter().map(|(index, _)| 1 + index.index(lengths.len()) as c_int).collect();
        for (&text, (_, form)) in named.iter().zip(&names) {
            match form {
                0 => stack.push_value(text),
                // As an item, as a field's value, as a key.
                form => {
                    stack.create_table(0, 0);
                    stack.push_value(text);
                    match form {
                        1 => stack.raw_set_i(-2, 1),
                        2 => stack.raw_set_text(-2, "field"),
                        _ => {
                            stack.push_boolean(true);
                            stack.raw_set(-3);
                        }
                    }
                }
            }
        }
        let sent = addresses(&stack, named.iter().copied());
        let long: BTreeSet<usize> =
            named.iter().filter(|&&text| stack.with_bytes(text, <[u8]>::len) > wire::SHORT_TEXT).map(|&text| {
                stack.with_bytes(text, |bytes| bytes.as_ptr() as usize)
            }).collect();
        let bytes: usize = (1..=count)
            .filter(|&text| long.contains(&(stack.with_bytes(text, |bytes| bytes.as_ptr() as usize))))
            .map(|text| stack.with_bytes(text, <[u8]>::len))
            .sum();
        let message = encoded(&stack, names.len() as c_int);
        assert!(message.len() <= bytes + names.len() * 64 + 8, "{} bytes", message.len());

        let there = to.unprotected();
        assert!(there.check(2 * names.len() as c_int + 8));
        assert_eq!(decode(&there, &message, &NoNames), Ok(names.len() as c_int));
        for (index, (_, form)) in (1..).zip(&names) {
            match form {
                0 => there.push_value(index),
                1 => drop(there.raw_get_i(index, 1)),
                2 => drop(there.raw_get_text(index, "field")),
                _ => {
                    there.push_nil();
                    assert!(there.next(index));
                    there.pop(1);
                }
            }
        }
        let first = names.len() as c_int + 1;
        for (index, &text) in (first..).zip(&named) {
            assert_eq!(there.bytes(index), stack.bytes(text));
        }
        let got = addresses(&there, first..first + names.len() as c_int);
        let is_long = |classes: Vec<Option<usize>>| -> Vec<_> {
            classes.into_iter().zip(&named).filter(|(_, text)| stack.with_bytes(**text, <[u8]>::len) > wire::SHORT_TEXT).collect()
        };
        assert_eq!(is_long(classes(&sent)), is_long(classes(&got)));
    }
}

/// Pushes the values of a message with pinned texts: a long text by itself, again, as an item, and as a key, and one that is just
/// too short.
fn push_long_texts(stack: &Stack) {
    let pushed = stack.protected(0, |stack| {
        stack.push_bytes(&LONG);
        stack.push_value(1);
        stack.create_table(1, 1);
        stack.push_value(1);
        stack.raw_set_i(3, 1);
        stack.push_value(1);
        stack.push_boolean(true);
        stack.raw_set(3);
        stack.push_bytes(&LONG[1..]);
        Ok(())
    });
    pushed.expect("there is memory");
}

static LONG: [u8; PINNED_TEXT] = {
    let mut text = [b'x'; PINNED_TEXT];
    text[PINNED_TEXT - 1] = 0;
    text
};

fn assert_long_texts(stack: &Stack) {
    assert!(stack.has_bytes(1, &LONG) && stack.has_bytes(2, &LONG) && stack.has_bytes(4, &LONG[1..]));
    stack.raw_get_i(3, 1);
    assert!(stack.has_bytes(-1, &LONG));
    assert_eq!(addresses(stack, [1, 2, 5].into_iter()), vec![addresses(stack, [1].into_iter())[0]; 3]);
    stack.push_value(1);
    stack.raw_get(3);
    assert!(stack.boolean(-1));
    stack.set_top(0);
}

const POLICY: Policy = Policy { names: &NoNames, functions: Functions::Refuse, place: &|n, _| n.to_string() };

/// Writes a message of the first values on the stack.
fn write_message(stack: &Stack, encoder: &mut Encoder, count: c_int) {
    (1..=count).for_each(|index| stack.push_value(index));
    let written = stack.protected(count, |stack| {
        encoder.message(stack, 1, count)?;
        stack.set_top(0);
        Ok(())
    });
    written.expect("it can cross");
}

#[test]
fn a_pinned_text_arrives_during_the_hosts_call_and_after_it() {
    let (from, to) = (state(), state());
    let (stack, there) = (from.stack(), to.stack());
    let mut message = Vec::new();
    push_long_texts(&stack);
    let written = &mut message;
    let texts = stack.with_pins(|stack, pins| {
        let encoder = &mut Encoder::new(written, &POLICY);
        encoder.pin_texts(pins);
        for _ in 0..2 {
            write_message(stack, encoder, 4);
        }
        let to = state();
        let there = to.stack();
        let first = &written[..written.len() / 2];
        assert_eq!(decode_arguments(&there, first, pins.texts().as_deref(), &NoNames), Ok(4));
        assert_long_texts(&there);
        pins.texts()
    });
    // Each has the text that is too short.
    assert!(message.len() < 2 * LONG.len() + 200, "{} bytes", message.len());
    drop(from);
    let rest = &message[message.len() / 2..];
    assert_eq!(decode_arguments(&there, rest, texts.as_deref(), &NoNames), Ok(4));
    assert_long_texts(&there);
    // There is none for a third message.
    let unknown = Err(Error::Corrupt("a pinned text that is not there"));
    assert_eq!(decode_arguments(&there, rest, texts.as_deref(), &NoNames), unknown);
    assert_eq!(decode(&there, rest, &NoNames), unknown);
}

#[test]
fn a_text_is_garbage_once_the_hosts_call_has_ended() {
    let from = state();
    let stack = from.stack();
    let before = from.memory();
    let texts = stack.with_pins(|stack, pins| {
        let pushed = stack.protected(0, |stack| {
            stack.push_bytes(&LONG);
            Ok(())
        });
        assert_eq!((pushed, pins.pin(stack, 1), pins.pin(stack, 1)), (Ok(()), Ok(0), Ok(0)));
        stack.pop(1);
        let collected = stack.protected(0, |stack| {
            stack.collect();
            Ok(())
        });
        assert_eq!(collected, Ok(()));
        pins.texts()
    });
    assert!(from.memory() > before + LONG.len());
    let collected = stack.protected(0, |stack| {
        stack.collect();
        Ok(())
    });
    assert_eq!(collected, Ok(()));
    assert!(from.memory() < before + LONG.len() / 2);
    drop(texts);
}

#[test]
fn a_state_without_memory_for_a_pinned_text_is_an_error_and_ends_its_use() {
    let from = state();
    let stack = from.stack();
    push_long_texts(&stack);
    // This would wait forever if the text was still in use.
    let read = stack.with_pins(|stack, pins| {
        let mut message = Vec::new();
        let encoder = &mut Encoder::new(&mut message, &POLICY);
        encoder.pin_texts(pins);
        write_message(stack, encoder, 1);
        let to = state();
        to.set_limit(to.memory() + LONG.len() / 2);
        decode_arguments(&to.stack(), &message, pins.texts().as_deref(), &NoNames)
    });
    assert_eq!(read, Err(Error::Memory));
}
