//! Nobody watches: every function does nothing, or just what it is given to do.

use core::ptr::NonNull;

pub(crate) struct Watch;

impl Watch {
    #[inline(always)]
    pub(crate) fn over(_pool: NonNull<u8>, _bytes: usize) -> Self {
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

pub(crate) struct Old;

impl Old {
    #[inline(always)]
    pub(crate) fn block(_ptr: NonNull<u8>, _bytes: impl FnOnce() -> Option<usize>) -> Self {
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
pub(crate) fn requested(_ptr: NonNull<u8>, usable_bytes: usize) -> usize {
    usable_bytes
}

#[inline(always)]
pub(crate) fn own<T, R>(_node: *mut T, access: impl FnOnce() -> R) -> R {
    access()
}

#[inline(always)]
pub(crate) fn hidden(address: *mut u8) -> *mut u8 {
    address
}

#[cfg(feature = "move-down")]
#[inline(always)]
pub(crate) fn moving(_from: NonNull<u8>, _to: NonNull<u8>, _bytes: usize) {}
