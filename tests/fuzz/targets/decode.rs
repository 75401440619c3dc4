//! Messages between two states.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| gma2workers::fuzzing::decode(input));
