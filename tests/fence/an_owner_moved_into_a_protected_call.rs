// error\[E0080\]: evaluation panicked: what a protected body uses is borrowed from outside

use gma2workers::ffi::OwnState;

fn main() {
    let state = OwnState::new(1 << 20).expect("a state");
    let text = vec![b'x'; 100];
    let outcome = state.stack().protected(0, move |stack| {
        stack.push_bytes(&text);
        Ok(())
    });
    assert!(outcome.is_ok());
}
