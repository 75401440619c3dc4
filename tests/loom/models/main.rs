//! What has to hold in every order of the threads' steps. See `src/waiting.md`.

mod argument_stream;
mod idle_queue;
mod mailbox;
mod pinned;
mod seat;
