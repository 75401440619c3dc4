// error\[E0277\]: .*lua_State` cannot be sent between threads safely

use gma2workers::ffi::OwnState;

fn main() {
    let state = OwnState::new(1 << 20).expect("a state");
    let stack = state.stack();
    std::thread::scope(|scope| {
        scope.spawn(move || stack.top());
    });
}
