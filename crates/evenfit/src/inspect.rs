//! Looking at a heap: walking its blocks, checking its integrity.

mod check;
mod walk;

pub use self::walk::Walk;
