//! Runs events in an allocator as fast as possible, with a [`Watch`]: for searches over many pools,
//! and for pictures of one.

use evenfit_bound::Cut;
use evenfit_trace::replay::{Allocator, Engine, Live, Stop, Watch};
use evenfit_trace::{Event, Trace};

use crate::allocator::{Kind, Visit};
use crate::output::InputError;
use crate::region::Region;

/// The fact of a trace that names the geometry of its program's heap.
pub const GEOMETRY: &str = "geometry";

/// A recorded program, perhaps changed.
#[derive(Clone, Copy)]
pub struct Program<'a> {
    /// What it does, in order: the events of a valid trace.
    pub events: &'a [Event],
    /// How many blocks it allocates in all.
    pub allocations: usize,
    /// The most bytes that were requested and not yet freed.
    pub peak_bytes: usize,
    /// The geometry of the heap that it runs in: what the trace names, as a fact of that name; else
    /// `Aligned` if most of its blocks are aligned to 16 bytes, as all of C's `malloc` are, else
    /// `Standard`.
    pub cut: Cut,
}

impl<'a> Program<'a> {
    /// The program as recorded.
    pub fn of(trace: &'a Trace) -> Self {
        Self {
            events: trace.events(),
            allocations: trace.allocations() as usize,
            peak_bytes: trace.info().peak_live_bytes as usize,
            cut: cut_of(trace),
        }
    }

    /// The longest request, in bytes.
    pub fn longest_bytes(&self) -> usize {
        let sizes = self.events.iter().map(|event| match *event {
            Event::Alloc { size, .. } | Event::Realloc { new_size: size, .. } => size as usize,
            Event::Free { .. } => 0,
        });
        sizes.max().unwrap_or(0)
    }

    /// The highest alignment that it requests, in bytes.
    pub fn align_bytes(&self) -> usize {
        let aligns = self.events.iter().map(|event| match *event {
            Event::Alloc { align_log2, .. } => 1 << align_log2.min(62),
            _ => 1,
        });
        aligns.max().unwrap_or(1)
    }
}

fn cut_of(trace: &Trace) -> Cut {
    let mut facts = trace.facts().iter();
    let named = facts.find(|(key, _)| key == GEOMETRY);
    if let Some(cut) = named.and_then(|(_, name)| Cut::named(name)) {
        return cut;
    }
    let aligned = trace.events().iter().map(|event| match *event {
        Event::Alloc { align_log2, .. } => i64::from(align_log2 > 3) * 2 - 1,
        _ => 0,
    });
    if aligned.sum::<i64>() > 0 { Cut::ALIGNED } else { Cut::STANDARD }
}

/// The result of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The pool up to the end of the furthest block, in bytes.
    pub reach_bytes: usize,
    /// Events done; fewer than all where a request failed.
    pub done: usize,
    /// The pool's bytes, and the region's that aren't the pool's.
    pub pool_bytes: usize,
    /// Metadata and padding.
    pub metadata_bytes: usize,
}

/// A block's position in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Bytes from the pool's start.
    pub offset_bytes: usize,
    /// Bytes that the allocator provided.
    pub len_bytes: usize,
    /// Bytes asked for.
    pub size_bytes: u64,
}

impl Place {
    /// Where a block is.
    pub fn of(live: Live, pool: &impl Allocator) -> Self {
        Self {
            offset_bytes: live.offset_bytes(pool.pool_start()),
            len_bytes: live.block.len(),
            size_bytes: live.layout.size() as u64,
        }
    }
}

/// Runs the program in a pool of `bytes`, metadata included.
///
/// `None`: this kind of allocator can't manage that many bytes.
///
/// # Errors
/// The machine hasn't the memory, or the allocator did something wrong.
pub fn drive(
    kind: Kind,
    program: Program,
    bytes: usize,
    watch: &mut impl Watch,
) -> Result<Option<Outcome>, InputError> {
    drive_from(kind, program, bytes, 0, watch)
}

/// As [`drive`], in a pool that begins `skip_bytes` behind a page.
///
/// # Errors
/// As there.
pub fn drive_from(
    kind: Kind,
    program: Program,
    bytes: usize,
    skip_bytes: usize,
    watch: &mut impl Watch,
) -> Result<Option<Outcome>, InputError> {
    let mut region = Region::new(bytes + skip_bytes)?;
    let run = Run { program, watch };
    match kind.build(program.cut, &mut region.bytes()[skip_bytes..], run) {
        Ok(outcome) => outcome.map(Some),
        Err(evenfit::InitError::RegionTooSmall { .. }) => Ok(Some(Outcome::default())),
        Err(_) => Ok(None),
    }
}

struct Run<'e, W> {
    program: Program<'e>,
    watch: &'e mut W,
}

impl<W: Watch> Visit for Run<'_, W> {
    type Output = Result<Outcome, InputError>;

    fn visit<A: Allocator>(self, allocator: A) -> Self::Output {
        let stats = allocator.stats();
        let mut engine = Engine::new(allocator, self.program.allocations);
        if let Err(Stop::Broken(what)) = engine.run(self.program.events, self.watch) {
            let operation = engine.position() + 1;
            return Err(InputError(format!("operation {operation}: {what}")));
        }
        Ok(Outcome {
            reach_bytes: engine.reach_bytes(),
            done: engine.position(),
            pool_bytes: stats.pool_bytes,
            metadata_bytes: stats.metadata_bytes,
        })
    }
}

/// The request that came nearest to failing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tightest {
    /// Bytes more that could have been asked for.
    pub spare_bytes: usize,
    /// The index of the event.
    pub event: usize,
    /// What it asked for.
    pub size_bytes: u64,
}

impl Default for Tightest {
    /// No request yet.
    fn default() -> Self {
        Self { spare_bytes: usize::MAX, event: 0, size_bytes: 0 }
    }
}

impl Watch for Tightest {
    fn asks(&mut self, event: usize, size_bytes: u64, pool: &impl Allocator) {
        let spare_bytes = pool.largest_free().saturating_sub(size_bytes as usize);
        if spare_bytes < self.spare_bytes {
            *self = Self { spare_bytes, event, size_bytes };
        }
    }
}
