//! The unsafe fence: the Lua C API as this crate uses it, and nothing else.
//!
//! The rest of the crate is safe code in the manual's own words (`raw_get_i`, `next`, `rotate`), over two types:
//!
//! - A [`Stack`] is one `lua_State`. It can't outlive its state, and none of its methods raises an error.
//! - A [`Protected`] is a `Stack` inside a protected call or a [`native`] function. Its methods may raise an error, which
//!   leaves by `longjmp`. So a function that takes a `&Protected` may be left that way, and one that takes a `&Stack` always
//!   returns.
//!
//! | what could go wrong | what prevents it |
//! |---|---|
//! | a stack used after its state was closed or restored, or on another thread | its lifetime; it is not `Send` |
//! | a string used after it was popped | [`Stack::with_bytes`], whose body can't have a stack |
//! | a text's bytes read by another thread after the text was freed | [`PinnedBytes`]: [`Stack::with_pins`] waits for their drop |
//! | an error raised where nothing catches it | only bodies of protected calls and native functions get a `Protected` |
//! | an owner moved into such a body, whose drop a `longjmp` would skip | a check when the body is compiled |
//! | an owner that is a local there | `scripts/check-fence`, which reads the compiler's MIR |
//! | a table, function, upvalue or coroutine of another state where Lua would not check | assertions, in all builds |
//!
//! `lua53` and `lua54` have what differs between the versions of Lua.
//!
//! Some rules are the caller's to keep:
//!
//! - **Indices** name values that are there, and [`Stack::check`] was asked for room beyond the twenty slots that Lua gives
//!   a C function. Debug builds assert the first.
//! - **Handles** are used while their value stays where Lua can reach it: the coroutine of [`Stack::thread`] or
//!   [`Protected::new_thread`], the table of [`Protected::table`].
//! - **Bytecode** comes from [`Stack::dump`]. Lua does not verify it.
//! - **An error** is raised in the innermost protected call: a body uses its own `Protected`, not one from outside of it.

mod activation;
mod call;
mod collector;
mod coroutine;
mod engine;
#[cfg(all(feature = "module", windows, target_arch = "x86"))]
mod exceptions;
mod functions;
#[cfg(all(
    feature = "module",
    any(windows, all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))
))]
mod host_lua;
mod huge_pages;
mod interrupt;
mod own_state;
mod pinned;
mod protected;
mod running;
mod stack;
mod tables;
mod types;
#[cfg_attr(feature = "lua54", path = "lua54.rs")]
#[cfg_attr(not(feature = "lua54"), path = "lua53.rs")]
mod version;

#[cfg(fuzzing)]
pub use call::with_stack;
pub use call::{Exit, NativeResult, clear_message, continuation, native, open};
pub use coroutine::Resumed;
#[cfg(all(feature = "module", windows, target_arch = "x86"))]
pub use exceptions::refuse_exceptions;
#[cfg(all(feature = "module", windows, target_arch = "x86"))]
pub use host_lua::LUA_ERROR;
pub use interrupt::{prepare_interruptions, prepare_to_be_interrupted, take_stopped_at};
pub use own_state::OwnState;
pub use pinned::{PinnedBytes, Pins};
pub use protected::Protected;
pub use running::Running;
pub use stack::Stack;
pub use types::{Key, NativeFunction, Plain, Type};
pub use version::{VERSION, reset_warnings};
