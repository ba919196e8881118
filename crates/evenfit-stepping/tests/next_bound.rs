//! The operation bound of the new core: prints the most instructions of each operation, and the state that reaches it; then
//! which instructions no state has reached.
//!
//! ```sh
//! cargo test --release -p evenfit-stepping --test next_bound -- --nocapture            # 100,000 states: seconds
//! cargo test --release -p evenfit-stepping --test next_bound -- --nocapture --ignored  # millions, and other geometries
//! EVENFIT_BREAKDOWN=1 ...                                                              # where they go, by line
//! CARGO_PROFILE_RELEASE_OPT_LEVEL=s ...                                                # optimised for size
//! ```
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::collections::BTreeMap;

use evenfit::next::{Aligned, BlocksOnly, Compact, Standard, Wide, WithSlabs};
use evenfit_states::next::{Effort, Key, Record, all};
use evenfit_states::{Cost, Probe};
use evenfit_stepping::{Stepper, Translator, breakdown};

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
            let cost = Cost {
                instructions,
                ..Cost::default()
            };
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
        let addresses = if self.is_stepping {
            self.addresses.clone()
        } else {
            self.translator.addresses()
        };
        self.most.insert(key, addresses);
    }

    fn count_all(&mut self, all: bool) {
        self.is_stepping = all;
    }
}

/// Counts in these pools, and prints what was the most.
fn count(pools: impl FnOnce(&mut Record<Steps>)) {
    let mut record = Record::new(Steps {
        translator: Translator::new(),
        stepper: Stepper::new(),
        is_stepping: false,
        addresses: Vec::new(),
        most: BTreeMap::new(),
    });
    let begin = std::time::Instant::now();
    pools(&mut record);
    println!("{} states, {:?}", record.states(), begin.elapsed());
    print(&record);
    let executed = record.probe().translator.all_addresses();
    let unreached = breakdown::unreached(&executed, "evenfit::").expect("nm and addr2line");
    println!("Not executed in any state:\n{unreached}");
}

fn print(record: &Record<Steps>) {
    println!("| operation | tier | instructions | cache lines | turns |");
    println!("|---|---|--:|--:|--:|");
    for ((tier, operation), most) in record.by_operation() {
        let Cost {
            instructions,
            lines,
            turns,
        } = most.cost;
        println!("| {operation} | {tier} | {instructions} | {lines} | {turns} |");
    }
    println!("\n| operation | tier | states | instructions | the worst |\n|---|---|---|--:|---|");
    for ((tier, operation, family), most) in record.by_family() {
        let instructions = most.cost.instructions;
        println!(
            "| {operation} | {tier} | {family} | {instructions} | {} |",
            most.state
        );
    }
    if std::env::var_os("EVENFIT_BREAKDOWN").is_some() {
        for (key, most) in record.by_family() {
            let lines = breakdown::lines(&record.probe().most[key]).expect("addr2line");
            let (tier, operation, family) = key;
            let instructions = most.cost.instructions;
            println!("\n## {operation}, {tier}, {family}: {instructions}\n```\n{lines}```");
        }
    }
}

/// The variable's number, if it is set.
fn number(name: &str, otherwise: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.map_or(otherwise, |number| number.parse().expect(name))
}

fn effort(samples: u64, climbs: u64) -> Effort {
    Effort {
        samples: number("EVENFIT_SAMPLES", samples),
        climbs: number("EVENFIT_CLIMBS", climbs),
    }
}

fn standard(effort: Effort) {
    count(|record| {
        all::<BlocksOnly, Standard, _>(record, "blocks only", effort);
        all::<WithSlabs, Standard, _>(record, "with slabs", effort);
    });
}

#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "the bound is that of an optimised build: --release"
)]
fn the_worst_states() {
    standard(effort(100, 20));
}

#[test]
#[ignore = "millions of states: a minute or more"]
fn the_worst_of_many_states() {
    standard(effort(20_000, 300));
}

#[test]
#[ignore = "half a minute"]
fn the_worst_states_of_other_geometries() {
    let effort = effort(100, 20);
    count(|record| {
        all::<BlocksOnly, Aligned, _>(record, "Aligned, blocks only", effort);
        all::<WithSlabs, Aligned, _>(record, "Aligned, with slabs", effort);
        all::<BlocksOnly, Wide, _>(record, "Wide, blocks only", effort);
        all::<WithSlabs, Wide, _>(record, "Wide, with slabs", effort);
        all::<BlocksOnly, Compact, _>(record, "Compact", effort);
    });
}
