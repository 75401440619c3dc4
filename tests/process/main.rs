//! Process-level tests. Each case runs a fresh `lua5.3`, or the interpreter that LUA names, and checks its exit code,
//! output and signals.
//!
//! They run the module in `target/PROFILE/lua` of their own profile, which `scripts/build PROFILE` puts
//! there.
#![cfg(target_os = "linux")]

mod bars;
mod dropped;
mod early;
mod embedding;
mod ending;
mod endurance;
mod errors;
mod faults;
mod host_faults;
mod idle;
mod interrupts;
mod loading;
mod memory;
mod process_wide;
mod proportion;
mod resources;
mod stack;
mod stdin;
mod stuck;
mod support;
mod thread_faults;
