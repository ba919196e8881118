//! A real-time memory manager: one fixed pool, every operation in bounded constant time,
//! every misuse refused.
#![no_std]
#![cfg_attr(feature = "nightly", feature(allocator_api))]

#[cfg(any(feature = "allocator-api2", feature = "nightly"))]
mod allocator_api;
mod bins;
mod blocks;
mod budget;
mod check;
mod error;
mod first_fit;
mod geometry;
mod global;
mod heap;
mod hooks;
mod links;
pub mod lock;
mod locked;
mod map;
#[cfg(target_pointer_width = "64")]
pub mod observe;
mod shape;
mod shared;
mod slab;
mod slot_class;
mod stats;
mod sync;
mod walk;
mod watch;

pub use budget::{Budget, BudgetStats};
pub use check::CheckError;
pub use error::{AllocError, FreeError, InitError, ReallocError};
pub use first_fit::FirstFit;
pub use geometry::{Compact, Geometry, Standard};
pub use global::StaticHeap;
pub use heap::Heap;
pub use hooks::{Misuse, MisuseHook, OutOfMemory, OutOfMemoryHook, WhenFull, set_misuse_hook};
pub use lock::{Lock, SpinLock};
pub use locked::LockedHeap;
pub use shape::{SLAB_REGION_BYTES_MIN, Tiers};
pub use shared::SharedHeap;
pub use slot_class::SlotClass;
pub use stats::Stats;
pub use walk::{Block, BlockState, Blocks};

/// The code in the page on Rust is compiled and run with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/rust.md")]
struct RustPage;
