//! Values and functions on their way between two states.
//!
//! | file | job |
//! |---|---|
//! | `encode` | writes a message from a stack |
//! | `decode` | reads one onto a stack |
//! | `wire` | the layout of a message |
//! | `policy` | which values may cross, and under which names |
//! | `frame` | the encoder's position in a value, and the paths and names that come of it |
//! | `keys` | numbers the keys that repeat |
//! | `identity_map` | numbers tables, functions and long texts, to find those that repeat |
//! | `buffer` | the buffer that messages are written into, with a limit |

mod buffer;
mod decode;
mod encode;
mod frame;
mod identity_map;
mod keys;
mod policy;
#[cfg(all(test, feature = "linked"))]
mod roundtrip;
// Public for the fuzz targets, which write messages of their own.
pub mod wire;

pub use decode::{Decoder, Resolve, decode, decode_initial, decode_scalars};
pub use encode::{Encoder, encode, encode_counted};
pub use frame::{Path, without_arguments};
pub use policy::{Functions, Names, Policy, Upvalues};
pub use wire::{GMA, Reader, SEPARATOR, bytecode};
