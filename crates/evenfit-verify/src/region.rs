//! Memory for a pool whose surroundings notice a stray access.

use core::ptr::NonNull;

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

/// A region with an inaccessible page on each side.
///
/// An access beyond the pages stops the process; a write to the few bytes between the region and
/// a page is found by [`Region::surroundings_intact`].
pub struct Region {
    map: *mut u8,
    map_bytes: usize,
    page_bytes: usize,
    start: usize,
    len_bytes: usize,
}

impl Region {
    /// Maps a region of `len_bytes`, placed as told. Untouched pages cost no memory.
    ///
    /// # Panics
    /// If the system has no address space for it.
    pub fn new(len_bytes: usize, placement: Placement) -> Self {
        // SAFETY: sysconf reads a constant.
        let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let slack = match placement {
            Placement::AfterGuard(slack) | Placement::BeforeGuard(slack) => slack,
        };
        let inner_bytes = (len_bytes + slack)
            .next_multiple_of(page_bytes)
            .max(page_bytes);
        let map_bytes = inner_bytes + 2 * page_bytes;
        // SAFETY: a fresh private mapping; no existing memory is named.
        let map = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                map_bytes,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        assert!(
            map != libc::MAP_FAILED,
            "no address space for {map_bytes} bytes"
        );
        let map = map.cast::<u8>();
        // SAFETY: the pages between the first and the last of the mapping just made.
        let opened = unsafe {
            libc::mprotect(
                map.add(page_bytes).cast(),
                inner_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
            )
        };
        assert_eq!(opened, 0, "mprotect of {inner_bytes} bytes failed");
        let start = match placement {
            Placement::AfterGuard(slack) => page_bytes + slack,
            Placement::BeforeGuard(slack) => page_bytes + inner_bytes - slack - len_bytes,
        };
        let region = Self {
            map,
            map_bytes,
            page_bytes,
            start,
            len_bytes,
        };
        for (from, to) in region.margins() {
            // SAFETY: the margins lie in the open pages and outside the region.
            unsafe { map.add(from).write_bytes(CANARY, to - from) };
        }
        region
    }

    /// The open bytes before and after the region, at most a page of each, as offsets in the map.
    fn margins(&self) -> [(usize, usize); 2] {
        let end = self.start + self.len_bytes;
        let open_end = self.map_bytes - self.page_bytes;
        [
            (
                self.page_bytes.max(self.start.saturating_sub(4096)),
                self.start,
            ),
            (end, open_end.min(end + 4096)),
        ]
    }

    /// The region's first byte.
    pub fn base(&self) -> NonNull<u8> {
        // SAFETY: `start` lies within the mapping, which is not null.
        unsafe { NonNull::new_unchecked(self.map.add(self.start)) }
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

    /// Whether the bytes just outside the region still hold what was put there.
    pub fn surroundings_intact(&self) -> bool {
        self.margins().into_iter().all(|(from, to)| {
            // SAFETY: open, initialised bytes of the mapping that no heap was given.
            let margin = unsafe { core::slice::from_raw_parts(self.map.add(from), to - from) };
            margin.iter().all(|byte| *byte == CANARY)
        })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, unmapped once.
        unsafe { libc::munmap(self.map.cast(), self.map_bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lies_where_it_was_told_and_sees_a_stray_write() {
        for (placement, remainder) in [
            (Placement::AfterGuard(3), 3),
            (Placement::BeforeGuard(0), 4096 - 1001),
        ] {
            let region = Region::new(1001, placement);
            assert_eq!(region.base().as_ptr() as usize % 4096, remainder);
            assert!(region.surroundings_intact());
            let margin = match placement {
                Placement::AfterGuard(_) => 1001,
                Placement::BeforeGuard(_) => -1,
            };
            // SAFETY: a byte of the open page next to the region.
            unsafe { region.base().as_ptr().offset(margin).write(0) };
            assert!(!region.surroundings_intact());
        }
    }
}
