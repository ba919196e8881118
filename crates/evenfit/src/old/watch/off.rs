//! Nobody watches: every function does nothing, or just what it is given to do.

use core::ptr::NonNull;

use crate::{Geometry, Heap};

pub(crate) struct Watch;

impl Watch {
    #[inline(always)]
    pub(crate) fn over(_pool: NonNull<u8>, _bytes: usize) -> Self {
        Self
    }

    #[cfg(target_pointer_width = "64")]
    #[inline(always)]
    #[cfg(target_pointer_width = "64")]
    pub(crate) fn nothing() -> Self {
        Self
    }

    #[inline(always)]
    pub(crate) fn extended(&mut self, _added_bytes: usize) {}

    #[inline(always)]
    pub(crate) fn reset(&self) {}

    #[inline(always)]
    pub(crate) fn allocated<E>(
        &self,
        block: Result<NonNull<[u8]>, E>,
        _bytes: usize,
    ) -> Result<NonNull<[u8]>, E> {
        block
    }

    #[inline(always)]
    pub(crate) fn moved_backwards(&self, block: NonNull<[u8]>, _bytes: usize) -> NonNull<[u8]> {
        block
    }
}

#[inline(always)]
pub(crate) fn freeing<'pool, G: Geometry, E>(
    heap: &mut Heap<'pool, G>,
    _ptr: NonNull<u8>,
    free: impl FnOnce(&mut Heap<'pool, G>) -> Result<(), E>,
) -> Result<(), E> {
    free(heap)
}

#[inline(always)]
pub(crate) fn reallocating<'pool, G: Geometry, E>(
    heap: &mut Heap<'pool, G>,
    _ptr: NonNull<u8>,
    _new_bytes: usize,
    reallocate: impl FnOnce(&mut Heap<'pool, G>) -> Result<NonNull<[u8]>, E>,
) -> Result<NonNull<[u8]>, E> {
    reallocate(heap)
}

#[inline(always)]
pub(crate) fn requested(_ptr: NonNull<u8>, usable_bytes: usize) -> usize {
    usable_bytes
}

#[inline(always)]
pub(crate) fn opened(_ptr: NonNull<u8>, _bytes: usize) {}

#[inline(always)]
pub(crate) fn own<T, R>(_node: *mut T, access: impl FnOnce() -> R) -> R {
    access()
}
