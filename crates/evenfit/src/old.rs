//! The core as it was until the new one replaces it: see `crate::heap`.
pub(crate) mod bins;
pub(crate) mod blocks;
pub(crate) mod check;
pub(crate) mod geometry;
pub(crate) mod heap;
pub(crate) mod links;
pub(crate) mod map;
#[cfg(target_pointer_width = "64")]
pub mod observe;
pub(crate) mod shape;
pub(crate) mod slab;
pub(crate) mod slot_class;
pub(crate) mod walk;
pub(crate) mod watch;
