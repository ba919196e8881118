//! Every reachable state of a small pool, every operation from every state.
//!
//! A state is everything that decides a heap's future results: the blocks, and the links in the
//! free ones, which give the order of every bin. A state is reached again by replaying the
//! operations that first led to it. From there each operation runs on a bitwise copy of heap and
//! region.

mod assertions;
mod plan;

pub use plan::Plan;

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use evenfit::{BlockState, ReallocError, Stats};

use self::plan::slot_granules;
use crate::driver::build;
use crate::model::Model;
use crate::op::layout;
use crate::region::{Placement, Region};
use crate::subject::Subject;

/// What was visited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Different states.
    pub states: usize,
    /// Operations applied, all states together.
    pub transitions: u64,
    /// Of these, the ones that had to be refused.
    pub refusals: u64,
    /// The most operations that a state needs, by its shortest way.
    pub depth_max: u32,
    /// Whether every reachable state was visited.
    pub complete: bool,
}

/// The links at the start of a free block.
const LINKS_BYTES: usize = 8;

/// An operation that changes the state, described independently of the state.
#[derive(Clone, Copy, Debug)]
enum Step {
    Allocate { size: usize, align: usize },
    Free { offset: usize, is_as_in_c: bool },
    Resize { offset: usize, size: usize, align: usize },
}

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
        Self { heap, bytes: self.bytes.clone(), stats: self.stats }
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
            assert!(got_bytes <= pool_bytes, "no region gives a pool of {granules} granules");
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
        explorer.nodes.push(Node { parent: 0, depth: 0, step: nowhere });
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

    /// The state's key: the walk, and the links in every free block, or that it is the rest. With
    /// slabs also the directory and the map, which contain their lists, and the first slab of each
    /// list.
    fn key(&mut self) -> Vec<u8> {
        let granule = S::GRANULE_BYTES;
        let pool_at = self.model.pool_base() - self.region.base().as_ptr() as usize;
        let mut key = Vec::with_capacity(64);
        if S::HAS_SLABS {
            let saved = self.save();
            key.extend_from_slice(&saved.bytes[..pool_at]);
            let first = self.heap().allocate(Self::layout_of(slot_granules::<S>(), 1));
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
                // SAFETY: no operation runs meanwhile.
                key.extend_from_slice(unsafe { &self.region.bytes()[at..at + LINKS_BYTES] });
            }
        }
        key
    }

    /// Whether the free block that ends `end` bytes from the region's start is in no list. Then it
    /// has no footer, and the integrity check doesn't report an overwritten one.
    fn is_rest(&self, end: usize) -> bool {
        let flip_footer = || {
            // SAFETY: no operation runs meanwhile.
            let region = unsafe { self.region.bytes_mut() };
            region[end - 8..end].iter_mut().for_each(|byte| *byte ^= 0xff);
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
            self.apply(step);
        }
    }

    fn visit(&mut self, node: u32, plan: &Plan) {
        self.go_to(node);
        self.report.depth_max = self.report.depth_max.max(self.nodes[node as usize].depth);
        self.assert_sound();
        let saved = self.save();
        let model = self.model.clone();
        for step in self.steps(plan) {
            let changed = self.apply(step);
            self.report.transitions += 1;
            self.report.refusals += u64::from(!changed);
            if changed {
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
            self.nodes.push(Node { parent, depth, step });
        }
    }

    fn steps(&self, plan: &Plan) -> Vec<Step> {
        let mut steps = Vec::new();
        for size in &plan.sizes {
            for align in &plan.aligns {
                steps.push(Step::Allocate { size: *size, align: *align });
            }
        }
        for live in self.model.live() {
            let offset = live.offset;
            steps.push(Step::Free { offset, is_as_in_c: false });
            steps.push(Step::Free { offset, is_as_in_c: true });
            for size in &plan.sizes {
                steps.push(Step::Resize { offset, size: *size, align: 1 });
            }
            for align in &plan.aligns[1..] {
                let size = live.len / S::GRANULE_BYTES;
                steps.push(Step::Resize { offset, size, align: *align });
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
        // Slots have only the alignment that all blocks have.
        let unit = if S::HAS_SLABS { S::RULES.align_bytes } else { S::GRANULE_BYTES };
        layout(size * S::GRANULE_BYTES, align * unit)
    }

    /// Applies a step to heap and model. Returns whether it changed anything.
    fn apply(&mut self, step: Step) -> bool {
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
            Step::Free { offset, is_as_in_c } => {
                let ptr = self.pointer(offset);
                let layout = self.model.at(offset).expect("steps name live blocks").layout;
                let answer = match is_as_in_c {
                    // SAFETY: a live block with its layout.
                    false => unsafe { self.heap().try_deallocate(ptr, layout) },
                    // SAFETY: a live block.
                    true => unsafe { self.heap().try_free(ptr) },
                };
                assert_eq!(answer, Ok(()), "{step:?} in {:?}", self.model);
                self.model.remove(offset);
                true
            }
            Step::Resize { offset, size, align } => self.resize(offset, size, align),
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
                assert!(!self.model.must_resize(&live, new), "{live:?} to {new:?} fits in place");
                self.assert_rightly_refused(new, error);
                false
            }
            Err(error) => panic!("{error:?}: {live:?} to {new:?}"),
        }
    }

    /// Records a block. Its contents are zeroed, so that they can't tell two equal states apart.
    fn adopt(&mut self, block: NonNull<[u8]>, layout: Layout) {
        let usable = self.heap_ref().usable_size(block.cast()).expect("a live block");
        let address = block.cast::<u8>().as_ptr() as usize;
        self.model.insert(address, usable, layout, 0);
        // SAFETY: the block is this driver's, over its whole length.
        unsafe { block.cast::<u8>().write_bytes(0, usable) };
    }
}
