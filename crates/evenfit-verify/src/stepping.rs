//! Counts exactly what one call executes: its instructions, the cache lines it accesses, the turns
//! of its loops.
//!
//! The processor's trap flag makes it raise a debug exception after each instruction; Linux turns
//! that into `SIGTRAP`, and a handler in this process counts. Nothing is sampled and no performance
//! counter is used, so the same call in the same state gives the same number, also on a busy
//! machine. A step takes a few microseconds.
//!
//! For x86-64 Linux only.
//!
//! ```
//! let mut stepper = evenfit_verify::stepping::Stepper::new();
//! let v = vec![1u64; 100];
//! let (sum, count) = stepper.count(|| v.iter().sum::<u64>());
//! assert_eq!(sum, 100);
//! assert!(count.own > 10);
//! ```

pub mod breakdown;
mod handler;
mod registers;
mod step;
mod trace;
mod translate;

pub use step::{Count, Stepper};
pub use trace::{LINE_BYTES, Trace};
pub use translate::Translator;
