//! Atomics and cells of loom.
//!
//! loom's objects can't be made in constants. So each is made at its first use, which must be
//! before a model starts its threads.

extern crate std;

use core::cell::UnsafeCell;
use std::sync::OnceLock;

use loom::sync::atomic as explored;

pub(crate) use core::sync::atomic::Ordering;

/// How often threads may wait in one execution before loom stops exploring it. Without a limit, two
/// waiting threads could take turns forever.
const WAITS_EXPLORED: usize = 8;

loom::lazy_static! {
    static ref WAITS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
}

/// Lets other threads run.
pub(crate) fn spin_loop() {
    if WAITS.fetch_add(1, Ordering::Relaxed) == WAITS_EXPLORED {
        loom::skip_branch();
    }
    loom::hint::spin_loop();
}

/// An atomic with a `const` constructor.
macro_rules! atomic {
    ($name:ident $([$type:ident])?, $value:ty) => {
        #[derive(Debug)]
        #[allow(dead_code)]
        pub(crate) struct $name $(<$type>)? {
            initial: UnsafeCell<$value>,
            explored: OnceLock<explored::$name $(<$type>)?>,
        }

        // SAFETY: the initial value is never written.
        unsafe impl $(<$type>)? Sync for $name $(<$type>)? {}
        // SAFETY: as for `Sync`.
        unsafe impl $(<$type>)? Send for $name $(<$type>)? {}

        #[allow(dead_code)]
        impl $(<$type>)? $name $(<$type>)? {
            pub(crate) const fn new(initial: $value) -> Self {
                Self { initial: UnsafeCell::new(initial), explored: OnceLock::new() }
            }

            fn explored(&self) -> &explored::$name $(<$type>)? {
                self.explored.get_or_init(|| {
                    // SAFETY: the initial value is never written.
                    explored::$name::new(unsafe { *self.initial.get() })
                })
            }

            #[track_caller]
            pub(crate) fn load(&self, order: Ordering) -> $value {
                self.explored().load(order)
            }

            #[track_caller]
            pub(crate) fn store(&self, value: $value, order: Ordering) {
                self.explored().store(value, order);
            }

            #[track_caller]
            pub(crate) fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.explored().compare_exchange(current, new, success, failure)
            }
        }
    };
}

atomic!(AtomicBool, bool);
atomic!(AtomicUsize, usize);
atomic!(AtomicU32, u32);
atomic!(AtomicPtr[T], *mut T);

impl AtomicBool {
    /// A swap that finds the value it would write writes nothing. loom allows a later write to be
    /// ordered before such a write, so a spinning thread could miss the release forever, which no
    /// processor does.
    #[track_caller]
    pub(crate) fn swap(&self, value: bool, order: Ordering) -> bool {
        match self.compare_exchange(!value, value, order, Ordering::Relaxed) {
            Ok(old) | Err(old) => old,
        }
    }
}

/// A value that a lock protects. loom stops a model in which two uses of it aren't ordered.
pub(crate) struct Protected<T> {
    value: UnsafeCell<T>,
    uses: OnceLock<loom::cell::UnsafeCell<()>>,
}

impl<T> Protected<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { value: UnsafeCell::new(value), uses: OnceLock::new() }
    }

    #[track_caller]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        self.uses.get_or_init(|| loom::cell::UnsafeCell::new(())).with_mut(|_| f(self.value.get()))
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    pub(crate) fn into_inner(self) -> T {
        self.value.into_inner()
    }
}
