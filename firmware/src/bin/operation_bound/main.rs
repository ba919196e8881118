//! The operation bound on the board: the instructions of every operation in the states in which it has most to do,
//! compared with the table in `docs/bounds.md`. With the argument `table` it prints that table instead, from all
//! combinations of states.
#![no_std]
#![no_main]

mod copies;

use cortex_m_semihosting::hprintln;
use evenfit_firmware::host::{self, File};
use evenfit_firmware::instructions::Instructions;
use evenfit_firmware::oracle_memory::Psram;
use evenfit_states::table::{Columns, Mosts, differences, rendered};
use evenfit_states::{Choice, Cost, MANY, Probe, Record, SOME};
use panic_semihosting as _;

#[global_allocator]
static STATES_MEMORY: Psram = Psram::new();

const PAGE: &str = include_str!("../../../../docs/bounds.md");
const STANDARD: [&str; 2] = ["Standard, blocks only", "Standard, with slabs"];
const COMPACT: &str = "Compact";

struct Clock(Instructions);

impl Probe for Clock {
    fn count<T>(&mut self, operation: impl FnOnce() -> T) -> (T, Cost) {
        let copied = copies::instructions();
        let (result, instructions) = self.0.count(operation);
        let copied = copies::instructions().wrapping_sub(copied);
        let cost = Cost {
            instructions: u64::from(instructions - copied),
            ..Cost::default()
        };
        (result, cost)
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    let mut line = [0; 256];
    let file = host::command_line(&mut line).split_whitespace().nth(1);
    let timer = cortex_m::Peripherals::take().expect("taken once").SYST;
    let mut clock = Clock(Instructions::new(timer));
    if !clock.0.are_exact() {
        hprintln!("run me with -icount shift=10: instructions can't be counted here");
        host::exit(false);
    }
    match file {
        Some(name) => host::exit(write(&counted(clock, &MANY), name)),
        None => host::exit(compare(&counted(clock, &SOME))),
    }
}

fn counted(clock: Clock, choice: &Choice) -> Mosts {
    let mut record = Record::new(clock);
    evenfit_states::standard(&mut record, STANDARD, choice);
    evenfit_states::compact(&mut record, COMPACT, choice);
    record.finish()
}

fn write(most: &Mosts, name: &str) -> bool {
    let tiers = [STANDARD[0], STANDARD[1], COMPACT];
    let page = rendered(most, &tiers, Columns::Instructions);
    let Some(mut file) = File::create(name) else {
        hprintln!("can't write {}", name);
        return false;
    };
    file.write(page.as_bytes());
    file.close()
}

fn compare(most: &Mosts) -> bool {
    for ((tier, operation), most) in most {
        hprintln!("{:21} {:21} {}", tier, operation, most.cost.instructions);
    }
    let differences = differences(most, PAGE, "cortex-m4", Columns::Instructions);
    for difference in &differences {
        hprintln!("{}", difference);
    }
    differences.is_empty()
}
