//! Every reachable state of a small pool, every operation from every state.
//!
//! A state is what decides a heap's future answers: the blocks, and the links in the free ones
//! (which give the order of every bin). A state is reached again by replaying the operations that
//! first led to it; from there each operation runs on a bitwise copy of heap and region.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::vec;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use evenfit::{AllocError, BlockState, FreeError, ReallocError, Stats};

use crate::driver::{assert_slab_walk, build};
use crate::model::{Model, Verdict};
use crate::op::layout;
use crate::region::{Placement, Region};
use crate::subject::{SlabRules, Subject};

/// What is visited.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The pool's size in granules.
    pub granules: usize,
    /// The sizes that are asked for, in granules.
    pub sizes: Vec<usize>,
    /// The alignments that are asked for, in granules (powers of two).
    pub aligns: Vec<usize>,
    /// Give up, and say so, after this many states.
    pub states_max: usize,
}

impl Plan {
    /// Every size and every alignment of a pool of `granules`.
    pub fn every_size(granules: usize) -> Self {
        let aligns = (0..)
            .map(|log2| 1 << log2)
            .take_while(|align| *align <= granules);
        Self {
            granules,
            sizes: (1..=granules + 1).collect(),
            aligns: aligns.collect(),
            states_max: usize::MAX,
        }
    }

    /// The same pool with each granule made `unit` granules: long blocks, coarse size classes,
    /// and a map of several words, at the number of states of a small pool.
    pub fn scaled(unit: usize, count: usize) -> Self {
        Self {
            granules: unit * count,
            sizes: (1..=count).map(|size| size * unit).collect(),
            aligns: vec![1],
            states_max: usize::MAX,
        }
    }

    /// Slabs of eight slots, and blocks as long as one, in a pool of an `S` with room for `slabs` and a half.
    pub fn slabs<S: Subject>(slabs: usize, states_max: usize) -> Self {
        let slab = slab_granules::<S>();
        Self {
            granules: slab * slabs + slab / 2,
            sizes: vec![slot_granules::<S>(), slab],
            aligns: vec![1],
            states_max,
        }
    }

    /// Slabs of two classes, so that slots are kept for smaller requests.
    pub fn kept_slots<S: Subject>(slabs: usize, states_max: usize) -> Self {
        let slot = slot_granules::<S>();
        Self {
            sizes: vec![slot / 2, slot, slab_granules::<S>()],
            ..Self::slabs::<S>(slabs, states_max)
        }
    }

    /// Sizes around `unit`, which leave rests of every length. There is no end to the states:
    /// the first `states_max` are visited, the shortest ways first.
    pub fn ragged(unit: usize, count: usize, states_max: usize) -> Self {
        Self {
            granules: unit * count + 3,
            sizes: vec![1, unit - 1, unit, unit + 1, 2 * unit + 1],
            aligns: vec![1, 4, 64],
            states_max,
        }
    }
}

/// The length of a slab, in granules.
fn slab_granules<S: Subject>() -> usize {
    let slabs = S::RULES.slabs.expect("a heap with slabs");
    slabs.slab_bytes / S::GRANULE_BYTES
}

/// The size of request that a slab has eight slots for, in granules.
fn slot_granules<S: Subject>() -> usize {
    slab_granules::<S>() / 8
}

/// What was visited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Different states.
    pub states: usize,
    /// Operations applied, all states together.
    pub transitions: u64,
    /// Of these, the ones that had to be refused.
    pub refusals: u64,
    /// The longest shortest way to a state, in operations.
    pub depth_max: u32,
    /// Whether every reachable state was visited.
    pub complete: bool,
}

/// A change of state, named without reference to the state.
#[derive(Clone, Copy, Debug)]
enum Step {
    Allocate {
        size: usize,
        align: usize,
    },
    Free {
        offset: usize,
        unsized_: bool,
    },
    Resize {
        offset: usize,
        size: usize,
        align: usize,
    },
}

/// A pointer that must be refused, and the layout it comes with, if any.
type Wrong = (usize, Option<Layout>);

struct Node {
    parent: u32,
    depth: u32,
    step: Step,
}

struct Explorer<S: Subject> {
    region: Region,
    heap: MaybeUninit<S>,
    model: Model,
    /// Heap, region and model as built.
    fresh: Saved<S>,
    fresh_model: Model,
    nodes: Vec<Node>,
    known: BTreeMap<Vec<u8>, u32>,
    report: Report,
}

/// Heap and region at one moment.
struct Saved<S> {
    heap: MaybeUninit<S>,
    bytes: Vec<u8>,
    stats: Stats,
}

impl<S> Clone for Saved<S> {
    fn clone(&self) -> Self {
        // SAFETY: a bitwise copy, never used but to overwrite the original with.
        let heap = unsafe { core::ptr::read(&self.heap) };
        Self {
            heap,
            bytes: self.bytes.clone(),
            stats: self.stats,
        }
    }
}

/// Visits a pool as `plan` says.
///
/// # Panics
/// Where the heap and the model differ.
pub fn explore<S: Subject>(plan: &Plan) -> Report {
    let mut explorer = Explorer::<S>::new(plan.granules);
    explorer.report.complete = true;
    let mut next = 0;
    while next < explorer.nodes.len() {
        if explorer.nodes.len() > plan.states_max {
            explorer.report.complete = false;
            break;
        }
        explorer.visit(next as u32, plan);
        next += 1;
    }
    explorer.report.states = explorer.nodes.len();
    explorer.report
}

/// A region in which the pool has exactly `granules`.
fn region_for<S: Subject>(granules: usize) -> (Region, S, usize) {
    let pool_bytes = granules * S::GRANULE_BYTES;
    for len_bytes in pool_bytes.. {
        let region = Region::new(len_bytes, Placement::AfterGuard(0));
        if let Ok((heap, base, got_bytes)) = build::<S>(&region) {
            assert!(
                got_bytes <= pool_bytes,
                "no region gives a pool of {granules} granules"
            );
            if got_bytes == pool_bytes {
                return (region, heap, base);
            }
        }
    }
    unreachable!("a region that is long enough comes first")
}

impl<S: Subject> Explorer<S> {
    fn new(granules: usize) -> Self {
        let (region, heap, base) = region_for::<S>(granules);
        let model = Model::of::<S>(base, granules * S::GRANULE_BYTES);
        let fresh = Saved {
            stats: heap.stats(),
            // SAFETY: no operation runs meanwhile.
            bytes: unsafe { region.bytes() }.to_vec(),
            // SAFETY: a bitwise copy, never used but to overwrite the original with.
            heap: unsafe { core::ptr::read((&raw const heap).cast()) },
        };
        let mut explorer = Self {
            region,
            heap: MaybeUninit::new(heap),
            fresh_model: model.clone(),
            model,
            fresh,
            nodes: Vec::new(),
            known: BTreeMap::new(),
            report: Report::default(),
        };
        let key = explorer.key();
        explorer.known.insert(key, 0);
        let nowhere = Step::Allocate { size: 0, align: 0 };
        explorer.nodes.push(Node {
            parent: 0,
            depth: 0,
            step: nowhere,
        });
        explorer
    }

    fn heap(&mut self) -> &mut S {
        // SAFETY: always a heap: built in `new`, and only replaced by copies of a heap.
        unsafe { self.heap.assume_init_mut() }
    }

    fn heap_ref(&self) -> &S {
        // SAFETY: as in `heap`.
        unsafe { self.heap.assume_init_ref() }
    }

    fn save(&self) -> Saved<S> {
        Saved {
            stats: self.heap_ref().stats(),
            // SAFETY: no operation runs meanwhile.
            bytes: unsafe { self.region.bytes() }.to_vec(),
            // SAFETY: a bitwise copy, never used but to overwrite the original with.
            heap: unsafe { core::ptr::read(&self.heap) },
        }
    }

    fn restore(&mut self, saved: &Saved<S>) {
        // SAFETY: heap and region go back to one earlier moment together.
        unsafe {
            core::ptr::copy_nonoverlapping(&saved.heap, &mut self.heap, 1);
            self.region.bytes_mut().copy_from_slice(&saved.bytes);
        }
    }

    /// What decides the future: the walk, and the links in every free block, or that it is the rest. With slabs
    /// also directory and map, which hold their lists, and which slab is the first of its list.
    fn key(&mut self) -> Vec<u8> {
        let granule = S::GRANULE_BYTES;
        let pool_at = self.model.pool_base() - self.region.base().as_ptr() as usize;
        let mut key = Vec::with_capacity(64);
        if S::HAS_SLABS {
            let saved = self.save();
            key.extend_from_slice(&saved.bytes[..pool_at]);
            let first = self
                .heap()
                .allocate(Self::layout_of(slot_granules::<S>(), 1));
            let place = first.map_or(0, |slot| slot.cast::<u8>().as_ptr() as usize);
            key.extend_from_slice(&place.to_le_bytes());
            self.restore(&saved);
        }
        let blocks: Vec<_> = self.heap_ref().blocks().collect();
        for block in blocks {
            key.extend_from_slice(&((block.offset_bytes / granule) as u16).to_le_bytes());
            key.push(match block.state {
                BlockState::Used => 1,
                BlockState::Top => 2,
                _ => 3,
            });
            if block.state == BlockState::Free {
                let at = pool_at + block.offset_bytes;
                if self.is_rest(at + block.size_bytes) {
                    key.push(4);
                    continue;
                }
                let links_bytes = if S::RULES.has_rest { 8 } else { granule };
                // SAFETY: no operation runs meanwhile.
                key.extend_from_slice(unsafe { &self.region.bytes()[at..at + links_bytes] });
            }
        }
        key
    }

    /// Whether the free block that ends `end` bytes from the region's start is in no list: then the integrity check says nothing
    /// of a footer that was overwritten.
    fn is_rest(&self, end: usize) -> bool {
        if !S::RULES.has_rest {
            return false;
        }
        let flip_footer = || {
            // SAFETY: no operation runs meanwhile.
            let region = unsafe { self.region.bytes_mut() };
            region[end - 8..end]
                .iter_mut()
                .for_each(|byte| *byte ^= 0xff);
        };
        flip_footer();
        let is_rest = self.heap_ref().check().is_ok();
        flip_footer();
        is_rest
    }

    /// Replays the way to a state.
    fn go_to(&mut self, node: u32) {
        let mut way = Vec::new();
        let mut at = node;
        while at != 0 {
            way.push(self.nodes[at as usize].step);
            at = self.nodes[at as usize].parent;
        }
        self.model = self.fresh_model.clone();
        let fresh = self.fresh.clone();
        self.restore(&fresh);
        for step in way.into_iter().rev() {
            self.take(step);
        }
    }

    fn visit(&mut self, node: u32, plan: &Plan) {
        self.go_to(node);
        self.report.depth_max = self.report.depth_max.max(self.nodes[node as usize].depth);
        self.assert_sound();
        let saved = self.save();
        let model = self.model.clone();
        for step in self.steps(plan) {
            let changed = self.take(step);
            self.report.transitions += 1;
            self.report.refusals += u64::from(!changed);
            // With slabs, the one kept empty goes back before a request fails: another state.
            if changed || S::HAS_SLABS {
                self.assert_walk();
                self.remember(node, step);
                self.restore(&saved);
                self.model = model.clone();
            } else {
                self.assert_unchanged(&saved);
            }
        }
        self.restore(&saved);
        self.misuses(plan, &saved);
    }

    fn remember(&mut self, parent: u32, step: Step) {
        let key = self.key();
        let depth = self.nodes[parent as usize].depth + 1;
        let number = self.nodes.len() as u32;
        if let Entry::Vacant(entry) = self.known.entry(key) {
            entry.insert(number);
            self.nodes.push(Node {
                parent,
                depth,
                step,
            });
        }
    }

    fn steps(&self, plan: &Plan) -> Vec<Step> {
        let mut steps = Vec::new();
        for size in &plan.sizes {
            for align in &plan.aligns {
                steps.push(Step::Allocate {
                    size: *size,
                    align: *align,
                });
            }
        }
        for live in self.model.live() {
            let offset = live.offset;
            steps.push(Step::Free {
                offset,
                unsized_: false,
            });
            steps.push(Step::Free {
                offset,
                unsized_: true,
            });
            for size in &plan.sizes {
                steps.push(Step::Resize {
                    offset,
                    size: *size,
                    align: 1,
                });
            }
            for align in &plan.aligns[1..] {
                let size = live.len / S::GRANULE_BYTES;
                steps.push(Step::Resize {
                    offset,
                    size,
                    align: *align,
                });
            }
        }
        steps
    }

    fn pointer(&self, offset: usize) -> NonNull<u8> {
        let from_base = self.model.pool_base() - self.region.base().as_ptr() as usize + offset;
        // SAFETY: an offset within the pool, which is in the region.
        unsafe { self.region.base().add(from_base) }
    }

    fn layout_of(size: usize, align: usize) -> Layout {
        // A larger alignment than a slot's would look for larger ones.
        let slots_align = |slabs: SlabRules| slabs.align_bytes;
        let unit = S::RULES.slabs.map_or(S::GRANULE_BYTES, slots_align);
        layout(size * S::GRANULE_BYTES, align * unit)
    }

    /// Takes a step in heap and model alike, and says whether it changed anything.
    fn take(&mut self, step: Step) -> bool {
        match step {
            Step::Allocate { size, align } => {
                let layout = Self::layout_of(size, align);
                match self.heap().allocate(layout) {
                    Ok(block) => {
                        self.adopt(block, layout);
                        true
                    }
                    Err(error) => {
                        self.assert_rightly_refused(layout, error);
                        false
                    }
                }
            }
            Step::Free { offset, unsized_ } => {
                let ptr = self.pointer(offset);
                let layout = self
                    .model
                    .at(offset)
                    .expect("steps name live blocks")
                    .layout;
                let answer = match unsized_ {
                    // SAFETY: a live block with its layout.
                    false => unsafe { self.heap().try_deallocate(ptr, layout) },
                    // SAFETY: a live block.
                    true => unsafe { self.heap().try_deallocate_unsized(ptr) },
                };
                assert_eq!(answer, Ok(()), "{step:?} in {:?}", self.model);
                self.model.remove(offset);
                true
            }
            Step::Resize {
                offset,
                size,
                align,
            } => self.resize(offset, size, align),
        }
    }

    fn resize(&mut self, offset: usize, size: usize, align: usize) -> bool {
        let live = self.model.at(offset).expect("steps name live blocks");
        let new = Self::layout_of(size, align);
        let ptr = self.pointer(offset);
        // SAFETY: a live block with its layout.
        match unsafe { self.heap().reallocate(ptr, live.layout, new) } {
            Ok(block) => {
                let usable = self.heap_ref().usable_size(block.cast());
                if block.cast() == ptr && usable == Ok(live.len) {
                    let needless =
                        self.model.is_kept(new.size(), live.len) && self.model.must_fit(new);
                    assert!(!needless, "{live:?} was kept for {new:?}");
                    self.model.keep(&live, new, 0);
                } else {
                    self.model.remove(offset);
                    self.adopt(block, new);
                }
                true
            }
            Err(ReallocError::Alloc(error)) => {
                assert!(
                    !self.model.must_resize(&live, new),
                    "{live:?} to {new:?} fits in place"
                );
                self.assert_rightly_refused(new, error);
                false
            }
            Err(error) => panic!("{error:?}: {live:?} to {new:?}"),
        }
    }

    /// Records a block. Its contents are zeroed, so that they can't tell two equal states apart.
    fn adopt(&mut self, block: NonNull<[u8]>, layout: Layout) {
        let usable = self
            .heap_ref()
            .usable_size(block.cast())
            .expect("a live block");
        let address = block.cast::<u8>().as_ptr() as usize;
        self.model.insert(address, usable, layout, 0);
        // SAFETY: the block is this driver's, over its whole length.
        unsafe { block.cast::<u8>().write_bytes(0, usable) };
    }

    fn assert_rightly_refused(&self, layout: Layout, error: AllocError) {
        assert!(
            !self.model.must_fit(layout),
            "{error:?} to {layout:?} in {:?}",
            self.model
        );
        if self.model.never_fits(layout) {
            assert_eq!(error, AllocError::TooLarge);
        } else if !self.model.may_be_too_large(layout) {
            assert_eq!(error, AllocError::OutOfMemory);
        } else {
            assert_ne!(error, AllocError::Corrupt);
        }
    }

    /// Everything that can be seen of the state agrees with the model.
    fn assert_sound(&mut self) {
        assert_eq!(self.heap_ref().check(), Ok(()), "{:?}", self.model);
        self.assert_walk();
        let saved = self.save();
        let largest = self.heap_ref().largest_free();
        self.assert_largest(largest, 1);
        self.restore(&saved);
        for log2 in 1..=self.model.pool_bytes().ilog2() {
            if let Some(largest) = self.heap().largest_free_aligned(1 << log2) {
                self.assert_largest(largest, 1 << log2);
            }
            self.restore(&saved);
        }
    }

    /// A request for `largest` succeeds in this state, and none for more.
    fn assert_largest(&mut self, largest: usize, align: usize) {
        let saved = self.save();
        if largest > 0 {
            let taken = self.heap().allocate(layout(largest, align));
            assert!(
                taken.is_ok(),
                "largest_free {largest} at {align} in {:?}",
                self.model
            );
            self.restore(&saved);
        }
        let mores = (largest + 1..=self.model.pool_bytes() + 1).step_by(S::GRANULE_BYTES);
        for more in mores {
            let taken = self.heap().allocate(layout(more, align));
            assert!(
                taken.is_err(),
                "{more} > {largest} was had at {align} in {:?}",
                self.model
            );
            if S::HAS_SLABS {
                self.restore(&saved);
            }
        }
        self.restore(&saved);
    }

    /// The walk is the model's ranges and the counters are their sums.
    fn assert_walk(&self) {
        if S::HAS_SLABS {
            assert_slab_walk(self.heap_ref(), &self.model);
            return self.assert_counters();
        }
        let mut live = self.model.live().peekable();
        let mut at = 0;
        let mut free_before = false;
        for block in self.heap_ref().blocks() {
            assert_eq!(block.offset_bytes, at, "the walk leaves nothing out");
            at += block.size_bytes;
            let used = live.next_if(|live| live.offset == block.offset_bytes);
            assert_eq!(used.is_some(), block.state == BlockState::Used, "{block:?}");
            if let Some(live) = used {
                assert_eq!(live.len, block.size_bytes);
            } else {
                assert!(
                    !free_before,
                    "two free neighbours at {block:?} in {:?}",
                    self.model
                );
                let tail = at == self.model.pool_bytes();
                assert_eq!(tail, block.state == BlockState::Top, "{block:?}");
            }
            free_before = used.is_none();
        }
        assert_eq!(
            (at, live.next()),
            (self.model.pool_bytes(), None),
            "the walk is whole"
        );
        self.assert_counters();
    }

    fn assert_counters(&self) {
        let stats = self.heap_ref().stats();
        assert_eq!(stats.used_bytes, self.model.used_bytes());
        assert_eq!(stats.used_bytes + stats.free_bytes, stats.pool_bytes);
        assert_eq!(stats.pool_bytes, self.model.pool_bytes());
        assert_eq!(stats.live_blocks, self.model.live_count());
    }

    /// The region is as it was, and so is every counter but those of refusals.
    fn assert_unchanged(&self, saved: &Saved<S>) {
        // SAFETY: no operation runs meanwhile.
        let bytes = unsafe { self.region.bytes() };
        assert!(bytes == saved.bytes, "a refusal changed the region");
        let mut stats = self.heap_ref().stats();
        stats.failed_requests = saved.stats.failed_requests;
        stats.refused_frees = saved.stats.refused_frees;
        assert_eq!(stats, saved.stats, "a refusal changed a counter");
    }

    /// Every granule's address, and one off it, with right and wrong sizes and alignments.
    fn misuses(&mut self, plan: &Plan, saved: &Saved<S>) {
        let granule = S::GRANULE_BYTES;
        let pool_bytes = self.model.pool_bytes();
        let base = self.model.pool_base();
        for offset in (0..=pool_bytes).step_by(granule) {
            let mut tries: Vec<Wrong> = vec![
                (base + offset, None),
                (base + offset + 1, None),
                (base + offset + granule / 2, Some(layout(granule, 1))),
            ];
            let sizes = plan
                .sizes
                .iter()
                .map(|size| Some(layout(size * granule, 1)));
            tries.extend(sizes.map(|layout| (base + offset, layout)));
            if let Some(live) = self.model.at(offset) {
                let beyond = 2 << (base + offset).trailing_zeros();
                let told = Layout::from_size_align(live.layout.size(), beyond).ok();
                tries.push((base + offset, told));
            }
            for (address, told) in tries {
                let verdict = self.model.verdict(address, told);
                if !matches!(verdict, Verdict::Valid | Verdict::Unknown) {
                    self.refused(address, told, verdict);
                }
            }
        }
        self.assert_unchanged(saved);
        let stats = self.heap_ref().stats();
        assert_eq!(stats.failed_requests, saved.stats.failed_requests);
    }

    fn refused(&mut self, address: usize, told: Option<Layout>, verdict: Verdict) {
        let ptr = NonNull::new(core::ptr::without_provenance_mut::<u8>(address))
            .expect("addresses of a pool are not null");
        let new = layout(S::GRANULE_BYTES, 1);
        let before = self.heap_ref().stats().refused_frees;
        // SAFETY: misuses, which the heap promises to refuse.
        let answers: [Result<(), FreeError>; 2] = unsafe {
            match told {
                Some(told) => [
                    self.heap().try_deallocate(ptr, told),
                    match self.heap().reallocate(ptr, told, new) {
                        Ok(_) => Ok(()),
                        Err(ReallocError::Free(error)) => Err(error),
                        Err(error) => panic!("{error:?} before the pointer was looked at"),
                    },
                ],
                None => [
                    self.heap().try_deallocate_unsized(ptr),
                    self.heap().usable_size(ptr).map(drop),
                ],
            }
        };
        for answer in answers {
            assert!(
                verdict.allows(answer),
                "{address:#x} as {told:?} answered {answer:?}, and the model {verdict:?}: {:?}",
                self.model
            );
        }
        let counted = 1 + u64::from(told.is_some());
        assert_eq!(self.heap_ref().stats().refused_frees, before + counted);
        self.report.transitions += 2;
        self.report.refusals += 2;
    }
}
