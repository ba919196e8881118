//! `evenfit compare`: one recorded program under the placement policies of the textbooks.

mod picture;
mod simulate;

use std::path::PathBuf;

use evenfit_bound::Cut;
use evenfit_bound::policy::Policy;
use evenfit_trace::Event;
use schemars::JsonSchema;
use serde::Serialize;

use self::simulate::{Outcome, Program, fits, watch};
use super::open_complete;
use super::report::write;
use super::size::on_all_cores;
use crate::drive;
use crate::output::{Answer, FAINT, InputError, STRONG};
use crate::progress::Progress;
use crate::size::{self, both, grouped, human};

/// Replay one recorded program under first fit, best fit, next fit, half fit, buddy, TLSF and
/// evenfit, side by side.
///
/// The policies are simulated with the same granule; headers and maps are not counted. Every block
/// is checked against a shadow of the pool. Exit code 0; 2 for bad flags or files.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  evenfit compare traces/csound.evt
  evenfit compare traces/lua_particles.evt --svg policies.svg")]
pub struct Args {
    /// The recorded program: an .evt file
    trace: PathBuf,
    /// The pool in which fragmentation and cost are compared; 1.5 times the peak unless given
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, value_parser = size::parse)]
    pool: Option<usize>,
    /// Draw each policy's memory map and the fragmentation over time
    #[arg(long, value_name = "OUT.svg")]
    svg: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// A pool whose end nothing reaches, in granules: evenfit's is simulated in no more memory than its
/// blocks need.
const ENDLESS: u64 = 1 << 48;
/// Footprints are found to 1 part in 250.
const TOLERANCE_DIVISOR: u64 = 250;

/// The answer. Sizes are in bytes.
#[derive(Serialize, JsonSchema)]
pub(super) struct Report {
    trace: String,
    operations: u64,
    peak_live_bytes: u64,
    /// In which fragmentation and cost are compared.
    pool_bytes: u64,
    policies: Vec<Row>,
}

#[derive(Serialize, JsonSchema)]
struct Row {
    policy: &'static str,
    does: &'static str,
    /// Whether the time of an operation is bounded.
    bounded: bool,
    smallest_pool_bytes: u64,
    /// Smallest pool / peak live bytes.
    footprint: f64,
    /// Whether it served the program in the pool compared, and how many operations it did.
    served: bool,
    operations_done: u64,
    /// Free memory outside the largest free block, in the pool compared: on average over time, and
    /// at most.
    apart_mean: f64,
    apart_max: f64,
    /// Free blocks, or bins, that an allocation looks at.
    looked_at_mean: f64,
    looked_at_max: u64,
    /// Bytes in blocks beyond the requests at the peak, without the rounding to granules.
    rounding_bytes: u64,
}

impl Args {
    pub(super) fn run(self) -> Result<Answer, InputError> {
        let trace = open_complete(&self.trace)?;
        let cut = drive::Program::of(&trace).cut;
        let program = Program {
            events: trace.events(),
            allocations: trace.allocations() as usize,
            peak: peak(cut, trace.events(), trace.allocations() as usize),
            cut,
        };
        let peak_bytes = trace.info().peak_live_bytes;
        let pool = match self.pool {
            Some(bytes) => bytes as u64 / cut.granule_bytes,
            None => program.peak + program.peak / 2 + 64,
        };
        if pool.max(program.peak) > u64::from(u32::MAX) / 16 {
            return Err(InputError(format!(
                "pools of more than {} can't be simulated",
                human(1 << 32)
            )));
        }
        let progress = Progress::new("simulating", 7 * 8 * trace.events().len() as u64);
        let tick = || progress.advance(trace.events().len() as u64);
        let results = on_all_cores(&Policy::ALL, |&policy| {
            let smallest = smallest(policy, program, &tick)?;
            let outcome = watch(policy, program, pool)?;
            tick();
            Ok((smallest, outcome))
        })?;
        drop(progress);
        let rows = Policy::ALL.iter().zip(&results);
        let report = Report {
            trace: self.trace.display().to_string(),
            operations: trace.events().len() as u64,
            peak_live_bytes: peak_bytes,
            pool_bytes: pool * cut.granule_bytes,
            policies: rows
                .map(|(&policy, (smallest, outcome))| {
                    row(policy, *smallest, outcome, program, peak_bytes)
                })
                .collect(),
        };
        if let Some(path) = &self.svg {
            let outcomes: Vec<Outcome> = results.into_iter().map(|(_, outcome)| outcome).collect();
            write(path, picture::svg(&report, &outcomes)?.as_bytes())?;
        }
        if self.json {
            return Answer::json("compare", &report, true);
        }
        Ok(Answer::yes(report.text()))
    }
}

fn row(policy: Policy, smallest: u64, outcome: &Outcome, program: Program, peak_bytes: u64) -> Row {
    let apart = &outcome.apart;
    Row {
        policy: policy.name(),
        does: policy.describe(),
        bounded: policy.bounded(),
        smallest_pool_bytes: smallest * program.cut.granule_bytes,
        footprint: (smallest * program.cut.granule_bytes) as f64 / peak_bytes.max(1) as f64,
        served: outcome.done == program.events.len(),
        operations_done: outcome.done as u64,
        apart_mean: apart.iter().map(|&share| f64::from(share)).sum::<f64>()
            / apart.len().max(1) as f64,
        apart_max: f64::from(apart.iter().copied().fold(0.0, f32::max)),
        looked_at_mean: outcome.looked_at_mean,
        looked_at_max: outcome.looked_at_max,
        rounding_bytes: outcome.rounding * program.cut.granule_bytes,
    }
}

/// Most granules live at once.
fn peak(cut: Cut, events: &[Event], allocations: usize) -> u64 {
    let mut sizes = vec![0; allocations];
    let (mut live, mut peak) = (0u64, 0u64);
    for event in events {
        let id = event.id() as usize;
        let granules = match *event {
            Event::Alloc { size, .. } | Event::Realloc { new_size: size, .. } => cut.granules(size),
            Event::Free { .. } => 0,
        };
        live = live + granules - sizes[id];
        sizes[id] = granules;
        peak = peak.max(live);
    }
    peak
}

/// The smallest pool, in granules. First fit needs as much as it reaches. evenfit may do with a
/// little less, but from there on every pool serves. The others are bisected, and a larger pool is
/// not always better for them: what is found fits beside one that doesn't.
fn smallest(policy: Policy, program: Program, tick: &impl Fn()) -> Result<u64, InputError> {
    let try_pool = |granules| {
        let tried = fits(policy, program, granules)?;
        tick();
        Ok::<_, InputError>(tried)
    };
    if policy == Policy::Evenfit {
        return Ok(try_pool(ENDLESS)?.1);
    }
    let mut fitting = program.peak + program.peak / 4 + 16;
    let mut failing = program.peak.saturating_sub(1);
    let reach = loop {
        let (fits, reach) = try_pool(fitting)?;
        if fits {
            break reach;
        }
        failing = fitting;
        fitting += fitting / 2;
        if fitting > u64::from(u32::MAX) / 16 {
            return Err(InputError(format!(
                "{} needs more than {}",
                policy.name(),
                human(1 << 32)
            )));
        }
    };
    if policy == Policy::FirstFit {
        return Ok(reach);
    }
    while fitting - failing > (fitting / TOLERANCE_DIVISOR).max(1) {
        let middle = failing + (fitting - failing) / 2;
        if try_pool(middle)?.0 {
            fitting = middle;
        } else {
            failing = middle;
        }
    }
    Ok(fitting)
}

impl Report {
    fn text(&self) -> String {
        let mut out = format!(
            "{STRONG}{}{STRONG:#}: {} operations, peak live {}\n\n",
            self.trace,
            grouped(self.operations),
            both(self.peak_live_bytes)
        );
        out += &format!(
            "  {FAINT}{:<10} {:>12} {:>10} {:>16} {:>20}{FAINT:#}\n  {FAINT}{:<10} {:>12} {:>10} {:>16} {:>20}{FAINT:#}\n",
            "",
            "smallest",
            "",
            "free memory",
            "looked at by an",
            "policy",
            "pool",
            "footprint",
            "apart, mean max",
            "allocation, mean max"
        );
        let best = self.policies.iter().map(|row| row.smallest_pool_bytes).min();
        for row in &self.policies {
            let strong =
                if Some(row.smallest_pool_bytes) == best { STRONG } else { anstyle::Style::new() };
            let apart = format!("{:.0} % {:>5.0} %", row.apart_mean * 100.0, row.apart_max * 100.0);
            let looked_at = format!("{:.1} {:>8}", row.looked_at_mean, grouped(row.looked_at_max));
            let note = if row.served {
                String::new()
            } else {
                format!("  fails at operation {}", grouped(row.operations_done + 1))
            };
            out += &format!(
                "  {:<10} {:>12} {strong}{:>10.3}{strong:#} {apart:>16} {looked_at:>20}{note}\n",
                row.policy,
                human(row.smallest_pool_bytes),
                row.footprint
            );
        }
        out + &format!(
            "\n{FAINT}Free memory apart: outside the largest free block, in a pool of {}. Eight-byte granules for all;\n\
             headers and maps aren't counted, and evenfit is simulated without slabs. First fit, best fit and next fit look at\n\
             a list whose length has no bound.{FAINT:#}\n",
            human(self.pool_bytes)
        )
    }
}
