//! The operation bound of the new core.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::collections::BTreeMap;

use evenfit::next::{BlocksOnly, Standard, WithSlabs};
use evenfit_states::next::{Effort, Record, all};
use evenfit_states::{Cost, Probe};
use evenfit_stepping::{Stepper, Trace, breakdown};

/// Counts by steps, and keeps what was executed where it was the most.
struct Steps {
    stepper: Stepper,
    last: Option<Trace>,
    most: BTreeMap<(&'static str, &'static str), Vec<usize>>,
}

impl Probe for Steps {
    fn count<T>(&mut self, operation: impl FnOnce() -> T) -> (T, Cost) {
        let (result, trace) = self.stepper.trace(operation);
        let cost = Cost {
            instructions: trace.count.own,
            lines: trace.data_lines(),
            turns: trace.repeats_max(),
        };
        self.last = Some(trace);
        (result, cost)
    }

    fn is_most(&mut self, tier: &'static str, operation: &'static str) {
        let addresses = self.last.as_ref().expect("counted").addresses();
        self.most.insert((tier, operation), addresses.to_vec());
    }
}

fn count(effort: Effort) {
    let mut record = Record::new(Steps {
        stepper: Stepper::new(),
        last: None,
        most: BTreeMap::new(),
    });
    let begin = std::time::Instant::now();
    all::<BlocksOnly, Standard, _>(&mut record, "blocks only", effort);
    all::<WithSlabs, Standard, _>(&mut record, "with slabs", effort);
    println!("{} states, {:?}", record.states(), begin.elapsed());
    let (mosts, steps) = record.finish();
    println!(
        "| operation | tier | instructions | cache lines | turns | state |\n|---|---|--:|--:|--:|---|"
    );
    for ((tier, operation), most) in &mosts {
        let Cost {
            instructions,
            lines,
            turns,
        } = most.cost;
        println!(
            "| {operation} | {tier} | {instructions} | {lines} | {turns} | {} |",
            most.state
        );
    }
    if std::env::var_os("EVENFIT_BREAKDOWN").is_some() {
        for (key, addresses) in &steps.most {
            let lines = breakdown::lines(addresses).expect("addr2line");
            println!(
                "\n{}, {}: {}\n```\n{lines}```",
                key.1, key.0, mosts[key].cost.instructions
            );
        }
    }
}

#[test]
fn quick() {
    count(Effort {
        combinations: 1,
        climbs: 1,
    });
}
