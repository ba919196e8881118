//! The oracle itself under test: it accepts a simple, correct heap, and notices each planted fault.

use core::alloc::Layout;
use core::ptr::NonNull;

use evenfit::{AllocError, BlockState, CheckError, FreeError, InitError, ReallocError, Stats};
use evenfit_verify::op::malloc_layout;
use evenfit_verify::subject::{Allocator, GRANULES_MIN as MIN, Piece, Rules};
use evenfit_verify::{Bytes, Config, Driver, Placement, Subject};

const GRANULE: usize = 16;
const METADATA: usize = 32;

/// What a [`Plain`] heap does wrong.
mod fault {
    pub const NONE: u8 = 0;
    pub const FORGETS_TO_MERGE: u8 = 1;
    pub const OVERLAPS_AFTER_DOUBLE_FREE: u8 = 2;
    pub const LOSES_ALIGNMENT: u8 = 3;
    pub const LOSES_CONTENTS: u8 = 4;
    pub const REFUSES_WHAT_FITS: u8 = 5;
    pub const TAKES_TOO_MUCH: u8 = 6;
    pub const WRITES_PAST_THE_POOL: u8 = 7;
    pub const MISCOUNTS: u8 = 8;
    pub const CALLS_WRONG_SIZE_FINE: u8 = 9;
    pub const WRITES_BEFORE_REFUSING: u8 = 10;
    pub const FORGETS_TO_ZERO: u8 = 11;
    pub const WRONG_ERROR: u8 = 12;
    pub const LARGEST_TOO_SMALL: u8 = 13;
    pub const LEAVES_A_GRANULE: u8 = 14;
    pub const KEEPS_TWO_GRANULES: u8 = 15;
    pub const ALIGNED_LARGEST_TOO_SMALL: u8 = 16;
    pub const ALIGNED_LARGEST_TOO_LARGE: u8 = 17;
    pub const SHRINK_FAILS: u8 = 18;
    pub const REFUSES_TO_RESIZE_IN_PLACE: u8 = 19;
    pub const MOVES_IN_PLACE: u8 = 20;
    pub const COUNTS_WHAT_ONLY_A_MOVE_DOES: u8 = 21;
    pub const REALLOC_LOSES_THE_END: u8 = 22;
    pub const MALLOC_MISALIGNS: u8 = 23;
}

/// A heap with its blocks in a vector: first fit, exact coalescing. A remainder that is too short
/// for a block stays with the block that it would be cut from.
struct Plain<const FAULT: u8> {
    base: usize,
    ptr: NonNull<u8>,
    len: usize,
    /// Offset, length, used; in address order.
    blocks: Vec<(usize, usize, bool)>,
    stats: Stats,
}

impl<const FAULT: u8> Plain<FAULT> {
    fn rounded(size: usize) -> usize {
        size.div_ceil(GRANULE).max(MIN).saturating_mul(GRANULE)
    }

    /// Whether a block of `len` bytes is one for a request of `size`.
    fn is_for(size: usize, len: usize) -> bool {
        let rounded = Self::rounded(size);
        rounded <= len && len - rounded < MIN * GRANULE
    }

    /// How many bytes of the free block at `offset` stay before an aligned one.
    fn before(&self, offset: usize, align: usize) -> Option<usize> {
        let align = align.max(GRANULE);
        let start = (self.base + offset).checked_next_multiple_of(align)?;
        let before = start - self.base - offset;
        let is_no_block = before > 0 && before < MIN * GRANULE;
        before.checked_add(if is_no_block { align } else { 0 })
    }

    fn at(&self, address: usize, layout: Option<Layout>) -> Result<usize, FreeError> {
        let offset = address.wrapping_sub(self.base);
        if offset >= self.len {
            return Err(FreeError::OutsidePool);
        }
        let i = self.blocks.iter().position(|b| b.0 == offset).ok_or(FreeError::NotABlock)?;
        if !self.blocks[i].2 {
            return Err(match FAULT {
                fault::WRONG_ERROR => FreeError::OutsidePool,
                _ => FreeError::AlreadyFree,
            });
        }
        let fits = layout.is_none_or(|l| {
            (Self::is_for(l.size(), self.blocks[i].1) || FAULT == fault::CALLS_WRONG_SIZE_FINE)
                && address.is_multiple_of(l.align())
        });
        if fits { Ok(i) } else { Err(FreeError::WrongLayout) }
    }

    fn refuse(&mut self, error: FreeError) -> FreeError {
        self.stats.refused_frees += 1;
        if FAULT == fault::WRITES_BEFORE_REFUSING {
            // SAFETY: the last byte of the region.
            unsafe { self.ptr.add(self.len + METADATA - 1).write(0xEE) };
        }
        error
    }

    /// The live block at `ptr`, or a refusal, which is counted.
    fn live(&mut self, ptr: NonNull<u8>, layout: Option<Layout>) -> Result<usize, FreeError> {
        self.at(ptr.as_ptr() as usize, layout).map_err(|error| self.refuse(error))
    }

    fn count(&mut self) {
        let used = || self.blocks.iter().filter(|b| b.2);
        self.stats.used_bytes = used().map(|b| b.1).sum();
        self.stats.live_blocks =
            used().count() - usize::from(FAULT == fault::MISCOUNTS && used().count() > 3);
        self.stats.free_bytes = self.len - self.stats.used_bytes;
        self.stats.peak_used_bytes = self.stats.peak_used_bytes.max(self.stats.used_bytes);
    }

    fn merge(&mut self) {
        let mut i = 0;
        while i + 1 < self.blocks.len() {
            if !self.blocks[i].2 && !self.blocks[i + 1].2 {
                if FAULT == fault::FORGETS_TO_MERGE && i > 1 {
                    return;
                }
                self.blocks[i].1 += self.blocks.remove(i + 1).1;
            } else {
                i += 1;
            }
        }
    }

    fn free_at(&mut self, i: usize) {
        self.blocks[i].2 = false;
        self.merge();
        self.count();
    }

    /// Frees block `i` and allocates one for `new`, with the first `old_bytes` of its content; or
    /// changes nothing.
    fn move_to(
        &mut self,
        i: usize,
        ptr: NonNull<u8>,
        old_bytes: usize,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        let before = (self.blocks.clone(), self.stats);
        let bytes: Vec<u8> = {
            let len = old_bytes.min(new.size());
            // SAFETY: a live block of at least `len` bytes.
            unsafe { core::slice::from_raw_parts(ptr.as_ptr(), len) }.to_vec()
        };
        self.blocks[i].2 = false;
        self.merge();
        match self.allocate(new) {
            Ok(block) => {
                let kept =
                    if FAULT == fault::LOSES_CONTENTS { bytes.len() / 2 } else { bytes.len() };
                // SAFETY: the new block holds at least `bytes.len()` bytes.
                unsafe {
                    block
                        .cast::<u8>()
                        .copy_from_nonoverlapping(NonNull::from(&bytes[..kept]).cast(), kept)
                };
                Ok(block)
            }
            Err(error) => {
                (self.blocks, self.stats) = before;
                self.stats.failed_requests += 1;
                Err(error.into())
            }
        }
    }

    fn slice(&self, offset: usize, len: usize) -> NonNull<[u8]> {
        // SAFETY: `ptr` is the region's base, and the pool follows the metadata in it.
        let at = unsafe { self.ptr.add(self.base - self.ptr.as_ptr() as usize + offset) };
        NonNull::slice_from_raw_parts(at, len)
    }
}

impl<const FAULT: u8> Allocator for Plain<FAULT> {
    const HEADER_BYTES: usize = 0;
    const GRANULE_BYTES: usize = GRANULE;

    fn allocate(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let size = Self::rounded(layout.size());
        let found = (0..self.blocks.len()).find_map(|i| {
            let (offset, len, used) = self.blocks[i];
            let pad = self.before(offset, layout.align())?;
            (!used && pad <= len && size <= len - pad).then_some((i, pad))
        });
        let stingy = FAULT == fault::REFUSES_WHAT_FITS && self.blocks.len() > 6;
        let Some((i, mut pad)) = found.filter(|_| !stingy) else {
            self.stats.failed_requests += 1;
            let never = size > self.len;
            return Err(if never { AllocError::TooLarge } else { AllocError::OutOfMemory });
        };
        let (offset, len, _) = self.blocks[i];
        if FAULT == fault::LOSES_ALIGNMENT {
            pad = 0;
        }
        let left_min = match FAULT {
            fault::TAKES_TOO_MUCH => usize::MAX,
            fault::LEAVES_A_GRANULE => GRANULE,
            fault::KEEPS_TWO_GRANULES => 3 * GRANULE,
            _ => MIN * GRANULE,
        };
        let left = len - pad - size;
        let taken = if left < left_min { size + left } else { size };
        let pieces = [
            (offset, pad, false),
            (offset + pad, taken, true),
            (offset + pad + taken, len - pad - taken, false),
        ];
        self.blocks.splice(i..=i, pieces.into_iter().filter(|piece| piece.1 > 0));
        self.count();
        if FAULT == fault::WRITES_PAST_THE_POOL {
            // SAFETY: a byte of the open page behind the region, which the tests map so.
            unsafe { self.ptr.add(self.stats.pool_bytes + self.stats.metadata_bytes).write(1) };
        }
        Ok(self.slice(offset + pad, taken))
    }

    fn allocate_zeroed(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let block = self.allocate(layout)?;
        if FAULT != fault::FORGETS_TO_ZERO {
            // SAFETY: a block just allocated.
            unsafe { block.cast::<u8>().write_bytes(0, block.len()) };
        }
        Ok(block)
    }

    unsafe fn try_deallocate(&mut self, ptr: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        match self.at(ptr.as_ptr() as usize, Some(layout)) {
            Ok(i) => {
                self.free_at(i);
                Ok(())
            }
            Err(FreeError::AlreadyFree) if FAULT == fault::OVERLAPS_AFTER_DOUBLE_FREE => Ok(()),
            Err(error) => Err(self.refuse(error)),
        }
    }

    unsafe fn reallocate(
        &mut self,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        let i = self.live(ptr, Some(old))?;
        let stingy = FAULT == fault::SHRINK_FAILS && self.blocks.len() > 6;
        if stingy && new.size() < old.size() {
            self.stats.failed_requests += 1;
            return Err(AllocError::OutOfMemory.into());
        }
        self.move_to(i, ptr, old.size(), new)
    }

    fn largest_free(&self) -> usize {
        let largest = self.blocks.iter().filter(|b| !b.2).map(|b| b.1).max().unwrap_or(0);
        let stingy = FAULT == fault::LARGEST_TOO_SMALL && self.blocks.len() > 3;
        largest - usize::from(stingy && largest > 0) * GRANULE
    }

    fn pool_start(&self) -> *const u8 {
        self.slice(0, 0).cast::<u8>().as_ptr()
    }

    fn stats(&self) -> Stats {
        self.stats
    }

    fn blocks(&self) -> impl Iterator<Item = Piece> + '_ {
        self.blocks.iter().map(|(offset, len, used)| Piece {
            offset_bytes: *offset,
            size_bytes: *len,
            state: match used {
                true => BlockState::Used,
                false if offset + len == self.len => BlockState::Top,
                false => BlockState::Free,
            },
        })
    }

    fn check(&self) -> Result<(), CheckError> {
        Ok(())
    }
}

impl<const FAULT: u8> Subject for Plain<FAULT> {
    const NAME: &'static str = "Plain";
    const RULES: Rules = Rules {
        granule_bytes: GRANULE,
        align_bytes: GRANULE,
        granules_over_max: MIN - 1,
        exact_end: 1 << 20,
        slabs: None,
    };

    unsafe fn build(ptr: NonNull<u8>, len_bytes: usize) -> Result<Self, InitError> {
        let base = ptr.as_ptr() as usize;
        let pool = (base + METADATA).next_multiple_of(GRANULE);
        let len = (base + len_bytes).saturating_sub(pool) / GRANULE * GRANULE;
        if len < MIN * GRANULE {
            return Err(InitError::RegionTooSmall { len_bytes, min_bytes: METADATA + 32 });
        }
        let mut stats = Stats::default();
        stats.pool_bytes = len;
        stats.free_bytes = len;
        stats.metadata_bytes = len_bytes - len;
        Ok(Self { base: pool, ptr, len, blocks: vec![(0, len, false)], stats })
    }

    unsafe fn try_free(&mut self, ptr: NonNull<u8>) -> Result<(), FreeError> {
        let i = self.live(ptr, None)?;
        self.free_at(i);
        Ok(())
    }

    fn malloc(&mut self, size_bytes: usize) -> Result<NonNull<[u8]>, AllocError> {
        let Some(layout) = malloc_layout(size_bytes) else {
            self.stats.failed_requests += 1;
            return Err(AllocError::TooLarge);
        };
        let block = self.allocate(layout)?;
        if FAULT == fault::MALLOC_MISALIGNS && block.len() > MIN * GRANULE {
            // SAFETY: the block is longer.
            let moved = unsafe { block.cast::<u8>().add(8) };
            return Ok(NonNull::slice_from_raw_parts(moved, block.len() - 8));
        }
        Ok(block)
    }

    unsafe fn resize_in_place(
        &mut self,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        let i = self.live(ptr, Some(old))?;
        if FAULT == fault::MOVES_IN_PLACE {
            return self.move_to(i, ptr, old.size(), new);
        }
        let (offset, mut room, _) = self.blocks[i];
        let next = self.blocks.get(i + 1).filter(|next| !next.2);
        room += next.map_or(0, |next| next.1);
        let stays = next.map_or(i + 1, |_| i + 2);
        let size = Self::rounded(new.size());
        let stingy = FAULT == fault::REFUSES_TO_RESIZE_IN_PLACE && self.blocks.len() > 6;
        if stingy || size > room || !(self.base + offset).is_multiple_of(new.align()) {
            let counts = FAULT == fault::COUNTS_WHAT_ONLY_A_MOVE_DOES;
            self.stats.failed_requests += u64::from(counts);
            return Err(AllocError::OutOfMemory.into());
        }
        let left = room - size;
        let len = if left < MIN * GRANULE { room } else { size };
        let pieces = [(offset, len, true), (offset + len, room - len, false)];
        self.blocks.splice(i..stays, pieces.into_iter().filter(|piece| piece.1 > 0));
        self.count();
        Ok(self.slice(offset, len))
    }

    unsafe fn realloc(
        &mut self,
        ptr: NonNull<u8>,
        new_bytes: usize,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        let Some(new) = malloc_layout(new_bytes) else {
            self.stats.failed_requests += 1;
            return Err(AllocError::TooLarge.into());
        };
        let i = self.live(ptr, None)?;
        let lost = usize::from(FAULT == fault::REALLOC_LOSES_THE_END);
        self.move_to(i, ptr, self.blocks[i].1 - lost, new)
    }

    fn usable_size(&self, ptr: NonNull<u8>) -> Result<usize, FreeError> {
        self.at(ptr.as_ptr() as usize, None).map(|i| self.blocks[i].1)
    }

    fn largest_free_aligned(&mut self, align: usize) -> usize {
        let room = |&(offset, len, used): &(usize, usize, bool)| {
            let before = self.before(offset, align).filter(|_| !used)?;
            len.checked_sub(before).filter(|room| *room >= MIN * GRANULE)
        };
        let largest = self.blocks.iter().filter_map(room).max().unwrap_or(0);
        let wrong = self.blocks.len() > 3 && largest > 0;
        match FAULT {
            fault::ALIGNED_LARGEST_TOO_SMALL if wrong => largest - 1,
            fault::ALIGNED_LARGEST_TOO_LARGE if wrong => largest + 1,
            _ => largest,
        }
    }
}

/// Drives a heap through many scripts; returns the first complaint.
fn complaint<const FAULT: u8>() -> Option<String> {
    let mut random = fastrand::Rng::with_seed(0x1234_5678);
    for round in 0..60 {
        let bytes: Vec<u8> = (0..600).map(|_| random.u8(..)).collect();
        let config = Config { len_bytes: 60 + 97 * round, placement: Placement::AfterGuard(round) };
        let run = std::panic::catch_unwind(|| {
            Driver::<Plain<FAULT>>::run(config, &mut Bytes::new(&bytes));
        });
        if let Err(payload) = run {
            let fixed = payload.downcast_ref::<&str>().map(|said| (*said).to_owned());
            return payload.downcast_ref::<String>().cloned().or(fixed);
        }
    }
    None
}

#[test]
fn a_correct_heap_passes() {
    assert_eq!(complaint::<{ fault::NONE }>(), None);
}

macro_rules! noticed {
    ($($test:ident: $fault:ident, $words:literal;)*) => {$(
        #[test]
        fn $test() {
            let said = complaint::<{ fault::$fault }>();
            let said = said.expect("the fault went unnoticed");
            assert!(said.contains($words), "noticed for another reason: {said}");
        }
    )*};
}

noticed! {
    a_missed_merge: FORGETS_TO_MERGE, "";
    an_accepted_double_free: OVERLAPS_AFTER_DOUBLE_FREE, "AlreadyFree";
    a_lost_alignment: LOSES_ALIGNMENT, "misaligned";
    lost_contents: LOSES_CONTENTS, "lost contents";
    a_needless_refusal: REFUSES_WHAT_FITS, "fits";
    a_request_that_takes_the_pool: TAKES_TOO_MUCH, "usable size";
    a_write_past_the_pool: WRITES_PAST_THE_POOL, "outside the region";
    a_wrong_counter: MISCOUNTS, "counters";
    an_accepted_wrong_size: CALLS_WRONG_SIZE_FINE, "WrongLayout";
    a_write_before_a_refusal: WRITES_BEFORE_REFUSING, "changed the region";
    a_dirty_zeroed_block: FORGETS_TO_ZERO, "zeroed";
    a_wrong_error: WRONG_ERROR, "AlreadyFree";
    a_modest_largest_free: LARGEST_TOO_SMALL, "";
    a_granule_left_alone: LEAVES_A_GRANULE, "too short";
    two_granules_left_with_a_block: KEEPS_TWO_GRANULES, "usable size";
    a_modest_largest_free_aligned: ALIGNED_LARGEST_TOO_SMALL, "more was had";
    a_boastful_largest_free_aligned: ALIGNED_LARGEST_TOO_LARGE, "largest_free said";
    a_block_that_can_not_be_made_smaller: SHRINK_FAILS, "fits";
    a_block_that_is_not_resized_in_place: REFUSES_TO_RESIZE_IN_PLACE, "fits in place";
    a_block_that_moves_in_place: MOVES_IN_PLACE, "";
    a_move_not_made_that_is_counted: COUNTS_WHAT_ONLY_A_MOVE_DOES, "counters";
    an_end_that_realloc_loses: REALLOC_LOSES_THE_END, "lost contents";
    a_misaligned_malloc: MALLOC_MISALIGNS, "";
}
