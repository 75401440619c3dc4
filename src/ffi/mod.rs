//! The unsafe fence: the Lua C API as this crate uses it, and nothing else.
//!
//! The rest of the crate is safe code in the manual's own words (`raw_get_i`, `next`, `rotate`), over two types:
//!
//! - A [`Stack`] is one `lua_State`. It can't outlive its state, and none of its methods raises.
//! - A [`Protected`] is a `Stack` inside a protected call or a [`native`] function. Its methods raise: they may leave by
//!   `longjmp`, because memory ran out or because of a Lua error. So a function that takes one may be left that way.
//!
//! Two rules are the caller's to keep:
//!
//! - **Indices** name values that are there, and room was asked for (`check`) beyond the twenty slots that Lua gives a C
//!   function. Debug builds assert the first.
//! - **Ownership.** A function owns nothing while it calls one that takes `&Protected`: no destructor would run. Whatever
//!   is owned lives outside of `protected`, and is borrowed inside.

mod activation;
mod call;
mod collector;
mod coroutine;
mod engine;
#[cfg(all(feature = "module", windows, target_arch = "x86"))]
mod exceptions;
mod functions;
#[cfg(all(feature = "module", any(windows, all(target_os = "linux", target_arch = "x86_64"))))]
mod host_lua;
mod huge_pages;
mod interrupt;
mod own_state;
mod protected;
mod stack;
mod tables;
mod types;

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
pub use protected::Protected;
pub use stack::Stack;
pub use types::{Key, Type};
