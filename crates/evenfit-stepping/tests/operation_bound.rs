//! The operation bound: steps every operation in the states in which it has most to do (`evenfit-states`), and compares
//! with the table in `docs/bounds.md`. With `EVENFIT_WRITE_BOUNDS=1` it writes that table instead.
//!
//! `--ignored` tries tens of thousands of combinations; the ordinary test a choice of them that holds the worst.
//! Without `--release` only the cost among holes is tried.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use evenfit::{Standard, Tiers};
use evenfit_states::table::{self, Columns};
use evenfit_states::{Block, Choice, Cost, FEW, MANY, Probe, Record, World};
use evenfit_stepping::Stepper;

/// The table's name, and its kinds of pool.
const TABLE: &str = "x86-64";
const TIERS: [&str; 2] = ["blocks only", "with slabs"];

struct Steps(Stepper);

impl Probe for Steps {
    fn count<T>(&mut self, operation: impl FnOnce() -> T) -> (T, Cost) {
        let (result, trace) = self.0.trace(operation);
        let cost = Cost {
            instructions: trace.count.own,
            lines: trace.data_lines(),
            turns: trace.repeats_max(),
        };
        (result, cost)
    }
}

fn compare_or_write(choice: &Choice) {
    let mut record = Record::new(Steps(Stepper::new()));
    evenfit_states::standard(&mut record, TIERS, choice);
    let most = record.finish();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/bounds.md");
    let page = std::fs::read_to_string(path).expect("docs/bounds.md");
    let counted = table::rendered(&most, &TIERS, Columns::All);
    println!("{counted}");
    if std::env::var_os("EVENFIT_WRITE_BOUNDS").is_some() {
        let page = table::replaced(&page, TABLE, &counted).expect("the page has the table");
        std::fs::write(path, page).expect("docs/bounds.md is written");
        return;
    }
    let differences = table::differences(&most, &page, TABLE, Columns::All);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "the bound is that of an optimised build: --release"
)]
fn no_operation_exceeds_its_bound() {
    compare_or_write(&FEW);
}

#[test]
#[ignore = "tens of thousands of states: minutes"]
fn no_operation_exceeds_its_bound_in_any_combination() {
    compare_or_write(&MANY);
}

/// One request and one free among `holes` holes, in a pool of `len_bytes`.
fn among_holes(stepper: &mut Stepper, len_bytes: usize, holes: usize, tiers: Tiers) -> [u64; 2] {
    let mut world = World::<Standard>::new(len_bytes, tiers);
    // Every hole has 40 granules, and so have the blocks that are freed and asked for; with what keeps them apart they
    // make 128, so that each lies in the same place of a pair of map words.
    let mut apart = |_| {
        let block = world.granules(40);
        world.granules(88);
        block
    };
    let blocks: Vec<Block> = (0..holes + 3).map(&mut apart).collect();
    blocks[..holes].iter().for_each(|&block| world.free(block));
    let Block { ptr, layout } = blocks[holes + 1];
    let heap = world.heap();
    // SAFETY: the block is live and not used again.
    let (freed, free) = stepper.count(|| unsafe { heap.try_deallocate(ptr, layout) });
    freed.expect("a live block");
    let (taken, allocate) = stepper.count(|| heap.allocate(layout));
    taken.expect("there are holes");
    [free.own, allocate.own]
}

#[test]
fn cost_does_not_grow_with_holes_or_pool() {
    let mut stepper = Stepper::new();
    for tiers in [Tiers::BlocksOnly, Tiers::WithSlabs] {
        let first = among_holes(&mut stepper, 256 << 10, 100, tiers);
        // What takes long without optimisation is left to the optimised build.
        let many = if cfg!(debug_assertions) {
            10_000
        } else {
            100_000
        };
        for (len_bytes, holes) in [
            (32 << 20, 8_000),
            (256 << 20, many),
            (1 << 30, 100),
            (1 << 30, many),
        ] {
            let other = among_holes(&mut stepper, len_bytes, holes, tiers);
            assert_eq!(
                other, first,
                "{holes} holes in {len_bytes} bytes, {tiers:?}"
            );
        }
    }
}
