//! The C library, used as C allows, by [`evenfit_verify::c`]: the seeds that the fuzzer has kept
//! (target `c`), and random bytes.

use evenfit_verify::c::run;
use proptest::prelude::*;

#[test]
fn every_kept_seed() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/c");
    let mut tried = 0;
    for entry in std::fs::read_dir(seeds).expect("seeds are kept") {
        let path = entry.expect("a readable directory").path();
        println!("{}", path.display());
        run(&std::fs::read(path).expect("a readable seed"));
        tried += 1;
    }
    assert!(tried > 3);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn any_use_from_c(bytes in prop::collection::vec(any::<u8>(), 8..3000)) {
        run(&bytes);
    }
}
