//! What counts a call.

use crate::states::record::Key;

/// What one call cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Instructions executed.
    pub instructions: u64,
    /// Distinct cache lines of data loaded from or stored to; 0 where they aren't counted.
    pub lines: usize,
    /// How often the most executed instruction was; 0 where it isn't counted.
    pub turns: usize,
}

/// Counts what a call costs.
pub trait Probe {
    /// Calls `operation` once.
    fn count<T>(&mut self, operation: impl FnOnce() -> T) -> (T, Cost);

    /// How many of the instructions counted last were the heap's own loop over the payload, of so
    /// many bytes, of a block that moved. Payload is counted apart; that the heap calls `memcpy` or
    /// `memmove`, whoever counts sees.
    fn moving(&self, _bytes: usize) -> u64 {
        0
    }

    /// What was counted last is the most so far of what is counted together.
    fn is_most(&mut self, _key: Key) {}

    /// From now on all that can be counted is to be, however long it takes; or no longer.
    fn count_all(&mut self, _all: bool) {}
}
