// error\[E0521\]: borrowed data escapes outside of closure

use gma2workers::ffi::OwnState;

fn main() {
    let state = OwnState::new(1 << 20).expect("a state");
    let mut kept = None;
    let outcome = state.stack().protected(0, |stack| {
        kept = Some(stack);
        Ok(())
    });
    assert!(outcome.is_ok() && kept.is_some());
}
