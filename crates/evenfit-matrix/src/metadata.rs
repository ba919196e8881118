//! evenfit alone: each bit of its own metadata flipped, and each byte of a free block changed.

use std::alloc::Layout;
use std::ptr::NonNull;

use evenfit::{Heap, Tiers};

/// What was found over all flips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Bits flipped, one at a time.
    pub flips: usize,
    /// Of these, the ones that `check` named.
    pub named: usize,
}

/// A region of words, so that it is aligned.
type Words = Vec<u64>;

const REGION_BYTES: usize = 16 << 10;

struct Sample {
    region: Words,
    heap: Heap<'static>,
    /// Offsets in the region of free memory: blocks', and then slots'.
    freed: Vec<(usize, usize)>,
}

/// A heap with used and free blocks, and slabs where there are any.
fn sample(tiers: Tiers) -> Sample {
    let mut region: Words = vec![0; REGION_BYTES / 8];
    let base = NonNull::from(region.as_mut_slice()).cast::<u8>();
    // SAFETY: the region is kept beside the heap, and nothing else touches it meanwhile.
    let mut heap = unsafe { Heap::from_raw_with(base, REGION_BYTES, tiers) }.expect("room");
    let mut live = Vec::new();
    for size in [300, 1000, 64, 300, 64, 1400, 300, 24, 300, 64, 300, 2000] {
        let layout = Layout::from_size_align(size, 8).expect("a small layout");
        live.push((heap.allocate(layout).expect("room").cast::<u8>(), layout));
    }
    let mut freed = Vec::new();
    for index in [1, 3, 4, 8] {
        let (ptr, layout) = live[index];
        // SAFETY: a live block, freed once.
        unsafe { heap.try_deallocate(ptr, layout) }.expect("a right free");
        freed.push((
            ptr.as_ptr() as usize - base.as_ptr() as usize,
            layout.size(),
        ));
    }
    Sample {
        region,
        heap,
        freed,
    }
}

impl Sample {
    fn flip(&mut self, byte: usize, bit: usize) {
        let base = self.region.as_mut_ptr().cast::<u8>();
        // SAFETY: a byte of the region; no call is running.
        unsafe { base.add(byte).write(base.add(byte).read() ^ 1 << bit) };
    }

    fn flip_all(&mut self, bytes: impl Iterator<Item = usize>) -> Report {
        let mut report = Report::default();
        assert_eq!(self.heap.check(), Ok(()));
        for byte in bytes {
            for bit in 0..8 {
                self.flip(byte, bit);
                report.flips += 1;
                report.named += usize::from(self.heap.check().is_err());
                self.flip(byte, bit);
            }
        }
        assert_eq!(self.heap.check(), Ok(()), "every flip was undone");
        report
    }
}

/// Flips each bit of directory and map in turn and asks `check`.
pub fn flip_metadata(tiers: Tiers) -> Report {
    let mut sample = sample(tiers);
    let end = REGION_BYTES - sample.heap.stats().pool_bytes;
    let used = sample.heap.pool_start() as usize - sample.region.as_ptr() as usize;
    sample.flip_all(0..used.min(end))
}

/// Flips each bit of the first `bytes` bytes of each free block in turn and asks `check`.
pub fn flip_free(tiers: Tiers, bytes: usize) -> Report {
    let mut sample = sample(tiers);
    let freed = sample.freed.clone();
    let places = freed.into_iter().filter(|(_, len)| *len > 512);
    sample.flip_all(places.flat_map(move |(at, len)| at..at + len.min(bytes)))
}
