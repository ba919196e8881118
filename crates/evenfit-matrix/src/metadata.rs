//! evenfit alone: each bit of its own metadata flipped, and each byte of a free block changed.

use std::alloc::Layout;
use std::ptr::NonNull;

use evenfit::{Heap, Tiers};
use evenfit_verify::endurance::Random;

/// What was found over all flips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Bits flipped, one at a time.
    pub flips: usize,
    /// Of these, the ones that `check` named.
    pub named: usize,
    /// The ones that it didn't name and that mean nothing: every answer to [`OPERATIONS`] requests and frees afterwards is
    /// the same as without the flip.
    pub unread: usize,
}

impl Report {
    /// The ones that it didn't name although they changed something.
    pub fn missed(&self) -> usize {
        self.flips - self.named - self.unread
    }
}

/// How many requests and frees follow a flip that `check` doesn't name.
pub const OPERATIONS: usize = 300;

/// A region so aligned that where it lies changes no answer.
#[repr(align(4096))]
struct Region([u8; REGION_BYTES]);

const REGION_BYTES: usize = 16 << 10;

struct Sample {
    region: Box<Region>,
    heap: Heap<'static>,
    live: Vec<(NonNull<u8>, Layout)>,
    /// Offsets in the region of free memory: blocks', and then slots'.
    freed: Vec<(usize, usize)>,
}

/// A heap with used and free blocks, and slabs where there are any.
fn sample(tiers: Tiers) -> Sample {
    let mut region = Box::new(Region([0; REGION_BYTES]));
    let base = NonNull::from(&mut region.0).cast::<u8>();
    // SAFETY: the region is kept beside the heap, and nothing else touches it meanwhile.
    let mut heap = unsafe { Heap::from_raw_with(base, REGION_BYTES, tiers) }.expect("room");
    let mut live = Vec::new();
    // The last four fill a slab, which is then on no list.
    for size in [
        600, 1000, 64, 600, 64, 1400, 600, 24, 600, 64, 600, 2000, 512, 512, 512, 512,
    ] {
        let layout = Layout::from_size_align(size, 8).expect("a small layout");
        live.push((heap.allocate(layout).expect("room").cast::<u8>(), layout));
    }
    let mut freed = Vec::new();
    for index in [8, 4, 3, 1] {
        let (ptr, layout) = live.remove(index);
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
        live,
        freed,
    }
}

/// A request's offset, or that a free was taken; none where refused.
type Answer = Option<usize>;

/// What a sample answers once a bit of it was flipped, or none.
fn aftermath(tiers: Tiers, flip: Option<(usize, usize)>) -> Vec<Answer> {
    let mut sample = sample(tiers);
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

impl Sample {
    fn allocate(&mut self, size: usize) -> Answer {
        let layout = Layout::from_size_align(size, 8).expect("a small layout");
        let ptr = self.heap.allocate(layout).ok()?.cast::<u8>();
        self.live.push((ptr, layout));
        Some(ptr.as_ptr() as usize - self.region.0.as_ptr() as usize)
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

    fn flip_all(&mut self, tiers: Tiers, bytes: impl Iterator<Item = usize>) -> Report {
        let mut report = Report::default();
        let right = aftermath(tiers, None);
        assert_eq!(self.heap.check(), Ok(()));
        for byte in bytes {
            for bit in 0..8 {
                self.flip(byte, bit);
                report.flips += 1;
                if self.heap.check().is_err() {
                    report.named += 1;
                } else {
                    report.unread += usize::from(aftermath(tiers, Some((byte, bit))) == right);
                }
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
    let used = sample.heap.pool_start() as usize - sample.region.0.as_ptr() as usize;
    sample.flip_all(tiers, 0..used.min(end))
}

/// Flips each bit of the first `bytes` bytes of each free block in turn and asks `check`.
pub fn flip_free(tiers: Tiers, bytes: usize) -> Report {
    let mut sample = sample(tiers);
    let freed = sample.freed.clone();
    let places = freed.into_iter().filter(|(_, len)| *len > 512);
    let places = places.flat_map(move |(at, len)| at..at + len.min(bytes));
    sample.flip_all(tiers, places)
}
