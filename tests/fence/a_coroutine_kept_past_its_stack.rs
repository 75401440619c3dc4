// error: lifetime may not live long enough

use gma2workers::ffi::OwnState;

fn main() {
    let state = OwnState::new(1 << 20).expect("a state");
    let coroutine = state.stack().protected(0, |stack| Ok(stack.new_thread()));
    assert!(coroutine.is_ok());
}
