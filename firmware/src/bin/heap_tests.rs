//! The heap against its oracles, on the board: every state of small pools, random programs and
//! misuse, late writers and garbage. The oracles are those of the ordinary tests; a fault of the
//! bus or the processor fails too.
#![no_std]
#![no_main]

use cortex_m_semihosting::hprintln;
use evenfit_firmware::{host, oracle_memory::Psram};
use evenfit_verify::exhaustive::{Plan, explore};
use evenfit_verify::hostile::Hostile;
use evenfit_verify::subject::{Blocks, CompactBlocks, Slabs};
use evenfit_verify::{Bytes, Config, Driver, Subject};
use panic_semihosting as _;

#[global_allocator]
static ORACLE_MEMORY: Psram = Psram::new();

const CASES: u32 = 300;

#[cortex_m_rt::entry]
fn main() -> ! {
    every_state::<Blocks>();
    every_state::<CompactBlocks>();
    let report = explore::<Slabs>(&Plan::slabs::<Slabs>(1, 1000));
    hprintln!("{}: {} states, {} operations", Slabs::NAME, report.states, report.transitions);
    random_programs::<Blocks>();
    random_programs::<CompactBlocks>();
    random_programs::<Slabs>();
    hostile::<Blocks>();
    hostile::<CompactBlocks>();
    hostile::<Slabs>();
    hprintln!("all good");
    host::exit(true)
}

fn every_state<S: Subject>() {
    let (mut states, mut operations) = (0, 0);
    let plans =
        (2..=10).map(Plan::every_size).chain([33, 64, 130].map(|unit| Plan::scaled(unit, 4)));
    for plan in plans {
        let report = explore::<S>(&plan);
        assert!(report.complete, "{plan:?}");
        states += report.states;
        operations += report.transitions;
    }
    hprintln!("{}: all {} states, {} operations", S::NAME, states, operations);
}

/// Scripts of random bytes: right operations and wrong ones, in regions of any length and place.
fn random_programs<S: Subject>() {
    let (mut script, mut operations) = ([0; 1500], 0);
    for case in 0..CASES {
        fill(&mut script, case);
        let mut bytes = Bytes::new(&script);
        let config = Config::decode(&mut bytes, 128 << 10);
        operations += Driver::<S>::run(config, &mut bytes);
    }
    assert!(operations > 1000);
    hprintln!("{}: {} random operations", S::NAME, operations);
}

fn hostile<S: Subject>() {
    let mut script = [0; 300];
    for case in 0..CASES {
        fill(&mut script, 1000 + case);
        let mut bytes = Bytes::new(&script);
        let config = Config::decode(&mut bytes, 16 << 10);
        Hostile::<S>::late_writer(config, &mut bytes);
        let mut bytes = Bytes::new(&script);
        let config = Config::decode(&mut bytes, 16 << 10);
        Hostile::<S>::garbage(config, &mut bytes);
    }
    hprintln!("{}: {} late writers, as many regions of garbage", S::NAME, CASES);
}

/// The same bytes for the same case on every run.
fn fill(script: &mut [u8], case: u32) {
    let mut state = (case + 1).wrapping_mul(0x9E37_79B9);
    for byte in script {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        *byte = (state >> 24) as u8;
    }
}

#[cortex_m_rt::exception]
unsafe fn HardFault(frame: &cortex_m_rt::ExceptionFrame) -> ! {
    hprintln!("fault: {:#?}", frame);
    host::exit(false)
}
