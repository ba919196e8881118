//! Links: a free block holds the granule numbers of its list's next and previous block in its first bytes.
//!
//! They are hints, never believed: see [`crate::blocks`] for what vouches for them.

use core::ptr::NonNull;

use crate::geometry::Geometry;

/// What a free block's first bytes hold.
#[repr(C)]
pub(crate) struct Node<G: Geometry> {
    pub(crate) next: G::Link,
    pub(crate) prev: G::Link,
}

impl<G: Geometry> Clone for Node<G> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<G: Geometry> Copy for Node<G> {}

/// The pool's first granule.
#[derive(Debug)]
pub(crate) struct Pool<G: Geometry> {
    base: NonNull<u8>,
    geometry: core::marker::PhantomData<G>,
}

impl<G: Geometry> Clone for Pool<G> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<G: Geometry> Copy for Pool<G> {}

impl<G: Geometry> Pool<G> {
    pub(crate) const GRANULE_LOG2: u32 = G::GRANULE_BYTES.ilog2();

    pub(crate) fn new(base: NonNull<u8>) -> Self {
        Self {
            base,
            geometry: core::marker::PhantomData,
        }
    }

    #[inline(always)]
    pub(crate) fn base(self) -> NonNull<u8> {
        self.base
    }

    /// The address of a granule.
    ///
    /// # Safety
    /// `granule` is in the pool.
    #[inline(always)]
    pub(crate) unsafe fn at(self, granule: usize) -> NonNull<u8> {
        // SAFETY: the pool is one allocation, and granule lies in it.
        unsafe { self.base.add(granule << Self::GRANULE_LOG2) }
    }

    /// How far `ptr` lies from the first granule, in bytes; wraps around for pointers below it.
    #[inline(always)]
    pub(crate) fn offset_bytes(self, ptr: NonNull<u8>) -> usize {
        ptr.addr().get().wrapping_sub(self.base.addr().get())
    }

    #[inline(always)]
    fn node(self, granule: usize) -> *mut Node<G> {
        self.base
            .as_ptr()
            .wrapping_add(granule << Self::GRANULE_LOG2)
            .cast()
    }

    /// # Safety
    /// A free block starts at `granule`.
    #[inline(always)]
    pub(crate) unsafe fn next(self, granule: usize) -> G::Link {
        // SAFETY: a free block is at least one granule, aligned for a node, and nobody else's.
        unsafe { (*self.node(granule)).next }
    }

    /// # Safety
    /// A free block starts at `granule`.
    #[inline(always)]
    pub(crate) unsafe fn prev(self, granule: usize) -> G::Link {
        // SAFETY: as above.
        unsafe { (*self.node(granule)).prev }
    }

    /// # Safety
    /// A free block starts at `granule`.
    #[inline(always)]
    pub(crate) unsafe fn set_next(self, granule: usize, link: G::Link) {
        // SAFETY: as above.
        unsafe { (*self.node(granule)).next = link }
    }

    /// # Safety
    /// A free block starts at `granule`.
    #[inline(always)]
    pub(crate) unsafe fn set_prev(self, granule: usize, link: G::Link) {
        // SAFETY: as above.
        unsafe { (*self.node(granule)).prev = link }
    }
}
