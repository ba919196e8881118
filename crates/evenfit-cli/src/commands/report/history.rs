//! The history of a pool: where and when each block was live, and the pool's state at equal steps
//! of time.

use evenfit_trace::Trace;
use evenfit_trace::replay::{Allocator, Contents, Live, Watch};

use crate::allocator::Kind;
use crate::drive::{Outcome, Place, Program, drive};
use crate::output::InputError;

/// The number of time steps in the curves.
pub(in crate::commands) const COLUMNS: usize = 1200;
/// Most spans in a report. If there are more, the smallest and shortest are left out.
pub(in crate::commands) const SPANS_MAX: usize = 500_000;

/// A block at one address: a rectangle of address and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands) struct Span {
    pub(in crate::commands) id: u32,
    /// The event after which it is there, and the first after which it isn't; the number of events
    /// if it stays.
    pub(in crate::commands) start: u32,
    pub(in crate::commands) end: u32,
    pub(in crate::commands) place: Place,
    /// The call site; 0 if unknown.
    pub(in crate::commands) site: u32,
}

impl Span {
    fn area(&self) -> u128 {
        u128::from(self.end - self.start) * self.place.len_bytes as u128
    }
}

/// The pool at the end of a time step. Largest and smallest values are those within the step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::commands) struct Column {
    /// Most requested bytes live.
    pub(in crate::commands) live_bytes: u64,
    /// Most bytes in blocks, as rounded.
    pub(in crate::commands) used_bytes: u64,
    /// Most blocks live.
    pub(in crate::commands) live_blocks: u64,
    /// The end of the highest block so far.
    pub(in crate::commands) reach_bytes: u64,
    /// The smallest size of the largest free block.
    pub(in crate::commands) largest_free_bytes: u64,
    /// Whether anything happened in it.
    pub(in crate::commands) seen: bool,
}

/// All of it.
pub(in crate::commands) struct History {
    pub(in crate::commands) outcome: Outcome,
    pub(in crate::commands) spans: Vec<Span>,
    pub(in crate::commands) columns: Vec<Column>,
    /// The events that the columns divide.
    pub(in crate::commands) over: usize,
    pub(in crate::commands) peak: Moment,
    /// When the largest free block was the smallest part of all free bytes.
    pub(in crate::commands) worst: Moment,
    /// The requested sizes, sorted.
    pub(in crate::commands) sizes: Vec<u64>,
}

/// A moment worth showing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::commands) struct Moment {
    pub(in crate::commands) event: usize,
    pub(in crate::commands) live_bytes: u64,
    pub(in crate::commands) live_blocks: u64,
    pub(in crate::commands) largest_free_bytes: u64,
}

impl History {
    /// Runs `trace` in a pool of `bytes` and records what happens.
    ///
    /// # Errors
    /// The pool can't be allocated.
    pub(in crate::commands) fn of(
        trace: &Trace,
        kind: Kind,
        bytes: usize,
    ) -> Result<Self, InputError> {
        let run = |over: usize| {
            let mut recorder = Recorder::new(trace, over);
            let program = Program { events: &trace.events()[..over], ..Program::of(trace) };
            let outcome = drive(kind, program, bytes, &mut recorder)?;
            let outcome = outcome.ok_or_else(|| {
                InputError(format!("--pool: {} can't manage a pool of this size", kind.name()))
            })?;
            Ok((recorder, outcome))
        };
        let (recorder, outcome) = run(trace.events().len())?;
        if outcome.done == trace.events().len() || outcome.done == 0 {
            return Ok(recorder.finish(outcome));
        }
        // The curves shall end where the trace failed.
        let (recorder, outcome) = run(outcome.done)?;
        Ok(recorder.finish(outcome))
    }

    /// The share of the trace's requests, by number, that a largest free block of this size would
    /// serve.
    pub(in crate::commands) fn share_served(&self, largest_free_bytes: u64) -> f64 {
        if self.sizes.is_empty() {
            return 1.0;
        }
        let served = self.sizes.partition_point(|&size| size <= largest_free_bytes);
        served as f64 / self.sizes.len() as f64
    }

    /// The spans live after `event`.
    pub(in crate::commands) fn live_at(&self, event: usize) -> impl Iterator<Item = &Span> {
        let event = event as u32;
        self.spans.iter().filter(move |span| span.start <= event && event < span.end)
    }

    /// The spans to draw: all, or the largest by bytes times operations. In order of time.
    pub(in crate::commands) fn shown(&self) -> Vec<Span> {
        if self.spans.len() <= SPANS_MAX {
            return self.spans.clone();
        }
        let mut areas: Vec<u128> = self.spans.iter().map(Span::area).collect();
        let cut = self.spans.len() - SPANS_MAX;
        let (_, &mut least, _) = areas.select_nth_unstable(cut);
        let mut shown: Vec<Span> =
            self.spans.iter().filter(|span| span.area() > least).copied().collect();
        let room = SPANS_MAX - shown.len();
        shown.extend(self.spans.iter().filter(|span| span.area() == least).take(room));
        shown.sort_unstable_by_key(|span| (span.start, span.id));
        shown
    }
}

struct Recorder<'t> {
    trace: &'t Trace,
    events: usize,
    spans: Vec<Span>,
    /// By block id: its open span, from 1.
    open: Vec<u32>,
    site_of: Vec<u32>,
    columns: Vec<Column>,
    live_bytes: u64,
    live_blocks: u64,
    reach_bytes: u64,
    peak: Moment,
    worst: Moment,
    worst_share: f64,
    sizes: Vec<u64>,
}

impl<'t> Recorder<'t> {
    fn new(trace: &'t Trace, events: usize) -> Self {
        let allocations = trace.allocations() as usize;
        Self {
            trace,
            events,
            spans: Vec::with_capacity(allocations),
            open: vec![0; allocations],
            site_of: vec![0; allocations],
            columns: vec![Column::default(); COLUMNS.min(events)],
            live_bytes: 0,
            live_blocks: 0,
            reach_bytes: 0,
            peak: Moment::default(),
            worst: Moment::default(),
            worst_share: 0.0,
            sizes: Vec::with_capacity(allocations),
        }
    }

    fn finish(mut self, outcome: Outcome) -> History {
        let end = outcome.done as u32;
        for span in &mut self.spans {
            span.end = span.end.min(end);
        }
        self.spans.retain(|span| span.end > span.start);
        self.sizes.sort_unstable();
        History {
            outcome,
            spans: self.spans,
            columns: self.columns,
            over: self.events,
            peak: self.peak,
            worst: self.worst,
            sizes: self.sizes,
        }
    }

    fn moment(&self, event: usize, largest_free_bytes: u64) -> Moment {
        Moment {
            event,
            live_bytes: self.live_bytes,
            live_blocks: self.live_blocks,
            largest_free_bytes,
        }
    }
}

impl Watch for Recorder<'_> {
    fn asks(&mut self, _event: usize, size_bytes: u64, _pool: &impl Allocator) {
        self.sizes.push(size_bytes);
    }

    fn placed(
        &mut self,
        event: usize,
        id: u32,
        live: Live,
        _contents: Contents,
        pool: &impl Allocator,
    ) -> Result<(), String> {
        let place = Place::of(live, pool);
        let site = self.trace.record(event).map_or(0, |record| record.site);
        let site = if site == 0 { self.site_of[id as usize] } else { site };
        self.site_of[id as usize] = site;
        self.spans.push(Span { id, start: event as u32, end: u32::MAX, place, site });
        self.open[id as usize] = self.spans.len() as u32;
        self.live_bytes += place.size_bytes;
        self.live_blocks += 1;
        self.reach_bytes = self.reach_bytes.max((place.offset_bytes + place.len_bytes) as u64);
        Ok(())
    }

    fn left(&mut self, event: usize, id: u32, _live: Live) {
        let span = &mut self.spans[self.open[id as usize] as usize - 1];
        span.end = event as u32;
        self.live_bytes -= span.place.size_bytes;
        self.live_blocks -= 1;
    }

    fn done(&mut self, event: usize, pool: &impl Allocator) -> Result<(), String> {
        let largest = pool.largest_free() as u64;
        let stats = pool.stats();
        let column = &mut self.columns[event * COLUMNS.min(self.events) / self.events];
        column.largest_free_bytes =
            if column.seen { column.largest_free_bytes.min(largest) } else { largest };
        column.seen = true;
        column.live_bytes = column.live_bytes.max(self.live_bytes);
        column.used_bytes = column.used_bytes.max(stats.used_bytes as u64);
        column.live_blocks = column.live_blocks.max(self.live_blocks);
        column.reach_bytes = self.reach_bytes;
        if self.live_bytes > self.peak.live_bytes {
            self.peak = self.moment(event, largest);
        }
        let free = stats.free_bytes as f64;
        let apart = if free > 0.0 { 1.0 - largest as f64 / free } else { 0.0 };
        if apart > self.worst_share {
            self.worst_share = apart;
            self.worst = self.moment(event, largest);
        }
        Ok(())
    }
}

/// The time of each operation: the shortest of several runs, in nanoseconds.
pub(in crate::commands) struct Costs {
    ns: Vec<u32>,
}

impl Costs {
    /// Runs `trace` several times in the same pool.
    ///
    /// # Errors
    /// The pool can't be allocated.
    pub(in crate::commands) fn of(
        trace: &Trace,
        kind: Kind,
        bytes: usize,
        runs: u32,
    ) -> Result<Self, InputError> {
        let mut costs = Self { ns: vec![u32::MAX; trace.events().len()] };
        for _ in 0..runs {
            drive(kind, Program::of(trace), bytes, &mut costs)?;
        }
        costs.ns.retain(|&ns| ns != u32::MAX);
        costs.ns.sort_unstable();
        Ok(costs)
    }

    /// The time that this share of the operations doesn't exceed.
    pub(in crate::commands) fn percentile(&self, share: f64) -> Option<u32> {
        let last = self.ns.len().checked_sub(1)?;
        Some(self.ns[(share * last as f64).round() as usize])
    }
}

impl Watch for Costs {
    const TIMED: bool = true;

    fn took(&mut self, event: usize, ns: u64) {
        let ns = u32::try_from(ns).unwrap_or(u32::MAX);
        self.ns[event] = self.ns[event].min(ns);
    }
}
