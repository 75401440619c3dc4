// compiles
// The control: what the other cases do in ways that the fence allows.

use gma2workers::ffi::{NativeFunction, OwnState, Protected, NativeResult, native};

fn length(stack: &Protected) -> NativeResult {
    stack.push_integer(stack.raw_len(1) as i64);
    Ok(1)
}

pub fn call() -> i64 {
    let state = OwnState::new(1 << 20).expect("a state");
    let stack = state.stack();
    let function: NativeFunction = native(length);
    let text = vec![b'x'; 100];
    let outcome = stack.protected(0, |stack| {
        stack.push_native(function);
        stack.push_bytes(&text);
        stack.call(1, 1);
        Ok(())
    });
    assert!(outcome.is_ok());
    stack.integer(-1).unwrap_or(0)
}

fn main() {
    assert_eq!(call(), 100);
}
