//! The long forms of the evidence: `cargo run --release -p evenfit-verify -- --help`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::{Parser, Subcommand, ValueEnum};
use evenfit_trace::Trace;
use evenfit_verify::Subject;
use evenfit_verify::endurance::{Adversary, Tally, replay};
use evenfit_verify::exhaustive::{Plan, explore};
use evenfit_verify::subject::{Blocks, CompactBlocks, Slabs};

/// Evidence for evenfit, in the forms that take minutes or hours.
///
/// Every difference between heap and model ends the run with a panic that names it.
#[derive(Parser)]
#[command(after_help = "Example: evenfit-verify exhaustive --granules 12 --geometry both")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Visit every reachable state of a pool, and try every operation and misuse in each.
    Exhaustive {
        /// The pool's size in granules.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=24))]
        granules: u16,
        /// Make every granule this many: long blocks at the same number of states.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
        unit: u16,
        /// Which geometry.
        #[arg(long, value_enum, default_value_t = Geometries::Both)]
        geometry: Geometries,
    },
    /// Visit states of a pool with slabs of eight slots, the nearest first.
    Slabs {
        /// How many slabs the pool has room for.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=8))]
        slabs: u16,
        /// Stop after this many states, and say so.
        #[arg(long, default_value_t = 1_000_000)]
        states: usize,
    },
    /// Run recorded programs and adversaries, all contents verified.
    Endurance {
        /// How many operations in all.
        #[arg(long, default_value_t = 1_000_000_000)]
        operations: u64,
        /// Recorded programs (.evt); half of the operations are theirs.
        #[arg(long, num_args = 0..)]
        traces: Vec<PathBuf>,
        /// Names the run's random numbers.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many threads, each with pools of its own.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
        threads: u16,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Geometries {
    Standard,
    Compact,
    Both,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Exhaustive {
            granules,
            unit,
            geometry,
        } => {
            if geometry != Geometries::Compact {
                visit::<Blocks>(granules.into(), unit.into());
            }
            if geometry != Geometries::Standard {
                visit::<CompactBlocks>(granules.into(), unit.into());
            }
            ExitCode::SUCCESS
        }
        Command::Slabs { slabs, states } => {
            visit_plan::<Slabs>(
                &Plan::slabs::<Slabs>(slabs.into(), states),
                "slabs of 8 slots",
            );
            ExitCode::SUCCESS
        }
        Command::Endurance {
            operations,
            traces,
            seed,
            threads,
        } => {
            let mut opened = Vec::new();
            for path in traces {
                match Trace::open(&path) {
                    Ok(trace) => opened.push(trace),
                    Err(error) => {
                        eprintln!("{}: {error}", path.display());
                        return ExitCode::from(2);
                    }
                }
            }
            endure(operations, &opened, seed, threads.into());
            ExitCode::SUCCESS
        }
    }
}

fn visit<S: Subject>(granules: usize, unit: usize) {
    let plan = match unit {
        1 => Plan::every_size(granules),
        _ => Plan::scaled(unit, granules),
    };
    visit_plan::<S>(&plan, &format!("{granules} x {unit} granules"));
}

fn visit_plan<S: Subject>(plan: &Plan, what: &str) {
    let start = Instant::now();
    let report = explore::<S>(plan);
    println!(
        "{} of {what}: {} states ({}), {} operations ({} refused), longest way {} operations, {:.1} s",
        S::NAME,
        report.states,
        if report.complete { "all" } else { "of more" },
        report.transitions,
        report.refusals,
        report.depth_max,
        start.elapsed().as_secs_f64(),
    );
}

fn endure(operations: u64, traces: &[Trace], seed: u64, threads: u64) {
    let start = Instant::now();
    let done = AtomicU64::new(0);
    let tally = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let done = &done;
                scope.spawn(move || worker(operations, traces, seed + thread * 1_000_003, done))
            })
            .collect();
        let mut tally = Tally::default();
        for worker in workers {
            tally.add(&worker.join().expect("a difference was found: see above"));
        }
        tally
    });
    println!(
        "{} operations in {} pools, {} requests rightly refused, {} misuses refused, {} full \
         checks, {:.0} s, no difference from the model",
        tally.operations,
        tally.pools,
        tally.failed_requests,
        tally.refused_frees,
        tally.checks,
        start.elapsed().as_secs_f64(),
    );
}

/// Takes turns between traces and adversaries until `operations` are done by all workers.
fn worker(operations: u64, traces: &[Trace], seed: u64, done: &AtomicU64) -> Tally {
    let mut tally = Tally::default();
    let mut of_traces = 0;
    for round in seed.. {
        if done.load(Ordering::Relaxed) >= operations {
            break;
        }
        let turn = if !traces.is_empty() && of_traces * 2 <= tally.operations {
            let trace = &traces[round as usize % traces.len()];
            // From far too small to ample: most runs meet refusals.
            let len_bytes =
                trace.info().peak_live_bytes as usize / 100 * (60 + round as usize % 12 * 10);
            let len_bytes = len_bytes.max(4096);
            let turn = if round % 2 == 0 {
                replay::<Slabs>(trace, len_bytes, 100_000)
            } else {
                replay::<Blocks>(trace, len_bytes, 100_000)
            };
            of_traces += turn.operations;
            turn
        } else {
            let adversary = Adversary::ALL[round as usize % Adversary::ALL.len()];
            let len_bytes = 3_001 << (round % 11);
            let share = 1_000_000;
            match round % 3 {
                0 => adversary.run::<CompactBlocks>(round, len_bytes.min(500_000), share),
                1 => adversary.run::<Slabs>(round, len_bytes, share),
                _ => adversary.run::<Blocks>(round, len_bytes, share),
            }
        };
        done.fetch_add(turn.operations, Ordering::Relaxed);
        tally.add(&turn);
    }
    tally
}
