//! The out-of-memory hook: what a program does when a request finds no room.

use core::alloc::Layout;
use core::ptr;

use crate::sync::{AtomicPtr, Ordering};
use crate::{AllocError, ReallocError};

/// A request that found no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutOfMemory {
    /// What was asked for.
    pub layout: Layout,
    /// Why it failed: [`AllocError::OutOfMemory`], or [`AllocError::TooLarge`], which only a longer
    /// pool can serve.
    pub error: AllocError,
    /// How often this request was retried: 0 the first time the hook is called for it.
    pub retries: u32,
}

/// What to do with a request that found no free block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Something was freed: try once more.
    Retry,
    /// Let the request fail.
    Fail,
}

/// Called when a request found no free block. The hook runs outside the lock, so it may free blocks
/// of the same heap. It must not make a request that must succeed, since a request that fails calls
/// the hook again.
pub type OutOfMemoryHook = fn(&OutOfMemory) -> WhenFull;

/// The out-of-memory hook of a heap; null if there is none.
pub struct OutOfMemoryCell(AtomicPtr<()>);

impl OutOfMemoryCell {
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    pub(crate) fn set(&self, hook: Option<OutOfMemoryHook>) {
        let raw = hook.map_or(ptr::null_mut(), |hook| hook as *mut ());
        self.0.store(raw, Ordering::Release);
    }

    /// Calls the hook to decide whether a failed request is tried again.
    #[cold]
    pub(crate) fn ask(&self, layout: Layout, error: AllocError, retries: u32) -> WhenFull {
        let raw = self.0.load(Ordering::Acquire);
        if raw.is_null() {
            return WhenFull::Fail;
        }
        // SAFETY: `set` is the only writer, and stores null or an `OutOfMemoryHook`.
        let hook: OutOfMemoryHook = unsafe { core::mem::transmute(raw) };
        hook(&OutOfMemory { layout, error, retries })
    }
}

/// An error for which a retry may help.
pub(super) trait Failure {
    /// The error, if it is that there is no room.
    fn no_memory(&self) -> Option<AllocError>;
}

impl Failure for AllocError {
    fn no_memory(&self) -> Option<AllocError> {
        matches!(self, Self::OutOfMemory | Self::TooLarge).then_some(*self)
    }
}

impl Failure for ReallocError {
    fn no_memory(&self) -> Option<AllocError> {
        match self {
            Self::Alloc(error) => error.no_memory(),
            Self::Free(_) => None,
        }
    }
}
