//! A recorded program under a simulated policy, watched by a shadow of the pool.

use evenfit_bound::Cut;
use evenfit_bound::policy::{Handle, Placement, Policy};
use evenfit_trace::Event;

use crate::commands::report::history::Span;
use crate::drive::Place;
use crate::output::InputError;

/// Steps of time at which fragmentation is looked at.
pub(super) const SAMPLES: usize = 480;

/// A program to be placed.
#[derive(Clone, Copy)]
pub(super) struct Program<'a> {
    pub(super) events: &'a [Event],
    pub(super) allocations: usize,
    /// Most granules live at once.
    pub(super) peak: u64,
    /// The geometry.
    pub(super) cut: Cut,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// Events done; fewer than all where the policy found no room.
    pub(super) done: usize,
    /// The end of the furthest block.
    pub(super) reach: u64,
    /// Places looked at by an allocation: on average, and at most.
    pub(super) looked_at_mean: f64,
    pub(super) looked_at_max: u64,
    /// Granules given beyond those asked for, when most was live.
    pub(super) rounding: u64,
    /// The share of the free granules outside the largest free block, at even steps of time.
    pub(super) apart: Vec<f32>,
    pub(super) spans: Vec<Span>,
}

/// Runs it only to see whether it fits: how far it came.
pub(super) fn fits(
    policy: Policy,
    program: Program,
    granules: u64,
) -> Result<(bool, u64), InputError> {
    let mut run = Run::new(policy, program, granules, false);
    run.all()?;
    Ok((run.outcome.done == program.events.len(), run.outcome.reach))
}

/// Runs it and writes down everything. Each block is checked against the shadow.
pub(super) fn watch(
    policy: Policy,
    program: Program,
    granules: u64,
) -> Result<Outcome, InputError> {
    let mut run = Run::new(policy, program, granules, true);
    run.all()?;
    Ok(run.finish())
}

#[derive(Clone, Copy)]
struct Block {
    handle: Handle,
    granules: u64,
    align: u64,
    /// Its span, where spans are kept.
    span: usize,
}

struct Run<'a> {
    policy: Policy,
    program: Program<'a>,
    pool: u64,
    space: Box<dyn Placement>,
    blocks: Vec<Option<Block>>,
    watched: bool,
    shadow: Shadow,
    live: u64,
    given: u64,
    live_most: u64,
    allocations: u64,
    outcome: Outcome,
}

impl<'a> Run<'a> {
    fn new(policy: Policy, program: Program<'a>, pool: u64, watched: bool) -> Self {
        Self {
            policy,
            program,
            pool,
            space: policy.over(program.cut, pool),
            blocks: vec![None; program.allocations],
            watched,
            shadow: Shadow::new(if watched { pool } else { 0 }),
            live: 0,
            given: 0,
            live_most: 0,
            allocations: 0,
            outcome: Outcome::default(),
        }
    }

    fn all(&mut self) -> Result<(), InputError> {
        for (index, &event) in self.program.events.iter().enumerate() {
            let served = self.step(index, event).map_err(|what| {
                InputError(format!(
                    "operation {}: the simulation of {} is wrong: {what}",
                    index + 1,
                    self.policy.name()
                ))
            })?;
            if !served {
                break;
            }
            self.outcome.done = index + 1;
            if self.watched {
                self.sample(index);
            }
        }
        Ok(())
    }

    fn step(&mut self, index: usize, event: Event) -> Result<bool, String> {
        match event {
            Event::Alloc { id, size, align_log2, .. } => {
                let align = self.align(1 << align_log2.min(40));
                self.allocate(index, id, size, align)
            }
            Event::Free { id } => {
                let block = self.blocks[id as usize].take().ok_or("a block is not live")?;
                self.free(index, block)?;
                Ok(true)
            }
            Event::Realloc { id, new_size } => self.reallocate(index, id, new_size),
        }
    }

    /// In granules; 1 where all blocks are so aligned.
    fn align(&self, align_bytes: u64) -> u64 {
        let cut = self.program.cut;
        let align = align_bytes.div_ceil(cut.granule_bytes);
        if align <= cut.align_granules { 1 } else { align }
    }

    fn allocate(&mut self, index: usize, id: u32, size: u64, align: u64) -> Result<bool, String> {
        let granules = self.program.cut.granules(size);
        let before = self.space.steps();
        let found = self.space.allocate(granules, align);
        let looked_at = self.space.steps() - before;
        self.outcome.looked_at_max = self.outcome.looked_at_max.max(looked_at);
        self.allocations += 1;
        let Some(handle) = found else {
            return Ok(false);
        };
        self.place(index, id, Block { handle, granules, align, span: usize::MAX }, size)?;
        Ok(true)
    }

    /// The block is where the policy put it: in the pool, aligned, on nothing else.
    fn place(&mut self, index: usize, id: u32, mut block: Block, size: u64) -> Result<(), String> {
        let (start, len) = self.space.extent(block.handle);
        self.live += block.granules;
        self.given += len;
        self.outcome.reach = self.outcome.reach.max(start + len);
        if self.live > self.live_most {
            self.live_most = self.live;
            self.outcome.rounding = self.given - self.live;
        }
        if self.watched {
            if len < block.granules || !start.is_multiple_of(block.align) || start + len > self.pool
            {
                return Err(format!(
                    "a block of {} granules at {start}, {len} long",
                    block.granules
                ));
            }
            self.shadow.take(start, len)?;
            block.span = self.outcome.spans.len();
            let place = Place {
                offset_bytes: (start * self.program.cut.granule_bytes) as usize,
                len_bytes: (len * self.program.cut.granule_bytes) as usize,
                size_bytes: size,
            };
            self.outcome.spans.push(Span {
                id,
                start: index as u32,
                end: u32::MAX,
                place,
                site: 0,
            });
        }
        self.blocks[id as usize] = Some(block);
        Ok(())
    }

    /// Notes that the block leaves its place.
    fn leave(&mut self, index: usize, block: Block) -> Result<(), String> {
        let (start, len) = self.space.extent(block.handle);
        self.live -= block.granules;
        self.given -= len;
        if self.watched {
            self.shadow.give_back(start, len)?;
            self.outcome.spans[block.span].end = index as u32;
        }
        Ok(())
    }

    fn free(&mut self, index: usize, block: Block) -> Result<(), String> {
        self.leave(index, block)?;
        self.space.free(block.handle);
        Ok(())
    }

    fn reallocate(&mut self, index: usize, id: u32, size: u64) -> Result<bool, String> {
        let block = self.blocks[id as usize].ok_or("a block is not live")?;
        let granules = self.program.cut.granules(size);
        self.leave(index, block)?;
        if self.space.resize(block.handle, granules) {
            self.place(index, id, Block { granules, ..block }, size)?;
            return Ok(true);
        }
        // It stays where it is while the new one is sought: both are live for that moment.
        self.place(index, id, block, size)?;
        let old = self.blocks[id as usize].ok_or("a block is not live")?;
        if !self.allocate(index, id, size, block.align)? {
            return Ok(false);
        }
        self.free(index, old)?;
        Ok(true)
    }

    fn sample(&mut self, index: usize) {
        let events = self.program.events.len();
        if index * SAMPLES / events == (index + 1) * SAMPLES / events && index + 1 < events {
            return;
        }
        let free = self.pool - self.given;
        let apart =
            if free == 0 { 0.0 } else { 1.0 - self.space.largest().min(free) as f64 / free as f64 };
        self.outcome.apart.push(apart as f32);
    }

    fn finish(mut self) -> Outcome {
        let end = self.outcome.done as u32;
        self.outcome.spans.iter_mut().for_each(|span| span.end = span.end.min(end));
        self.outcome.spans.retain(|span| span.end > span.start);
        self.outcome.looked_at_mean = self.space.steps() as f64 / self.allocations.max(1) as f64;
        self.outcome
    }
}

/// Which granules are in use, one bit each.
struct Shadow(Vec<u64>);

impl Shadow {
    fn new(granules: u64) -> Self {
        Self(vec![0; granules.div_ceil(64) as usize])
    }

    /// The words that a run of granules touches, and its bits in each.
    fn words(start: u64, len: u64) -> impl Iterator<Item = (usize, u64)> {
        let end = start + len;
        (start / 64..end.div_ceil(64)).map(move |word| {
            let from = start.max(word * 64) - word * 64;
            let to = end.min(word * 64 + 64) - word * 64;
            let bits = (u64::MAX >> (64 - (to - from))) << from;
            (word as usize, bits)
        })
    }

    fn take(&mut self, start: u64, len: u64) -> Result<(), String> {
        for (word, bits) in Self::words(start, len) {
            if self.0[word] & bits != 0 {
                return Err(format!("{len} granules at {start} overlap a live block"));
            }
            self.0[word] |= bits;
        }
        Ok(())
    }

    fn give_back(&mut self, start: u64, len: u64) -> Result<(), String> {
        for (word, bits) in Self::words(start, len) {
            if self.0[word] & bits != bits {
                return Err(format!("{len} granules at {start} were not all live"));
            }
            self.0[word] &= !bits;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shadow_finds_every_overlap() {
        let mut shadow = Shadow::new(300);
        shadow.take(60, 130).unwrap();
        for (start, len) in [(0, 61), (189, 1), (100, 1), (60, 130), (0, 300)] {
            assert!(shadow.take(start, len).is_err(), "{start}+{len}");
        }
        shadow.take(0, 60).unwrap();
        shadow.take(190, 110).unwrap();
        shadow.give_back(64, 64).unwrap();
        assert!(shadow.give_back(60, 130).is_err());
        shadow.take(64, 64).unwrap();
    }
}
