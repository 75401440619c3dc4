// error\[E0597\]: `state` does not live long enough

use gma2workers::ffi::OwnState;

fn main() {
    let stack = {
        let state = OwnState::new(1 << 20).expect("a state");
        state.stack()
    };
    stack.top();
}
