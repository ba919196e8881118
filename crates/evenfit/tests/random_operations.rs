//! The heap against a model of it: random requests, frees, reallocations and misuse. Every block's
//! content is a pattern, and the whole heap is checked. Nothing here knows how the heap works,
//! except how sizes are rounded.

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use evenfit::{
    Aligned, AllocError, Auto, BlockState, BlocksOnly, Builder, Compact, FreeError, Geometry, Heap,
    ReallocError, Standard, Tiers, Wide, WithSlabs,
};

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

#[derive(Clone, Copy)]
struct Live {
    layout: Layout,
    pattern: u8,
    /// The length of the slice that the heap returned.
    len: usize,
}

/// A heap, and the blocks that must be in it.
struct Shadow<'pool, T: Tiers, G: Geometry> {
    heap: Heap<'pool, T, G>,
    region: (NonNull<u8>, usize),
    live: BTreeMap<usize, Live>,
    dead: Vec<(usize, Layout)>,
    pattern: u8,
    random: fastrand::Rng,
    size_log2: usize,
}

fn rounded<G: Geometry>(size: usize) -> usize {
    size.max(2 * G::GRANULE_BYTES).next_multiple_of(G::ALIGN_BYTES)
}

impl<T: Tiers, G: Geometry> Shadow<'_, T, G> {
    fn size(&mut self) -> usize {
        let log2 = self.random.usize(..self.size_log2 + 1);
        (1 << log2) - 1 + self.random.usize(..1 << log2)
    }

    fn align(&mut self) -> usize {
        match self.random.usize(..20) {
            0 => 16,
            1 => 1 << self.random.usize(..10),
            2 => 64,
            _ => 1 << self.random.usize(..4),
        }
    }

    fn any_live(&mut self) -> (usize, Live) {
        let nth = self.random.usize(..self.live.len());
        let (&address, &live) = self.live.iter().nth(nth).unwrap();
        (address, live)
    }

    fn insert(&mut self, block: NonNull<[u8]>, layout: Layout) {
        let address = block.cast::<u8>().addr().get();
        assert_eq!(address % layout.align(), 0);
        assert_eq!(address % G::ALIGN_BYTES.min(layout.size().next_power_of_two()).max(1), 0);
        assert!(block.len() >= layout.size());
        let (base, len) = self.region;
        assert!(
            address >= base.addr().get() && address + block.len() <= base.addr().get() + len,
            "outside of the region"
        );
        if let Some((&before, live)) = self.live.range(..=address).next_back() {
            assert!(before + live.len <= address, "overlaps the block before");
        }
        if let Some((&behind, _)) = self.live.range(address..).next() {
            assert!(address + block.len() <= behind, "overlaps the block behind");
        }
        self.pattern = self.pattern.wrapping_add(1);
        // SAFETY: the block is new, and only the test uses it.
        unsafe { block.cast::<u8>().write_bytes(self.pattern, block.len()) };
        let live = Live { layout, pattern: self.pattern, len: block.len() };
        self.live.insert(address, live);
    }

    fn verify(&self, address: usize, bytes: usize, pattern: u8) {
        // SAFETY: live blocks may be read.
        let content = unsafe { std::slice::from_raw_parts(address as *const u8, bytes) };
        assert!(content.iter().all(|&byte| byte == pattern), "content was overwritten");
    }

    fn allocate(&mut self) {
        let layout = layout(self.size(), self.align());
        let most = if layout.align() <= G::ALIGN_BYTES {
            self.heap.largest_free()
        } else {
            self.heap.largest_free_aligned(layout.align())
        };
        match self.heap.allocate(layout) {
            Ok(block) => self.insert(block, layout),
            Err(error) => {
                assert!(matches!(error, AllocError::OutOfMemory | AllocError::TooLarge), "{error}");
                // A long request may miss a block that its own bin has behind the first one.
                let is_exact = layout.size() < 16 * G::GRANULE_BYTES
                    && layout.align() <= G::ALIGN_BYTES
                    && !self.heap.has_slabs();
                assert!(
                    !is_exact || most < layout.size().max(1),
                    "{layout:?} failed, {most} are free"
                );
            }
        }
    }

    fn largest_is_exact(&mut self) {
        let align = 1 << self.random.usize(..10);
        let largest = if align <= G::ALIGN_BYTES {
            self.heap.largest_free()
        } else {
            self.heap.largest_free_aligned(align)
        };
        for (size, fits) in [(largest + 1, false), (largest, true)] {
            if size == 0 {
                continue;
            }
            let answer = self.heap.allocate(layout(size, align));
            assert_eq!(answer.is_ok(), fits, "{size} at {align}, largest is {largest}");
            if let Ok(block) = answer {
                // SAFETY: the block was allocated with this layout, and is not used again.
                unsafe { self.heap.try_deallocate(block.cast(), layout(size, align)) }.unwrap();
            }
        }
    }

    fn free(&mut self) {
        let (address, live) = self.any_live();
        self.live.remove(&address);
        self.verify(address, live.len, live.pattern);
        let ptr = NonNull::new(address as *mut u8).unwrap();
        match self.random.usize(..4) {
            // SAFETY: the block is live, and freed below.
            0 => unsafe { ptr.write_bytes(0, live.len) },
            // SAFETY: as above.
            1 => unsafe { ptr.write_bytes(0xFF, live.len) },
            _ => {}
        }
        // Any size up to the length of the slice returned is valid for the block.
        let size = if self.random.usize(..4) == 0 {
            live.len.max(live.layout.size())
        } else {
            live.layout.size()
        };
        let layout = layout(size, live.layout.align());
        match self.random.usize(..3) {
            // SAFETY: the block is live, and not used again.
            0 => unsafe { self.heap.deallocate(ptr, layout) },
            // SAFETY: as above.
            1 => assert_eq!(unsafe { self.heap.try_free(ptr) }, Ok(())),
            _ => assert_eq!(
                // SAFETY: as above.
                unsafe { self.heap.try_deallocate(ptr, layout) },
                Ok(()),
                "{layout:?}"
            ),
        }
        self.dead.push((address, live.layout));
        if self.dead.len() > 50 {
            let nth = self.random.usize(..50);
            self.dead.swap_remove(nth);
        }
    }

    fn reallocate(&mut self) {
        let (address, live) = self.any_live();
        let old = live.layout;
        let size = if self.random.usize(..3) == 0 {
            (old.size() + self.random.usize(..20)).saturating_sub(10)
        } else {
            self.size()
        };
        let align = if self.random.usize(..10) == 0 { self.align() } else { old.align() };
        let new = layout(size, align);
        let ptr = NonNull::new(address as *mut u8).unwrap();
        // SAFETY: the block is live, and only the one returned is used from here on.
        let answer = unsafe {
            if self.random.usize(..6) == 0 {
                self.heap.resize_in_place(ptr, old, new)
            } else {
                self.heap.reallocate(ptr, old, new)
            }
        };
        match answer {
            Ok(block) => {
                let moved = block.cast::<u8>().addr().get();
                self.verify(moved, old.size().min(size), live.pattern);
                self.live.remove(&address);
                self.insert(block, new);
            }
            Err(error) => {
                assert!(
                    matches!(
                        error,
                        ReallocError::Alloc(AllocError::OutOfMemory | AllocError::TooLarge)
                    ),
                    "{error}"
                );
                self.verify(address, live.len, live.pattern);
            }
        }
    }

    /// Shrinking never fails.
    fn shrink(&mut self) {
        let (address, live) = self.any_live();
        let new = layout(self.random.usize(..live.layout.size() + 1), live.layout.align());
        let ptr = NonNull::new(address as *mut u8).unwrap();
        // SAFETY: as above.
        let block = unsafe { self.heap.reallocate(ptr, live.layout, new) }.unwrap();
        self.verify(block.cast::<u8>().addr().get(), new.size(), live.pattern);
        self.live.remove(&address);
        self.insert(block, new);
    }

    fn misuse(&mut self) {
        let (base, region_bytes) = self.region;
        let pool = self.heap.pool_start().addr();
        let pool_end = pool + self.heap.stats().pool_bytes;
        let Some((address, layout)) = self.misused(pool, pool_end) else {
            return;
        };
        // SAFETY: the region outlives the heap; nothing writes to it meanwhile.
        let bytes = || unsafe { std::slice::from_raw_parts(base.as_ptr(), region_bytes) }.to_vec();
        let (before, stats) = (bytes(), self.heap.stats());
        let ptr = NonNull::new(address as *mut u8).unwrap();
        // SAFETY: a pointer to no live block is refused.
        let answer = unsafe { self.heap.try_deallocate(ptr, layout) };
        let error =
            answer.expect_err(&format!("accepted {:#x}, {layout:?}", address.wrapping_sub(pool)));
        assert_ne!(error, FreeError::Corrupt);
        assert_eq!(error == FreeError::OutsidePool, !(pool..pool_end).contains(&address));
        assert!(before == bytes(), "a refusal has written");
        let now = self.heap.stats();
        assert_eq!(now.refused_frees, stats.refused_frees + 1);
        assert_eq!((now.used_bytes, now.live_blocks), (stats.used_bytes, stats.live_blocks));
    }

    /// A pointer and a layout that must be refused.
    fn misused(&mut self, pool: usize, pool_end: usize) -> Option<(usize, Layout)> {
        let size = self.size();
        let outside = layout(size, 8);
        let case = self.random.usize(..7);
        Some(match case {
            0 if !self.dead.is_empty() => {
                let nth = self.random.usize(..self.dead.len());
                let (address, layout) = self.dead[nth];
                (!self.live.contains_key(&address)).then_some((address, layout))?
            }
            1 => {
                let (address, live) = self.any_live();
                let inside = address + 1 + self.random.usize(..live.layout.size().max(2));
                let size = live.layout.size().saturating_sub(if self.random.usize(..2) == 0 {
                    inside - address
                } else {
                    0
                });
                (!self.live.contains_key(&inside))
                    .then_some((inside, layout(size, live.layout.align())))?
            }
            2 => {
                let (address, live) = self.any_live();
                let size = if self.random.usize(..2) == 0 {
                    size
                } else {
                    live.layout.size() + 2 * G::ALIGN_BYTES
                };
                let ptr = NonNull::new(address as *mut u8).unwrap();
                let usable = self.heap.usable_size(ptr).unwrap();
                // Sizes between the request and the length returned are valid for the block. For a
                // slot that was kept, those between its two classes are. A block may be one granule
                // longer than necessary.
                let least = rounded::<G>(live.layout.size().min(size));
                if (least..=usable).contains(&rounded::<G>(size))
                    || rounded::<G>(size) + G::GRANULE_BYTES == usable
                {
                    return None;
                }
                (address, layout(size, live.layout.align()))
            }
            3 => (pool - 1 - self.random.usize(..4096), outside),
            4 => (pool_end + self.random.usize(..4096), outside),
            5 => {
                let address = pool
                    + G::GRANULE_BYTES * self.random.usize(..(pool_end - pool) / G::GRANULE_BYTES);
                (!self.live.contains_key(&address)).then_some((address, outside))?
            }
            _ => {
                let (address, live) = self.any_live();
                let align = (address & address.wrapping_neg()) << 1;
                (align <= 1 << 20 && align > live.layout.align())
                    .then(|| (address, layout(live.layout.size(), align)))?
            }
        })
    }

    fn check(&self) {
        assert_eq!(self.heap.check(), Ok(()));
        let pool = self.heap.pool_start().addr();
        let mut seen = 0;
        let mut end = 0;
        for block in self.heap.blocks() {
            assert_eq!(block.offset_bytes, end);
            end += block.size_bytes;
            match block.state {
                BlockState::Used => {
                    let live =
                        self.live.get(&(pool + block.offset_bytes)).expect("an unknown block");
                    let needs = rounded::<G>(live.layout.size());
                    assert!(
                        block.size_bytes == needs || block.size_bytes == needs + G::GRANULE_BYTES
                    );
                    seen += 1;
                }
                BlockState::Slab { used_slots, .. } => seen += used_slots,
                _ => {}
            }
        }
        let stats = self.heap.stats();
        assert_eq!((end, seen, seen), (stats.pool_bytes, self.live.len(), stats.live_blocks));
        assert_eq!(stats.used_bytes + stats.free_bytes, stats.pool_bytes);
    }

    fn step(&mut self, full: bool) {
        match self.random.usize(..100) {
            0..45 if !full => self.allocate(),
            _ if self.live.is_empty() => self.allocate(),
            0..78 => self.free(),
            78..88 => self.reallocate(),
            88..91 => self.shrink(),
            91..92 => self.largest_is_exact(),
            _ => self.misuse(),
        }
    }
}

fn run<T: Tiers, G: Geometry>(seed: u64, steps: usize) {
    evenfit::set_misuse_hook(|misuse| panic!("{misuse}"));
    let mut random = fastrand::Rng::with_seed(seed);
    let kib = [1, 2, 4, 8, 16, 24, 64, 256, 2048][random.usize(..9)];
    let len = kib * 1024 + random.usize(..64);
    let mut memory = vec![MaybeUninit::new(0xEE_u8); len + 64];
    let skipped = random.usize(..16);
    let region = &mut memory[skipped..skipped + len];
    let base = NonNull::from(&mut *region).cast::<u8>();
    let Ok(heap) = Builder::<T, G>::new().build(region) else {
        return;
    };
    let (size_log2, target) = (4 + random.usize(..9), len / (1 + random.usize(..3)));
    let mut shadow = Shadow {
        heap,
        region: (base, len),
        live: BTreeMap::new(),
        dead: Vec::new(),
        pattern: 0,
        random,
        size_log2,
    };
    let empty = shadow.heap.stats();
    assert_eq!(empty.pool_bytes + empty.metadata_bytes, len);
    for step in 0..steps {
        let full = shadow.heap.stats().used_bytes >= target && shadow.random.usize(..3) != 0;
        shadow.step(full);
        if step % 16 == 0 || kib <= 4 {
            shadow.check();
        }
    }
    while !shadow.live.is_empty() {
        shadow.free();
    }
    shadow.check();
    let whole = shadow.heap.largest_free_aligned(1);
    assert_eq!(whole, empty.pool_bytes, "an empty pool is one allocation");
    let all = shadow.heap.allocate(layout(whole, 1)).unwrap();
    // SAFETY: the block is live, and not used again.
    unsafe { shadow.heap.try_deallocate(all.cast(), layout(whole, 1)) }.unwrap();
    assert_eq!(shadow.heap.blocks().count(), 1);
}

fn seeds() -> std::ops::Range<u64> {
    let from = std::env::var("EVENFIT_SEED").map_or(0, |seed| seed.parse().unwrap());
    let count = std::env::var("EVENFIT_SEEDS").map_or(60, |seeds| seeds.parse().unwrap());
    from..from + count
}

macro_rules! random_tests {
    ($($name:ident: $tiers:ty, $geometry:ty;)*) => {$(
        #[test]
        fn $name() {
            for seed in seeds() {
                println!("seed {seed}");
                run::<$tiers, $geometry>(seed, 2_000);
            }
        }
    )*};
}

random_tests! {
    blocks_of_standard: BlocksOnly, Standard;
    slabs_of_standard: WithSlabs, Standard;
    auto_of_standard: Auto, Standard;
    blocks_of_aligned: BlocksOnly, Aligned;
    slabs_of_aligned: WithSlabs, Aligned;
    blocks_of_wide: BlocksOnly, Wide;
    slabs_of_wide: WithSlabs, Wide;
    compact: BlocksOnly, Compact;
}
