//! The interface of what counts the cost of a call.

use crate::states::record::Key;

/// What one call cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Instructions executed.
    pub instructions: u64,
    /// Distinct cache lines of data loaded from or stored to; 0 where they aren't counted.
    pub lines: usize,
    /// How often the instruction executed most was executed; 0 where it isn't counted.
    pub turns: usize,
}

/// Counts what a call costs.
pub trait Probe {
    /// Calls `operation` once.
    fn count<T>(&mut self, operation: impl FnOnce() -> T) -> (T, Cost);

    /// How many of the instructions counted last were the heap's own loop that moves `bytes` bytes
    /// of payload. They are counted apart. Calls of `memcpy` and `memmove` need no such answer: the
    /// probe recognises them.
    fn moving(&self, _bytes: usize) -> u64 {
        0
    }

    /// Tells the probe that the last count is the largest so far for `key`.
    fn is_most(&mut self, _key: Key) {}

    /// Switches the counting of everything that can be counted, which takes longer, on or off.
    fn count_all(&mut self, _all: bool) {}
}
