//! Operations that slabs take part in.

use alloc::format;
use alloc::vec::Vec;
use core::fmt;

use evenfit::{BlockState, Geometry, Standard, Tiers};

use crate::between::{Between, each_between};
use crate::choice::Choice;
use crate::record::{Probe, Record};
use crate::world::{self, Block, Place};

type World = world::World<Standard>;

pub(crate) fn all<P: Probe>(record: &mut Record<P>, choice: &Choice) {
    slabs_between(record, choice);
    spare_between(record, choice);
    small_requests(record, choice);
}

/// How many slots of so many bytes a slab has.
fn slots_in_a_slab(slot: usize) -> usize {
    let mut world = World::for_all(Tiers::WithSlabs);
    let is_slab = |block: &evenfit::Block| matches!(block.state, BlockState::Slab { .. });
    let mut slots = 0;
    loop {
        world.try_bytes(slot, 8).expect("room");
        if world.heap().blocks().filter(is_slab).count() == 2 {
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
        let mut world = World::for_all(Tiers::WithSlabs);
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

impl fmt::Display for SlabBetween {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            slot_bytes,
            other_slabs,
            between,
            ..
        } = self;
        write!(
            f,
            "a slab of slots of {slot_bytes} bytes, {other_slabs} others in its list"
        )?;
        if self.keeps_last {
            f.write_str(", its last slot used last")?;
        }
        if self.has_spare {
            f.write_str("; another slab is spare and goes")?;
        }
        write!(f, "; {between}")
    }
}

/// Slots that are the first or the last of a slab, given back or moved elsewhere.
fn slabs_between<P: Probe>(record: &mut Record<P>, choice: &Choice) {
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
                    let state = |what: &str| format!("{what}: {slab}");

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
fn spare_between<P: Probe>(record: &mut Record<P>, choice: &Choice) {
    each_between(choice, |between| {
        let full = Between {
            is_full: true,
            at_top: false,
            ..between
        };
        let joined = full.left + 128 + full.right;
        for bytes in [joined / 2, joined].map(|granules| granules * Standard::GRANULE_BYTES) {
            for align in [8, 64, 4096] {
                let mut world = World::for_all(Tiers::WithSlabs);
                let slot = full.build(&mut world, |world| {
                    world.try_bytes(SPARE_SLOT_BYTES, 8).expect("room")
                });
                world.free(slot);
                let state = || {
                    format!(
                        "{bytes} bytes at {align}, for which the spare slab is given back: {full}"
                    )
                };
                record.allocate(&mut world, bytes, align, &state);
            }
        }
        // A block before the spare slab, longer by all of the slab, and by all that is free around both.
        for granules in [full.block + 128, full.block + joined] {
            let mut world = World::for_all(Tiers::WithSlabs);
            let (block, slot) = full.build(&mut world, |world| {
                let block = world.granules(full.block);
                (block, world.try_bytes(SPARE_SLOT_BYTES, 8).expect("room"))
            });
            world.free(slot);
            let state = || format!("a block before the spare slab to {granules} granules: {full}");
            record.reallocate(
                &mut world,
                block,
                granules * Standard::GRANULE_BYTES,
                8,
                &state,
            );
        }
    });
}

/// Small requests: a slot, the last slot, a new slab, a block where no slab can be had; and changes of class.
fn small_requests<P: Probe>(record: &mut Record<P>, choice: &Choice) {
    for &slot in choice.slots {
        for &offset in choice.offsets {
            for &surplus in choice.neighbours {
                for companion in [Place::Only, Place::First] {
                    for full in [false, true] {
                        let state = |what: &str| {
                            format!(
                                "{what}: {slot} bytes, {offset} in front, a hole with {surplus} more, {companion}, top full: {full}"
                            )
                        };
                        for slab_fits in [false, true] {
                            let mut world = World::for_all(Tiers::WithSlabs);
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
        let mut world = World::for_all(Tiers::WithSlabs);
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
