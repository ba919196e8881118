//! The bounds of `evenfit::next`, until it replaces the heap that the rest of this crate is about.
//!
//! The proofs are in `docs/bounds-next.md`.

mod geometry;
pub mod safe;
pub mod slabs;
mod slots;

pub use self::geometry::Cut;
pub use self::slots::{SlotClass, slot_classes};
