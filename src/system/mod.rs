//! The second unsafe fence: memory and process facilities of the operating system. It knows no Lua.
//!
//! | file | job |
//! |---|---|
//! | `arena` | the memory of one Lua state, with snapshots |
//! | `page_buffer` | the bytes of a snapshot |
//! | `spare` | this library's allocator, with memory for when the system has none |
//! | `headroom` | memory that tasks can't take |
//! | `blocks` | blocks from the system; large ones are pages, and go back to it |
//! | `pages` | advice about pages |
//! | `pin` | staying loaded, and noticing forks |

mod arena;
mod blocks;
mod headroom;
mod page_buffer;
mod pages;
mod pin;
mod spare;

pub use arena::Arena;
pub use blocks::{cache_pages, trim_allocator};
pub use headroom::{LITTLE, put_aside, with_headroom};
pub use pages::{LARGE, expect_filling, release_stack};
#[cfg(unix)]
pub use pin::at_fork;
pub use pin::pin;
