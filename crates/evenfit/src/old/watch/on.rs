//! Tells whoever watches; the features decide who.

use core::ptr::NonNull;

use crate::old::slab::LIMIT_BYTES;
use crate::{Geometry, Heap};

#[cfg(feature = "asan")]
use super::asan;
#[cfg(feature = "valgrind")]
use super::valgrind;

/// A block is at most so much longer than what was asked for, in bytes: a slot that was made smaller in place stays.
const ROUNDING_BYTES_MAX: usize = LIMIT_BYTES;

/// Calls the same function of every watcher there is.
macro_rules! tell {
    ($call:ident($($argument:expr),*)) => {
        #[cfg(feature = "asan")]
        asan::$call($($argument),*);
        #[cfg(feature = "valgrind")]
        valgrind::$call($($argument),*);
    };
}

/// Cuts a slice to the `bytes` that were asked for, where anybody watches.
fn cut(block: NonNull<[u8]>, bytes: usize) -> NonNull<[u8]> {
    #[cfg(not(feature = "asan"))]
    if !valgrind::is_running() {
        return block;
    }
    NonNull::slice_from_raw_parts(block.cast(), bytes)
}

/// The pool that is watched, as long as its heap lives.
pub(crate) struct Watch {
    pool: NonNull<u8>,
    bytes: usize,
}

impl Watch {
    /// Closes a new pool.
    pub(crate) fn over(pool: NonNull<u8>, bytes: usize) -> Self {
        tell!(pool_built(pool, bytes));
        Self { pool, bytes }
    }

    /// For a heap without a pool.
    #[cfg(target_pointer_width = "64")]
    pub(crate) fn nothing() -> Self {
        Self {
            pool: NonNull::dangling(),
            bytes: 0,
        }
    }

    /// Closes what was added at the pool's end.
    pub(crate) fn extended(&mut self, added_bytes: usize) {
        tell!(pool_extended(self.pool, self.bytes, added_bytes));
        self.bytes += added_bytes;
    }

    /// Closes the whole pool again.
    pub(crate) fn reset(&self) {
        tell!(pool_reset(self.pool, self.bytes));
    }

    /// Opens the `bytes` that were asked for of a new block, and cuts the slice to them.
    pub(crate) fn allocated<E>(
        &self,
        block: Result<NonNull<[u8]>, E>,
        bytes: usize,
    ) -> Result<NonNull<[u8]>, E> {
        let block = block?;
        tell!(block_allocated(block.cast(), bytes));
        Ok(cut(block, bytes))
    }

    /// As `allocated`, for a block to which its content was moved already, over part of its old place.
    pub(crate) fn moved_backwards(&self, block: NonNull<[u8]>, bytes: usize) -> NonNull<[u8]> {
        tell!(block_allocated(block.cast(), bytes));
        tell!(opened(block.cast(), bytes));
        cut(block, bytes)
    }
}

impl Drop for Watch {
    /// Opens all of the pool: it is the region's owner's again.
    fn drop(&mut self) {
        if self.bytes > 0 {
            tell!(pool_dropped(self.pool, self.bytes));
        }
    }
}

/// Frees a block by `free`, and closes it if that succeeds.
pub(crate) fn freeing<'pool, G: Geometry, E>(
    heap: &mut Heap<'pool, G>,
    ptr: NonNull<u8>,
    free: impl FnOnce(&mut Heap<'pool, G>) -> Result<(), E>,
) -> Result<(), E> {
    let old_bytes = heap.usable_size(ptr);
    free(heap)?;
    if let Ok(old_bytes) = old_bytes {
        tell!(block_freed(ptr, old_bytes));
    }
    Ok(())
}

/// Resizes or moves a block by `reallocate`, and if that succeeds closes the old one and opens `new_bytes` of the new.
///
/// A new block elsewhere is open already, or its content couldn't have been moved there.
pub(crate) fn reallocating<'pool, G: Geometry, E>(
    heap: &mut Heap<'pool, G>,
    ptr: NonNull<u8>,
    new_bytes: usize,
    reallocate: impl FnOnce(&mut Heap<'pool, G>) -> Result<NonNull<[u8]>, E>,
) -> Result<NonNull<[u8]>, E> {
    let old_bytes = heap.usable_size(ptr);
    let block = reallocate(heap)?;
    let new = block.cast::<u8>();
    if let Ok(old_bytes) = old_bytes {
        if new == ptr {
            tell!(block_resized(ptr, old_bytes, new_bytes));
        } else {
            tell!(block_freed(ptr, old_bytes));
            // It may have been moved by less than its length.
            let distance_bytes = ptr.addr().get().wrapping_sub(new.addr().get());
            if distance_bytes < new_bytes {
                tell!(opened(new, new_bytes));
            }
        }
    }
    Ok(cut(block, new_bytes))
}

/// How many of a live block's `usable_bytes` were asked for: those that are open.
pub(crate) fn requested(ptr: NonNull<u8>, usable_bytes: usize) -> usize {
    let least_bytes = usable_bytes.saturating_sub(ROUNDING_BYTES_MAX);
    (least_bytes..usable_bytes)
        .rev()
        .find(|&offset| {
            let address = ptr.as_ptr().wrapping_add(offset);
            let mut open = true;
            #[cfg(feature = "asan")]
            {
                open &= asan::is_open(address);
            }
            #[cfg(feature = "valgrind")]
            {
                open &= valgrind::is_open(address);
            }
            open
        })
        .map_or(least_bytes, |last| last + 1)
}

/// Opens `bytes` that the heap is about to write for a block's owner.
pub(crate) fn opened(ptr: NonNull<u8>, bytes: usize) {
    tell!(opened(ptr, bytes));
}

/// Opens a free block's node for one access of the heap's own, and closes it again.
#[inline]
pub(crate) fn own<T, R>(node: *mut T, access: impl FnOnce() -> R) -> R {
    let Some(start) = NonNull::new(node.cast::<u8>()) else {
        return access();
    };
    tell!(opened(start, size_of::<T>()));
    let answer = access();
    tell!(closed(start, size_of::<T>()));
    answer
}
