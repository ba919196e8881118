//! Applies operations to a heap and to the model, and panics where they differ.

use alloc::vec::Vec;
use core::alloc::Layout;
use core::ptr::NonNull;

use evenfit::{AllocError, BlockState, FreeError, InitError, ReallocError, Stats};

use crate::model::{Live, Model, Verdict};
use crate::op::{Bytes, Misuse, Op, Via, layout};
use crate::pattern;
use crate::region::{Placement, Region};
use crate::subject::{Piece, Subject};

/// How many freed pointers are remembered for double frees.
const STALE_MAX: usize = 64;

/// Free runs that one operation may look at on average, to see whether a refusal was right.
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
        Self {
            len_bytes,
            placement,
        }
    }
}

/// A heap, the model beside it, and the memory under it.
pub struct Driver<S: Subject> {
    subject: S,
    model: Model,
    region: Region,
    /// A live block of another heap, and the memory that keeps it so.
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
    assert_eq!(
        probe.largest_free(),
        pool_bytes,
        "an empty pool is one allocation"
    );
    let whole = probe
        .allocate(layout(pool_bytes, 1))
        .expect("an empty pool is one allocation");
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
        assert_eq!(
            pool_base % S::RULES.align_bytes,
            0,
            "the first granule is aligned"
        );
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

    /// The heap's own walk.
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
    /// If the heap's answer, its counters or the pool's bytes are not what they must be.
    pub fn apply(&mut self, op: &Op) {
        self.begin();
        match *op {
            Op::Allocate(layout) => drop(self.allocate(layout, false)),
            Op::AllocateZeroed(layout) => drop(self.allocate(layout, true)),
            Op::Free { k } => self.free(k, false),
            Op::FreeUnsized { k } => self.free(k, true),
            Op::Grow { k, new } => self.resize_pick(k, new, Via::Grow),
            Op::Shrink { k, new } => self.resize_pick(k, new, Via::Shrink),
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
        let offset = self.allocate(layout, false);
        self.assert_counters(&layout);
        offset
    }

    /// Frees the live block at `offset`.
    pub fn free_at(&mut self, offset: usize) {
        self.begin();
        let live = self
            .model
            .at(offset)
            .expect("the caller names a live block");
        self.free_live(&live, false);
        self.assert_counters(&live);
    }

    /// Reallocates the live block at `offset` and says where it is now, if that worked.
    pub fn resize_at(&mut self, offset: usize, size: usize) -> Option<usize> {
        self.begin();
        let live = self
            .model
            .at(offset)
            .expect("the caller names a live block");
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
        assert_eq!(
            self.subject.stats(),
            self.expected,
            "counters after {after:?}"
        );
    }

    fn allocate(&mut self, layout: Layout, zeroed: bool) -> Option<usize> {
        self.take_snapshot();
        let answer = if zeroed {
            self.subject.allocate_zeroed(layout)
        } else {
            self.subject.allocate(layout)
        };
        match answer {
            Ok(block) => {
                let live = self.adopt(block, layout);
                if zeroed {
                    let bytes = self.contents(&live);
                    let dirty = bytes.iter().position(|byte| *byte != 0);
                    assert_eq!(dirty, None, "{layout:?} was to be zeroed");
                }
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

    /// A request was refused: that must be right and have changed nothing.
    fn refused_request(&mut self, layout: Layout, error: AllocError) {
        // To look at every free run takes time: in a pool of many, one refusal in some is looked at.
        if self.search_credit >= self.model.live_count() {
            self.search_credit -= self.model.live_count();
            let fits = self.model.must_fit(layout);
            assert!(!fits, "{error:?} to {layout:?}, which fits");
        }
        match error {
            AllocError::TooLarge => assert!(
                self.model.may_be_too_large(layout),
                "{layout:?} is not larger than the pool"
            ),
            AllocError::OutOfMemory => assert!(
                !self.model.never_fits(layout),
                "{layout:?} is larger than the pool: that is TooLarge"
            ),
            other => panic!("{other:?} to {layout:?} from a sound pool"),
        }
        self.expected.failed_requests += 1;
        // Before a request fails, a slab kept empty goes back to the blocks.
        if !S::HAS_SLABS {
            self.assert_region_unchanged();
        }
    }

    /// Records a block just handed out, and checks what the heap says of it.
    fn adopt(&mut self, block: NonNull<[u8]>, layout: Layout) -> Live {
        let address = block.cast::<u8>().as_ptr() as usize;
        self.seed += 1;
        let usable = self.usable(block, layout);
        self.model.insert(address, usable, layout, self.seed)
    }

    /// The usable size of a block just handed out for `layout`.
    fn usable(&self, block: NonNull<[u8]>, layout: Layout) -> usize {
        let usable = self
            .subject
            .usable_size(block.cast())
            .expect("usable size of a live block");
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

    fn free(&mut self, k: usize, unsized_: bool) {
        if let Some(live) = self.model.pick(k) {
            self.free_live(&live, unsized_);
        }
    }

    fn free_live(&mut self, live: &Live, unsized_: bool) {
        self.assert_contents(live);
        let ptr = self.pointer(live);
        let answer = if unsized_ {
            // SAFETY: a live block, not used again.
            unsafe { self.subject.try_deallocate_unsized(ptr) }
        } else {
            // SAFETY: as above, with the layout it was asked with.
            unsafe { self.subject.try_deallocate(ptr, live.layout) }
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
            self.free(k, false);
        }
    }

    fn resize_pick(&mut self, k: usize, new: Layout, via: Via) {
        if let Some(live) = self.model.pick(k) {
            self.resize(&live, new, via);
        }
    }

    /// Where the block is now, if it was resized.
    fn resize(&mut self, live: &Live, new: Layout, via: Via) -> Option<usize> {
        let old = live.layout;
        let new = match via {
            Via::Shrink => layout(new.size() % (old.size() + 1), new.align()),
            Via::Grow if new.size() < old.size() => return None,
            _ => new,
        };
        self.assert_contents(live);
        self.take_snapshot();
        match self.call_resize(self.pointer(live), old, new, via) {
            Ok(block) => Some(self.resized(live, block, new)),
            Err(ReallocError::Alloc(error)) => {
                assert!(
                    !self.model.must_resize(live, new),
                    "{error:?}: {live:?} to {new:?} fits"
                );
                self.refused_request(new, error);
                None
            }
            Err(error) => panic!("{error:?}: {via:?} of {live:?} to {new:?}"),
        }
    }

    fn call_resize(
        &mut self,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
        via: Via,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        // SAFETY: a live block with its layout, or a misuse, which must be refused.
        unsafe {
            match via {
                Via::Grow => self.subject.grow(ptr, old, new),
                Via::Shrink => self.subject.shrink(ptr, old, new),
                _ => self.subject.reallocate(ptr, old, new),
            }
        }
    }

    fn resized(&mut self, old: &Live, block: NonNull<[u8]>, new: Layout) -> usize {
        let used_before = self.model.used_bytes();
        let old_address = self.model.pool_base() + old.offset;
        let stays = block.cast::<u8>().as_ptr() as usize == old_address;
        let live = if stays {
            self.stayed(old, block, new)
        } else {
            self.forget(old.offset);
            self.adopt(block, new)
        };
        let kept = old.layout.size().min(new.size());
        let wrong = pattern::first_difference(&self.contents(&live)[..kept], old.seed);
        assert_eq!(wrong, None, "{old:?} lost contents on its way to {new:?}");
        self.fill(&live);
        self.expect_peak(used_before, &live, stays);
        self.expect_counts();
        live.offset
    }

    /// Records a block that was resized where it is. It is kept longer than need be only if there is no other memory.
    fn stayed(&mut self, old: &Live, block: NonNull<[u8]>, new: Layout) -> Live {
        if self.usable(block, new) != old.len {
            self.model.remove(old.offset);
            return self.adopt(block, new);
        }
        if self.model.is_kept(new.size(), old.len) && self.search_credit >= self.model.live_count()
        {
            self.search_credit -= self.model.live_count();
            let fits = self.model.must_fit(new);
            assert!(!fits, "{old:?} was kept for {new:?}, which fits elsewhere");
        }
        self.seed += 1;
        self.model.keep(old, new, self.seed)
    }

    fn expect_peak_of_now(&mut self) {
        let now = self.model.used_bytes();
        self.expected.peak_used_bytes = self.peak_at_least(self.expected.peak_used_bytes.max(now));
    }

    /// The peak that must be said where it is at least `peak`: with slabs, their free slots count.
    fn peak_at_least(&self, peak: usize) -> usize {
        if S::HAS_SLABS {
            peak.max(self.subject.stats().peak_used_bytes)
        } else {
            peak
        }
    }

    /// A block that moved may have been counted twice for a moment: either peak is honest.
    fn expect_peak(&mut self, used_before: usize, live: &Live, stays: bool) {
        let peak = self.expected.peak_used_bytes;
        let least = peak.max(self.model.used_bytes());
        let both = peak.max(used_before + live.len);
        let said = self.subject.stats().peak_used_bytes;
        assert!(
            said == least || (said == both && !stays) || (S::HAS_SLABS && said > least),
            "peak {said} after a reallocation: {least}, or {both} if both blocks were held"
        );
        self.expected.peak_used_bytes = said;
    }

    fn expect_counts(&mut self) {
        self.expected.used_bytes = self.model.used_bytes();
        self.expected.free_bytes = self.model.pool_bytes() - self.model.used_bytes();
        self.expected.live_blocks = self.model.live_count();
    }

    /// The wrong pointer and layout that `kind` names now; none where there is no such thing.
    fn wrong_argument(&self, kind: Misuse) -> Option<(usize, Layout)> {
        let base = self.region.base().as_ptr() as usize;
        let address_of = |live: &Live| self.model.pool_base() + live.offset;
        let some_layout = layout(S::GRANULE_BYTES, 1);
        Some(match kind {
            Misuse::Stale { pick } => *self.stale.get(pick % self.stale.len().max(1))?,
            Misuse::Interior { k, delta } => {
                let live = self.model.pick(k)?;
                (address_of(&live) + delta % live.len, live.layout)
            }
            Misuse::InFree { offset } => {
                let offset = offset % self.model.pool_bytes();
                let (start, end) = self.model.gap_from(offset)?;
                (
                    self.model.pool_base() + offset.max(start),
                    layout(end - start, 1),
                )
            }
            Misuse::InRegion { offset } => (base + offset % self.region.len_bytes(), some_layout),
            Misuse::Foreign { address } => (address.max(1), some_layout),
            Misuse::OtherHeap => (self.other.0.as_ptr() as usize, self.other.1),
            Misuse::PastEnd { delta } => (base + self.region.len_bytes() + delta, some_layout),
            Misuse::WrongSize { k, size } => {
                let live = self.model.pick(k)?;
                (address_of(&live), layout(size, live.layout.align()))
            }
            Misuse::WrongAlign { k, doublings } => {
                let live = self.model.pick(k)?;
                let address = address_of(&live);
                let log2 = (address.trailing_zeros() + 1 + doublings).min(usize::BITS - 2);
                (address, layout(live.layout.size(), 1 << log2))
            }
        })
    }

    fn misuse(&mut self, kind: Misuse, via: Via) {
        let Some((address, wrong)) = self.wrong_argument(kind) else {
            return;
        };
        let told = (!matches!(via, Via::Unsized | Via::UsableSize)).then_some(wrong);
        let verdict = self.model.verdict(address, told);
        if matches!(verdict, Verdict::Valid | Verdict::Unknown) {
            return;
        }
        let ptr = NonNull::new(core::ptr::without_provenance_mut::<u8>(address))
            .expect("no kind of misuse makes a null pointer");
        self.take_snapshot();
        let answer = self.call_with(ptr, wrong, via);
        assert!(
            verdict.allows(answer),
            "{via:?} of {kind:?} at {address:#x} as {wrong:?} answered {answer:?}, \
             and the model {verdict:?}"
        );
        if via != Via::UsableSize {
            self.expected.refused_frees += 1;
        }
        self.assert_region_unchanged();
    }

    fn call_with(&mut self, ptr: NonNull<u8>, wrong: Layout, via: Via) -> Result<(), FreeError> {
        let new = match via {
            Via::Shrink => layout(wrong.size() / 2, wrong.align()),
            _ => layout(wrong.size().saturating_mul(2), wrong.align()),
        };
        match via {
            // SAFETY: a misuse: the heap promises to refuse it.
            Via::Deallocate => unsafe { self.subject.try_deallocate(ptr, wrong) },
            // SAFETY: as above.
            Via::Unsized => unsafe { self.subject.try_deallocate_unsized(ptr) },
            Via::UsableSize => self.subject.usable_size(ptr).map(drop),
            Via::Grow | Via::Shrink | Via::Reallocate => {
                match self.call_resize(ptr, wrong, new, via) {
                    Ok(_) => Ok(()),
                    Err(ReallocError::Free(error)) => Err(error),
                    Err(error) => panic!("{error:?}: a wrong pointer was not noticed first"),
                }
            }
        }
    }

    /// Copies the region where the budget allows it; a small region is copied every time.
    fn take_snapshot(&mut self) {
        self.snapshot.clear();
        if self.region.len_bytes() <= self.compare_credit {
            self.compare_credit -= self.region.len_bytes();
            // SAFETY: no operation runs meanwhile.
            self.snapshot
                .extend_from_slice(unsafe { self.region.bytes() });
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

    /// Compares everything that can be seen of the heap with the model.
    ///
    /// # Panics
    /// Where they differ.
    pub fn check(&mut self) {
        assert_eq!(self.subject.check(), Ok(()));
        self.assert_blocks();
        for live in self.model.live() {
            self.assert_contents(live);
        }
        assert!(
            self.region.surroundings_intact(),
            "a byte outside the region was written"
        );
    }

    /// `check`, and now and then the largest request: it takes the pool's peak to what it can be.
    fn check_all(&mut self) {
        self.check();
        if self.ops.is_multiple_of(4) {
            self.assert_largest_free();
            self.assert_largest_free_aligned(S::RULES.align_bytes << (1 + self.ops / 4 % 12));
        }
    }

    /// The walk is the model's ranges: no two free neighbours, nothing lost, the tail on top.
    fn assert_blocks(&self) {
        if S::HAS_SLABS {
            return assert_slab_walk(&self.subject, &self.model);
        }
        let pool_bytes = self.model.pool_bytes();
        let free_bytes_min = S::RULES.granules_min * S::GRANULE_BYTES;
        for (start, end) in self.model.gaps() {
            let is_block = end - start >= free_bytes_min || end == pool_bytes;
            assert!(is_block, "{start} to {end} is too short for a block");
        }
        let used = self.model.live().map(|live| Piece {
            offset_bytes: live.offset,
            size_bytes: live.len,
            state: BlockState::Used,
        });
        let free = self.model.gaps().map(|(start, end)| Piece {
            offset_bytes: start,
            size_bytes: end - start,
            state: if end == pool_bytes {
                BlockState::Top
            } else {
                BlockState::Free
            },
        });
        let mut expected: Vec<_> = used.chain(free).collect();
        expected.sort_unstable_by_key(|block| block.offset_bytes);
        let mut walked = self.subject.blocks();
        for block in expected {
            assert_eq!(walked.next(), Some(block), "walk of the blocks");
        }
        assert_eq!(walked.next(), None, "the walk ends with the pool");
    }

    /// The largest request succeeds and one byte more does not.
    fn assert_largest_free(&mut self) {
        let largest = self.subject.largest_free();
        let widest = self
            .model
            .gaps()
            .map(|(start, end)| end - start)
            .max()
            .unwrap_or(0);
        assert!(
            largest <= widest,
            "largest_free {largest}, and the widest run is {widest}"
        );
        assert!(
            !self.model.must_fit(layout(largest + 1, 1)),
            "more than {largest} must fit"
        );
        if largest > 0 {
            self.take_and_free(layout(largest, 1));
        }
        let refused = self.subject.allocate(layout(largest + 1, 1));
        assert!(
            refused.is_err(),
            "largest_free said {largest}, and more was had"
        );
        self.expected.failed_requests += 1;
    }

    /// The same at an alignment. It is asked first whether more is had: that changes nothing.
    fn assert_largest_free_aligned(&mut self, align: usize) {
        let Some(largest) = self.subject.largest_free_aligned(align) else {
            return;
        };
        let more = layout(largest + 1, align);
        assert!(
            !self.model.must_fit(more),
            "more than {largest} aligned to {align} must fit"
        );
        let refused = self.subject.allocate(more);
        assert!(
            refused.is_err(),
            "largest_free_aligned({align}) said {largest}, and more was had"
        );
        self.expected.failed_requests += 1;
        if largest > 0 {
            self.take_and_free(layout(largest, align));
        }
    }

    /// A request that must succeed, and the block given back.
    fn take_and_free(&mut self, layout: Layout) {
        let taken = self.subject.allocate(layout);
        let taken = taken.unwrap_or_else(|error| panic!("{error:?}: largest_free said {layout:?}"));
        let address = taken.cast::<u8>().as_ptr() as usize;
        let usable = self.usable(taken, layout);
        self.model.insert(address, usable, layout, 0);
        self.expect_peak_of_now();
        // SAFETY: just taken.
        let freed = unsafe { self.subject.try_deallocate(taken.cast(), layout) };
        assert_eq!(freed, Ok(()));
        self.model.remove(address - self.model.pool_base());
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
        assert_eq!(
            self.subject.largest_free(),
            self.model.pool_bytes(),
            "the pool is whole again"
        );
        assert_eq!(self.subject.stats(), self.expected);
        self.ops
    }
}

/// The walk holds the model's blocks and no other, slot by slot, and leaves no byte out.
///
/// # Panics
/// Where they differ.
pub fn assert_slab_walk<S: Subject>(subject: &S, model: &Model) {
    let mut live = model.live().peekable();
    let (mut at, mut free_before, mut empty_slabs) = (0, false, 0);
    for piece in subject.blocks() {
        assert_eq!(piece.offset_bytes, at, "the walk leaves nothing out");
        at += piece.size_bytes;
        let mut within = Vec::new();
        while let Some(block) = live.next_if(|live| live.offset < at) {
            within.push(block);
        }
        let is_free = matches!(piece.state, BlockState::Free | BlockState::Top);
        assert!(
            !(is_free && free_before),
            "two free neighbours at {piece:?}"
        );
        free_before = is_free;
        match piece.state {
            BlockState::Used => {
                assert!(
                    within.len() == 1 && within[0].len == piece.size_bytes,
                    "{piece:?}"
                );
            }
            BlockState::Slab {
                slot_bytes,
                used_slots,
                ..
            } => {
                assert_eq!(within.len(), used_slots, "{piece:?}");
                empty_slabs += usize::from(used_slots == 0);
                assert!(
                    within.iter().all(|slot| slot.len == slot_bytes),
                    "{piece:?}"
                );
            }
            _ => assert_eq!(within, Vec::<&Live>::new(), "{piece:?}"),
        }
        assert_eq!(
            piece.state == BlockState::Top,
            is_free && at == model.pool_bytes(),
            "the tail is the top, and nothing else"
        );
    }
    assert_eq!(
        (at, live.next()),
        (model.pool_bytes(), None),
        "the walk is whole"
    );
    assert!(empty_slabs <= 1, "{empty_slabs} slabs are kept empty");
}

/// A live block of a heap that is not the one under test.
fn other_heap<S: Subject>() -> (NonNull<u8>, Layout, Region) {
    let region = Region::new(4000, Placement::AfterGuard(0));
    let (mut heap, _, _) = build::<S>(&region).expect("4,000 bytes are enough for a heap");
    let layout = layout(S::GRANULE_BYTES, 1);
    let block = heap
        .allocate(layout)
        .expect("an empty heap serves one granule");
    (block.cast(), layout, region)
}
