//! What `evenfit bound` answers.

use std::fmt::Write as _;

use evenfit_bound::adversary::Witness;
use evenfit_bound::exhaustive::Exact;
use evenfit_bound::safe::{self, Demand, Safe, Share};
use evenfit_bound::slabs::{Binding, SafeWithSlabs};
use evenfit_bound::{Contract, robson};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Args, Heap};
use crate::output::{BAD, FAINT, GOOD, STRONG, Table};
use crate::size::{both, counted, grouped, human};

/// What the safe pool is, of either heap.
const FORMULA: &str = "M + a + (k - 1)(R(r + a) - 1 + e) - (R(r + a) - r - a)";

/// The answer. Sizes are in bytes; a pool's are its granules, a region's are those and the
/// metadata.
#[derive(Serialize, JsonSchema)]
pub(in crate::commands) struct Report {
    contract: String,
    tiers: Heap,
    geometry: Option<&'static str>,
    granule_bytes: u64,
    sites: usize,
    most_live_bytes: u64,
    most_live_blocks: u64,
    safe: SafePool,
    /// No allocator serves every program with the same most live bytes and largest block from less;
    /// a contract that names its sites may need less.
    robson_floor_bytes: u64,
    /// Null if all programs are too large to be run here.
    worst_program: Option<WorstProgram>,
    exhaustive: Option<Exhaustive>,
    /// The same contract in several pools, by size.
    apart: Vec<Apart>,
    apart_region_bytes: u64,
    /// What --pool asked about, metadata included.
    asked_region_bytes: Option<u64>,
    pub(super) pool_is_safe: Option<bool>,
}

#[derive(Serialize, JsonSchema)]
struct SafePool {
    pool_bytes: u64,
    region_bytes: u64,
    formula: &'static str,
    most_gaps: u64,
    longest_gap_bytes: u64,
    /// Null if a new slab decides the size.
    binding_site: Option<String>,
    /// With slabs: how many there may be at once.
    most_slabs: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct WorstProgram {
    /// Null with slabs, where only the region is known.
    pub(super) pool_bytes: Option<u64>,
    pub(super) region_bytes: u64,
    pub(super) operations: u64,
    pub(super) method: &'static str,
    pub(super) share_of_safe: f64,
}

#[derive(Serialize, JsonSchema)]
struct Exhaustive {
    pool_bytes: u64,
    region_bytes: u64,
    states: u64,
    transitions: u64,
}

#[derive(Serialize, JsonSchema)]
struct Apart {
    sites: Vec<String>,
    region_bytes: u64,
}

impl Apart {
    /// The cheapest division. `None`: more than 64 bits count.
    fn of(contract: &Contract, demands: &[Demand]) -> Option<Vec<Self>> {
        let name = |&index: &usize| contract.sites[index].name.clone();
        let shares = safe::divided(contract.cut, demands)?;
        let of_share = |share: &Share| {
            Some(Self {
                sites: share.demands.iter().map(name).collect(),
                region_bytes: contract.cut.region_bytes(share.safe.granules)?,
            })
        };
        shares.iter().map(of_share).collect()
    }
}

/// The longest request of any site, in granules.
fn largest(demands: &[Demand]) -> u64 {
    demands.iter().map(|demand| demand.max).max().unwrap_or(1)
}

impl Report {
    /// What is said of either heap: without a program that was run, and of one pool. `live`
    /// granules are those of the requests themselves.
    fn of(
        args: &Args,
        contract: &Contract,
        safe: &Safe,
        region_bytes: u64,
        live: u64,
        largest: u64,
    ) -> Self {
        let cut = contract.cut;
        let bytes = |granules: u64| granules.saturating_mul(cut.granule_bytes);
        Self {
            contract: args.contract.display().to_string(),
            tiers: Heap::Blocks,
            geometry: cut.name(),
            granule_bytes: cut.granule_bytes,
            sites: contract.sites.len(),
            most_live_bytes: bytes(safe.live),
            most_live_blocks: safe.gaps + 1,
            safe: SafePool {
                pool_bytes: bytes(safe.granules),
                region_bytes,
                formula: FORMULA,
                most_gaps: safe.gaps,
                longest_gap_bytes: bytes(safe.gap),
                binding_site: None,
                most_slabs: None,
            },
            robson_floor_bytes: bytes(robson::floor(live, largest)),
            worst_program: None,
            exhaustive: None,
            apart_region_bytes: 0,
            apart: Vec::new(),
            asked_region_bytes: args.pool.map(|pool| pool as u64),
            pool_is_safe: args.pool.map(|pool| pool as u64 >= region_bytes),
        }
    }

    pub(super) fn new(
        args: &Args,
        contract: &Contract,
        demands: &[Demand],
        safe: Safe,
        witness: &Witness,
        exact: Option<&Exact>,
    ) -> Option<Self> {
        let cut = contract.cut;
        let bytes = |granules: u64| granules.saturating_mul(cut.granule_bytes);
        let region_bytes = cut.region_bytes(safe.granules)?;
        // No program needs a longer one.
        let region = |granules: u64| cut.region_bytes(granules).unwrap_or(region_bytes);
        let apart = Apart::of(contract, demands).unwrap_or_default();
        let mut report = Self::of(args, contract, &safe, region_bytes, safe.live, largest(demands));
        report.safe.binding_site = Some(contract.sites[safe.binding].name.clone());
        Some(Self {
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
            ..report
        })
    }

    /// `None`: more than 64 bits count.
    pub(super) fn with_slabs(
        args: &Args,
        contract: &Contract,
        safe: SafeWithSlabs,
        worst: Option<WorstProgram>,
    ) -> Option<Self> {
        let cut = contract.cut;
        let SafeWithSlabs { safe, slabs, binding } = safe;
        let region_bytes = cut.region_bytes_with_slabs(safe.granules)?;
        let demands = contract.demands();
        let live = safe::pool(cut, &demands)?.live;
        let mut report = Self::of(args, contract, &safe, region_bytes, live, largest(&demands));
        report.safe.binding_site = match binding {
            Binding::Slab => None,
            Binding::Demand(index) => Some(contract.sites[index].name.clone()),
        };
        report.safe.most_slabs = Some(slabs);
        Some(Self {
            tiers: Heap::Slabs,
            worst_program: worst.map(|worst| WorstProgram {
                share_of_safe: worst.region_bytes as f64 / region_bytes as f64,
                ..worst
            }),
            ..report
        })
    }

    pub(super) fn text(&self) -> String {
        let mut out = format!(
            "{STRONG}{}{STRONG:#}: {}, {} geometry, {}\n\n{}",
            self.contract,
            counted(self.sites as u64, "site"),
            self.geometry.unwrap_or("no known"),
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
            "\n{FAINT}The safe pool is {},\n\
             where a slab counts as a block: at most {} at once, since a class takes a new one only when all its others are\n\
             full. When {fails} fails, each of the {} may have a gap of up to {} before it that the search\n\
             can't use. Sizes of pools include their metadata. It is proved for the heap with slabs: build it with\n\
             `with_slabs()`.{FAINT:#}\n",
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
            "\n{FAINT}The safe pool is {}.\n\
             When a request of '{}' fails, each of the {} may have a gap of up to {} before it that the search\n\
             can't use. Sizes of pools include their metadata. It is proved for the heap without slabs: build pools of 1 MiB\n\
             and more with `blocks_only()`.{FAINT:#}",
            safe.formula,
            safe.binding_site.as_deref().unwrap_or_default(),
            counted(safe.most_gaps, "other live block"),
            human(safe.longest_gap_bytes),
        );
        out
    }

    fn table(&self) -> Table {
        let mut table = Table::default();
        if let (Some(pool), Some(is_safe)) = (self.asked_region_bytes, self.pool_is_safe) {
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
            let note = format!("every program tried: {} states of the pool", grouped(exact.states));
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
            "for a weaker contract, the same live bytes in any sizes: no allocator needs less",
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
