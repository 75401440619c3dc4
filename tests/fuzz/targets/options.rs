//! Fuzzes the options of a job, its list of tasks included.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|input: &[u8]| -> Corpus {
    if gma2workers::fuzzing::options(input) { Corpus::Keep } else { Corpus::Reject }
});
