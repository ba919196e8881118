//! The allocators, each behind the same thin interface and in its best configuration.

use std::alloc::Layout;

mod dl;
pub(crate) mod evenfit_heap;
mod limits;
#[cfg(feature = "o1heap")]
mod o1;
mod os;
mod pico;
mod plain;

/// An allocator under measurement.
pub trait Peer: Sized {
    /// Builds it over `len_bytes` at `base`; none if that is too little.
    ///
    /// Boxed, because some keep pointers to themselves in the pool.
    ///
    /// # Safety
    /// The region is writable, nobody else uses it, and it outlives the allocator.
    unsafe fn over(base: *mut u8, len_bytes: usize) -> Option<Box<Self>>;

    /// As `GlobalAlloc::alloc`: null when there is no memory.
    ///
    /// # Safety
    /// As `GlobalAlloc::alloc`.
    unsafe fn alloc(&mut self, layout: Layout) -> *mut u8;

    /// As `GlobalAlloc::dealloc`.
    ///
    /// # Safety
    /// As `GlobalAlloc::dealloc`.
    unsafe fn dealloc(&mut self, ptr: *mut u8, layout: Layout);

    /// As `GlobalAlloc::realloc`. This default is for allocators without one; it always moves.
    ///
    /// # Safety
    /// As `GlobalAlloc::realloc`.
    #[inline]
    unsafe fn realloc(&mut self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { moved(self, ptr, layout, new_size) }
    }
}

/// Reallocates by a new block, a copy and a free.
///
/// # Safety
/// As `GlobalAlloc::realloc`.
#[inline]
unsafe fn moved<P: Peer>(peer: &mut P, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
    // SAFETY: the caller's promises are those of the three calls; old and new block don't overlap.
    unsafe {
        let new = peer.alloc(Layout::from_size_align_unchecked(new_size, layout.align()));
        if !new.is_null() {
            new.copy_from_nonoverlapping(ptr, layout.size().min(new_size));
            peer.dealloc(ptr, layout);
        }
        new
    }
}

/// What can be measured of an allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Serves from one fixed pool: everything can be measured.
    Pool,
    /// Allocates from the operating system: only speed can be measured.
    Os,
    /// A limit to compare with, not an allocator: the no-op and the bump pointer.
    Limit,
}

/// An allocator's properties.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// The name in tables and on the command line.
    pub name: &'static str,
    /// What can be measured.
    pub class: Class,
    /// Whether its authors state, or its code shows, a bound that doesn't grow with the pool's
    /// content.
    pub bounded: bool,
    /// Bytes of control structure outside of the pool; counted into the footprint.
    pub outside_bytes: usize,
}

/// A measurement that is generic over the allocator.
pub trait Visitor {
    /// The result.
    type Out;
    /// Called with the type of the allocator and its properties.
    fn visit<P: Peer>(&mut self, about: About) -> Self::Out;
}

macro_rules! peers {
    ($($(#[$attr:meta])* $name:literal => $type:ty, $class:ident, bounded: $bounded:literal;)*) => {
        /// Every allocator of this build, in the order of the tables.
        #[must_use]
        pub fn all() -> Vec<About> {
            vec![$($(#[$attr])* About {
                name: $name,
                class: Class::$class,
                bounded: $bounded,
                outside_bytes: size_of::<$type>(),
            }),*]
        }

        /// Calls `visitor` with the allocator of that name; `None` if this build has none.
        pub fn with<V: Visitor>(name: &str, visitor: &mut V) -> Option<V::Out> {
            let about = all().into_iter().find(|about| about.name == name)?;
            match name {
                $($(#[$attr])* $name => Some(visitor.visit::<$type>(about)),)*
                _ => None,
            }
        }
    };
}

peers! {
    "noop" => limits::Noop, Limit, bounded: true;
    "bump" => limits::Bump, Limit, bounded: true;
    "evenfit-slabs" => evenfit_heap::Slabs, Pool, bounded: true;
    "evenfit-blocks" => evenfit_heap::Blocks, Pool, bounded: true;
    "evenfit-aligned" => evenfit_heap::SixteenBytes, Pool, bounded: true;
    "evenfit-compact" => evenfit_heap::Small, Pool, bounded: true;
    "firstfit" => evenfit_heap::First, Pool, bounded: false;
    "talc" => plain::Talc, Pool, bounded: false;
    "rlsf" => plain::Sensible, Pool, bounded: true;
    "rlsf-embedded" => plain::Embedded, Pool, bounded: true;
    #[cfg(feature = "o1heap")]
    "o1heap" => o1::O1Heap, Pool, bounded: true;
    "picoalloc" => pico::Pico, Pool, bounded: false;
    "dlmalloc" => dl::Dl, Pool, bounded: false;
    "good_memory" => plain::Good, Pool, bounded: false;
    "linked_list" => plain::LinkedList, Pool, bounded: false;
    "buddy" => plain::Buddy, Pool, bounded: false;
    "glibc" => os::Glibc, Os, bounded: false;
    #[cfg(feature = "mimalloc")]
    "mimalloc" => os::MiMalloc, Os, bounded: false;
    #[cfg(feature = "snmalloc")]
    "snmalloc" => os::SnMalloc, Os, bounded: false;
    #[cfg(feature = "jemalloc")]
    "jemalloc" => os::JeMalloc, Os, bounded: false;
}
