//! A real-time memory manager: one fixed pool, every operation in bounded constant time,
//! every misuse refused.
#![no_std]

mod error;
mod first_fit;
mod geometry;
mod heap;
mod stats;

pub use error::{AllocError, FreeError, InitError, ReallocError};
pub use first_fit::FirstFit;
pub use geometry::{Compact, Geometry, Standard};
pub use heap::{Block, BlockState, CheckError, Heap};
pub use stats::Stats;
