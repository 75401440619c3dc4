//! Makes the seeds in `corpus` from real messages. Run it when their layout has changed.

use std::fs;
use std::path::Path;

fn main() {
    for (target, name, input) in gma2workers::fuzzing::seeds(include_str!("seeds.lua")) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        fs::create_dir_all(&folder).expect("a folder for the seeds");
        fs::write(folder.join(name), input).expect("a seed");
    }
}
