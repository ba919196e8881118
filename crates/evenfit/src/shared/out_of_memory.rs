//! What a program may do when memory runs out.

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
    /// Why it failed: [`AllocError::OutOfMemory`], or [`AllocError::TooLarge`], which only a longer pool can serve.
    pub error: AllocError,
    /// How often this same request has been retried: 0 the first time the hook sees it.
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

/// Asked when a request found no free block. It runs outside the lock, so it may free blocks of the
/// same heap; a request it makes itself must be one that may fail, since it would ask the hook again.
pub type OutOfMemoryHook = fn(&OutOfMemory) -> WhenFull;

/// Where a heap keeps its out-of-memory hook; null while there is none.
pub struct OutOfMemoryCell(AtomicPtr<()>);

impl OutOfMemoryCell {
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    pub(crate) fn set(&self, hook: Option<OutOfMemoryHook>) {
        let raw = hook.map_or(ptr::null_mut(), |hook| hook as *mut ());
        self.0.store(raw, Ordering::Release);
    }

    /// Asks the hook whether a failed request shall be tried again.
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

/// Why a call failed, as far as retrying is concerned.
pub(super) trait Failure {
    /// The reason, if it is that there is no room.
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
