//! A message that leaves in blocks arrives as the same values, wherever the blocks end.

use std::cell::RefCell;
use std::ffi::c_int;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::graph::{Tables, Value, assert_same, graphs, push, push_tables, read};
use super::malformed::damage;
use super::{NoNames, config, state};
use crate::codec::decode::blocks::{Begun, feed};
use crate::codec::decode::decode;
use crate::codec::encode::Encoder;
use crate::codec::encode::blocks::Blocks;
use crate::codec::encode::calls::encode_in_blocks;
use crate::codec::policy::{Functions, Policy, Upvalues};
use crate::codec::wire::{self, is_rest};
use crate::error::{Error, Result};
use crate::ffi::{Protected, Stack, Type};

/// Encodes the top `count` values in blocks of this size. Returns the blocks; one if the message is whole.
fn encoded_in(stack: &Stack, count: c_int, size: usize) -> Result<Vec<Vec<u8>>> {
    let functions = Functions::Return(Upvalues::Private);
    let policy = Policy { names: &NoNames, functions, place: &|n, path| format!("{n}{path}") };
    let (blocks, mut last) = (RefCell::new(Vec::new()), Vec::new());
    let send = |block| {
        blocks.borrow_mut().push(block);
        Ok(())
    };
    encode_in_blocks(stack, count, &mut last, &policy, Blocks { size, begin: &|| true, send: &send })?;
    let mut blocks = blocks.into_inner();
    if !is_rest(&last) {
        blocks.clear();
    }
    blocks.push(last);
    Ok(blocks)
}

/// Decodes blocks onto a coroutine, which it pushes. Returns the coroutine's number of values, if the last block was among them.
fn fed<'s>(stack: &'s Protected, blocks: &[Vec<u8>]) -> (Stack<'s>, Result<Option<c_int>>) {
    let coroutine = stack.new_thread();
    let mut begun = Begun::default();
    let mut outcome = Ok(None);
    for block in blocks {
        outcome = feed(&coroutine, &mut begun, block, &NoNames);
        if outcome.is_err() {
            break;
        }
    }
    (coroutine, outcome)
}

/// Compares what arrives of some values in blocks with the values.
fn assert_arrives(blocks: &[Vec<u8>], sent: &[Value], sent_tables: &Tables) {
    let to = state();
    let stack = to.unprotected();
    let mut tables = Tables::new();
    let got: Vec<Value> = if let [whole] = blocks {
        let count = decode(&stack, whole, &NoNames).expect("a message");
        (1..=count).map(|at| read(&stack, at, &mut tables)).collect()
    } else {
        let (coroutine, count) = fed(&stack, blocks);
        let count = count.expect("blocks").expect("the last one");
        let first = coroutine.top() - count + 1;
        // What is below is the decoder's.
        stack.collect();
        (first..first + count).map(|at| read(&coroutine, at, &mut tables)).collect()
    };
    assert_same(sent, sent_tables, &got, &tables);
    stack.collect();
}

/// Pushes what a chunk returns.
fn run(stack: &Protected, code: &str, results: c_int) {
    stack.load(code.as_bytes(), c"=test").expect("it is Lua");
    stack.call(0, results);
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn any_graph_of_values_comes_back_equal_in_blocks_of_any_size(graph in graphs(7), size in 1..300_usize) {
        let from = state();
        push_tables(&from.unprotected(), &graph);
        let values = graph.messages.concat();
        values.iter().for_each(|value| push(&from.unprotected(), value));
        let blocks = encoded_in(&from.stack(), values.len() as c_int, size).expect("they can cross");
        drop(from);
        assert_arrives(&blocks, &values, &graph.tables());
    }

    #[test]
    fn a_message_in_blocks_leaves_those_before_and_after_it_alone(graph in graphs(5), size in 1..300_usize) {
        let from = state();
        let stack = from.unprotected();
        push_tables(&stack, &graph);
        let values = graph.messages.concat();
        values.iter().for_each(|value| push(&stack, value));
        let (first, count) = (stack.top() - values.len() as c_int + 1, values.len() as c_int);
        let functions = Functions::Return(Upvalues::Private);
        let policy = Policy { names: &NoNames, functions, place: &|n, path| format!("{n}{path}") };
        let (sent, mut out) = (RefCell::new(Vec::new()), Vec::new());
        let send = |block| {
            sent.borrow_mut().push(block);
            Ok(())
        };
        let mut encoder = Encoder::new(&mut out, &policy);
        encoder.message(&stack, first, count).expect("they can cross");
        let start = encoder.length();
        encoder.send_in_blocks(Blocks { size, begin: &|| true, send: &send });
        let written = encoder.message(&stack, first, count);
        let written = encoder.end_blocks(written);
        if written.is_err() {
            prop_assert_eq!(written, Err(Error::BlockSent));
            prop_assert_eq!(encoder.length(), start);
            stack.set_top(first + count - 1);
            encoder.message(&stack, first, count).expect("they can cross");
        }
        let (end, is_rest) = (encoder.length(), encoder.is_rest(start));
        encoder.message(&stack, first, count).expect("they can cross");
        drop(encoder);
        let mut blocks = if is_rest { sent.into_inner() } else { Vec::new() };
        blocks.push(out[start..end].to_vec());
        assert_arrives(&[out[..start].to_vec()], &values, &graph.tables());
        assert_arrives(&blocks, &values, &graph.tables());
        assert_arrives(&[out[end..].to_vec()], &values, &graph.tables());
    }

    #[test]
    fn damaged_blocks_decode_to_values_or_an_error(
        graph in graphs(5),
        size in 1..100_usize,
        damages in vec(vec((any::<Index>(), any::<Index>(), 0..6_u8, any::<u8>()), 1..4), 8),
    ) {
        let from = state();
        push_tables(&from.unprotected(), &graph);
        let values = graph.messages.concat();
        values.iter().for_each(|value| push(&from.unprotected(), value));
        let blocks = encoded_in(&from.stack(), values.len() as c_int, size).expect("they can cross");
        for places in damages {
            let mut blocks = blocks.clone();
            for (block, place, kind, byte) in places {
                let block = block.index(blocks.len());
                match kind {
                    5 if byte % 2 == 0 => drop(blocks.remove(block)),
                    5 => blocks.insert(block, blocks[block].clone()),
                    kind => damage(&mut blocks[block], place, kind, byte),
                }
                if blocks.is_empty() {
                    break;
                }
            }
            blocks.iter_mut().flatten().filter(|byte| **byte == 0x1b).for_each(|byte| *byte = 0);
            let to = state();
            let stack = to.unprotected();
            stack.run_collector(false);
            let before = to.memory();
            let (coroutine, outcome) = fed(&stack, &blocks);
            let size: usize = blocks.iter().map(Vec::len).sum();
            assert!(to.memory() - before <= 16_384 + 200 * size, "too much memory for {blocks:x?}");
            match outcome {
                Ok(_) => {}
                Err(error @ (Error::Panic(_) | Error::Internal(_) | Error::Memory)) => {
                    panic!("{error} for {blocks:x?}")
                }
                Err(_) => assert_eq!(coroutine.top(), 0),
            }
            stack.run_collector(true);
            stack.collect();
        }
    }
}

/// Sends a list of 1,000 rows, each made by this function of its number `i`, in small blocks. Checks what arrives, and returns the
/// number of blocks.
fn blocks_of_rows(row: &str) -> usize {
    let from = state();
    let stack = from.unprotected();
    stack.open_libraries();
    let code = format!(
        "local shared, text, list = {{ number = 1 }}, ('text'):rep(20), {{}}
         local function row(i) {row} end
         for i = 1, 1000 do list[i] = row(i) end
         return list"
    );
    run(&stack, &code, 1);
    let (mut sent, mut got) = (Tables::new(), Tables::new());
    let sent_list = read(&stack, 1, &mut sent);
    let blocks = encoded_in(&from.stack(), 1, 1000).expect("it can cross");
    let to = state();
    let target = to.unprotected();
    let got_list = if let [whole] = &blocks[..] {
        assert_eq!(decode(&target, whole, &NoNames), Ok(1));
        read(&target, 1, &mut got)
    } else {
        let (coroutine, count) = fed(&target, &blocks);
        assert_eq!(count, Ok(Some(1)));
        read(&coroutine, coroutine.top(), &mut got)
    };
    assert_same(&[sent_list], &sent, &[got_list], &got);
    blocks.len()
}

#[test]
fn rows_leave_in_blocks_whatever_they_refer_to() {
    let trees = "return { id = i, name = 'row ' .. i, values = { 1.5, i } }";
    assert!(blocks_of_rows(trees) > 20);
    for row in [
        "return { i, parent = list }",
        "return { i, style = shared }",
        "return { i, note = text }",
        "return { i, shared, text, list }",
        "return { i, before = i % 10 > 0 and list[i - i % 10] or nil }",
    ] {
        assert!(blocks_of_rows(row) > 5, "{row}");
    }
}

/// When the reference to an unmarked row comes, that row's block has left.
#[test]
fn a_reference_to_what_has_left_unmarked_sends_the_message_whole() {
    for row in [
        "return { i, first = i == 900 and list[1] or nil }",
        "return { ('t'):rep(50) .. i, i == 900 and list[1][1] }",
    ] {
        assert_eq!(blocks_of_rows(row), 1, "{row}");
    }
}

#[test]
fn a_message_with_a_function_stays_in_the_block_that_has_it() {
    let from = state();
    let stack = from.unprotected();
    stack.open_libraries();
    run(
        &stack,
        "local n, list = 0, {}
        local function count() n = n + 1 return n end
        for i = 1, 1000 do list[i] = { i, 'text ' .. i } end
        for i = 1001, 2000 do list[i] = { count, function() return n end } end
        return list",
        1,
    );
    let blocks = encoded_in(&from.stack(), 1, 500).expect("it can cross");
    assert!(blocks.len() > 10);
    assert!(blocks.iter().rev().skip(1).all(|block| block.len() < 1000));
    let to = state();
    let target = to.unprotected();
    let (coroutine, count) = fed(&target, &blocks);
    assert_eq!(count, Ok(Some(1)));
    coroutine.move_to(&target, 1);
    target.push_globals();
    target.push_value(-2);
    target.raw_set_text(-2, "list");
    // All of these functions share one variable.
    run(&target, "list[1001][1]() list[2000][1]() return list[1500][2]()", 1);
    assert_eq!(target.whole(-1), Some(2));
    assert_eq!(target.kind(-1), Type::Number);
}

/// A value of each kind of failure: the blocks before it have left.
#[test]
fn a_failure_behind_the_first_blocks_is_the_error() {
    let from = state();
    let stack = from.unprotected();
    stack.open_libraries();
    run(
        &stack,
        "local list = {} for i = 1, 1000 do list[i] = { i } end
        list[1001] = { deep = print } return list",
        1,
    );
    let error = encoded_in(&from.stack(), 1, 500).expect_err("a C function can't cross");
    assert_eq!(error, Error::Unsendable { what: "C function", path: "1[1001].deep".into() });
}

#[test]
fn the_end_of_a_block_is_an_error_in_other_places() {
    let state = state();
    let stack = state.unprotected();
    let table = |counts: [u32; 2]| [vec![wire::TABLE], counts.map(u32::to_le_bytes).concat()].concat();
    for body in [
        vec![],
        table([1, 0]),
        [table([0, 1]), vec![wire::TRUE]].concat(),
        vec![wire::FUNCTION, 0, 0, 0, 0, 1],
    ] {
        let message = [vec![wire::HAS_MORE, 1, 0, 0, 0], body, vec![wire::BLOCK_END]].concat();
        let (_, outcome) = fed(&stack, &[message]);
        assert_eq!(outcome, Err(Error::Corrupt("a stray end of a block")));
    }
    let message = [vec![wire::HAS_MORE, 1, 0, 0, 0], table([0, 1]), vec![wire::BLOCK_END]].concat();
    assert_eq!(decode(&stack, &message, &NoNames), Err(Error::Corrupt("a stray end of a block")));
    assert_eq!(fed(&stack, &[message]).1, Ok(None));
}
