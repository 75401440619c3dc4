//! The unsafe fence: the Lua C API as this crate uses it, and nothing else.
//!
//! [`Stack`] wraps one `lua_State`. Whoever makes one promises, once, what every method rests on; the
//! rest of the crate is then written in safe code with the manual's own words (`raw_get_i`, `next`,
//! `rotate`). Two rules are the caller's to keep:
//!
//! - **Indices** name values that are there, and room was asked for (`check`) beyond the twenty slots
//!   that Lua gives a C function. Debug builds assert the first.
//! - **Raising.** A method marked *raises* may leave by `longjmp` (memory ran out, or a Lua error). It
//!   is called only inside [`Stack::protected`] or a [`native`] function, and no Rust frame in between
//!   may own anything. So whatever is owned lives outside `protected`, and is borrowed inside.

mod activation;
mod call;
mod collector;
mod coroutine;
mod engine;
#[cfg(all(feature = "module", windows, target_arch = "x86"))]
mod exceptions;
#[cfg(all(feature = "module", any(windows, all(target_os = "linux", target_arch = "x86_64"))))]
mod host_lua;
mod huge_pages;
mod interrupt;
mod own_state;
mod stack;

#[cfg(fuzzing)]
pub use call::with_stack;
pub use call::{Leave, NativeFunction, Returns, continuation, forget_message, native, open};
pub use coroutine::Resumed;
#[cfg(all(feature = "module", windows, target_arch = "x86"))]
pub use exceptions::refuse_exceptions;
#[cfg(all(feature = "module", windows, target_arch = "x86"))]
pub use host_lua::LUA_ERROR;
pub use interrupt::{Running, take_stopped_at};
pub use own_state::OwnState;
pub use stack::{Key, Stack, Type};
