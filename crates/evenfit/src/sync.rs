//! Atomics, cells and the kernel's part of waiting: the machine's, or under `cfg(loom)` those of the model checker that
//! the models under `tests/` run.

#[cfg(not(loom))]
mod machine;
#[cfg(loom)]
mod modelled;

#[cfg(not(loom))]
pub(crate) use self::machine::*;
#[cfg(loom)]
pub(crate) use self::modelled::*;
