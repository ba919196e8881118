//! Pages of the system, an inaccessible one on each side.

use core::ops::Range;
use core::ptr::NonNull;

/// A mapping whose first and last page can't be accessed.
pub(super) struct Pages {
    base: NonNull<u8>,
    map_bytes: usize,
}

/// The length of a page in bytes.
pub(super) fn page_bytes() -> usize {
    // SAFETY: sysconf reads a constant.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

impl Pages {
    /// Maps `inner_bytes`, a multiple of a page, and the page on each side.
    pub(super) fn new(inner_bytes: usize) -> Self {
        let map_bytes = inner_bytes + 2 * page_bytes();
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
        assert!(map != libc::MAP_FAILED, "no address space for {map_bytes} bytes");
        // SAFETY: the pages between the first and the last of the mapping just made.
        let opened = unsafe {
            libc::mprotect(
                map.byte_add(page_bytes()),
                inner_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
            )
        };
        assert_eq!(opened, 0, "mprotect of {inner_bytes} bytes failed");
        let base = NonNull::new(map.cast()).expect("no mapping lies at null");
        Self { base, map_bytes }
    }

    /// The first byte of the mapping, which can't be accessed.
    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// What can be accessed, in bytes from the base.
    pub(super) fn open(&self) -> Range<usize> {
        page_bytes()..self.map_bytes - page_bytes()
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, unmapped once.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.map_bytes) };
    }
}
