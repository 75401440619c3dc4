//! Writes messages of a few numbers, booleans and nils, which most small tasks return, without an encoder.

use std::ffi::c_int;

use crate::codec::wire::{self, put_eight};
use crate::error::Result;
use crate::fault;
use crate::ffi::{Stack, Type};

/// The most values, and the most bytes of their message.
const FEW: c_int = 8;
const BYTES: usize = wire::HEADER + FEW as usize * 9;

/// Like [`encode_counted`](super::encode_counted), if the top `count` values are few, need no allocation, and fit into the state's
/// memory. If not, returns false and does nothing.
pub fn encode_scalars(stack: &Stack, count: c_int, out: &mut Vec<u8>) -> Result<bool> {
    let is_scalar = |n: c_int| matches!(stack.kind(-n), Type::Nil | Type::Boolean | Type::Number);
    if !(1..=FEW).contains(&count) || !(1..=count).all(is_scalar) || stack.memory_left() < BYTES {
        return Ok(false);
    }
    fault::point("encode")?;
    out.try_reserve(BYTES)?;
    out.push(0);
    out.extend_from_slice(&(count as u32).to_le_bytes());
    for n in (1..=count).rev() {
        match stack.kind(-n) {
            Type::Number => match stack.whole(-n) {
                Some(value) => put_eight(out, wire::INTEGER, value.cast_unsigned()),
                None => put_eight(out, wire::FLOAT, stack.number(-n).unwrap_or(0.0).to_bits()),
            },
            Type::Boolean => out.push(if stack.boolean(-n) { wire::TRUE } else { wire::FALSE }),
            _ => out.push(wire::NIL),
        }
    }
    stack.pop(count);
    Ok(true)
}

#[cfg(all(test, feature = "linked"))]
mod tests {
    use super::*;
    use crate::codec::{Functions, Names, Path, Policy, Upvalues, encode_counted};
    use crate::ffi::{OwnState, Protected};

    struct NoNames;

    impl Names for NoNames {
        fn name_of(&self, _: &Protected) -> Option<String> {
            None
        }
    }

    /// Pushes one value.
    type Push<'a> = &'a dyn Fn(&Stack);

    /// The message of some values as an encoder writes it, and as [`encode_scalars`] does.
    fn messages(values: &[Push]) -> (Vec<u8>, Option<Vec<u8>>) {
        let state = OwnState::new(usize::MAX).expect("a state");
        let stack = state.stack();
        let count = values.len() as c_int;
        let place = |_, path: &Path| path.to_string();
        let policy = Policy { names: &NoNames, functions: Functions::Return(Upvalues::Error), place: &place };
        let (mut expected, mut written) = (Vec::new(), Vec::new());
        values.iter().for_each(|push| push(&stack));
        encode_counted(&stack, count, &mut expected, &policy).expect("they can cross");
        values.iter().for_each(|push| push(&stack));
        let is_written = encode_scalars(&stack, count, &mut written).expect("enough memory");
        assert_eq!(stack.top(), if is_written { 0 } else { count });
        (expected, is_written.then_some(written))
    }

    #[test]
    fn a_message_of_scalars_is_the_encoders() {
        let values: [Push; 9] = [
            &|stack| stack.push_nil(),
            &|stack| stack.push_boolean(true),
            &|stack| stack.push_boolean(false),
            &|stack| stack.push_integer(i64::MIN),
            &|stack| stack.push_integer(7),
            &|stack| stack.push_number(7.0),
            &|stack| stack.push_number(-0.0),
            &|stack| stack.push_number(f64::NAN),
            &|stack| stack.push_number(f64::INFINITY),
        ];
        for value in values {
            let (expected, written) = messages(&[value]);
            assert_eq!(written, Some(expected));
        }
        let (expected, written) = messages(&values[..8]);
        assert_eq!(written, Some(expected));
        assert_eq!(messages(&values).1, None, "there are many");
    }

    #[test]
    fn other_values_are_left_to_the_encoder() {
        let push_light: Push = &|stack| stack.push_light(8);
        assert_eq!(messages(&[push_light]).1, None);
        let (_, none) = messages(&[]);
        assert_eq!(none, None);
    }
}
