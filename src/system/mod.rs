//! The second unsafe fence: memory and process facilities of the operating system. It knows no Lua.
//!
//! | file | job |
//! |---|---|
//! | `arena` | the allocator of one Lua state, and snapshots of its memory (`arena/snapshot`) |
//! | `page_buffer` | the buffer of a snapshot |
//! | `image` | pages of a snapshot, of which only those that were written are restored |
//! | `spare` | the global allocator of this library, with a spare area for when the system has no memory |
//! | `headroom` | reserved memory, released when a task has used up the rest |
//! | `blocks` | the system's allocator, with large blocks as cached pages |
//! | `pages` | huge pages, and the release of unused stack |
//! | `interruption` | runs a function in the middle of another thread's work; for Lua 5.4 |
//! | `thread_state` | whether a thread runs or waits, for other threads |
//! | `process` | keeps the library loaded, and notices forks |

mod arena;
mod blocks;
mod headroom;
mod image;
#[cfg(feature = "lua54")]
mod interruption;
mod page_buffer;
mod pages;
mod process;
mod spare;
mod thread_state;

pub use arena::Arena;
pub use blocks::{cache_pages, trim_allocator};
pub use headroom::{LITTLE, put_aside, with_headroom};
#[cfg(feature = "lua54")]
pub use interruption::Thread;
pub use pages::{LARGE, expect_filling, release_stack};
#[cfg(unix)]
pub use process::at_fork;
pub use process::keep_loaded;
pub use thread_state::ThreadState;
#[cfg(all(test, target_os = "linux"))]
pub use thread_state::{Share, share_one_processor};
