//! Evidence for `evenfit`: oracles that know what the library must do, and nothing of how it does
//! it.
//!
//! - [`Model`] knows what a correct heap would: which ranges of bytes are used and free.
//! - [`Driver`] applies [`Op`]s to a heap and to the model, and panics where they differ.
//! - [`Op`]s are decoded from arbitrary bytes, so one driver serves the property tests and the
//!   coverage-guided fuzzer.
//! - [`exhaustive`] visits every reachable state of a small pool.
//! - [`hostile`] overwrites the pool and asks the heap about it.
//! - [`client::Client`] uses an interface of a heap (shared, budgeted, C) and verifies everything
//!   that it returns.
//! - [`endurance`] makes long runs of recorded programs and adversaries.
//! - [`states`] builds the states in which an operation executes most instructions, and `stepping`
//!   (x86-64 Linux) counts the exact instructions of one call. Together they test the operation
//!   bound.
//!
//! Without the feature `std` only an allocator is needed, so that the same oracles run on a device.
#![cfg_attr(not(any(feature = "std", feature = "stepping")), no_std)]
#![cfg_attr(
    not(feature = "std"),
    allow(rustdoc::broken_intra_doc_links, reason = "some modules need `std`")
)]

extern crate alloc;

#[cfg(feature = "c")]
pub mod c;
pub mod client;
pub mod driver;
#[cfg(feature = "std")]
pub mod endurance;
pub mod exhaustive;
#[cfg(feature = "std")]
pub mod fuzz;
pub mod hostile;
pub mod model;
pub mod op;
#[cfg(feature = "std")]
pub mod random;
pub mod region;
#[cfg(feature = "std")]
pub mod sanitizer;
#[cfg(feature = "std")]
pub mod shared;
pub mod states;
#[cfg(all(feature = "stepping", target_arch = "x86_64", target_os = "linux"))]
pub mod stepping;
pub mod subject;

pub use driver::{Config, Driver};
pub use model::{Model, Verdict};
pub use op::{Bytes, Misuse, Op, Via};
pub use region::{Placement, Region};
pub use subject::Subject;
