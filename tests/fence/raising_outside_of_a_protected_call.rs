// error\[E0599\]: no method named `push_bytes` found for .*

use gma2workers::ffi::OwnState;

fn main() {
    let state = OwnState::new(1 << 20).expect("a state");
    let stack = state.stack();
    stack.push_bytes(b"takes memory");
}
