//! What the malloc family does while a fork holds the pool.
//!
//! `fork` must copy the pool between two operations, so the pool is locked over the whole of it.
//! Meanwhile the C library takes locks of its own (of all streams, of the name services), whose
//! holders may be waiting for memory. Waiting for the pool without an end would then be a deadlock.
//! So after a while a thread goes on without it: it allocates from a reserve beside the pool, and
//! what it frees is freed when the fork is over.
//!
//! The reserve is a region from which blocks are cut in a row. Once all of them are freed it begins
//! anew. One word holds both counts, so the child of the fork finds it whole at any moment.

use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// Address space that is taken only as it is used.
const RESERVE_BYTES: usize = 64 << 20;
/// Blocks are multiples of this, with their length in front.
const UNIT_BYTES: usize = 16;
const ONE_LIVE: u64 = 1 << 32;

pub struct Reserve {
    start: AtomicPtr<u8>,
    /// Live blocks in the upper half; units cut off in the lower.
    state: AtomicU64,
    /// Blocks of the pool that are to be freed.
    freed: AtomicPtr<Freed>,
}

/// A block of the pool to be freed. Lies in the reserve.
struct Freed {
    block: NonNull<u8>,
    next: *mut Freed,
}

impl Reserve {
    pub const fn new() -> Self {
        Self {
            start: AtomicPtr::new(ptr::null_mut()),
            state: AtomicU64::new(0),
            freed: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Maps the region. Without it, waiting goes on.
    pub fn map(&self) {
        // SAFETY: an anonymous mapping at an address of the kernel's choice.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                RESERVE_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if start != libc::MAP_FAILED {
            self.start.store(start.cast(), Ordering::Relaxed);
        }
    }

    /// A block of `bytes` bytes at a multiple of `align_bytes`, a power of two, if there is room.
    pub fn allocate(&self, align_bytes: usize, bytes: usize) -> Option<NonNull<u8>> {
        let start = NonNull::new(self.start.load(Ordering::Relaxed))?;
        let padding = align_bytes.max(UNIT_BYTES) - UNIT_BYTES;
        let wanted =
            bytes.checked_add(UNIT_BYTES + padding)?.checked_next_multiple_of(UNIT_BYTES)?;
        if wanted > RESERVE_BYTES {
            return None;
        }
        let units = (wanted / UNIT_BYTES) as u64;
        let cut = |state: u64| {
            let end = (state & (ONE_LIVE - 1)) + units;
            (end as usize * UNIT_BYTES <= RESERVE_BYTES).then_some(state + ONE_LIVE + units)
        };
        let before = self.state.fetch_update(Ordering::AcqRel, Ordering::Relaxed, cut).ok()?;
        let offset = (before & (ONE_LIVE - 1)) as usize * UNIT_BYTES;
        // SAFETY: the units are this call's alone, and have room for the length, the padding and
        // the block.
        unsafe {
            let first = start.add(offset + UNIT_BYTES);
            let block = first.add(first.as_ptr().align_offset(align_bytes.max(UNIT_BYTES)));
            block.cast::<usize>().sub(1).write(bytes);
            Some(block)
        }
    }

    pub fn contains(&self, block: NonNull<u8>) -> bool {
        let start = self.start.load(Ordering::Relaxed).addr();
        start != 0 && block.addr().get().wrapping_sub(start) < RESERVE_BYTES
    }

    /// The length that a block was allocated with.
    ///
    /// # Safety
    /// A live block of the reserve.
    pub unsafe fn size(&self, block: NonNull<u8>) -> usize {
        // SAFETY: written by `allocate`.
        unsafe { block.cast::<usize>().sub(1).read() }
    }

    /// Frees a block. A block that is freed twice isn't noticed.
    pub fn free(&self) {
        let before = self.state.fetch_sub(ONE_LIVE, Ordering::AcqRel);
        if before >> 32 == 1 {
            let alone = before - ONE_LIVE;
            // Unless another block has been cut off meanwhile.
            let _ = self.state.compare_exchange(alone, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Notes that a block of the pool is to be freed; false if there is no room for the note.
    pub fn free_later(&self, block: NonNull<u8>) -> bool {
        let Some(note) = self.allocate(UNIT_BYTES, size_of::<Freed>()) else { return false };
        let note = note.cast::<Freed>();
        let mut next = self.freed.load(Ordering::Relaxed);
        loop {
            // SAFETY: the note is this call's alone, and large enough.
            unsafe { note.write(Freed { block, next }) };
            let (new, order) = (note.as_ptr(), Ordering::SeqCst);
            match self.freed.compare_exchange(next, new, order, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(other) => next = other,
            }
        }
    }

    /// Hands over each block that was to be freed.
    pub fn take_freed(&self, mut free: impl FnMut(NonNull<u8>)) {
        if self.freed.load(Ordering::SeqCst).is_null() {
            return;
        }
        let mut note = self.freed.swap(ptr::null_mut(), Ordering::SeqCst);
        // SAFETY: notes that nobody else knows any more.
        while let Some(Freed { block, next }) = unsafe { note.as_ref() } {
            let (block, following) = (*block, *next);
            self.free();
            free(block);
            note = following;
        }
    }
}
