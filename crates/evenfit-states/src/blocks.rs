//! Operations on blocks.

use alloc::format;

use evenfit::{Geometry, Tiers};

use crate::between::{Between, each_between};
use crate::choice::Choice;
use crate::record::{Probe, Record};
use crate::world::{Place, SEPARATOR, World};

pub(crate) fn all<G: Geometry, P: Probe>(record: &mut Record<P>, tiers: Tiers, choice: &Choice) {
    blocks_between::<G, P>(record, tiers, choice);
    requests::<G, P>(record, tiers, choice);
    requests_of_the_top::<G, P>(record, tiers, choice);
}

fn blocks_between<G: Geometry, P: Probe>(record: &mut Record<P>, tiers: Tiers, choice: &Choice) {
    each_between(choice, |between| {
        let state = |what: &str| format!("{what}: {between}");
        let build = || {
            let mut world = World::<G>::for_all(tiers);
            let block = between.build(&mut world, |world| world.granules(between.block));
            (world, block)
        };
        let (mut world, block) = build();
        record.deallocate(&mut world, block, &|| state("free"));

        // By half of the right neighbour, by all of it, by more than it; to half, to what a slot could hold.
        let bytes = between.block * G::GRANULE_BYTES;
        let right = between.right * G::GRANULE_BYTES;
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
        let new = (between.left + between.block + between.right / 2) * G::GRANULE_BYTES;
        for align in [8, 64, 4096] {
            let mut world = World::<G>::for_all(tiers);
            let block = full.build(&mut world, |world| world.granules(full.block));
            record.reallocate(&mut world, block, new, align, &|| {
                format!("to {new} bytes at {align}: {full}")
            });
        }
    });
}

fn requests<G: Geometry, P: Probe>(record: &mut Record<P>, tiers: Tiers, choice: &Choice) {
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
                                         {companion}, too small a hole in the request's own bin: {decoy}, top full: {full}"
                                    )
                                };
                                let mut world = World::<G>::for_all(tiers);
                                world.granules(offset);
                                // One granule less, but of the same bin where bins are wider than one.
                                let too_small =
                                    (decoy && request > 33).then(|| world.apart(request - 1));
                                // Long enough wherever it lies; or one granule less, if there is no surplus.
                                let slack = (align / G::GRANULE_BYTES).saturating_sub(1);
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
                                record.allocate(
                                    &mut world,
                                    request * G::GRANULE_BYTES,
                                    align,
                                    &state,
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Requests that end in the top, or nowhere.
fn requests_of_the_top<G: Geometry, P: Probe>(
    record: &mut Record<P>,
    tiers: Tiers,
    choice: &Choice,
) {
    for &offset in choice.offsets {
        for &request in choice.blocks {
            for align in [8, 64, 4096] {
                let mut world = World::<G>::for_all(tiers);
                world.granules(offset);
                let bytes = request * G::GRANULE_BYTES;
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
