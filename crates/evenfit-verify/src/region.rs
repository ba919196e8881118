//! Memory for a pool, with surroundings that detect stray accesses.

use core::ptr::NonNull;

use pages::Pages;

#[cfg_attr(not(feature = "std"), path = "region/allocated.rs")]
#[cfg_attr(feature = "std", path = "region/mapped.rs")]
mod pages;

/// The byte around a region; never a value the tests write by themselves.
const CANARY: u8 = 0xC5;

/// Where a region lies between its two inaccessible pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// The first byte lies this many bytes after an inaccessible page.
    AfterGuard(usize),
    /// The last byte lies this many bytes before an inaccessible page.
    BeforeGuard(usize),
}

/// A region with an inaccessible page on each side, if there can be such pages (feature `std`).
///
/// An access beyond the pages stops the process; a write to the few bytes between the region and
/// a page is found by [`Region::surroundings_intact`].
pub struct Region {
    pages: Pages,
    start: usize,
    len_bytes: usize,
}

impl Region {
    /// Maps a region of `len_bytes`, placed as told. Untouched pages cost no memory.
    ///
    /// # Panics
    /// If the system has no address space for it.
    pub fn new(len_bytes: usize, placement: Placement) -> Self {
        let page_bytes = pages::page_bytes();
        let slack = match placement {
            Placement::AfterGuard(slack) | Placement::BeforeGuard(slack) => slack,
        };
        let inner_bytes = (len_bytes + slack).next_multiple_of(page_bytes).max(page_bytes);
        let pages = Pages::new(inner_bytes);
        let start = match placement {
            Placement::AfterGuard(slack) => page_bytes + slack,
            Placement::BeforeGuard(slack) => page_bytes + inner_bytes - slack - len_bytes,
        };
        let region = Self { pages, start, len_bytes };
        for (from, to) in region.margins() {
            // SAFETY: the margins lie in the accessible pages and outside the region.
            unsafe { region.pages.base().add(from).write_bytes(CANARY, to - from) };
        }
        region
    }

    /// The accessible bytes before and after the region, at most a page of each, as offsets in the
    /// mapping.
    fn margins(&self) -> [(usize, usize); 2] {
        let end = self.start + self.len_bytes;
        let open = self.pages.open();
        [
            (open.start.max(self.start.saturating_sub(4096)), self.start),
            (end, open.end.min(end + 4096)),
        ]
    }

    /// The region's first byte.
    pub fn base(&self) -> NonNull<u8> {
        // SAFETY: `start` lies within the pages.
        unsafe { self.pages.base().add(self.start) }
    }

    /// The region's length in bytes.
    pub fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// The region's bytes now.
    ///
    /// # Safety
    /// Nothing may write to the region while the slice lives.
    pub unsafe fn bytes(&self) -> &[u8] {
        // SAFETY: mapped, zeroed by the system at first, and by contract not written meanwhile.
        unsafe { core::slice::from_raw_parts(self.base().as_ptr(), self.len_bytes) }
    }

    /// The region's bytes, to overwrite.
    ///
    /// # Safety
    /// Nothing else may access the region while the slice lives.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn bytes_mut(&self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and by contract exclusive.
        unsafe { core::slice::from_raw_parts_mut(self.base().as_ptr(), self.len_bytes) }
    }

    /// Whether the bytes just outside the region are unchanged.
    pub fn surroundings_intact(&self) -> bool {
        self.margins().into_iter().all(|(from, to)| {
            // SAFETY: accessible, initialised bytes of the mapping that no heap has.
            let margin = unsafe {
                core::slice::from_raw_parts(self.pages.base().add(from).as_ptr(), to - from)
            };
            margin.iter().all(|byte| *byte == CANARY)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lies_where_it_was_told_and_sees_a_stray_write() {
        for (placement, remainder) in
            [(Placement::AfterGuard(3), 3), (Placement::BeforeGuard(0), 4096 - 1001)]
        {
            let region = Region::new(1001, placement);
            assert_eq!(region.base().as_ptr() as usize % 4096, remainder);
            assert!(region.surroundings_intact());
            let margin = match placement {
                Placement::AfterGuard(_) => 1001,
                Placement::BeforeGuard(_) => -1,
            };
            // SAFETY: a byte of the accessible page next to the region.
            unsafe { region.base().as_ptr().offset(margin).write(0) };
            assert!(!region.surroundings_intact());
        }
    }
}
