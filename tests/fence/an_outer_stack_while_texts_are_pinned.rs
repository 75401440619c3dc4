// error\[E0277\]: .*lua_State` cannot be shared between threads safely

use gma2workers::ffi::OwnState;

fn main() {
    let state = OwnState::new(1 << 20).expect("a state");
    let outcome = state.stack().protected(0, |outer| {
        // An error that this raised would skip the end of the pins.
        outer.with_pins(|_, _| outer.push_bytes(b"x"));
        Ok(())
    });
    assert!(outcome.is_ok());
}
