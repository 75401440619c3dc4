//! Lua functions that share variables still share them when they arrive.

use std::collections::BTreeSet;
use std::ffi::c_int;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::{NoNames, config, encoded, state};
use crate::codec::decode::{decode, decode_common};
use crate::codec::encode::Encoder;
use crate::codec::policy::{Functions, Policy, Upvalues};
use crate::ffi::Protected;

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
