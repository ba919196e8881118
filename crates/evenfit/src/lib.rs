//! A real-time memory manager: one fixed pool, every operation in bounded constant time,
//! every misuse refused.
#![no_std]
#![cfg_attr(feature = "nightly", feature(allocator_api))]

#[cfg(any(feature = "allocator-api2", feature = "nightly"))]
mod allocator_api;
mod blocks;
mod budget;
mod error;
mod first_fit;
mod geometry;
mod global;
mod heap;
mod hooks;
mod inspect;
pub mod lock;
mod locked;
mod old;
mod opaque;
mod region;
mod sanitizer;
mod shared;
mod slabs;
mod stats;
mod sync;
mod tiers;

pub use budget::{Budget, BudgetStats};
pub use error::{AllocError, FreeError, InitError, ReallocError};
pub use first_fit::FirstFit;
pub use global::StaticHeap;
pub use hooks::{Misuse, MisuseHook, OutOfMemory, OutOfMemoryHook, WhenFull, set_misuse_hook};
pub use lock::{Lock, SpinLock};
pub use locked::LockedHeap;
pub use old::check::CheckError;
pub use old::geometry::{Compact, Geometry, Standard};
pub use old::heap::Heap;
#[cfg(target_pointer_width = "64")]
pub use old::observe;
pub use old::shape::{SLAB_REGION_BYTES_MIN, Tiers};
pub use old::slot_class::SlotClass;
pub use old::walk::{Block, BlockState, Blocks};
pub use shared::SharedHeap;
pub use stats::Stats;

/// The new core, until it replaces the old.
#[doc(hidden)]
pub mod next {
    pub use crate::geometry::{Aligned, Compact, Geometry, Standard, Wide};
    pub use crate::heap::{Builder, DefaultGeometry, DefaultTiers, Heap};
    pub use crate::inspect::Walk;
    pub use crate::tiers::{Auto, BlocksOnly, Tiers, WithSlabs};
    pub use crate::{
        AllocError, Block, BlockState, CheckError, FreeError, InitError, ReallocError, Stats,
    };
}

/// The code in the page on Rust is compiled and run with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/rust.md")]
struct RustPage;
