//! Inspecting a heap: walking its blocks, checking its integrity, observing it from outside.

mod check;
#[cfg(target_pointer_width = "64")]
#[cfg_attr(docsrs, doc(cfg(target_pointer_width = "64")))]
pub mod observe;
mod walk;

pub use self::walk::Walk;
