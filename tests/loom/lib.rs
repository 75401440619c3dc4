//! The library's modules in which threads meet: the mailbox, the seat with its running coroutine, the idle queue,
//! the pinned texts, and the arguments that reach a worker in blocks.
//!
//! They are its own files. Here they are compiled with another `sync`, so that loom sees and orders every step of theirs, and
//! with coroutines that are no Lua. `src/waiting.md` says what has to hold of them, and why.

pub mod ffi;
pub mod sync;

/// A host call's error, of which the mailbox knows only that it may be an answer.
pub mod error {
    #[derive(Debug)]
    pub struct Error;
}

/// No thread tells how long it has run.
pub mod system {
    #[derive(Debug, Default)]
    pub struct ThreadState;

    impl ThreadState {
        pub fn enter(&self) {}

        pub fn runnable_time(&self) -> Option<u64> {
            None
        }
    }
}

/// No point fails.
pub mod fault {
    pub fn point(_: &str) -> Result<(), ()> {
        Ok(())
    }
}

#[path = "../../src/argument_stream.rs"]
pub mod argument_stream;
#[path = "../../src/bit_lock.rs"]
pub mod bit_lock;
#[path = "../../src/idle_queue.rs"]
pub mod idle_queue;
#[path = "../../src/mailbox.rs"]
pub mod mailbox;
#[path = "../../src/pinned.rs"]
pub mod pinned;
#[path = "../../src/seat.rs"]
pub mod seat;
