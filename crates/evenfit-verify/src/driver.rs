//! Applies operations to a heap and to the model, and panics where they differ.

mod check;
mod misuse;
mod resize;

pub use check::assert_slab_walk;

use alloc::vec::Vec;
use core::alloc::Layout;
use core::ptr::NonNull;

use evenfit::{AllocError, InitError, Stats};
use evenfit_trace::replay::pattern;

use crate::model::{Live, Model};
use crate::op::{Bytes, Op, Via, layout, malloc_layout};
use crate::region::{Placement, Region};
use crate::subject::{Piece, Subject};

/// How many freed pointers are remembered for double frees.
const STALE_MAX: usize = 64;

/// Free runs that one operation may examine on average, to see whether a refusal was right.
const SEARCHED_RUNS_PER_OP: usize = 16;

/// Enough for a small region to be compared at every refusal.
const COMPARE_BYTES_PER_OP: usize = 64 * 1024;

/// Where a heap is built.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The region's length in bytes; any number.
    pub len_bytes: usize,
    /// Where it lies.
    pub placement: Placement,
}

impl Config {
    /// Decodes a region of at most `len_bytes_max`, mostly small, at any address and length.
    pub fn decode(bytes: &mut Bytes, len_bytes_max: usize) -> Self {
        let len_bytes = match bytes.byte() {
            0..=79 => bytes.number(1) + 16,
            80..=159 => bytes.number(2) % 4096,
            160..=219 => bytes.number(2),
            _ => bytes.number(4),
        } % (len_bytes_max + 1);
        let slack = bytes.number(1);
        let placement = if bytes.byte().is_multiple_of(2) {
            Placement::AfterGuard(slack)
        } else {
            Placement::BeforeGuard(slack % 2 * 3)
        };
        Self { len_bytes, placement }
    }
}

/// A heap, the model beside it, and the memory under it.
pub struct Driver<S: Subject> {
    subject: S,
    model: Model,
    region: Region,
    /// A live block of another heap, and that heap's memory.
    other: (NonNull<u8>, Layout, Region),
    stale: Vec<(usize, Layout)>,
    stale_next: usize,
    seed: u64,
    /// The counters as they must be now.
    expected: Stats,
    compare_credit: usize,
    search_credit: usize,
    /// Bytes of region comparison that one operation may spend on average.
    pub compare_bytes_per_op: usize,
    snapshot: Vec<u8>,
    ops: u64,
}

/// A heap over a fresh region full of garbage, with the address and length of its pool.
///
/// # Errors
/// As the heap's.
pub fn build<S: Subject>(region: &Region) -> Result<(S, usize, usize), InitError> {
    // SAFETY: no heap is over the region yet.
    pattern::fill(unsafe { region.bytes_mut() }, 0xDEAD);
    // SAFETY: the region is mapped and outlives both heaps; the first is dropped before the
    // second is built.
    let mut probe = unsafe { S::build(region.base(), region.len_bytes()) }?;
    let pool_bytes = probe.stats().pool_bytes;
    assert_eq!(probe.largest_free(), pool_bytes, "an empty pool is one allocation");
    let whole = probe.allocate(layout(pool_bytes, 1)).expect("an empty pool is one allocation");
    let pool_base = whole.cast::<u8>().as_ptr() as usize;
    drop(probe);
    // SAFETY: as above.
    let subject = unsafe { S::build(region.base(), region.len_bytes()) }?;
    Ok((subject, pool_base, pool_bytes))
}

impl<S: Subject> Driver<S> {
    /// Builds a heap where `config` says.
    ///
    /// # Errors
    /// As the heap's, for a region too small or too large.
    pub fn new(config: Config) -> Result<Self, InitError> {
        let region = Region::new(config.len_bytes, config.placement);
        let (subject, pool_base, pool_bytes) = build::<S>(&region)?;
        let first = region.base().as_ptr() as usize;
        let stats = subject.stats();
        assert!(pool_base >= first && pool_base + pool_bytes <= first + config.len_bytes);
        assert_eq!(pool_base % S::RULES.align_bytes, 0, "the first granule is aligned");
        assert_eq!(stats.pool_bytes + stats.metadata_bytes, config.len_bytes);
        let mut driver = Self {
            expected: stats,
            subject,
            model: Model::of::<S>(pool_base, pool_bytes),
            region,
            other: other_heap::<S>(),
            stale: Vec::new(),
            stale_next: 0,
            seed: 0,
            compare_credit: 0,
            search_credit: 0,
            compare_bytes_per_op: COMPARE_BYTES_PER_OP,
            snapshot: Vec::new(),
            ops: 0,
        };
        driver.check();
        Ok(driver)
    }

    /// Builds a heap and runs the operations that `bytes` decode to, checking everything at the
    /// end. Returns how many were run: none where the region is refused.
    pub fn run(config: Config, bytes: &mut Bytes) -> u64 {
        let Ok(mut driver) = Self::new(config) else {
            return 0;
        };
        while !bytes.is_empty() {
            let op = Op::decode(bytes, driver.model.pool_bytes());
            driver.apply(&op);
        }
        driver.finish()
    }

    /// The model as it stands.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The heap's own counters, which agree with the model.
    pub fn stats(&self) -> Stats {
        self.expected
    }

    /// The heap's walk over its blocks.
    pub fn pieces(&self) -> impl Iterator<Item = Piece> + '_ {
        self.subject.blocks()
    }

    /// Operations applied so far.
    pub fn ops(&self) -> u64 {
        self.ops
    }

    /// Applies one operation.
    ///
    /// # Panics
    /// If the heap's result, its counters or the pool's bytes are wrong.
    pub fn apply(&mut self, op: &Op) {
        self.begin();
        match *op {
            Op::Allocate(layout) => drop(self.allocate(layout)),
            Op::AllocateZeroed(layout) => self.allocate_zeroed(layout),
            Op::Malloc(size_bytes) => self.malloc(size_bytes),
            Op::Free { k } => self.free(k, Via::Deallocate),
            Op::FreeAsInC { k } => self.free(k, Via::Free),
            Op::Realloc { k, new_bytes } => self.realloc(k, new_bytes),
            Op::Shrink { k, new } => self.shrink(k, new),
            Op::ResizeInPlace { k, new } => self.resize_pick(k, new, Via::InPlace),
            Op::Reallocate { k, new } => self.resize_pick(k, new, Via::Reallocate),
            Op::FreeAll { k } => self.free_all(k),
            Op::Misuse { kind, via } => self.misuse(kind, via),
            Op::Check => self.check_all(),
        }
        self.assert_counters(op);
    }

    /// Allocates, as `Op::Allocate` does, and says where, in bytes from the pool's first granule.
    pub fn allocate_at(&mut self, layout: Layout) -> Option<usize> {
        self.begin();
        let offset = self.allocate(layout);
        self.assert_counters(&layout);
        offset
    }

    /// Frees the live block at `offset`.
    pub fn free_at(&mut self, offset: usize) {
        self.begin();
        let live = self.model.at(offset).expect("the caller names a live block");
        self.free_live(&live, Via::Deallocate);
        self.assert_counters(&live);
    }

    /// Reallocates the live block at `offset` and says where it is now, if that worked.
    pub fn resize_at(&mut self, offset: usize, size: usize) -> Option<usize> {
        self.begin();
        let live = self.model.at(offset).expect("the caller names a live block");
        let new = layout(size, live.layout.align());
        let moved = self.resize(&live, new, Via::Reallocate);
        self.assert_counters(&live);
        moved
    }

    fn begin(&mut self) {
        self.ops += 1;
        self.compare_credit += self.compare_bytes_per_op;
        self.search_credit += SEARCHED_RUNS_PER_OP;
    }

    fn assert_counters(&self, after: &dyn core::fmt::Debug) {
        assert_eq!(self.subject.stats(), self.expected, "counters after {after:?}");
    }

    fn allocate(&mut self, layout: Layout) -> Option<usize> {
        self.take_snapshot();
        let answer = self.subject.allocate(layout);
        self.allocated(answer, layout)
    }

    fn allocate_zeroed(&mut self, layout: Layout) {
        self.take_snapshot();
        let answer = self.subject.allocate_zeroed(layout);
        if let Ok(block) = answer {
            let usable = self.usable(block, layout);
            // SAFETY: a block just allocated, of at least this size.
            let bytes = unsafe { core::slice::from_raw_parts(block.cast().as_ptr(), usable) };
            let dirty = bytes.iter().position(|byte: &u8| *byte != 0);
            assert_eq!(dirty, None, "{layout:?} was to be zeroed");
        }
        self.allocated(answer, layout);
    }

    fn malloc(&mut self, size_bytes: usize) {
        self.take_snapshot();
        let answer = self.subject.malloc(size_bytes);
        match malloc_layout(size_bytes) {
            Some(layout) => drop(self.allocated(answer, layout)),
            None => self.no_layout(answer.map(drop)),
        }
    }

    /// No layout has that size.
    fn no_layout(&mut self, answer: Result<(), AllocError>) {
        assert_eq!(answer, Err(AllocError::TooLarge));
        self.expected.failed_requests += 1;
        self.assert_region_unchanged();
    }

    fn allocated(
        &mut self,
        answer: Result<NonNull<[u8]>, AllocError>,
        layout: Layout,
    ) -> Option<usize> {
        match answer {
            Ok(block) => {
                let live = self.adopt(block, layout);
                self.fill(&live);
                self.expect_peak_of_now();
                self.expect_counts();
                Some(live.offset)
            }
            Err(error) => {
                self.refused_request(layout, error);
                None
            }
        }
    }

    /// A request was refused. That must be right, and must have changed nothing.
    fn refused_request(&mut self, layout: Layout, error: AllocError) {
        // Examining every free run takes time. In a pool that has many, only some refusals are
        // examined.
        if self.search_credit >= self.model.live_count() {
            self.search_credit -= self.model.live_count();
            let fits = self.model.must_fit(layout);
            assert!(!fits, "{error:?} to {layout:?}, which fits");
        }
        match error {
            AllocError::TooLarge => {
                assert!(self.model.never_fits(layout), "{layout:?} is not larger than the pool")
            }
            AllocError::OutOfMemory => assert!(
                !self.model.never_fits(layout),
                "{layout:?} is larger than the pool: that is TooLarge"
            ),
            other => panic!("{other:?} to {layout:?} from a sound pool"),
        }
        self.expected.failed_requests += 1;
        self.assert_region_unchanged();
    }

    /// Records a block just allocated, and checks what the heap says of it.
    fn adopt(&mut self, block: NonNull<[u8]>, layout: Layout) -> Live {
        let address = block.cast::<u8>().as_ptr() as usize;
        self.seed += 1;
        let usable = self.usable(block, layout);
        self.model.insert(address, usable, layout, self.seed)
    }

    /// The usable size of a block just allocated for `layout`.
    fn usable(&self, block: NonNull<[u8]>, layout: Layout) -> usize {
        let usable = self.subject.usable_size(block.cast()).expect("usable size of a live block");
        assert!(
            layout.size() <= block.len() && block.len() <= usable,
            "{layout:?} got {} bytes of {usable}",
            block.len()
        );
        usable
    }

    fn pointer(&self, live: &Live) -> NonNull<u8> {
        let address = self.model.pool_base() + live.offset;
        let from_base = address - self.region.base().as_ptr() as usize;
        // SAFETY: the model keeps live blocks within the pool, and the pool is in the region.
        unsafe { self.region.base().add(from_base) }
    }

    /// The whole of a live block, rounding included: all of it is the owner's.
    fn contents(&self, live: &Live) -> &[u8] {
        let len = live.len;
        // SAFETY: a live block: only its owner, this driver, accesses it.
        unsafe { core::slice::from_raw_parts(self.pointer(live).as_ptr(), len) }
    }

    fn fill(&mut self, live: &Live) {
        let len = live.len;
        // SAFETY: as in `contents`; exclusive through `&mut self`.
        let bytes = unsafe { core::slice::from_raw_parts_mut(self.pointer(live).as_ptr(), len) };
        pattern::fill(bytes, live.seed);
    }

    fn assert_contents(&self, live: &Live) {
        let wrong = pattern::first_difference(self.contents(live), live.seed);
        assert_eq!(wrong, None, "contents of {live:?} changed");
    }

    fn free(&mut self, k: usize, via: Via) {
        if let Some(live) = self.model.pick(k) {
            self.free_live(&live, via);
        }
    }

    fn free_live(&mut self, live: &Live, via: Via) {
        self.assert_contents(live);
        let ptr = self.pointer(live);
        // SAFETY: a live block, not used again, with the layout it was asked with.
        let answer = unsafe {
            match via {
                Via::Free => self.subject.try_free(ptr),
                _ => self.subject.try_deallocate(ptr, live.layout),
            }
        };
        assert_eq!(answer, Ok(()), "free of {live:?}");
        self.forget(live.offset);
        self.expect_counts();
    }

    fn forget(&mut self, offset: usize) {
        let live = self.model.remove(offset);
        let freed = (self.model.pool_base() + offset, live.layout);
        if self.stale.len() < STALE_MAX {
            self.stale.push(freed);
        } else {
            self.stale[self.stale_next % STALE_MAX] = freed;
            self.stale_next += 1;
        }
    }

    fn free_all(&mut self, k: usize) {
        while self.model.live_count() > 0 {
            self.free(k, Via::Deallocate);
        }
    }

    fn expect_peak_of_now(&mut self) {
        let now = self.model.used_bytes();
        self.expected.peak_used_bytes = self.peak_at_least(self.expected.peak_used_bytes.max(now));
    }

    /// The peak that the heap must report if it is at least `peak`. With slabs, their free slots
    /// count.
    fn peak_at_least(&self, peak: usize) -> usize {
        if S::HAS_SLABS { peak.max(self.subject.stats().peak_used_bytes) } else { peak }
    }

    fn expect_counts(&mut self) {
        self.expected.used_bytes = self.model.used_bytes();
        self.expected.free_bytes = self.model.pool_bytes() - self.model.used_bytes();
        self.expected.live_blocks = self.model.live_count();
    }

    /// Copies the region if the budget allows it; a small region is copied every time.
    fn take_snapshot(&mut self) {
        self.snapshot.clear();
        if self.region.len_bytes() <= self.compare_credit {
            self.compare_credit -= self.region.len_bytes();
            // SAFETY: no operation runs meanwhile.
            self.snapshot.extend_from_slice(unsafe { self.region.bytes() });
        }
    }

    fn assert_region_unchanged(&self) {
        if self.snapshot.is_empty() {
            return;
        }
        // SAFETY: no operation runs meanwhile.
        let now = unsafe { self.region.bytes() };
        if now != self.snapshot {
            let at = now.iter().zip(&self.snapshot).position(|(a, b)| a != b);
            panic!("a refused call changed the region at byte {at:?}");
        }
    }

    /// Frees everything and checks that the pool is whole again. Returns the operations run.
    ///
    /// # Panics
    /// If it is not.
    pub fn finish(mut self) -> u64 {
        self.check();
        self.assert_largest_free();
        self.free_all(1);
        self.check();
        self.assert_largest_free();
        assert_eq!(self.subject.largest_free(), self.model.pool_bytes(), "the pool is whole again");
        assert_eq!(self.subject.stats(), self.expected);
        self.ops
    }
}

/// A live block of a heap that is not the one under test.
fn other_heap<S: Subject>() -> (NonNull<u8>, Layout, Region) {
    let region = Region::new(4000, Placement::AfterGuard(0));
    let (mut heap, _, _) = build::<S>(&region).expect("4,000 bytes are enough for a heap");
    let layout = layout(S::GRANULE_BYTES, 1);
    let block = heap.allocate(layout).expect("an empty heap serves one granule");
    (block.cast(), layout, region)
}
