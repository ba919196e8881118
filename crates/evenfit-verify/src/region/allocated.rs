//! Memory of the allocator, where there is no system to map pages. Nothing stops an access beyond
//! it.

use alloc::alloc::{alloc_zeroed, dealloc, handle_alloc_error};
use core::alloc::Layout;
use core::ops::Range;
use core::ptr::NonNull;

/// So much room on each side of what is asked for stands for an inaccessible page.
const MARGIN_BYTES: usize = 64;

/// Bytes whose alignment is that of a margin.
pub(super) struct Pages {
    base: NonNull<u8>,
    layout: Layout,
}

/// What stands for the length of a page in bytes.
pub(super) fn page_bytes() -> usize {
    MARGIN_BYTES
}

impl Pages {
    /// Allocates `inner_bytes` and a margin on each side.
    pub(super) fn new(inner_bytes: usize) -> Self {
        let bytes = inner_bytes + 2 * MARGIN_BYTES;
        let layout = Layout::from_size_align(bytes, MARGIN_BYTES).expect("a region fits in memory");
        // SAFETY: the layout has a size.
        let Some(base) = NonNull::new(unsafe { alloc_zeroed(layout) }) else {
            handle_alloc_error(layout)
        };
        Self { base, layout }
    }

    /// The first byte.
    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// What can be accessed, in bytes from the base: all of it.
    pub(super) fn open(&self) -> Range<usize> {
        0..self.layout.size()
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, freed once.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}
