//! The second unsafe fence: memory and the process, as the operating system gives them. It knows no Lua.

mod arena;
mod blocks;
mod headroom;
mod pages;
mod pin;
mod spare;

pub use arena::Arena;
pub use blocks::cache_pages;
pub use headroom::{LITTLE, put_aside, with_headroom};
pub use pages::{LARGE, expect_filling, release_stack, trim_allocator};
#[cfg(unix)]
pub use pin::at_fork;
pub use pin::pin;
