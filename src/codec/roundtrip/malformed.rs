//! Malformed messages decode to values or an error, and leave a sound state.

use std::ffi::c_int;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::graph::{graphs, push, push_tables};
use super::{NoNames, config, encoded, state};
use crate::codec::common::Common;
use crate::codec::decode::{decode, decode_common};
use crate::codec::encode::Encoder;
use crate::codec::policy::{Functions, Policy};
use crate::codec::wire::{self, put_length};
use crate::error::Error;
use crate::ffi::{Protected, Type};

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
pub fn damage(message: &mut Vec<u8>, place: Index, kind: u8, byte: u8) {
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
