//! Property tests of encoding and decoding, with random values and messages.
//!
//! - Any graph of values arrives equal: scalars bit for bit with their subtype, tables with the same entries, and shared
//!   tables shared. Metatables stay behind, except those with a name (`objects`). This holds for each value of a message and each message of a buffer.
//! - Lua functions that share variables still share them when they arrive.
//! - Malformed bytes are an error. They cause no crash and no panic, and the memory used is proportional to their number.
//! - Only memory limits the depth of a value, even on a thread with a small stack.
//!
//! These tests own Rust values across calls in which Lua may raise. It raises only if memory runs out, which ends the test
//! anyway.

mod graph;
mod objects;

use std::collections::BTreeSet;
use std::ffi::c_int;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::codec::common::Common;
use crate::codec::decode::{Decoder, Resolve, decode, decode_common};
use crate::codec::encode::{Encoder, encode};
use crate::codec::policy::{Functions, Names, Policy, Upvalues};
use crate::codec::wire::{self, put_length};
use crate::error::{Error, Result};
use crate::ffi::{OwnState, Protected, Stack, Type};
use graph::{Graph, Tables, Value, assert_same, graphs, push, push_tables, read};

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

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

// Values.

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

/// Each level is an item, a field or a key of the level above; the last level refers to the first.
#[test]
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

// Functions.

/// The variables that each function adds to, and whether it also reads a global.
type Captures = Vec<(BTreeSet<usize>, bool)>;

/// How many variables the functions can capture.
const VARIABLES: usize = 5;

/// The source of a chunk that returns such functions. A call with `(amount, times)` adds the amount to the function's variables
/// and calls the next function with `times - 1`. The last function called returns a sum of its variables.
fn source(captures: &Captures) -> String {
    let mut source = String::from("local v0, v1, v2, v3, v4 = 0, 1, 2, 3, 4\n");
    let functions = (0..captures.len()).map(|n| format!("f{n}")).collect::<Vec<_>>().join(", ");
    source += &format!("local all, {functions}\n");
    for (n, (variables, reads_global)) in captures.iter().enumerate() {
        let adds: String = variables.iter().map(|v| format!("v{v} = v{v} + amount ")).collect();
        let sum: String = variables.iter().map(|v| format!(" + v{v} * {}", v + 1)).collect();
        let global = if *reads_global { "base" } else { "0" };
        // Every second function finds the next one in a table of all functions.
        let next = (n + 1) % captures.len();
        let next = if n % 2 == 0 { format!("f{next}") } else { format!("all[{}]", next + 1) };
        source += &format!(
            "f{n} = function(amount, times) {adds} \
             if times > 0 then return {next}(amount, times - 1) end return {global}{sum} end\n"
        );
    }
    source + &format!("all = {{ {functions} }} return {functions}")
}

/// Calls the functions from index 1 up, applies the expected effect to `variables`, and compares the results.
fn call_and_compare(
    stack: &Protected,
    base: i64,
    captures: &Captures,
    variables: &mut [i64; VARIABLES],
    calls: &[(Index, i64, i64)],
) {
    stack.push_globals();
    stack.push_integer(base);
    stack.raw_set_text(-2, "base");
    stack.pop(1);
    for (function, amount, times) in calls {
        let function = function.index(captures.len());
        stack.push_value(function as c_int + 1);
        stack.push_integer(*amount);
        stack.push_integer(*times);
        let called = stack.protected(3, |stack| {
            stack.call(2, 1);
            Ok(())
        });
        assert_eq!(called, Ok(()));
        for n in 0..=*times as usize {
            let (captured, _) = &captures[(function + n) % captures.len()];
            captured.iter().for_each(|&v| variables[v] += amount);
        }
        let (captured, reads_global) = &captures[(function + *times as usize) % captures.len()];
        let sum: i64 = captured.iter().map(|&v| variables[v] * (v as i64 + 1)).sum();
        assert_eq!(stack.integer(-1), Some(sum + if *reads_global { base } else { 0 }));
        stack.pop(1);
    }
}

fn calls() -> impl Strategy<Value = Vec<(Index, i64, i64)>> {
    vec((any::<Index>(), 1..1000_i64, 0..4_i64), 0..8)
}

proptest! {
    #![proptest_config(config(200))]

    // The variables arrive with their values; the global is the receiving state's own.
    #[test]
    fn functions_that_share_variables_still_share_them(
        captures in vec((prop::collection::btree_set(0..VARIABLES, 0..=VARIABLES), any::<bool>()), 1..7),
        before in calls(),
        after in calls(),
    ) {
        let (from, to) = (state(), state());
        let mut variables = [0, 1, 2, 3, 4];
        let count = captures.len() as c_int;
        from.unprotected().load(source(&captures).as_bytes(), c"=test").expect("it is Lua");
        from.unprotected().call(0, count);
        call_and_compare(&from.unprotected(), 1_000_000, &captures, &mut variables, &before);
        let message = encoded(&from.unprotected(), count);
        drop(from);
        assert_eq!(decode(&to.unprotected(), &message, &NoNames), Ok(count));
        call_and_compare(&to.unprotected(), 2_000_000, &captures, &mut variables, &after);
    }
}

#[test]
fn a_function_shares_its_variables_with_functions_in_common_values() {
    let (from, to) = (state(), state());
    let stack = from.unprotected();
    let code = "local v, w = 1, 2 local function get() return v, w end \
                return { get }, { function() return v end }, function() return w end, { { 4 } }";
    stack.load(code.as_bytes(), c"=test").expect("it is Lua");
    stack.call(0, 4);
    let functions = Functions::Carry(Upvalues::Copy);
    let policy = Policy { names: &NoNames, functions, place: &|n, path| format!("{n}{path}") };
    let mut message = Vec::new();
    let mut encoder = Encoder::new(&mut message, &policy);
    for index in [4, 1, 2] {
        stack.push_value(index);
        let encoder = &mut encoder;
        stack.protected(1, |stack| encoder.common_value(stack)).expect("it can cross");
    }
    encoder.message(&stack, 1, 3).expect("it can cross");
    encoder.resume_collector(&stack).expect("no finalizer");
    let common = encoder.take_common();

    let there = to.unprotected();
    let refuse = &mut |object, error| panic!("common object {object} can't be decoded: {error}");
    decode_common(&there, &common, &NoNames, refuse).expect("common values");
    assert_eq!(decode(&there, &message, &NoNames), Ok(3));
    there.raw_get_i(1, 1);
    there.raw_get_i(2, 1);
    assert_eq!(there.upvalue_id(4, 1), there.upvalue_id(5, 1));
    assert_eq!(there.upvalue_id(4, 2), there.upvalue_id(3, 1));
}

#[test]
fn a_reference_to_no_common_value_is_an_error() {
    let state = state();
    let stack = state.unprotected();
    let survives = |stack: &Protected| {
        for number in [1, 2, 127, usize::MAX] {
            for head in [&[0, 1, 0, 0, 0, wire::COMMON][..], &[1, 1, 0, 0, 0, wire::COMMON]] {
                let mut message = head.to_vec();
                put_length(&mut message, number);
                assert_eq!(decode(stack, &message, &NoNames), Err(Error::NoCommon { number }));
            }
            let mut stray = vec![0, 1, 0, 0, 0, wire::COMMON_JOINED];
            put_length(&mut stray, number);
            stray.push(1);
            assert_eq!(decode(stack, &stray, &NoNames), Err(Error::Corrupt("a stray upvalue")));
        }
    };
    survives(&stack);
    stack.create_table(0, 0);
    let policy =
        Policy { names: &NoNames, functions: Functions::Refuse, place: &|n, path| format!("{n}{path}") };
    let mut buffer = Vec::new();
    let mut encoder = Encoder::new(&mut buffer, &policy);
    {
        let encoder = &mut encoder;
        stack.protected(1, |stack| encoder.common_value(stack)).expect("it can cross");
    }
    encoder.resume_collector(&stack).expect("no finalizer");
    let refuse = &mut |object, error| panic!("common object {object} can't be decoded: {error}");
    decode_common(&stack, &encoder.take_common(), &NoNames, refuse).expect("common values");
    survives(&stack);
    assert_eq!(decode(&stack, &[0, 1, 0, 0, 0, wire::COMMON, 0], &NoNames), Ok(1));
    assert_eq!(stack.kind(-1), Type::Table);
}

// Malformed messages.

/// Decodes any bytes, which must return values or an error, and leave a sound state.
///
/// Lua does not check the bytecode that it loads, so forged bytecode may do anything at all. Bytecode begins with ESC;
/// without ESC, the bytes of a function's record are loaded as source text, which is safe.
fn survives(mut message: Vec<u8>) {
    message.iter_mut().filter(|byte| **byte == 0x1b).for_each(|byte| *byte = 0);
    let state = state();
    let stack = state.unprotected();
    // A collection would lower the count.
    stack.run_collector(false);
    let before = state.memory();
    let outcome = decode(&stack, &message, &NoNames);
    // A single byte may announce a field, which takes up to two nodes of 32 bytes.
    assert!(state.memory() - before <= 8192 + 100 * message.len(), "too much memory for {message:x?}");
    match outcome {
        Ok(count) => assert_eq!(stack.top(), count),
        Err(error @ (Error::Panic(_) | Error::Internal(_) | Error::Memory)) => {
            panic!("{error} for {message:x?}")
        }
        Err(_) => assert_eq!(stack.top(), 0),
    }
    stack.set_top(0);
    stack.collect();
    // As common values, and with references to them.
    let common = Common::of_messages(&[&message, &message]);
    let refuse = &mut |_, error| assert!(!matches!(error, Error::Panic(_) | Error::Memory), "{error}");
    decode_common(&stack, &common, &NoNames, refuse).expect("values, or refusals");
    assert_eq!(stack.top(), 0);
    match decode(&stack, &message, &NoNames) {
        Ok(count) => assert_eq!(stack.top(), count),
        Err(error) => assert!(stack.top() == 0 && error != Error::Memory, "{error}"),
    }
    stack.collect();
}

/// Damages a message in one place: inserts, removes or changes a byte, or cuts the message there.
fn damage(message: &mut Vec<u8>, place: Index, kind: u8, byte: u8) {
    let place = place.index(message.len() + 1);
    match kind {
        0 => message.insert(place, byte),
        _ if place == message.len() => {}
        1 => drop(message.remove(place)),
        2 => message.truncate(place),
        3 => message[place] = byte,
        _ => message[place] ^= 1 << (byte % 8),
    }
}

/// The parts of messages, in any order.
fn parts() -> impl Strategy<Value = Vec<u8>> {
    let tag = prop_oneof![30 => wire::NIL..=wire::FUNCTION, 5 => Just(wire::REFERENCE),
        5 => wire::TEXT..=wire::TEXT_AGAIN, 5 => wire::OBJECT..=wire::COMMON, 1 => any::<u8>()];
    let extreme = select(vec![127, 128, isize::MAX as usize, usize::MAX]);
    let number = prop_oneof![30 => 0..4_usize, 1 => any::<usize>(), 1 => extreme];
    let part = (tag, any::<bool>(), number, 0..5_u32).prop_map(|(tag, shared, number, size)| {
        let mut part = vec![if shared { tag | wire::SHARED } else { tag }];
        match tag {
            wire::INTEGER | wire::FLOAT | wire::LIGHT => part.extend((number as u64).to_le_bytes()),
            wire::STRING | wire::NAMED | wire::TEXT | wire::CLASS => part.extend([2, b'h', b'i']),
            wire::TABLE => part.extend([size, number as u32].map(u32::to_le_bytes).concat()),
            wire::REFERENCE | wire::TEXT_AGAIN | wire::COMMON => put_length(&mut part, number),
            wire::FUNCTION => {
                // An empty chunk is a function with one upvalue: this part, or the next one.
                part.extend([0, 0, 0, 0, 1]);
                match size {
                    0 => {}
                    1 => part.push(wire::GLOBALS),
                    4 => part.push(wire::ENVIRONMENT),
                    size => {
                        part.push(if shared { wire::COMMON_JOINED } else { wire::JOINED });
                        put_length(&mut part, number);
                        part.push(size as u8 - 1);
                    }
                }
            }
            _ => {}
        }
        part
    });
    (0..2_u8, 0..5_u8, vec(part, 0..24))
        .prop_map(|(flags, count, parts)| [vec![flags, count, 0, 0, 0], parts.concat()].concat())
}

/// Each table announces the rest of the message as its entries. If all were believed, memory would grow with the square of the
/// message's size.
#[test]
fn nested_tables_take_memory_in_proportion_to_their_message() {
    for fields in [false, true] {
        let mut message = vec![0, 1, 0, 0, 0];
        for left in (0..1000_u32).rev() {
            let counts = if fields { [0, left * 5] } else { [left * 9, 0] };
            message.push(wire::TABLE);
            message.extend(counts.map(u32::to_le_bytes).concat());
            message.extend(fields.then_some(wire::TRUE));
        }
        survives(message);
    }
}

proptest! {
    #![proptest_config(config(3000))]

    #[test]
    fn any_bytes_decode_to_values_or_an_error(bytes in vec(any::<u8>(), 0..64), parts in parts()) {
        survives(bytes);
        survives(parts);
    }
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn a_damaged_message_decodes_to_values_or_an_error(
        graph in graphs(5),
        damages in vec(vec((any::<Index>(), 0..6_u8, any::<u8>()), 1..4), 8),
    ) {
        let from = state();
        push_tables(&from.unprotected(), &graph);
        let values = graph.messages.concat();
        values.iter().for_each(|value| push(&from.unprotected(), value));
        let message = encoded(&from.unprotected(), values.len() as c_int);
        for places in damages {
            let mut message = message.clone();
            places.into_iter().for_each(|(place, kind, byte)| damage(&mut message, place, kind, byte));
            survives(message);
        }
    }
}
