//! The pool: the addresses of granules, and the links and footers in free blocks.

use core::marker::PhantomData;
use core::ptr::NonNull;

use crate::{geometry::Geometry, sanitizer};

/// The number of a granule in a link, or the mark of a list's end: see [`end_mark`].
pub(crate) type Link = u32;

/// The first 8 bytes of a listed free block.
#[derive(Clone, Copy)]
#[repr(C)]
struct Links {
    next: Link,
    prev: Link,
}

/// The link that stands for "none" in the first and the last block of a bin's list. No granule has
/// such a number. All ones is no mark, since no block belongs to bin 0.
#[inline(always)]
pub(super) fn end_mark(bin: usize) -> Link {
    !(bin as Link)
}

/// The granules that blocks are cut from. Copies refer to the same memory.
#[derive(Clone, Copy)]
pub(crate) struct Pool<G> {
    base: NonNull<u8>,
    geometry: PhantomData<G>,
}

impl<G: Geometry> Pool<G> {
    const GRANULE_LOG2: u32 = G::GRANULE_BYTES.ilog2();

    pub(crate) const fn new(base: NonNull<u8>) -> Self {
        Self { base, geometry: PhantomData }
    }

    pub(crate) fn base(self) -> NonNull<u8> {
        self.base
    }

    /// The address of a granule, or of the pool's end.
    #[inline(always)]
    pub(crate) fn at(self, granule: usize) -> *mut u8 {
        self.base.as_ptr().wrapping_add(granule << Self::GRANULE_LOG2)
    }

    /// As [`at`](Self::at).
    ///
    /// # Safety
    /// The granule lies in the pool, or is its end.
    #[inline(always)]
    pub(crate) unsafe fn block_at(self, granule: usize) -> NonNull<u8> {
        // SAFETY: as promised by the caller, it is an address of the pool, so not null.
        unsafe { NonNull::new_unchecked(self.at(granule)) }
    }

    /// The memory of a block of `len` granules.
    ///
    /// # Safety
    /// The block lies in the pool.
    #[inline(always)]
    pub(crate) unsafe fn slice(self, start: usize, len: usize) -> NonNull<[u8]> {
        // SAFETY: as promised by the caller.
        let ptr = unsafe { self.block_at(start) };
        NonNull::slice_from_raw_parts(ptr, len << Self::GRANULE_LOG2)
    }

    /// The granule that starts at an address. If none does, a number beyond any pool: the low bits
    /// of the offset, which must be 0, become its highest bits.
    #[inline(always)]
    pub(crate) fn granule_at(self, ptr: NonNull<u8>) -> usize {
        self.offset_bytes(ptr).rotate_right(Self::GRANULE_LOG2)
    }

    /// How far an address lies behind the pool's start; wraps for those before it.
    #[inline(always)]
    pub(crate) fn offset_bytes(self, ptr: NonNull<u8>) -> usize {
        ptr.addr().get().wrapping_sub(self.base.addr().get())
    }

    /// How many granules a request of `bytes` bytes needs.
    #[inline(always)]
    pub(crate) fn granules(bytes: usize) -> usize {
        // A layout's size is at most isize::MAX, so the sum can't overflow.
        let rounded = (bytes + (G::ALIGN_BYTES - 1)) >> Self::GRANULE_LOG2;
        let granules = rounded & !(Self::GRANULES_ALIGN - 1);
        granules.max(super::GRANULES_MIN)
    }

    /// Blocks start at multiples of this many granules.
    pub(crate) const GRANULES_ALIGN: usize = G::ALIGN_BYTES / G::GRANULE_BYTES;

    #[inline(always)]
    fn links(self, granule: usize) -> *mut Links {
        self.at(granule).cast()
    }

    /// # Safety
    /// The granule lies in the pool.
    #[inline(always)]
    pub(super) unsafe fn next(self, granule: usize) -> Link {
        let links = self.links(granule);
        // SAFETY: as promised by the caller; any eight bytes are valid links.
        sanitizer::access_free(links, || unsafe { (*links).next })
    }

    /// # Safety
    /// As for `next`.
    #[inline(always)]
    pub(super) unsafe fn prev(self, granule: usize) -> Link {
        let links = self.links(granule);
        // SAFETY: as in `next`.
        sanitizer::access_free(links, || unsafe { (*links).prev })
    }

    /// # Safety
    /// A free block starts at the granule.
    #[inline(always)]
    pub(super) unsafe fn set_next(self, granule: usize, next: Link) {
        let links = self.links(granule);
        // SAFETY: as promised by the caller, the block is free, so its memory is the heap's (I2).
        sanitizer::access_free(links, || unsafe { (*links).next = next });
    }

    /// # Safety
    /// As for `set_next`.
    #[inline(always)]
    pub(super) unsafe fn set_prev(self, granule: usize, prev: Link) {
        let links = self.links(granule);
        // SAFETY: as in `set_next`.
        sanitizer::access_free(links, || unsafe { (*links).prev = prev });
    }

    #[inline(always)]
    fn footer(self, end: usize) -> *mut u32 {
        self.at(end).wrapping_sub(8).cast()
    }

    /// The length in the footer of the free block that ends at a granule, in granules.
    ///
    /// # Safety
    /// A block ends at the granule.
    #[inline(always)]
    pub(super) unsafe fn footer_of(self, end: usize) -> usize {
        let footer = self.footer(end);
        // SAFETY: as promised by the caller, these are the last eight bytes of a block.
        sanitizer::access_free(footer, || unsafe { *footer }) as usize
    }

    /// # Safety
    /// A free block of `granules` granules ends at `end`.
    #[inline(always)]
    pub(super) unsafe fn set_footer(self, end: usize, granules: usize) {
        debug_assert!(granules >= super::GRANULES_MIN && granules <= G::GRANULES_MAX);
        let footer = self.footer(end);
        // SAFETY: as promised by the caller, the block is free, so its memory is the heap's (I2).
        sanitizer::access_free(footer, || unsafe { *footer = granules as u32 });
    }

    /// The last eight bytes of the block that ends at a granule, as its owner has written them.
    ///
    /// # Safety
    /// A block ends at the granule.
    #[cfg(feature = "move-down")]
    pub(super) unsafe fn last_bytes_of(self, end: usize) -> core::mem::MaybeUninit<u64> {
        let bytes = self.footer(end).cast();
        // SAFETY: as promised by the caller, these are the last eight bytes of a block.
        sanitizer::access_free(bytes, || unsafe { *bytes })
    }

    /// # Safety
    /// As for `last_bytes_of`.
    #[cfg(feature = "move-down")]
    pub(super) unsafe fn set_last_bytes(self, end: usize, last: core::mem::MaybeUninit<u64>) {
        let bytes = self.footer(end).cast();
        // SAFETY: as in `last_bytes_of`.
        sanitizer::access_free(bytes, || unsafe { *bytes = last });
    }

    /// Copies the content of a block downwards. Source and destination may overlap.
    ///
    /// # Safety
    /// `bytes` bytes from both granules on lie in the pool, and in blocks of the caller. `to` is
    /// below `from`.
    #[cfg(feature = "move-down")]
    pub(super) unsafe fn copy_down(self, from: usize, to: usize, bytes: usize) {
        debug_assert!(to < from);
        #[cfg(target_pointer_width = "64")]
        // SAFETY: as promised by the caller.
        unsafe {
            self.at(to).copy_from(self.at(from), bytes);
        }
        // Copying word by word takes 700 bytes of code less than `memmove` on a Cortex-M4. `opaque`
        // keeps the compiler from turning the loop into a call of `memmove`.
        #[cfg(not(target_pointer_width = "64"))]
        for word in 0..bytes.div_ceil(size_of::<usize>()) {
            let from = self.at(from).cast::<core::mem::MaybeUninit<usize>>().wrapping_add(word);
            let to =
                crate::opaque::opaque(self.at(to).addr()) as *mut core::mem::MaybeUninit<usize>;
            // SAFETY: as promised by the caller. Blocks are whole granules, and so whole words.
            unsafe { *to.wrapping_add(word) = *from };
        }
    }
}
