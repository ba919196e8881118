//! What decides soonest whether a heap is right, in one binary and nearly in order of speed: for `scripts/mutants.sh`, which
//! links it once for every change. All of it also runs, with more cases, as the tests it is taken from, so that
//! `cargo test` leaves it out.

#[path = "../../../evenfit/tests/check.rs"]
mod b_check;
#[path = "../../../evenfit/tests/edges.rs"]
mod b_edges;
#[path = "../../../evenfit/tests/misuse.rs"]
mod b_misuse;
#[path = "../../../evenfit/tests/observe.rs"]
mod b_observe;
#[path = "../../../evenfit/tests/shared_heap.rs"]
mod b_shared_heap;
#[path = "../../../evenfit/tests/slabs.rs"]
mod b_slabs;
#[path = "../../../evenfit/tests/utilisation.rs"]
mod b_utilisation;
#[path = "../../../evenfit/tests/late_writes.rs"]
mod e_late_writes;

/// Tests run in the order of their names.
mod a_first {
    /// One failure decides.
    #[test]
    fn the_first_failure_ends_the_run() {
        std::panic::set_hook(Box::new(|info| {
            eprintln!("{info}");
            std::process::exit(101);
        }));
    }
}

/// The fuzzer's seeds, and random bytes, for the targets that are about one heap.
mod c_operations {
    use std::path::Path;

    use evenfit_verify::endurance::Random;
    use evenfit_verify::fuzz::TARGETS;

    const HEAPS: [&str; 5] = ["blocks", "slabs", "compact", "late_writer", "garbage"];

    #[test]
    fn seeds() {
        for &(name, target) in TARGETS.iter().filter(|(name, _)| HEAPS.contains(name)) {
            let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
            let entries = std::fs::read_dir(directory.join(name)).expect("seeds are kept");
            for entry in entries {
                let path = entry.expect("a readable directory").path();
                target(&std::fs::read(path).expect("a readable seed"));
            }
        }
    }

    #[test]
    fn random_bytes() {
        let mut random = Random::new(23);
        for case in 0..150 {
            for &(_, target) in TARGETS.iter().filter(|(name, _)| HEAPS.contains(name)) {
                let len = 40 + random.below(if case % 8 == 0 { 4000 } else { 600 });
                let bytes: Vec<u8> = (0..len).map(|_| random.number() as u8).collect();
                target(&bytes);
            }
        }
    }
}

/// Every state of small pools, small enough for this.
mod d_exhaustive {
    use evenfit_verify::exhaustive::{Plan, explore};
    use evenfit_verify::subject::{AlignedBlocks, Blocks, CompactBlocks, Slabs, WideSlabs};

    #[test]
    fn every_size() {
        for granules in 2..=8 {
            explore::<Blocks>(&Plan::every_size(granules));
            explore::<CompactBlocks>(&Plan::every_size(granules));
            explore::<AlignedBlocks>(&Plan::every_size(2 * granules - 2));
        }
    }

    #[test]
    fn long_blocks() {
        for (unit, count) in [(33, 4), (64, 4), (130, 4)] {
            explore::<Blocks>(&Plan::scaled(unit, count));
            explore::<CompactBlocks>(&Plan::scaled(unit, count));
        }
        explore::<Blocks>(&Plan::ragged(64, 4, 150));
        explore::<CompactBlocks>(&Plan::ragged(31, 4, 150));
    }

    #[test]
    fn one_slab_and_the_blocks_around_it() {
        explore::<Slabs>(&Plan::slabs::<Slabs>(1, 250));
        explore::<WideSlabs>(&Plan::kept_slots::<WideSlabs>(1, 250));
    }
}
