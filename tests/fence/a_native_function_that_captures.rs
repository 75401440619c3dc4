// error\[E0080\]: evaluation panicked: a native function captures nothing

use gma2workers::ffi::{OwnState, native};

fn main() {
    let state = OwnState::new(1 << 20).expect("a state");
    let count = 1;
    state.stack().push_native(native(move |_| Ok(count)));
}
