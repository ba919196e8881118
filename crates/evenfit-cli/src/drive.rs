//! Running events in an allocator as fast as can be, with someone watching: for searches over many pools, and for
//! pictures of one.

use std::alloc::Layout;
use std::ptr::NonNull;
use std::time::Instant;

use evenfit_bound::Cut;
use evenfit_trace::{Event, Trace};

use crate::allocator::{Allocator, Kind, Visit};
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
    /// The most bytes that it has asked for and not given back.
    pub peak_bytes: usize,
    /// The geometry of the heap that it runs in: what the trace names, as a fact of that name; else `Aligned` if most
    /// of its blocks are aligned to 16 bytes, as all of C's `malloc` are, else `Standard`.
    pub cut: Cut,
}

impl<'a> Program<'a> {
    /// A recorded one, as it was.
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

    /// The highest alignment that it asks for, in bytes.
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
    if aligned.sum::<i64>() > 0 {
        Cut::ALIGNED
    } else {
        Cut::STANDARD
    }
}

/// What came of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The pool up to the end of the furthest block, in bytes.
    pub reach_bytes: usize,
    /// Events done; fewer than all where a request failed.
    pub done: usize,
    /// The pool's bytes, and the region's that aren't the pool's.
    pub pool_bytes: usize,
    /// Metadata and what is lost to alignment.
    pub metadata_bytes: usize,
}

/// A block's place in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Bytes from the pool's start.
    pub offset_bytes: usize,
    /// Bytes the allocator gave.
    pub len_bytes: usize,
    /// Bytes asked for.
    pub size_bytes: u64,
}

/// Someone who watches a run. Events are counted from 0.
pub trait Watch {
    /// A block of `size` bytes is about to be asked for, new or longer than before.
    fn asks(&mut self, _event: usize, _size_bytes: u64, _pool: &impl Allocator) {}
    /// The block `id` is at `place` from now on.
    fn placed(&mut self, _event: usize, _id: u32, _place: Place) {}
    /// The block `id` left its place: it was freed, or is about to be placed anew.
    fn left(&mut self, _event: usize, _id: u32) {}
    /// The event is done.
    fn done(&mut self, _event: usize, _pool: &impl Allocator) {}
    /// The allocator took so long for the event. Asked for only if [`TIMED`](Self::TIMED).
    fn took(&mut self, _event: usize, _ns: u64) {}
    /// Whether to look at the clock.
    const TIMED: bool = false;
}

/// Nobody watches.
impl Watch for () {}

/// Runs the program in a pool of `bytes`, metadata included.
///
/// `None`: this kind of allocator can't manage so many bytes.
///
/// # Errors
/// The machine can't give the memory, or the allocator is wrong.
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
    let run = Run {
        events: program.events,
        allocations: program.allocations,
        watch,
    };
    match kind.build(program.cut, &mut region.bytes()[skip_bytes..], run) {
        Ok(outcome) => outcome.map(Some),
        Err(evenfit::InitError::RegionTooSmall { .. }) => Ok(Some(Outcome::default())),
        Err(_) => Ok(None),
    }
}

struct Run<'e, W> {
    events: &'e [Event],
    allocations: usize,
    watch: &'e mut W,
}

impl<W: Watch> Visit for Run<'_, W> {
    type Output = Result<Outcome, InputError>;

    fn visit<A: Allocator>(self, allocator: A) -> Self::Output {
        let stats = allocator.stats();
        let driver = Driver {
            blocks: vec![None; self.allocations],
            origin: allocator.pool_start().addr(),
            reach: 0,
            allocator,
            watch: self.watch,
        };
        let (reach_bytes, done) = driver.run(self.events)?;
        Ok(Outcome {
            reach_bytes,
            done,
            pool_bytes: stats.pool_bytes,
            metadata_bytes: stats.metadata_bytes,
        })
    }
}

struct Driver<'w, A, W> {
    allocator: A,
    /// By the block's id.
    blocks: Vec<Option<(NonNull<u8>, Layout)>>,
    /// Where the pool starts.
    origin: usize,
    reach: usize,
    watch: &'w mut W,
}

impl<A: Allocator, W: Watch> Driver<'_, A, W> {
    /// How far it reached, and how many events it did.
    fn run(mut self, events: &[Event]) -> Result<(usize, usize), InputError> {
        let mut all = events.len();
        for (index, &event) in events.iter().enumerate() {
            let done = self
                .step(index, event)
                .map_err(|what| InputError(format!("operation {}: {what}", index + 1)))?;
            if !done {
                all = index;
                break;
            }
            self.watch.done(index, &self.allocator);
        }
        // Of a slab, blocks show only the slots that were used.
        Ok((self.allocator.reach_bytes().unwrap_or(self.reach), all))
    }

    fn step(&mut self, index: usize, event: Event) -> Result<bool, String> {
        match event {
            Event::Alloc { id, size, .. } => {
                let Some(layout) = event.layout() else {
                    return Ok(false);
                };
                self.watch.asks(index, size, &self.allocator);
                let Ok(block) = self.timed(index, |allocator| allocator.allocate(layout)) else {
                    return Ok(false);
                };
                self.place(index, id, block, layout);
            }
            Event::Free { id } => {
                let (block, layout) = self.take(id)?;
                // SAFETY: the block is live and has left the table.
                self.timed(index, |allocator| unsafe {
                    allocator.deallocate(block, layout)
                })
                .map_err(|error| format!("a live block was refused: {error}"))?;
                self.watch.left(index, id);
            }
            Event::Realloc { id, new_size } => return self.reallocate(index, id, new_size),
        }
        Ok(true)
    }

    fn reallocate(&mut self, index: usize, id: u32, new_size: u64) -> Result<bool, String> {
        let (block, layout) = self.take(id)?;
        if new_size > layout.size() as u64 {
            self.watch.asks(index, new_size, &self.allocator);
        }
        let new = usize::try_from(new_size)
            .ok()
            .and_then(|size| Layout::from_size_align(size, layout.align()).ok());
        let Some(new) = new else { return Ok(false) };
        // SAFETY: the block is live and has left the table.
        match self.timed(index, |allocator| unsafe {
            allocator.reallocate(block, layout, new)
        }) {
            Ok(block) => {
                self.watch.left(index, id);
                self.place(index, id, block, new);
                Ok(true)
            }
            Err(evenfit::ReallocError::Alloc(_)) => Ok(false),
            Err(error) => Err(format!("a live block was refused: {error}")),
        }
    }

    fn timed<R>(&mut self, index: usize, call: impl FnOnce(&mut A) -> R) -> R {
        if !W::TIMED {
            return call(&mut self.allocator);
        }
        let start = Instant::now();
        let result = call(&mut self.allocator);
        self.watch.took(index, start.elapsed().as_nanos() as u64);
        result
    }

    fn place(&mut self, index: usize, id: u32, block: NonNull<[u8]>, layout: Layout) {
        let place = Place {
            offset_bytes: block.cast::<u8>().addr().get() - self.origin,
            len_bytes: block.len(),
            size_bytes: layout.size() as u64,
        };
        self.reach = self.reach.max(place.offset_bytes + place.len_bytes);
        self.blocks[id as usize] = Some((block.cast(), layout));
        self.watch.placed(index, id, place);
    }

    fn take(&mut self, id: u32) -> Result<(NonNull<u8>, Layout), String> {
        self.blocks
            .get_mut(id as usize)
            .and_then(Option::take)
            .ok_or_else(|| format!("block {id} is not live"))
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
    /// Nothing was asked for.
    fn default() -> Self {
        Self {
            spare_bytes: usize::MAX,
            event: 0,
            size_bytes: 0,
        }
    }
}

impl Watch for Tightest {
    fn asks(&mut self, event: usize, size_bytes: u64, pool: &impl Allocator) {
        let spare_bytes = pool.largest_free().saturating_sub(size_bytes as usize);
        if spare_bytes < self.spare_bytes {
            *self = Self {
                spare_bytes,
                event,
                size_bytes,
            };
        }
    }
}
