//! A digest of values, to compare those of two states; independent of the order of a table's fields.

use std::ffi::c_int;
use std::hash::{Hash, Hasher};

use rustc_hash::{FxHashMap, FxHasher};

use crate::ffi::{Stack, Type};

/// How many levels of a value count.
const DEPTH: u8 = 12;

/// The digest of the values from an index up.
pub fn digest(stack: &Stack, first: c_int) -> u64 {
    let mut known = FxHashMap::default();
    let values: Vec<u64> =
        (first..=stack.top()).map(|index| value(stack, index, DEPTH, &mut known)).collect();
    hash(values)
}

fn hash(parts: impl Hash) -> u64 {
    let mut hasher = FxHasher::default();
    parts.hash(&mut hasher);
    hasher.finish()
}

fn value(stack: &Stack, index: c_int, depth: u8, known: &mut FxHashMap<(usize, u8), u64>) -> u64 {
    assert!(stack.check(4));
    let index = stack.absolute(index);
    match stack.kind(index) {
        Type::None | Type::Nil => 1,
        Type::Boolean => hash((2, stack.boolean(index))),
        Type::Number if stack.is_integer(index) => hash((3, stack.integer(index))),
        Type::Number => hash((4, stack.number(index).map(f64::to_bits))),
        Type::LightUserdata => hash((5, stack.light(index))),
        Type::String => stack.with_bytes(index, |bytes| hash((6, bytes))),
        kind @ (Type::Table | Type::Function) => {
            let place = (stack.pointer(index), depth);
            if depth == 0 {
                return kind as u64;
            }
            if let Some(&known) = known.get(&place) {
                return known;
            }
            let content = if kind == Type::Table {
                let mut sum = 0_u64;
                stack.push_nil();
                while stack.next(index) {
                    let pair = (value(stack, -2, depth - 1, known), value(stack, -1, depth - 1, known));
                    sum = sum.wrapping_add(hash(pair));
                    stack.pop(1);
                }
                hash((7, sum, has_class(stack, index)))
            } else {
                let upvalues = (1..=stack.upvalue_count(index)).map(|n| {
                    stack.push_upvalue_of(index, n);
                    let digest = value(stack, -1, depth - 1, known);
                    stack.pop(1);
                    digest
                });
                hash((8, upvalues.collect::<Vec<_>>()))
            };
            known.insert(place, content);
            content
        }
        kind => kind as u64,
    }
}

/// Whether a table's metatable is the state's class, which has an item. Others stay behind.
fn has_class(stack: &Stack, index: c_int) -> bool {
    if !stack.metatable(index) {
        return false;
    }
    let has_class = stack.raw_get_i(-1, 1) != Type::Nil;
    stack.pop(2);
    has_class
}
