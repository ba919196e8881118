//! Memory for pools: pages mapped once, touched before anything is measured.

use std::io;
use std::ptr::{self, NonNull};

/// Anonymous pages from the operating system, given back on drop.
pub struct Region {
    base: NonNull<u8>,
    len_bytes: usize,
}

impl Region {
    /// Maps at least `len_bytes` and touches each page, so that no later measurement pays a page fault.
    ///
    /// # Errors
    /// When the operating system has no such memory.
    pub fn new(len_bytes: usize) -> io::Result<Self> {
        let mut region = Self::untouched(len_bytes)?;
        region.bytes().chunks_mut(4096).for_each(|page| page[0] = 0);
        // Written with something else than zero, or the compiler may drop the store to zeroed pages.
        region.bytes().chunks_mut(4096).for_each(|page| {
            page[0] = std::hint::black_box(1);
        });
        Ok(region)
    }

    /// Maps at least `len_bytes`; a page costs memory only once it is used.
    ///
    /// # Errors
    /// When the operating system has no such address space.
    pub fn untouched(len_bytes: usize) -> io::Result<Self> {
        let len_bytes = len_bytes.max(1).next_multiple_of(4096);
        // SAFETY: a new anonymous mapping; nothing existing is replaced.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { base, len_bytes })
    }

    /// The first byte; page-aligned.
    #[must_use]
    pub fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// The length in bytes.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is ours, readable, writable and zeroed or written by us.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.len_bytes) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `untouched`; no borrow of it outlives `self` by the callers' contract.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len_bytes) };
    }
}
