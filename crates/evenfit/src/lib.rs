//! A real-time memory manager: one fixed pool, every operation in bounded constant time,
//! every misuse refused.
#![no_std]

mod bins;
mod blocks;
mod check;
mod error;
mod first_fit;
mod geometry;
mod heap;
mod hooks;
mod links;
mod map;
mod stats;
mod walk;

pub use check::CheckError;
pub use error::{AllocError, FreeError, InitError, ReallocError};
pub use first_fit::FirstFit;
pub use geometry::{Compact, Geometry, Standard};
pub use heap::Heap;
pub use hooks::{MisuseHook, set_misuse_hook};
pub use stats::Stats;
pub use walk::{Block, BlockState, Blocks};
