//! The operation bound: counts every operation in the states that cost it most
//! (`evenfit_verify::states`), and compares with the tables in `docs/bounds.md` for the `opt-level`
//! of this build.
//!
//! ```sh
//! alias bound="cargo test --release -p evenfit-verify --no-default-features --features stepping \
//!     --test operation_bound"
//! bound                     # some 100,000 states
//! bound -- --ignored        # millions
//! CARGO_PROFILE_RELEASE_OPT_LEVEL=s ...    # optimised for size, or z
//! EVENFIT_WRITE_BOUNDS=1 ...               # writes the tables instead
//! EVENFIT_BREAKDOWN=1 ... --nocapture      # the instructions by source line
//! ```
//! Without `--release` only the cost among holes is tested.
#![cfg(all(feature = "stepping", target_arch = "x86_64", target_os = "linux"))]

use std::collections::BTreeMap;

use evenfit::{Aligned, BlocksOnly, Compact, Standard, Tiers, Wide, WithSlabs};
use evenfit_verify::states::table::{Figure, differences, updated};
use evenfit_verify::states::{Block, Cost, Effort, Key, Memory, Mosts, Probe, Record, World, all};
use evenfit_verify::stepping::{Stepper, Translator, breakdown};

const OPT_LEVEL: &str = env!("EVENFIT_OPT_LEVEL");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/bounds.md");

/// How often an instruction of a call is executed at most, as a function may be called by several
/// parts of an operation. Optimised for size, the smallest functions aren't inlined.
fn turns_max() -> usize {
    if OPT_LEVEL == "3" { 12 } else { 24 }
}

/// The part of the tables' figures that many states must reach: the code may have improved a little
/// since they were written.
const MANY_REACH_PERCENT: u64 = 90;

/// Counts by copies, which is fast, and steps in the worst states.
struct Steps {
    translator: Translator,
    stepper: Stepper,
    is_stepping: bool,
    addresses: Vec<usize>,
    most: BTreeMap<Key, Vec<usize>>,
}

impl Probe for Steps {
    fn count<T>(&mut self, operation: impl FnOnce() -> T) -> (T, Cost) {
        if !self.is_stepping {
            let (result, instructions) = self.translator.count(operation);
            let cost = Cost { instructions, ..Cost::default() };
            return (result, cost);
        }
        let (result, trace) = self.stepper.trace(operation);
        let cost = Cost {
            instructions: trace.count.own,
            lines: trace.data_lines(),
            turns: trace.repeats_max(),
        };
        self.addresses = trace.addresses().to_vec();
        (result, cost)
    }

    fn is_most(&mut self, key: Key) {
        let addresses =
            if self.is_stepping { self.addresses.clone() } else { self.translator.addresses() };
        self.most.insert(key, addresses);
    }

    fn count_all(&mut self, all: bool) {
        self.is_stepping = all;
    }
}

/// Counts in all kinds of pools.
fn counted(effort: Effort) -> Record<Steps> {
    let mut record = Record::new(Steps {
        translator: Translator::new(),
        stepper: Stepper::new(),
        is_stepping: false,
        addresses: Vec::new(),
        most: BTreeMap::new(),
    });
    all::<BlocksOnly, Standard, _>(&mut record, "blocks only", effort);
    all::<WithSlabs, Standard, _>(&mut record, "with slabs", effort);
    all::<WithSlabs, Aligned, _>(&mut record, "Aligned, slabs", effort);
    all::<WithSlabs, Wide, _>(&mut record, "Wide, slabs", effort);
    all::<BlocksOnly, Compact, _>(&mut record, "Compact", effort);
    record
}

/// Compares the counts with the tables, or writes the tables. Few states need to reach only a part
/// of the figures, `reached_percent`, and are too few for cache lines.
fn compare_or_write(effort: Effort, reached_percent: u64) {
    let begin = std::time::Instant::now();
    let record = counted(effort);
    println!("{} states, {:?}, opt-level {OPT_LEVEL}", record.states(), begin.elapsed());
    print(&record);
    let most = record.by_operation();
    let turns = most.values().map(|most| most.cost.turns).max();
    assert!(turns <= Some(turns_max()), "{turns:?} turns");
    if std::env::var_os("EVENFIT_WRITE_BOUNDS").is_some() {
        write(&most);
    } else {
        compare(&most, reached_percent);
    }
}

/// The tables of this build, with their figures.
fn tables() -> Vec<(String, Figure)> {
    let mut tables = vec![(format!("x86-64 at {OPT_LEVEL}"), Figure::Instructions)];
    if OPT_LEVEL == "3" {
        tables.push(("cache lines".to_string(), Figure::Lines));
    }
    tables
}

fn write(most: &Mosts) {
    let mut page = std::fs::read_to_string(PAGE).expect("docs/bounds.md");
    for (name, figure) in tables() {
        page = updated(&page, &name, most, figure).expect("the page has the table");
    }
    std::fs::write(PAGE, page).expect("docs/bounds.md is written");
}

fn compare(most: &Mosts, reached_percent: u64) {
    let page = std::fs::read_to_string(PAGE).expect("docs/bounds.md");
    let is_compared =
        |figure| figure == Figure::Instructions || reached_percent == MANY_REACH_PERCENT;
    let compared = tables().into_iter().filter(|(_, figure)| is_compared(*figure));
    let different: Vec<String> = compared
        .flat_map(|(name, figure)| differences(most, &page, &name, figure, reached_percent))
        .collect();
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// Prints the worst state of each family and operation; on request also its instructions by line,
/// and the lines that no state executes.
fn print(record: &Record<Steps>) {
    println!(
        "| operation | tier | states | instructions | turns | the worst |\n|---|---|---|--:|--:|---|"
    );
    for ((tier, operation, family), most) in record.by_family() {
        let Cost { instructions, turns, .. } = most.cost;
        println!("| {operation} | {tier} | {family} | {instructions} | {turns} | {} |", most.state);
    }
    if std::env::var_os("EVENFIT_BREAKDOWN").is_none() {
        return;
    }
    for (key, most) in record.by_family() {
        let lines = breakdown::lines(&record.probe().most[key]).expect("addr2line");
        let (tier, operation, family) = key;
        let instructions = most.cost.instructions;
        println!("\n## {operation}, {tier}, {family}: {instructions}\n```\n{lines}```");
    }
    let executed = record.probe().translator.all_addresses();
    let unreached = breakdown::unreached(&executed, "evenfit::").expect("nm and addr2line");
    println!("Not executed in any state:\n{unreached}");
}

/// The variable's number, if it is set.
fn number(name: &str, otherwise: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.map_or(otherwise, |number| number.parse().expect(name))
}

fn effort(samples: u64, climbs: u64) -> Effort {
    Effort { samples: number("EVENFIT_SAMPLES", samples), climbs: number("EVENFIT_CLIMBS", climbs) }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "the bound is that of an optimised build: --release")]
fn no_operation_exceeds_its_bound() {
    compare_or_write(effort(100, 20), 66);
}

#[test]
#[ignore = "millions of states: minutes"]
fn no_operation_exceeds_its_bound_in_any_of_many_states() {
    compare_or_write(effort(20_000, 300), MANY_REACH_PERCENT);
}

/// One request and one free among `holes` holes, in a pool of `granules`.
fn among_holes<T: Tiers>(stepper: &mut Stepper, granules: usize, holes: usize) -> [u64; 2] {
    let mut memory = Memory::large::<Standard>(granules).expect("memory");
    let mut world = World::<T, Standard>::new(&mut memory);
    // Every hole has 80 granules, and so have the blocks that are freed and asked for; with what
    // keeps them apart they make 256, so that each lies in the same place of a word of the map.
    let mut apart = |_| {
        let block = world.block(80);
        world.block(176);
        block
    };
    let blocks: Vec<Block> = (0..holes + 3).map(&mut apart).collect();
    blocks[..holes].iter().for_each(|&block| world.free(block));
    let Block { ptr, layout } = blocks[holes + 1];
    let heap = world.heap();
    // SAFETY: the block is live and not used again.
    let (freed, free) = stepper.count(|| unsafe { heap.try_deallocate(ptr, layout) });
    freed.expect("a live block");
    let (allocated, allocate) = stepper.count(|| heap.allocate(layout));
    allocated.expect("there are holes");
    [free.own, allocate.own]
}

fn does_not_grow<T: Tiers>() {
    let mut stepper = Stepper::new();
    let kib = 1024 / 8;
    let first = among_holes::<T>(&mut stepper, 256 * kib, 100);
    // What takes long without optimisation is left to the optimised build.
    let many = if cfg!(debug_assertions) { 10_000 } else { 100_000 };
    for (granules, holes) in [(32 << 10, 8_000), (256 << 10, many), (1 << 20, 100), (1 << 20, many)]
    {
        let other = among_holes::<T>(&mut stepper, granules * kib, holes);
        assert_eq!(other, first, "{holes} holes in {granules} KiB");
    }
}

#[test]
fn cost_does_not_grow_with_holes_or_pool() {
    does_not_grow::<BlocksOnly>();
    does_not_grow::<WithSlabs>();
}
