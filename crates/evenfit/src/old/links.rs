//! Links: a free block holds the granule numbers of its list's next and previous block in its first bytes, and the
//! same once more, disguised, as a *seal*.
//!
//! ```text
//!   | next | prev | next ^ SEAL | prev ^ SEAL |  ... free ...
//! ```
//!
//! They lie where a write after free can reach them, so none is followed before the seal was compared: no change of
//! the links alone, of the seal alone, and no filling with one value passes. Links and seal are halves that don't mix,
//! so a neighbour's link is written without being read.

use core::ptr::NonNull;

use crate::old::geometry::{Geometry, Link};
use crate::old::watch;

/// What a free block's first bytes hold.
#[repr(C)]
pub(crate) struct Node<G: Geometry> {
    links: [G::Link; 2],
    seal: [G::Link; 2],
}

const NEXT: usize = 0;
const PREV: usize = 1;

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

    /// The links of the free block at `granule`: next and previous.
    ///
    /// # Safety
    /// `granule` is in the pool, and not part of a used block.
    #[inline(always)]
    pub(crate) unsafe fn links(self, granule: usize) -> (usize, usize) {
        // SAFETY: a free block is at least one granule, aligned for a node, and nobody else's.
        let [next, prev] = watch::own(self.node(granule), || unsafe {
            (*self.node(granule)).links
        });
        (next.unpack(), prev.unpack())
    }

    /// Whether the links of the free block at `granule` are as they were written.
    ///
    /// # Safety
    /// As for `links`.
    #[inline(always)]
    pub(crate) unsafe fn is_sealed(self, granule: usize) -> bool {
        let node = self.node(granule);
        // SAFETY: as above.
        watch::own(node, || unsafe {
            G::Link::is_seal_of(&raw const (*node).links, &raw const (*node).seal)
        })
    }

    /// # Safety
    /// As for `links`.
    #[inline(always)]
    pub(crate) unsafe fn set_next(self, granule: usize, link: G::Link) {
        // SAFETY: as above.
        unsafe { self.set::<NEXT>(granule, link) }
    }

    /// # Safety
    /// As for `links`.
    #[inline(always)]
    pub(crate) unsafe fn set_prev(self, granule: usize, link: G::Link) {
        // SAFETY: as above.
        unsafe { self.set::<PREV>(granule, link) }
    }

    /// # Safety
    /// As for `links`.
    #[inline(always)]
    unsafe fn set<const WHICH: usize>(self, granule: usize, link: G::Link) {
        let node = self.node(granule);
        // SAFETY: as above.
        watch::own(node, || unsafe {
            (*node).links[WHICH] = link;
            (*node).seal[WHICH] = link.sealed();
        })
    }
}
