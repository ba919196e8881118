//! `evenfit replay`: does a recorded program run in a pool of this size?

use std::fmt;
use std::num::NonZeroU64;
use std::ops::Range;
use std::path::PathBuf;

use evenfit::Stats;
use evenfit_trace::Trace;
use evenfit_trace::replay::Allocator;
use schemars::JsonSchema;
use serde::Serialize;

use super::open_complete;
use super::report::PoolSize;
use crate::allocator::{Kind, Visit};
use crate::drive::Program;
use crate::output::{Answer, BAD, GOOD, InputError, STRONG, Table, shell_word};
use crate::postmortem::PostMortem;
use crate::progress::Progress;
use crate::region::Region;
use crate::replay::{Checks, Peak, Replay, Stop};
use crate::size::{both, counted, grouped};
use crate::smallest::{Found, smallest_pool};

/// Run a recorded program's operations in a fixed pool: does it fit?
///
/// Exit code 0 if it does, 1 if it does not (with a post-mortem), 2 for bad flags or files.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  evenfit replay traces/redis.evt --pool 16MiB
  evenfit replay traces/redis.evt --pool min          the smallest pool that fits
  evenfit replay traces/redis.evt --pool 16MiB --verify --check-every 100000")]
pub struct Args {
    /// The recorded program: an .evt file
    trace: PathBuf,
    /// The pool's size, metadata included: 16MiB, 4096, 1.5GiB; or `min` to find the smallest
    #[arg(long, allow_hyphen_values = true, value_name = "SIZE")]
    pool: PoolSize,
    /// The allocator to run it in; the heap aligns all blocks to 16 bytes if most of the program's
    /// are
    #[arg(long, value_enum, default_value_t = Kind::Heap)]
    allocator: Kind,
    /// Fill every block with a pattern, and check it when the block is resized or freed, and at
    /// the end
    #[arg(long)]
    verify: bool,
    /// Check the whole pool's integrity every N operations
    #[arg(long, value_name = "N")]
    check_every: Option<NonZeroU64>,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<Answer, InputError> {
        let trace = open_complete(&self.trace)?;
        let search = match self.pool {
            PoolSize::Bytes(_) => None,
            PoolSize::Min => Some(smallest_pool(&trace, self.allocator)?),
        };
        let pool_bytes = match (self.pool, search) {
            (PoolSize::Bytes(bytes), _) => bytes,
            (PoolSize::Min, found) => found.map_or(0, |found| found.smallest_region_bytes),
        };
        let report = self.report(&trace, pool_bytes, search)?;
        let yes = report.fits;
        if self.json {
            return Answer::json("replay", &report, yes);
        }
        Ok(Answer { text: report.to_string(), yes })
    }

    fn report(
        &self,
        trace: &Trace,
        pool_bytes: usize,
        search: Option<Found>,
    ) -> Result<Report, InputError> {
        let mut memory = Region::new(pool_bytes)?;
        let checks = Checks { verify: self.verify, check_every: self.check_every };
        let run = Run { trace, region: memory.addresses(), checks };
        let shown = self
            .allocator
            .build(Program::of(trace).cut, memory.bytes(), run)
            .map_err(|error| InputError(format!("--pool: {error}")))?;
        Ok(Report::new(self, trace, pool_bytes, search, shown))
    }
}

/// A replay to be done in whichever allocator.
struct Run<'t> {
    trace: &'t Trace,
    region: Range<usize>,
    checks: Checks,
}

/// What a replay has shown.
struct Shown {
    end: Result<(), Stop>,
    operations: u64,
    peak: Peak,
    stats: Stats,
    largest_free: usize,
    operations_per_second: Option<f64>,
    post_mortem: Option<PostMortem>,
}

impl Visit for Run<'_> {
    type Output = Shown;

    fn visit<A: Allocator>(self, allocator: A) -> Shown {
        let progress = Progress::new("replaying", self.trace.events().len() as u64);
        let mut replay = Replay::new(self.trace, allocator, self.region.clone(), self.checks);
        let end = replay.run(|done| progress.advance(done));
        let post_mortem = matches!(end, Err(Stop::OutOfMemory(_))).then(|| PostMortem::of(&replay));
        Shown {
            end,
            operations: replay.position() as u64,
            peak: replay.peak(),
            stats: replay.allocator().stats(),
            largest_free: replay.allocator().largest_free(),
            operations_per_second: replay.operations_per_second(),
            post_mortem,
        }
    }
}

/// The answer, as it is printed and as it is written in JSON. Sizes are in bytes; all that is
/// measured is measured up to the last operation done.
#[derive(Serialize, JsonSchema)]
pub(super) struct Report {
    trace: String,
    allocator: Kind,
    /// The memory handed to the allocator, its metadata included.
    region_bytes: u64,
    fits: bool,
    /// Operations in the trace.
    operations: u64,
    operations_done: u64,
    peak_live_bytes: u64,
    peak_live_blocks: u64,
    /// Most bytes in blocks at once, as rounded.
    peak_used_bytes: u64,
    metadata_bytes: u64,
    /// Pool / peak live bytes, if it fits.
    footprint: Option<f64>,
    /// When most bytes were live: the share of the free bytes outside the largest free block.
    fragmentation_at_peak: Option<f64>,
    largest_free_at_peak_bytes: u64,
    largest_free_at_end_bytes: u64,
    operations_per_second: Option<f64>,
    verified: bool,
    check_every: Option<NonZeroU64>,
    /// What the allocator did wrong.
    broken: Option<String>,
    /// What `--pool min` found.
    smallest: Option<Found>,
    post_mortem: Option<PostMortem>,
    #[serde(skip)]
    command: String,
}

impl Report {
    fn new(
        args: &Args,
        trace: &Trace,
        pool_bytes: usize,
        search: Option<Found>,
        shown: Shown,
    ) -> Self {
        let path = args.trace.display();
        let allocator = match args.allocator {
            Kind::Heap => String::new(),
            other => format!(" --allocator {}", other.flag()),
        };
        let live = shown.peak.live_bytes;
        let fits = shown.end.is_ok();
        let broken = match &shown.end {
            Err(Stop::Broken(what)) => {
                Some(format!("operation {}: {what}", grouped(shown.operations + 1)))
            }
            _ => None,
        };
        Self {
            trace: path.to_string(),
            allocator: args.allocator,
            region_bytes: pool_bytes as u64,
            fits,
            operations: trace.events().len() as u64,
            operations_done: shown.operations,
            peak_live_bytes: live,
            peak_live_blocks: shown.peak.live_blocks,
            peak_used_bytes: shown.stats.peak_used_bytes as u64,
            metadata_bytes: shown.stats.metadata_bytes as u64,
            footprint: (fits && live > 0).then(|| pool_bytes as f64 / live as f64),
            fragmentation_at_peak: shown.peak.fragmentation(),
            largest_free_at_peak_bytes: shown.peak.largest_free as u64,
            largest_free_at_end_bytes: shown.largest_free as u64,
            operations_per_second: shown.operations_per_second.filter(|_| fits),
            verified: args.verify && fits,
            check_every: args.check_every,
            broken,
            smallest: search,
            post_mortem: shown.post_mortem,
            command: format!(
                "evenfit replay {}{allocator} --pool min",
                shell_word(&path.to_string())
            ),
        }
    }

    fn table(&self) -> Table {
        let mut table = Table::default();
        match self.fits {
            true => table.styled(GOOD, "fits", "yes", self.checked()),
            false => table.styled(BAD, "fits", "no", "measured until it failed"),
        }
        if let Some(found) = self.smallest {
            let mut fails = format!("{} fails", both(found.fails_region_bytes as u64));
            if let Some(always) = found.always_region_bytes {
                fails += &format!("; none from {} on does", both(always as u64));
            }
            table.row("smallest pool", both(found.smallest_region_bytes as u64), fails);
        }
        table.row("operations", grouped(self.operations_done), self.of_all());
        let blocks = format!("in {}", counted(self.peak_live_blocks, "block"));
        table.row("peak live", both(self.peak_live_bytes), blocks);
        table.row(
            "high-water mark",
            both(self.peak_used_bytes),
            "most bytes taken from the pool at once",
        );
        table.row("metadata", both(self.metadata_bytes), "of the pool, outside the blocks");
        if let Some(footprint) = self.footprint {
            table.styled(STRONG, "footprint", format!("{footprint:.3}"), "pool / peak live");
        }
        if let Some(share) = self.fragmentation_at_peak {
            let note = "at the peak: free bytes outside the largest free block";
            table.row("fragmentation", format!("{:.1} %", share * 100.0), note);
        }
        let largest = both(self.largest_free_at_peak_bytes);
        table.row("largest free block", largest, "at the peak");
        if let Some(speed) = self.operations_per_second {
            table.row(
                "speed",
                format!("{} operations/s", magnitude(speed)),
                "the replay's own work included",
            );
        }
        table
    }

    fn checked(&self) -> String {
        let mut checked = Vec::new();
        if self.verified {
            checked.push("every byte of every block verified".to_owned());
        }
        if let Some(every) = self.check_every {
            checked.push(format!("integrity checked every {} operations", grouped(every.get())));
        }
        checked.join(", ")
    }

    fn of_all(&self) -> String {
        if self.fits { String::new() } else { format!("of {}", grouped(self.operations)) }
    }
}

/// A rate in three digits: `41.2 M`.
fn magnitude(rate: f64) -> String {
    match rate {
        rate if rate >= 1e6 => format!("{:.1} M", rate / 1e6),
        rate if rate >= 1e3 => format!("{:.1} k", rate / 1e3),
        rate => format!("{rate:.0}"),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, allocator) = (&self.trace, self.allocator.name());
        let pool = both(self.region_bytes);
        writeln!(f, "{STRONG}{trace}{STRONG:#} in {allocator}, pool of {pool}\n")?;
        write!(f, "{}", self.table())?;
        if let Some(broken) = &self.broken {
            writeln!(f, "\n{BAD}The allocator is wrong.{BAD:#} At {broken}.")?;
        }
        if let Some(post_mortem) = &self.post_mortem {
            write!(f, "\n{post_mortem}")?;
            writeln!(f, "\nTo find a pool that fits:\n    {}", self.command)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_read_in_their_magnitude() {
        assert_eq!(magnitude(41_234_567.0), "41.2 M");
        assert_eq!(magnitude(14_300.0), "14.3 k");
        assert_eq!(magnitude(99.0), "99");
    }
}
