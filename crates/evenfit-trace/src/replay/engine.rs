//! Performs the operations of a recorded program in an allocator.

use std::alloc::Layout;
use std::ptr::NonNull;
use std::time::Instant;

use evenfit::{AllocError, ReallocError};

use super::Allocator;
use crate::Event;

/// Why a replay stopped before the program's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The pool could not serve the request of the next event.
    OutOfMemory(AllocError),
    /// The allocator did something wrong; a sentence says what.
    Broken(String),
}

/// A block as the recorded program knows it.
#[derive(Clone, Copy, Debug)]
pub struct Live {
    /// Its usable bytes.
    pub block: NonNull<[u8]>,
    /// The requested layout.
    pub layout: Layout,
}

impl Live {
    /// Bytes from the start of the pool, which begins at `pool_start`, to the block.
    pub fn offset_bytes(&self, pool_start: *const u8) -> usize {
        let start = self.block.cast::<u8>().addr().get();
        start.wrapping_sub(pool_start.addr())
    }
}

/// The content of a new block before the program writes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Unknown.
    Anything,
    /// Zeros, in the requested bytes.
    Zeros,
    /// This many bytes of the block that was reallocated, then unknown.
    Kept(usize),
}

/// An observer of a replay. Events are counted from 0; an `Err` says what the allocator did wrong,
/// and stops the replay.
pub trait Watch {
    /// Whether to call [`took`](Self::took), for which the clock is read twice for each event.
    const TIMED: bool = false;
    /// Whether to zero memory that the program requested zeroed, which takes time.
    const ZEROES: bool = false;

    /// A block of `size_bytes` is about to be requested, new or longer than before.
    fn asks(&mut self, _event: usize, _size_bytes: u64, _pool: &impl Allocator) {}

    /// The block `id` is about to be freed or reallocated.
    ///
    /// # Errors
    /// The block is wrong.
    fn ends(&mut self, _id: u32, _live: Live, _pool: &impl Allocator) -> Result<(), String> {
        Ok(())
    }

    /// The block `id` was freed, or is about to be reallocated.
    fn left(&mut self, _event: usize, _id: u32, _live: Live) {}

    /// The block `id` is at `live` from now on.
    ///
    /// # Errors
    /// The block is wrong.
    fn placed(
        &mut self,
        _event: usize,
        _id: u32,
        _live: Live,
        _contents: Contents,
        _pool: &impl Allocator,
    ) -> Result<(), String> {
        Ok(())
    }

    /// How long the allocator took for the event, in nanoseconds.
    fn took(&mut self, _event: usize, _ns: u64) {}

    /// The event is done.
    ///
    /// # Errors
    /// The allocator is in a wrong state.
    fn done(&mut self, _event: usize, _pool: &impl Allocator) -> Result<(), String> {
        Ok(())
    }
}

/// A replay without an observer.
impl Watch for () {}

/// A recorded program in an allocator.
pub struct Engine<A> {
    allocator: A,
    /// By the block's id.
    live: Vec<Option<Live>>,
    /// The index of the next event.
    next: usize,
    reach_bytes: usize,
}

impl<A: Allocator> Engine<A> {
    /// A replay that has not begun, of a program that makes `allocations` allocations in all.
    pub fn new(allocator: A, allocations: usize) -> Self {
        Self { allocator, live: vec![None; allocations], next: 0, reach_bytes: 0 }
    }

    /// Performs these events, which continue those before.
    ///
    /// # Errors
    /// Why it stopped; [`position`](Self::position) is then the event that could not be done.
    pub fn run(&mut self, events: &[Event], watch: &mut impl Watch) -> Result<(), Stop> {
        events.iter().try_for_each(|&event| self.step(event, watch))
    }

    fn step(&mut self, event: Event, watch: &mut impl Watch) -> Result<(), Stop> {
        match event {
            Event::Alloc { id, zeroed, .. } => {
                let layout = event.layout();
                let layout = layout.ok_or(Stop::OutOfMemory(AllocError::TooLarge))?;
                self.allocate(id, layout, zeroed, watch)
            }
            Event::Free { id } => self.free(id, watch),
            Event::Realloc { id, new_size } => self.reallocate(id, new_size, watch),
        }?;
        let event = self.next;
        self.next += 1;
        watch.done(event, &self.allocator).map_err(Stop::Broken)
    }

    fn allocate<W: Watch>(
        &mut self,
        id: u32,
        layout: Layout,
        zeroed: bool,
        watch: &mut W,
    ) -> Result<(), Stop> {
        watch.asks(self.next, layout.size() as u64, &self.allocator);
        let zeroed = zeroed && W::ZEROES;
        let result = self.timed(watch, |allocator| match zeroed {
            true => allocator.allocate_zeroed(layout),
            false => allocator.allocate(layout),
        });
        let contents = match zeroed {
            true => Contents::Zeros,
            false => Contents::Anything,
        };
        let block = result.map_err(Stop::OutOfMemory)?;
        self.place(id, Live { block, layout }, contents, watch)
    }

    fn free(&mut self, id: u32, watch: &mut impl Watch) -> Result<(), Stop> {
        let live = self.take(id, watch)?;
        // SAFETY: the block is live and has left the table, so nobody will use it again.
        self.timed(watch, |allocator| unsafe {
            allocator.try_deallocate(live.block.cast(), live.layout)
        })
        .map_err(|error| refused(id, error))?;
        watch.left(self.next, id, live);
        Ok(())
    }

    fn reallocate(&mut self, id: u32, new_size: u64, watch: &mut impl Watch) -> Result<(), Stop> {
        let old = self.take(id, watch)?;
        if new_size > old.layout.size() as u64 {
            watch.asks(self.next, new_size, &self.allocator);
        }
        let new = usize::try_from(new_size)
            .ok()
            .and_then(|size| Layout::from_size_align(size, old.layout.align()).ok());
        let result = match new {
            // SAFETY: the block is live; on success the table forgets the old pointer.
            Some(new) => self
                .timed(watch, |allocator| unsafe {
                    allocator.reallocate(old.block.cast(), old.layout, new)
                })
                .map(|block| Live { block, layout: new }),
            None => Err(ReallocError::Alloc(AllocError::TooLarge)),
        };
        match result {
            Ok(moved) => {
                watch.left(self.next, id, old);
                let kept = old.layout.size().min(moved.layout.size());
                self.place(id, moved, Contents::Kept(kept), watch)
            }
            Err(ReallocError::Alloc(error)) => {
                self.live[id as usize] = Some(old);
                Err(Stop::OutOfMemory(error))
            }
            Err(error) => Err(refused(id, error)),
        }
    }

    fn timed<W: Watch, R>(&mut self, watch: &mut W, call: impl FnOnce(&mut A) -> R) -> R {
        if !W::TIMED {
            return call(&mut self.allocator);
        }
        let start = Instant::now();
        let result = call(&mut self.allocator);
        watch.took(self.next, start.elapsed().as_nanos() as u64);
        result
    }

    fn place(
        &mut self,
        id: u32,
        live: Live,
        contents: Contents,
        watch: &mut impl Watch,
    ) -> Result<(), Stop> {
        let end = live.offset_bytes(self.allocator.pool_start()) + live.block.len();
        self.reach_bytes = self.reach_bytes.max(end);
        self.live[id as usize] = Some(live);
        watch.placed(self.next, id, live, contents, &self.allocator).map_err(Stop::Broken)
    }

    /// Takes a block out of the table that is about to be freed or reallocated.
    fn take(&mut self, id: u32, watch: &mut impl Watch) -> Result<Live, Stop> {
        let missing = || Stop::Broken(format!("the trace uses block {id}, which is not live"));
        let slot = self.live.get_mut(id as usize).and_then(Option::take);
        let live = slot.ok_or_else(missing)?;
        watch.ends(id, live, &self.allocator).map_err(Stop::Broken)?;
        Ok(live)
    }

    /// The blocks live now, by rising id.
    pub fn live(&self) -> impl Iterator<Item = (u32, Live)> + '_ {
        let by_id = self.live.iter().enumerate();
        by_id.filter_map(|(id, live)| live.map(|live| (id as u32, live)))
    }

    /// The index of the next event.
    pub fn position(&self) -> usize {
        self.next
    }

    /// From the pool's start to the end of the furthest block so far, in bytes.
    pub fn reach_bytes(&self) -> usize {
        // Of a slab, blocks show only the slots that were used.
        self.allocator.reach_bytes().unwrap_or(self.reach_bytes)
    }

    /// The allocator.
    pub fn allocator(&self) -> &A {
        &self.allocator
    }
}

fn refused(id: u32, error: impl std::fmt::Display) -> Stop {
    Stop::Broken(format!("the allocator refused block {id}, which is live: {error}"))
}
