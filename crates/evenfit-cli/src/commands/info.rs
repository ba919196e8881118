//! `evenfit info`: what a recorded program does, in numbers.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anstyle::Style;
use evenfit_trace::{Histogram, Trace, TraceInfo, format};
use schemars::JsonSchema;
use serde::Serialize;

use super::{missing, open_to_show};
use crate::output::{Answer, BAD, FAINT, InputError, STRONG, Table, bar};
use crate::size::{both, counted, grouped, human};

/// Columns of the longest bar of a histogram.
const BAR_WIDTH: usize = 40;

/// Show what a recorded program does: operations, sizes, peak, lifetimes.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  evenfit info traces/redis.evt")]
pub struct Args {
    /// The recorded program: an .evt file
    trace: PathBuf,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<Answer, InputError> {
        let trace = open_to_show(&self.trace)?;
        let info = trace.info();
        if self.json {
            return Answer::json("info", &Info::of(&self.trace, &trace, &info), true);
        }
        Ok(Answer::yes(text(&self.trace, &trace, &info)))
    }
}

fn text(path: &Path, trace: &Trace, info: &TraceInfo) -> String {
    let mut out = format!("{STRONG}{}{STRONG:#}\n\n{}", path.display(), table(trace, info));
    histogram(&mut out, "sizes asked for", &info.sizes, human);
    histogram(&mut out, "lifetimes of freed blocks, in operations", &info.lifetimes, grouped);
    out
}

fn table(trace: &Trace, info: &TraceInfo) -> Table {
    let mut table = Table::default();
    for (key, value) in trace.facts() {
        let style = if key == format::INCOMPLETE { BAD } else { Style::new() };
        table.styled(style, key, value, "");
    }
    let kinds = [
        (info.allocations, "allocations"),
        (info.frees, "frees"),
        (info.reallocations, "reallocations"),
    ];
    let kinds = kinds.map(|(count, kind)| format!("{} {kind}", grouped(count))).join(", ");
    table.row("operations", grouped(info.operations), kinds);
    let blocks = format!(
        "in {}, at operation {}",
        counted(info.blocks_at_peak, "block"),
        grouped(info.peak_at + 1)
    );
    table.styled(STRONG, "peak live", both(info.peak_live_bytes), blocks);
    table.row("most blocks live", grouped(info.peak_live_blocks), "");
    table.row("largest request", both(info.largest_size), "");
    let leaked = format!("in {}", counted(info.leaked_blocks, "block"));
    table.row("never freed", both(info.leaked_bytes), leaked);
    let alignments: Vec<String> = info
        .alignments
        .iter()
        .map(|(align, count)| format!("{} x {}", human(*align), grouped(*count)))
        .collect();
    table.row("alignments", alignments.join(", "), "");
    if let Some(mended) = trace.repairs().describe() {
        table.row("mended", mended, "");
    }
    if info.threads > 1 {
        table.row("threads", grouped(info.threads), "");
    }
    if info.sites_seen > 0 {
        table.row("call sites", grouped(info.sites_seen), "");
    }
    if let Some(seconds) = seconds(trace, info) {
        table.row("time", format!("{seconds:.3} s"), "");
    }
    table
}

/// How long the recording took, if the rate of its clock is known.
fn seconds(trace: &Trace, info: &TraceInfo) -> Option<f64> {
    let rate = trace.header().tick_hz;
    (rate > 0 && info.ticks > 0).then(|| info.ticks as f64 / rate as f64)
}

fn histogram(out: &mut String, title: &str, histogram: &Histogram, name: fn(u64) -> String) {
    let most = histogram.bins().map(|(_, _, count)| count).max().unwrap_or(0);
    if most == 0 {
        return;
    }
    let _ = writeln!(out, "\n  {STRONG}{title}{STRONG:#}");
    let first = histogram.bins().position(|(_, _, count)| count > 0).unwrap_or(0);
    for (_, last, count) in histogram.bins().skip(first) {
        let bar = bar(count as f64 / most as f64, BAR_WIDTH);
        let share = 100.0 * count as f64 / histogram.total() as f64;
        let below = format!("below {}", name(last.saturating_add(1)));
        let _ = writeln!(
            out,
            "  {below:>20}  {:>12}  {share:>5.1} %  {FAINT}{bar}{FAINT:#}",
            grouped(count)
        );
    }
}

/// The JSON answer. Sizes are in bytes, lifetimes in operations.
#[derive(Serialize, JsonSchema)]
pub(super) struct Info<'a> {
    trace: String,
    facts: Vec<Fact<'a>>,
    incomplete: Option<String>,
    operations: u64,
    allocations: u64,
    zeroed: u64,
    frees: u64,
    reallocations: u64,
    grown: u64,
    shrunk: u64,
    /// Most requested bytes live at once, and the blocks live then.
    peak_live_bytes: u64,
    peak_live_blocks: u64,
    /// Most blocks live at once, at whatever moment.
    most_live_blocks: u64,
    /// The operation that reached the peak; operations count from 1.
    peak_operation: u64,
    never_freed_bytes: u64,
    never_freed_blocks: u64,
    largest_request_bytes: u64,
    sizes: Vec<Bin>,
    lifetimes: Vec<Bin>,
    alignments: Vec<Alignment>,
    threads: u64,
    call_sites: u64,
    mended: Option<String>,
    seconds: Option<f64>,
}

#[derive(Serialize, JsonSchema)]
struct Fact<'a> {
    key: &'a str,
    value: &'a str,
}

#[derive(Serialize, JsonSchema)]
struct Bin {
    first: u64,
    last: u64,
    count: u64,
}

#[derive(Serialize, JsonSchema)]
struct Alignment {
    align_bytes: u64,
    count: u64,
}

fn bins(histogram: &Histogram) -> Vec<Bin> {
    let bins = histogram.bins().filter(|&(_, _, count)| count > 0);
    bins.map(|(first, last, count)| Bin { first, last, count }).collect()
}

impl<'a> Info<'a> {
    fn of(path: &Path, trace: &'a Trace, info: &TraceInfo) -> Self {
        let facts = trace.facts().iter();
        let alignments = info.alignments.iter();
        Self {
            trace: path.display().to_string(),
            facts: facts.map(|(key, value)| Fact { key, value }).collect(),
            incomplete: missing(trace),
            operations: info.operations,
            allocations: info.allocations,
            zeroed: info.zeroed,
            frees: info.frees,
            reallocations: info.reallocations,
            grown: info.grown,
            shrunk: info.shrunk,
            peak_live_bytes: info.peak_live_bytes,
            peak_live_blocks: info.blocks_at_peak,
            most_live_blocks: info.peak_live_blocks,
            peak_operation: info.peak_at + u64::from(info.operations > 0),
            never_freed_bytes: info.leaked_bytes,
            never_freed_blocks: info.leaked_blocks,
            largest_request_bytes: info.largest_size,
            sizes: bins(&info.sizes),
            lifetimes: bins(&info.lifetimes),
            alignments: alignments
                .map(|(&align_bytes, &count)| Alignment { align_bytes, count })
                .collect(),
            threads: info.threads,
            call_sites: info.sites_seen,
            mended: trace.repairs().describe(),
            seconds: seconds(trace, info),
        }
    }
}
