//! The C library, used as C allows: any pointer, any number, null and garbage for handles.
//!
//! The library is built for C alone, so its modules are taken in here as they are. `fuzz/` runs the same function under
//! the fuzzer, as target `c`.
#![allow(dead_code, reason = "status messages are for C")]

use proptest::prelude::*;

#[path = "../src/any_heap.rs"]
mod any_heap;
#[path = "../src/control.rs"]
mod control;
#[path = "../src/observe.rs"]
mod observe;
#[path = "../src/operations.rs"]
mod operations;
#[path = "../src/options.rs"]
mod options;
#[path = "any_use/program.rs"]
mod program;
#[path = "../src/status.rs"]
mod status;

use control::HeapInMemory;
use status::Status;

#[test]
fn every_kept_seed() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/c");
    let mut tried = 0;
    for entry in std::fs::read_dir(seeds).expect("seeds are kept") {
        let path = entry.expect("a readable directory").path();
        println!("{}", path.display());
        program::run(&std::fs::read(path).expect("a readable seed"));
        tried += 1;
    }
    assert!(tried > 3);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn any_use_from_c(bytes in prop::collection::vec(any::<u8>(), 8..3000)) {
        program::run(&bytes);
    }
}
