//! evenfit only: flips each bit of its metadata and of its free blocks.

use std::alloc::Layout;
use std::ops::Range;
use std::ptr::NonNull;

use evenfit::{BlockState, Builder, Geometry, Heap, Tiers};
use evenfit_verify::random::Random;

/// The results of all flips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Bits flipped, one at a time.
    pub flips: usize,
    /// Of these, the ones that `check` named.
    pub named: usize,
    /// The ones that it didn't name and that have no meaning: the results of [`OPERATIONS`]
    /// requests and frees afterwards are the same as without the flip.
    pub unread: usize,
}

impl Report {
    /// The ones that it didn't name although a result changed.
    pub fn missed(&self) -> usize {
        self.flips - self.named - self.unread
    }
}

/// How many requests and frees follow a flip that `check` doesn't name.
pub const OPERATIONS: usize = 300;

/// A region, aligned such that its address doesn't change any result.
#[repr(align(4096))]
struct Region([u8; REGION_BYTES]);

const REGION_BYTES: usize = 20 << 10;

struct Sample<T: Tiers, G: Geometry> {
    region: Box<Region>,
    heap: Heap<'static, T, G>,
    live: Vec<(NonNull<u8>, Layout)>,
}

/// A heap with used and free blocks, short and long ones, and slabs where there are any.
fn sample<T: Tiers, G: Geometry>() -> Sample<T, G> {
    let mut region = Box::new(Region([0; REGION_BYTES]));
    let base = NonNull::from(&mut region.0).cast::<u8>();
    // SAFETY: the region is kept beside the heap, and nothing else touches it meanwhile.
    let heap = unsafe { Builder::new().build_raw(base, REGION_BYTES) };
    let mut heap: Heap<'static, T, G> = heap.expect("room");
    let mut live = Vec::new();
    // The last four fill a slab, which is then in no list.
    for size in [600, 1000, 64, 600, 64, 1400, 600, 24, 600, 64, 600, 2000, 512, 512, 512, 512] {
        let layout = Layout::from_size_align(size, 8).expect("a small layout");
        live.push((heap.allocate(layout).expect("room").cast::<u8>(), layout));
    }
    for index in [8, 7, 4, 3, 1] {
        let (ptr, layout) = live.remove(index);
        // SAFETY: a live block, freed once.
        unsafe { heap.try_deallocate(ptr, layout) }.expect("a correct free");
    }
    Sample { region, heap, live }
}

/// The offset of an allocated block, or that a free succeeded; none if refused.
type Answer = Option<usize>;

/// The results of a sample after a bit was flipped, or without a flip.
fn aftermath<T: Tiers, G: Geometry>(flip: Option<(usize, usize)>) -> Vec<Answer> {
    let mut sample = sample::<T, G>();
    if let Some((byte, bit)) = flip {
        sample.flip(byte, bit);
    }
    let mut random = Random::new(29);
    let mut answers: Vec<_> = (0..OPERATIONS)
        .map(|_| {
            let size_max = [100, 100, 100, 1500][random.below(4)];
            let size = 1 + random.below(size_max);
            if random.below(2) == 0 {
                sample.allocate(size)
            } else {
                sample.free(random.below(sample.live.len().max(1)))
            }
        })
        .collect();
    answers.push(Some(sample.heap.stats().used_bytes));
    answers.push(sample.heap.check().ok().map(|()| 0));
    while !sample.live.is_empty() {
        answers.push(sample.free(0));
    }
    answers.push(Some(sample.heap.largest_free()));
    answers
}

impl<T: Tiers, G: Geometry> Sample<T, G> {
    fn allocate(&mut self, size: usize) -> Answer {
        let layout = Layout::from_size_align(size, 8).expect("a small layout");
        let ptr = self.heap.allocate(layout).ok()?.cast::<u8>();
        self.live.push((ptr, layout));
        let at = ptr.as_ptr() as usize;
        Some(at.wrapping_sub(self.region.0.as_ptr() as usize))
    }

    fn free(&mut self, index: usize) -> Answer {
        if index >= self.live.len() {
            return None;
        }
        let (ptr, layout) = self.live.swap_remove(index);
        // SAFETY: a live block, freed once; nothing lies in it.
        let freed = unsafe { self.heap.try_deallocate(ptr, layout) };
        freed.ok().map(|()| 0)
    }

    fn flip(&mut self, byte: usize, bit: usize) {
        let base = self.region.0.as_mut_ptr();
        // SAFETY: a byte of the region; no call is running.
        unsafe { base.add(byte).write(base.add(byte).read() ^ 1 << bit) };
    }

    fn flip_all(&mut self, bytes: impl Iterator<Item = usize>) -> Report {
        let mut report = Report::default();
        let right = aftermath::<T, G>(None);
        assert_eq!(self.heap.check(), Ok(()));
        for byte in bytes {
            for bit in 0..8 {
                self.flip(byte, bit);
                report.flips += 1;
                if self.heap.check().is_err() {
                    report.named += 1;
                } else {
                    let same = aftermath::<T, G>(Some((byte, bit))) == right;
                    report.unread += usize::from(same);
                }
                self.flip(byte, bit);
            }
        }
        assert_eq!(self.heap.check(), Ok(()), "every flip was undone");
        report
    }
}

impl<T: Tiers, G: Geometry> Sample<T, G> {
    /// Where the pool starts in the region.
    fn pool_at(&self) -> usize {
        self.heap.pool_start() as usize - self.region.0.as_ptr() as usize
    }

    /// Where the free blocks lie in the region.
    fn free_ranges(&self) -> Vec<Range<usize>> {
        let pool_at = self.pool_at();
        let free = self.heap.blocks();
        free.filter(|block| block.state == BlockState::Free)
            .map(|block| {
                let start = pool_at + block.offset_bytes;
                start..start + block.size_bytes
            })
            .collect()
    }
}

/// Flips each bit before the pool in turn and calls `check`: map, directory and the slabs'
/// metadata.
pub fn flip_metadata<T: Tiers, G: Geometry>() -> Report {
    let mut sample = sample::<T, G>();
    let metadata = 0..sample.pool_at();
    sample.flip_all(metadata)
}

/// Flips each bit of the map in turn, in all bytes that have only bits of granules.
pub fn flip_map<T: Tiers, G: Geometry>() -> Report {
    let mut sample = sample::<T, G>();
    let granules = sample.heap.stats().pool_bytes / G::GRANULE_BYTES;
    // It ends with the bytes of a word without bits of granules, and with padding that aligns the
    // pool.
    let map_bytes = granules / 8 + size_of::<usize>();
    let pool_at = sample.pool_at();
    let start = (0..G::ALIGN_BYTES)
        .map(|pad| pool_at - pad - map_bytes)
        .find(|&start| sample.region.0[start] >> 2 & 1 == 1 && sample.region.0[start] & 0b1011 == 0)
        .expect("the mark of the block at the first granule");
    sample.flip_all(start + 1..start + granules / 8)
}

/// Flips each bit of the links and of the length of each free block in turn and calls `check`.
pub fn flip_links<T: Tiers, G: Geometry>() -> Report {
    let mut sample = sample::<T, G>();
    let free = sample.free_ranges();
    let places = free.into_iter().flat_map(|block| {
        let (links, length) = (block.start..block.start + 8, block.end - 8..block.end - 4);
        links.chain(length)
    });
    sample.flip_all(places)
}

/// Flips each other bit of each free block in turn and calls `check`.
pub fn flip_free<T: Tiers, G: Geometry>() -> Report {
    let mut sample = sample::<T, G>();
    let free = sample.free_ranges();
    let places = free.into_iter().flat_map(|block| {
        let (inside, end) = (block.start + 8..block.end - 8, block.end - 4..block.end);
        inside.chain(end)
    });
    sample.flip_all(places)
}
