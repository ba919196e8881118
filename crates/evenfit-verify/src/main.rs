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
use evenfit_verify::subject::{
    AlignedBlocks, AlignedSlabs, Blocks, CompactBlocks, Slabs, WideBlocks, WideSlabs,
};

/// Evidence for evenfit, in the forms that take minutes or hours.
///
/// Every difference between heap and model ends the run with a panic that names it.
#[derive(Parser)]
#[command(after_help = "Example: evenfit-verify exhaustive --granules 12 --geometry all")]
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
        #[arg(long, value_enum, default_value_t = Geometries::All)]
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
        /// Which heap.
        #[arg(long, value_enum, default_value_t = SlabHeaps::All)]
        heap: SlabHeaps,
        /// Requests of two classes, so that slots are kept for smaller ones.
        #[arg(long)]
        kept: bool,
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
    Aligned,
    Wide,
    Compact,
    All,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SlabHeaps {
    Standard,
    Aligned,
    Wide,
    All,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Exhaustive { granules, unit, geometry } => {
            let (granules, unit) = (granules.into(), unit.into());
            let is_asked = |one| geometry == one || geometry == Geometries::All;
            if is_asked(Geometries::Standard) {
                visit::<Blocks>(granules, unit);
            }
            if is_asked(Geometries::Aligned) {
                visit::<AlignedBlocks>(granules, unit);
            }
            if is_asked(Geometries::Wide) {
                visit::<WideBlocks>(granules, unit);
            }
            if is_asked(Geometries::Compact) {
                visit::<CompactBlocks>(granules, unit);
            }
            ExitCode::SUCCESS
        }
        Command::Slabs { slabs, states, heap, kept } => {
            let slabs = slabs.into();
            let is_asked = |one| heap == one || heap == SlabHeaps::All;
            if is_asked(SlabHeaps::Standard) {
                visit_slabs::<Slabs>(slabs, states, kept);
            }
            if is_asked(SlabHeaps::Aligned) {
                visit_slabs::<AlignedSlabs>(slabs, states, kept);
            }
            if is_asked(SlabHeaps::Wide) {
                visit_slabs::<WideSlabs>(slabs, states, kept);
            }
            ExitCode::SUCCESS
        }
        Command::Endurance { operations, traces, seed, threads } => {
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
    // If blocks are aligned to two granules, a pool has an even number of them.
    let granules = granules.next_multiple_of(S::RULES.align_bytes / S::GRANULE_BYTES);
    let plan = match unit {
        1 => Plan::every_size(granules),
        _ => Plan::scaled(unit, granules),
    };
    visit_plan::<S>(&plan, &format!("{granules} x {unit} granules"));
}

fn visit_slabs<S: Subject>(slabs: usize, states: usize, kept: bool) {
    if kept {
        visit_plan::<S>(&Plan::kept_slots::<S>(slabs, states), "slabs of two classes");
    } else {
        visit_plan::<S>(&Plan::slabs::<S>(slabs, states), "slabs of 8 slots");
    }
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
                let seed = seed + thread * 1_000_003;
                scope.spawn(move || worker(operations, traces, seed, done))
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

/// What a turn runs.
enum Kind<'t> {
    Trace(&'t Trace),
    Adversary(Adversary),
}

/// How many operations an adversary's turn has.
const SHARE: u64 = 1_000_000;

/// The longest region that suits a heap for small devices.
const COMPACT_BYTES_MAX: usize = 500_000;

fn run<S: Subject>(kind: Kind, round: u64, len_bytes: usize) -> Tally {
    match kind {
        Kind::Trace(trace) => replay::<S>(trace, len_bytes, 100_000),
        Kind::Adversary(adversary) => adversary.run::<S>(round, len_bytes, SHARE),
    }
}

/// A run of a trace in a pool of this length, or of an adversary; the round chooses the heap.
fn take_turn(kind: Kind, round: u64, len_bytes: usize) -> Tally {
    match (&kind, round % 7) {
        (Kind::Adversary(_), 0) => {
            run::<CompactBlocks>(kind, round, len_bytes.min(COMPACT_BYTES_MAX))
        }
        (_, 1) => run::<AlignedBlocks>(kind, round, len_bytes),
        (_, 2) => run::<WideBlocks>(kind, round, len_bytes),
        (_, 3) => run::<AlignedSlabs>(kind, round, len_bytes),
        (_, 4) => run::<WideSlabs>(kind, round, len_bytes),
        (_, 5) => run::<Slabs>(kind, round, len_bytes),
        _ => run::<Blocks>(kind, round, len_bytes),
    }
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
            // From far too small to ample, so that requests are refused in most runs.
            let len_bytes =
                trace.info().peak_live_bytes as usize / 100 * (60 + round as usize % 12 * 10);
            let turn = take_turn(Kind::Trace(trace), round, len_bytes.max(8192));
            of_traces += turn.operations;
            turn
        } else {
            let adversary = Adversary::ALL[round as usize % Adversary::ALL.len()];
            take_turn(Kind::Adversary(adversary), round, 3_001 << (round % 11))
        };
        done.fetch_add(turn.operations, Ordering::Relaxed);
        tally.add(&turn);
    }
    tally
}
