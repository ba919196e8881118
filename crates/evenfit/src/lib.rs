//! A real-time memory manager: one fixed pool, every operation in bounded constant time, every
//! misuse refused.
//!
//! ```
//! use core::{alloc::Layout, mem::MaybeUninit};
//! use evenfit::{FreeError, Heap};
//!
//! let mut region = [MaybeUninit::uninit(); 64 * 1024];
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
//! As the global allocator, without an init call and without `unsafe`:
//!
//! ```
//! #[global_allocator]
//! static HEAP: evenfit::StaticHeap<{ 4 * 1024 * 1024 }> = evenfit::StaticHeap::new();
//!
//! fn main() {
//!     println!("{} bytes used", HEAP.stats().used_bytes);
//! }
//! ```
//!
//! # Promises
//!
//! - **Bounded.** Allocate, free and reallocate have no loop that depends on the pool's size or
//!   content. The copy of a reallocation that moves, and zeroing, come on top.
//! - **Tight.** No header on a block. What has been freed coalesces at once.
//! - **Refuses misuse**, in release builds and in constant time: a double free, an interior or
//!   foreign pointer, a wrong layout, an overwritten link. The call answers with an error, and the
//!   heap is unchanged. What can't be seen is said at [`Heap::try_deallocate`].
//! - **No surprise.** `no_std`, no dependency by default, no panic, no address kept in the pool.
//!
//! # Which heap
//!
//! | you have | take |
//! |---|---|
//! | a program or firmware image that allocates from one pool | [`StaticHeap`] as `#[global_allocator]`: its memory is in the `static` |
//! | memory known at run time, shared by threads, cores or interrupt handlers | [`LockedHeap`] |
//! | memory that one thread owns | [`Heap`], without a lock |
//! | parts of a program that must not starve each other | [`Budget`]: a share of a [`StaticHeap`] or [`LockedHeap`], with a limit and statistics |
//! | an allocator to read, as textbooks teach it | [`FirstFit`], O(n) |
//!
//! # Which tiers, geometry and lock
//!
//! Tiers, geometry and lock are types, so that no code is linked that a heap doesn't use.
//! [`Heap::builder`] makes every choice by name.
//!
//! | [`Tiers`] | |
//! |---|---|
//! | [`BlocksOnly`] | the tightest in space, and the least code; the default on 32-bit machines |
//! | [`WithSlabs`] | requests of up to 512 bytes from slabs, which is faster; a slab is pinned by one of its slots |
//! | [`Auto`] | slabs in regions of 1 MiB or more, where the geometry can have them; the default on 64-bit machines |
//!
//! | [`Geometry`] | blocks are aligned to | pools of up to | |
//! |---|---|---|---|
//! | [`Standard`] | 8 bytes | 32 GiB | the default on 64-bit machines |
//! | [`Aligned`] | 16 bytes | 32 GiB | for C, whose `malloc` aligns to 16 |
//! | [`Wide`] | 16 bytes | 64 GiB | half the metadata |
//! | [`Compact`] | 8 bytes | 511 KiB | the default on 32-bit machines; blocks only |
//!
//! | [`Lock`] | for |
//! |---|---|
//! | [`SpinLock`], the default | threads, where no interrupt or signal handler allocates |
//! | `spin`, `parking_lot` or another `lock_api` mutex | the same |
//! | `lock::CriticalSection` | interrupt handlers, and cores without an atomic swap |
//! | `lock::PiFutex` | threads of different priorities on Linux |
//!
//! [`lock`] says of each where it deadlocks and where it inverts priorities.
//!
//! # Terms
//!
//! The *region* is the memory handed over, the *pool* what is left of it for blocks beside the
//! *metadata*. The pool is cut into *granules* of 8 or 16 bytes; a *block* is a run of at least
//! two. A *slab* is a block cut into equal *slots* for small requests; where these pages say block,
//! a slot is meant too. All sizes are in bytes unless a name says otherwise. A *refused* call has
//! changed nothing but the count of refused calls.
//!
//! # Features
//!
//! Those that are on by default have no dependency.
//!
//! - `over-alignment`, on by default: blocks aligned higher than [`Geometry`] aligns all of them.
//! - `move-down`, on by default: as last resort a reallocation moves a block over the free one
//!   before it.
//! - `lock_api`, `critical-section`, `pi-futex`: more locks.
//! - `allocator-api2`, `allocator-api2-03`, `allocator-api2-04`, `nightly`: `Allocator` of that
//!   crate's versions 0.2, 0.3 and 0.4, or the nightly compiler's, for references to shared heaps
//!   and budgets.
//! - `asan`, `valgrind`: the tool learns which bytes of a pool are live. Slices returned are then
//!   just as long as the request.
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
#[doc = include_str!("../pages/rust.md")]
struct RustPage;

/// So is that in the repository's README, and in this package's own.
#[cfg(doctest)]
#[doc = include_str!("../pages/README.md")]
#[doc = include_str!("../README.md")]
struct Readmes;
