//! The options of a job and its list of tasks.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|input: &[u8]| -> Corpus {
    if gma2workers::fuzzing::options(input) { Corpus::Keep } else { Corpus::Reject }
});
