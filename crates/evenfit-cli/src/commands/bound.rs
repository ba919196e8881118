//! `evenfit bound`: the pool that can never fail for a declared contract.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use evenfit_contract::adversary::{self, Witness};
use evenfit_contract::exhaustive::{Exact, Programs, Rule, Step, smallest};
use evenfit_contract::safe::{self, Demand, Safe};
use evenfit_contract::{Contract, Site, robson};
use evenfit_trace::{Codec, Trace, TraceBuilder};
use serde::Serialize;

use super::file_error;
use crate::output::{Answer, BAD, FAINT, GOOD, InputError, STRONG, Table};
use crate::size::{self, both, counted, grouped, human};

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

The proof is in docs/bounds.md. It holds for the heap without slabs (`Tiers::BlocksOnly`), used through one lock.")]
pub struct Args {
    /// The contract: a TOML file
    contract: PathBuf,
    /// Is a pool of this size, its map included, proved safe? (16MiB, 4096, 1.5GiB)
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pool: Option<usize>,
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

/// Live granules a witness may have in a trace and still be written.
const PIECES_MAX: u64 = 255;

impl Args {
    pub(super) fn run(self) -> Result<Answer, InputError> {
        let contract = read(&self.contract)?;
        let demands = contract.demands();
        let too_large = || InputError("the contract allows more memory than 64 bits count".into());
        let safe = safe::pool(contract.cut, &demands).ok_or_else(too_large)?;
        let exact = self
            .exhaustive
            .then(|| self.search(&contract, &demands))
            .transpose()?;
        let witness = self.worst(&contract, &demands, exact.as_ref());
        let report = Report::new(&self, &contract, &demands, safe, &witness, exact.as_ref());
        if let Some(path) = &self.witness {
            let trace = trace_of(&contract, &witness.steps)?;
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
    granule_bytes: u64,
    sites: usize,
    most_live_bytes: u64,
    most_live_blocks: u64,
    safe: SafePool,
    /// No allocator serves every program of so many live bytes and so large blocks from less; a contract that names
    /// its sites may need less.
    robson_floor_bytes: u64,
    worst_program: WorstProgram,
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
    binding_site: String,
}

#[derive(Serialize)]
struct WorstProgram {
    pool_bytes: u64,
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
                binding_site: name(safe.binding),
            },
            robson_floor_bytes: bytes(robson::floor(safe.live, largest)),
            worst_program: WorstProgram {
                pool_bytes: bytes(witness.granules),
                region_bytes: region(witness.granules),
                operations: witness.steps.len() as u64,
                method: witness.method,
                share_of_safe: witness.granules as f64 / safe.granules as f64,
            },
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

    fn text(&self) -> String {
        let mut out = format!(
            "{STRONG}{}{STRONG:#}: {}, {}-byte granules, blocks only\n\n{}",
            self.contract,
            counted(self.sites as u64, "site"),
            self.granule_bytes,
            self.table()
        );
        let safe = &self.safe;
        let _ = writeln!(
            out,
            "\n{FAINT}The safe pool is {}. When a request of '{}' fails, each of the {} may have a gap of up to\n\
             {} before it that the search can't use. Sizes of pools include their map. It is proved for the heap without\n\
             slabs: build pools of 1 MiB and more with `Tiers::BlocksOnly`.{FAINT:#}",
            safe.formula,
            safe.binding_site,
            counted(safe.most_gaps, "other live block"),
            human(safe.longest_gap_bytes),
        );
        if self.apart.len() > 1 {
            out += &self.apart_text();
        }
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
            format!("in {}", counted(self.most_live_blocks, "block")),
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
        let worst = &self.worst_program;
        let note = format!(
            "{:.0} % of the safe pool, in {}: {}",
            worst.share_of_safe * 100.0,
            counted(worst.operations, "operation"),
            worst.method
        );
        table.row("worst program", both(worst.region_bytes), note);
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
