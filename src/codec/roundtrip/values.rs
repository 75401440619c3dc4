//! Any graph of values arrives equal: alone, with common values, and at any depth.

use std::collections::BTreeSet;
use std::ffi::c_int;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::graph::{Graph, Tables, Value, assert_same, graphs, push, push_tables, read};
use super::{NoNames, config, encoded, state};
use crate::codec::common::Common;
use crate::codec::decode::{Decoder, decode, decode_common};
use crate::codec::encode::Encoder;
use crate::codec::policy::{Functions, Policy};
use crate::error::Error;
use crate::ffi::{Protected, Type};

/// Encodes a graph's messages into one buffer. Returns the buffer and the end of each message.
fn encoded_graph(stack: &Protected, graph: &Graph) -> (Vec<u8>, Vec<usize>) {
    let (buffer, ends, _) = encoded_graph_with(stack, graph, &[]);
    (buffer, ends)
}

/// Like [`encoded_graph`]; the tables with these numbers are common values of the messages.
fn encoded_graph_with(stack: &Protected, graph: &Graph, common: &[usize]) -> (Vec<u8>, Vec<usize>, Common) {
    push_tables(stack, graph);
    let policy =
        Policy { names: &NoNames, functions: Functions::Refuse, place: &|n, path| format!("{n}{path}") };
    let (mut buffer, mut ends) = (Vec::new(), Vec::new());
    let mut encoder = Encoder::new(&mut buffer, &policy);
    for number in common {
        push(stack, &Value::Table(*number));
        let encoder = &mut encoder;
        stack.protected(1, |stack| encoder.common_value(stack)).expect("it can cross");
    }
    for values in &graph.messages {
        values.iter().for_each(|value| push(stack, value));
        let (encoder, count) = (&mut encoder, values.len() as c_int);
        stack.protected(count, |stack| encoder.message(stack, 1, count)).expect("it can cross");
        ends.push(encoder.length());
        stack.set_top(1);
    }
    encoder.resume_collector(stack).expect("no finalizer");
    let common = encoder.take_common();
    (buffer, ends, common)
}

proptest! {
    #![proptest_config(config(700))]

    #[test]
    fn any_graph_of_values_comes_back_equal(graph in graphs(7)) {
        let (from, to) = (state(), state());
        let (buffer, ends) = encoded_graph(&from.unprotected(), &graph);
        drop(from);
        let stack = to.unprotected();
        let mut decoder = Decoder::new(&NoNames);
        let (mut start, mut seen) = (0, BTreeSet::new());
        for (sent, end) in graph.messages.iter().zip(ends) {
            let first = stack.top() + 1;
            let (decoder, message) = (&mut decoder, &buffer[start..end]);
            let count = stack.protected(0, |stack| decoder.message(stack, message)).expect("a message");
            assert_eq!(stack.top(), first + count - 1, "something was left on the stack");
            let mut tables = Tables::new();
            let got: Vec<Value> = (first..first + count).map(|at| read(&stack, at, &mut tables)).collect();
            assert_same(sent, &graph.tables(), &got, &tables);
            assert!(tables.into_keys().all(|address| seen.insert(address)), "two messages share a table");
            start = end;
        }
        stack.collect();
    }

    // Some tables are common values, whatever else they are: parts of each other, or of other values.
    #[test]
    fn a_message_that_refers_to_common_values_comes_back_equal(
        graph in graphs(7),
        common in vec(any::<Index>(), 0..6),
    ) {
        let (from, to) = (state(), state());
        let common: Vec<usize> = common.iter().map(|index| index.index(graph.writes.len())).collect();
        let (buffer, ends, common) = encoded_graph_with(&from.unprotected(), &graph, &common);
        drop(from);
        let stack = to.unprotected();
        let refuse = &mut |object, error| panic!("common object {object} can't be decoded: {error}");
        decode_common(&stack, &common, &NoNames, refuse).expect("common values");
        assert_eq!(stack.top(), 0, "something was left on the stack");
        stack.collect();
        let mut start = 0;
        for (sent, end) in graph.messages.iter().zip(ends) {
            let first = stack.top() + 1;
            let count = decode(&stack, &buffer[start..end], &NoNames).expect("a message");
            let mut tables = Tables::new();
            let got: Vec<Value> = (first..first + count).map(|at| read(&stack, at, &mut tables)).collect();
            assert_same(sent, &graph.tables(), &got, &tables);
            stack.set_top(0);
            start = end;
        }
    }

    // The graphs have no fields, because their order depends on a hash seed, which differs between states.
    #[test]
    fn decoded_values_are_encoded_to_the_same_message(mut graph in graphs(0)) {
        for (_, item) in graph.writes.iter_mut().flatten().filter(|(_, item)| *item == Value::Nil) {
            *item = Value::Boolean(false);
        }
        let (from, to) = (state(), state());
        push_tables(&from.unprotected(), &graph);
        let values = graph.messages.concat();
        values.iter().for_each(|value| push(&from.unprotected(), value));
        let message = encoded(&from.unprotected(), values.len() as c_int);
        let count = decode(&to.unprotected(), &message, &NoNames).expect("a message");
        assert_eq!(encoded(&to.unprotected(), count), message);
    }
}

/// Each level is an item, a field or a key of the level above; the last level refers to the first.
#[test]
#[ignore = "long"]
fn a_million_levels_cross_on_a_small_stack() {
    const LEVELS: i64 = 1_000_000;
    let test = || {
        let (from, to) = (state(), state());
        let stack = from.unprotected();
        stack.create_table(0, 0);
        stack.push_value(1);
        for level in 0..LEVELS {
            stack.create_table(0, 0);
            stack.push_value(-1);
            match level % 3 {
                0 => stack.raw_set_i(2, 1),
                1 => stack.raw_set_text(2, "field"),
                _ => {
                    stack.push_boolean(true);
                    stack.raw_set(2);
                }
            }
            stack.remove(2);
        }
        stack.push_value(1);
        stack.raw_set_text(2, "first");
        stack.pop(1);
        let message = encoded(&stack, 1);
        drop(from);

        let stack = to.unprotected();
        let damaged = &message[..message.len() / 2];
        assert!(matches!(decode(&stack, damaged, &NoNames), Err(Error::Corrupt(_))));
        stack.collect();
        assert_eq!(decode(&stack, &message, &NoNames), Ok(1));
        stack.collect();
        stack.push_value(1);
        for level in 0..LEVELS {
            let kind = match level % 3 {
                0 => stack.raw_get_i(2, 1),
                1 => stack.raw_get_text(2, "field"),
                _ => {
                    stack.push_nil();
                    assert!(stack.next(2));
                    stack.pop(1);
                    stack.kind(-1)
                }
            };
            assert_eq!(kind, Type::Table, "at level {level}");
            stack.remove(2);
        }
        stack.raw_get_text(2, "first");
        assert!(stack.raw_equal(1, -1));
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(test).unwrap().join().unwrap();
}

/// The keys are numbered where the first stack is full already, and then used again on that stack.
#[test]
#[ignore = "long"]
fn keys_that_are_numbered_at_a_great_depth_are_known_above_it() {
    const LEVELS: i64 = 1_100_000;
    const KEYS: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    const ROWS: i64 = 20;
    fn push_rows(stack: &Protected) {
        stack.create_table(0, 0);
        for row in 1..=ROWS {
            stack.create_table(0, 0);
            for (key, n) in KEYS.into_iter().zip(0..) {
                stack.push_integer(row * 100 + n);
                stack.raw_set_text(-2, key);
            }
            stack.raw_set_i(-2, row);
        }
    }
    let test = || {
        let (from, to) = (state(), state());
        let stack = from.unprotected();
        push_rows(&stack);
        for _ in 0..LEVELS {
            stack.create_table(1, 0);
            stack.insert(-2);
            stack.raw_set_i(-2, 1);
        }
        stack.create_table(2, 0);
        stack.insert(-2);
        stack.raw_set_i(-2, 1);
        push_rows(&stack);
        stack.raw_set_i(-2, 2);
        let message = encoded(&stack, 1);
        drop(from);

        let stack = to.unprotected();
        assert_eq!(decode(&stack, &message, &NoNames), Ok(1));
        stack.raw_get_i(1, 2);
        for row in 1..=ROWS {
            stack.raw_get_i(2, row);
            for (key, n) in KEYS.into_iter().zip(0..) {
                stack.raw_get_text(3, key);
                assert_eq!(stack.whole(-1), Some(row * 100 + n), "{key} of row {row}");
                stack.pop(1);
            }
            stack.pop(1);
        }
    };
    std::thread::Builder::new()
        .stack_size(256 << 10)
        .spawn(test)
        .expect("a thread")
        .join()
        .expect("no panic");
}
