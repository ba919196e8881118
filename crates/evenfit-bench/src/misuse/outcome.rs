//! How a case ended.

use std::fmt;

/// How a case ended, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The call had no effect: no byte of the pool changed, and all went well afterwards.
    Refused,
    /// The allocator stopped the program on purpose (a panic or an abort).
    Stopped,
    /// The call was treated as a correct one; no harm was seen afterwards.
    Accepted,
    /// Requests failed afterwards although memory was free.
    Lost,
    /// A live block's contents changed.
    Contents,
    /// Memory in use, or outside of the pool, was allocated.
    Overlap,
    /// An invalid access killed the process.
    Crash,
    /// The call didn't return in time.
    Hang,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Refused,
        Self::Stopped,
        Self::Accepted,
        Self::Lost,
        Self::Contents,
        Self::Overlap,
        Self::Crash,
        Self::Hang,
    ];

    /// Its word in tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Stopped => "stopped",
            Self::Accepted => "accepted",
            Self::Lost => "memory lost",
            Self::Contents => "contents changed",
            Self::Overlap => "overlap",
            Self::Crash => "crash",
            Self::Hang => "hang",
        }
    }

    /// Whether a live block was, or may have been, harmed.
    pub fn is_harm(self) -> bool {
        self >= Self::Contents
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
