//! Every reachable state of small pools. `EVENFIT_GRANULES=12` visits larger ones.

use evenfit_verify::Subject;
use evenfit_verify::exhaustive::{Plan, explore};
use evenfit_verify::subject::{
    AlignedBlocks, AlignedSlabs, Blocks, CompactBlocks, GRANULES_MIN, Slabs, WideBlocks, WideSlabs,
};

fn every_state_up_to<S: Subject>(granules_max: usize) {
    let granules_max = match std::env::var("EVENFIT_GRANULES") {
        Ok(said) => said.parse().expect("EVENFIT_GRANULES is a number of granules"),
        Err(_) => granules_max,
    };
    let step = S::RULES.align_bytes / S::GRANULE_BYTES;
    let min = GRANULES_MIN.next_multiple_of(step);
    for granules in (min..=granules_max).step_by(step) {
        let report = explore::<S>(&Plan::every_size(granules));
        println!("{} of {granules} granules: {report:?}", S::NAME);
        assert!(report.complete);
    }
}

#[test]
fn standard() {
    every_state_up_to::<Blocks>(13);
}

#[test]
fn aligned() {
    every_state_up_to::<AlignedBlocks>(16);
}

#[test]
fn wide() {
    every_state_up_to::<WideBlocks>(13);
}

#[test]
fn compact() {
    every_state_up_to::<CompactBlocks>(13);
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
fn long_blocks_aligned() {
    for (unit, count) in [(32, 5), (64, 5), (130, 5)] {
        assert!(explore::<AlignedBlocks>(&Plan::scaled(unit, count)).complete);
    }
}

#[test]
fn long_blocks_wide() {
    long_blocks::<WideBlocks>();
}

#[test]
fn long_blocks_compact() {
    long_blocks::<CompactBlocks>();
}

fn one_slab_and_the_blocks_around_it<S: Subject>() {
    let report = explore::<S>(&Plan::slabs::<S>(1, 3000));
    println!("{}: one slab and a half: {report:?}", S::NAME);
    assert!(report.states > 1000, "{report:?}");
    let report = explore::<S>(&Plan::kept_slots::<S>(1, 1000));
    println!("{}: slabs of two classes: {report:?}", S::NAME);
    assert!(report.states > 1000, "{report:?}");
}

#[test]
fn one_slab_and_the_blocks_around_it_standard() {
    one_slab_and_the_blocks_around_it::<Slabs>();
}

#[test]
fn one_slab_and_the_blocks_around_it_aligned() {
    one_slab_and_the_blocks_around_it::<AlignedSlabs>();
}

#[test]
fn one_slab_and_the_blocks_around_it_wide() {
    one_slab_and_the_blocks_around_it::<WideSlabs>();
}
