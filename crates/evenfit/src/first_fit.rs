//! The teaching allocator: one pool, one free list living inside it, first fit.
//!
//! Read this file first. It holds everything that an allocator must do (search, split, align,
//! refuse, coalesce) in its simplest form, and everything that [`Heap`](crate::Heap) exists to
//! avoid: a header on every block, and loops that grow with the pool.
//!
//! The pool is always tiled by blocks, used and free, without a gap. Each starts with a header
//! of two words; the caller's pointer is the address just after it:
//!
//! ```text
//! offset    0           64                  144          208                                1024
//!           +-----------+-------------------+------------+-------------------------------------+
//!           | size   64 | size   80         | size   64  | size  816                           |
//!           | next    - | next  208 ----.   | next    -  | next  END                           |
//!           | 48 bytes  | (free)        |   | 48 bytes   | (free)                              |
//!           | of a user |               |   | of a user  |                                     |
//!           +-----------+---------------|---+------------+-------------------------------------+
//!                       ^               |                ^
//! first_free = 64 ------'               '----------------'
//! ```
//!
//! - **Walk.** `offset + size` is the next block: that is how a pointer is checked.
//! - **List.** `next` leads from a free block to the next one *in address order*. So the walk meets
//!   the free blocks in the order of the list, and a block is free exactly if the list says so:
//!   there is no flag that could disagree.
//! - **Allocate.** Follow the list to the first block that is large enough; split off what is
//!   left over if it can hold a block.
//! - **Free.** Find the block by walking the pool, put it into the list between its free
//!   neighbours, coalesce with those it touches.

use core::alloc::Layout;
use core::marker::PhantomData;
use core::mem::{MaybeUninit, size_of};
use core::ptr::NonNull;

use crate::{AllocError, Block, BlockState, CheckError, FreeError, InitError, ReallocError, Stats};

/// The header of every block.
#[derive(Clone, Copy)]
struct Header {
    /// The block's length in bytes, this header included: a multiple of [`GRANULE`].
    size: usize,
    /// In a free block, the offset of the next free block, or [`END`]. In a used block, nothing.
    next: usize,
}

const HEADER: usize = size_of::<Header>();
/// Sizes, offsets and therefore headers are multiples of this.
const GRANULE: usize = HEADER;
/// The shortest block: a header and one granule for the user.
const MIN_BLOCK: usize = HEADER + GRANULE;
/// The end of the free list. No block can start here.
const END: usize = usize::MAX;

/// A first-fit allocator over one fixed pool, with its free list inside the pool.
///
/// It is here to be read and to be compared with: its operations take time proportional to the
/// number of blocks. For everything else use [`Heap`](crate::Heap), which has the same methods.
///
/// ```
/// use core::alloc::Layout;
/// use core::mem::MaybeUninit;
/// use evenfit::{FirstFit, FreeError};
///
/// let mut region = [MaybeUninit::<u8>::uninit(); 1024];
/// let mut pool = FirstFit::from_region(&mut region)?;
/// let layout = Layout::from_size_align(100, 8)?;
///
/// let block = pool.allocate(layout)?;
/// assert!(block.len() >= 100);
///
/// // SAFETY: nothing uses the block any more.
/// unsafe { pool.try_deallocate(block.cast(), layout)? };
/// // SAFETY: the second free is refused and changes nothing.
/// let again = unsafe { pool.try_deallocate(block.cast(), layout) };
/// assert_eq!(again, Err(FreeError::AlreadyFree));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FirstFit<'pool> {
    base: NonNull<u8>,
    len: usize,
    first_free: usize,
    stats: Stats,
    _pool: PhantomData<&'pool mut [MaybeUninit<u8>]>,
}

// SAFETY: the pool is borrowed exclusively for 'pool, so the owner of the allocator owns all of it.
unsafe impl Send for FirstFit<'_> {}

impl<'pool> FirstFit<'pool> {
    /// Builds an allocator over `region`. O(1).
    ///
    /// Up to `2 * size_of::<usize>() - 1` bytes are lost at either end if the region isn't aligned.
    ///
    /// # Errors
    /// [`InitError::RegionTooSmall`] if no block fits.
    ///
    /// The pool can't be dropped or reused while the allocator lives:
    /// ```compile_fail
    /// use core::mem::MaybeUninit;
    /// let mut region = [MaybeUninit::<u8>::uninit(); 1024];
    /// let pool = evenfit::FirstFit::from_region(&mut region).unwrap();
    /// drop(region);
    /// pool.largest_free();
    /// ```
    pub fn from_region(region: &'pool mut [MaybeUninit<u8>]) -> Result<Self, InitError> {
        let region_len = region.len();
        let skip = region.as_ptr().addr().wrapping_neg() % GRANULE;
        let aligned = region.get_mut(skip..).unwrap_or_default();
        let len = aligned.len() / GRANULE * GRANULE;
        if len < MIN_BLOCK {
            return Err(InitError::RegionTooSmall {
                len_bytes: region_len,
                min_bytes: MIN_BLOCK + GRANULE - 1,
            });
        }
        let mut pool = Self {
            base: NonNull::from(aligned).cast(),
            len,
            first_free: 0,
            stats: Stats {
                pool_bytes: len,
                metadata_bytes: region_len - len,
                free_bytes: len,
                ..Stats::default()
            },
            _pool: PhantomData,
        };
        pool.set_header(0, len, END);
        Ok(pool)
    }

    /// Allocates from the first free block, in address order, that can hold `layout`.
    ///
    /// The slice returned is what the caller may use: at least `layout.size()` bytes. A size of
    /// zero is served like a size of one. Time: O(free blocks).
    ///
    /// # Errors
    /// [`AllocError::TooLarge`] if the whole pool is too short, [`AllocError::OutOfMemory`] if
    /// every free block is, [`AllocError::Corrupt`] if the free list was overwritten. Then the pool
    /// is unchanged.
    pub fn allocate(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let result = self.first_fit(layout);
        if result.is_err() {
            self.stats.failed_requests += 1;
        }
        result
    }

    fn first_fit(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let size =
            block_size(layout).filter(|&size| size <= self.len).ok_or(AllocError::TooLarge)?;
        let (mut before, mut at) = (END, self.first_free);
        while at != END {
            let free = self.header(at).ok_or(AllocError::Corrupt)?;
            if free.next <= at {
                return Err(AllocError::Corrupt); // or the search might never end
            }
            let gap = self.gap_to_align(at, layout.align());
            if gap.checked_add(size).is_some_and(|need| need <= free.size) {
                return Ok(self.carve(before, at, free, gap, size));
            }
            (before, at) = (at, free.next);
        }
        Err(AllocError::OutOfMemory)
    }

    /// How far into the free block at `at` a block must start for its payload to be aligned:
    /// zero, or enough for a free block to remain in front.
    fn gap_to_align(&self, at: usize, align: usize) -> usize {
        let payload = self.base.addr().get() + at + HEADER;
        let gap = payload.wrapping_neg() & (align - 1);
        if gap == 0 || gap >= MIN_BLOCK { gap } else { gap + align }
    }

    /// Makes a used block of `size` bytes out of the free block at `at`, leaving `gap` bytes in
    /// front and the rest, if it can hold a block, behind as free blocks.
    fn carve(
        &mut self,
        before: usize,
        at: usize,
        free: Header,
        gap: usize,
        mut size: usize,
    ) -> NonNull<[u8]> {
        let start = at + gap;
        let rest = free.size - gap - size;
        let after = if rest >= MIN_BLOCK {
            self.set_header(start + size, rest, free.next);
            start + size
        } else {
            size += rest;
            free.next
        };
        if gap > 0 {
            self.set_header(at, gap, after);
        } else {
            self.set_next(before, after);
        }
        self.set_header(start, size, END);
        self.count(self.stats.used_bytes + size, self.stats.live_blocks + 1);
        self.payload(start, size)
    }

    /// Frees a block. Time: O(blocks).
    ///
    /// `layout` is the one it was allocated with, or one with any size between that and the
    /// length of the slice that `allocate` returned.
    ///
    /// # Errors
    /// The pool is unchanged if the pointer is refused:
    /// - [`FreeError::OutsidePool`]: not in this pool.
    /// - [`FreeError::AlreadyFree`]: it points into free memory. That is a double free, found even
    ///   if the block was coalesced since.
    /// - [`FreeError::NotABlock`]: it points into a live block, but not to its start.
    /// - [`FreeError::WrongLayout`]: a block of another size, or not so aligned.
    /// - [`FreeError::Corrupt`]: a header on the way was overwritten.
    ///
    /// # Safety
    /// Nothing may use the block afterwards. A pointer to a freed block that was allocated again
    /// can't be told from a valid one.
    pub unsafe fn try_deallocate(
        &mut self,
        ptr: NonNull<u8>,
        layout: Layout,
    ) -> Result<(), FreeError> {
        let block = self.find_refusing(ptr, layout)?;
        self.coalesce(block.at, block.size, block.free_before, block.free_after);
        self.count(
            self.stats.used_bytes.saturating_sub(block.size),
            self.stats.live_blocks.saturating_sub(1),
        );
        Ok(())
    }

    /// Puts `size` bytes at `at` into the free list between its free neighbours, coalescing with
    /// those it touches.
    fn coalesce(&mut self, at: usize, size: usize, before: usize, after: usize) {
        let (mut size, mut next) = (size, after);
        if let Some(right) = self.header(after)
            && at + size == after
        {
            (size, next) = (size + right.size, right.next);
        }
        match self.header(before) {
            Some(left) if before + left.size == at => {
                self.set_header(before, left.size + size, next);
            }
            _ => {
                self.set_header(at, size, next);
                self.set_next(before, at);
            }
        }
    }

    /// Changes a block's size: in place if it is large enough, else by moving its content to a new
    /// block. Time: O(blocks), and the copy.
    ///
    /// # Errors
    /// The pointer or the old layout is refused as in [`try_deallocate`](Self::try_deallocate), or
    /// the new block can't be allocated. Then the old block is live and unchanged.
    ///
    /// # Safety
    /// If this succeeds, nothing may use the old pointer afterwards.
    pub unsafe fn reallocate(
        &mut self,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        let block = self.find_refusing(ptr, old)?;
        if let Some(size) = block_size(new).filter(|&size| size <= block.size)
            && self.gap_to_align(block.at, new.align()) == 0
        {
            return Ok(self.trim(&block, size));
        }
        let moved = self.allocate(new)?;
        let count = usize::min(old.size(), new.size());
        // SAFETY: both blocks are live, so they don't overlap, and each has at least its layout's
        // size.
        unsafe { ptr.copy_to_nonoverlapping(moved.cast(), count) };
        // SAFETY: the caller doesn't use the old block any more, and its content was copied.
        unsafe { self.try_deallocate(ptr, old)? };
        Ok(moved)
    }

    /// Cuts a used block down to `size` bytes if the rest can hold a block.
    fn trim(&mut self, block: &Found, size: usize) -> NonNull<[u8]> {
        let rest = block.size - size;
        if rest < MIN_BLOCK {
            return self.payload(block.at, block.size);
        }
        self.set_header(block.at, size, END);
        self.coalesce(block.at + size, rest, block.free_before, block.free_after);
        self.count(self.stats.used_bytes.saturating_sub(rest), self.stats.live_blocks);
        self.payload(block.at, size)
    }

    /// The bytes the caller may use at `ptr`. Time: O(blocks).
    ///
    /// # Errors
    /// As for [`try_deallocate`](Self::try_deallocate).
    pub fn usable_size(&self, ptr: NonNull<u8>) -> Result<usize, FreeError> {
        Ok(self.find(ptr)?.size - HEADER)
    }

    /// The largest request in bytes, at an alignment of two words or less, that succeeds now.
    /// Zero if nothing is free. Time: O(blocks).
    pub fn largest_free(&self) -> usize {
        self.blocks()
            .filter(|block| block.state == BlockState::Free)
            .map(|block| block.size_bytes - HEADER)
            .max()
            .unwrap_or(0)
    }

    /// The counters, in O(1). Headers count as part of their blocks.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// The address of the first block: what [`Block::offset_bytes`] counts from.
    pub fn pool_start(&self) -> *const u8 {
        self.base.as_ptr()
    }

    /// Walks the pool in address order. Offsets and sizes are in bytes and include the headers.
    ///
    /// The walk ends early if it meets an overwritten header.
    pub fn blocks(&self) -> impl Iterator<Item = Block> + '_ {
        let (mut at, mut free) = (0, self.first_free);
        core::iter::from_fn(move || {
            let header = self.header(at)?;
            let mut block =
                Block { offset_bytes: at, size_bytes: header.size, state: BlockState::Used };
            if at == free {
                block.state = BlockState::Free;
                free = header.next;
            }
            at += header.size;
            Some(block)
        })
    }

    /// Checks the whole pool: blocks tile it, the free list visits the free blocks in address
    /// order and ends, no two free blocks touch, the counters agree. Any bytes in the pool give an
    /// answer. Time: O(blocks).
    ///
    /// # Errors
    /// Where the first inconsistency was found.
    pub fn check(&self) -> Result<(), CheckError> {
        let (mut end, mut last_free, mut last_free_end) = (0, END, END);
        let (mut used_bytes, mut live_blocks) = (0, 0);
        for block in self.blocks() {
            let at = block.offset_bytes;
            end = at + block.size_bytes;
            if block.state == BlockState::Used {
                used_bytes += block.size_bytes;
                live_blocks += 1;
                continue;
            }
            if last_free_end == at {
                return Err(CheckError::Link { offset_bytes: at });
            }
            (last_free, last_free_end) = (at, end);
        }
        if end != self.len {
            return Err(CheckError::Header { offset_bytes: end });
        }
        if self.next_free(last_free) != END {
            return Err(CheckError::Link {
                offset_bytes: if last_free == END { 0 } else { last_free },
            });
        }
        if (used_bytes, live_blocks) != (self.stats.used_bytes, self.stats.live_blocks) {
            return Err(CheckError::Counters {
                counted_bytes: used_bytes,
                remembered_bytes: self.stats.used_bytes,
            });
        }
        Ok(())
    }

    /// As [`find`](Self::find), for a block that is to be freed or resized: the layout must match
    /// too, and a refusal is counted.
    fn find_refusing(&mut self, ptr: NonNull<u8>, layout: Layout) -> Result<Found, FreeError> {
        let result = self.find(ptr).and_then(|block| {
            let least = block_size(layout).ok_or(FreeError::WrongLayout)?;
            let fits = least <= block.size && block.size - least < MIN_BLOCK;
            if fits && self.gap_to_align(block.at, layout.align()) == 0 {
                Ok(block)
            } else {
                Err(FreeError::WrongLayout)
            }
        });
        if result.is_err() {
            self.stats.refused_frees += 1;
        }
        result
    }

    /// Finds the live block that starts at `ptr`, by walking the pool up to it.
    fn find(&self, ptr: NonNull<u8>) -> Result<Found, FreeError> {
        let offset = ptr.addr().get().wrapping_sub(self.base.addr().get());
        if offset >= self.len {
            return Err(FreeError::OutsidePool);
        }
        let mut free_before = END;
        for block in self.blocks() {
            let (at, size) = (block.offset_bytes, block.size_bytes);
            let is_free = block.state == BlockState::Free;
            if offset < at + size {
                if is_free {
                    return Err(FreeError::AlreadyFree);
                }
                if offset != at + HEADER {
                    return Err(FreeError::NotABlock);
                }
                let free_after = self.next_free(free_before);
                let valid = free_after > at && self.header(free_after).is_some();
                if free_after != END && !valid {
                    return Err(FreeError::Corrupt);
                }
                return Ok(Found { at, size, free_before, free_after });
            }
            if is_free {
                free_before = at;
            }
        }
        Err(FreeError::Corrupt) // the walk broke off: a header was overwritten
    }

    /// The free block after the one at `before`; the first one if `before` is [`END`].
    fn next_free(&self, before: usize) -> usize {
        self.header(before).map_or(self.first_free, |free| free.next)
    }

    /// Makes `next` the free block after the one at `before`; the first one if that is [`END`].
    fn set_next(&mut self, before: usize, next: usize) {
        match self.header(before) {
            Some(free) => self.set_header(before, free.size, next),
            None => self.first_free = next,
        }
    }

    /// Updates the counters. If headers were overwritten they may be wrong, but never inconsistent.
    fn count(&mut self, used_bytes: usize, live_blocks: usize) {
        let stats = &mut self.stats;
        stats.live_blocks = live_blocks;
        stats.used_bytes = used_bytes.min(stats.pool_bytes);
        stats.free_bytes = stats.pool_bytes - stats.used_bytes;
        stats.peak_used_bytes = stats.peak_used_bytes.max(stats.used_bytes);
    }

    // From here on, offsets become pointers.

    /// The header at `at`, if there can be one and its content is possible.
    fn header(&self, at: usize) -> Option<Header> {
        if at >= self.len || !at.is_multiple_of(GRANULE) {
            return None;
        }
        // SAFETY: `at` is a multiple of GRANULE below `len`, which is one too: HEADER bytes at
        // `at` lie in the pool, aligned. They are initialised: headers are read only where an
        // earlier header or link leads, and those lead to headers.
        let header = unsafe { self.base.add(at).cast::<Header>().read() };
        let possible = header.size >= MIN_BLOCK
            && header.size.is_multiple_of(GRANULE)
            && header.size <= self.len - at;
        possible.then_some(header)
    }

    fn set_header(&mut self, at: usize, size: usize, next: usize) {
        // SAFETY: every caller passes the offset of a block that it found in the list or by the
        // walk, or of a part that it cuts from one. So it is aligned, in the pool, and not part of
        // a live block's payload.
        unsafe {
            self.base.add(at).cast::<Header>().write(Header { size, next });
        }
    }

    /// The payload of the block at `at`: everything after the header.
    fn payload(&self, at: usize, size: usize) -> NonNull<[u8]> {
        // SAFETY: a block lies in the pool and is longer than its header.
        let start = unsafe { self.base.add(at + HEADER) };
        NonNull::slice_from_raw_parts(start, size - HEADER)
    }
}

/// A live block and the free blocks before and after it, each [`END`] if there is none.
struct Found {
    at: usize,
    size: usize,
    free_before: usize,
    free_after: usize,
}

/// The block that a request needs: header and payload, in whole granules, one at least.
fn block_size(layout: Layout) -> Option<usize> {
    let payload = layout.size().max(1).checked_next_multiple_of(GRANULE)?;
    payload.checked_add(HEADER)
}
