//! The operation bound: builds the states in which an operation has most to do, steps the operation, and compares
//! with the table in `docs/bounds.md`.
//!
//! The states are all combinations of what an operation's path depends on: which neighbours are free, how long they
//! are (a long block keeps its size in the map), where in their lists they stand, where in a map word everything
//! lies, whether there are slabs. `--ignored` tries tens of thousands of combinations; the ordinary test a choice of
//! them that holds the worst. Without `--release` only the cost among holes is tried.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::ptr::NonNull;

use evenfit::{Heap, Tiers};
use evenfit_stepping::{Stepper, Trace};

const GRANULE_BYTES: usize = 16;
/// Long enough not to come from a slab.
const SEPARATOR: usize = 17;

#[derive(Clone, Copy)]
struct Block {
    ptr: NonNull<u8>,
    layout: Layout,
}

/// A heap with the calls that a state is built from. Both lie at addresses of a fixed alignment, so that a state takes
/// the same path and touches the same lines each time.
struct World {
    heap: Box<Aligned>,
    region: NonNull<u8>,
    region_layout: Layout,
}

#[repr(align(64))]
struct Aligned(Heap<'static>);

const REGION_ALIGN: usize = 1 << 20;

impl World {
    fn new(len_bytes: usize, tiers: Tiers) -> Self {
        let region_layout = Layout::from_size_align(len_bytes, REGION_ALIGN).expect("small");
        // SAFETY: the layout has a size.
        let region = NonNull::new(unsafe { std::alloc::alloc(region_layout) }).expect("memory");
        // SAFETY: the region is freed when the heap is, and is the heap's alone.
        let heap = unsafe { Heap::from_raw_with(region, len_bytes, tiers) }.expect("long enough");
        Self {
            heap: Box::new(Aligned(heap)),
            region,
            region_layout,
        }
    }

    fn try_bytes(&mut self, bytes: usize, align: usize) -> Option<Block> {
        let layout = Layout::from_size_align(bytes, align).expect("small");
        let block = self.heap.0.allocate(layout).ok()?;
        Some(Block {
            ptr: block.cast(),
            layout,
        })
    }

    /// A block of so many granules; on a fresh heap it follows the one before.
    fn granules(&mut self, granules: usize) -> Block {
        self.try_bytes(granules * GRANULE_BYTES, 8).expect("room")
    }

    /// A block of so many granules with a used block behind it.
    fn apart(&mut self, granules: usize) -> Block {
        let block = self.granules(granules);
        self.granules(SEPARATOR);
        block
    }

    fn free(&mut self, block: Block) {
        // SAFETY: the block is live and not used again.
        unsafe { self.heap.0.try_deallocate(block.ptr, block.layout) }.expect("a live block");
    }

    /// Takes all of the top.
    fn fill_top(&mut self) {
        let mut bytes = 1 << 30;
        while bytes > 256 {
            while self.try_bytes(bytes, 8).is_some() {}
            bytes /= 2;
        }
        while self.try_bytes(SEPARATOR * GRANULE_BYTES, 8).is_some() {}
    }

    /// A free block's companions in its list, allocated but not freed yet.
    fn companions(&mut self, granules: usize, place: Place) -> Vec<Block> {
        let count = match place {
            Place::Only => 0,
            Place::First | Place::Last => 1,
            Place::Middle => 2,
        };
        (0..count).map(|_| self.apart(granules)).collect()
    }

    /// Frees a block so that it stands at `place` among its companions; the latest freed is the first.
    fn free_at(&mut self, block: Block, companions: &[Block], place: Place) {
        let (before, after) = match place {
            Place::Only => (&[][..], &[][..]),
            Place::First => (companions, &[][..]),
            Place::Last => (&[][..], companions),
            Place::Middle => companions.split_at(1),
        };
        before.iter().for_each(|&companion| self.free(companion));
        self.free(block);
        after.iter().for_each(|&companion| self.free(companion));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`; the heap's destructor touches nothing.
        unsafe { std::alloc::dealloc(self.region.as_ptr(), self.region_layout) };
    }
}

/// Where in its list a free block stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Only,
    First,
    Middle,
    Last,
}

/// What combinations are tried.
struct Choice {
    /// Lengths of free neighbours in granules; 0 is none.
    neighbours: &'static [usize],
    /// Lengths of the block that is freed or resized, or of a request.
    blocks: &'static [usize],
    places: &'static [Place],
    /// Granules in front of everything: where in a pair of map words it lies.
    offsets: &'static [usize],
    /// Sizes of slots in bytes.
    slots: &'static [usize],
}

const FEW: Choice = Choice {
    neighbours: &[0, 140],
    blocks: &[40, 140],
    places: &[Place::Middle],
    offsets: &[80, 83],
    slots: &[16, 256],
};

const MANY: Choice = Choice {
    neighbours: &[0, 17, 40, 127, 140, 5_000],
    blocks: &[17, 40, 127, 140, 300],
    places: &[Place::Only, Place::First, Place::Middle, Place::Last],
    offsets: &[17, 49, 64, 80],
    slots: &[16, 24, 40, 128, 168, 256],
};

/// What an operation took at most, and the state in which it did.
#[derive(Clone, Debug, Default)]
struct Most {
    instructions: u64,
    state: String,
    lines: usize,
    lines_state: String,
    turns: usize,
}

/// The most of every operation.
struct Record {
    stepper: Stepper,
    tier: &'static str,
    most: BTreeMap<(&'static str, &'static str), Most>,
}

impl Record {
    fn new() -> Self {
        Self {
            stepper: Stepper::new(),
            tier: "",
            most: BTreeMap::new(),
        }
    }

    fn note(&mut self, operation: &'static str, trace: &Trace, state: &dyn Fn() -> String) {
        let most = self.most.entry((self.tier, operation)).or_default();
        if trace.count.own > most.instructions {
            most.instructions = trace.count.own;
            most.state = state();
        }
        if trace.data_lines() > most.lines {
            most.lines = trace.data_lines();
            most.lines_state = state();
        }
        most.turns = most.turns.max(trace.repeats_max());
    }

    fn allocate(
        &mut self,
        world: &mut World,
        bytes: usize,
        align: usize,
        state: &dyn Fn() -> String,
    ) -> bool {
        let layout = Layout::from_size_align(bytes, align).expect("small");
        let heap = &mut world.heap.0;
        let (result, trace) = self.stepper.trace(|| heap.allocate(layout));
        let operation = if align > GRANULE_BYTES {
            "allocate over-aligned"
        } else {
            "allocate"
        };
        self.note(operation, &trace, state);
        world.heap.0.check().expect("a sound heap");
        result.is_ok()
    }

    fn deallocate(&mut self, world: &mut World, block: Block, state: &dyn Fn() -> String) {
        let Block { ptr, layout } = block;
        let heap = &mut world.heap.0;
        // SAFETY: the block is live and not used again.
        let (result, trace) = self
            .stepper
            .trace(|| unsafe { heap.try_deallocate(ptr, layout) });
        result.expect("a live block");
        self.note("deallocate", &trace, state);
        world.heap.0.check().expect("a sound heap");
    }

    fn reallocate(
        &mut self,
        world: &mut World,
        block: Block,
        bytes: usize,
        align: usize,
        state: &dyn Fn() -> String,
    ) {
        let Block { ptr, layout } = block;
        let new = Layout::from_size_align(bytes, align).expect("small");
        let heap = &mut world.heap.0;
        let operation = match (bytes > layout.size(), align > GRANULE_BYTES) {
            (true, false) => "grow",
            (true, true) => "grow over-aligned",
            (false, false) => "shrink",
            (false, true) => "shrink over-aligned",
        };
        // SAFETY: the block is live and not used again.
        let (_, trace) = self
            .stepper
            .trace(|| unsafe { heap.reallocate(ptr, layout, new) });
        self.note(operation, &trace, state);
        world.heap.0.check().expect("a sound heap");
    }
}

/// A block between two neighbours, each free or used, in a heap with nothing else but their companions.
#[derive(Clone, Copy, Debug)]
struct Between {
    offset: usize,
    left: usize,
    left_place: Place,
    block: usize,
    right: usize,
    right_place: Place,
    /// Whether the top follows, instead of a used block.
    at_top: bool,
    /// Whether nothing is left but the neighbours and their companions.
    is_full: bool,
}

impl Between {
    /// Builds the state; `middle` makes what lies between the neighbours.
    fn build<T>(&self, world: &mut World, middle: impl FnOnce(&mut World) -> T) -> T {
        world.granules(self.offset);
        let left_companions = world.companions(
            self.left.max(1),
            if self.left > 0 {
                self.left_place
            } else {
                Place::Only
            },
        );
        let right_companions = world.companions(
            self.right.max(1),
            if self.right > 0 {
                self.right_place
            } else {
                Place::Only
            },
        );
        let left = (self.left > 0).then(|| world.granules(self.left));
        let made = middle(world);
        let right = (self.right > 0).then(|| world.granules(self.right));
        if !self.at_top {
            world.granules(SEPARATOR);
        }
        if self.is_full {
            world.fill_top();
        }
        if let Some(left) = left {
            world.free_at(left, &left_companions, self.left_place);
        }
        if let Some(right) = right {
            world.free_at(right, &right_companions, self.right_place);
        }
        made
    }
}

fn each_between(choice: &Choice, mut visit: impl FnMut(Between)) {
    for &offset in choice.offsets {
        for &block in choice.blocks {
            for &left in choice.neighbours {
                for &right in choice.neighbours {
                    for &left_place in places(choice, left) {
                        for &right_place in places(choice, right) {
                            for at_top in [false, true] {
                                visit(Between {
                                    offset,
                                    left,
                                    left_place,
                                    block,
                                    right,
                                    right_place,
                                    at_top,
                                    is_full: false,
                                });
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Where a block of no length stands doesn't matter.
fn places(choice: &Choice, granules: usize) -> &'static [Place] {
    if granules == 0 {
        &[Place::Only]
    } else {
        choice.places
    }
}

const WORLD_BYTES: usize = 2 << 20;

fn blocks_between(record: &mut Record, tiers: Tiers, choice: &Choice) {
    each_between(choice, |between| {
        let state = |what: &str| format!("{what}: {between:?}");
        let build = || {
            let mut world = World::new(WORLD_BYTES, tiers);
            let block = between.build(&mut world, |world| world.granules(between.block));
            (world, block)
        };
        let (mut world, block) = build();
        record.deallocate(&mut world, block, &|| state("free"));

        // By half of the right neighbour, by all of it, by more than it; to half, to what a slot could hold.
        let bytes = between.block * GRANULE_BYTES;
        let right = between.right * GRANULE_BYTES;
        for new in [
            bytes + right / 2 + 16,
            bytes + right,
            bytes + right + 4096,
            bytes / 2,
            17,
        ] {
            for align in [8, 1024, 4096] {
                let (mut world, block) = build();
                let state = || state(&format!("to {new} bytes at {align}"));
                record.reallocate(&mut world, block, new, align, &state);
            }
        }
        // Longer where only the space before it and behind it will do.
        let full = Between {
            is_full: true,
            at_top: false,
            ..between
        };
        let new = (between.left + between.block + between.right / 2) * GRANULE_BYTES;
        for align in [8, 64, 4096] {
            let mut world = World::new(WORLD_BYTES, tiers);
            let block = full.build(&mut world, |world| world.granules(full.block));
            record.reallocate(&mut world, block, new, align, &|| {
                format!("to {new} bytes at {align}: {full:?}")
            });
        }
    });
}

fn requests(record: &mut Record, tiers: Tiers, choice: &Choice) {
    for &offset in choice.offsets {
        for &request in choice.blocks {
            for &surplus in choice.neighbours {
                for companion in [Place::Only, Place::First] {
                    for decoy in [false, true] {
                        for align in [8, 64, 4096] {
                            for full in [false, true] {
                                let state = || {
                                    format!(
                                        "request of {request} granules aligned to {align}: {offset} in front, a hole with {surplus} more, \
                                         {companion:?} in its list, too small a hole in the request's own bin: {decoy}, top full: {full}"
                                    )
                                };
                                let mut world = World::new(WORLD_BYTES, tiers);
                                world.granules(offset);
                                // One granule less, but of the same bin where bins are wider than one.
                                let too_small =
                                    (decoy && request > 33).then(|| world.apart(request - 1));
                                // Long enough wherever it lies; or one granule less, if there is no surplus.
                                let slack = (align / GRANULE_BYTES).saturating_sub(1);
                                let hole = match (surplus, slack) {
                                    (0, 1..) => request + slack - 1,
                                    _ => request + surplus + slack,
                                };
                                let companions = world.companions(hole, companion);
                                let hole = world.apart(hole);
                                if full {
                                    world.fill_top();
                                }
                                if let Some(block) = too_small {
                                    world.free(block);
                                }
                                world.free_at(hole, &companions, companion);
                                record.allocate(&mut world, request * GRANULE_BYTES, align, &state);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Requests that end in the top, or nowhere.
fn requests_of_the_top(record: &mut Record, tiers: Tiers, choice: &Choice) {
    for &offset in choice.offsets {
        for &request in choice.blocks {
            for align in [8, 64, 4096] {
                let mut world = World::new(WORLD_BYTES, tiers);
                world.granules(offset);
                let bytes = request * GRANULE_BYTES;
                record.allocate(&mut world, bytes, align, &|| {
                    format!("{request} granules at {align} from the top")
                });
                world.fill_top();
                let failed = !record.allocate(&mut world, bytes, align, &|| {
                    format!("{request} granules refused")
                });
                assert!(failed || align == 8 || request <= SEPARATOR);
            }
        }
    }
}

/// How many slots of so many bytes a slab has.
fn slots_in_a_slab(slot: usize) -> usize {
    let mut world = World::new(WORLD_BYTES, Tiers::WithSlabs);
    let is_slab = |block: &evenfit::Block| matches!(block.state, evenfit::BlockState::Slab { .. });
    let mut slots = 0;
    loop {
        world.try_bytes(slot, 8).expect("room");
        if world.heap.0.blocks().filter(is_slab).count() == 2 {
            return slots;
        }
        slots += 1;
    }
}

/// A slab between two neighbours, with other slabs of its class before and behind it in their list.
#[derive(Clone, Copy, Debug)]
struct SlabBetween {
    slot_bytes: usize,
    slots: usize,
    other_slabs: usize,
    /// Whether the slot that is used last is the slab's last, in the second word of its mask if it has two.
    keeps_last: bool,
    /// Where the slab lies; or, where there is a spare slab, which the next empty one replaces, that one.
    between: Between,
    has_spare: bool,
}

/// The size of the slot that opens what will be the spare slab: no other state has slots of this size.
const SPARE_SLOT_BYTES: usize = 72;

impl SlabBetween {
    /// The heap with a full slab, its slot to keep, its other slots, and the slabs that come behind it.
    fn build_full(&self) -> (World, Block, Vec<Block>, Vec<Vec<Block>>) {
        let mut world = World::new(WORLD_BYTES, Tiers::WithSlabs);
        let fill = |world: &mut World| -> Vec<Block> {
            let slot = |_| world.try_bytes(self.slot_bytes, 8).expect("room");
            (0..self.slots).map(slot).collect()
        };
        let mut others: Vec<Vec<Block>> = (0..self.other_slabs).map(|_| fill(&mut world)).collect();
        let mut slots = if self.has_spare {
            let slots = fill(&mut world);
            let spare = |world: &mut World| world.try_bytes(SPARE_SLOT_BYTES, 8).expect("room");
            let spare = self.between.build(&mut world, spare);
            world.free(spare);
            slots
        } else {
            self.between.build(&mut world, fill)
        };
        // The first of the others comes before the slab in question in their list, the rest will come behind it.
        if !others.is_empty() {
            world.free(others.remove(0)[0]);
        }
        let kept = if self.keeps_last {
            slots.pop()
        } else {
            Some(slots.remove(0))
        };
        (world, kept.expect("a slot"), slots, others)
    }

    /// The heap with a slab of which one slot is used.
    fn build_nearly_empty(&self) -> (World, Block) {
        let (mut world, kept, slots, others) = self.build_full();
        world.free(slots[slots.len() / 2]);
        others.iter().for_each(|other| world.free(other[0]));
        for (index, &slot) in slots.iter().enumerate() {
            if index != slots.len() / 2 {
                world.free(slot);
            }
        }
        (world, kept)
    }
}

/// Slots that are the first or the last of a slab, given back or moved elsewhere.
fn slabs_between(record: &mut Record, choice: &Choice) {
    for &slot_bytes in choice.slots {
        let slots = slots_in_a_slab(slot_bytes);
        for (other_slabs, keeps_last, has_spare) in [
            (0, false, false),
            (0, true, true),
            (2, false, true),
            (2, true, false),
            (2, true, true),
        ] {
            each_between(
                &Choice {
                    blocks: &[0],
                    ..*choice
                },
                |between| {
                    let slab = SlabBetween {
                        slot_bytes,
                        slots,
                        other_slabs,
                        keeps_last,
                        between,
                        has_spare,
                    };
                    let state = |what: &str| format!("{what}: {slab:?}");

                    let (mut world, _, slots, _) = slab.build_full();
                    record.deallocate(&mut world, slots[slots.len() / 2], &|| {
                        state("first free slot")
                    });
                    let (mut world, kept) = slab.build_nearly_empty();
                    record.deallocate(&mut world, kept, &|| state("last used slot"));
                    // To another class, whose first slab this opens; to a block; to a block with an alignment.
                    for (new, align) in [
                        (slot_bytes / 2, 8),
                        (slot_bytes + 17, 8),
                        (400, 8),
                        (400, 1024),
                        (400, 4096),
                        (slot_bytes / 2, 1024),
                        (slot_bytes / 2, 4096),
                    ] {
                        let (mut world, kept) = slab.build_nearly_empty();
                        let state = || state(&format!("last used slot, to {new} bytes at {align}"));
                        record.reallocate(&mut world, kept, new, align, &state);
                    }
                },
            );
        }
    }
}

/// What only the spare slab's block, joined with the free blocks around it, can serve.
fn spare_between(record: &mut Record, choice: &Choice) {
    each_between(choice, |between| {
        let full = Between {
            is_full: true,
            at_top: false,
            ..between
        };
        let joined = full.left + 128 + full.right;
        for bytes in [joined / 2, joined].map(|granules| granules * GRANULE_BYTES) {
            for align in [8, 64, 4096] {
                let mut world = World::new(WORLD_BYTES, Tiers::WithSlabs);
                let slot = full.build(&mut world, |world| {
                    world.try_bytes(SPARE_SLOT_BYTES, 8).expect("room")
                });
                world.free(slot);
                let state = || {
                    format!(
                        "{bytes} bytes at {align}, for which the spare slab is given back: {full:?}"
                    )
                };
                record.allocate(&mut world, bytes, align, &state);
            }
        }
        // A block before the spare slab, longer by all of the slab, and by all that is free around both.
        for granules in [full.block + 128, full.block + joined] {
            let mut world = World::new(WORLD_BYTES, Tiers::WithSlabs);
            let (block, slot) = full.build(&mut world, |world| {
                let block = world.granules(full.block);
                (block, world.try_bytes(SPARE_SLOT_BYTES, 8).expect("room"))
            });
            world.free(slot);
            let state =
                || format!("a block before the spare slab to {granules} granules: {full:?}");
            record.reallocate(&mut world, block, granules * GRANULE_BYTES, 8, &state);
        }
    });
}

/// Small requests: a slot, the last slot, a new slab, a block where no slab can be had; and changes of class.
fn small_requests(record: &mut Record, choice: &Choice) {
    for &slot in choice.slots {
        for &offset in choice.offsets {
            for &surplus in choice.neighbours {
                for companion in [Place::Only, Place::First] {
                    for full in [false, true] {
                        let state = |what: &str| {
                            format!(
                                "{what}: {slot} bytes, {offset} in front, a hole with {surplus} more, {companion:?} in its list, top full: {full}"
                            )
                        };
                        for slab_fits in [false, true] {
                            let mut world = World::new(WORLD_BYTES, Tiers::WithSlabs);
                            world.granules(offset);
                            let hole = if slab_fits { 128 } else { 17 } + surplus;
                            let companions = world.companions(hole, companion);
                            let hole = world.apart(hole);
                            let large = world.apart(140);
                            if full {
                                world.fill_top();
                            }
                            world.free_at(hole, &companions, companion);
                            record.allocate(&mut world, slot, 8, &|| state("a new slab"));
                            record.reallocate(&mut world, large, slot, 8, &|| {
                                state("a block becomes a slot")
                            });
                        }
                    }
                }
            }
        }
        let per_slab = slots_in_a_slab(slot);
        let mut world = World::new(WORLD_BYTES, Tiers::WithSlabs);
        let mut slots = Vec::new();
        for index in 0..3 * per_slab {
            record.allocate(&mut world, slot, 8, &|| {
                format!("slot {index} of {slot} bytes")
            });
            slots.extend(world.try_bytes(slot, 8));
        }
        // Slabs with one free slot each in one list: taking it unlinks a slab from between others.
        slots
            .iter()
            .step_by(per_slab)
            .for_each(|&slot| world.free(slot));
        for _ in 0..3 {
            record.allocate(&mut world, slot, 8, &|| {
                format!("the last slot of {slot} bytes in a slab among others")
            });
        }
    }
}

fn measure(choice: &Choice) -> BTreeMap<(&'static str, &'static str), Most> {
    let mut record = Record::new();
    for (name, tiers) in [
        ("blocks only", Tiers::BlocksOnly),
        ("with slabs", Tiers::WithSlabs),
    ] {
        record.tier = name;
        blocks_between(&mut record, tiers, choice);
        requests(&mut record, tiers, choice);
        requests_of_the_top(&mut record, tiers, choice);
    }
    slabs_between(&mut record, choice);
    spare_between(&mut record, choice);
    small_requests(&mut record, choice);
    record.most
}

/// A row of the table in `docs/bounds.md`: `| allocate | with slabs | instructions | lines | turns | state |`.
fn published() -> BTreeMap<(String, String), [u64; 3]> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/bounds.md");
    let text = std::fs::read_to_string(path).expect("docs/bounds.md");
    text.lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let [_, operation, tier, instructions, lines, turns, ..] = cells[..] else {
                return None;
            };
            let figures = [
                instructions.parse().ok()?,
                lines.parse().ok()?,
                turns.parse().ok()?,
            ];
            Some(((tier.to_owned(), operation.to_owned()), figures))
        })
        .collect()
}

fn compare(most: &BTreeMap<(&'static str, &'static str), Most>) {
    let published = published();
    for (&(tier, operation), most) in most {
        println!(
            "| {operation} | {tier} | {} | {} | {} |\n  most instructions: {}\n  most lines: {}",
            most.instructions, most.lines, most.turns, most.state, most.lines_state
        );
    }
    for (&(tier, operation), most) in most {
        let key = (tier.to_owned(), operation.to_owned());
        let Some([instructions, lines, turns]) = published.get(&key).copied() else {
            panic!("docs/bounds.md has no row for {operation}, {tier}");
        };
        assert!(
            most.turns as u64 <= turns,
            "{operation}, {tier}: {} turns in {}",
            most.turns,
            most.state
        );
        assert!(
            most.instructions <= instructions,
            "{operation}, {tier}: {} instructions in {}",
            most.instructions,
            most.state
        );
        assert!(
            most.instructions * 10 >= instructions * 9,
            "{operation}, {tier}: only {} were reached",
            most.instructions
        );
        assert!(
            most.lines as u64 <= lines,
            "{operation}, {tier}: {} lines in {}",
            most.lines,
            most.lines_state
        );
        assert!(
            most.lines as u64 * 10 >= lines * 9,
            "{operation}, {tier}: only {} lines were reached",
            most.lines
        );
    }
}

#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "the bound is that of an optimised build: --release"
)]
fn no_operation_exceeds_its_bound() {
    compare(&measure(&FEW));
}

#[test]
#[ignore = "tens of thousands of states: minutes"]
fn no_operation_exceeds_its_bound_in_any_combination() {
    compare(&measure(&MANY));
}

/// One request and one free among `holes` holes, in a pool of `len_bytes`.
fn among_holes(stepper: &mut Stepper, len_bytes: usize, holes: usize, tiers: Tiers) -> [u64; 2] {
    let mut world = World::new(len_bytes, tiers);
    // Every hole has 40 granules, and so have the blocks that are freed and asked for; with what keeps them apart they
    // make 64, so that each lies in the same place of a pair of map words.
    let mut apart = |_| {
        let block = world.granules(40);
        world.granules(24);
        block
    };
    let blocks: Vec<Block> = (0..holes + 3).map(&mut apart).collect();
    blocks[..holes].iter().for_each(|&block| world.free(block));
    let Block { ptr, layout } = blocks[holes + 1];
    let heap = &mut world.heap.0;
    // SAFETY: the block is live and not used again.
    let (freed, free) = stepper.count(|| unsafe { heap.try_deallocate(ptr, layout) });
    freed.expect("a live block");
    let (taken, allocate) = stepper.count(|| heap.allocate(layout));
    taken.expect("there are holes");
    [free.own, allocate.own]
}

#[test]
fn cost_does_not_grow_with_holes_or_pool() {
    let mut stepper = Stepper::new();
    for tiers in [Tiers::BlocksOnly, Tiers::WithSlabs] {
        let first = among_holes(&mut stepper, 256 << 10, 100, tiers);
        // What takes long without optimisation is left to the optimised build.
        let many = if cfg!(debug_assertions) {
            10_000
        } else {
            100_000
        };
        for (len_bytes, holes) in [
            (16 << 20, 8_000),
            (128 << 20, many),
            (1 << 30, 100),
            (1 << 30, many),
        ] {
            let other = among_holes(&mut stepper, len_bytes, holes, tiers);
            assert_eq!(
                other, first,
                "{holes} holes in {len_bytes} bytes, {tiers:?}"
            );
        }
    }
}
