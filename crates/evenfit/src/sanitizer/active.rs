//! Tells the sanitizers that the features select.

use core::ptr::NonNull;

#[cfg(feature = "asan")]
use super::asan;
#[cfg(feature = "valgrind")]
use super::valgrind;

/// How many bytes a block may be longer than its request at most. It is large, since a slot that
/// was made smaller in place stays as long as it is.
const ROUNDING_BYTES_MAX: usize = 1024;

/// Calls the same function of every selected sanitizer.
macro_rules! notify {
    ($call:ident($($argument:expr),*)) => {
        #[cfg(feature = "asan")]
        asan::$call($($argument),*);
        #[cfg(feature = "valgrind")]
        valgrind::$call($($argument),*);
    };
}

/// Shortens a slice to the `bytes` that were requested, if a sanitizer is running.
fn trim(block: NonNull<[u8]>, bytes: usize) -> NonNull<[u8]> {
    #[cfg(not(feature = "asan"))]
    if !valgrind::is_running() {
        return block;
    }
    NonNull::slice_from_raw_parts(block.cast(), bytes)
}

/// The pool as the sanitizers know it, as long as its heap lives.
pub(crate) struct SanitizedPool {
    pool: NonNull<u8>,
    bytes: usize,
}

impl SanitizedPool {
    /// Poisons a new pool. A pool without bytes isn't reported.
    pub(crate) fn new(pool: NonNull<u8>, bytes: usize) -> Self {
        if bytes > 0 {
            notify!(pool_built(pool, bytes));
        }
        Self { pool, bytes }
    }

    /// Poisons what was added at the pool's end.
    pub(crate) fn extended(&mut self, added_bytes: usize) {
        notify!(pool_extended(self.pool, self.bytes, added_bytes));
        self.bytes += added_bytes;
    }

    /// Poisons the whole pool again.
    pub(crate) fn reset(&self) {
        notify!(pool_reset(self.pool, self.bytes));
    }

    /// Unpoisons the `bytes` that were requested of a new block, and shortens the slice to them.
    pub(crate) fn allocated(&self, block: NonNull<[u8]>, bytes: usize) -> NonNull<[u8]> {
        notify!(block_allocated(block.cast(), bytes));
        trim(block, bytes)
    }
}

impl Drop for SanitizedPool {
    /// Unpoisons the whole pool, since it belongs to the region's owner again.
    fn drop(&mut self) {
        if self.bytes > 0 {
            notify!(pool_dropped(self.pool, self.bytes));
        }
    }
}

/// A block that a call is about to free or to resize, with the number of its unpoisoned bytes.
pub(crate) struct OldBlock {
    ptr: NonNull<u8>,
    bytes: Option<usize>,
}

impl OldBlock {
    /// `bytes` counts the unpoisoned bytes; `None` if no live block starts there.
    pub(crate) fn new(ptr: NonNull<u8>, bytes: impl FnOnce() -> Option<usize>) -> Self {
        Self { ptr, bytes: bytes() }
    }

    /// Poisons it.
    pub(crate) fn freed(self) {
        if let Some(bytes) = self.bytes {
            notify!(block_freed(self.ptr, bytes));
        }
    }

    /// Poisons it, and unpoisons `bytes` of the block that replaces it. A new block is unpoisoned
    /// already, since its content was copied there.
    pub(crate) fn replaced_by(self, block: NonNull<[u8]>, bytes: usize) -> NonNull<[u8]> {
        let new = block.cast::<u8>();
        if let Some(old_bytes) = self.bytes {
            if new == self.ptr {
                notify!(block_resized(new, old_bytes, bytes));
            } else {
                notify!(block_freed(self.ptr, old_bytes));
                // If it was moved by less than its length, the two overlap.
                let distance_bytes = self.ptr.addr().get().wrapping_sub(new.addr().get());
                if distance_bytes < bytes {
                    notify!(unpoison(new, bytes));
                }
            }
        }
        trim(block, bytes)
    }
}

/// How many of a live block's `usable_bytes` were requested: those that are unpoisoned.
pub(crate) fn requested_bytes(ptr: NonNull<u8>, usable_bytes: usize) -> usize {
    let least_bytes = usable_bytes.saturating_sub(ROUNDING_BYTES_MAX);
    (least_bytes..usable_bytes)
        .rev()
        .find(|&offset| {
            let address = ptr.as_ptr().wrapping_add(offset);
            let mut open = true;
            #[cfg(feature = "asan")]
            {
                open &= asan::is_unpoisoned(address);
            }
            #[cfg(feature = "valgrind")]
            {
                open &= valgrind::is_unpoisoned(address);
            }
            open
        })
        .map_or(least_bytes, |last| last + 1)
}

/// Unpoisons a part of a free block for one access of the heap itself.
#[inline]
pub(crate) fn access_free<T, R>(node: *mut T, access: impl FnOnce() -> R) -> R {
    let Some(start) = NonNull::new(node.cast::<u8>()) else {
        return access();
    };
    notify!(unpoison(start, size_of::<T>()));
    let answer = access();
    notify!(poison(start, size_of::<T>()));
    answer
}

/// An address in the pool as the heap stores it. Otherwise a search for leaks would take it for a
/// pointer of the block's owner.
pub(crate) fn hide(address: *mut u8) -> *mut u8 {
    address.map_addr(|address| !address)
}

/// Unpoisons source and destination of content that the heap is about to move within the pool.
#[cfg(feature = "move-down")]
pub(crate) fn unpoison_move(from: NonNull<u8>, to: NonNull<u8>, bytes: usize) {
    notify!(unpoison(from, bytes));
    notify!(unpoison(to, bytes));
}
