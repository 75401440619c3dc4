// compiles
// What the types can't refuse, and tests/fence/owners.lua finds.

use gma2workers::ffi::OwnState;

fn main() {
    let state = OwnState::new(1 << 20).expect("a state");
    let outcome = state.stack().protected(0, |stack| {
        let text = vec![b'x'; stack.top() as usize];
        stack.push_bytes(&text);
        Ok(())
    });
    assert!(outcome.is_ok());
}
