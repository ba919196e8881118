//! Atomics and cells of `core`.

use core::cell::UnsafeCell;

#[cfg(target_has_atomic = "8")]
pub(crate) use core::hint::spin_loop;
#[cfg(all(feature = "pi-futex", target_os = "linux"))]
pub(crate) use core::sync::atomic::AtomicU32;
pub(crate) use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

/// A value that a lock protects.
#[repr(transparent)]
pub(crate) struct Protected<T>(UnsafeCell<T>);

impl<T> Protected<T> {
    #[inline(always)]
    pub(crate) const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// Passes the value's address to `f`, for exclusive use until `f` returns.
    #[inline(always)]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }

    pub(crate) fn into_inner(self) -> T {
        self.0.into_inner()
    }
}
