//! Fuzzes the decoder with messages.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| gma2workers::fuzzing::decode(input));
