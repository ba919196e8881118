//! Running events in an allocator as fast as can be, with a look at every request: for searches over many pools.

use std::alloc::Layout;
use std::ptr::NonNull;

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
    /// The request that came nearest to failing: how many bytes more it could have asked for.
    pub tightest: Tightest,
}

/// The nearest to a failure.
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
) -> Result<Option<Outcome>, InputError> {
    struct Run<'e> {
        events: &'e [Event],
        allocations: usize,
        origin: usize,
    }
    impl Visit for Run<'_> {
        type Output = Result<Outcome, InputError>;

        fn visit<A: Allocator>(self, allocator: A) -> Self::Output {
            Driver {
                allocator,
                blocks: vec![None; self.allocations],
                origin: self.origin,
                outcome: Outcome::default(),
            }
            .run(self.events)
        }
    }
    let mut region = Region::new(bytes)?;
    let origin = region.addresses().start;
    let run = Run {
        events,
        allocations,
        origin,
    };
    match kind.build(region.bytes(), run) {
        Ok(outcome) => outcome.map(Some),
        Err(evenfit::InitError::RegionTooSmall { .. }) => Ok(Some(Outcome::default())),
        Err(_) => Ok(None),
    }
}

struct Driver<A> {
    allocator: A,
    /// By the block's id.
    blocks: Vec<Option<(NonNull<u8>, Layout)>>,
    origin: usize,
    outcome: Outcome,
}

impl<A: Allocator> Driver<A> {
    fn run(mut self, events: &[Event]) -> Result<Outcome, InputError> {
        for (index, &event) in events.iter().enumerate() {
            if !self.step(index, event)? {
                break;
            }
            self.outcome.done = index + 1;
        }
        // The region ran to holds the metadata of all the pool.
        let stats = self.allocator.stats();
        let reach = self
            .outcome
            .reach_bytes
            .saturating_sub(stats.metadata_bytes);
        let metadata = reach as f64 * stats.metadata_bytes as f64 / stats.pool_bytes.max(1) as f64;
        self.outcome.reach_bytes = reach + metadata.ceil() as usize;
        Ok(self.outcome)
    }

    fn step(&mut self, index: usize, event: Event) -> Result<bool, InputError> {
        let wrong = |what: String| InputError(format!("operation {}: {what}", index + 1));
        match event {
            Event::Alloc { id, size, .. } => {
                let Some(layout) = event.layout() else {
                    return Ok(false);
                };
                self.note_spare(index, size);
                let Ok(block) = self.allocator.allocate(layout) else {
                    return Ok(false);
                };
                self.note(id, block, layout);
            }
            Event::Free { id } => {
                let (block, layout) = self.take(id).map_err(wrong)?;
                // SAFETY: the block is live and has left the table.
                unsafe { self.allocator.deallocate(block, layout) }
                    .map_err(|error| wrong(format!("a live block was refused: {error}")))?;
            }
            Event::Realloc { id, new_size } => {
                let (block, layout) = self.take(id).map_err(wrong)?;
                if new_size > layout.size() as u64 {
                    self.note_spare(index, new_size);
                }
                let new = usize::try_from(new_size)
                    .ok()
                    .and_then(|size| Layout::from_size_align(size, layout.align()).ok());
                let Some(new) = new else { return Ok(false) };
                // SAFETY: the block is live and has left the table.
                match unsafe { self.allocator.reallocate(block, layout, new) } {
                    Ok(block) => self.note(id, block, new),
                    Err(evenfit::ReallocError::Alloc(_)) => return Ok(false),
                    Err(error) => return Err(wrong(format!("a live block was refused: {error}"))),
                }
            }
        }
        Ok(true)
    }

    fn note(&mut self, id: u32, block: NonNull<[u8]>, layout: Layout) {
        let end = block.cast::<u8>().addr().get() + block.len() - self.origin;
        self.outcome.reach_bytes = self.outcome.reach_bytes.max(end);
        self.blocks[id as usize] = Some((block.cast(), layout));
    }

    fn note_spare(&mut self, event: usize, size_bytes: u64) {
        let spare_bytes = self
            .allocator
            .largest_free()
            .saturating_sub(size_bytes as usize);
        if spare_bytes < self.outcome.tightest.spare_bytes {
            self.outcome.tightest = Tightest {
                spare_bytes,
                event,
                size_bytes,
            };
        }
    }

    fn take(&mut self, id: u32) -> Result<(NonNull<u8>, Layout), String> {
        self.blocks
            .get_mut(id as usize)
            .and_then(Option::take)
            .ok_or_else(|| format!("block {id} is not live"))
    }
}
