//! A real-time memory manager: one fixed pool, every operation in bounded constant time, every misuse refused.
//!
//! ```
//! use core::alloc::Layout;
//! use evenfit::{FreeError, Heap};
//!
//! let mut region = [core::mem::MaybeUninit::uninit(); 64 * 1024];
//! let mut heap = Heap::from_region(&mut region)?;
//! let layout = Layout::new::<[u64; 100]>();
//!
//! let block = heap.allocate(layout)?; // O(1), or an error that says why not
//! // SAFETY: the block came from this heap with this layout, and isn't used again.
//! unsafe { heap.try_deallocate(block.cast(), layout)? };
//! // SAFETY: a double free is refused, and changes nothing.
//! assert_eq!(unsafe { heap.try_deallocate(block.cast(), layout) }, Err(FreeError::AlreadyFree));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Which heap
//!
//! | | |
//! |---|---|
//! | [`StaticHeap`] | a `static` with its memory in it: the global allocator, without a call to begin |
//! | [`LockedHeap`] | over memory known at run time, shared by threads, cores or interrupt handlers |
//! | [`Heap`] | over memory that one thread owns; no lock |
//! | [`Budget`] | a share of a [`StaticHeap`] or [`LockedHeap`], with a limit and statistics of its own |
//! | [`FirstFit`] | the allocator that textbooks teach, O(n), to be read and compared with |
//!
//! # Types
//!
//! Tiers and geometry of a heap are types, so that no code is linked that a heap doesn't use:
//!
//! - [`Tiers`]: [`BlocksOnly`], [`WithSlabs`] (faster for requests of up to 512 bytes), or [`Auto`], which decides by the length
//!   of the region.
//! - [`Geometry`]: [`Standard`] (pools of up to 32 GiB), [`Aligned`] (the same, all aligned to 16 bytes), [`Wide`] (64 GiB),
//!   [`Compact`] (511 KiB, for small devices).
//!
//! The defaults are `Auto` and `Standard` on 64-bit machines, `BlocksOnly` and `Compact` on others. [`Heap::builder`] makes every
//! choice by name. The lock of a shared heap is a [`Lock`]; [`lock`] says of each where it deadlocks and where it inverts
//! priorities.
//!
//! # Terms
//!
//! The *region* is the memory handed over, the *pool* what is left of it for blocks beside the *metadata*. The pool is cut into
//! *granules* of 8 or 16 bytes; a *block* is a run of at least two. A *slab* is a block cut into equal *slots* for small
//! requests; where these pages say block, a slot is meant too. All sizes are in bytes unless a name says otherwise. A *refused*
//! call has changed nothing.
//!
//! # Features
//!
//! None is on by default, and then there is no dependency.
//!
//! - `lock_api`, `critical-section`, `pi-futex`: more locks.
//! - `allocator-api2`, `nightly`: that crate's or the nightly compiler's `Allocator`, for references to shared heaps and budgets.
//! - `asan`, `valgrind`: the tool learns which bytes of a pool are live. Slices returned are then just as long as the request.
#![no_std]
#![warn(clippy::too_many_lines)]
#![cfg_attr(feature = "nightly", feature(allocator_api))]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod blocks;
mod error;
mod first_fit;
mod geometry;
mod heap;
mod inspect;
mod misuse;
mod opaque;
mod region;
mod sanitizer;
mod shared;
mod slabs;
mod stats;
mod sync;
mod tiers;

pub use error::{AllocError, CheckError, FreeError, InitError, ReallocError};
pub use first_fit::FirstFit;
pub use geometry::{Aligned, Compact, Geometry, Standard, Wide};
pub use heap::{Builder, DefaultGeometry, DefaultTiers, Heap, Resized};
pub use inspect::Walk;
#[cfg(target_pointer_width = "64")]
pub use inspect::observe;
pub use misuse::{Misuse, MisuseHook, set_misuse_hook};
pub use shared::lock::{self, Lock, SpinLock};
pub use shared::{
    Budget, BudgetStats, LockedHeap, OutOfMemory, OutOfMemoryHook, SharedHeap, StaticHeap, WhenFull,
};
pub use stats::{Block, BlockState, Stats};
pub use tiers::{Auto, BlocksOnly, Tiers, WithSlabs};

/// The code in the page on Rust is compiled and run with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/rust.md")]
struct RustPage;
