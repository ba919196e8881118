//! How large must a pool be so that no request of a program can ever fail?
//!
//! - [`Contract`]: what a program may allocate, site by site: sizes, alignment, most live blocks.
//! - [`safe`]: the pool in which no request fails; [`slabs`]: the same for a heap with slabs;
//!   [`robson`]: the size below which no allocator can guarantee that.
//! - [`exhaustive`]: the exact answer for small contracts, by trying every program.
//! - [`adversary`], [`slab_adversary`]: programs that need nearly that much, for large ones.
//! - [`Monitor`]: the contract compiled into a firmware, which reports the first violation.
//!
//! The proofs are in `docs/bounds.md`. Lengths are in granules unless a name ends in `_bytes`.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

mod monitor;

#[cfg(feature = "std")]
pub mod adversary;
#[cfg(feature = "std")]
mod contract;
#[cfg(feature = "std")]
pub mod exhaustive;
#[cfg(feature = "std")]
mod geometry;
#[cfg(feature = "std")]
pub mod policy;
#[cfg(feature = "std")]
pub mod robson;
#[cfg(feature = "std")]
pub mod safe;
#[cfg(feature = "std")]
pub mod slab_adversary;
#[cfg(feature = "std")]
pub mod slabs;
#[cfg(feature = "std")]
mod slots;

pub use monitor::{Class, Monitor, Violation, ViolationKind};

#[cfg(feature = "std")]
pub use self::{
    contract::{Contract, ContractError, Site},
    geometry::Cut,
    slots::{SlotClass, slot_classes},
};
