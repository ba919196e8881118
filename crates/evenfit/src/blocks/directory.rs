//! The lengths of long blocks, out of the pool's band.

use core::ptr::NonNull;

use crate::geometry::{Geometry, Length};

/// One entry for as many granules as a long block has at least, so that at most one long block starts among them: its length.
///
/// An entry counts only where the map shows that a long block starts; so it may be stale elsewhere, and is never cleared.
#[derive(Clone, Copy)]
pub(crate) struct Directory<G: Geometry> {
    entries: NonNull<G::Length>,
}

impl<G: Geometry> Directory<G> {
    pub(crate) const fn bytes(granules: usize) -> usize {
        (granules / G::SHORT_END + 1) * size_of::<G::Length>()
    }

    /// # Safety
    /// So many bytes as `bytes` says are the directory's alone, as long as it is used.
    pub(crate) const unsafe fn new(entries: NonNull<G::Length>) -> Self {
        Self { entries }
    }

    pub(crate) fn start(self) -> NonNull<G::Length> {
        self.entries
    }

    #[inline(always)]
    fn entry(self, granule: usize) -> *mut G::Length {
        self.entries.as_ptr().wrapping_add(granule / G::SHORT_END)
    }

    /// # Safety
    /// The granule lies in the pool.
    #[inline(always)]
    pub(crate) unsafe fn len_at(self, granule: usize) -> usize {
        // SAFETY: each granule of the pool has an entry.
        unsafe { *self.entry(granule) }.unpack()
    }

    /// # Safety
    /// As for `len_at`; a block of so many granules starts there, a slab's or a long one.
    #[inline(always)]
    pub(crate) unsafe fn set_len(self, granule: usize, len: usize) {
        // SAFETY: as above.
        unsafe { *self.entry(granule) = G::Length::pack(len) }
    }
}
