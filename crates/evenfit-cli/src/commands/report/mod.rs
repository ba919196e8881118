//! `evenfit report`: what happened in a pool, as a page and as pictures.

pub(super) mod history;
pub(super) mod page;
pub(super) mod picture;

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use evenfit_trace::replay::Allocator;
use evenfit_trace::{Histogram, Trace};
use schemars::JsonSchema;
use serde::Serialize;

use self::history::{Costs, History, Moment};
use super::{missing, open_complete, open_to_show};
use crate::allocator::{Kind, Visit};
use crate::drive::Program;
use crate::obstacles::{Group, Obstacles, group_name};
use crate::output::{Answer, BAD, GOOD, InputError, STRONG, Table};
use crate::output_file;
use crate::postmortem::PostMortem;
use crate::progress::Progress;
use crate::region::Region;
use crate::replay::{Checks, Replay};
use crate::size::{self, both, counted, grouped, human};
use crate::smallest::smallest_pool;

/// Show what happens in a pool: one page with the memory map over time, curves, holes and who pins
/// them.
///
/// Exit code 0 if the program fits, 1 if it does not (the page shows why), 2 for bad flags or
/// files.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  evenfit report traces/csound.evt --pool 44MiB -o report.html
  evenfit report traces/csound.evt --pool min --svg map.svg --png map.png")]
pub struct Args {
    /// The recorded program: an .evt file
    trace: PathBuf,
    /// The pool's size, metadata included: 16MiB, 4096, 1.5GiB; or `min` for the smallest that fits
    #[arg(long, allow_hyphen_values = true, value_name = "SIZE", default_value = "min")]
    pool: PoolSize,
    /// Write the page: one file that needs no network
    #[arg(short, long, value_name = "OUT.html")]
    output: Option<PathBuf>,
    /// Write map and curves as SVG
    #[arg(long, value_name = "OUT.svg")]
    svg: Option<PathBuf>,
    /// Write map and curves as PNG
    #[arg(long, value_name = "OUT.png")]
    png: Option<PathBuf>,
    /// The allocator to run it in; the heap aligns all blocks to 16 bytes if most of the program's
    /// are
    #[arg(long, value_enum, default_value_t = Kind::Heap)]
    allocator: Kind,
    /// Answer in JSON: the same numbers as on the page
    #[arg(long)]
    json: bool,
}

/// The value of `--pool`.
#[derive(Clone, Copy, Debug)]
pub(super) enum PoolSize {
    Bytes(usize),
    Min,
}

impl PoolSize {
    /// Reads the trace to show in this pool.
    pub(super) fn open(self, path: &Path) -> Result<Trace, InputError> {
        match self {
            Self::Bytes(_) => open_to_show(path),
            Self::Min => open_complete(path),
        }
    }

    /// The size; for `min` it is searched for.
    pub(super) fn bytes(self, trace: &Trace, kind: Kind) -> Result<usize, InputError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Min => Ok(smallest_pool(trace, kind)?.smallest_region_bytes),
        }
    }
}

impl FromStr for PoolSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "min" => Ok(Self::Min),
            _ => size::parse(text).map(Self::Bytes).map_err(|e| format!("{e}, or `min`")),
        }
    }
}

/// How often the trace is timed; each operation's shortest time counts.
const COST_RUNS: u32 = 5;
/// Sites named on the page.
const NAMED_MAX: usize = 12;

impl Args {
    pub(super) fn run(self) -> Result<Answer, InputError> {
        if self.output.is_none() && self.svg.is_none() && self.png.is_none() && !self.json {
            return Err(InputError(
                "nothing to write: name a page with -o OUT.html, a picture with --svg or --png, or ask for --json".into(),
            ));
        }
        let named = [&self.output, &self.svg, &self.png];
        let to_stdout =
            named.into_iter().flatten().filter(|path| output_file::is_stdout(path)).count();
        if to_stdout + usize::from(self.json) > 1 {
            return Err(InputError(
                "only one of the page, a picture and the JSON can go to standard output".into(),
            ));
        }
        let trace = self.pool.open(&self.trace)?;
        let pool_bytes = self.pool.bytes(&trace, self.allocator)?;
        let progress = Progress::new("replaying", trace.events().len() as u64);
        let history = History::of(&trace, self.allocator, pool_bytes)?;
        progress.advance(trace.events().len() as u64 / 2);
        let shown = history.shown();
        let summary = Summary::of(&self, &trace, pool_bytes, &history, shown.len())?;
        drop(progress);
        if let Some(path) = &self.output {
            write(path, page::of(&summary, &history, &shown)?.as_bytes())?;
        }
        let picture = picture::Picture::of(&summary, &history);
        if let Some(path) = &self.svg {
            write(path, picture.svg()?.as_bytes())?;
        }
        if let Some(path) = &self.png {
            write(path, &picture.png()?)?;
        }
        let yes = summary.fits;
        if to_stdout > 0 {
            return Ok(Answer { text: String::new(), yes });
        }
        if self.json {
            return Answer::json("report", &summary, yes);
        }
        Ok(Answer { text: self.text(&summary), yes })
    }

    fn text(&self, summary: &Summary) -> String {
        let mut table = Table::default();
        match &summary.post_mortem {
            None => table.styled(GOOD, "fits", "yes", ""),
            Some(post_mortem) => {
                let note = format!(
                    "operation {} asks for {}",
                    grouped(post_mortem.operation),
                    human(post_mortem.requested_bytes)
                );
                table.styled(BAD, "fits", "no", note);
            }
        }
        if let Some(why) = &summary.incomplete {
            table.styled(BAD, "incomplete", why, "");
        }
        let blocks = format!("in {}", counted(summary.peak.live_blocks, "block"));
        table.row("peak live", both(summary.peak.live_bytes), blocks);
        table.row(
            "reach",
            both(summary.reach_bytes),
            "the furthest byte of the pool that was ever used",
        );
        let written = [("page", &self.output), ("SVG", &self.svg), ("PNG", &self.png)];
        for (label, path) in written {
            if let Some(path) = path {
                let bytes = fs::metadata(path).map_or(0, |data| data.len());
                table.row(label, path.display().to_string(), human(bytes));
            }
        }
        format!(
            "{STRONG}{}{STRONG:#} in {}, pool of {}\n\n{table}",
            summary.trace,
            self.allocator.name(),
            both(summary.region_bytes)
        )
    }
}

/// Writes these bytes to a file.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), InputError> {
    output_file::write(path, |out| out.write_all(bytes))
}

/// The numbers of the page. Sizes are in bytes, operations count from 1.
#[derive(Serialize, JsonSchema)]
pub(super) struct Summary {
    trace: String,
    incomplete: Option<String>,
    allocator: &'static str,
    /// The unit of offsets and lengths in the page, in bytes.
    unit_bytes: u64,
    /// Steps of time that the curves have, and how many operations they divide.
    steps: u64,
    steps_over: u64,
    /// The region handed to the heap, and the pool in it.
    region_bytes: u64,
    pool_bytes: u64,
    metadata_bytes: u64,
    pool_human: String,
    fits: bool,
    operations: u64,
    operations_done: u64,
    /// Region / peak live bytes.
    footprint: Option<f64>,
    peak: MomentReport,
    /// The most fragmented moment.
    worst: MomentReport,
    /// The end of the highest block that was ever placed.
    reach_bytes: u64,
    /// The longest request of the program.
    longest_request_bytes: u64,
    /// Places that blocks had, and how many of them the page can draw.
    places: u64,
    places_shown: u64,
    /// What stands between free pieces at the failure, or at the fullest moment: all live blocks,
    /// by call site, or by size where none was recorded.
    pinning: Vec<Group>,
    sites: Vec<SiteReport>,
    sizes: Vec<Bar>,
    lifetimes: Vec<Bar>,
    /// Nanoseconds that an operation took, the shortest of several runs.
    cost_ns: Option<CostReport>,
    post_mortem: Option<PostMortem>,
}

#[derive(Serialize, JsonSchema)]
struct MomentReport {
    operation: u64,
    live_bytes: u64,
    live_blocks: u64,
    largest_free_bytes: u64,
    /// The share of all requests that would have succeeded then.
    share_served: f64,
}

#[derive(Serialize, JsonSchema)]
struct SiteReport {
    id: u32,
    name: String,
    location: String,
    blocks: u64,
    bytes: u64,
}

#[derive(Serialize, JsonSchema)]
struct Bar {
    /// The least and the greatest value of this bar.
    first: u64,
    last: u64,
    count: u64,
}

#[derive(Serialize, JsonSchema)]
struct CostReport {
    runs: u32,
    p50: u32,
    p90: u32,
    p99: u32,
    p99_9: u32,
    max: u32,
}

impl Summary {
    fn of(
        args: &Args,
        trace: &Trace,
        region_bytes: usize,
        history: &History,
        places_shown: usize,
    ) -> Result<Self, InputError> {
        let info = trace.info();
        let done = history.outcome.done;
        let fits = done == trace.events().len();
        let moment = |moment: Moment| MomentReport {
            operation: moment.event as u64 + 1,
            live_bytes: moment.live_bytes,
            live_blocks: moment.live_blocks,
            largest_free_bytes: moment.largest_free_bytes,
            share_served: history.share_served(moment.largest_free_bytes),
        };
        // The run stops by itself at the event that failed.
        let end = if fits { (history.peak.event + 1).min(done) } else { done + 1 };
        let (pinning, post_mortem) = standing(trace, args.allocator, region_bytes, end)?;
        let live = history.peak.live_bytes;
        Ok(Self {
            trace: args.trace.display().to_string(),
            incomplete: missing(trace),
            allocator: args.allocator.flag(),
            unit_bytes: page::UNIT_BYTES,
            steps: history.columns.iter().filter(|column| column.seen).count() as u64,
            steps_over: history.over as u64,
            region_bytes: region_bytes as u64,
            pool_bytes: history.outcome.pool_bytes as u64,
            metadata_bytes: history.outcome.metadata_bytes as u64,
            pool_human: human(region_bytes as u64),
            fits,
            operations: trace.events().len() as u64,
            operations_done: done as u64,
            footprint: (live > 0).then(|| region_bytes as f64 / live as f64),
            peak: moment(history.peak),
            worst: moment(history.worst),
            reach_bytes: history.columns.iter().map(|column| column.reach_bytes).max().unwrap_or(0),
            longest_request_bytes: info.largest_size,
            places: history.spans.len() as u64,
            places_shown: places_shown as u64,
            pinning,
            sites: sites(trace, history),
            sizes: bars(&info.sizes),
            lifetimes: bars(&info.lifetimes),
            cost_ns: costs(&Costs::of(trace, args.allocator, region_bytes, COST_RUNS)?),
            post_mortem,
        })
    }
}

fn costs(costs: &Costs) -> Option<CostReport> {
    Some(CostReport {
        runs: COST_RUNS,
        p50: costs.percentile(0.5)?,
        p90: costs.percentile(0.9)?,
        p99: costs.percentile(0.99)?,
        p99_9: costs.percentile(0.999)?,
        max: costs.percentile(1.0)?,
    })
}

fn bars(histogram: &Histogram) -> Vec<Bar> {
    histogram.bins().map(|(first, last, count)| Bar { first, last, count }).collect()
}

/// The sites that allocated most bytes, if any were recorded.
fn sites(trace: &Trace, history: &History) -> Vec<SiteReport> {
    let mut by_site = std::collections::HashMap::new();
    for span in &history.spans {
        let (blocks, bytes) = by_site.entry(span.site).or_insert((0u64, 0u64));
        *blocks += 1;
        *bytes += span.place.size_bytes;
    }
    by_site.remove(&0);
    let mut sites: Vec<SiteReport> = by_site
        .into_iter()
        .map(|(id, (blocks, bytes))| SiteReport {
            id,
            name: group_name(trace, id, 0),
            location: trace.site(id).map_or(String::new(), |site| site.location.clone()),
            blocks,
            bytes,
        })
        .collect();
    sites.sort_unstable_by_key(|site| (std::cmp::Reverse(site.bytes), site.id));
    sites.truncate(NAMED_MAX);
    sites
}

/// What stands between free pieces before the event `end`, and why the program failed if it failed
/// before that. Found by a second run.
fn standing(
    trace: &Trace,
    kind: Kind,
    bytes: usize,
    end: usize,
) -> Result<(Vec<Group>, Option<PostMortem>), InputError> {
    struct Run<'t> {
        trace: &'t Trace,
        region: std::ops::Range<usize>,
        end: usize,
    }
    impl Visit for Run<'_> {
        type Output = (Vec<Group>, Option<PostMortem>);

        fn visit<A: Allocator>(self, allocator: A) -> Self::Output {
            let mut replay =
                Replay::new(self.trace, allocator, self.region.clone(), Checks::default());
            let failed = replay.run_until(self.end, |_| ()).is_err();
            let obstacles = Obstacles::of(&replay);
            let groups = obstacles.groups(self.trace, obstacles.between_holes());
            (groups, failed.then(|| PostMortem::of(&replay)))
        }
    }
    let mut memory = Region::new(bytes)?;
    let run = Run { trace, region: memory.addresses(), end };
    let cut = Program::of(trace).cut;
    Ok(kind.build(cut, memory.bytes(), run).unwrap_or_default())
}
