//! Running events in an allocator as fast as can be, with someone watching: for searches over many pools, and for
//! pictures of one.

use std::alloc::Layout;
use std::ptr::NonNull;
use std::time::Instant;

use evenfit_trace::Event;

use crate::allocator::{Allocator, Kind, Visit};
use crate::output::InputError;
use crate::region::Region;

/// What came of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The pool up to the end of the furthest block, and as much metadata as such a pool has, in bytes.
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

/// Runs `events`, those of a valid trace with so many allocations, in a pool of `bytes`, map included.
///
/// `None`: this kind of allocator can't manage so many bytes.
///
/// # Errors
/// The machine can't give the memory, or the allocator is wrong.
pub fn drive(
    kind: Kind,
    events: &[Event],
    allocations: usize,
    bytes: usize,
    watch: &mut impl Watch,
) -> Result<Option<Outcome>, InputError> {
    let mut region = Region::new(bytes)?;
    let run = Run {
        events,
        allocations,
        watch,
    };
    match kind.build(region.bytes(), run) {
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
        let (reach, done) = driver.run(self.events)?;
        // As much metadata as a pool that ends there has.
        let metadata = reach as f64 * stats.metadata_bytes as f64 / stats.pool_bytes.max(1) as f64;
        Ok(Outcome {
            reach_bytes: reach + metadata.ceil() as usize,
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
    fn run(mut self, events: &[Event]) -> Result<(usize, usize), InputError> {
        for (index, &event) in events.iter().enumerate() {
            let done = self
                .step(index, event)
                .map_err(|what| InputError(format!("operation {}: {what}", index + 1)))?;
            if !done {
                return Ok((self.reach, index));
            }
            self.watch.done(index, &self.allocator);
        }
        Ok((self.reach, events.len()))
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
