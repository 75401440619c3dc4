//! Encodes values and functions into messages between two states, and decodes them.
//!
//! | file | job |
//! |---|---|
//! | `encode` | writes a message from a stack |
//! | `scalars` | writes a message of a few numbers and the like |
//! | `decode` | reads a message onto a stack |
//! | `wire` | the layout of a message |
//! | `policy` | which values may cross, and under which names functions do |
//! | `frame` | the encoder's position in a value, from which paths and names are made |
//! | `captures` | what functions have captured, judged as a whole |
//! | `keys` | numbers repeated keys, to write them as one byte |
//! | `identity_map` | numbers tables, functions and long texts, to find repeated ones |
//! | `common` | values that several tasks of a job have: each is written once |
//! | `buffer` | the buffer that messages are written into, with a limit |
//! | `roundtrip` | property tests of encoding and decoding |

mod buffer;
mod captures;
mod common;
mod decode;
mod encode;
mod frame;
mod identity_map;
mod keys;
mod policy;
#[cfg(all(test, feature = "linked"))]
mod roundtrip;
mod scalars;
// Public for the fuzz targets, which write their own messages.
pub mod wire;

pub use common::Common;
pub use decode::blocks::{Begun, feed, feed_arguments};
pub use decode::{
    Decoder, Pinned, Resolve, decode, decode_arguments, decode_common, decode_initial, decode_scalars,
};
pub use encode::Encoder;
pub use encode::blocks::Blocks;
pub use encode::calls::{encode, encode_counted, encode_in_blocks};
pub use encode::common::identity;
pub use frame::{Path, hiding, of_init, without_arguments};
pub use policy::{Functions, Libraries, Names, Policy, Upvalues};
pub use scalars::encode_scalars;
pub use wire::{GMA, HOST, MODULE, SEPARATOR, bytecode, is_rest};
