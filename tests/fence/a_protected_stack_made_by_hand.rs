// error\[E0423\]: cannot initialize a tuple struct which contains private fields

use gma2workers::ffi::{OwnState, Protected};

fn main() {
    let state = OwnState::new(1 << 20).expect("a state");
    Protected(state.stack()).push_bytes(b"takes memory");
}
