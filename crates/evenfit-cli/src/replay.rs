//! Running a recorded program's operations in an allocator.

use std::num::NonZeroU64;
use std::ops::Range;
use std::time::{Duration, Instant};

use evenfit_trace::Trace;
use evenfit_trace::replay::{Allocator, Contents, Engine, Live, Watch};

use crate::verify::{Fault, Verifier};

pub use evenfit_trace::replay::Stop;

/// Operations between two looks at the clock.
const STRIDE: usize = 4096;

/// What to check on the way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checks {
    /// Fill every byte of every block with a pattern, and check it before the block is freed.
    pub verify: bool,
    /// Run the allocator's full integrity check every this many operations, and at the end.
    pub check_every: Option<NonZeroU64>,
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
    /// The share of the free bytes that lies outside the largest free block; `None` if nothing is
    /// free.
    pub fn fragmentation(&self) -> Option<f64> {
        let outside = self.free_bytes.saturating_sub(self.largest_free);
        (self.free_bytes > 0).then(|| outside as f64 / self.free_bytes as f64)
    }
}

/// A trace being replayed.
pub struct Replay<'t, A> {
    trace: &'t Trace,
    engine: Engine<A>,
    examiner: Examiner,
    busy: Duration,
}

impl<'t, A: Allocator> Replay<'t, A> {
    /// A replay of `trace` that has not begun, in an allocator over the addresses `region`.
    pub fn new(trace: &'t Trace, allocator: A, region: Range<usize>, checks: Checks) -> Self {
        Self {
            trace,
            engine: Engine::new(allocator, trace.allocations() as usize),
            examiner: Examiner {
                checks,
                verifier: checks.verify.then(|| Verifier::new(region)),
                live_bytes: 0,
                live_blocks: 0,
                peak: Peak::default(),
                at_peak: false,
            },
            busy: Duration::ZERO,
        }
    }

    /// Runs to the end, and calls `tick` with the number of operations done since the last call.
    ///
    /// # Errors
    /// Why it stopped; [`position`](Self::position) is then the event that could not be done.
    pub fn run(&mut self, tick: impl FnMut(u64)) -> Result<(), Stop> {
        self.run_until(self.trace.events().len(), tick)
    }

    /// As [`run`](Self::run), but only until the event at this index is the next one.
    ///
    /// # Errors
    /// As for `run`.
    pub fn run_until(&mut self, end: usize, mut tick: impl FnMut(u64)) -> Result<(), Stop> {
        let events = &self.trace.events()[..end];
        let mut result = Ok(());
        while result.is_ok() && self.position() < events.len() {
            let before = self.position();
            let stride = &events[before..events.len().min(before + STRIDE)];
            let start = Instant::now();
            result = self.engine.run(stride, &mut self.examiner);
            self.busy += start.elapsed();
            tick((self.position() - before) as u64);
        }
        self.examiner.note_peak(self.engine.allocator());
        result?;
        self.last_look().map_err(Stop::Broken)
    }

    fn last_look(&self) -> Result<(), Fault> {
        for (id, live) in self.live() {
            self.examiner.intact(id, live)?;
        }
        let Checks { verify, check_every } = self.examiner.checks;
        if verify || check_every.is_some() {
            check(self.allocator())?;
        }
        Ok(())
    }

    /// The blocks live now, by rising id.
    pub fn live(&self) -> impl Iterator<Item = (u32, Live)> + '_ {
        self.engine.live()
    }

    /// Requested bytes live now.
    pub fn live_bytes(&self) -> u64 {
        self.examiner.live_bytes
    }

    /// Blocks live now.
    pub fn live_blocks(&self) -> u64 {
        self.examiner.live_blocks
    }

    /// The index of the next event.
    pub fn position(&self) -> usize {
        self.engine.position()
    }

    /// The moment at which most was live.
    pub fn peak(&self) -> Peak {
        self.examiner.peak
    }

    /// The allocator.
    pub fn allocator(&self) -> &A {
        self.engine.allocator()
    }

    /// The trace.
    pub fn trace(&self) -> &'t Trace {
        self.trace
    }

    /// Operations a second so far; `None` where checks took part of the time, or nothing was done.
    pub fn operations_per_second(&self) -> Option<f64> {
        let Checks { verify, check_every } = self.examiner.checks;
        let plain = !verify && check_every.is_none();
        let seconds = self.busy.as_secs_f64();
        (plain && self.position() > 0 && seconds > 0.0).then(|| self.position() as f64 / seconds)
    }
}

/// Looks at every block and notes the peak.
struct Examiner {
    checks: Checks,
    verifier: Option<Verifier>,
    live_bytes: u64,
    live_blocks: u64,
    peak: Peak,
    /// The peak is now, and the free bytes at the peak aren't noted yet.
    at_peak: bool,
}

impl Examiner {
    /// Notes the free bytes at the peak. Called only before an event that may end the peak, since
    /// it takes time.
    fn note_peak(&mut self, pool: &impl Allocator) {
        if std::mem::take(&mut self.at_peak) {
            self.peak.free_bytes = pool.stats().free_bytes;
            self.peak.largest_free = pool.largest_free();
        }
    }

    fn intact(&self, id: u32, live: Live) -> Result<(), Fault> {
        self.verifier.as_ref().map_or(Ok(()), |verifier| {
            // SAFETY: the block is live and was reported as born.
            unsafe { verifier.intact(id, live.block) }
        })
    }
}

impl Watch for Examiner {
    const ZEROES: bool = true;

    fn ends(&mut self, id: u32, live: Live, pool: &impl Allocator) -> Result<(), Fault> {
        self.note_peak(pool);
        self.intact(id, live)
    }

    fn left(&mut self, _event: usize, _id: u32, live: Live) {
        if let Some(verifier) = &mut self.verifier {
            verifier.died(live.block);
        }
        self.live_blocks -= 1;
        self.live_bytes -= live.layout.size() as u64;
    }

    fn placed(
        &mut self,
        _event: usize,
        id: u32,
        live: Live,
        contents: Contents,
        _pool: &impl Allocator,
    ) -> Result<(), Fault> {
        let Live { block, layout } = live;
        if let Some(verifier) = &mut self.verifier {
            // SAFETY: the block was just allocated for this replay alone, with its content.
            unsafe {
                match contents {
                    Contents::Anything => verifier.born(id, block, layout, 0),
                    Contents::Zeros => verifier.born_zeroed(id, block, layout),
                    Contents::Kept(bytes) => verifier.born(id, block, layout, bytes),
                }
            }?;
        }
        self.live_blocks += 1;
        self.live_bytes += layout.size() as u64;
        if self.live_bytes > self.peak.live_bytes {
            self.peak.live_bytes = self.live_bytes;
            self.peak.live_blocks = self.live_blocks;
            self.at_peak = true;
        }
        Ok(())
    }

    fn done(&mut self, event: usize, pool: &impl Allocator) -> Result<(), Fault> {
        match self.checks.check_every {
            Some(every) if (event as u64 + 1).is_multiple_of(every.get()) => check(pool),
            _ => Ok(()),
        }
    }
}

fn check(pool: &impl Allocator) -> Result<(), Fault> {
    pool.check().map_err(|error| format!("the integrity check failed: {error}"))
}
