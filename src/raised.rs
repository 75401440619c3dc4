//! The errors that host functions raise, on their way to the task: the value, and its text if `tostring` says more than its fields.
//!
//! A metatable stays behind. So the text of a table with `__tostring` or `__name` is made on the host, and the task's copy gets a
//! metatable that has the text.

use crate::codec::{Policy, encode};
use crate::error::{Error, Result};
use crate::ffi::{NativeResult, Protected, Stack, Type, native};
use crate::fields;

/// Host side: encodes the error value on top of the stack, with its text if it needs one; or only its text, if the value can't cross.
pub fn encode_error(
    stack: &Stack,
    message: &mut Vec<u8>,
    policy: &Policy,
    failed: impl Fn(Error) -> Error,
) -> Result<()> {
    if !stack.check(4) {
        return Err(Error::Memory);
    }
    stack.push_value(-1);
    let crosses = match encode(stack, 1, message, policy) {
        Ok(()) if !has_text(stack)? => return Ok(()),
        Err(error) if error.is_a_hooks() => return Err(error),
        encoded => encoded.is_ok(),
    };
    message.clear();
    let text = match text_of(stack) {
        Err(cause) if cause.is_interrupt() => return Err(cause),
        Err(cause) if crosses => fields::text_of_failure(&cause),
        text => text.map_err(failed)?,
    };
    stack.protected(1, |stack| {
        stack.push_bytes(&text);
        if !crosses {
            stack.remove(1);
        }
        Ok(())
    })?;
    encode(stack, if crosses { 2 } else { 1 }, message, policy)
}

/// Whether the value on top is a table whose metatable gives it a text or a name.
fn has_text(stack: &Stack) -> Result<bool> {
    if stack.kind(-1) != Type::Table || !stack.metatable(-1) {
        return Ok(false);
    }
    let mut has_text = false;
    stack.protected(1, |stack| {
        let is_spoken = stack.raw_get_text(1, "__tostring") != Type::Nil;
        has_text = is_spoken || stack.raw_get_text(1, "__name") == Type::String;
        stack.set_top(0);
        Ok(())
    })?;
    Ok(has_text)
}

/// The text of the error value on top. Its `__tostring` may fail.
fn text_of(stack: &Stack) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let out = &mut text;
    stack.push_value(-1);
    stack.protected(1, |stack| {
        fields::append_text_of(stack, 1, out);
        stack.set_top(0);
        Ok(())
    })?;
    Ok(text)
}

/// Task side: if the text of the error value below it is on top, gives it to the value. Leaves the value on top.
pub fn take_text(stack: &Protected, has_text: bool) {
    if !has_text {
        return;
    }
    let value = stack.top() - 1;
    // An object of a module's class has its metatable.
    if stack.kind(value) == Type::Table && !stack.metatable(value) {
        stack.push_closure(native(say), 1);
        stack.create_table(0, 1);
        stack.insert(-2);
        stack.raw_set_text(-2, "__tostring");
        stack.set_metatable(value);
    }
    stack.set_top(value);
}

/// The `__tostring` of such a value.
fn say(stack: &Protected) -> NativeResult {
    stack.push_upvalue(1);
    Ok(1)
}
