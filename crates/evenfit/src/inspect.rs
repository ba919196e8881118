//! Looking at a heap: walking its blocks, checking its integrity.

mod check;
#[cfg(target_pointer_width = "64")]
pub mod observe;
mod walk;

pub use self::walk::Walk;
