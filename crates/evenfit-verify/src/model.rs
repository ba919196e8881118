//! The state of a correct heap, as ranges of bytes and nothing else.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::alloc::Layout;

use evenfit::FreeError;

use crate::subject::{GRANULES_MIN, Rules, SLOT_BYTES_MAX, SlabRules, Subject};

/// A live block, as its owner knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    /// Where it starts, in bytes from the pool's first granule.
    pub offset: usize,
    /// Its length: the requested size as the heap rounds it.
    pub len: usize,
    /// The request.
    pub layout: Layout,
    /// Determines its contents.
    pub seed: u64,
}

/// What a heap must return for a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A live block starts there and the layout fits it.
    Valid,
    /// It must be refused with this error.
    Refuse(FreeError),
    /// It points into free memory, but not at the start of a free block. It must be refused, as an
    /// interior pointer or as already free, which are both true.
    RefuseInFree,
    /// No live block starts there, but there may be a slab. It must be refused, as already free, as
    /// an interior pointer, or as of another layout.
    RefuseInSlab,
    /// The model can't tell whether the layout fits: a request for a slab may have been served by
    /// a block of the same length, or its slot be one of a slab that accepts smaller sizes.
    Unknown,
}

impl Verdict {
    /// Whether `answer` is what the verdict asks for.
    pub fn allows(self, answer: Result<(), FreeError>) -> bool {
        match self {
            Self::Valid => answer.is_ok(),
            Self::Refuse(error) => answer == Err(error),
            Self::RefuseInFree => {
                matches!(answer, Err(FreeError::NotABlock | FreeError::AlreadyFree))
            }
            Self::RefuseInSlab => matches!(
                answer,
                Err(FreeError::NotABlock | FreeError::AlreadyFree | FreeError::WrongLayout)
            ),
            Self::Unknown => true,
        }
    }
}

/// The length, in granules, from which on any free block serves a request of `granules` without a
/// walk along a list: exact below `exact_end`, and above it one of four per doubling.
pub fn search_rounding(granules: usize, exact_end: usize) -> usize {
    if granules < exact_end {
        return granules;
    }
    let step = 1 << (granules.ilog2() - 2);
    granules.next_multiple_of(step)
}

/// The ranges of one pool.
#[derive(Clone, Debug)]
pub struct Model {
    rules: Rules,
    /// The address of the pool's first granule.
    pool_base: usize,
    pool_bytes: usize,
    live: BTreeMap<usize, Live>,
    /// The live offsets in no particular order, for picking one by number in O(1).
    picks: Vec<usize>,
    place_in_picks: BTreeMap<usize, usize>,
    used_bytes: usize,
    /// By a slot's length: the smallest slot that would have served a request that was kept in
    /// such a slot.
    kept: BTreeMap<usize, usize>,
}

impl Model {
    /// The empty pool of an `S`.
    pub fn of<S: Subject>(pool_base: usize, pool_bytes: usize) -> Self {
        Self::new(S::RULES, pool_base, pool_bytes)
    }

    /// An empty pool.
    pub fn new(rules: Rules, pool_base: usize, pool_bytes: usize) -> Self {
        assert_eq!(pool_bytes % rules.align_bytes, 0, "a pool is whole granules");
        Self {
            rules,
            pool_base,
            pool_bytes,
            live: BTreeMap::new(),
            picks: Vec::new(),
            place_in_picks: BTreeMap::new(),
            used_bytes: 0,
            kept: BTreeMap::new(),
        }
    }

    /// The pool's length in bytes.
    pub fn pool_bytes(&self) -> usize {
        self.pool_bytes
    }

    /// The address of the pool's first granule.
    pub fn pool_base(&self) -> usize {
        self.pool_base
    }

    /// A request as the pool rounds it: whole granules, aligned, and at least the shortest block.
    pub fn rounded(&self, size: usize) -> usize {
        let align = self.rules.align_bytes;
        let aligned = size.div_ceil(align).saturating_mul(align);
        aligned.max(self.block_bytes_min())
    }

    /// The length of the shortest block.
    fn block_bytes_min(&self) -> usize {
        GRANULES_MIN * self.rules.granule_bytes
    }

    /// Whether a block of `len` bytes may serve a request for `size`.
    fn is_block_for(&self, size: usize, len: usize) -> bool {
        let over_max = self.rules.granules_over_max * self.rules.granule_bytes;
        let rounded = self.rounded(size);
        rounded <= len && len - rounded <= over_max
    }

    /// The length of the slot that may serve a request; none if a block must.
    fn slot_for(&self, size: usize) -> Option<usize> {
        (self.rules.slabs?.slot_bytes)(size)
    }

    /// Bytes in live blocks, rounded.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// How many blocks are live.
    pub fn live_count(&self) -> usize {
        self.picks.len()
    }

    /// The live blocks in address order.
    pub fn live(&self) -> impl Iterator<Item = &Live> {
        self.live.values()
    }

    /// The live block number `k` modulo their count.
    pub fn pick(&self, k: usize) -> Option<Live> {
        let offset = self.picks.get(k % self.picks.len().max(1))?;
        Some(self.live[offset])
    }

    /// The live block starting at `offset`.
    pub fn at(&self, offset: usize) -> Option<Live> {
        self.live.get(&offset).copied()
    }

    /// The start and end of the free run around `[start, end)`, if that were free.
    fn free_around(&self, start: usize, end: usize) -> (usize, usize) {
        let before = self.live.range(..start).next_back();
        let after = self.live.range(end..).next();
        (
            before.map_or(0, |(offset, live)| offset + live.len),
            after.map_or(self.pool_bytes, |(offset, _)| *offset),
        )
    }

    /// The free run that holds the byte at `offset`, if it is free.
    pub fn gap_at(&self, offset: usize) -> Option<(usize, usize)> {
        if offset >= self.pool_bytes {
            return None;
        }
        let (start, end) = self.free_around(offset + 1, offset + 1);
        (start <= offset).then_some((start, end))
    }

    /// The free run at `offset`, or else the next one.
    pub fn gap_from(&self, offset: usize) -> Option<(usize, usize)> {
        self.gap_at(offset).or_else(|| {
            let ends = self.live.range(offset + 1..).map(|(at, live)| at + live.len);
            let own = self.live.range(..=offset).next_back();
            let own = own.map(|(at, live)| at + live.len);
            own.into_iter().chain(ends).find_map(|end| self.gap_at(end))
        })
    }

    /// The free run that would hold `live` if it were freed.
    pub fn gap_without(&self, live: &Live) -> (usize, usize) {
        let end = live.offset + live.len;
        self.free_around(live.offset, end)
    }

    /// Every free run, as start and end in bytes, in address order.
    pub fn gaps(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let starts = self.live.values().map(|live| live.offset + live.len);
        let ends = self.live.keys().copied();
        core::iter::once(0)
            .chain(starts)
            .zip(ends.chain(core::iter::once(self.pool_bytes)))
            .filter(|(start, end)| start < end)
    }

    /// Records a block of `len` bytes allocated at `address`.
    ///
    /// # Panics
    /// If it is misaligned, not within the pool, of a length that the request is not rounded to,
    /// or overlaps a live block.
    pub fn insert(&mut self, address: usize, len: usize, layout: Layout, seed: u64) -> Live {
        assert!(
            self.is_block_for(layout.size(), len) || self.may_be_slot(layout, len) == Some(true),
            "{layout:?} took {len} bytes at {address:#x}: a needless rounding, usable size"
        );
        self.record(address, len, layout, seed)
    }

    fn record(&mut self, address: usize, len: usize, layout: Layout, seed: u64) -> Live {
        assert_eq!(address % layout.align(), 0, "{layout:?} at {address:#x} is misaligned");
        let offset = address.wrapping_sub(self.pool_base);
        assert!(
            offset < self.pool_bytes && len <= self.pool_bytes - offset,
            "{layout:?} at {address:#x} is not inside the pool"
        );
        assert!(
            offset.is_multiple_of(self.rules.align_bytes),
            "{layout:?} at offset {offset} is misaligned"
        );
        let rounded = len;
        let gap = self.gap_at(offset);
        assert!(
            gap.is_some_and(|(_, end)| offset + rounded <= end),
            "{layout:?} at offset {offset} overlaps a live block; the free run there is {gap:?}"
        );
        let live = Live { offset, len, layout, seed };
        self.live.insert(offset, live);
        self.place_in_picks.insert(offset, self.picks.len());
        self.picks.push(offset);
        self.used_bytes += rounded;
        live
    }

    /// Forgets the block at `offset`.
    pub fn remove(&mut self, offset: usize) -> Live {
        let live = self.live.remove(&offset).expect("the driver frees only live blocks");
        let place = self.place_in_picks.remove(&offset).expect("picked by offset");
        self.picks.swap_remove(place);
        if let Some(moved) = self.picks.get(place) {
            self.place_in_picks.insert(*moved, place);
        }
        self.used_bytes -= live.len;
        live
    }

    /// Whether a block or slot of `len` bytes is longer than one that was allocated for `size`
    /// would be.
    pub fn is_kept(&self, size: usize, len: usize) -> bool {
        !self.is_block_for(size, len) && self.slot_for(size).is_some_and(|slot| slot < len)
    }

    /// Changes the layout of a block or slot in place, to one that a smaller slot would serve too.
    ///
    /// # Panics
    /// If the request has no such layout.
    pub fn keep(&mut self, live: &Live, layout: Layout, seed: u64) -> Live {
        let len = self.remove(live.offset).len;
        if let Some(slot) = self.slot_for(layout.size())
            && self.slot_for(len) == Some(len)
            && slot < len
        {
            let least = self.kept.entry(len).or_insert(slot);
            *least = slot.min(*least);
        }
        let fits =
            self.is_block_for(layout.size(), len) || self.may_be_slot(layout, len) != Some(false);
        assert!(fits, "{layout:?} was left in {len} bytes, usable size");
        self.record(self.pool_base + live.offset, len, layout, seed)
    }

    /// Whether a request must succeed: some free run has room for it, however the search rounds and
    /// at whatever address the run lies.
    pub fn must_fit(&self, layout: Layout) -> bool {
        let Some(granules) = self.granules_searched(layout) else {
            return false;
        };
        let rules = &self.rules;
        let whole = search_rounding(granules, rules.exact_end);
        // A slab reaches into a run without live blocks by less than its length, from each side.
        let slab = self.slab_bytes_max();
        let holds = |(start, end): (usize, usize), lost: usize, granules: usize| {
            (end - start).saturating_sub(lost) / rules.granule_bytes >= granules
        };
        self.gaps().any(|gap| holds(gap, 2 * slab, whole))
            || self.tail().is_some_and(|gap| {
                if layout.align() <= rules.align_bytes {
                    holds(gap, slab, granules)
                } else {
                    slab == 0 && self.holds_aligned(gap, layout)
                }
            })
    }

    /// The greatest length of a slab's block; 0 without slabs.
    fn slab_bytes_max(&self) -> usize {
        let over_max = self.rules.granules_over_max * self.rules.granule_bytes;
        let slab = |slabs: SlabRules| slabs.slab_bytes + over_max;
        self.rules.slabs.map_or(0, slab)
    }

    /// Whether the request fits in a free run at its alignment, with a block or nothing before it.
    fn holds_aligned(&self, (start, end): (usize, usize), layout: Layout) -> bool {
        let address = self.pool_base + start;
        let mut before = address.wrapping_neg() & (layout.align() - 1);
        if before != 0 && before < self.block_bytes_min() {
            before += layout.align();
        }
        before <= end - start && self.rounded(layout.size()) <= end - start - before
    }

    /// Whether a reallocation to `new` must succeed, in place or just before the block if need be.
    pub fn must_resize(&self, live: &Live, new: Layout) -> bool {
        let rounded = self.rounded(new.size());
        let is_aligned = |offset: usize| (self.pool_base + offset).is_multiple_of(new.align());
        if self.rules.slabs.is_some() {
            // The memory around a block may belong to a slab.
            return new.size() <= live.len && is_aligned(live.offset);
        }
        let (start, end) = self.gap_without(live);
        let forwards = rounded <= end - live.offset && is_aligned(live.offset);
        let aligned = new.align() <= self.rules.align_bytes || is_aligned(start);
        forwards || aligned && rounded <= end - start
    }

    /// Whether a block must be resized to `new` in place.
    pub fn must_resize_in_place(&self, live: &Live, new: Layout) -> bool {
        let is_aligned = (self.pool_base + live.offset).is_multiple_of(new.align());
        let end = match self.rules.slabs {
            // A block can always be shrunk; a slot has one size.
            Some(_) if live.len > SLOT_BYTES_MAX => live.offset + live.len,
            Some(_) => live.offset,
            None => self.gap_without(live).1,
        };
        is_aligned && self.rounded(new.size()) <= end - live.offset
    }

    /// The free run at the pool's end. (It is outside the bins: no rounding applies.)
    fn tail(&self) -> Option<(usize, usize)> {
        self.gap_at(self.pool_bytes - 1)
    }

    /// Whether a request can possibly succeed: some free run has room for it at its alignment.
    pub fn may_fit(&self, layout: Layout) -> bool {
        let rounded = self.rounded(layout.size());
        self.gaps().any(|(start, end)| {
            let address = self.pool_base + start;
            let Some(aligned) = address.checked_next_multiple_of(layout.align()) else {
                return false;
            };
            aligned - address <= end - start && rounded <= end - start - (aligned - address)
        })
    }

    /// The length that a search for the layout needs at any address, in granules: its size and all
    /// the granules that alignment may cost. What stays before it must be a block too.
    fn granules_searched(&self, layout: Layout) -> Option<usize> {
        let rules = &self.rules;
        let granules = self.rounded(layout.size()) / rules.granule_bytes;
        if layout.align() <= rules.align_bytes {
            return Some(granules);
        }
        granules.checked_add(layout.align() / rules.granule_bytes - 1 + GRANULES_MIN)
    }

    /// Whether no state of this pool could serve the request.
    pub fn never_fits(&self, layout: Layout) -> bool {
        self.rounded(layout.size()) > self.pool_bytes
    }

    /// Whether a slot of `len` bytes serves `layout`; none if a slab of such slots may accept it.
    fn may_be_slot(&self, layout: Layout, len: usize) -> Option<bool> {
        let Some(slot) = self.slot_for(layout.size()) else {
            return Some(false);
        };
        let is_kept = self.kept.get(&len).is_some_and(|least| *least <= slot) && slot < len;
        if is_kept { None } else { Some(len == slot) }
    }

    /// Whether `told` is a layout of the live block; none if that depends on whether it is a slot,
    /// which the model can't know.
    fn fits(&self, live: &Live, told: Layout, address: usize) -> Option<bool> {
        if !address.is_multiple_of(told.align()) {
            return Some(false);
        }
        let as_block = self.is_block_for(told.size(), live.len);
        if live.len > SLOT_BYTES_MAX || self.slot_for(live.layout.size()).is_none() {
            return Some(as_block);
        }
        let was_block = self.is_block_for(live.layout.size(), live.len);
        let was_slot = self.may_be_slot(live.layout, live.len) != Some(false);
        match (was_block, was_slot, self.may_be_slot(told, live.len)) {
            (true, false, _) => Some(as_block),
            (false, _, as_slot) => as_slot,
            (_, _, Some(as_slot)) if as_block == as_slot => Some(as_block),
            _ => None,
        }
    }

    /// What must be returned for `address`, with a layout or (as for C's `free`) without.
    pub fn verdict(&self, address: usize, layout: Option<Layout>) -> Verdict {
        let offset = address.wrapping_sub(self.pool_base);
        if offset >= self.pool_bytes {
            return Verdict::Refuse(FreeError::OutsidePool);
        }
        if let Some(live) = self.live.get(&offset) {
            return match layout.map_or(Some(true), |told| self.fits(live, told, address)) {
                Some(true) => Verdict::Valid,
                Some(false) => Verdict::Refuse(FreeError::WrongLayout),
                None => Verdict::Unknown,
            };
        }
        match self.gap_at(offset) {
            // The slabs may validate the layout or the address first.
            _ if self.rules.slabs.is_some() && layout.is_some() => Verdict::RefuseInSlab,
            Some(_) if self.rules.slabs.is_some() => Verdict::RefuseInFree,
            Some((start, _)) if start == offset => Verdict::Refuse(FreeError::AlreadyFree),
            Some(_) => Verdict::RefuseInFree,
            None => Verdict::Refuse(FreeError::NotABlock),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 1).unwrap()
    }

    const RULES: Rules = Rules {
        granule_bytes: 8,
        align_bytes: 8,
        granules_over_max: 0,
        exact_end: 32,
        slabs: None,
    };

    fn sample() -> Model {
        let mut model = Model::new(RULES, 0x1000, 160);
        model.insert(0x1010, 32, layout(28), 1);
        model.insert(0x1050, 16, layout(0), 2);
        model
    }

    #[test]
    fn gaps_are_the_complement_of_the_live_blocks() {
        let model = sample();
        assert_eq!(model.gaps().collect::<Vec<_>>(), [(0, 16), (48, 80), (96, 160)]);
        assert_eq!(model.gap_at(15), Some((0, 16)));
        assert_eq!(model.gap_at(16), None);
        assert_eq!(model.gap_at(47), None);
        assert_eq!(model.gap_at(48), Some((48, 80)));
        assert_eq!(model.gap_at(80), None);
        assert_eq!(model.gap_at(159), Some((96, 160)));
        assert_eq!(model.gap_at(160), None);
        assert_eq!(model.gap_from(0), Some((0, 16)));
        assert_eq!(model.gap_from(16), Some((48, 80)));
        assert_eq!(model.gap_from(80), Some((96, 160)));
        assert_eq!(model.gap_from(50), Some((48, 80)));
        assert_eq!(model.gap_from(90), Some((96, 160)));
        assert_eq!(model.gap_without(&model.at(80).unwrap()), (48, 160));
        assert_eq!(model.used_bytes(), 48);
    }

    #[test]
    fn verdicts() {
        let model = sample();
        let refuse = Verdict::Refuse;
        assert_eq!(model.verdict(0x0fff, None), refuse(FreeError::OutsidePool));
        assert_eq!(model.verdict(0x10a0, None), refuse(FreeError::OutsidePool));
        assert_eq!(model.verdict(0x1010, Some(layout(32))), Verdict::Valid);
        assert_eq!(model.verdict(0x1010, Some(layout(16))), refuse(FreeError::WrongLayout));
        assert_eq!(model.verdict(0x1011, None), refuse(FreeError::NotABlock));
        assert_eq!(model.verdict(0x1020, None), refuse(FreeError::NotABlock));
        assert_eq!(model.verdict(0x1030, None), refuse(FreeError::AlreadyFree));
        assert_eq!(model.verdict(0x1040, None), Verdict::RefuseInFree);
    }

    #[test]
    #[should_panic(expected = "overlaps")]
    fn an_overlap_is_noticed() {
        sample().insert(0x1000, 32, layout(25), 3);
    }

    #[test]
    #[should_panic(expected = "misaligned")]
    fn a_lost_alignment_is_noticed() {
        sample().insert(0x1030, 16, Layout::from_size_align(8, 64).unwrap(), 3);
    }

    #[test]
    fn removal_keeps_every_other_pick() {
        let mut model = sample();
        model.insert(0x1080, 16, layout(1), 3);
        model.remove(16);
        let mut seeds: Vec<_> = (0..2).map(|k| model.pick(k).unwrap().seed).collect();
        seeds.sort_unstable();
        assert_eq!(seeds, [2, 3]);
        model.remove(128);
        assert_eq!(model.pick(5).unwrap().seed, 2);
        model.remove(80);
        assert_eq!(model.pick(0), None);
        assert_eq!(model.used_bytes(), 0);
    }

    #[test]
    fn rounding_of_the_search() {
        for (granules, searched) in [(31, 31), (32, 32), (33, 40), (41, 48), (57, 64), (65, 80)] {
            assert_eq!(search_rounding(granules, 32), searched);
        }
    }
}
