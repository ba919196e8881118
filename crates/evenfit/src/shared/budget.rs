//! A named quota of a shared pool.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::{SharedHeap, copy_and_free};
use crate::blocks::Pool;
use crate::geometry::Geometry;
use crate::heap::{Heap, zeroed};
use crate::sync::{AtomicUsize, Ordering};
use crate::{AllocError, FreeError, ReallocError, Resized, misuse};

/// A share of a pool: all blocks allocated through it take at most `limit_bytes` of the pool, so
/// that they leave room for others. Every operation adds O(1) to the heap's.
///
/// Blocks are charged with their size as the heap rounds it. A request beyond the limit fails with
/// [`AllocError::OutOfMemory`] and doesn't call the heap's out-of-memory hook.
///
/// ```
/// use core::alloc::Layout;
/// use evenfit::StaticHeap;
///
/// static HEAP: StaticHeap<{ 64 * 1024 }> = StaticHeap::new();
///
/// let textures = HEAP.budget("textures", 4096);
/// let layout = Layout::new::<[u8; 3000]>();
/// let first = textures.allocate(layout).expect("within the budget");
/// assert!(textures.allocate(layout).is_err(), "2 x 3000 is more than 4096");
/// assert!(HEAP.allocate(layout).is_ok(), "the pool itself has room");
/// assert_eq!(textures.stats().failed_requests, 1);
/// // SAFETY: allocated above through this budget with this layout.
/// unsafe { textures.deallocate(first.cast(), layout) };
/// assert_eq!(textures.stats().used_bytes, 0);
/// ```
///
/// The sum of the limits may exceed the pool. Then the budgets compete, each within its limit. A
/// block must be freed through the budget that it came from, since blocks don't record their
/// budget.
pub struct Budget<'heap, H: SharedHeap> {
    heap: &'heap H,
    name: &'static str,
    limit_bytes: usize,
    // Written only under the heap's lock. They are atomics so that they can be read without it.
    used_bytes: AtomicUsize,
    peak_used_bytes: AtomicUsize,
    live_blocks: AtomicUsize,
    failed_requests: AtomicUsize,
}

/// A budget's counters: bytes as the heap rounds them, and numbers of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BudgetStats {
    /// The name the budget was given.
    pub name: &'static str,
    /// The most bytes its blocks may take at once.
    pub limit_bytes: usize,
    /// Bytes its live blocks take now.
    pub used_bytes: usize,
    /// The most bytes its live blocks ever took at once.
    pub peak_used_bytes: usize,
    /// How many of its blocks are live.
    pub live_blocks: usize,
    /// Requests that failed, because of the limit or since the pool has no room.
    pub failed_requests: usize,
}

impl<'heap, H: SharedHeap> Budget<'heap, H> {
    pub(super) const fn new(heap: &'heap H, name: &'static str, limit_bytes: usize) -> Self {
        Self {
            heap,
            name,
            limit_bytes,
            used_bytes: AtomicUsize::new(0),
            peak_used_bytes: AtomicUsize::new(0),
            live_blocks: AtomicUsize::new(0),
            failed_requests: AtomicUsize::new(0),
        }
    }

    /// Allocates within the budget. O(1).
    ///
    /// # Errors
    /// [`AllocError::TooLarge`] if the request exceeds the whole budget,
    /// [`AllocError::OutOfMemory`] if it exceeds what is left of it; else as for the heap.
    pub fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        self.heap
            .with_heap(|heap| {
                self.allocate_within(heap, layout).inspect_err(|_| add(&self.failed_requests, 1))
            })
            .unwrap_or(Err(AllocError::OutOfMemory))
    }

    /// Allocates within the budget and zeroes all of the block, outside the lock. O(1) and one
    /// write of the block.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate).
    pub fn allocate_zeroed(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        self.allocate(layout).map(zeroed)
    }

    /// Frees a block of this budget. A refused pointer is reported to the misuse hook. O(1).
    ///
    /// # Safety
    /// `ptr` came from this budget with this `layout`, is live, and is not used after the call.
    pub unsafe fn deallocate(&self, ptr: NonNull<u8>, layout: Layout) {
        // SAFETY: as promised by the caller.
        if let Err(error) = unsafe { self.try_deallocate(ptr, layout) } {
            misuse::report(error, ptr, Some(layout));
        }
    }

    /// Frees a block of this budget, or says why the pointer is refused. O(1).
    ///
    /// # Errors
    /// [`FreeError`]; then heap and budget are unchanged.
    ///
    /// # Safety
    /// If `ptr` is the start of a live block of this budget, nothing uses that block after the
    /// call.
    pub unsafe fn try_deallocate(&self, ptr: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        let free = |heap: &mut Heap<'_, H::Tiers, H::Geometry>| {
            let charged_bytes = heap.usable_size(ptr).unwrap_or(0);
            // SAFETY: as promised by the caller.
            unsafe { heap.try_deallocate(ptr, layout) }?;
            self.refund_bytes(charged_bytes);
            subtract(&self.live_blocks, 1);
            Ok(())
        };
        self.heap.with_heap(free).unwrap_or(Err(FreeError::OutsidePool))
    }

    /// Changes the layout of a block of this budget: in place if possible, else in a new block.
    /// While a block moves, both are charged. O(1) but for the copy, which is made outside the
    /// lock, except in a pool without room for a new block, where the block moves down over itself.
    ///
    /// # Safety
    /// `ptr` came from this budget with layout `old`, is live, and nothing else uses it during the
    /// call. After `Ok` only the returned block may be used.
    ///
    /// # Errors
    /// [`ReallocError`]; then the old block is live and unchanged.
    pub unsafe fn reallocate(
        &self,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        let resize = |heap: &mut Heap<'_, H::Tiers, H::Geometry>| {
            // SAFETY: as promised by the caller.
            unsafe { self.resize(heap, ptr, old, new) }
                .inspect_err(|_| add(&self.failed_requests, 1))
        };
        let resized = self.heap.with_heap(resize).unwrap_or(Err(FreeError::OutsidePool.into()))?;
        match resized {
            Resized::Done(block) => Ok(block),
            // SAFETY: as promised by the caller, the old block is live. The new one was just
            // allocated from this budget.
            Resized::Elsewhere { block, .. } => unsafe {
                copy_and_free(block, ptr, old, new, |ptr, layout| self.try_deallocate(ptr, layout))
            },
        }
    }

    /// The budget's counters. O(1), without the lock: each is exact, but another thread may change
    /// one before the next is read.
    pub fn stats(&self) -> BudgetStats {
        BudgetStats {
            name: self.name,
            limit_bytes: self.limit_bytes,
            used_bytes: self.used(),
            peak_used_bytes: self.peak_used_bytes.load(Ordering::Relaxed),
            live_blocks: self.live_blocks.load(Ordering::Relaxed),
            failed_requests: self.failed_requests.load(Ordering::Relaxed),
        }
    }
}

impl<H: SharedHeap> Budget<'_, H> {
    /// The part of a reallocation that needs the lock.
    ///
    /// # Safety
    /// `ptr` is live in `heap` with layout `old`, and only the caller uses it.
    unsafe fn resize(
        &self,
        heap: &mut Heap<'_, H::Tiers, H::Geometry>,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<Resized, ReallocError> {
        let before_bytes = heap.usable_size(ptr)?;
        self.admit(new.size(), before_bytes)?;
        // SAFETY: as promised by the caller.
        match unsafe { heap.resize_in_place(ptr, old, new) } {
            Ok(block) => {
                let after_bytes = heap.usable_size(ptr)?;
                if let Err(error) = self.admit(after_bytes, before_bytes) {
                    // The rounded size exceeds the limit, so the block gets its old size again.
                    // Making a block smaller never fails.
                    // SAFETY: it is live with the layout `new`, and as promised by the caller
                    // nothing else uses it.
                    let _ = unsafe { heap.resize_in_place(ptr, new, old) };
                    return Err(error.into());
                }
                self.refund_bytes(before_bytes);
                self.charge_bytes(after_bytes);
                return Ok(Resized::Done(block));
            }
            Err(ReallocError::Alloc(AllocError::OutOfMemory)) => {}
            Err(error) => return Err(error),
        }
        self.admit(new.size(), 0)?;
        if let Some(block) = heap.allocate_uncounted(new) {
            let block = self.charge_block(heap, block, new)?;
            return Ok(Resized::Elsewhere { block, old_bytes: old.size() });
        }
        // Only the heap itself can use the last resort, which needs no room but the block's own and
        // what is beside it.
        let granules = Pool::<H::Geometry>::granules(new.size());
        // A block may hold one granule more than was asked for.
        let after_bytes_max = (granules + 1) * <H::Geometry as Geometry>::GRANULE_BYTES;
        self.admit(after_bytes_max, before_bytes)?;
        // SAFETY: as promised by the caller.
        let block = unsafe { heap.reallocate(ptr, old, new) }?;
        self.refund_bytes(before_bytes);
        self.charge_bytes(heap.usable_size(block.cast())?);
        Ok(Resized::Done(block))
    }

    /// Allocates a block and charges it, or refuses what exceeds the limit.
    fn allocate_within(
        &self,
        heap: &mut Heap<'_, H::Tiers, H::Geometry>,
        layout: Layout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        self.admit(layout.size(), 0)?;
        let block = heap.allocate(layout)?;
        self.charge_block(heap, block, layout)
    }

    /// Charges a new block, or frees it again if its rounded size exceeds the limit.
    fn charge_block(
        &self,
        heap: &mut Heap<'_, H::Tiers, H::Geometry>,
        block: NonNull<[u8]>,
        layout: Layout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        let bytes = heap.usable_size(block.cast()).unwrap_or(block.len());
        if let Err(error) = self.admit(bytes, 0) {
            // SAFETY: it was just allocated with this layout, and nobody uses it.
            unsafe { heap.deallocate(block.cast(), layout) };
            return Err(error);
        }
        self.charge_bytes(bytes);
        add(&self.live_blocks, 1);
        Ok(block)
    }

    /// Whether `more_bytes` fit in the budget after `less_bytes` were freed.
    fn admit(&self, more_bytes: usize, less_bytes: usize) -> Result<(), AllocError> {
        if more_bytes > self.limit_bytes {
            return Err(AllocError::TooLarge);
        }
        let kept_bytes = self.used().saturating_sub(less_bytes);
        if more_bytes > self.limit_bytes - kept_bytes.min(self.limit_bytes) {
            return Err(AllocError::OutOfMemory);
        }
        Ok(())
    }

    fn used(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed).min(self.limit_bytes)
    }

    fn charge_bytes(&self, bytes: usize) {
        add(&self.used_bytes, bytes);
        let used_bytes = self.used_bytes.load(Ordering::Relaxed);
        if used_bytes > self.peak_used_bytes.load(Ordering::Relaxed) {
            self.peak_used_bytes.store(used_bytes, Ordering::Relaxed);
        }
    }

    fn refund_bytes(&self, bytes: usize) {
        subtract(&self.used_bytes, bytes);
    }
}

/// Adds to a counter. It is written only under the heap's lock, so this needs no atomic
/// read-modify-write, which some targets don't have.
fn add(counter: &AtomicUsize, amount: usize) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}

/// Subtracts from a counter, as [`add`] adds. It doesn't wrap if a block of another budget is freed
/// here.
fn subtract(counter: &AtomicUsize, amount: usize) {
    counter.store(counter.load(Ordering::Relaxed).saturating_sub(amount), Ordering::Relaxed);
}
