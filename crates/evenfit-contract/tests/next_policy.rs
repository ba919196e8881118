//! The block tier of `evenfit::next` in its simplest form, against the heap itself: the same addresses, the same
//! refusals.
#![allow(clippy::undocumented_unsafe_blocks)] // All blocks of a program are its own, and freed once.

mod next_heap;

use std::alloc::Layout;
use std::ptr::NonNull;

use evenfit::next::{Aligned, BlocksOnly, Compact, Geometry, Heap, Standard, Wide};
use evenfit_contract::next::Cut;
use evenfit_contract::policy::{Handle, Placement, WithRest};

use next_heap::{Memory, Random};

struct Live {
    ptr: NonNull<u8>,
    layout: Layout,
    handle: Handle,
}

/// The same program in both.
struct Both<'a, G: Geometry> {
    cut: Cut,
    heap: Heap<'a, BlocksOnly, G>,
    policy: WithRest,
    live: Vec<Live>,
    random: Random,
    /// Blocks that a granule was left to, requests refused, blocks resized.
    seen: [u64; 3],
}

impl<G: Geometry> Both<'_, G> {
    fn layout(&mut self, longest: u64) -> Layout {
        let granules = match self.random.below(3) {
            0 => 1 + self.random.below(6),
            1 => 1 + self.random.below(40.min(longest)),
            _ => 1 + self.random.below(longest),
        };
        let bytes = granules * self.cut.granule_bytes - self.random.below(self.cut.granule_bytes);
        let align = match self.random.below(8) {
            0 => 8 << self.random.below(5),
            _ => 8,
        };
        Layout::from_size_align(bytes as usize, align).unwrap()
    }

    fn granules(&self, layout: Layout) -> u64 {
        self.cut.granules(layout.size() as u64)
    }

    fn granule_of(&self, ptr: NonNull<u8>) -> u64 {
        let offset = ptr.addr().get() - self.heap.pool_start().addr();
        offset as u64 / self.cut.granule_bytes
    }

    fn allocate(&mut self, layout: Layout) {
        let align = (layout.align() as u64 / self.cut.granule_bytes).max(1);
        let asked = self.granules(layout);
        let handle = self.policy.allocate(asked, align);
        let block = self.heap.allocate(layout).ok();
        let extent = handle.map(|handle| self.policy.extent(handle));
        let real = block.map(|block| {
            let granules = block.len() as u64 / self.cut.granule_bytes;
            (self.granule_of(block.cast()), granules)
        });
        assert_eq!(extent, real, "{layout:?}");
        let (Some(handle), Some(block)) = (handle, block) else {
            self.seen[1] += 1;
            return;
        };
        self.seen[0] += u64::from(extent.is_some_and(|(_, len)| len > asked));
        self.live.push(Live {
            ptr: block.cast(),
            layout,
            handle,
        });
    }

    fn free(&mut self, at: usize) {
        let Live {
            ptr,
            layout,
            handle,
        } = self.live.swap_remove(at);
        self.policy.free(handle);
        unsafe { self.heap.try_deallocate(ptr, layout).unwrap() };
    }

    fn resize(&mut self, at: usize, longest: u64) {
        let new = self.layout(longest);
        let Live {
            ptr,
            layout,
            handle,
        } = self.live[at];
        let new = Layout::from_size_align(new.size(), layout.align()).unwrap();
        let resized = self.policy.resize(handle, self.granules(new));
        let real = unsafe { self.heap.resize_in_place(ptr, layout, new) };
        assert_eq!(resized, real.is_ok(), "{layout:?} to {new:?}");
        if resized {
            self.live[at].layout = new;
            self.seen[2] += 1;
        }
    }

    fn play(&mut self, steps: u64, longest: u64) {
        for step in 0..steps {
            let at = self.random.below(self.live.len() as u64) as usize;
            match self.random.below(7) {
                0..4 => {
                    let layout = self.layout(longest);
                    self.allocate(layout);
                }
                4 | 5 if !self.live.is_empty() => self.free(at),
                6 if !self.live.is_empty() => self.resize(at, longest),
                _ => {}
            }
            if step % 16 == 0 {
                let largest = self.policy.largest() * self.cut.granule_bytes;
                assert_eq!(self.heap.largest_free() as u64, largest);
            }
        }
        self.heap.check().unwrap();
    }
}

/// Programs over pools so short that many requests fail, and over long ones.
fn compare<G: Geometry>(cut: Cut) {
    let mut seen = [0; 3];
    for seed in 0..80 {
        let mut random = Random::new(seed);
        let (pool, longest) = match seed % 3 {
            0 => (40 + random.below(100), 20),
            1 => (400 + random.below(1_000), 100),
            _ => (3_000 + random.below(3_000), 700),
        };
        let pool = pool.next_multiple_of(cut.align_granules);
        let region_bytes = cut.region_bytes(pool).unwrap();
        let mut memory = Memory::new(region_bytes);
        let mut both = Both::<G> {
            cut,
            heap: memory.heap(cut, pool, region_bytes),
            policy: WithRest::new(cut, pool),
            live: Vec::new(),
            random,
            seen: [0; 3],
        };
        both.play(1_500, longest);
        for (sum, more) in seen.iter_mut().zip(both.seen) {
            *sum += more;
        }
    }
    println!("{cut:?}: absorbed, refused, resized: {seen:?}");
    assert_eq!(seen[0] > 0, cut.absorbs());
    assert!(seen[1] > 1_000 && seen[2] > 1_000);
}

#[test]
fn the_policy_places_blocks_where_the_heap_does() {
    compare::<Standard>(Cut::STANDARD);
    compare::<Aligned>(Cut::ALIGNED);
    compare::<Wide>(Cut::WIDE);
    compare::<Compact>(Cut::COMPACT);
}
