//! Every allocator works through its adapter: blocks are aligned, don't overlap and keep their
//! bytes.

use std::alloc::Layout;

use evenfit_bench::load::{Kind, Load, LoadBuilder};
use evenfit_bench::peers::{self, About, Class, Peer, Visitor};
use evenfit_bench::region::Region;
use evenfit_bench::workload::Workload;
use evenfit_bench::{footprint, worst};
use evenfit_verify::random::Random;

/// A region of which the compact geometry can number all granules.
const COMPACT_LEN_BYTES: usize = 500 << 10;

/// A short program with every kind of operation and many alignments.
fn program() -> Load {
    let mut random = Random::new(42);
    let mut load = LoadBuilder::default();
    let mut blocks = Vec::new();
    for _ in 0..6_000 {
        match random.between(0, 9) {
            0..=4 => blocks.push(load.alloc(random.log_uniform(11), random.between(0, 8) as u8)),
            5..=7 if !blocks.is_empty() => {
                let index = random.below(blocks.len());
                load.free(blocks.swap_remove(index));
            }
            _ if !blocks.is_empty() => {
                let index = random.below(blocks.len());
                load.realloc(blocks[index], random.log_uniform(11));
            }
            _ => {}
        }
    }
    load.finish("program")
}

/// Replays a load. Fills every block with its own byte, and compares it later.
struct Checked<'a>(&'a Load);

impl Visitor for Checked<'_> {
    type Out = ();

    fn visit<P: Peer>(&mut self, about: About) {
        if about.class == Class::Limit {
            return;
        }
        let region = Region::new(32 << 20).expect("32 MiB");
        let mut blocks: Vec<*mut u8> = vec![std::ptr::null_mut(); self.0.slots];
        // SAFETY: the region outlives the allocator; the load frees each block once, with its size
        // and alignment.
        unsafe {
            // Not every allocator can manage that much.
            let mut peer = [region.len_bytes(), COMPACT_LEN_BYTES]
                .into_iter()
                .find_map(|len_bytes| P::over(region.base(), len_bytes))
                .expect("32 MiB are enough, or half of one");
            for (index, op) in self.0.ops.iter().enumerate() {
                let layout = |size: u32| {
                    Layout::from_size_align(size as usize, 1 << op.align_log2).expect("small")
                };
                let block = &mut blocks[op.slot as usize];
                let own = (op.slot % 251) as u8;
                let intact = |block: *mut u8, len: u32| {
                    let bytes = std::slice::from_raw_parts(block, len as usize);
                    assert!(
                        bytes.iter().all(|byte| *byte == own),
                        "{}: operation {index}",
                        about.name
                    );
                };
                match op.kind {
                    Kind::Alloc => *block = peer.alloc(layout(op.size)),
                    Kind::Free => {
                        intact(*block, op.size);
                        peer.dealloc(*block, layout(op.size));
                        continue;
                    }
                    Kind::Realloc => {
                        intact(*block, op.old_size);
                        *block = peer.realloc(*block, layout(op.old_size), op.size as usize);
                        intact(*block, op.size.min(op.old_size));
                    }
                }
                assert!(!block.is_null(), "{}: operation {index}", about.name);
                let aligned = block.addr().is_multiple_of(1 << op.align_log2);
                // good_memory's and dlmalloc's `realloc` don't promise to keep more than their
                // natural alignment.
                assert!(aligned || op.kind == Kind::Realloc, "{}: operation {index}", about.name);
                block.write_bytes(own, op.size as usize);
            }
        }
    }
}

#[test]
fn every_allocator_keeps_what_is_written() {
    let program = program();
    for about in peers::all() {
        peers::with(about.name, &mut Checked(&program)).expect("a name of the list");
    }
}

#[test]
fn a_pool_has_room_for_the_payload_at_least() {
    let workload = Workload::Fixed(program());
    for about in peers::all().iter().filter(|about| about.class == Class::Pool) {
        let measured = peers::with(about.name, &mut footprint::Measure { workload: &workload });
        let footprint = measured.expect("a name of the list").expect("a small program");
        assert!(
            footprint.ratio >= 1.0 && footprint.ratio < 64.0,
            "{}: {}",
            about.name,
            footprint.ratio
        );
    }
}

#[test]
fn the_adversary_forces_what_robson_says() {
    // Blocks of 1 to 2^9 units: no allocator needs less than 1 + 9/2 times the payload, less the
    // rounding of the game.
    let forced = footprint::measure(&["evenfit-blocks", "talc"], &Workload::Adversary);
    for footprint in forced {
        assert!(footprint.expect("it is served in the end") > 5.0);
    }
}

#[test]
fn stepping_agrees_with_itself() {
    let workload = Workload::Fixed(program());
    let measure = || worst::measure(&["bump", "evenfit-blocks"], &workload, worst::Sample::QUICK);
    let (first, second) = (measure(), measure());
    let alloc = |of: &[Result<worst::Worst, _>], index: usize| {
        of[index].as_ref().map(|worst| worst.alloc).ok()
    };
    // The windows are the same each time; the slowest operations may differ, the bump pointer's
    // hardly matter.
    assert!(alloc(&first, 0) < alloc(&first, 1));
    assert!(alloc(&second, 0) < alloc(&second, 1));
}
