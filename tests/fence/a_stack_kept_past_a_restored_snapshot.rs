// error\[E0502\]: cannot borrow `state` as mutable because it is also borrowed as immutable

use gma2workers::ffi::OwnState;

fn main() {
    let mut state = OwnState::new(1 << 20).expect("a state");
    let stack = state.stack();
    state.restore(1);
    stack.top();
}
