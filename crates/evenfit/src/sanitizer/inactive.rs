//! No sanitizer: every function does nothing, or only what is passed to it.

use core::ptr::NonNull;

pub(crate) struct SanitizedPool;

impl SanitizedPool {
    #[inline(always)]
    pub(crate) fn new(_pool: NonNull<u8>, _bytes: usize) -> Self {
        Self
    }

    #[inline(always)]
    pub(crate) fn extended(&mut self, _added_bytes: usize) {}

    #[inline(always)]
    pub(crate) fn reset(&self) {}

    #[inline(always)]
    pub(crate) fn allocated(&self, block: NonNull<[u8]>, _bytes: usize) -> NonNull<[u8]> {
        block
    }
}

pub(crate) struct OldBlock;

impl OldBlock {
    #[inline(always)]
    pub(crate) fn new(_ptr: NonNull<u8>, _bytes: impl FnOnce() -> Option<usize>) -> Self {
        Self
    }

    #[inline(always)]
    pub(crate) fn freed(self) {}

    #[inline(always)]
    pub(crate) fn replaced_by(self, block: NonNull<[u8]>, _bytes: usize) -> NonNull<[u8]> {
        block
    }
}

#[inline(always)]
pub(crate) fn requested_bytes(_ptr: NonNull<u8>, usable_bytes: usize) -> usize {
    usable_bytes
}

#[inline(always)]
pub(crate) fn access_free<T, R>(_node: *mut T, access: impl FnOnce() -> R) -> R {
    access()
}

#[inline(always)]
pub(crate) fn hide(address: *mut u8) -> *mut u8 {
    address
}

#[cfg(feature = "move-down")]
#[inline(always)]
pub(crate) fn unpoison_move(_from: NonNull<u8>, _to: NonNull<u8>, _bytes: usize) {}
