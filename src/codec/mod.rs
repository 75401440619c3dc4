//! Values and functions on their way between two states.
//!
//! | file | job |
//! |---|---|
//! | `encode` | writes a message from a stack |
//! | `decode` | reads one onto a stack |
//! | `wire` | the layout of a message |
//! | `policy` | which values may cross, and under which names |
//! | `frame` | where a walk over a value is |
//! | `keys` | the keys that a message holds already |
//! | `seen` | the tables and long texts that a message holds already |
//! | `outgoing` | the bytes of a message while it is written |

mod decode;
mod encode;
mod frame;
mod keys;
mod outgoing;
mod policy;
#[cfg(all(test, feature = "linked"))]
mod roundtrip;
mod seen;
mod wire;

pub use decode::{Decoder, Resolve, decode, decode_scalars, furnish};
pub use encode::{Encoder, encode, encode_counted};
pub use frame::{Path, without_arguments};
pub use policy::{Functions, Names, Policy, Upvalues};
pub use wire::{GMA, Reader, SEPARATOR, bytecode};
