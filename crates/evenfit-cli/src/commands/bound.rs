//! `evenfit bound`: the pool that can never fail for a declared contract.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use evenfit_contract::adversary::{self, Witness};
use evenfit_contract::exhaustive::{Exact, Programs, Rule, Step, smallest};
use evenfit_contract::safe::{self, Demand, Safe};
use evenfit_contract::slab_adversary::{self, SlabProgram, SlabStep};
use evenfit_contract::slabs::{self, Binding, SafeWithSlabs, SlabDemand};
use evenfit_contract::{Contract, Cut, Site, robson};
use evenfit_trace::{Codec, Trace, TraceBuilder};
use serde::Serialize;

use super::file_error;
use crate::allocator::Kind;
use crate::output::{Answer, BAD, FAINT, GOOD, InputError, STRONG, Table};
use crate::size::{self, both, counted, grouped, human};
use crate::smallest::{Program, smallest as smallest_pool};

/// Compute the pool that can never fail for a declared contract, and a program that needs nearly as much.
///
/// Exit code 0; with --pool 1 if that pool is not proved safe; 2 for bad flags or files.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  cat > contract.toml <<END
  [[site]]
  name = \"packet\"       # what the program calls it
  size = [20, 1500]     # bytes: one size or a range
  align = 8             # optional
  most_live = 4         # blocks live at once
  grows = false         # optional: whether they are reallocated to larger sizes
  END
  evenfit bound contract.toml --pool 16KiB

The proofs are in docs/bounds.md, for heaps used through one lock: without slabs (`Tiers::BlocksOnly`), or with them
(`Tiers::WithSlabs`), where each small size may keep slabs of its own.")]
pub struct Args {
    /// The contract: a TOML file
    contract: PathBuf,
    /// Is a pool of this size, its map included, proved safe? (16MiB, 4096, 1.5GiB)
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pool: Option<usize>,
    /// The heap that it is for: with --tiers slabs, small requests are served from slabs
    #[arg(long, value_enum, default_value_t = Heap::Blocks)]
    tiers: Heap,
    /// Try every program there is, for small contracts: the exact minimum beside the formula
    #[arg(long)]
    exhaustive: bool,
    /// Give up --exhaustive after so many states of the pool (about 150 bytes each)
    #[arg(
        long,
        value_name = "N",
        default_value_t = 2_000_000,
        requires = "exhaustive"
    )]
    states_max: usize,
    /// Write the program that needs most as a trace, to be replayed
    #[arg(long, value_name = "OUT.evt")]
    witness: Option<PathBuf>,
    /// Write the contract as Rust source for `evenfit_contract::Monitor`, to be compiled into a firmware
    #[arg(long, value_name = "OUT.rs")]
    rust: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Which heap a bound is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
enum Heap {
    /// Blocks only (`Tiers::BlocksOnly`)
    Blocks,
    /// Small requests from slabs (`Tiers::WithSlabs`)
    Slabs,
}

/// Live granules a witness may have in a trace and still be written.
const PIECES_MAX: u64 = 255;

impl Args {
    pub(super) fn run(self) -> Result<Answer, InputError> {
        let contract = read(&self.contract)?;
        let demands = contract.demands();
        let too_large = || InputError("the contract allows more memory than 64 bits count".into());
        let (report, trace) = match self.tiers {
            Heap::Blocks => {
                let safe = safe::pool(contract.cut, &demands).ok_or_else(too_large)?;
                let exact = self
                    .exhaustive
                    .then(|| self.search(&contract, &demands))
                    .transpose()?;
                let witness = self.worst(&contract, &demands, exact.as_ref());
                let report =
                    Report::new(&self, &contract, &demands, safe, &witness, exact.as_ref());
                let trace = self
                    .witness
                    .is_some()
                    .then(|| trace_of(&contract, &witness.steps))
                    .transpose()?;
                (report, trace)
            }
            Heap::Slabs => {
                self.can_have_slabs(&contract)?;
                let with_slabs: Vec<_> = contract.sites.iter().map(SlabDemand::of).collect();
                let safe = slabs::pool(&with_slabs).ok_or_else(too_large)?;
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
            trace
                .save(path, Codec::Zstd(3))
                .map_err(|error| file_error("write", path, &error))?;
        }
        if let Some(path) = &self.rust {
            let source = rust(&contract, &self.contract);
            fs::write(path, source)
                .map_err(|e| InputError(format!("can't write {}: {e}", path.display())))?;
        }
        let yes = report.pool_is_safe != Some(false);
        if self.json {
            return Answer::json(&report, yes);
        }
        Ok(Answer {
            text: report.text(),
            yes,
        })
    }

    fn can_have_slabs(&self, contract: &Contract) -> Result<(), InputError> {
        if contract.cut != Cut::STANDARD {
            return Err(InputError(
                "--tiers slabs: the compact heap (granule = 8) has no slabs".into(),
            ));
        }
        if self.exhaustive {
            return Err(InputError(
                "--exhaustive visits the states of heaps without slabs only; leave --tiers slabs away".into(),
            ));
        }
        Ok(())
    }

    fn search(&self, contract: &Contract, demands: &[Demand]) -> Result<Exact, InputError> {
        let programs = Programs {
            demands,
            total: None,
            resizes: false,
        };
        let longest = demands.iter().map(|demand| demand.max).max().unwrap_or(0);
        if longest > PIECES_MAX || demands.len() > PIECES_MAX as usize {
            let most = human(PIECES_MAX * contract.cut.granule_bytes);
            return Err(InputError(format!(
                "--exhaustive is for contracts with blocks of up to {most}"
            )));
        }
        smallest(Rule::GoodFit(contract.cut), &programs, self.states_max).map_err(|too_many| {
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
    let text = fs::read_to_string(path)
        .map_err(|e| InputError(format!("can't read {}: {e}", path.display())))?;
    Contract::parse(&text).map_err(|e| InputError(format!("{}: {e}", path.display())))
}

/// The size in bytes of a block of `granules`, within what the site promises.
fn bytes_of(site: &Site, granules: u64, granule_bytes: u64) -> u64 {
    (granules * granule_bytes).clamp(site.min_bytes, site.max_bytes)
}

/// The steps as a recorded program, its sites named.
fn trace_of(contract: &Contract, steps: &[Step]) -> Result<Trace, InputError> {
    let fault = |fault| {
        InputError(format!(
            "the worst program can't be written as a trace: {fault}"
        ))
    };
    let granule_bytes = contract.cut.granule_bytes;
    let mut builder = TraceBuilder::default();
    builder.fact("program", "worst found for a contract");
    let mut of_block = Vec::new();
    for step in steps {
        match *step {
            Step::Alloc { demand, granules } => {
                let site = &contract.sites[demand];
                of_block.push(demand);
                builder
                    .alloc(bytes_of(site, granules, granule_bytes), site.align_bytes)
                    .map(drop)
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

/// The program that needs most of those that an adversary tries, found by running each in smaller and smaller pools; and it as
/// a recorded one. `None`: all are too large to be run.
fn worst_with_slabs(contract: &Contract) -> Result<Option<(WorstProgram, Trace)>, InputError> {
    let mut worst = None::<(WorstProgram, Trace)>;
    for program in slab_adversary::programs(&contract.sites) {
        let Some(trace) = trace_with_slabs(&program) else {
            continue;
        };
        let Some(found) = smallest_pool(Kind::Slabs, Program::of(&trace), |_| {})? else {
            continue;
        };
        let region_bytes = found.fits_bytes as u64;
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
fn trace_with_slabs(program: &SlabProgram) -> Option<Trace> {
    let mut builder = TraceBuilder::default();
    builder.fact("program", "worst found for a contract, with slabs");
    for step in &program.steps {
        match *step {
            SlabStep::Alloc {
                bytes, align_bytes, ..
            } => builder.alloc(bytes, align_bytes).map(drop),
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
         use evenfit_contract::{{Class, Monitor}};\n\n\
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
        let Site {
            name,
            min_bytes,
            max_bytes,
            align_bytes,
            ..
        } = site;
        let most_live = u32::try_from(site.demand(contract.cut).most_live).unwrap_or(u32::MAX);
        let _ = writeln!(
            out,
            "    Class {{\n        name: {name:?},\n        min_bytes: {min_bytes},\n        max_bytes: {max_bytes},\n        \
             align_bytes: {align_bytes},\n        most_live: {most_live},\n    }},"
        );
    }
    out + "];\n"
}

/// A constant's name for a site; a number where the name has no letters for it, or another site has the same.
fn constant(site: &Site, index: usize) -> String {
    let plain: String = site
        .name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect();
    if plain.starts_with(|c: char| c.is_ascii_uppercase()) {
        format!("{plain}_{index}")
    } else {
        format!("SITE_{index}")
    }
}

/// The answer. Sizes are in bytes; a pool's are its granules, a region's are those and the map.
#[derive(Serialize)]
struct Report {
    contract: String,
    tiers: Heap,
    granule_bytes: u64,
    sites: usize,
    most_live_bytes: u64,
    most_live_blocks: u64,
    safe: SafePool,
    /// No allocator serves every program of so many live bytes and so large blocks from less; a contract that names
    /// its sites may need less.
    robson_floor_bytes: u64,
    /// `None`: too large to be run here.
    worst_program: Option<WorstProgram>,
    exhaustive: Option<Exhaustive>,
    /// The same contract in several pools, by size.
    apart: Vec<Apart>,
    apart_region_bytes: u64,
    /// What --pool asked about.
    pool_bytes: Option<u64>,
    pool_is_safe: Option<bool>,
}

#[derive(Serialize)]
struct SafePool {
    pool_bytes: u64,
    region_bytes: u64,
    formula: &'static str,
    most_gaps: u64,
    longest_gap_bytes: u64,
    /// `None`: a new slab.
    binding_site: Option<String>,
    /// With slabs: how many there may be at once.
    most_slabs: Option<u64>,
}

#[derive(Serialize)]
struct WorstProgram {
    /// `None` with slabs, where only the region is known.
    pool_bytes: Option<u64>,
    region_bytes: u64,
    operations: u64,
    method: &'static str,
    share_of_safe: f64,
}

#[derive(Serialize)]
struct Exhaustive {
    pool_bytes: u64,
    region_bytes: u64,
    states: u64,
    transitions: u64,
}

#[derive(Serialize)]
struct Apart {
    sites: Vec<String>,
    region_bytes: u64,
}

impl Report {
    fn new(
        args: &Args,
        contract: &Contract,
        demands: &[Demand],
        safe: Safe,
        witness: &Witness,
        exact: Option<&Exact>,
    ) -> Self {
        let cut = contract.cut;
        let bytes = |granules: u64| granules.saturating_mul(cut.granule_bytes);
        let region = |granules: u64| bytes(granules).saturating_add((granules / 64 + 1) * 16);
        let shares = safe::divided(cut, demands).unwrap_or_default();
        let name = |index: usize| contract.sites[index].name.clone();
        let apart: Vec<Apart> = shares
            .iter()
            .map(|share| Apart {
                sites: share.demands.iter().map(|&index| name(index)).collect(),
                region_bytes: region(share.safe.granules),
            })
            .collect();
        let largest = demands.iter().map(|demand| demand.max).max().unwrap_or(1);
        Self {
            contract: args.contract.display().to_string(),
            tiers: Heap::Blocks,
            granule_bytes: cut.granule_bytes,
            sites: contract.sites.len(),
            most_live_bytes: bytes(safe.live),
            most_live_blocks: safe.gaps + 1,
            safe: SafePool {
                pool_bytes: bytes(safe.granules),
                region_bytes: region(safe.granules),
                formula: "M + a + (k - 1)(R(r + a) - 1)",
                most_gaps: safe.gaps,
                longest_gap_bytes: bytes(safe.gap),
                binding_site: Some(name(safe.binding)),
                most_slabs: None,
            },
            robson_floor_bytes: bytes(robson::floor(safe.live, largest)),
            worst_program: Some(WorstProgram {
                pool_bytes: Some(bytes(witness.granules)),
                region_bytes: region(witness.granules),
                operations: witness.steps.len() as u64,
                method: witness.method,
                share_of_safe: witness.granules as f64 / safe.granules as f64,
            }),
            exhaustive: exact.map(|exact| Exhaustive {
                pool_bytes: bytes(exact.granules),
                region_bytes: region(exact.granules),
                states: exact.states,
                transitions: exact.transitions,
            }),
            apart_region_bytes: apart
                .iter()
                .map(|share| share.region_bytes)
                .fold(0, u64::saturating_add),
            apart,
            pool_bytes: args.pool.map(|pool| pool as u64),
            pool_is_safe: args.pool.map(|pool| pool as u64 >= region(safe.granules)),
        }
    }

    /// `None`: more than 64 bits count.
    fn with_slabs(
        args: &Args,
        contract: &Contract,
        safe: SafeWithSlabs,
        worst: Option<WorstProgram>,
    ) -> Option<Self> {
        let bytes = |granules: u64| granules.saturating_mul(contract.cut.granule_bytes);
        let region_bytes = slabs::region_bytes(safe.granules)?;
        // Slots are multiples of 8 bytes, and no heap rounds less.
        let unit = Cut::COMPACT;
        let demands: Vec<Demand> = contract
            .sites
            .iter()
            .map(|site| site.demand(unit))
            .collect();
        let live = safe::pool(unit, &demands)?.live;
        let largest = demands.iter().map(|demand| demand.max).max().unwrap_or(1);
        Some(Self {
            contract: args.contract.display().to_string(),
            tiers: Heap::Slabs,
            granule_bytes: contract.cut.granule_bytes,
            sites: contract.sites.len(),
            most_live_bytes: bytes(safe.live),
            most_live_blocks: safe.gaps + 1,
            safe: SafePool {
                pool_bytes: bytes(safe.granules),
                region_bytes,
                formula: "M + a + (k - 1)(R(r + a) - 1)",
                most_gaps: safe.gaps,
                longest_gap_bytes: bytes(safe.gap),
                binding_site: match safe.binding {
                    Binding::Slab => None,
                    Binding::Demand(index) => Some(contract.sites[index].name.clone()),
                },
                most_slabs: Some(safe.slabs),
            },
            robson_floor_bytes: robson::floor(live, largest).saturating_mul(unit.granule_bytes),
            worst_program: worst.map(|worst| WorstProgram {
                share_of_safe: worst.region_bytes as f64 / region_bytes as f64,
                ..worst
            }),
            exhaustive: None,
            apart_region_bytes: 0,
            apart: Vec::new(),
            pool_bytes: args.pool.map(|pool| pool as u64),
            pool_is_safe: args.pool.map(|pool| pool as u64 >= region_bytes),
        })
    }

    fn text(&self) -> String {
        let mut out = format!(
            "{STRONG}{}{STRONG:#}: {}, {}-byte granules, {}\n\n{}",
            self.contract,
            counted(self.sites as u64, "site"),
            self.granule_bytes,
            match self.tiers {
                Heap::Blocks => "blocks only",
                Heap::Slabs => "with slabs",
            },
            self.table()
        );
        out += &match self.safe.most_slabs {
            None => self.why_blocks(),
            Some(slabs) => self.why_slabs(slabs),
        };
        if self.apart.len() > 1 {
            out += &self.apart_text();
        }
        out
    }

    fn why_slabs(&self, slabs: u64) -> String {
        let safe = &self.safe;
        let fails = match &safe.binding_site {
            Some(site) => format!("a request of '{site}'"),
            None => "a new slab".to_owned(),
        };
        format!(
            "\n{FAINT}The safe pool is {}, where a slab counts as a block: at most {} at once, since a class takes a new one only\n\
             when all its others are full. When {fails} fails, each of the {} may have a gap of up to {} before it\n\
             that the search can't use. Sizes of pools include their map and directory. It is proved for the heap with\n\
             slabs: build it with `Tiers::WithSlabs`.{FAINT:#}\n",
            safe.formula,
            counted(slabs, "slab"),
            counted(safe.most_gaps, "other"),
            human(safe.longest_gap_bytes),
        )
    }

    fn why_blocks(&self) -> String {
        let mut out = String::new();
        let safe = &self.safe;
        let _ = writeln!(
            out,
            "\n{FAINT}The safe pool is {}. When a request of '{}' fails, each of the {} may have a gap of up to\n\
             {} before it that the search can't use. Sizes of pools include their map. It is proved for the heap without\n\
             slabs: build pools of 1 MiB and more with `Tiers::BlocksOnly`.{FAINT:#}",
            safe.formula,
            safe.binding_site.as_deref().unwrap_or_default(),
            counted(safe.most_gaps, "other live block"),
            human(safe.longest_gap_bytes),
        );
        out
    }

    fn table(&self) -> Table {
        let mut table = Table::default();
        if let (Some(pool), Some(is_safe)) = (self.pool_bytes, self.pool_is_safe) {
            let note = format!("a pool of {}", both(pool));
            match is_safe {
                true => table.styled(GOOD, "safe", "yes", note),
                false => table.styled(BAD, "safe", "not proved", note),
            }
        }
        table.row(
            "most live",
            both(self.most_live_bytes),
            match self.tiers {
                Heap::Blocks => format!("in {}", counted(self.most_live_blocks, "block")),
                Heap::Slabs => format!("in {} and slabs", counted(self.most_live_blocks, "block")),
            },
        );
        table.styled(
            STRONG,
            "safe pool",
            both(self.safe.region_bytes),
            "no program that keeps the contract can fail",
        );
        if let Some(exact) = &self.exhaustive {
            let note = format!(
                "every program tried: {} states of the pool",
                grouped(exact.states)
            );
            table.styled(STRONG, "exact minimum", both(exact.region_bytes), note);
        }
        if let Some(worst) = &self.worst_program {
            let note = format!(
                "{:.0} % of the safe pool, in {}: {}",
                worst.share_of_safe * 100.0,
                counted(worst.operations, "operation"),
                worst.method
            );
            table.row("worst program", both(worst.region_bytes), note);
        }
        table.row(
            "Robson's floor",
            both(self.robson_floor_bytes),
            "if sizes and counts were free: no allocator serves all such programs from less",
        );
        table
    }

    fn apart_text(&self) -> String {
        let mut out = format!("\nApart, {} would do:\n", both(self.apart_region_bytes));
        let mut table = Table::default();
        for (index, share) in self.apart.iter().enumerate() {
            table.row(
                &format!("pool {}", index + 1),
                both(share.region_bytes),
                share.sites.join(", "),
            );
        }
        let _ = write!(out, "{table}");
        out
    }
}
