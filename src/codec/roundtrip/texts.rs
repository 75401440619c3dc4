//! A long text that is used several times is written once.

use std::collections::BTreeSet;
use std::ffi::c_int;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::{NoNames, config, encoded, state};
use crate::codec::decode::decode;
use crate::codec::wire;
use crate::ffi::Stack;

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
