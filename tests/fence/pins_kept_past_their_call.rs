// error\[E0521\]: borrowed data escapes outside of closure|error: lifetime may not live long enough

use gma2workers::ffi::OwnState;

fn main() {
    let state = OwnState::new(1 << 20).expect("a state");
    let pins = state.stack().with_pins(|_, pins| pins);
    assert!(pins.texts().is_none());
}
