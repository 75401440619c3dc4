// error\[E0277\]: .*lua_State` cannot be shared between threads safely

use gma2workers::ffi::OwnState;

fn main() {
    let state = OwnState::new(1 << 20).expect("a state");
    let stack = state.stack();
    stack.push_globals();
    stack.push_tables_in(1, |_, _| {
        stack.pop(1);
        true
    });
}
