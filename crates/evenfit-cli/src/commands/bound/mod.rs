//! `evenfit bound`: the pool that can never fail for a declared contract.

mod report;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use evenfit_bound::adversary::{self, Witness};
use evenfit_bound::exhaustive::{DEMANDS_MAX, Exact, POOL_MAX, Programs, Rule, Step, smallest};
use evenfit_bound::safe::{self, Demand, Safe};
use evenfit_bound::slab_adversary::{self, SlabProgram, SlabStep};
use evenfit_bound::slabs::{self, SlabDemand};
use evenfit_bound::{Contract, Cut, Site};
use evenfit_trace::{Codec, Trace, TraceBuilder};
use schemars::JsonSchema;
use serde::Serialize;

pub(super) use self::report::Report;
use self::report::WorstProgram;
use super::{io_error, read_text};
use crate::allocator::Kind;
use crate::drive::{GEOMETRY, Program};
use crate::output::{Answer, InputError};
use crate::output_file;
use crate::size::{self, grouped, human};
use crate::smallest::smallest as smallest_pool;

/// Compute the pool that can never fail for a declared contract, and a program that needs nearly as
/// much.
///
/// Exit code 0; with --pool 1 if that pool is not proved safe; 2 for bad flags or files.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  cat > contract.toml <<END
  geometry = \"standard\"  # optional: or aligned, wide, compact
  [[site]]
  name = \"packet\"       # what the program calls it
  size = [20, 1500]     # bytes: one size or a range
  align = 8             # optional
  most_live = 4         # blocks live at once
  grows = false         # optional: whether they are reallocated to larger sizes
  END
  evenfit bound contract.toml --pool 16KiB

The proofs are in docs/bounds.md, for heaps used through one lock: without slabs (`BlocksOnly`), or
with them (`WithSlabs`), where each small size may keep slabs of its own. A pool larger than one
that is proved safe is safe too.")]
pub struct Args {
    /// The contract: a TOML file
    contract: PathBuf,
    /// Is a pool of this size, its metadata included, proved safe? (16MiB, 4096, 1.5GiB)
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, value_parser = size::parse)]
    pool: Option<usize>,
    /// The heap that the bound is for: with `slabs`, small requests are served from slabs
    #[arg(long, value_enum, default_value_t = Heap::Blocks)]
    tiers: Heap,
    /// Also find the exact minimum, by trying every possible program (small contracts only)
    #[arg(long)]
    exhaustive: bool,
    /// Give up --exhaustive after N states of the pool (about 150 bytes each)
    #[arg(long, value_name = "N", default_value_t = 2_000_000, requires = "exhaustive")]
    states_max: usize,
    /// Write the program that needs the largest pool as a trace for `evenfit replay`
    #[arg(long, value_name = "OUT.evt")]
    witness: Option<PathBuf>,
    /// Write the contract as Rust source for `evenfit_bound::Monitor`, to be compiled into a
    /// firmware
    #[arg(long, value_name = "OUT.rs")]
    rust: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Which heap a bound is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
enum Heap {
    /// Blocks only (`BlocksOnly`)
    Blocks,
    /// Small requests from slabs (`WithSlabs`)
    Slabs,
}

impl Args {
    pub(super) fn run(self) -> Result<Answer, InputError> {
        let contract = read(&self.contract)?;
        let demands = contract.demands();
        let too_large = || InputError("the contract allows more memory than 64 bits count".into());
        let (report, trace) = match self.tiers {
            Heap::Blocks => {
                let safe = safe::pool(contract.cut, &demands).ok_or_else(too_large)?;
                let exact =
                    self.exhaustive.then(|| self.search(&contract, &demands, safe)).transpose()?;
                let witness = self.worst(&contract, &demands, exact.as_ref());
                let report =
                    Report::new(&self, &contract, &demands, safe, &witness, exact.as_ref())
                        .ok_or_else(too_large)?;
                let trace = self
                    .witness
                    .is_some()
                    .then(|| trace_of(&contract, &witness.steps))
                    .transpose()?;
                (report, trace)
            }
            Heap::Slabs => {
                self.can_have_slabs(&contract)?;
                let sites = contract.sites.iter();
                let with_slabs: Vec<_> =
                    sites.map(|site| SlabDemand::of(contract.cut, site)).collect();
                let safe = slabs::pool(contract.cut, &with_slabs).ok_or_else(too_large)?;
                let (worst, trace) = worst_with_slabs(&contract)?.unzip();
                let report =
                    Report::with_slabs(&self, &contract, safe, worst).ok_or_else(too_large)?;
                (report, trace)
            }
        };
        if let Some(path) = &self.witness {
            let trace = trace.ok_or_else(|| {
                InputError("--witness: the contract's programs are too large to be run here".into())
            })?;
            output_file::write(path, |out| trace.write(out, Codec::Zstd(3)).map_err(io_error))?;
        }
        if let Some(path) = &self.rust {
            let source = rust(&contract, &self.contract);
            output_file::write(path, |out| out.write_all(source.as_bytes()))?;
        }
        let yes = report.pool_is_safe != Some(false);
        if self.json {
            return Answer::json("bound", &report, yes);
        }
        Ok(Answer { text: report.text(), yes })
    }

    fn can_have_slabs(&self, contract: &Contract) -> Result<(), InputError> {
        if contract.cut == Cut::COMPACT {
            return Err(InputError("--tiers slabs: the compact geometry has no slabs".into()));
        }
        if self.exhaustive {
            return Err(InputError(
                "--exhaustive is for heaps without slabs: leave out --tiers slabs".into(),
            ));
        }
        Ok(())
    }

    fn search(
        &self,
        contract: &Contract,
        demands: &[Demand],
        safe: Safe,
    ) -> Result<Exact, InputError> {
        let programs = Programs { demands, total: None, resizes: false };
        if safe.granules > POOL_MAX || demands.len() > DEMANDS_MAX {
            let most = human(POOL_MAX * contract.cut.granule_bytes);
            return Err(InputError(format!(
                "--exhaustive is for contracts with pools of up to {most} and up to {DEMANDS_MAX} sites"
            )));
        }
        smallest(Rule::Evenfit(contract.cut), &programs, self.states_max).map_err(|too_many| {
            InputError(format!(
                "--exhaustive: this contract has more than {} states; raise --states-max, or try it with fewer or \
                 smaller blocks",
                grouped(too_many.states as u64)
            ))
        })
    }

    fn worst(&self, contract: &Contract, demands: &[Demand], exact: Option<&Exact>) -> Witness {
        match exact {
            Some(exact) => Witness {
                steps: exact.witness.clone(),
                granules: exact.granules,
                method: "the worst of all programs",
            },
            None => adversary::worst(contract.cut, demands),
        }
    }
}

fn read(path: &Path) -> Result<Contract, InputError> {
    let text =
        read_text(path).map_err(|e| InputError(format!("can't read {}: {e}", path.display())))?;
    Contract::parse(&text).map_err(|e| InputError(format!("{}: {e}", path.display())))
}

/// The size in bytes of a block of `granules`, within the site's range.
fn bytes_of(site: &Site, granules: u64, granule_bytes: u64) -> u64 {
    (granules * granule_bytes).clamp(site.min_bytes, site.max_bytes)
}

/// The steps as a recorded program, its sites named.
fn trace_of(contract: &Contract, steps: &[Step]) -> Result<Trace, InputError> {
    let fault =
        |fault| InputError(format!("the worst program can't be written as a trace: {fault}"));
    let granule_bytes = contract.cut.granule_bytes;
    let mut builder = TraceBuilder::default();
    builder.fact("program", "worst found for a contract");
    builder.fact(GEOMETRY, contract.cut.name().unwrap_or_default());
    let mut of_block = Vec::new();
    for step in steps {
        match *step {
            Step::Alloc { demand, granules } => {
                let site = &contract.sites[demand];
                of_block.push(demand);
                builder.alloc(bytes_of(site, granules, granule_bytes), site.align_bytes).map(drop)
            }
            Step::Free { block } => builder.free(block as u32),
            Step::Resize { block, granules } => {
                let site = &contract.sites[of_block[block]];
                builder.realloc(block as u32, bytes_of(site, granules, granule_bytes))
            }
        }
        .map_err(fault)?;
    }
    Ok(builder.finish())
}

/// The program that needs most of those that an adversary tries, found by running each in smaller
/// and smaller pools; and it as a recorded one. `None`: all are too large to be run.
fn worst_with_slabs(contract: &Contract) -> Result<Option<(WorstProgram, Trace)>, InputError> {
    let mut worst = None::<(WorstProgram, Trace)>;
    for program in slab_adversary::programs(contract.cut, &contract.sites) {
        let Some(trace) = trace_with_slabs(contract.cut, &program) else {
            continue;
        };
        let Some(found) = smallest_pool(Kind::Slabs, Program::of(&trace), |_| {})? else {
            continue;
        };
        let region_bytes = found.smallest_region_bytes as u64;
        let is_worse = |(worst, _): &(WorstProgram, Trace)| region_bytes > worst.region_bytes;
        if worst.as_ref().is_none_or(is_worse) {
            let needs = WorstProgram {
                pool_bytes: None,
                region_bytes,
                operations: program.steps.len() as u64,
                method: program.method,
                share_of_safe: 0.0,
            };
            worst = Some((needs, trace));
        }
    }
    Ok(worst)
}

/// Live bytes of programs that are run to see what they need.
const RUN_BYTES_MAX: u64 = 1 << 30;

/// `None`: it is too large to be run.
fn trace_with_slabs(cut: Cut, program: &SlabProgram) -> Option<Trace> {
    let mut builder = TraceBuilder::default();
    builder.fact("program", "worst found for a contract, with slabs");
    builder.fact(GEOMETRY, cut.name()?);
    for step in &program.steps {
        match *step {
            SlabStep::Alloc { bytes, align_bytes, .. } => {
                builder.alloc(bytes, align_bytes).map(drop)
            }
            SlabStep::Free { block } => builder.free(block as u32),
        }
        .ok()?;
    }
    let trace = builder.finish();
    (trace.info().peak_live_bytes <= RUN_BYTES_MAX).then_some(trace)
}

/// Source that a firmware includes.
fn rust(contract: &Contract, path: &Path) -> String {
    let sites = &contract.sites;
    let mut out = format!(
        "// Generated from {} by `evenfit bound --rust`.\n\
         use evenfit_bound::{{Class, Monitor}};\n\n\
         /// Watches the contract; `first_violation` stays `None` while it is kept.\n\
         pub const fn monitor() -> Monitor<{}> {{\n    Monitor::new(CONTRACT)\n}}\n\n",
        path.file_name().unwrap_or_default().display(),
        sites.len()
    );
    for (index, site) in sites.iter().enumerate() {
        let _ = writeln!(
            out,
            "/// The class of `{}`.\npub const {}: usize = {index};",
            site.name,
            constant(site, index)
        );
    }
    let _ = write!(out, "\npub const CONTRACT: [Class; {}] = [\n", sites.len());
    for site in sites {
        let Site { name, min_bytes, max_bytes, align_bytes, .. } = site;
        let most_live = u32::try_from(site.demand(contract.cut).most_live).unwrap_or(u32::MAX);
        let _ = writeln!(
            out,
            "    Class {{\n        name: {name:?},\n        min_bytes: {min_bytes},\n        max_bytes: {max_bytes},\n        \
             align_bytes: {align_bytes},\n        most_live: {most_live},\n    }},"
        );
    }
    out + "];\n"
}

/// A constant's name for a site; a number where the name has no letters for it, or another site has
/// the same.
fn constant(site: &Site, index: usize) -> String {
    let plain: String = site
        .name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
        .collect();
    if plain.starts_with(|c: char| c.is_ascii_uppercase()) {
        format!("{plain}_{index}")
    } else {
        format!("SITE_{index}")
    }
}
