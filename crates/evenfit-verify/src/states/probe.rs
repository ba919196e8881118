//! The trait that a counter of a call's cost implements.

use crate::states::record::Key;

/// What one call cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Instructions executed.
    pub instructions: u64,
    /// Distinct cache lines of data loaded from or stored to; 0 if they aren't counted.
    pub lines: usize,
    /// How often the most executed instruction was executed; 0 if that isn't counted.
    pub turns: usize,
}

/// Counts what a call costs.
pub trait Probe {
    /// Calls `operation` once.
    fn count<T>(&mut self, operation: impl FnOnce() -> T) -> (T, Cost);

    /// How many of the instructions counted last were the heap's own loop that moves `bytes` bytes
    /// of payload. They aren't part of the bound. Calls of `memcpy` and `memmove` are recognised by
    /// the probe itself.
    fn moving(&self, _bytes: usize) -> u64 {
        0
    }

    /// Tells the probe that the last count is the largest so far for `key`.
    fn is_most(&mut self, _key: Key) {}

    /// Whether to count also what takes longer to count: lines and turns.
    fn count_all(&mut self, _all: bool) {}
}
