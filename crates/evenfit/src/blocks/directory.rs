//! The lengths of long blocks, outside of the pool.

use core::ptr::NonNull;

use crate::geometry::{Geometry, Length};

/// One entry for each `SHORT_END` granules, the length of the shortest long block. So at most one
/// long block starts among the granules of an entry, and the entry is its length.
///
/// An entry is valid only if the map shows that a long block starts among its granules. So entries
/// are never cleared.
#[derive(Clone, Copy)]
pub(crate) struct Directory<G: Geometry> {
    entries: NonNull<G::Length>,
}

impl<G: Geometry> Directory<G> {
    pub(crate) const fn bytes(granules: usize) -> usize {
        (granules / G::SHORT_END + 1) * size_of::<G::Length>()
    }

    /// # Safety
    /// The bytes that [`bytes`](Self::bytes) counts are used by this directory alone, as long as it
    /// is used.
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
    /// The granule is one of those that the directory was made for.
    #[inline(always)]
    pub(crate) unsafe fn len_at(self, granule: usize) -> usize {
        // SAFETY: as promised by the caller, so it has an entry.
        unsafe { *self.entry(granule) }.unpack()
    }

    /// # Safety
    /// As for `len_at`. A slab or a long block of `len` granules starts there.
    #[inline(always)]
    pub(crate) unsafe fn set_len(self, granule: usize, len: usize) {
        debug_assert!(len >= G::SHORT_END);
        // SAFETY: as in `len_at`.
        unsafe { *self.entry(granule) = G::Length::pack(len) }
    }
}
