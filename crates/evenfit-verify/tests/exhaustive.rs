//! Every reachable state of small pools. `EVENFIT_GRANULES=12` visits larger ones.

use evenfit_verify::Subject;
use evenfit_verify::exhaustive::{Plan, explore};
use evenfit_verify::subject::{Blocks, CompactBlocks, Slabs};

fn every_state_up_to<S: Subject>(granules_max: usize) {
    let granules_max = match std::env::var("EVENFIT_GRANULES") {
        Ok(said) => said
            .parse()
            .expect("EVENFIT_GRANULES is a number of granules"),
        Err(_) => granules_max,
    };
    for granules in 1..=granules_max {
        let report = explore::<S>(&Plan::every_size(granules));
        println!("{} of {granules} granules: {report:?}", S::NAME);
        assert!(report.complete);
    }
}

#[test]
fn standard() {
    every_state_up_to::<Blocks>(9);
}

#[test]
fn compact() {
    every_state_up_to::<CompactBlocks>(9);
}

fn long_blocks<S: Subject>() {
    for (unit, count) in [(33, 5), (64, 5), (130, 5)] {
        let report = explore::<S>(&Plan::scaled(unit, count));
        println!("{} of {count} times {unit} granules: {report:?}", S::NAME);
        assert!(report.complete);
    }
    for unit in [31, 64] {
        let report = explore::<S>(&Plan::ragged(unit, 4, 1500));
        println!("{} around {unit} granules: {report:?}", S::NAME);
    }
}

#[test]
fn long_blocks_standard() {
    long_blocks::<Blocks>();
}

#[test]
fn long_blocks_compact() {
    long_blocks::<CompactBlocks>();
}

#[test]
fn one_slab_and_the_blocks_around_it() {
    let report = explore::<Slabs>(&Plan::slabs(1, 3000));
    println!("one slab and a half: {report:?}");
    assert!(report.states > 1000, "{report:?}");
}
