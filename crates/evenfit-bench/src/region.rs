//! Memory for pools: mapped once, and touched before anything is measured.

use std::io;
use std::ptr::{self, NonNull};

/// Anonymous pages from the operating system, unmapped on drop.
///
/// The address is always a multiple of the same power of two, so that figures which depend on
/// addresses repeat. The power is large, since a buddy allocator can use a pool only as far as it
/// is aligned.
pub struct Region {
    mapping: NonNull<u8>,
    mapping_bytes: usize,
    base: NonNull<u8>,
    len_bytes: usize,
}

/// The alignment of every region.
const ALIGN_BYTES: usize = 64 << 20;

impl Region {
    /// Maps at least `len_bytes` and touches each page, so that no measurement includes a page
    /// fault.
    ///
    /// # Errors
    /// When the operating system has no such memory.
    pub fn new(len_bytes: usize) -> io::Result<Self> {
        let mut region = Self::untouched(len_bytes)?;
        region.bytes().chunks_mut(4096).for_each(|page| page[0] = 0);
        // The compiler may remove a store of zero to zeroed pages.
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
        let mapping_bytes = len_bytes + ALIGN_BYTES;
        // SAFETY: a new anonymous mapping; nothing existing is replaced.
        let mapping = unsafe {
            libc::mmap(
                ptr::null_mut(),
                mapping_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if mapping == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mapping: NonNull<u8> =
            NonNull::new(mapping.cast()).ok_or_else(io::Error::last_os_error)?;
        // SAFETY: the mapping is longer than the region by the alignment.
        let base = unsafe { mapping.add(mapping.align_offset(ALIGN_BYTES)) };
        Ok(Self { mapping, mapping_bytes, base, len_bytes })
    }

    /// The first byte; aligned to 64 MiB.
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
        // SAFETY: exactly the mapping made in `untouched`; no borrow of it outlives `self` by the
        // callers' contract.
        unsafe { libc::munmap(self.mapping.as_ptr().cast(), self.mapping_bytes) };
    }
}
