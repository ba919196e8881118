//! Replays a recorded program in an allocator: [`Engine`] performs its operations in any
//! [`Allocator`], and a [`Watch`] observes the results.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use evenfit_trace::{TraceBuilder, replay::Engine};
//! let mut builder = TraceBuilder::default();
//! builder.alloc(100, 8)?;
//! let trace = builder.finish();
//!
//! let mut region = [std::mem::MaybeUninit::uninit(); 4096];
//! let heap = evenfit::Heap::from_region(&mut region)?;
//! let mut engine = Engine::new(heap, trace.allocations() as usize);
//! engine.run(trace.events(), &mut ()).expect("the pool is large enough");
//! assert_eq!(engine.live().count(), 1);
//! # Ok(())
//! # }
//! ```

mod allocator;
#[cfg(feature = "std")]
mod engine;
pub mod pattern;

pub use allocator::{Allocator, Piece};
#[cfg(feature = "std")]
pub use engine::{Contents, Engine, Live, Stop, Watch};
