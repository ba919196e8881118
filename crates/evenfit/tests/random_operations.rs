//! Long random runs over both geometries: contents kept, no overlap, and the integrity check after every operation.

use core::alloc::Layout;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use evenfit::{BlockState, Compact, Geometry, Heap, Standard, Tiers};

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    fn layout(&mut self, size_max: usize) -> Layout {
        let shift = self.below(usize::BITS as usize);
        let size = self.below((size_max >> (shift % 12)).max(2));
        let align = if self.below(8) == 0 {
            1 << self.below(13)
        } else {
            1 << self.below(4)
        };
        Layout::from_size_align(size, align).unwrap()
    }
}

struct Held {
    ptr: NonNull<u8>,
    layout: Layout,
    pattern: u8,
}

impl Held {
    fn write(&self) {
        // SAFETY: the block is live and at least as long as its layout.
        unsafe { self.ptr.write_bytes(self.pattern, self.layout.size()) }
    }

    fn assert_intact(&self, len: usize) {
        // SAFETY: the block is live and at least so long.
        let bytes = unsafe { core::slice::from_raw_parts(self.ptr.as_ptr(), len) };
        assert!(
            bytes.iter().all(|&byte| byte == self.pattern),
            "contents changed"
        );
    }
}

fn run<G: Geometry>(tiers: Tiers, region_bytes: usize, seed: u64, operations: usize) {
    let mut region = vec![MaybeUninit::uninit(); region_bytes];
    let mut heap = Heap::<G>::from_region_with(&mut region, tiers).unwrap();
    let mut random = Random(seed);
    let mut held: Vec<Held> = Vec::new();
    for operation in 0..operations {
        let pattern = operation as u8;
        match random.below(10) {
            0..=4 => {
                let layout = random.layout(region_bytes / 4);
                if let Ok(block) = heap.allocate(layout) {
                    assert!(block.len() >= layout.size());
                    assert!(
                        block
                            .cast::<u8>()
                            .addr()
                            .get()
                            .is_multiple_of(layout.align())
                    );
                    held.push(Held {
                        ptr: block.cast(),
                        layout,
                        pattern,
                    });
                    held.last().unwrap().write();
                }
            }
            5..=7 if !held.is_empty() => {
                let gone = held.swap_remove(random.below(held.len()));
                gone.assert_intact(gone.layout.size());
                // SAFETY: the block is live and not used again.
                unsafe { heap.try_deallocate(gone.ptr, gone.layout) }.unwrap();
                // SAFETY: it must be refused.
                unsafe { heap.try_deallocate(gone.ptr, gone.layout) }.unwrap_err();
            }
            _ if !held.is_empty() => {
                let index = random.below(held.len());
                let old = &held[index];
                let layout = random.layout(region_bytes / 4);
                // SAFETY: the block is live, and replaced by the one returned.
                if let Ok(block) = unsafe { heap.reallocate(old.ptr, old.layout, layout) } {
                    assert!(block.len() >= layout.size());
                    assert!(
                        block
                            .cast::<u8>()
                            .addr()
                            .get()
                            .is_multiple_of(layout.align())
                    );
                    let moved = Held {
                        ptr: block.cast(),
                        layout,
                        pattern: old.pattern,
                    };
                    moved.assert_intact(old.layout.size().min(layout.size()));
                    held[index] = Held { pattern, ..moved };
                    held[index].write();
                } else {
                    old.assert_intact(old.layout.size());
                }
            }
            _ => {}
        }
        assert_eq!(heap.check(), Ok(()), "after operation {operation}");
    }
    for gone in held {
        gone.assert_intact(gone.layout.size());
        // SAFETY: the block is live and not used again.
        unsafe { heap.try_deallocate(gone.ptr, gone.layout) }.unwrap();
    }
    let stats = heap.stats();
    assert_eq!((stats.used_bytes, stats.live_blocks), (0, 0));
    assert_eq!(heap.largest_free(), stats.pool_bytes);
    // One empty slab may be kept.
    let is_empty = |state| {
        !matches!(
            state,
            BlockState::Used
                | BlockState::Slab {
                    used_slots: 1..,
                    ..
                }
        )
    };
    assert!(heap.blocks().count() <= 3 && heap.blocks().all(|block| is_empty(block.state)));
    if tiers != Tiers::WithSlabs {
        assert_eq!(heap.blocks().count(), 1);
    }
}

#[test]
fn standard() {
    for (seed, region_bytes) in [(1, 100), (2, 700), (3, 5_000), (4, 60_001), (5, 1_000_003)] {
        run::<Standard>(Tiers::BlocksOnly, region_bytes, seed, 20_000);
    }
}

#[test]
fn compact() {
    for (seed, region_bytes) in [(6, 64), (7, 700), (8, 5_000), (9, 60_001), (10, 500_003)] {
        run::<Compact>(Tiers::Auto, region_bytes, seed, 20_000);
    }
}

#[test]
fn with_slabs() {
    for (seed, region_bytes) in [
        (11, 2_300),
        (12, 7_000),
        (13, 60_001),
        (14, 300_001),
        (15, 1_000_003),
    ] {
        run::<Standard>(Tiers::WithSlabs, region_bytes, seed, 20_000);
    }
}
