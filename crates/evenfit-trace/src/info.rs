//! What a recorded program does, in numbers.

use std::collections::{BTreeMap, HashSet};

use crate::{Event, Trace};

/// Statistics of a [`Trace`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceInfo {
    /// Events.
    pub operations: u64,
    /// Allocations.
    pub allocations: u64,
    /// Allocations that had to be zero.
    pub zeroed: u64,
    /// Frees.
    pub frees: u64,
    /// Reallocations.
    pub reallocations: u64,
    /// Reallocations to a larger size.
    pub grown: u64,
    /// Reallocations to a smaller size.
    pub shrunk: u64,
    /// Most bytes live at once, as asked for.
    pub peak_live_bytes: u64,
    /// Blocks live when most bytes were, the first time.
    pub blocks_at_peak: u64,
    /// Index of the event that brought the peak, the first time.
    pub peak_at: u64,
    /// Most blocks live at once.
    pub peak_live_blocks: u64,
    /// Bytes live after the last event.
    pub leaked_bytes: u64,
    /// Blocks live after the last event.
    pub leaked_blocks: u64,
    /// Bytes requested in all; a reallocation counts with the bytes that it adds.
    pub total_bytes: u128,
    /// Largest size asked for.
    pub largest_size: u64,
    /// Sizes asked for by allocations and reallocations, by powers of two.
    pub sizes: Histogram,
    /// Operations between a block's allocation and its free, by powers of two; blocks never freed
    /// aren't in it.
    pub lifetimes: Histogram,
    /// How many allocations asked for each alignment, in bytes.
    pub alignments: BTreeMap<u64, u64>,
    /// Threads that events came from.
    pub threads: u64,
    /// Call sites that events came from; 0 where none were recorded.
    pub sites_seen: u64,
    /// Ticks from the beginning of the recording to its last event; 0 if no time was recorded.
    pub ticks: u64,
}

/// Counts by powers of two: bin 0 counts zeros, bin `i` the values from `2^(i-1)` to `2^i - 1`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
}

impl Histogram {
    fn add(&mut self, value: u64) {
        let bin = (u64::BITS - value.leading_zeros()) as usize;
        if bin >= self.counts.len() {
            self.counts.resize(bin + 1, 0);
        }
        self.counts[bin] += 1;
    }

    /// The bins up to the last that isn't empty: smallest value, largest value, count.
    pub fn bins(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        self.counts.iter().enumerate().map(|(bin, &count)| match bin {
            0 => (0, 0, count),
            _ => (1 << (bin - 1), u64::MAX >> (64 - bin), count),
        })
    }

    /// How many values were counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

impl TraceInfo {
    pub(crate) fn of(trace: &Trace) -> TraceInfo {
        let mut tally = Tally::default();
        let (mut threads, mut sites) = (HashSet::new(), HashSet::new());
        let mut last = None;
        for (index, record) in trace.records().enumerate() {
            tally.take(index as u64, record.event);
            // Most records are of the same thread and call site as the one before.
            if last != Some((record.thread, record.site)) {
                threads.insert(record.thread);
                sites.insert(record.site);
                last = Some((record.thread, record.site));
            }
            tally.info.ticks = record.time;
        }
        sites.remove(&0);
        TraceInfo {
            operations: trace.events().len() as u64,
            leaked_bytes: tally.live_bytes,
            leaked_blocks: tally.live_blocks,
            threads: threads.len() as u64,
            sites_seen: sites.len() as u64,
            ..tally.info
        }
    }
}

/// The live blocks, while the events are read.
#[derive(Default)]
struct Tally {
    info: TraceInfo,
    /// Of each block, by id: its size, and the index of the event that made it.
    blocks: Vec<(u64, u64)>,
    live_bytes: u64,
    live_blocks: u64,
}

impl Tally {
    fn take(&mut self, index: u64, event: Event) {
        match event {
            Event::Alloc { size, align_log2, zeroed, .. } => {
                self.info.allocations += 1;
                self.info.zeroed += zeroed as u64;
                *self.info.alignments.entry(1 << align_log2).or_default() += 1;
                self.blocks.push((size, index));
                self.live_blocks += 1;
                self.grow(index, 0, size);
            }
            Event::Free { id } => {
                let (size, born) = self.blocks[id as usize];
                self.info.frees += 1;
                self.info.lifetimes.add(index - born);
                self.live_bytes -= size;
                self.live_blocks -= 1;
            }
            Event::Realloc { id, new_size } => {
                let old_size = std::mem::replace(&mut self.blocks[id as usize].0, new_size);
                self.info.reallocations += 1;
                self.info.grown += (new_size > old_size) as u64;
                self.info.shrunk += (new_size < old_size) as u64;
                self.grow(index, old_size, new_size);
            }
        }
    }

    /// A block's size becomes `new_size`.
    fn grow(&mut self, index: u64, old_size: u64, new_size: u64) {
        let info = &mut self.info;
        info.sizes.add(new_size);
        info.largest_size = info.largest_size.max(new_size);
        info.total_bytes += new_size.saturating_sub(old_size) as u128;
        info.peak_live_blocks = info.peak_live_blocks.max(self.live_blocks);
        self.live_bytes = self.live_bytes - old_size + new_size;
        if self.live_bytes > info.peak_live_bytes {
            info.peak_live_bytes = self.live_bytes;
            info.blocks_at_peak = self.live_blocks;
            info.peak_at = index;
        }
    }
}
