//! Atomics, cells and spin waiting: those of `core`, or under `cfg(loom)` those of the model
//! checker that the models under `tests/` use.

#[cfg(not(loom))]
mod machine;
#[cfg(loom)]
mod modelled;

#[cfg(not(loom))]
pub(crate) use self::machine::*;
#[cfg(loom)]
pub(crate) use self::modelled::*;
