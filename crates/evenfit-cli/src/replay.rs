//! Running a recorded program's operations in an allocator.

use std::alloc::Layout;
use std::num::NonZeroU64;
use std::ops::Range;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use evenfit::{AllocError, FreeError, ReallocError};
use evenfit_trace::{Event, Trace};

use crate::allocator::Allocator;
use crate::verify::{Fault, Verifier};

/// Operations between two looks at the clock.
const STRIDE: usize = 4096;

/// What to check on the way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checks {
    /// Pattern every byte of every block, and look at it again before the block goes.
    pub verify: bool,
    /// Run the allocator's own full check each so many operations, and at the end.
    pub check_every: Option<NonZeroU64>,
}

/// Why a replay stopped before the trace's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The pool could not serve the request of the next event.
    OutOfMemory(AllocError),
    /// The allocator is wrong: what it did, as a sentence.
    Broken(String),
}

/// The moment at which most requested bytes were live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peak {
    /// Requested bytes live.
    pub live_bytes: u64,
    /// Blocks live.
    pub live_blocks: u64,
    /// Free bytes in the pool, in all.
    pub free_bytes: usize,
    /// The largest request that would have succeeded.
    pub largest_free: usize,
}

impl Peak {
    /// The share of the free bytes that lies outside the largest free block; `None` if nothing is free.
    pub fn fragmentation(&self) -> Option<f64> {
        let outside = self.free_bytes.saturating_sub(self.largest_free);
        (self.free_bytes > 0).then(|| outside as f64 / self.free_bytes as f64)
    }
}

/// A block as the recorded program knows it.
#[derive(Clone, Copy, Debug)]
pub struct Live {
    /// All that it may use.
    pub block: NonNull<[u8]>,
    /// What it asked for.
    pub layout: Layout,
}

/// A trace being replayed.
pub struct Replay<'t, A> {
    trace: &'t Trace,
    allocator: A,
    checks: Checks,
    verifier: Option<Verifier>,
    /// By the block's id.
    live: Vec<Option<Live>>,
    live_bytes: u64,
    live_blocks: u64,
    /// The index of the next event.
    next: usize,
    peak: Peak,
    /// The peak is now, and what was free then is not yet noted.
    at_peak: bool,
    busy: Duration,
}

impl<'t, A: Allocator> Replay<'t, A> {
    /// A replay of `trace` that has not begun, in an allocator over the addresses `region`.
    pub fn new(trace: &'t Trace, allocator: A, region: Range<usize>, checks: Checks) -> Self {
        Self {
            trace,
            allocator,
            checks,
            verifier: checks.verify.then(|| Verifier::new(region)),
            live: vec![None; trace.allocations() as usize],
            live_bytes: 0,
            live_blocks: 0,
            next: 0,
            peak: Peak::default(),
            at_peak: false,
            busy: Duration::ZERO,
        }
    }

    /// Runs to the end, and calls `tick` with the number of operations done since the last call.
    ///
    /// # Errors
    /// Why it stopped; [`position`](Self::position) is then the event that could not be done.
    pub fn run(&mut self, mut tick: impl FnMut(u64)) -> Result<(), Stop> {
        while self.next < self.trace.events().len() {
            let before = self.next;
            let start = Instant::now();
            let result = self.stride();
            self.busy += start.elapsed();
            tick((self.next - before) as u64);
            if result.is_err() {
                self.note_peak();
            }
            result?;
        }
        self.note_peak();
        self.last_look().map_err(Stop::Broken)
    }

    fn stride(&mut self) -> Result<(), Stop> {
        let events = self.trace.events();
        let end = events.len().min(self.next + STRIDE);
        for &event in &events[self.next..end] {
            self.step(event)?;
            self.next += 1;
            if let Some(every) = self.checks.check_every
                && (self.next as u64).is_multiple_of(every.get())
            {
                self.check().map_err(Stop::Broken)?;
            }
        }
        Ok(())
    }

    fn step(&mut self, event: Event) -> Result<(), Stop> {
        match event {
            Event::Alloc { id, zeroed, .. } => {
                let layout = event
                    .layout()
                    .ok_or(Stop::OutOfMemory(AllocError::TooLarge))?;
                self.allocate(id, layout, zeroed)
            }
            Event::Free { id } => {
                self.note_peak();
                self.free(id)
            }
            Event::Realloc { id, new_size } => {
                self.note_peak();
                self.reallocate(id, new_size)
            }
        }
    }

    fn allocate(&mut self, id: u32, layout: Layout, zeroed: bool) -> Result<(), Stop> {
        let block = if zeroed {
            self.allocator.allocate_zeroed(layout)
        } else {
            self.allocator.allocate(layout)
        }
        .map_err(Stop::OutOfMemory)?;
        if let Some(verifier) = &mut self.verifier {
            // SAFETY: the block was just handed out to this replay alone.
            unsafe {
                if zeroed {
                    verifier.born_zeroed(id, block, layout)
                } else {
                    verifier.born(id, block, layout, 0)
                }
            }
            .map_err(Stop::Broken)?;
        }
        self.live[id as usize] = Some(Live { block, layout });
        self.live_blocks += 1;
        self.live_bytes += layout.size() as u64;
        self.measure_peak();
        Ok(())
    }

    fn free(&mut self, id: u32) -> Result<(), Stop> {
        let Live { block, layout } = self.take(id)?;
        if let Some(verifier) = &mut self.verifier {
            // SAFETY: the block is live and was reported as born.
            unsafe { verifier.intact(id, block) }.map_err(Stop::Broken)?;
            verifier.died(block);
        }
        // SAFETY: the block is live and has just left the table, so nobody will use it again.
        unsafe { self.allocator.deallocate(block.cast(), layout) }
            .map_err(|error| refused(id, error))?;
        self.live_blocks -= 1;
        self.live_bytes -= layout.size() as u64;
        Ok(())
    }

    fn reallocate(&mut self, id: u32, new_size: u64) -> Result<(), Stop> {
        let old = self.take(id)?;
        let (block, layout) = (old.block, old.layout);
        if let Some(verifier) = &self.verifier {
            // SAFETY: the block is live and was reported as born.
            unsafe { verifier.intact(id, block) }.map_err(Stop::Broken)?;
        }
        let new = usize::try_from(new_size)
            .ok()
            .and_then(|size| Layout::from_size_align(size, layout.align()).ok());
        let result = match new {
            // SAFETY: the block is live; on success the table forgets the old pointer.
            Some(new) => unsafe { self.allocator.reallocate(block.cast(), layout, new) }
                .map(|block| Live { block, layout: new }),
            None => Err(ReallocError::Alloc(AllocError::TooLarge)),
        };
        let moved = match result {
            Ok(moved) => moved,
            Err(ReallocError::Free(error)) => return Err(refused(id, error)),
            Err(ReallocError::Alloc(error)) => {
                self.live[id as usize] = Some(old);
                return Err(Stop::OutOfMemory(error));
            }
            Err(other) => return Err(Stop::Broken(other.to_string())),
        };
        if let Some(verifier) = &mut self.verifier {
            verifier.died(block);
            let kept = layout.size().min(moved.layout.size());
            // SAFETY: the block was just handed out to this replay alone, with `kept` bytes copied.
            unsafe { verifier.born(id, moved.block, moved.layout, kept) }.map_err(Stop::Broken)?;
        }
        self.live[id as usize] = Some(moved);
        self.live_bytes = self.live_bytes - layout.size() as u64 + new_size;
        self.measure_peak();
        Ok(())
    }

    fn take(&mut self, id: u32) -> Result<Live, Stop> {
        let missing = || Stop::Broken(format!("the trace uses block {id}, which is not live"));
        self.live
            .get_mut(id as usize)
            .and_then(Option::take)
            .ok_or_else(missing)
    }

    fn measure_peak(&mut self) {
        if self.live_bytes > self.peak.live_bytes {
            self.peak.live_bytes = self.live_bytes;
            self.peak.live_blocks = self.live_blocks;
            self.at_peak = true;
        }
    }

    /// Notes what is free at the peak. Done only before what may end it: asking costs time.
    fn note_peak(&mut self) {
        if std::mem::take(&mut self.at_peak) {
            self.peak.free_bytes = self.allocator.stats().free_bytes;
            self.peak.largest_free = self.allocator.largest_free();
        }
    }

    fn last_look(&self) -> Result<(), Fault> {
        if let Some(verifier) = &self.verifier {
            for (id, live) in self.live() {
                // SAFETY: the block is live and was reported as born.
                unsafe { verifier.intact(id, live.block) }?;
            }
        }
        if self.checks.verify || self.checks.check_every.is_some() {
            self.check()?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Fault> {
        self.allocator
            .check()
            .map_err(|error| format!("the integrity check failed: {error}"))
    }

    /// The blocks live now, by rising id.
    pub fn live(&self) -> impl Iterator<Item = (u32, Live)> + '_ {
        let by_id = self.live.iter().enumerate();
        by_id.filter_map(|(id, live)| live.map(|live| (id as u32, live)))
    }

    /// Requested bytes live now.
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Blocks live now.
    pub fn live_blocks(&self) -> u64 {
        self.live_blocks
    }

    /// The index of the next event.
    pub fn position(&self) -> usize {
        self.next
    }

    /// The moment at which most was live.
    pub fn peak(&self) -> Peak {
        self.peak
    }

    /// The allocator.
    pub fn allocator(&self) -> &A {
        &self.allocator
    }

    /// The trace.
    pub fn trace(&self) -> &'t Trace {
        self.trace
    }

    /// Operations a second so far; `None` where checks took part of the time, or nothing was done.
    pub fn operations_per_second(&self) -> Option<f64> {
        let plain = !self.checks.verify && self.checks.check_every.is_none();
        let seconds = self.busy.as_secs_f64();
        (plain && self.next > 0 && seconds > 0.0).then(|| self.next as f64 / seconds)
    }
}

fn refused(id: u32, error: FreeError) -> Stop {
    Stop::Broken(format!(
        "the allocator refused block {id}, which is live: {error}"
    ))
}
